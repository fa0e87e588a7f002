/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-ranges.c: byte-range locks, by named cases and against a model
 * that looks at every byte.
 */
#include <check.h>
#include <stdlib.h>

#include "ranges.h"

enum {
  TAGS = 12,  /* entries in the random test */
  BYTES = 16, /* length of its number line */
  STEPS = 30000,
  SEED = 20240229,
};

static const bool READ = false;
static const bool WRITE = true;

/* What the model knows of a tag. */
struct model {
  bool entered;
  bool told; /* its caller knows that it holds */
  bool exclusive;
  uint64_t offset;
  uint64_t length;
  uint64_t arrival;
};

static bool
covers (const struct model *entry, uint64_t byte)
{
  return byte >= entry->offset && byte < entry->offset + entry->length;
}

/* Does TAG hold?  No older entry shares a byte with it, unless both only
 * read.
 */
static bool
model_held (const struct model *model, uint32_t tag)
{
  const struct model *mine = &model[tag];
  uint64_t byte;
  uint32_t i;

  if (!mine->entered)
    return false;
  for (i = 0; i < TAGS; ++i) {
    if (!model[i].entered || model[i].arrival >= mine->arrival)
      continue;
    if (!model[i].exclusive && !mine->exclusive)
      continue;
    for (byte = 0; byte < BYTES; ++byte)
      if (covers (&model[i], byte) && covers (mine, byte))
        return false;
  }
  return true;
}

static void
drain (struct ranges *ranges, struct model *model)
{
  bool all_told = true;
  uint32_t i, tag;

  while (ranges_next (ranges, &tag)) {
    ck_assert_uint_lt (tag, TAGS);
    ck_assert (model_held (model, tag));
    ck_assert (!model[tag].told); /* each is told once */
    model[tag].told = true;
  }
  for (i = 0; i < TAGS; ++i)
    all_told = all_told && model[i].told == model_held (model, i);
  ck_assert (all_told);
}

static void
compare (const struct ranges *ranges, const struct model *model)
{
  bool same = true;
  uint32_t i;

  ranges_check (ranges);
  for (i = 0; i < TAGS; ++i) {
    same = same && ranges_entered (ranges, i) == model[i].entered;
    same = same && ranges_held (ranges, i) == model_held (model, i);
  }
  ck_assert (same);
}

START_TEST (random_against_model)
{
  struct ranges *ranges = ranges_new (TAGS);
  struct model model[TAGS] = { 0 };
  struct model *entry;
  uint32_t step, tag;

  ck_assert_ptr_nonnull (ranges);
  srandom (SEED);
  for (step = 0; step < STEPS; ++step) {
    tag = (uint32_t) (random () % TAGS);
    entry = &model[tag];
    if (entry->entered) {
      ranges_leave (ranges, tag);
      *entry = (struct model){ 0 };
    }
    else {
      entry->entered = true;
      entry->arrival = step;
      entry->offset = (uint64_t) random () % BYTES;
      entry->length = (uint64_t) random () % (BYTES - entry->offset + 1);
      entry->exclusive = random () % 2;
      entry->told = ranges_enter (ranges, tag, entry->offset, entry->length,
                                  entry->exclusive);
      ck_assert (entry->told == model_held (model, tag));
    }
    /* Often several leave before anybody asks who holds now. */
    if (random () % 3 == 0)
      drain (ranges, model);
    compare (ranges, model);
  }
  ranges_free (ranges);
}
END_TEST

START_TEST (readers_share)
{
  struct ranges *ranges = ranges_new (4);
  uint32_t tag;

  ck_assert (ranges_enter (ranges, 0, 0, 4096, READ));
  ck_assert (ranges_enter (ranges, 1, 0, 4096, READ));
  ck_assert (!ranges_enter (ranges, 2, 4095, 1, WRITE));
  ranges_leave (ranges, 0);
  ck_assert (!ranges_next (ranges, &tag));
  ranges_leave (ranges, 1);
  ck_assert (ranges_next (ranges, &tag));
  ck_assert_uint_eq (tag, 2);
  ck_assert (!ranges_next (ranges, &tag));
  ranges_check (ranges);
  ranges_free (ranges);
}
END_TEST

START_TEST (neighbours_do_not_conflict)
{
  struct ranges *ranges = ranges_new (3);

  ck_assert (ranges_enter (ranges, 0, 100, 100, WRITE));
  ck_assert (ranges_enter (ranges, 1, 200, 100, WRITE));
  ck_assert (ranges_enter (ranges, 2, 0, 100, WRITE));
  ranges_free (ranges);
}
END_TEST

/* A reader behind a waiting writer waits too: writers do not starve. */
START_TEST (reader_waits_behind_writer)
{
  struct ranges *ranges = ranges_new (3);
  uint32_t tag;

  ck_assert (ranges_enter (ranges, 0, 0, 10, READ));
  ck_assert (!ranges_enter (ranges, 1, 5, 10, WRITE));
  ck_assert (!ranges_enter (ranges, 2, 12, 1, READ));
  ranges_leave (ranges, 0);
  ck_assert (ranges_next (ranges, &tag));
  ck_assert_uint_eq (tag, 1);
  ck_assert (!ranges_held (ranges, 2));
  ranges_leave (ranges, 1);
  ck_assert (ranges_next (ranges, &tag));
  ck_assert_uint_eq (tag, 2);
  ranges_free (ranges);
}
END_TEST

/* A waiting entry that gives up lets those behind it go on. */
START_TEST (waiter_leaves)
{
  struct ranges *ranges = ranges_new (3);
  uint32_t tag;

  ck_assert (ranges_enter (ranges, 0, 0, 10, READ));
  ck_assert (!ranges_enter (ranges, 1, 0, 10, WRITE));
  ck_assert (!ranges_enter (ranges, 2, 0, 10, READ));
  ranges_leave (ranges, 1);
  ck_assert (ranges_next (ranges, &tag));
  ck_assert_uint_eq (tag, 2);
  ck_assert (ranges_held (ranges, 0));
  ranges_free (ranges);
}
END_TEST

/* One that became ready and left before it was told is not told of. */
START_TEST (leaves_while_ready)
{
  struct ranges *ranges = ranges_new (4);
  uint32_t tag;

  ck_assert (ranges_enter (ranges, 0, 0, 30, WRITE));
  ck_assert (!ranges_enter (ranges, 1, 0, 10, WRITE));
  ck_assert (!ranges_enter (ranges, 2, 10, 10, WRITE));
  ck_assert (!ranges_enter (ranges, 3, 20, 10, WRITE));
  ranges_leave (ranges, 0);
  ranges_leave (ranges, 2);
  ranges_check (ranges);
  ck_assert (ranges_next (ranges, &tag));
  ck_assert_uint_eq (tag, 1);
  ck_assert (ranges_next (ranges, &tag));
  ck_assert_uint_eq (tag, 3);
  ck_assert (!ranges_next (ranges, &tag));

  /* The tag may come back at once. */
  ck_assert (ranges_enter (ranges, 2, 10, 10, WRITE));
  ranges_check (ranges);
  ranges_free (ranges);
}
END_TEST

START_TEST (nothing_conflicts_with_length_zero)
{
  struct ranges *ranges = ranges_new (4);

  ck_assert (ranges_enter (ranges, 0, 5, 0, WRITE));
  ck_assert (ranges_enter (ranges, 1, 0, 10, WRITE));
  ck_assert (ranges_enter (ranges, 2, 5, 0, WRITE));
  ck_assert (ranges_enter (ranges, 3, 0, 0, WRITE));
  ranges_check (ranges);
  ranges_free (ranges);
}
END_TEST

START_TEST (end_of_the_number_line)
{
  struct ranges *ranges = ranges_new (3);

  ck_assert (ranges_enter (ranges, 0, UINT64_MAX - 10, 10, WRITE));
  ck_assert (!ranges_enter (ranges, 1, 0, UINT64_MAX, WRITE));
  ck_assert (ranges_enter (ranges, 2, UINT64_MAX, 0, WRITE));
  ranges_check (ranges);
  ranges_free (ranges);
}
END_TEST

START_TEST (no_room_at_all)
{
  struct ranges *ranges = ranges_new (0);
  uint32_t tag;

  ck_assert_ptr_nonnull (ranges);
  ck_assert (!ranges_next (ranges, &tag));
  ranges_check (ranges);
  ranges_free (ranges);
  ranges_free (NULL);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("ranges");
  TCase *tcase = tcase_create ("ranges");
  SRunner *runner;
  int failed;

  tcase_add_test (tcase, readers_share);
  tcase_add_test (tcase, neighbours_do_not_conflict);
  tcase_add_test (tcase, reader_waits_behind_writer);
  tcase_add_test (tcase, waiter_leaves);
  tcase_add_test (tcase, leaves_while_ready);
  tcase_add_test (tcase, nothing_conflicts_with_length_zero);
  tcase_add_test (tcase, end_of_the_number_line);
  tcase_add_test (tcase, no_room_at_all);
  tcase_add_test (tcase, random_against_model);
  tcase_set_timeout (tcase, 60);
  suite_add_tcase (suite, tcase);

  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
