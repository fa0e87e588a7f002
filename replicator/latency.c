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
}

uint64_t
latency_quantile (const struct latency *latency, unsigned per_mille)
{
  uint64_t counts[LATENCY_BUCKETS];
  uint64_t total = 0;

  assert (per_mille <= 1000);
  for (unsigned i = 0; i < LATENCY_BUCKETS; i++) {
    counts[i] = atomic_load_explicit (&latency->buckets[i],
                                      memory_order_relaxed);
    total += counts[i];
  }
  if (total == 0)
    return 0;

  /* The how-manieth, from 1, rounded up; without an overflow. */
  uint64_t rank = total / 1000 * per_mille +
    (total % 1000 * per_mille + 999) / 1000;
  uint64_t max_us = atomic_load_explicit (&latency->max_us,
                                          memory_order_relaxed);
  unsigned bucket = 0;
  uint64_t seen = counts[0];

  while (seen < rank || seen == 0)
    seen += counts[++bucket];
  /* The last bucket has no upper edge of its own. */
  if (bucket == LATENCY_BUCKETS - 1 || edge_of (bucket) > max_us)
    return max_us;
  return edge_of (bucket);
}
