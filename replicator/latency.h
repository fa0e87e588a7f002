/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * latency.h: a histogram of durations with a fixed relative error, filled
 * from any thread without a lock.
 *
 * Buckets are powers of two, each divided into eight equal parts (the
 * scheme of HdrHistogram, by Gil Tene), so a figure read from it is at
 * most 12.5 % above the true one.
 */
#ifndef DUET_LATENCY_H
#define DUET_LATENCY_H

#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

enum { LATENCY_BUCKETS = 8 * 40 };

struct latency {
  _Atomic uint64_t buckets[LATENCY_BUCKETS];
  _Atomic uint64_t max_us;
  _Atomic uint64_t sum_us;
};

/* What was in it at one moment; COUNT is the sum of the buckets. */
struct latency_counts {
  uint64_t buckets[LATENCY_BUCKETS];
  uint64_t count, max_us, sum_us;
};

/* The clock to measure with; no system call. */
static inline uint64_t
latency_now_us (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

void latency_add (struct latency *latency, uint64_t us);
/* The upper edge in us of the bucket in which the PER_MILLE-th value
 * lies, at most the maximum; 0 when empty.
 */
uint64_t latency_quantile (const struct latency *latency, unsigned per_mille);

void latency_read (const struct latency *latency,
                   struct latency_counts *counts);
/* As latency_quantile. */
uint64_t latency_counts_quantile (const struct latency_counts *counts,
                                  unsigned per_mille);
/* How many lie in buckets that end at US or before: exact where a bucket
 * ends at US, as one does below each power of two and at each number up
 * to 15.
 */
uint64_t latency_counts_upto (const struct latency_counts *counts, uint64_t us);
/* Take BEFORE, an earlier reading of the same histogram, out of COUNTS: what
 * remains came in between.  Its maximum becomes an upper edge.
 */
void latency_counts_since (struct latency_counts *counts,
                           const struct latency_counts *before);

#endif /* DUET_LATENCY_H */
