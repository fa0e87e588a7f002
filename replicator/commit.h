/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * commit.h: group commit: one fdatasync for all that wrote before it.
 */
#ifndef DUET_COMMIT_H
#define DUET_COMMIT_H

#include <stdint.h>

#include "latency.h"

struct commit;

/* FD stays the caller's and must outlive this; nobody else may fsync it
 * (see commit.c).  NULL with errno: no memory.
 */
struct commit *commit_new (int fd);
void commit_free (struct commit *commit);

/* Everything written to the file before the call is durable when this
 * returns 0.  -1 with errno when an fdatasync has failed, this one or any
 * before: the first error is remembered for ever.  Any thread.
 */
int commit_sync (struct commit *commit);

/* fdatasyncs begun, and callers served by them (or told the error). */
void commit_counts (struct commit *commit, uint64_t *syncs, uint64_t *served);
/* How long each fdatasync took, and (not in us) how many it served. */
void commit_histograms (const struct commit *commit,
                        struct latency_counts *duration,
                        struct latency_counts *group);

#endif /* DUET_COMMIT_H */
