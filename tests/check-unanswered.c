/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-unanswered.c: the table of unanswered requests.
 *
 * Stories for each rule, and a random walk in which a model server
 * carries out sendings of several sessions in any order it could: a write
 * that was answered must never be undone by an older one.
 */
#include <check.h>
#include <stdlib.h>

#include "unanswered.h"

static struct unanswered *table;

static void
make_table (void)
{
  table = unanswered_new (8);
  ck_assert_ptr_nonnull (table);
}

static void
free_table (void)
{
  unanswered_free (table);
}

static uint32_t
begin (enum unanswered_kind kind, uint64_t offset, uint64_t length)
{
  uint32_t slot = UINT32_MAX;

  ck_assert (unanswered_begin (table, kind, offset, length, &slot));
  unanswered_check (table);
  return slot;
}

static uint32_t
begin_write (uint64_t offset, uint64_t length)
{
  return begin (UNANSWERED_WRITE, offset, length);
}

static uint32_t
begin_read (uint64_t offset, uint64_t length)
{
  return begin (UNANSWERED_READ, offset, length);
}

static const struct {
  enum unanswered_kind first, second;
  uint64_t offset, length; /* of the second; the first is [10, 20) */
  bool waits;
} pairs[] = {
  { UNANSWERED_WRITE, UNANSWERED_WRITE, 19, 1, true },
  { UNANSWERED_WRITE, UNANSWERED_WRITE, 20, 1, false },
  { UNANSWERED_WRITE, UNANSWERED_WRITE, 9, 1, false },
  { UNANSWERED_WRITE, UNANSWERED_WRITE, 9, 2, true },
  { UNANSWERED_WRITE, UNANSWERED_READ, 0, 100, true },
  { UNANSWERED_READ, UNANSWERED_WRITE, 12, 2, true },
  { UNANSWERED_READ, UNANSWERED_READ, 10, 10, false },
  { UNANSWERED_WRITE, UNANSWERED_FLUSH, 0, 0, false },
  { UNANSWERED_FLUSH, UNANSWERED_WRITE, 10, 10, false },
};

START_TEST (who_waits_for_whom)
{
  uint32_t first = begin (pairs[_i].first, 10, 10);
  uint32_t second = begin (pairs[_i].second, pairs[_i].offset,
                           pairs[_i].length);

  ck_assert (unanswered_may_send (table, first));
  ck_assert_int_eq (unanswered_may_send (table, second), !pairs[_i].waits);
  unanswered_sent (table, first, 0);
  ck_assert (!unanswered_may_send (table, first));
  ck_assert_int_eq (unanswered_may_send (table, second), !pairs[_i].waits);
  unanswered_end (table, first);
  unanswered_check (table);
  ck_assert (unanswered_may_send (table, second));
}
END_TEST

START_TEST (arrival_decides)
{
  uint32_t read = begin_read (0, 10);
  uint32_t write = begin_write (0, 10);
  uint32_t late = begin_read (0, 10);

  /* The late read does not overtake the write that waits. */
  ck_assert (unanswered_may_send (table, read));
  ck_assert (!unanswered_may_send (table, write));
  ck_assert (!unanswered_may_send (table, late));
  unanswered_end (table, read);
  ck_assert (unanswered_may_send (table, write));
  ck_assert (!unanswered_may_send (table, late));
  unanswered_end (table, write);
  ck_assert (unanswered_may_send (table, late));
}
END_TEST

START_TEST (full_table)
{
  uint32_t slots[8], more, i;

  for (i = 0; i < 8; i++)
    slots[i] = begin_write (i, 1);
  ck_assert (!unanswered_begin (table, UNANSWERED_READ, 0, 1, &more));
  ck_assert_uint_eq (unanswered_count (table), 8);
  unanswered_end (table, slots[3]);
  ck_assert_uint_eq (begin_write (50, 1), slots[3]);
}
END_TEST

START_TEST (replays_come_first)
{
  uint32_t sent = begin_write (0, 10);
  uint32_t overlapping = begin_write (5, 10);
  uint32_t other = begin_write (100, 10);
  uint32_t slot = UINT32_MAX;

  unanswered_sent (table, sent, 1);
  unanswered_lost (table);
  unanswered_check (table);
  ck_assert_uint_eq (unanswered_replays (table), 1);
  ck_assert (unanswered_may_send (table, sent));
  ck_assert (!unanswered_may_send (table, overlapping));
  ck_assert (!unanswered_may_send (table, other));
  ck_assert (unanswered_next (table, &slot));
  ck_assert_uint_eq (slot, sent);
  ck_assert (!unanswered_next (table, &slot));

  unanswered_sent (table, sent, 2);
  ck_assert_uint_eq (unanswered_replays (table), 0);
  ck_assert (!unanswered_may_send (table, overlapping));
  ck_assert (unanswered_may_send (table, other));
}
END_TEST

START_TEST (replays_in_order_of_arrival)
{
  uint32_t slots[4], slot = UINT32_MAX, i;

  for (i = 0; i < 4; i++)
    slots[i] = begin_write (10 * i, 10);
  unanswered_end (table, slots[1]);
  slots[1] = begin_write (200, 1);
  for (i = 0; i < 4; i++)
    unanswered_sent (table, slots[3 - i], 0);
  unanswered_lost (table);
  ck_assert (unanswered_next (table, &slot) && slot == slots[0]);
  ck_assert (unanswered_next (table, &slot) && slot == slots[2]);
  ck_assert (unanswered_next (table, &slot) && slot == slots[3]);
  ck_assert (unanswered_next (table, &slot) && slot == slots[1]);
  ck_assert (!unanswered_next (table, &slot));
}
END_TEST

START_TEST (a_given_up_replay_frees_the_rest)
{
  uint32_t sent = begin_write (0, 10);
  uint32_t other = begin_write (100, 10);

  unanswered_sent (table, sent, 0);
  unanswered_lost (table);
  ck_assert (!unanswered_may_send (table, other));
  unanswered_end (table, sent);
  unanswered_check (table);
  ck_assert_uint_eq (unanswered_replays (table), 0);
  ck_assert (unanswered_may_send (table, other));
}
END_TEST

START_TEST (late_answers_find_nothing)
{
  uint32_t slot = begin_write (0, 10), found;
  uint64_t first = unanswered_sent (table, slot, 0), second;

  unanswered_lost (table);
  ck_assert (!unanswered_answered (table, first, &found));
  second = unanswered_sent (table, slot, 0);
  ck_assert_uint_ne (first, second);
  ck_assert (!unanswered_answered (table, first, &found));
  ck_assert (unanswered_answered (table, second, &found));
  ck_assert_uint_eq (found, slot);
  ck_assert (!unanswered_answered (table, second, &found));
  unanswered_end (table, slot);
  ck_assert_uint_eq (begin_write (0, 10), slot);
  unanswered_sent (table, slot, 0);
  ck_assert (!unanswered_answered (table, second, &found));
  ck_assert (!unanswered_answered (table, 0, &found));
  ck_assert (!unanswered_answered (table, UINT64_MAX, &found));
}
END_TEST

/* A request in parts keeps its range from the first to the last. */
START_TEST (parts_keep_the_range)
{
  uint32_t large = begin_write (0, 100), slot;
  uint32_t other = begin_write (50, 1);
  uint64_t tag = unanswered_sent (table, large, 0);

  ck_assert (unanswered_answered (table, tag, &slot));
  unanswered_check (table);
  ck_assert (!unanswered_may_send (table, other));
  ck_assert (unanswered_may_send (table, large));
  tag = unanswered_sent (table, large, 0);
  ck_assert (unanswered_answered (table, tag, &slot));
  unanswered_end (table, large);
  ck_assert (unanswered_may_send (table, other));
}
END_TEST

START_TEST (oldest_sending)
{
  uint32_t first = begin_write (0, 1), second = begin_write (1, 1), slot;
  uint64_t tag;

  ck_assert_uint_eq (unanswered_sent_ms (table), UINT64_MAX);
  tag = unanswered_sent (table, second, 7);
  unanswered_sent (table, first, 9);
  ck_assert_uint_eq (unanswered_sent_ms (table), 7);
  ck_assert (unanswered_answered (table, tag, &slot));
  ck_assert_uint_eq (unanswered_sent_ms (table), 9);
  unanswered_lost (table);
  ck_assert_uint_eq (unanswered_sent_ms (table), UINT64_MAX);
}
END_TEST

/* ----------------------------------------------------------- the walk */

enum { CELLS = 6, STEPS = 200000, SENDINGS = 64 };

/* A sending the server has not carried out; those of a lost session may
 * still be carried out until the next session is opened (fencing).
 */
struct sending {
  uint64_t tag;
  uint32_t slot;
  bool used;
};

static struct {
  uint64_t number; /* order of arrival; what a write writes */
  uint64_t offset, length;
  bool is_write, used;
} ops[8];

static struct sending sendings[SENDINGS];
static uint64_t cells[CELLS];    /* number of the write that was last */
static uint64_t answered[CELLS]; /* newest answered write */
static uint64_t arrivals;

static void
bring (void)
{
  uint64_t offset = (uint64_t) (rand () % CELLS), length;
  bool is_write = rand () % 3 > 0;
  uint32_t slot;

  length = 1 + (uint64_t) rand () % (CELLS - offset);
  if (!unanswered_begin (table, is_write ? UNANSWERED_WRITE : UNANSWERED_READ,
                         offset, length, &slot))
    return;
  ops[slot].number = ++arrivals;
  ops[slot].offset = offset;
  ops[slot].length = length;
  ops[slot].is_write = is_write;
  ops[slot].used = true;
}

static void
send_some (void)
{
  uint32_t slot = UINT32_MAX;
  int i;

  while (unanswered_next (table, &slot)) {
    if (rand () % 2 == 0)
      continue;
    for (i = 0; i < SENDINGS && sendings[i].used; i++)
      ;
    if (i == SENDINGS)
      return;
    sendings[i].used = true;
    sendings[i].slot = slot;
    sendings[i].tag = unanswered_sent (table, slot, 0);
    /* Replays change who may be sent: begin again. */
    slot = UINT32_MAX;
  }
}

/* The server carries out one sending; the answer may reach the client. */
static void
serve (void)
{
  struct sending *sending = NULL;
  uint32_t slot, found;
  uint64_t cell;
  int start = rand (), i;

  for (i = 0; i < SENDINGS && (sending == NULL || !sending->used); i++)
    sending = &sendings[(start % SENDINGS + i) % SENDINGS];
  if (!sending->used)
    return;
  slot = sending->slot;
  sending->used = false;
  for (cell = 0; cell < CELLS; cell++)
    if (cell >= ops[slot].offset &&
        cell < ops[slot].offset + ops[slot].length) {
      if (ops[slot].is_write)
        cells[cell] = ops[slot].number;
      else if (cells[cell] < answered[cell])
        ck_abort_msg ("read an undone write");
    }
  if (!unanswered_answered (table, sending->tag, &found))
    return;
  if (found != slot)
    ck_abort_msg ("answered another request");
  for (cell = 0; cell < CELLS && ops[slot].is_write; cell++)
    if (cell >= ops[slot].offset && cell < ops[slot].offset + ops[slot].length)
      answered[cell] = ops[slot].number;
  unanswered_end (table, slot);
  ops[slot].used = false;
}

/* The session is lost; some of what it was sent still happens, then the
 * next session fences it.
 */
static void
lose (void)
{
  int i;

  unanswered_lost (table);
  for (i = 0; i < 20; i++)
    serve ();
  for (i = 0; i < SENDINGS; i++)
    sendings[i].used = false;
}

START_TEST (no_write_is_undone)
{
  int step;
  uint64_t cell;

  srand ((unsigned) _i);
  for (step = 0; step < STEPS; step++) {
    switch (rand () % 8) {
    case 0:
    case 1: bring (); break;
    case 2:
    case 3: send_some (); break;
    case 4:
      if (rand () % 8 == 0)
        lose ();
      break;
    default: serve (); break;
    }
    unanswered_check (table);
    for (cell = 0; cell < CELLS; cell++)
      if (cells[cell] < answered[cell])
        ck_abort_msg ("step %d: cell %d was undone", step, (int) cell);
  }
  ck_assert_uint_gt (arrivals, STEPS / 100);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("unanswered");
  TCase *tcase = tcase_create ("unanswered");
  SRunner *runner;
  int failed;

  suite_add_tcase (suite, tcase);
  tcase_add_checked_fixture (tcase, make_table, free_table);
  tcase_set_timeout (tcase, 60);
  tcase_add_loop_test (tcase, who_waits_for_whom, 0,
                       (int) (sizeof pairs / sizeof pairs[0]));
  tcase_add_test (tcase, arrival_decides);
  tcase_add_test (tcase, full_table);
  tcase_add_test (tcase, replays_come_first);
  tcase_add_test (tcase, replays_in_order_of_arrival);
  tcase_add_test (tcase, a_given_up_replay_frees_the_rest);
  tcase_add_test (tcase, late_answers_find_nothing);
  tcase_add_test (tcase, parts_keep_the_range);
  tcase_add_test (tcase, oldest_sending);
  tcase_add_loop_test (tcase, no_write_is_undone, 0, 3);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
