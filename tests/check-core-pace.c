/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-core-pace.c: how many chunks of a resync may be on their way, on
 * queues that are modelled: an ack takes what the way takes in any case,
 * and the time that the bytes in the queue take at the disk's rate.
 */
#include <check.h>
#include <stdlib.h>

#include "core-pace.h"
#include "marks.h"

enum { KIB = 1024, MIB = 1024 * KIB };

static struct pace pace;
static uint64_t now_ms;

/* A way to the peer's disk, and what clients keep in it. */
struct way {
  uint64_t base_ms;
  uint64_t bytes_per_ms;
  uint64_t client_bytes;
};

static uint64_t
took (const struct way *way, uint64_t chunks)
{
  return way->base_ms +
    (way->client_bytes + chunks * MARKS_CHUNK) / way->bytes_per_ms;
}

/* One whole window after the other, COUNT times. */
static void
rounds (const struct way *way, unsigned count)
{
  uint32_t i, window;

  while (count-- > 0) {
    window = pace.window;
    now_ms += took (way, window);
    for (i = 0; i < window; i++) {
      pace_acked (&pace, now_ms, took (way, window), way->client_bytes);
      ck_assert_uint_ge (pace.window, 1);
      ck_assert_uint_le (pace.window, PACE_MAX);
    }
  }
}

static void
set_up (void)
{
  now_ms = 1000;
  pace_start (&pace, now_ms);
}

START_TEST (a_fast_way_is_filled)
{
  const struct way flash = { 0, 1024 * KIB, 0 };

  rounds (&flash, PACE_MAX);
  ck_assert_uint_eq (pace.window, PACE_MAX);
}
END_TEST

/* 50 ms there and back are no reason to send one chunk at a time. */
START_TEST (a_distant_peer_is_no_slow_one)
{
  const struct way distant = { 50, 1024 * KIB, 0 };

  rounds (&distant, PACE_MAX);
  ck_assert_uint_eq (pace.window, PACE_MAX);
}
END_TEST

/* Each chunk takes 128 ms: more than one only makes clients wait. */
START_TEST (a_slow_disk_gets_one_chunk)
{
  const struct way slow = { 5, 2 * KIB, 4 * KIB };
  unsigned i, wide = 0;

  rounds (&slow, 10);
  for (i = 0; i < 100; i++) {
    rounds (&slow, 1);
    wide += pace.window > 2;
  }
  ck_assert_uint_eq (wide, 0);
}
END_TEST

/* Clients keep 4 MiB on the way; what they wait for is mostly their own. */
START_TEST (busy_clients_leave_a_share)
{
  struct way idle = { 2, 100 * KIB, 0 }, busy = { 2, 10 * KIB, 4 * MIB };
  unsigned i;

  rounds (&idle, 4); /* the least is small */
  rounds (&busy, 10);
  for (i = 0; i < 20; i++) {
    rounds (&busy, 1);
    ck_assert_uint_ge (pace.window, 4 * MIB / 2 / MARKS_CHUNK);
  }
}
END_TEST

/* A disk that takes 2 ms, and 1 for each chunk, has no wider queue than 2
 * for a client's small writes; and all that fits once it is quiet.
 */
START_TEST (writing_clients_wait_twice_as_long_at_most)
{
  const struct way small = { 2, 256 * KIB, 4 * KIB };
  const struct way quiet = { 2, 256 * KIB, 0 };
  unsigned i;

  rounds (&quiet, PACE_MAX);
  ck_assert_uint_eq (pace.window, PACE_MAX);
  for (i = 0; i < 30; i++) {
    pace_client (&pace, now_ms);
    rounds (&small, 1);
    if (i > 4)
      ck_assert_uint_le (took (&small, pace.window), 2 * (2 + 1) + 1);
  }
  now_ms += PACE_CLIENT_MS;
  rounds (&quiet, PACE_MAX);
  ck_assert_uint_eq (pace.window, PACE_MAX);
}
END_TEST

/* Whatever the clients do, every fifth byte of the queue; and not more
 * than half as much as theirs when that is slow.
 */
START_TEST (the_share_is_kept)
{
  uint64_t client, chunks;
  unsigned i;

  for (client = 0; client <= 8 * MIB; client += 12 * KIB) {
    struct way way = { 1, 1 * KIB, client };

    set_up ();
    pace_acked (&pace, now_ms, 1, 0); /* the least */
    for (i = 0; i < 2 * PACE_MAX; i++) {
      now_ms = 1000; /* so that the least stays */
      rounds (&way, 1);
    }
    chunks = pace.window * (uint64_t) MARKS_CHUNK;
    ck_assert_uint_ge (chunks * 5, client + chunks);
    if (pace.window > 1)
      ck_assert_uint_le (chunks * 2, client);
  }
}
END_TEST

/* What was fast once is not held against a machine for ever. */
START_TEST (the_least_is_forgotten)
{
  const struct way fast = { 1, 1024 * KIB, 0 }, later = { 300, 1024 * KIB, 0 };

  rounds (&fast, 4);
  rounds (&later, 10);
  ck_assert_uint_eq (pace.window, 1);
  rounds (&later, 3 * PACE_PERIOD_MS / 300);
  ck_assert_uint_gt (pace.window, 1);
  rounds (&later, PACE_MAX);
  ck_assert_uint_eq (pace.window, PACE_MAX);
}
END_TEST

/* One round of good acks adds one, one slow ack halves. */
START_TEST (up_by_one_and_down_by_half)
{
  uint32_t window, i;

  for (window = 2; window < 13; window++)
    for (i = 0; i < window; i++) {
      ck_assert_uint_eq (pace.window, window);
      pace_acked (&pace, now_ms, 10 + (i > 0 ? PACE_SLOW_MS : 0), 0);
    }
  ck_assert_uint_eq (pace.window, 13);
  for (window = 6; window > 0; window /= 2) {
    pace_acked (&pace, now_ms, 11 + PACE_SLOW_MS, 0);
    ck_assert_uint_eq (pace.window, window);
  }
  pace_acked (&pace, now_ms, UINT64_MAX, 0);
  ck_assert_uint_eq (pace.window, 1);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("core-pace");
  TCase *tcase = tcase_create ("core-pace");
  SRunner *runner;
  int failed;

  tcase_add_checked_fixture (tcase, set_up, NULL);
  tcase_add_test (tcase, a_fast_way_is_filled);
  tcase_add_test (tcase, a_distant_peer_is_no_slow_one);
  tcase_add_test (tcase, a_slow_disk_gets_one_chunk);
  tcase_add_test (tcase, busy_clients_leave_a_share);
  tcase_add_test (tcase, writing_clients_wait_twice_as_long_at_most);
  tcase_add_test (tcase, the_share_is_kept);
  tcase_add_test (tcase, the_least_is_forgotten);
  tcase_add_test (tcase, up_by_one_and_down_by_half);
  suite_add_tcase (suite, tcase);

  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
