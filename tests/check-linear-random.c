/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-linear-random.c: the judge of histories: many small random ones
 * against a judge that tries all orders, and long ones of an object that
 * is atomic by construction, as they are and with one fault planted.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "check-linear.h"
#include "linear.h"

enum {
  SEEDS = 6000,
  SMALL_OPS = 7,
  SMALL_BYTES = 4,
  LONG_BYTES = 400,
  LONG_OPS = 100000
};

/* --------------------------------------------- all orders, small histories */

/* The state of the judge that tries all orders. */
struct trial {
  uint32_t bytes[SMALL_BYTES];
  unsigned done;    /* bit of ops */
  unsigned repeats; /* left */
};

static bool
is_before (const struct linear_op *one, const struct linear_op *two)
{
  return one->answered_ns < two->invoked_ns;
}

/* May op I happen now?  Nothing that must come before it is missing, and
 * if it happens again, nothing that must come after it is there.
 */
static bool
is_due (const struct trial *trial, uint32_t i)
{
  bool again = (trial->done >> i & 1) != 0;
  uint32_t k;

  if (again && (!history.ops[i].again || trial->repeats == 0))
    return false;
  for (k = 0; k < history.count; k++)
    if (again ? (trial->done >> k & 1) != 0 &&
            is_before (&history.ops[i], &history.ops[k])
              : (trial->done >> k & 1) == 0 &&
            is_before (&history.ops[k], &history.ops[i]))
      return false;
  return true;
}

static bool
happens (struct trial *trial, uint32_t i)
{
  const struct linear_op *op = &history.ops[i];
  uint32_t k;

  for (k = 0; k < op->length; k++)
    if (op->kind == LINEAR_READ) {
      if (trial->bytes[op->offset + k] != op->runs[k].name)
        return false;
    }
    else
      trial->bytes[op->offset + k] = op->kind == LINEAR_ZEROS ? LINEAR_ZERO
                                                              : op->name;
  if ((trial->done >> i & 1) != 0)
    trial->repeats--;
  trial->done |= 1u << i;
  return true;
}

static bool
has_order (struct trial trial)
{
  struct trial next;
  uint32_t i;
  bool over = true;

  for (i = 0; i < history.count; i++)
    if ((trial.done >> i & 1) == 0 && history.ops[i].answered_ns != LINEAR_OPEN)
      over = false;
  if (over)
    return true;
  for (i = 0; i < history.count; i++) {
    next = trial;
    if (is_due (&trial, i) && happens (&next, i) && has_order (next))
      return true;
  }
  return false;
}

/* A request, and for a read anything it could have seen. */
static void
random_op (void)
{
  uint64_t offset = (uint64_t) random () % SMALL_BYTES;
  uint64_t length = 1 + (uint64_t) random () % (SMALL_BYTES - offset);
  int64_t sent = random () % 20, answered = sent + 1 + random () % 12;
  struct linear_run runs[SMALL_BYTES];
  uint32_t index, i, k, count, names[SMALL_OPS + 1];
  static const enum linear_kind kinds[] = { LINEAR_READ,  LINEAR_READ,
                                            LINEAR_READ,  LINEAR_WRITE,
                                            LINEAR_WRITE, LINEAR_ZEROS };
  enum linear_kind kind = kinds[random () % 6];

  if (history.count < 3)
    kind = random () % 4 == 0 ? LINEAR_ZEROS : LINEAR_WRITE;
  index = send_op (kind, offset, length, sent);
  for (i = 0; i < length; i++) {
    names[0] = LINEAR_ZERO;
    count = 1;
    for (k = 0; k < index; k++)
      if (history.ops[k].kind == LINEAR_WRITE &&
          history.ops[k].offset <= offset + i &&
          offset + i < history.ops[k].offset + history.ops[k].length)
        names[count++] = history.ops[k].name;
    runs[i] = (struct linear_run){ 1, names[(uint32_t) random () % count] };
  }
  if (kind == LINEAR_READ || random () % 5 != 0)
    linear_answer (&history, index, answered, runs,
                   kind == LINEAR_READ ? (uint32_t) length : 0);
}

/* The explanation must have no order either. */
static void
check_explanation (void)
{
  struct linear_history whole = history;
  struct linear_op ops[SMALL_OPS];
  struct trial trial = { .repeats = 2 };

  ck_assert_uint_ge (verdict.op_count, 1);
  ck_assert_uint_le (verdict.op_count, whole.count);
  memcpy (ops, verdict.ops, verdict.op_count * sizeof ops[0]);
  history.ops = ops;
  history.count = verdict.op_count;
  ck_assert (!has_order (trial));
  history = whole;
}

START_TEST (as_if_all_orders_were_tried)
{
  uint32_t seed, i, count, orders = 0, again = 0;
  bool strict, expected;

  for (seed = 1; seed <= SEEDS; seed++) {
    srandom (seed);
    begin ();
    count = 3 + (uint32_t) random () % (SMALL_OPS - 2);
    for (i = 0; i < count; i++)
      random_op ();
    strict = has_order ((struct trial){ .repeats = 0 });
    linear_add_window (&history, random () % 8, 25);
    if (seed % 4 != 0)
      linear_allow_again (&history);
    expected = has_order ((struct trial){ .repeats = 2 });
    linear_check (&history, &verdict);
    ck_assert_msg (verdict.result == (expected ? LINEAR_YES : LINEAR_NO),
                   "seed %u: expected %d", seed, expected);
    if (!expected)
      check_explanation ();
    orders += expected;
    again += expected && !strict;
    end ();
  }
  /* The seeds are no use if they all come out alike. */
  ck_assert_uint_ge (orders, SEEDS / 10);
  ck_assert_uint_le (orders, SEEDS - SEEDS / 10);
  ck_assert_uint_ge (again, 3);
  begin ();
}
END_TEST

/* -------------------------------------------------------- long histories */

/* A request takes effect at a moment between its sending and its answer.
 * The object is LONG_BYTES long; each write or read has some of it.
 */
struct moment {
  int64_t time_ns;
  uint32_t index;
};

static int
by_time (const void *left, const void *right)
{
  const struct moment *l = left, *r = right;

  return l->time_ns < r->time_ns ? -1 : l->time_ns > r->time_ns;
}

static void
take_effect (uint32_t *bytes, uint32_t index, int64_t answered)
{
  const struct linear_op *op = &history.ops[index];
  struct linear_run runs[40];
  uint32_t i, count = 0;

  for (i = 0; i < op->length; i++)
    if (op->kind != LINEAR_READ)
      bytes[op->offset + i] = op->kind == LINEAR_ZEROS ? LINEAR_ZERO : op->name;
    else if (count > 0 && runs[count - 1].name == bytes[op->offset + i])
      runs[count - 1].length++;
    else
      runs[count++] = (struct linear_run){ 1, bytes[op->offset + i] };
  linear_answer (&history, index, answered, runs, count);
}

/* WIDTH requests are in flight at any time, about one in each 1 / PARTS of
 * the object.
 */
static void
make_long (uint32_t count, uint32_t width, uint32_t parts)
{
  struct moment *moments = linear_alloc (count, sizeof *moments);
  int64_t *answers = linear_alloc (count, sizeof *answers);
  uint32_t *bytes = linear_alloc (LONG_BYTES, sizeof *bytes);
  uint64_t span = LONG_BYTES / parts;
  uint32_t i;

  for (i = 0; i < count; i++) {
    uint64_t first = (uint64_t) random () % span;
    uint64_t length = 1 + (uint64_t) random () % (span - first);
    int64_t sent = (int64_t) i * 1000 + random () % 1000;
    int64_t lasts = random () % (2000 * (int64_t) width);
    long kind = random () % 100;

    if (length > 40)
      length = 40;
    send_op (kind < 45     ? LINEAR_READ
               : kind < 93 ? LINEAR_WRITE
                           : LINEAR_ZEROS,
             first + span * ((uint64_t) random () % parts), length, sent);
    answers[i] = sent + lasts + 1;
    moments[i].index = i;
    moments[i].time_ns = sent + random () % (lasts + 1);
  }
  qsort (moments, count, sizeof *moments, by_time);
  for (i = 0; i < count; i++)
    take_effect (bytes, moments[i].index, answers[moments[i].index]);
  free (moments);
  free (answers);
  free (bytes);
}

START_TEST (long_history)
{
  make_long (LONG_OPS, 16, 4);
  judge (LINEAR_YES, 0);
  ck_assert_uint_eq (verdict.parts, 4);
  ck_assert_uint_ge (verdict.pending_most, 12);
}
END_TEST

START_TEST (long_history_with_exception)
{
  make_long (LONG_OPS / 4, 16, 4);
  linear_add_window (&history, 1000000, 4000000);
  linear_allow_again (&history);
  judge (LINEAR_YES, 0);
}
END_TEST

/* In one read of 10^5 operations, one run is what was there before. */
START_TEST (long_history_with_one_fault)
{
  uint32_t at = LONG_OPS * 3 / 4, i, k;
  const struct linear_op *wrote;
  struct linear_op *read;
  bool planted = false;

  make_long (LONG_OPS, 16, 4);
  for (; !planted && at < history.count; at++) {
    read = &history.ops[at];
    for (i = 0; read->kind == LINEAR_READ && i < at && !planted; i++) {
      wrote = &history.ops[i];
      for (k = 0; k < read->run_count && !planted; k++)
        if (read->runs[k].name == wrote->name && k > 0)
          planted = read->runs[k - 1].name != LINEAR_ZERO;
      if (planted) {
        uint32_t old = 0;

        /* A write that covered the same bytes long before. */
        while (old < i &&
               (history.ops[old].kind != LINEAR_WRITE ||
                history.ops[old].answered_ns >= wrote->invoked_ns ||
                history.ops[old].offset > read->offset ||
                history.ops[old].offset + history.ops[old].length <
                  read->offset + read->length))
          old++;
        planted = old < i;
        if (planted)
          read->runs[k - 1].name = history.ops[old].name;
      }
    }
  }
  ck_assert (planted);
  linear_check (&history, &verdict);
  ck_assert_int_eq (verdict.result, LINEAR_NO);
  ck_assert_uint_le (verdict.op_count, 8);
}
END_TEST

static Suite *
linear_random_suite (void)
{
  Suite *suite = suite_create ("linear-random");
  TCase *random_ones = tcase_create ("random");

  tcase_add_checked_fixture (random_ones, begin, end);
  tcase_set_timeout (random_ones, 30);
  tcase_add_test (random_ones, as_if_all_orders_were_tried);
  tcase_add_test (random_ones, long_history);
  tcase_add_test (random_ones, long_history_with_exception);
  tcase_add_test (random_ones, long_history_with_one_fault);
  suite_add_tcase (suite, random_ones);
  return suite;
}

int
main (void)
{
  SRunner *runner = srunner_create (linear_random_suite ());
  int failed;

  srunner_run_all (runner, CK_ENV);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? 0 : 1;
}
