/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxystate.h: what the proxy remembers across restarts (state=FILE).
 *
 * With it the proxy is the witness of which generation served it last,
 * so it must never go back: the file is replaced as a whole and is
 * durable before proxystate_save returns.
 */
#ifndef DUET_PROXYSTATE_H
#define DUET_PROXYSTATE_H

#include <stdint.h>

#include "generation.h"

struct proxystate {
  uint64_t client;          /* this proxy's id, never 0 */
  uint64_t session;         /* no session above this was ever used */
  struct gen_id generation; /* newest that served us; epoch 0: none */
};

/* Take the lock PATH.lock, so that no two proxies share one file, and
 * read PATH.  The lock lasts until the process ends (it survives fork).
 * Returns the lock's file descriptor, or -1 with errno and *WHY set; a
 * missing file is no error: STATE then has a client id of 0.
 */
int proxystate_load (const char *path, struct proxystate *state,
                     const char **why);

/* Replace PATH.  0, or -1 with errno set. */
int proxystate_save (const char *path, const struct proxystate *state);

#endif /* DUET_PROXYSTATE_H */
