/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * latency.c: a histogram of durations.
 *
 * Durations below EXACT us have a bucket each.  Above, the highest set
 * bit of the duration chooses a group of PARTS buckets and the three bits
 * after it the bucket in the group.  What is longer than the last bucket
 * (48 days) counts in the last one.
 *
 * Counters are relaxed atomics: each is exact, but two read one after the
 * other need not belong to the same moment, which is enough for figures
 * that people look at.  Never orders anything else.
 */
#include <assert.h>

#include "latency.h"

enum { PART_BITS = 3, PARTS = 1 << PART_BITS, EXACT = PARTS };

static unsigned
bucket_of (uint64_t us)
{
  if (us < EXACT)
    return (unsigned) us;

  unsigned top = 63 - (unsigned) __builtin_clzll (us);
  unsigned part = (unsigned) (us >> (top - PART_BITS)) & (PARTS - 1);
  unsigned bucket = (top - PART_BITS + 1) * PARTS + part;
  return bucket < LATENCY_BUCKETS ? bucket : LATENCY_BUCKETS - 1;
}

/* The longest duration that falls into BUCKET. */
static uint64_t
edge_of (unsigned bucket)
{
  if (bucket < EXACT)
    return bucket;

  unsigned shift = bucket / PARTS - 1;
  return ((uint64_t) (PARTS + bucket % PARTS + 1) << shift) - 1;
}

void
latency_add (struct latency *latency, uint64_t us)
{
  uint64_t max_us = atomic_load_explicit (&latency->max_us,
                                          memory_order_relaxed);

  while (us > max_us)
    if (atomic_compare_exchange_weak_explicit (&latency->max_us, &max_us, us,
                                               memory_order_relaxed,
                                               memory_order_relaxed))
      break;
  atomic_fetch_add_explicit (&latency->buckets[bucket_of (us)], 1,
                             memory_order_relaxed);
  atomic_fetch_add_explicit (&latency->sum_us, us, memory_order_relaxed);
}

void
latency_read (const struct latency *latency, struct latency_counts *counts)
{
  counts->count = 0;
  for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
    counts->buckets[i] = atomic_load_explicit (&latency->buckets[i],
                                               memory_order_relaxed);
    counts->count += counts->buckets[i];
  }
  counts->max_us = atomic_load_explicit (&latency->max_us,
                                         memory_order_relaxed);
  counts->sum_us = atomic_load_explicit (&latency->sum_us,
                                         memory_order_relaxed);
}

uint64_t
latency_counts_quantile (const struct latency_counts *counts,
                         unsigned per_mille)
{
  uint64_t total = counts->count;

  assert (per_mille <= 1000);
  if (total == 0)
    return 0;

  /* The how-manieth, from 1, rounded up; without an overflow. */
  uint64_t rank = total / 1000 * per_mille +
    (total % 1000 * per_mille + 999) / 1000;
  unsigned bucket = 0;
  uint64_t seen = counts->buckets[0];

  while (seen < rank || seen == 0)
    seen += counts->buckets[++bucket];
  /* The last bucket has no upper edge of its own. */
  if (bucket == LATENCY_BUCKETS - 1 || edge_of (bucket) > counts->max_us)
    return counts->max_us;
  return edge_of (bucket);
}

uint64_t
latency_quantile (const struct latency *latency, unsigned per_mille)
{
  struct latency_counts counts;

  latency_read (latency, &counts);
  return latency_counts_quantile (&counts, per_mille);
}

uint64_t
latency_counts_upto (const struct latency_counts *counts, uint64_t us)
{
  uint64_t below = 0;

  for (unsigned i = 0; i < LATENCY_BUCKETS - 1 && edge_of (i) <= us; i++)
    below += counts->buckets[i];
  return below;
}

void
latency_counts_since (struct latency_counts *counts,
                      const struct latency_counts *before)
{
  unsigned last = 0;

  for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
    counts->buckets[i] -= before->buckets[i];
    if (counts->buckets[i] > 0)
      last = i;
  }
  counts->count -= before->count;
  counts->sum_us -= before->sum_us;
  if (last < LATENCY_BUCKETS - 1 && edge_of (last) < counts->max_us)
    counts->max_us = edge_of (last);
}
