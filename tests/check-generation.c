/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-generation.c: the table that says who is newer:
 * each rule by a named case, and all combinations for what must hold of
 * every answer (symmetry; no source that is not current).
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "generation.h"

enum {
  VOLUME = 77,
  NODE_A = 10,
  NODE_B = 20,
  OTHER_NODE = 30,
  CLIENT = 5,
  OTHER_CLIENT = 6,
  SIZE = 1 << 30,
  REGION = 4 << 20,
};

/* --- building records ------------------------------------------------- */

static struct gen_record
blank (uint64_t node)
{
  return (struct gen_record){
    .node = node, .size = SIZE, .region_size = REGION, .data = DATA_BLANK
  };
}

/* A member of a volume that was just created: epoch 1, both members. */
static struct gen_record
created (uint64_t node)
{
  struct gen_record record = blank (node);

  record.volume = VOLUME;
  record.peer = node == NODE_A ? NODE_B : NODE_A;
  record.data = DATA_CURRENT;
  record.both = true;
  gen_advance (&record, GEN_CREATE, 100, 0, 0);
  return record;
}

/* The same after its first promotion: epoch 2 has answered a client. */
static struct gen_record
member (uint64_t node)
{
  struct gen_record record = created (node);

  gen_advance (&record, GEN_SWITCH, 200, CLIENT, 1);
  record.primary = NODE_A;
  record.answered = true;
  return record;
}

/* Names differ between nodes, as random ids do. */
static void
advance (struct gen_record *record, enum gen_kind kind, uint64_t client,
         uint64_t session)
{
  uint64_t random = record->node * 1000 + gen_current (record).epoch;

  gen_advance (record, kind, random, client, session);
  record->both = kind == GEN_JOIN || kind == GEN_SWITCH;
}

static enum gen_verdict
mirror (enum gen_verdict verdict)
{
  switch (verdict) {
  case GEN_ADOPT_MINE: return GEN_ADOPT_PEER;
  case GEN_ADOPT_PEER: return GEN_ADOPT_MINE;
  case GEN_SOURCE: return GEN_TARGET;
  case GEN_TARGET: return GEN_SOURCE;
  case GEN_CREATE_MINE: return GEN_CREATE_PEER;
  case GEN_CREATE_PEER: return GEN_CREATE_MINE;
  default: return verdict;
  }
}

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
  ck_assert_int_eq (decide (&a, &c), GEN_REFUSE_SIZE);
  c = blank (NODE_B);
  c.size += 4096;
  ck_assert_int_eq (decide (&a, &c), GEN_REFUSE_SIZE);
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

/* --- all combinations ------------------------------------------------- */

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
    return !a->discard;
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
  tcase_add_test (tcase, every_combination);
  tcase_set_timeout (tcase, 60);
  suite_add_tcase (suite, tcase);

  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
