/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * etcd.h: one key of an etcd cluster, through the JSON gateway of etcd
 * 3.4 or later: read it, and change it if it is still as it was.
 *
 * Calls block, each for config.total_ms at most; one thread at a time may
 * make them.  With several endpoints the next one is asked too when one
 * has not answered in config.patience_ms, and at once when one fails: the
 * first answer that makes sense counts.  That is harmless because a swap
 * that is asked for twice is done once.
 */
#ifndef DUET_ETCD_H
#define DUET_ETCD_H

#include "etcd-text.h"

enum {
  ETCD_ENDPOINTS_MAX = 8,
  ETCD_CONNECT_MS = 1000, /* to one endpoint, with TLS */
  ETCD_TOTAL_MS = 2000,   /* for a call */
  ETCD_PATIENCE_MS = 100, /* before the next endpoint is asked, too */
  ETCD_REASON_MAX = 520,
};

struct etcd_config {
  const char *urls;          /* with commas between */
  const char *user;          /* NULL: none */
  const char *password_file; /* its first line; with user */
  const char *ca;            /* PEM files; NULL: the system's, none */
  const char *cert;
  const char *cert_key;
  uint32_t connect_ms, total_ms, patience_ms; /* 0: the default */
};

/* UNKNOWN: it may have been done or may yet be; only from a swap.
 * UNREACHABLE: surely not done, and nothing is known.  After these two,
 * etcd_last_reason says why.
 */
enum etcd_outcome {
  ETCD_DONE,
  ETCD_CONFLICT,
  ETCD_UNKNOWN,
  ETCD_UNREACHABLE,
};

struct etcd;

/* Is it a list of URLs as etcd= takes it?  -1 with a sentence in ERROR. */
int etcd_check_urls (const char *urls, char *error, size_t error_size);

/* Reads the password; makes no connection.  NULL with a message for the
 * user in ERROR.
 */
struct etcd *etcd_new (const struct etcd_config *config, char *error,
                       size_t error_size);
void etcd_free (struct etcd *etcd);

/* A call in progress, and every later one, ends at once.  From any thread. */
void etcd_stop (struct etcd *etcd);

/* What the cluster agrees on now (a linearizable read).  DONE with *VALUE
 * (revision 0: no such key), or UNREACHABLE.
 */
enum etcd_outcome etcd_read (struct etcd *etcd, const char *key,
                             struct etcd_value *value);

/* Put WANTED->bytes under KEY if its revision is still WANTED->revision
 * (0: if there is no such key); bytes that are there already are put
 * again, so that the revision moves on.  Whoever else puts the same bytes
 * must mean the same by them.  Asked again after UNKNOWN, it says what
 * came of it.
 *
 * DONE: *PRESENT has the new revision, and the bytes.  CONFLICT: *PRESENT
 * is what is there, and this attempt never will be.
 */
enum etcd_outcome etcd_swap (struct etcd *etcd, const char *key,
                             const struct etcd_value *wanted,
                             struct etcd_value *present);

/* Why the last call had no result: one sentence fit for a log. */
const char *etcd_last_reason (const struct etcd *etcd);

#endif /* DUET_ETCD_H */
