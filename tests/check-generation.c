/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-generation.c: the table that says who is newer: each rule by a
 * named case.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "check-generation.h"

/* The verdict of A on B, having seen that B's is its mirror. */
static enum gen_verdict
decide (const struct gen_record *a, const struct gen_record *b)
{
  enum gen_verdict verdict = gen_decide (a, b);

  ck_assert_int_lt (verdict, GEN_VERDICT_COUNT);
  ck_assert_int_eq (gen_decide (b, a), mirror (verdict));
  return verdict;
}

/* --- history ---------------------------------------------------------- */

START_TEST (adopt_takes_the_history)
{
  struct gen_record a = member (NODE_A), b = blank (NODE_B);

  b.peer = NODE_A;
  b.discard = true;
  b.has_data = true;
  advance (&a, GEN_SOLO, CLIENT, 2);
  a.answered = true;
  gen_adopt (&b, &a);
  ck_assert_uint_eq (b.volume, VOLUME);
  ck_assert_uint_eq (b.node, NODE_B);
  ck_assert_uint_eq (b.peer, NODE_A);
  ck_assert_uint_eq (b.primary, NODE_A);
  ck_assert_uint_eq (b.data, DATA_CURRENT);
  ck_assert_uint_eq (b.history_count, 3);
  ck_assert (b.both);
  ck_assert (b.answered);
  ck_assert (!b.discard);
  ck_assert (!b.has_data);
  ck_assert_int_eq (decide (&a, &b), GEN_SYNC);
}
END_TEST

START_TEST (names)
{
  int i;

  ck_assert_str_eq (gen_kind_name (GEN_TAKEOVER), "takeover");
  ck_assert_str_eq (gen_data_name (DATA_SYNCING), "syncing");
  ck_assert_str_eq (gen_verdict_text (GEN_SYNC), "same generation");
  for (i = 0; i < GEN_VERDICT_COUNT; ++i)
    ck_assert_uint_gt (strlen (gen_verdict_text ((enum gen_verdict) i)), 0);
  ck_assert_str_eq (gen_kind_name (GEN_KIND_COUNT), "unknown");
  ck_assert_str_eq (gen_data_name (DATA_STATE_COUNT), "unknown");
  ck_assert_str_eq (gen_verdict_text (GEN_VERDICT_COUNT), "unknown");
}
END_TEST

/* --- each rule by name ------------------------------------------------ */

START_TEST (refused_by_identity)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B), c;

  c = b;
  c.node = NODE_A;
  ck_assert_int_eq (decide (&a, &c), GEN_REFUSE_SELF);
  c = b;
  c.region_size *= 2;
  ck_assert_int_eq (decide (&a, &c), GEN_REFUSE_REGION);
  c = b;
  c.size += 4096;
  ck_assert_int_eq (decide (&a, &c), decide (&a, &b));
  c = blank (NODE_B);
  c.size += 4096;
  ck_assert_int_eq (decide (&a, &c), GEN_REFUSE_SIZE);
  c.size -= 8192;
  ck_assert_int_ne (decide (&a, &c), GEN_REFUSE_SIZE);
  c = b;
  c.volume++;
  ck_assert_int_eq (decide (&a, &c), GEN_REFUSE_VOLUME);
  c = b;
  c.peer = OTHER_NODE;
  ck_assert_int_eq (decide (&a, &c), GEN_REFUSE_NODE);
  c = b;
  c.node = OTHER_NODE;
  ck_assert_int_eq (decide (&a, &c), GEN_REFUSE_NODE);
  c = b;
  c.peer = 0;
  ck_assert_int_eq (decide (&a, &c), GEN_SYNC);
}
END_TEST

START_TEST (two_blank_nodes)
{
  struct gen_record a = blank (NODE_A), b = blank (NODE_B);

  ck_assert_int_eq (decide (&a, &b), GEN_CREATE_MINE);
  b.has_data = true;
  ck_assert_int_eq (decide (&a, &b), GEN_CREATE_PEER);
  a.has_data = true;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_DATA);
  b.has_data = false;
  ck_assert_int_eq (decide (&a, &b), GEN_CREATE_MINE);
  b.size -= 4096;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_SIZE);
}
END_TEST

/* A crash between the two nodes' records of the creation. */
START_TEST (creation_is_repeated)
{
  struct gen_record a = created (NODE_A), b = blank (NODE_B);

  ck_assert_int_eq (decide (&a, &b), GEN_CREATE_MINE);
  a.peer = 0;
  ck_assert_int_eq (decide (&a, &b), GEN_CREATE_MINE);
  b.has_data = true;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_DATA);
  b.discard = true;
  ck_assert_int_eq (decide (&a, &b), GEN_CREATE_MINE);

  /* Not with a stranger, not after an answer, not with a failed store. */
  b = blank (OTHER_NODE);
  a.peer = NODE_B;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_BLANK);
  b = blank (NODE_B);
  a.answered = true;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_BLANK);
  a.answered = false;
  a.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);

  /* Only the very first generation, and only one of two members. */
  a = created (NODE_A);
  a.history[0].gen.epoch = 2;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_BLANK);
  a = created (NODE_A);
  a.history[0].kind = GEN_FORCE;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_BLANK);
  a = created (NODE_A);
  a.both = false;
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
}
END_TEST

/* A new disk takes the place of the lost peer, once this one is alone. */
START_TEST (blank_replaces_the_peer)
{
  struct gen_record a = member (NODE_A), b = blank (OTHER_NODE);

  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_BLANK);
  advance (&a, GEN_SOLO, CLIENT, 2);
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  b.has_data = true;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_DATA);
  b.discard = true;
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  a.data = DATA_SYNCING;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
  a.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
}
END_TEST

START_TEST (discard_yields)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  advance (&a, GEN_SOLO, CLIENT, 2);
  advance (&b, GEN_TAKEOVER, OTHER_CLIENT, 2);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);
  b.discard = true;
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  a.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
  a.data = DATA_SYNCING;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
  a.data = DATA_CURRENT;
  a.discard = true;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
  b.discard = false;
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
}
END_TEST

/* B steps back, and A fails: before it has gone on alone, B lacks nothing. */
START_TEST (who_stepped_back_stands_in)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  b.discard = true;
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  a.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
  b.may_lack = true;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
  b.may_lack = false;
  b.data = DATA_SYNCING;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
  b.data = DATA_CURRENT;
  advance (&a, GEN_SOLO, 0, 0);
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
}
END_TEST

/* The same, but A is restarted, with durability=flush. */
START_TEST (who_stepped_back_stands_in_for_a_restarted_one)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  b.discard = true;
  a.may_lack = true;
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
  b.may_lack = true;
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  /* A has begun to take B's copy over. */
  a.may_lack = false;
  a.data = DATA_SYNCING;
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
  b.may_lack = false;
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
  a.data = DATA_CURRENT;
  advance (&a, GEN_SOLO, 0, 0);
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
}
END_TEST

START_TEST (an_interrupted_resync_goes_on)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  advance (&a, GEN_SOLO, CLIENT, 2);
  b.data = DATA_SYNCING;
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  a.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
  a.data = DATA_SYNCING;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
}
END_TEST

START_TEST (same_generation)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  ck_assert_int_eq (decide (&a, &b), GEN_SYNC);
  b.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  a.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
  b.data = DATA_CURRENT;
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
}
END_TEST

START_TEST (one_knows_the_other)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  advance (&a, GEN_SOLO, CLIENT, 2);
  advance (&a, GEN_SOLO, CLIENT, 3);
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  b.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  a.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
  b.data = DATA_CURRENT; /* current, but known to be older */
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
}
END_TEST

/* The client asked P to go on, gave up, and asked Q: Q's is newer. */
START_TEST (fork_of_one_client)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  advance (&a, GEN_SOLO, CLIENT, 2);
  advance (&b, GEN_TAKEOVER, CLIENT, 3);
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
  advance (&a, GEN_SOLO, CLIENT, 3);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED); /* equal sessions */
  advance (&a, GEN_SOLO, CLIENT, 4);
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  a.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);

  /* The newest session counts wherever it stands in the branch, a
   * session of another client does not.
   */
  a = member (NODE_A);
  advance (&a, GEN_SOLO, CLIENT, 4);
  advance (&a, GEN_JOIN, 0, 0);
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  advance (&b, GEN_SWITCH, OTHER_CLIENT, 9);
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  advance (&b, GEN_SWITCH, CLIENT, 9);
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
}
END_TEST

START_TEST (fork_with_a_quiet_branch)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  advance (&a, GEN_SWITCH, OTHER_CLIENT, 8);
  advance (&b, GEN_TAKEOVER, CLIENT, 1);
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
  advance (&b, GEN_FORCE, 0, 0);
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
  b.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);

  b = member (NODE_B);
  advance (&b, GEN_JOIN, 0, 0);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED); /* both quiet */
}
END_TEST

START_TEST (fork_of_no_one_client)
{
  struct gen_record a = member (NODE_A), b;

  advance (&a, GEN_SOLO, CLIENT, 2);

  b = member (NODE_B);
  advance (&b, GEN_TAKEOVER, OTHER_CLIENT, 9);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);
  advance (&b, GEN_TAKEOVER, CLIENT, 1);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);

  b = member (NODE_B);
  advance (&b, GEN_TAKEOVER, 0, 0);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);
  advance (&b, GEN_TAKEOVER, CLIENT, 1);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);

  b = member (NODE_B);
  advance (&b, GEN_TAKEOVER, CLIENT, 1);
  advance (&b, GEN_FORCE, 0, 0);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);
}
END_TEST

/* The client of one branch has left it for the other one, which others
 * use too: the branch that was left is void, but never the shared one.
 */
START_TEST (fork_with_a_shared_branch)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  advance (&a, GEN_SOLO, CLIENT, 2);
  advance (&b, GEN_TAKEOVER, CLIENT, 9);
  advance (&b, GEN_SOLO, 0, 0);
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
  advance (&b, GEN_SOLO, OTHER_CLIENT, 20);
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
  advance (&a, GEN_SOLO, CLIENT, 10);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);
}
END_TEST

START_TEST (nothing_in_common)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);
  uint64_t i;

  /* More joins than a history holds: the ancestor is gone. */
  for (i = 0; i < GEN_HISTORY; ++i)
    advance (&a, GEN_JOIN, 0, 0);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);
}
END_TEST

/* A blank node takes a lost peer's place; the other one dies before it has
 * noted that.
 */
START_TEST (new_peer_not_noted)
{
  struct gen_record a = member (NODE_A), c = blank (NODE_A + NODE_B);

  a.peer = NODE_B;
  advance (&a, GEN_SOLO, CLIENT, 2);
  a.both = false;
  ck_assert_int_eq (decide (&a, &c), GEN_SOURCE);
  c.data = DATA_SYNCING;
  c.volume = a.volume;
  c.peer = NODE_A;
  ck_assert_int_eq (decide (&a, &c), GEN_SOURCE);
  ck_assert_int_eq (decide (&c, &a), GEN_TARGET);
  a.both = true;
  ck_assert_int_eq (decide (&a, &c), GEN_REFUSE_NODE);
  a.both = false;
  c.peer = NODE_B;
  ck_assert_int_eq (decide (&a, &c), GEN_REFUSE_NODE);
}
END_TEST

/* However often the peer was away, it is known when it comes back. */
START_TEST (long_life)
{
  struct gen_record a = member (NODE_A), b;
  uint64_t i;

  for (i = 0; i < 3 * GEN_HISTORY; ++i) {
    advance (&a, GEN_SOLO, CLIENT, 2 + i);
    advance (&a, GEN_JOIN, 0, 0);
  }
  ck_assert_int_eq (a.history_count, GEN_HISTORY);
  b = member (NODE_B);
  gen_adopt (&b, &a);
  ck_assert_int_eq (decide (&a, &b), GEN_SYNC);

  /* One for a client, and then one for everybody. */
  advance (&a, GEN_SOLO, CLIENT, 2 + i);
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  advance (&a, GEN_SOLO, 0, 0);
  ck_assert_int_eq (decide (&a, &b), GEN_SOURCE);
  ck_assert_int_eq (a.history_count, GEN_HISTORY);
}
END_TEST

/* A failed node that had just become primary by a switch has served
 * nobody yet; after anything else it may have.
 */
START_TEST (failed_after_a_switch)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  advance (&a, GEN_SWITCH, CLIENT, 2);
  a.data = DATA_FAILED;
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);
  advance (&a, GEN_SOLO, CLIENT, 3);
  ck_assert_int_eq (decide (&a, &b), GEN_REFUSE_STALE);
}
END_TEST

/* B became primary by A's grant, and A never heard of it. */
START_TEST (switch_not_adopted)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B), c;

  advance (&b, GEN_SWITCH, CLIENT, 2);
  b.primary = NODE_B;
  ck_assert_int_eq (decide (&a, &b), GEN_ADOPT_PEER);
  c = a;
  c.data = DATA_FAILED;
  ck_assert_int_eq (decide (&c, &b), GEN_TARGET);
  c = a;
  c.both = false;
  ck_assert_int_eq (decide (&c, &b), GEN_TARGET);

  /* B has answered: then A had adopted, and has forgotten it. */
  c = b;
  c.answered = true;
  ck_assert_int_eq (decide (&a, &c), GEN_TARGET);

  /* B has gone on alone. */
  advance (&b, GEN_SOLO, CLIENT, 3);
  ck_assert_int_eq (decide (&a, &b), GEN_TARGET);

  /* The first promotion of a volume is a switch too. */
  a = created (NODE_A);
  b = created (NODE_B);
  advance (&a, GEN_SWITCH, CLIENT, 1);
  a.primary = NODE_A;
  ck_assert_int_eq (decide (&a, &b), GEN_ADOPT_MINE);
}
END_TEST

/* What no honest node says must not make two sources. */
START_TEST (contradictory_histories)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);
  struct generation swap;

  /* Each claims to descend from the other. */
  swap = b.history[0];
  b.history[0] = b.history[1];
  b.history[1] = swap;
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);

  /* The common ancestors stand in another order. */
  advance (&a, GEN_SOLO, CLIENT, 2);
  advance (&b, GEN_SOLO, CLIENT, 3);
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);

  /* Members of a volume without any generation. */
  a.history_count = 0;
  b.history_count = 0;
  ck_assert_int_eq (decide (&a, &b), GEN_DIVERGED);
}
END_TEST

/* With durability=flush: which of two members was restarted? */
START_TEST (the_member_that_stayed_up_is_the_source)
{
  struct gen_record a = member (NODE_A), b = member (NODE_B);

  ck_assert_int_eq (gen_decide (&a, &b), GEN_SYNC);
  b.may_lack = true;
  ck_assert_int_eq (gen_decide (&a, &b), GEN_SOURCE);
  ck_assert_int_eq (gen_decide (&b, &a), GEN_TARGET);
  /* Both have lost something: neither is better. */
  a.may_lack = true;
  ck_assert_int_eq (gen_decide (&a, &b), GEN_SYNC);
  /* A copy that is whole beats one that is not, whatever it lacks. */
  a.data = DATA_FAILED;
  a.may_lack = false;
  ck_assert_int_eq (gen_decide (&a, &b), GEN_TARGET);
  /* One that has gone on alone is newer. */
  a = member (NODE_A);
  advance (&a, GEN_SOLO, CLIENT, 2);
  ck_assert_int_eq (gen_decide (&b, &a), GEN_TARGET);
  /* And one that joins forgets what it lacked. */
  gen_adopt (&b, &a);
  ck_assert (!b.may_lack);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("generation");
  TCase *tcase = tcase_create ("generation");
  SRunner *runner;
  int failed;

  tcase_add_test (tcase, adopt_takes_the_history);
  tcase_add_test (tcase, the_member_that_stayed_up_is_the_source);
  tcase_add_test (tcase, names);
  tcase_add_test (tcase, refused_by_identity);
  tcase_add_test (tcase, two_blank_nodes);
  tcase_add_test (tcase, creation_is_repeated);
  tcase_add_test (tcase, blank_replaces_the_peer);
  tcase_add_test (tcase, discard_yields);
  tcase_add_test (tcase, who_stepped_back_stands_in);
  tcase_add_test (tcase, who_stepped_back_stands_in_for_a_restarted_one);
  tcase_add_test (tcase, an_interrupted_resync_goes_on);
  tcase_add_test (tcase, same_generation);
  tcase_add_test (tcase, one_knows_the_other);
  tcase_add_test (tcase, fork_of_one_client);
  tcase_add_test (tcase, fork_with_a_quiet_branch);
  tcase_add_test (tcase, fork_of_no_one_client);
  tcase_add_test (tcase, fork_with_a_shared_branch);
  tcase_add_test (tcase, nothing_in_common);
  tcase_add_test (tcase, new_peer_not_noted);
  tcase_add_test (tcase, long_life);
  tcase_add_test (tcase, failed_after_a_switch);
  tcase_add_test (tcase, switch_not_adopted);
  tcase_add_test (tcase, contradictory_histories);
  suite_add_tcase (suite, tcase);

  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
