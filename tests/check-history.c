/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-history.c: the generations that a node remembers: how many, which
 * give their place to newer ones, and what they say of older ones.
 */
#include <check.h>
#include <stdlib.h>

#include "generation.h"

enum { NODE_A = 10, CLIENT = 5 };

/* A member of a volume with two generations. */
static struct gen_record
member (uint64_t node)
{
  struct gen_record record = { .node = node, .data = DATA_CURRENT };

  gen_advance (&record, GEN_CREATE, 100, 0, 0);
  gen_advance (&record, GEN_SWITCH, 200, CLIENT, 1);
  record.answered = record.both = true;
  return record;
}

static void
advance (struct gen_record *record, enum gen_kind kind, uint64_t client,
         uint64_t session)
{
  uint64_t random = record->node * 1000 + gen_current (record).epoch;

  gen_advance (record, kind, random, client, session);
}

START_TEST (history_advances)
{
  struct gen_record record = { .node = NODE_A };
  uint64_t i;

  ck_assert (gen_id_equal (gen_current (&record), (struct gen_id){ 0, 0 }));
  ck_assert (!gen_knows (&record, (struct gen_id){ 0, 0 }));
  for (i = 1; i <= GEN_HISTORY + 5; ++i) {
    record.answered = true;
    gen_advance (&record, GEN_SOLO, 1000 + i, CLIENT, i);
    ck_assert (!record.answered);
    ck_assert_uint_eq (gen_current (&record).epoch, i);
    ck_assert_uint_eq (gen_current (&record).id, 1000 + i);
    ck_assert_uint_eq (record.history[0].client, CLIENT);
    ck_assert_uint_eq (record.history[0].session, i);
    ck_assert_uint_eq (record.history[0].kind, GEN_SOLO);
  }
  ck_assert_uint_eq (record.history_count, GEN_HISTORY);
  for (i = 0; i < GEN_HISTORY; ++i)
    ck_assert_uint_eq (record.history[i].gen.epoch, GEN_HISTORY + 5 - i);
  ck_assert (gen_knows (&record, (struct gen_id){ 6, 1006 }));
  ck_assert (!gen_knows (&record, (struct gen_id){ 5, 1005 }));
  ck_assert (!gen_knows (&record, (struct gen_id){ 6, 1007 }));
}
END_TEST

/* A generation that nobody else knows gives its place to the next one. */
START_TEST (replaced_by_a_newer_session)
{
  struct gen_record record = member (NODE_A);
  struct gen_id parent = gen_current (&record), gone;
  uint32_t count, i;

  advance (&record, GEN_TAKEOVER, CLIENT, 2);
  gone = gen_current (&record);
  count = record.history_count;
  record.answered = true;
  for (i = 0; i < 2 * GEN_HISTORY; ++i)
    gen_replace (&record, 5000 + i, 3 + i);
  ck_assert_uint_eq (record.history_count, count);
  ck_assert_uint_eq (gen_current (&record).epoch, gone.epoch + i);
  ck_assert_uint_eq (gen_current (&record).id, 5000 + i - 1);
  ck_assert_uint_eq (record.history[0].session, 3 + i - 1);
  ck_assert (gen_id_equal (record.history[1].gen, parent));
  ck_assert (!gen_knows (&record, gone));
  ck_assert (!record.answered);
}
END_TEST

/* A client shows what it was served under, however long ago. */
START_TEST (holds_what_is_older)
{
  struct gen_record a = member (NODE_A);
  struct gen_id old, other;
  uint64_t i;

  advance (&a, GEN_JOIN, 0, 0);
  old = gen_current (&a);
  other = old;
  other.id++;
  ck_assert (gen_holds (&a, old));
  ck_assert (!gen_holds (&a, other));
  ck_assert (!gen_holds (&a, (struct gen_id){ 1, 4711 }));
  for (i = a.history_count; i < GEN_HISTORY; ++i)
    advance (&a, GEN_JOIN, 0, 0);
  ck_assert (gen_holds (&a, old));
  ck_assert (!gen_holds (&a, other));
  while (gen_knows (&a, old))
    advance (&a, GEN_JOIN, 0, 0);
  ck_assert (gen_holds (&a, old));
  ck_assert (gen_holds (&a, other));
  other = gen_current (&a);
  other.epoch++;
  ck_assert (!gen_holds (&a, other));
  other = gen_current (&a);
  other.id++;
  ck_assert (!gen_holds (&a, other));
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("history");
  TCase *tcase = tcase_create ("history");
  SRunner *runner;
  int failed;

  tcase_add_test (tcase, history_advances);
  tcase_add_test (tcase, replaced_by_a_newer_session);
  tcase_add_test (tcase, holds_what_is_older);
  suite_add_tcase (suite, tcase);

  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
