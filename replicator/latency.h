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

enum { LATENCY_BUCKETS = 8 * 40 };

struct latency {
  _Atomic uint64_t buckets[LATENCY_BUCKETS];
  _Atomic uint64_t max_us;
};

void latency_add (struct latency *latency, uint64_t us);
/* The upper edge in us of the bucket in which the PER_MILLE-th value
 * lies, at most the maximum; 0 when empty.
 */
uint64_t latency_quantile (const struct latency *latency, unsigned per_mille);

#endif /* DUET_LATENCY_H */
