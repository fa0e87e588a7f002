/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-linear.c: the judge of histories: stories of what it must refuse
 * and what it must allow, and histories as text.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "check-linear.h"
#include "linear.h"

/* --------------------------------------------------------------- stories */

static uint32_t
write_op (uint64_t offset, uint64_t length, int64_t sent, int64_t answered)
{
  uint32_t index = send_op (LINEAR_WRITE, offset, length, sent);

  if (answered != 0)
    linear_answer (&history, index, answered, NULL, 0);
  return index + 1;
}

static void
zeros_op (uint64_t offset, uint64_t length, int64_t sent, int64_t answered)
{
  uint32_t index = send_op (LINEAR_ZEROS, offset, length, sent);

  linear_answer (&history, index, answered, NULL, 0);
}

/* The read saw LENGTH bytes of each of the names. */
static void
read_op (uint64_t offset, uint64_t length, int64_t sent, int64_t answered,
         uint32_t count, const uint32_t *names)
{
  uint32_t index = send_op (LINEAR_READ, offset, length * count, sent), i;
  struct linear_run runs[8];

  ck_assert_uint_le (count, 8);
  for (i = 0; i < count; i++)
    runs[i] = (struct linear_run){ length, names[i] };
  linear_answer (&history, index, answered, runs, count);
}

#define read_one(offset, length, sent, answered, name) \
  read_op (offset, length, sent, answered, 1, (uint32_t[]){ name })
#define read_two(offset, length, sent, answered, one, two) \
  read_op (offset, length, sent, answered, 2, (uint32_t[]){ one, two })

START_TEST (nothing_happened)
{
  judge (LINEAR_YES, 0);
}
END_TEST

START_TEST (in_turn)
{
  uint32_t a, b;

  read_one (0, 10, 1, 2, LINEAR_ZERO);
  a = write_op (0, 10, 3, 4);
  b = write_op (5, 10, 5, 6);
  read_two (0, 5, 7, 8, a, b);
  zeros_op (0, 5, 9, 10);
  read_two (0, 5, 11, 12, LINEAR_ZERO, b);
  judge (LINEAR_YES, 0);
  ck_assert_uint_eq (verdict.parts, 1);
}
END_TEST

START_TEST (separate_parts)
{
  write_op (0, 10, 1, 2);
  write_op (10, 10, 1, 2);
  judge (LINEAR_YES, 0);
  ck_assert_uint_eq (verdict.parts, 2);
  ck_assert_uint_eq (verdict.pending_most, 1);
}
END_TEST

START_TEST (stale_read)
{
  uint32_t a = write_op (0, 10, 1, 2);

  write_op (4, 10, 3, 4);
  read_one (0, 10, 5, 6, a);
  judge (LINEAR_NO, 3);
}
END_TEST

START_TEST (lost_write)
{
  write_op (0, 10, 1, 2);
  read_one (3, 1, 3, 4, LINEAR_ZERO);
  judge (LINEAR_NO, 2);
}
END_TEST

START_TEST (lost_zeros)
{
  uint32_t a = write_op (0, 10, 1, 2);

  zeros_op (9, 10, 3, 4);
  read_one (9, 1, 5, 6, a);
  judge (LINEAR_NO, 3);
}
END_TEST

/* The same with the second write in flight is right. */
START_TEST (old_or_new_meanwhile)
{
  uint32_t a = write_op (0, 10, 1, 2), b = write_op (4, 10, 3, 10);

  read_two (0, 4, 4, 5, a, a);
  read_two (0, 4, 6, 7, a, b);
  judge (LINEAR_YES, 0);
}
END_TEST

START_TEST (seen_then_unseen)
{
  uint32_t a = write_op (0, 10, 1, 2), b = write_op (0, 10, 3, 10);

  read_one (2, 3, 4, 5, b);
  read_one (4, 3, 6, 7, a);
  judge (LINEAR_NO, 4);
}
END_TEST

/* Seen by a read, so it has happened, although nobody was answered. */
START_TEST (open_write_seen_then_unseen)
{
  uint32_t a = write_op (0, 10, 1, 2), b = write_op (0, 10, 3, 0);

  read_one (0, 10, 4, 5, b);
  read_one (0, 10, 6, 7, a);
  judge (LINEAR_NO, 4);
}
END_TEST

START_TEST (open_write_happens_late)
{
  uint32_t a, b = write_op (0, 10, 1, 0);

  a = write_op (0, 10, 2, 3);
  read_one (0, 10, 4, 5, a);
  read_one (0, 10, 6, 7, b);
  judge (LINEAR_YES, 0);
}
END_TEST

START_TEST (open_write_happens_once)
{
  uint32_t a, b = write_op (0, 10, 1, 0);

  read_one (0, 10, 2, 3, b);
  a = write_op (0, 10, 4, 5);
  read_one (0, 10, 6, 7, a);
  read_one (0, 10, 8, 9, b);
  judge (LINEAR_NO, 4);
}
END_TEST

/* Two writes at once: of what both cover, one has all. */
START_TEST (torn_write)
{
  uint32_t a = write_op (0, 10, 1, 4), b = write_op (0, 10, 2, 5);

  read_two (0, 5, 6, 7, a, b);
  judge (LINEAR_NO, 3);
}
END_TEST

START_TEST (torn_for_two_readers)
{
  uint32_t a = write_op (0, 10, 1, 4), b = write_op (0, 10, 2, 5);

  read_one (0, 5, 6, 7, a);
  read_one (5, 5, 8, 9, b);
  judge (LINEAR_NO, 4);
}
END_TEST

START_TEST (torn_by_zeros)
{
  uint32_t a = write_op (0, 10, 1, 4);

  zeros_op (0, 10, 2, 5);
  read_two (0, 5, 6, 7, a, LINEAR_ZERO);
  judge (LINEAR_NO, 3);
}
END_TEST

/* Half of a write that is under way. */
START_TEST (half_of_a_write)
{
  uint32_t a = write_op (0, 10, 1, 9);

  read_two (0, 5, 2, 3, LINEAR_ZERO, a);
  judge (LINEAR_NO, 2);
}
END_TEST

/* The overlap may come from either of two, the rest is from each. */
START_TEST (overlap_from_either)
{
  uint32_t a = write_op (0, 10, 1, 4), b = write_op (5, 10, 2, 5);
  uint32_t c = write_op (100, 10, 1, 4), d = write_op (105, 10, 2, 5);

  read_op (0, 5, 6, 7, 3, (uint32_t[]){ a, a, b });
  read_op (100, 5, 6, 7, 3, (uint32_t[]){ c, d, d });
  judge (LINEAR_YES, 0);
}
END_TEST

/* Real time: a was over before b began, but is on top. */
START_TEST (real_time_inversion)
{
  uint32_t a = write_op (0, 10, 1, 2);

  write_op (0, 10, 3, 4);
  read_one (0, 10, 5, 6, a);
  judge (LINEAR_NO, 3);
}
END_TEST

START_TEST (seen_before_it_was_sent)
{
  read_one (0, 10, 1, 2, 2);
  write_op (0, 10, 3, 4);
  judge (LINEAR_NO, 1 + 1);
}
END_TEST

/* Each pair of the three is in order, all three are not. */
START_TEST (circle_of_three)
{
  uint32_t a = write_op (0, 20, 1, 10), b = write_op (10, 20, 1, 10);
  uint32_t c = write_op (20, 20, 1, 10), d;

  d = write_op (0, 10, 1, 10);
  (void) d;
  read_one (10, 10, 11, 12, a);                         /* b, a */
  read_one (20, 10, 11, 12, b);                         /* c, b */
  read_op (0, 10, 2, 9, 4, (uint32_t[]){ a, a, c, c }); /* a, c, not yet b */
  judge (LINEAR_NO, 6);
}
END_TEST

START_TEST (bytes_of_no_write)
{
  write_op (0, 10, 1, 2);
  read_one (0, 10, 3, 4, LINEAR_TORN);
  judge (LINEAR_NO, 1);
}
END_TEST

START_TEST (bytes_of_another_place)
{
  uint32_t a = write_op (0, 10, 1, 2);

  write_op (5, 10, 1, 2);
  read_one (10, 2, 3, 4, a);
  judge (LINEAR_NO, 2);
}
END_TEST

/* I3's exception: b was sent again after the failover, over a. */
static void
twice (bool allowed, int64_t window, enum linear_result expected)
{
  uint32_t a, b = write_op (0, 10, 1, 20);

  read_one (0, 10, 2, 3, b);
  a = write_op (0, 10, 4, 5);
  read_one (0, 10, 6, 7, a);
  read_one (0, 10, 8, 9, b);
  linear_add_window (&history, window, window + 1);
  if (allowed)
    linear_allow_again (&history);
  judge (expected, expected == LINEAR_YES ? 0 : 4);
}

START_TEST (again_across_a_failover)
{
  twice (true, 5, LINEAR_YES);
}
END_TEST

START_TEST (again_is_an_exception)
{
  twice (false, 5, LINEAR_NO);
}
END_TEST

START_TEST (again_without_a_failover)
{
  twice (true, 21, LINEAR_NO);
}
END_TEST

START_TEST (never_again_after_the_answer)
{
  uint32_t a, b = write_op (0, 10, 1, 20);

  linear_add_window (&history, 5, 6);
  linear_allow_again (&history);
  a = write_op (0, 10, 21, 22);
  read_one (0, 10, 23, 24, a);
  read_one (0, 10, 25, 26, b);
  judge (LINEAR_NO, 3);
}
END_TEST

/* ------------------------------------------------------------------ text */

static void
put_file (const char *path, const char *text)
{
  FILE *file = fopen (path, "w");

  ck_assert_ptr_nonnull (file);
  ck_assert_int_ge (fputs (text, file), 0);
  ck_assert_int_eq (fclose (file), 0);
}

static bool
read_text (const char *text)
{
  char path[] = "/tmp/check-linear.XXXXXX", *error;
  int fd = mkstemp (path);
  bool good;

  ck_assert_int_ne (fd, -1);
  put_file (path, text);
  good = linear_read (&history, path, &error);
  ck_assert_int_eq (good, error == NULL);
  free (error);
  ck_assert_int_eq (remove (path), 0);
  return good;
}

START_TEST (text_is_read)
{
  ck_assert (read_text ("s 1.1 write 100 50 10\n"
                        "s 1.2 trim 120 10 11\n"
                        "a 1.1 12\n"
                        "s 1.3 read 110 30 14\n"
                        "a 1.3 15 10:1.1 10:zeros 10:torn\n"
                        "e 1.2 16 5\n"
                        "f 13 begin\n"
                        "f 20 end\n"
                        "s 1.4 zero 0 1 2"));
  ck_assert_uint_eq (history.count, 3);
  ck_assert_int_eq (history.ops[0].answered_ns, 12);
  ck_assert_int_eq (history.ops[1].kind, LINEAR_ZEROS);
  ck_assert_int_eq (history.ops[1].answered_ns, LINEAR_OPEN);
  ck_assert_uint_eq (history.ops[2].run_count, 3);
  ck_assert_uint_eq (history.ops[2].runs[0].name, history.ops[0].name);
  ck_assert_uint_eq (history.ops[2].runs[2].name, LINEAR_TORN);
  ck_assert_uint_eq (history.window_count, 1);
  linear_allow_again (&history);
  ck_assert (!history.ops[0].again && history.ops[1].again);
}
END_TEST

static const char *const bad_texts[] = {
  "x\n",
  "s 1.1 write 100 0 10\n",
  "s 0.1 write 100 10 10\n",
  "s 255.1 write 100 10 10\n",
  "s 1.1 write 1 1 1\ns 2.1 write 1 1 1\n",
  "s 1.1 write 1 1 1\ns 1.1 write 1 1 1\n",
  "a 1.1 10\n",
  "s 1.1 write 1 1 1\na 1.1 0\n",
  "s 1.1 write 1 1 1\na 1.1 2\na 1.1 3\n",
  "s 1.1 write 1 1 1\na 1.1 2 1:zeros\n",
  "s 1.1 read 1 9 1\na 1.1 2 8:zeros\n",
  "s 1.1 read 1 9 1\na 1.1 2 9:nothing\n",
  "s 1.1 read 1 9 1\na 1.1 2 9zeros\n",
  "f 1 end\n",
  "f 1 middle\n",
};

START_TEST (text_is_refused)
{
  ck_assert (!read_text (bad_texts[_i]));
}
END_TEST

START_TEST (a_client_has_one_file)
{
  ck_assert (read_text ("s 1.1 write 1 1 1\n"));
  ck_assert (read_text ("s 2.1 write 1 1 1\n"));
  ck_assert (!read_text ("s 1.2 write 1 1 1\n"));
}
END_TEST

static Suite *
linear_suite (void)
{
  Suite *suite = suite_create ("linear");
  TCase *stories = tcase_create ("stories"), *text;

  tcase_add_checked_fixture (stories, begin, end);
  tcase_add_test (stories, nothing_happened);
  tcase_add_test (stories, in_turn);
  tcase_add_test (stories, separate_parts);
  tcase_add_test (stories, stale_read);
  tcase_add_test (stories, lost_write);
  tcase_add_test (stories, lost_zeros);
  tcase_add_test (stories, old_or_new_meanwhile);
  tcase_add_test (stories, seen_then_unseen);
  tcase_add_test (stories, open_write_seen_then_unseen);
  tcase_add_test (stories, open_write_happens_late);
  tcase_add_test (stories, open_write_happens_once);
  tcase_add_test (stories, torn_write);
  tcase_add_test (stories, torn_for_two_readers);
  tcase_add_test (stories, torn_by_zeros);
  tcase_add_test (stories, half_of_a_write);
  tcase_add_test (stories, overlap_from_either);
  tcase_add_test (stories, real_time_inversion);
  tcase_add_test (stories, seen_before_it_was_sent);
  tcase_add_test (stories, circle_of_three);
  tcase_add_test (stories, bytes_of_no_write);
  tcase_add_test (stories, bytes_of_another_place);
  tcase_add_test (stories, again_across_a_failover);
  tcase_add_test (stories, again_is_an_exception);
  tcase_add_test (stories, again_without_a_failover);
  tcase_add_test (stories, never_again_after_the_answer);
  suite_add_tcase (suite, stories);

  text = tcase_create ("text");
  tcase_add_checked_fixture (text, begin, end);
  tcase_add_test (text, text_is_read);
  tcase_add_loop_test (text, text_is_refused, 0,
                       sizeof bad_texts / sizeof bad_texts[0]);
  tcase_add_test (text, a_client_has_one_file);
  suite_add_tcase (suite, text);
  return suite;
}

int
main (void)
{
  SRunner *runner = srunner_create (linear_suite ());
  int failed;

  srunner_run_all (runner, CK_ENV);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? 0 : 1;
}
