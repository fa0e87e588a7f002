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

/* One caller of commit_start; its owner's, who finds what it is part of. */
struct commit_waiter {
  struct commit_waiter *next; /* commit.c, and the list that DONE gets */
};

/* Who hears of the ends of commit_start's rounds: LIST is all that joined
 * the round, oldest first, each the callee's again; ERROR is 0, or what
 * commit_sync would have told them.  From the thread of one caller or
 * another, under no lock of ours.  To be set before the first commit_start.
 */
void commit_on_done (struct commit *commit,
                     void (*done) (void *opaque, struct commit_waiter *list,
                                   int error),
                     void *opaque);

/* As commit_sync, but the result comes to DONE, with WAITER, perhaps before
 * this returns: who need not lead a round does not sleep for it.
 */
void commit_start (struct commit *commit, struct commit_waiter *waiter);

/* 0, or the errno of the first fdatasync that failed.  From then on the
 * page cache may lack what was written: look after each read.
 */
int commit_error (const struct commit *commit);

/* fdatasyncs begun, and callers served by them (or told the error). */
void commit_counts (struct commit *commit, uint64_t *syncs, uint64_t *served);
/* How long each fdatasync took, and (not in us) how many it served. */
void commit_histograms (const struct commit *commit,
                        struct latency_counts *duration,
                        struct latency_counts *group);

#endif /* DUET_COMMIT_H */
