/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * arbiter-options.h: the node's parameters that say who decides about a
 * takeover: arbiter=, and what arbiter=etcd needs.
 */
#ifndef DUET_ARBITER_OPTIONS_H
#define DUET_ARBITER_OPTIONS_H

#include "engine.h"

enum { ARBITER_LEASE_MS = 1000 }; /* lease=, unless given */

#define ARBITER_HELP                                                         \
  "arbiter=client|etcd  Who decides about a takeover (default: client).\n"   \
  "etcd=URL[,URL...]    With arbiter=etcd: where etcd answers.\n"            \
  "etcd-prefix=TEXT     Begin of the key's name (default: /duet/).\n"        \
  "etcd-user=NAME       etcd's user, if it wants one.\n"                     \
  "etcd-password-file=FILENAME\n"                                            \
  "                     The first line is that user's password.\n"           \
  "etcd-ca=FILENAME     Who signs for etcd (default: as the system).\n"      \
  "etcd-cert=FILENAME   This node's certificate for etcd.\n"                 \
  "etcd-key=FILENAME    The key of that.\n"                                  \
  "lease=MS             A primary serves unheard so long (default: 1000).\n" \
  "grace=MS             A backup waits so long (default: lease, 5 %, 2 ms)."

bool arbiter_is_option (const char *key);

/* Take one into CONFIG.  -1 after an nbdkit_error. */
int arbiter_option (struct engine_config *config, const char *key,
                    const char *value);

/* All are there: check what goes together, and set what was not given.
 * -1 after an nbdkit_error.
 */
int arbiter_complete (struct engine_config *config);

/* Paths in the configuration are not valid any more. */
void arbiter_options_free (void);

#endif /* DUET_ARBITER_OPTIONS_H */
