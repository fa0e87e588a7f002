/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * arbiter.h: the volume's key in etcd, as the core wants it (core.h,
 * "arbiter=etcd"): what the key's value looks like, and the carrying out
 * of ACT_KEY_READ and ACT_KEY_CAS.
 */
#ifndef DUET_ARBITER_H
#define DUET_ARBITER_H

#include "core.h"
#include "etcd.h"

#define ARBITER_PREFIX "/duet/"

struct arbiter_config {
  struct etcd_config etcd; /* its times are filled in */
  const char *prefix;      /* of the key; the volume's id follows */
};

struct arbiter;

/* 0, or -1 with a sentence in ERROR. */
int arbiter_check_prefix (const char *prefix, char *error, size_t error_size);

/* As etcd_new; no connection is made. */
struct arbiter *arbiter_new (const struct arbiter_config *config, char *error,
                             size_t error_size);
void arbiter_free (struct arbiter *arbiter);

/* From any thread: the call in progress and all later ones end at once. */
void arbiter_stop (struct arbiter *arbiter);

/* Both block for CORE_ARBITER_MS at most; one thread at a time. */
void arbiter_read (struct arbiter *arbiter, uint64_t volume,
                   struct arbiter_answer *answer);
void arbiter_swap (struct arbiter *arbiter, uint64_t revision,
                   const struct arbiter_value *value,
                   struct arbiter_answer *answer);

/* Why the last call had no result. */
const char *arbiter_reason (const struct arbiter *arbiter);

/* The bytes of the key's value, and back; see docs/protocol.md.  False: no
 * memory; not such a value.
 */
bool arbiter_format (const struct arbiter_value *value,
                     struct etcd_value *text);
bool arbiter_parse (const struct etcd_value *text, struct arbiter_value *value);

#endif /* DUET_ARBITER_H */
