/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-generation-table.c: the table that says who is newer, in all
 * combinations: what must hold of every answer (symmetry; no source that is
 * not current).
 */
#include <check.h>
#include <stdlib.h>

#include "check-generation.h"

/* The branch that a node has after the common ancestor. */
enum branch {
  BRANCH_NONE,
  BRANCH_JOIN,
  BRANCH_SOLO_2, /* its number: the client's session */
  BRANCH_SOLO_3,
  BRANCH_TAKEOVER_JOIN_3,
  BRANCH_OTHER_CLIENT,
  BRANCH_NO_CLIENT,
  BRANCH_TWO_CLIENTS,
  BRANCH_FORCE,
  BRANCH_SWITCH,
  BRANCH_UNRELATED, /* no common ancestor */
  BRANCH_COUNT
};

static void
grow (struct gen_record *record, enum branch branch)
{
  switch (branch) {
  case BRANCH_NONE:
  case BRANCH_COUNT: break;
  case BRANCH_JOIN: advance (record, GEN_JOIN, 0, 0); break;
  case BRANCH_SOLO_2: advance (record, GEN_SOLO, CLIENT, 2); break;
  case BRANCH_SOLO_3: advance (record, GEN_SOLO, CLIENT, 3); break;
  case BRANCH_TAKEOVER_JOIN_3:
    advance (record, GEN_TAKEOVER, CLIENT, 3);
    advance (record, GEN_JOIN, 0, 0);
    break;
  case BRANCH_OTHER_CLIENT:
    advance (record, GEN_TAKEOVER, OTHER_CLIENT, 4);
    break;
  case BRANCH_NO_CLIENT: advance (record, GEN_SOLO, 0, 0); break;
  case BRANCH_TWO_CLIENTS:
    advance (record, GEN_SOLO, CLIENT, 5);
    advance (record, GEN_SOLO, OTHER_CLIENT, 5);
    break;
  case BRANCH_FORCE: advance (record, GEN_FORCE, 0, 0); break;
  case BRANCH_SWITCH:
    advance (record, GEN_SWITCH, CLIENT, 6);
    record->primary = record->node;
    break;
  case BRANCH_UNRELATED:
    record->history_count = 0;
    advance (record, GEN_CREATE, 0, 0);
    break;
  }
}

/* Combination number N of a node; false when there is no such. */
static bool
combination (uint64_t node, unsigned n, struct gen_record *record)
{
  enum data_state data = n % DATA_STATE_COUNT;
  unsigned flags = n / DATA_STATE_COUNT % 16;
  unsigned branch = n / DATA_STATE_COUNT / 16;

  if (branch >= 2 * BRANCH_COUNT)
    return false;
  if (data == DATA_BLANK)
    *record = blank (node);
  else {
    *record = branch < BRANCH_COUNT ? member (node) : created (node);
    grow (record, branch % BRANCH_COUNT);
    record->data = data;
  }
  record->both = flags & 1;
  record->answered = flags & 2;
  record->discard = flags & 4;
  record->has_data = flags & 8;
  return true;
}

/* Is all that NEWER has and OLDER lacks a switch? */
static bool
only_switched (const struct gen_record *newer, const struct gen_record *older)
{
  uint32_t i;

  for (i = 0; !gen_knows (older, newer->history[i].gen); ++i)
    if (newer->history[i].kind != GEN_SWITCH)
      return false;
  return true;
}

/* A stepped back for B, which has failed in the generation of both, or takes
 * A's copy over.
 */
static bool
stands_in (const struct gen_record *a, const struct gen_record *b)
{
  return a->both && b->both && !b->discard &&
    (b->data == DATA_FAILED || b->data == DATA_SYNCING) &&
    gen_id_equal (gen_current (a), gen_current (b));
}

/* What must hold of A's verdict on B whatever the rules say. */
static bool
sound (const struct gen_record *a, const struct gen_record *b,
       enum gen_verdict verdict)
{
  switch (verdict) {
  case GEN_SYNC:
    return a->data == DATA_CURRENT && b->data == DATA_CURRENT &&
      gen_id_equal (gen_current (a), gen_current (b)) && !a->discard &&
      !b->discard;
  case GEN_ADOPT_MINE:
    return a->data == DATA_CURRENT && b->data == DATA_CURRENT && a->both &&
      b->both && !a->answered && a->primary == a->node && !a->discard &&
      !b->discard && gen_knows (a, gen_current (b)) && only_switched (a, b);
  case GEN_SOURCE:
    if (a->data != DATA_CURRENT)
      return false;
    if (b->data == DATA_BLANK)
      return !a->both && (!b->has_data || b->discard);
    /* Never over what is newer, unless that one was told to yield or
     * is no whole copy anyhow.
     */
    if (gen_knows (b, gen_current (a)) && !gen_knows (a, gen_current (b)))
      return b->discard || b->data == DATA_SYNCING ||
        (b->data == DATA_FAILED && only_switched (b, a));
    return !a->discard || stands_in (a, b);
  case GEN_CREATE_MINE:
    if (b->data != DATA_BLANK)
      return false;
    if (a->data == DATA_BLANK)
      return !b->has_data;
    return a->data == DATA_CURRENT && a->history_count == 1 && !a->answered &&
      (!b->has_data || b->discard);
  case GEN_DIVERGED:
    return a->data != DATA_BLANK && b->data != DATA_BLANK &&
      !gen_knows (a, gen_current (b)) && !gen_knows (b, gen_current (a));
  default: return true;
  }
}

START_TEST (every_combination)
{
  unsigned seen[GEN_VERDICT_COUNT] = { 0 };
  enum gen_verdict verdict, mirrored;
  struct gen_record a, b;
  bool good = true;
  unsigned i, j;

  for (i = 0; combination (NODE_A, i, &a); ++i)
    for (j = 0; combination (NODE_B, j, &b); ++j) {
      verdict = gen_decide (&a, &b);
      mirrored = gen_decide (&b, &a);
      seen[verdict]++;
      good = mirrored == mirror (verdict) && sound (&a, &b, verdict) &&
        sound (&b, &a, mirrored);
      if (!good)
        ck_abort_msg ("combination %u, %u: %s / %s", i, j,
                      gen_verdict_text (verdict), gen_verdict_text (mirrored));
    }

  /* The loop is worth its name only if it reaches all that it can. */
  for (i = 0; i < GEN_VERDICT_COUNT; ++i)
    ck_assert_int_eq (seen[i] > 0,
                      i < GEN_REFUSE_VOLUME ||
                        (i > GEN_REFUSE_SELF && i < GEN_REFUSE_ARBITER));
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("generation-table");
  TCase *tcase = tcase_create ("generation-table");
  SRunner *runner;
  int failed;

  tcase_add_test (tcase, every_combination);
  tcase_set_timeout (tcase, 60);
  suite_add_tcase (suite, tcase);

  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
