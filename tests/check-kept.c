/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-kept.c: writes that were answered and not flushed: what is kept,
 * what is sent again and in which order, what a flush lets go.  At the end
 * random histories against a plain array: however sessions come and go,
 * each byte ends as its last answered write left it.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "kept.h"
#include "splitmix.h"

enum { CAPACITY = 8, BYTES = 1000 };

static struct kept *kept;

static void
set_up (void)
{
  kept = kept_new (CAPACITY, BYTES);
  ck_assert_ptr_nonnull (kept);
  kept_session (kept, 1);
}

static void
tear_down (void)
{
  kept_check (kept);
  kept_free (kept);
}

/* A write is sent and answered; its number. */
static uint64_t
keep (uint64_t offset, uint64_t length)
{
  struct kept_write write = { .offset = offset, .length = length };

  ck_assert (kept_reserve (kept, length));
  return kept_add (kept, &write, length);
}

/* How many a flush of NUMBER lets go. */
static uint32_t
let_go (uint64_t number)
{
  struct kept_write write;
  uint32_t count = 0;

  while (kept_flushed (kept, number, &write))
    count++;
  return count;
}

START_TEST (room_ends)
{
  uint32_t i;

  for (i = 0; i < CAPACITY - 1; i++)
    keep (i, 1);
  ck_assert (kept_reserve (kept, 1)); /* sent, not answered */
  ck_assert (!kept_reserve (kept, 1));
  kept_release (kept, 1);
  ck_assert (!kept_reserve (kept, BYTES));
  ck_assert (kept_reserve (kept, BYTES - (CAPACITY - 1)));
  ck_assert (!kept_reserve (kept, 0));
  kept_release (kept, BYTES - (CAPACITY - 1));
  ck_assert_uint_eq (let_go (kept_newest (kept)), CAPACITY - 1);
  /* Whatever its size. */
  ck_assert (kept_reserve (kept, 100 * BYTES));
  ck_assert (!kept_reserve (kept, 1));
  kept_release (kept, 100 * BYTES);
}
END_TEST

START_TEST (half_wants_a_flush)
{
  ck_assert (!kept_wants_flush (kept));
  keep (0, BYTES / 2);
  ck_assert (!kept_wants_flush (kept));
  keep (0, 1);
  ck_assert (kept_wants_flush (kept));
  let_go (kept_newest (kept));
  ck_assert (!kept_wants_flush (kept));
}
END_TEST

START_TEST (a_flush_covers_what_was_answered_before_it)
{
  uint64_t newest;

  ck_assert_uint_eq (let_go (kept_newest (kept)), 0);
  keep (0, 1);
  keep (1, 1);
  newest = kept_newest (kept);
  keep (2, 1);
  ck_assert_uint_eq (let_go (newest), 2);
  ck_assert_uint_eq (let_go (newest), 0);
  ck_assert_uint_eq (kept_count (kept), 1);
  ck_assert_uint_eq (let_go (kept_newest (kept)), 1);
}
END_TEST

START_TEST (the_same_process_needs_nothing)
{
  uint64_t number;

  keep (0, 1);
  kept_lost (kept);
  kept_session (kept, 1);
  ck_assert (kept_settled (kept));
  ck_assert (!kept_next (kept, &number));
}
END_TEST

START_TEST (another_gets_all_in_order)
{
  uint64_t a = keep (0, 10), b = keep (20, 10), c = keep (5, 10), number;

  kept_lost (kept);
  kept_session (kept, 2);
  ck_assert (!kept_settled (kept));
  ck_assert (kept_next (kept, &number));
  ck_assert_uint_eq (number, a);
  ck_assert_uint_eq (kept_write (kept, number).length, 10);
  kept_sent (kept, a);
  ck_assert (kept_next (kept, &number));
  ck_assert_uint_eq (number, b);
  kept_sent (kept, b);
  /* It overlaps the first one, which was not answered. */
  ck_assert (!kept_next (kept, &number));
  kept_answered (kept, b);
  ck_assert (!kept_next (kept, &number));
  kept_answered (kept, a);
  ck_assert (kept_next (kept, &number));
  ck_assert_uint_eq (number, c);
  kept_sent (kept, c);
  ck_assert (!kept_settled (kept));
  kept_answered (kept, c);
  ck_assert (kept_settled (kept));
}
END_TEST

START_TEST (lost_again)
{
  uint64_t a = keep (0, 10), b = keep (20, 10), number;

  kept_session (kept, 2);
  kept_sent (kept, a);
  kept_sent (kept, b);
  kept_answered (kept, b);
  kept_lost (kept);
  /* The same process: only what it has not answered. */
  kept_session (kept, 2);
  ck_assert (kept_next (kept, &number));
  ck_assert_uint_eq (number, a);
  kept_sent (kept, a);
  ck_assert (!kept_next (kept, &number));
  kept_lost (kept);
  /* And back to the first one: nobody knows what it has lost. */
  kept_session (kept, 1);
  ck_assert (kept_next (kept, &number));
  ck_assert_uint_eq (number, a);
  kept_sent (kept, a);
  ck_assert (kept_next (kept, &number));
  ck_assert_uint_eq (number, b);
  kept_sent (kept, b);
  kept_answered (kept, a);
  kept_answered (kept, b);
  ck_assert_uint_eq (let_go (kept_newest (kept)), 2);
}
END_TEST

/* ---------------------------------------------------------------- random */

enum { VOLUME = 24, FLIGHT = 3 };

/* A server with a cache, which forgets at will when it is another one. */
struct server {
  uint32_t cache[VOLUME], disk[VOLUME], told[VOLUME];
  uint64_t random, boot;
};

static void
put (uint32_t *bytes, uint64_t offset, uint64_t length, uint32_t value)
{
  uint64_t i;

  for (i = offset; i < offset + length; i++)
    bytes[i] = value;
}

static void
forget (struct server *server)
{
  uint32_t i;

  for (i = 0; i < VOLUME; i++)
    if (splitmix_next (&server->random) % 2)
      server->cache[i] = server->disk[i];
  memcpy (server->disk, server->cache, sizeof server->disk);
  server->boot++;
}

/* All that must be sent again is, unless the session is lost: false. */
static bool
send_again (struct server *server)
{
  uint64_t flight[FLIGHT], number;
  uint32_t count = 0, i;

  while (!kept_settled (kept)) {
    if (count < FLIGHT && kept_next (kept, &number)) {
      kept_sent (kept, number);
      flight[count++] = number;
      continue;
    }
    if (splitmix_next (&server->random) % 16 == 0)
      return false;
    i = (uint32_t) (splitmix_next (&server->random) % count);
    put (server->cache, kept_write (kept, flight[i]).offset,
         kept_write (kept, flight[i]).length,
         (uint32_t) (uintptr_t) kept_write (kept, flight[i]).data);
    kept_answered (kept, flight[i]);
    flight[i] = flight[--count];
    kept_check (kept);
  }
  return true;
}

static void
new_session (struct server *server)
{
  do {
    kept_lost (kept);
    if (splitmix_next (&server->random) % 2)
      forget (server);
    kept_session (kept, server->boot);
    kept_check (kept);
  } while (!send_again (server));
}

START_TEST (nothing_is_lost)
{
  struct server server = { .random = (uint64_t) _i, .boot = 1 };
  uint64_t offset, length;
  struct kept_write write;
  uint32_t step;

  for (step = 1; step < 2000; step++) {
    offset = splitmix_next (&server.random) % (VOLUME - 6);
    length = 1 + splitmix_next (&server.random) % 6;
    if (splitmix_next (&server.random) % 8 == 0)
      new_session (&server);
    ck_assert_int_eq (memcmp (server.cache, server.told, sizeof server.told),
                      0);
    if (!kept_reserve (kept, length)) {
      memcpy (server.disk, server.cache, sizeof server.disk);
      ck_assert_uint_gt (let_go (kept_newest (kept)), 0);
      continue;
    }
    put (server.cache, offset, length, step);
    put (server.told, offset, length, step);
    write = (struct kept_write){ offset, length, (void *) (uintptr_t) step };
    kept_add (kept, &write, length);
  }
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("kept");
  TCase *tcase = tcase_create ("kept");
  SRunner *runner;
  int failed;

  tcase_add_checked_fixture (tcase, set_up, tear_down);
  tcase_add_test (tcase, room_ends);
  tcase_add_test (tcase, half_wants_a_flush);
  tcase_add_test (tcase, a_flush_covers_what_was_answered_before_it);
  tcase_add_test (tcase, the_same_process_needs_nothing);
  tcase_add_test (tcase, another_gets_all_in_order);
  tcase_add_test (tcase, lost_again);
  tcase_add_loop_test (tcase, nothing_is_lost, 0, 50);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_ENV);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? 0 : 1;
}
