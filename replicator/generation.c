/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * generation.c: generations, their history, and who is newer.
 *
 * gen_decide is a table: its rules are tried in the order in which they
 * stand, and each is symmetric, so that two nodes that show each other
 * their records come to mirrored verdicts without another word.
 *
 * The peer's record comes from a socket: the decoder has checked its
 * counts and enums, but what it says may be false.  A record that
 * contradicts itself must end in a refusal or as diverged, never in an
 * abort and never in two sources.
 *
 * Pure: values in, verdicts out.
 */
#include <assert.h>
#include <string.h>

#include "generation.h"

#define GEN_NAME(name, text) text,
static const char *const kind_names[] = { GEN_KINDS (GEN_NAME) };
static const char *const data_names[] = { DATA_STATES (GEN_NAME) };
static const char *const verdict_texts[] = { GEN_VERDICTS (GEN_NAME) };

const char *
gen_kind_name (enum gen_kind kind)
{
  return (unsigned) kind < GEN_KIND_COUNT ? kind_names[kind] : "unknown";
}

const char *
gen_data_name (enum data_state state)
{
  return (unsigned) state < DATA_STATE_COUNT ? data_names[state] : "unknown";
}

const char *
gen_verdict_text (enum gen_verdict verdict)
{
  return (unsigned) verdict < GEN_VERDICT_COUNT ? verdict_texts[verdict]
                                                : "unknown";
}

struct gen_id
gen_current (const struct gen_record *record)
{
  if (record->history_count == 0)
    return (struct gen_id){ 0, 0 };
  return record->history[0].gen;
}

/* Where GEN stands in RECORD's history; history_count when it does not.
 * Epoch 0 names no generation and is never found.
 */
static uint32_t
find (const struct gen_record *record, struct gen_id gen)
{
  uint32_t i;

  assert (record->history_count <= GEN_HISTORY);
  if (gen.epoch == 0)
    return record->history_count;
  for (i = 0; i < record->history_count; ++i)
    if (gen_id_equal (record->history[i].gen, gen))
      break;
  return i;
}

bool
gen_knows (const struct gen_record *record, struct gen_id gen)
{
  return find (record, gen) < record->history_count;
}

bool
gen_holds (const struct gen_record *record, struct gen_id gen)
{
  if (gen_knows (record, gen))
    return true;
  if (record->history_count < GEN_HISTORY)
    return false;
  return gen.epoch < record->history[GEN_HISTORY - 1].gen.epoch;
}

void
gen_advance (struct gen_record *record, enum gen_kind kind, uint64_t random,
             uint64_t client, uint64_t session)
{
  uint64_t epoch = gen_current (record).epoch;
  uint32_t keep = record->history_count;

  assert (kind > GEN_NONE);
  assert (kind < GEN_KIND_COUNT);
  assert (keep <= GEN_HISTORY);
  assert (epoch < UINT64_MAX);

  if (keep == GEN_HISTORY)
    keep--;
  memmove (&record->history[1], &record->history[0],
           keep * sizeof record->history[0]);
  record->history[0] = (struct generation){
    .gen = { .epoch = epoch + 1, .id = random },
    .client = client,
    .session = session,
    .kind = kind,
  };
  record->history_count = keep + 1;
  record->answered = false;
}

void
gen_replace (struct gen_record *record, uint64_t random, uint64_t session)
{
  struct generation *now = &record->history[0];

  assert (record->history_count > 0);
  assert (now->kind == GEN_SOLO || now->kind == GEN_TAKEOVER);
  assert (now->client != 0);
  assert (now->gen.epoch < UINT64_MAX);

  now->gen = (struct gen_id){ .epoch = now->gen.epoch + 1, .id = random };
  now->session = session;
  record->answered = false;
}

void
gen_adopt (struct gen_record *record, const struct gen_record *other)
{
  assert (other->history_count > 0);
  assert (other->history_count <= GEN_HISTORY);

  record->volume = other->volume;
  memcpy (record->history, other->history, sizeof record->history);
  record->history_count = other->history_count;
  record->primary = other->primary;
  record->answered = other->answered;
  record->both = true;
  record->data = DATA_CURRENT;
  record->discard = false;
  record->has_data = false;
  record->may_lack = false;
}

/* --- the table -------------------------------------------------------- */

/* Data flows from one node to the other; only a current copy may be the
 * source.
 */
static enum gen_verdict
flow (bool mine, const struct gen_record *source)
{
  if (source->data != DATA_CURRENT)
    return GEN_REFUSE_STALE;
  return mine ? GEN_SOURCE : GEN_TARGET;
}

/* Two blank nodes: the one with data in its file creates the volume. */
static enum gen_verdict
decide_both_blank (const struct gen_record *me, const struct gen_record *peer)
{
  bool mine;

  if (me->has_data && peer->has_data)
    return GEN_REFUSE_DATA;
  if (me->has_data != peer->has_data)
    mine = me->has_data;
  else
    mine = me->node < peer->node;
  return mine ? GEN_CREATE_MINE : GEN_CREATE_PEER;
}

/* Is RECORD a volume whose creation with BLANK may be repeated?  Its
 * first generation never served, so BLANK cannot have left it behind.
 */
static bool
newborn (const struct gen_record *record, const struct gen_record *blank)
{
  if (record->history_count != 1)
    return false;
  if (record->history[0].kind != GEN_CREATE)
    return false;
  if (record->history[0].gen.epoch != 1)
    return false;
  if (!record->both || record->answered)
    return false;
  return record->peer == 0 || record->peer == blank->node;
}

/* One blank node: it takes the place of the other one's peer, whoever
 * that was, unless that lost peer might have taken over meanwhile.
 */
static enum gen_verdict
decide_one_blank (bool mine, const struct gen_record *holder,
                  const struct gen_record *blank)
{
  if (blank->has_data && !blank->discard)
    return GEN_REFUSE_DATA;
  if (holder->data != DATA_CURRENT)
    return GEN_REFUSE_STALE;
  if (newborn (holder, blank))
    return mine ? GEN_CREATE_MINE : GEN_CREATE_PEER;
  if (holder->both)
    return GEN_REFUSE_BLANK;
  return flow (mine, holder);
}

/* What the generations after the fork were made for. */
struct branch {
  const struct gen_record *record;
  uint32_t count;  /* its newest ones */
  bool quiet;      /* only joins and switches: no claim of its own */
  uint64_t client; /* all of it for this client's sake; 0: not so */
};

/* The branch of RECORD's newest COUNT generations. */
static struct branch
describe (const struct gen_record *record, uint32_t count)
{
  struct branch branch = { .record = record, .count = count, .quiet = true };
  const struct generation *gen;
  bool mixed = false;
  uint32_t i;

  for (i = 0; i < count; ++i) {
    gen = &record->history[i];
    if (gen->kind == GEN_JOIN || gen->kind == GEN_SWITCH)
      continue;
    branch.quiet = false;
    if (gen->kind != GEN_SOLO && gen->kind != GEN_TAKEOVER)
      mixed = true;
    if (gen->client == 0)
      mixed = true;
    if (branch.client != 0 && branch.client != gen->client)
      mixed = true;
    branch.client = gen->client;
  }
  if (mixed)
    branch.client = 0;
  return branch;
}

/* CLIENT's newest session in BRANCH; sessions are numbered per client,
 * those of others say nothing.
 */
static uint64_t
newest_session (const struct branch *branch, uint64_t client)
{
  uint64_t session = 0;
  uint32_t i;

  for (i = 0; i < branch->count; ++i)
    if (branch->record->history[i].client == client &&
        branch->record->history[i].session > session)
      session = branch->record->history[i].session;
  return session;
}

/* Was all of BRANCH made for one client, which has left it unanswered for
 * OTHER?  Whoever else was served in OTHER does not matter then.
 */
static bool
is_void (const struct branch *branch, const struct branch *other)
{
  return branch->client != 0 &&
    newest_session (other, branch->client) >
    newest_session (branch, branch->client);
}

uint32_t
gen_fork (const struct gen_record *me, const struct gen_record *peer)
{
  uint32_t mine = 0;

  while (mine < me->history_count && !gen_knows (peer, me->history[mine].gen))
    mine++;
  return mine;
}

/* Both have generations that the other does not know. */
static enum gen_verdict
decide_fork (const struct gen_record *me, const struct gen_record *peer)
{
  uint32_t mine = gen_fork (me, peer), theirs = gen_fork (peer, me);
  struct branch a, b;

  if (mine == me->history_count || theirs == peer->history_count)
    return GEN_DIVERGED; /* nothing in common */
  if (!gen_id_equal (me->history[mine].gen, peer->history[theirs].gen))
    return GEN_DIVERGED; /* histories that contradict each other */

  a = describe (me, mine);
  b = describe (peer, theirs);
  if (a.quiet && b.quiet)
    return GEN_DIVERGED;
  if (a.quiet)
    return flow (false, peer);
  if (b.quiet)
    return flow (true, me);
  if (is_void (&a, &b))
    return flow (false, peer);
  if (is_void (&b, &a))
    return flow (true, me);
  return GEN_DIVERGED;
}

/* Is all that NEWER has over OLDER's generation switches? */
static bool
only_switched (const struct gen_record *newer, const struct gen_record *older)
{
  uint32_t i;

  for (i = 0; !gen_id_equal (newer->history[i].gen, gen_current (older)); i++)
    if (newer->history[i].kind != GEN_SWITCH)
      return false;
  return true;
}

/* Does OLDER's copy hold all that NEWER's does?  A switch serves nobody
 * before the other node has adopted it, so both are members still.
 */
static bool
not_adopted (const struct gen_record *newer, const struct gen_record *older)
{
  return newer->both && older->both && !newer->answered &&
    newer->primary == newer->node && newer->data == DATA_CURRENT &&
    older->data == DATA_CURRENT;
}

/* NEWER descends from OLDER's generation.  Its copy is the one, unless all
 * that the older one misses are switches: then it is as good, is told of
 * the switch once more, and stands in for the newer one if that has failed.
 */
static enum gen_verdict
decide_line (bool mine, const struct gen_record *newer,
             const struct gen_record *older)
{
  bool switched = only_switched (newer, older);

  if (switched && not_adopted (newer, older))
    return mine ? GEN_ADOPT_MINE : GEN_ADOPT_PEER;
  if (newer->data == DATA_CURRENT)
    return flow (mine, newer);
  return switched ? flow (!mine, older) : GEN_REFUSE_STALE;
}

/* Both are members of one generation.  With durability=flush, one that was
 * restarted has lost what was not flushed, and the other one has it.
 */
static enum gen_verdict
decide_members (const struct gen_record *me, const struct gen_record *peer)
{
  if (me->data != DATA_CURRENT)
    return flow (false, peer);
  if (peer->data != DATA_CURRENT)
    return flow (true, me);
  if (me->may_lack == peer->may_lack)
    return GEN_SYNC;
  return flow (peer->may_lack, peer->may_lack ? me : peer);
}

/* Two copies of one volume, neither told to yield nor half overwritten. */
static enum gen_verdict
decide_history (const struct gen_record *me, const struct gen_record *peer)
{
  bool older, newer;

  newer = gen_knows (me, gen_current (peer));
  older = gen_knows (peer, gen_current (me));
  if (newer && older) {
    if (!gen_id_equal (gen_current (me), gen_current (peer)))
      return GEN_DIVERGED; /* each claims to descend from the other */
    return decide_members (me, peer);
  }
  if (newer)
    return decide_line (true, me, peer);
  if (older)
    return decide_line (false, peer, me);
  return decide_fork (me, peer);
}

/* Two nodes of a volume know each other.  One that came blank to take a
 * lost peer's place may be known to nobody yet, if HOLDER, which let it,
 * died before it had noted that.
 */
static bool
knows (const struct gen_record *holder, const struct gen_record *other)
{
  if (holder->peer == 0 || holder->peer == other->node)
    return true;
  return !holder->both && other->data == DATA_SYNCING &&
    other->history_count == 0 && other->peer == holder->node;
}

/* YIELDED stepped back while both were members, and OTHER failed, or was
 * restarted and may lack something, before it went on alone: nothing was
 * answered without YIELDED, whose copy is as complete as it was.  Or OTHER has
 * begun to take it over, and YIELDED died before it had noted that it counts.
 */
static bool
stands_in (const struct gen_record *yielded, const struct gen_record *other)
{
  if (!yielded->discard || !yielded->both || yielded->data != DATA_CURRENT ||
      other->discard || !other->both ||
      !gen_id_equal (gen_current (yielded), gen_current (other)))
    return false;
  if (other->data == DATA_SYNCING)
    return true;
  return !yielded->may_lack && (other->data == DATA_FAILED || other->may_lack);
}

/* Copies of one volume may differ in size for a while, and an empty one that
 * is to take a lost peer's place may have the size that the volume had once:
 * the smaller one grows.  New volumes of two sizes are a mistake of somebody.
 */
static bool
sizes_fit (const struct gen_record *me, const struct gen_record *peer)
{
  if (me->size == peer->size)
    return true;
  if (me->data == DATA_BLANK && peer->data == DATA_BLANK)
    return false;
  return (me->data != DATA_BLANK || me->size < peer->size) &&
    (peer->data != DATA_BLANK || peer->size < me->size);
}

enum gen_verdict
gen_decide (const struct gen_record *me, const struct gen_record *peer)
{
  if (me->node == peer->node)
    return GEN_REFUSE_SELF;
  if (me->region_size != peer->region_size)
    return GEN_REFUSE_REGION;
  if (!sizes_fit (me, peer))
    return GEN_REFUSE_SIZE;

  if (me->data == DATA_BLANK && peer->data == DATA_BLANK)
    return decide_both_blank (me, peer);
  if (me->data == DATA_BLANK)
    return decide_one_blank (false, peer, me);
  if (peer->data == DATA_BLANK)
    return decide_one_blank (true, me, peer);

  if (me->volume != peer->volume)
    return GEN_REFUSE_VOLUME;
  if (!knows (me, peer) || !knows (peer, me))
    return GEN_REFUSE_NODE;

  if (me->discard && peer->discard)
    return GEN_REFUSE_STALE;
  if (stands_in (me, peer) || stands_in (peer, me))
    return decide_members (me, peer);
  if (me->discard || peer->discard)
    return flow (peer->discard, peer->discard ? me : peer);

  if (me->data == DATA_SYNCING && peer->data == DATA_SYNCING)
    return GEN_REFUSE_STALE;
  if (me->data == DATA_SYNCING)
    return flow (false, peer);
  if (peer->data == DATA_SYNCING)
    return flow (true, me);

  return decide_history (me, peer);
}

/* --- what a refusal means to the user of this node ---------------------- */

#define EMPTY_IT                                                         \
  "to have it filled from the other, stop it, delete its data file and " \
  "its metadata, and start it"
#define WAY_OUT "see \"failed\" in nbdkit-duet-plugin(1)"

static const char *
data_text (const struct gen_record *me, const struct gen_record *peer)
{
  if (me->data == DATA_BLANK && me->has_data && peer->has_data)
    return "both nodes are blank and neither data file is empty: choose the "
           "one that may be overwritten; " EMPTY_IT;
  if (me->data == DATA_BLANK && me->has_data)
    return "this node is blank, but its data file is not empty and is not "
           "overwritten: put its metadata back, or, " EMPTY_IT;
  return "the peer is blank, but its data file is not empty and is not "
         "overwritten: put its metadata back, or, " EMPTY_IT;
}

static const char *
blank_text (const struct gen_record *me)
{
  if (me->data == DATA_BLANK)
    return "this node is blank, and the peer waits to be chosen as the only "
           "copy: use the volume through its proxy, or restart the peer with "
           "takeover=any and open it with a client";
  return "the peer is blank, and this node waits to be chosen as the only "
         "copy: use the volume through its proxy, or restart this node with "
         "takeover=any and open it with a client";
}

static const char *
stale_text (const struct gen_record *me, const struct gen_record *peer)
{
  if (me->discard && peer->discard)
    return "both copies were given up: say which one to keep with duetctl "
           "promote --force at its node";
  if (me->data == DATA_FAILED && peer->data == DATA_FAILED)
    return "both copies are on disks that have failed; " WAY_OUT;
  if (me->data == DATA_FAILED)
    return "this copy is on a disk that has failed, and the peer's lacks "
           "writes of this one; " WAY_OUT;
  if (peer->data == DATA_FAILED)
    return "this copy lacks writes of the peer's, which is on a disk that "
           "has failed; " WAY_OUT;
  if (me->data == DATA_SYNCING && peer->data == DATA_SYNCING)
    return "neither copy is complete; " WAY_OUT;
  if (me->data == DATA_SYNCING)
    return "this copy is not complete, and the peer's cannot complete "
           "it; " WAY_OUT;
  return "the peer's copy is not complete, and this one cannot complete "
         "it; " WAY_OUT;
}

const char *
gen_refusal_text (enum gen_verdict verdict, const struct gen_record *me,
                  const struct gen_record *peer)
{
  switch (verdict) {
  case GEN_REFUSE_DATA: return data_text (me, peer);
  case GEN_REFUSE_BLANK: return blank_text (me);
  case GEN_REFUSE_STALE: return stale_text (me, peer);
  case GEN_REFUSE_VOLUME:
    return "the peer belongs to another volume: check file= and peer= of "
           "both nodes";
  case GEN_REFUSE_REGION:
    return "the peer uses another region size: give both nodes the same "
           "region=, and the newer one new files";
  case GEN_REFUSE_SIZE:
    return "the peer's volume has another size: give both nodes the same "
           "size=, and the newer one new files";
  case GEN_REFUSE_NODE:
    if (me->peer != 0 && me->peer != peer->node)
      return "the peer is not the node that this copy is paired with: check "
             "peer= of both nodes";
    return "the peer's copy is paired with another node than this one: check "
           "peer= of both nodes";
  case GEN_REFUSE_ARBITER:
    return "the peer has another arbiter=, lease= or grace=: give both nodes "
           "the same";
  case GEN_REFUSE_DURABILITY:
    return "the peer has another durability=: give both nodes the same";
  default: return gen_verdict_text (verdict);
  }
}
