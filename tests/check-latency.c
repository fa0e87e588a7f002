/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-latency.c: what the histogram says is never below the truth and
 * at most an eighth above it, and no count gets lost between threads.
 */
#include <check.h>
#include <pthread.h>
#include <stdlib.h>

#include "latency.h"

enum { THREADS = 4, ADDS = 20000, VALUES = 2000 };

static struct latency latency;

static void
reset (void)
{
  for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
    atomic_store (&latency.buckets[i], 0);
  atomic_store (&latency.max_us, 0);
  atomic_store (&latency.sum_us, 0);
}

START_TEST (empty_is_zero)
{
  ck_assert_uint_eq (latency_quantile (&latency, 0), 0);
  ck_assert_uint_eq (latency_quantile (&latency, 500), 0);
  ck_assert_uint_eq (latency_quantile (&latency, 1000), 0);
}
END_TEST

/* The bucket that US falls into, seen by adding something longer so that
 * the maximum does not hide its edge.
 */
static uint64_t
edge_over (uint64_t us)
{
  reset ();
  latency_add (&latency, us);
  latency_add (&latency, UINT64_MAX);
  return latency_quantile (&latency, 500);
}

static void
check_edge (uint64_t us)
{
  uint64_t edge = edge_over (us);

  ck_assert_uint_ge (edge, us);
  ck_assert_uint_le (edge - us, us / 8);
}

START_TEST (error_is_at_most_an_eighth)
{
  for (uint64_t us = 0; us < 5000; us++)
    check_edge (us);
  for (unsigned bit = 12; bit < 41; bit++) {
    uint64_t power = UINT64_C (1) << bit;

    for (uint64_t part = 0; part < 8; part++) {
      check_edge (power + part * power / 8);
      check_edge (power + (part + 1) * power / 8 - 1);
    }
  }
}
END_TEST

START_TEST (edges_never_fall)
{
  uint64_t last = 0;

  for (uint64_t us = 0; us < 5000; us++) {
    uint64_t edge = edge_over (us);

    ck_assert_uint_ge (edge, last);
    last = edge;
  }
}
END_TEST

START_TEST (longest_are_counted)
{
  latency_add (&latency, UINT64_MAX);
  ck_assert_uint_eq (latency_quantile (&latency, 500), UINT64_MAX);
  latency_add (&latency, UINT64_C (1) << 42);
  ck_assert_uint_eq (latency_quantile (&latency, 1), UINT64_MAX);
  ck_assert_uint_eq (atomic_load (&latency.max_us), UINT64_MAX);
}
END_TEST

START_TEST (never_above_the_maximum)
{
  latency_add (&latency, 1000);
  for (unsigned per_mille = 0; per_mille <= 1000; per_mille++)
    ck_assert_uint_eq (latency_quantile (&latency, per_mille), 1000);
  latency_add (&latency, 10);
  ck_assert_uint_eq (latency_quantile (&latency, 500), 10);
  ck_assert_uint_eq (latency_quantile (&latency, 501), 1000);
}
END_TEST

START_TEST (edges_are_where_they_are_promised)
{
  static struct latency_counts counts;

  for (uint64_t us = 1; us < 16; us++) {
    reset ();
    latency_add (&latency, us);
    latency_read (&latency, &counts);
    ck_assert_uint_eq (latency_counts_upto (&counts, us), 1);
    ck_assert_uint_eq (latency_counts_upto (&counts, us - 1), 0);
  }
  for (unsigned bit = 4; bit < 41; bit++) {
    uint64_t power = UINT64_C (1) << bit;

    reset ();
    latency_add (&latency, power - 1);
    latency_add (&latency, power);
    latency_read (&latency, &counts);
    ck_assert_uint_eq (latency_counts_upto (&counts, power - 1), 1);
    ck_assert_uint_eq (latency_counts_upto (&counts, 2 * power - 1), 2);
    ck_assert_uint_eq (counts.sum_us, 2 * power - 1);
  }
}
END_TEST

START_TEST (only_what_came_since)
{
  static struct latency_counts before, now;

  latency_add (&latency, 7);
  latency_add (&latency, 1000000);
  latency_read (&latency, &before);
  latency_add (&latency, 7);
  latency_add (&latency, 900);
  latency_read (&latency, &now);
  latency_counts_since (&now, &before);
  ck_assert_uint_eq (now.count, 2);
  ck_assert_uint_eq (now.sum_us, 907);
  ck_assert_uint_eq (latency_counts_quantile (&now, 500), 7);
  ck_assert_uint_ge (latency_counts_quantile (&now, 1000), 900);
  ck_assert_uint_le (latency_counts_quantile (&now, 1000), 900 + 900 / 8);
  ck_assert_uint_ge (now.max_us, 900);
  latency_read (&latency, &now);
  before = now;
  latency_counts_since (&now, &before);
  ck_assert_uint_eq (now.count, 0);
  ck_assert_uint_eq (latency_counts_quantile (&now, 990), 0);
}
END_TEST

static int
compare (const void *a, const void *b)
{
  const uint64_t *x = a;
  const uint64_t *y = b;

  return (*x > *y) - (*x < *y);
}

START_TEST (quantiles_agree_with_sorting)
{
  static uint64_t values[VALUES];
  uint64_t random = 88172645463325252;

  for (unsigned i = 0; i < VALUES; i++) {
    random ^= random << 13;
    random ^= random >> 7;
    random ^= random << 17;
    values[i] = random >> (23 + random % 40);
    latency_add (&latency, values[i]);
  }
  qsort (values, VALUES, sizeof values[0], compare);
  for (unsigned per_mille = 1; per_mille <= 1000; per_mille++) {
    uint64_t exact = values[(VALUES * per_mille + 999) / 1000 - 1];
    uint64_t read = latency_quantile (&latency, per_mille);

    ck_assert_uint_ge (read, exact);
    ck_assert_uint_le (read - exact, exact / 8);
  }
}
END_TEST

static void *
add_many (void *argument)
{
  const uint64_t *us = argument;

  for (uint64_t i = 0; i < ADDS; i++)
    latency_add (&latency, *us + i);
  return NULL;
}

START_TEST (threads_lose_nothing)
{
  pthread_t threads[THREADS];
  uint64_t first[THREADS];
  uint64_t total = 0;

  for (unsigned i = 0; i < THREADS; i++) {
    first[i] = i * 1000;
    ck_assert_int_eq (pthread_create (&threads[i], NULL, add_many, &first[i]),
                      0);
  }
  for (unsigned i = 0; i < THREADS; i++)
    ck_assert_int_eq (pthread_join (threads[i], NULL), 0);
  for (unsigned i = 0; i < LATENCY_BUCKETS; i++)
    total += atomic_load (&latency.buckets[i]);
  ck_assert_uint_eq (total, THREADS * ADDS);
  ck_assert_uint_eq (atomic_load (&latency.max_us),
                     (THREADS - 1) * 1000 + ADDS - 1);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("latency");
  TCase *tcase = tcase_create ("latency");
  SRunner *runner;
  int failed;

  suite_add_tcase (suite, tcase);
  tcase_add_checked_fixture (tcase, reset, NULL);
  tcase_add_test (tcase, empty_is_zero);
  tcase_add_test (tcase, error_is_at_most_an_eighth);
  tcase_add_test (tcase, edges_never_fall);
  tcase_add_test (tcase, longest_are_counted);
  tcase_add_test (tcase, never_above_the_maximum);
  tcase_add_test (tcase, quantiles_agree_with_sorting);
  tcase_add_test (tcase, edges_are_where_they_are_promised);
  tcase_add_test (tcase, only_what_came_since);
  tcase_add_test (tcase, threads_lose_nothing);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
