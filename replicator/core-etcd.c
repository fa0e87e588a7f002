/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-etcd.c: arbiter=etcd: who may make a generation.
 *
 * The volume's key holds the newest one.  What this node wants (a wish) is
 * read off its state at each step, as everything else.  Then
 *
 *   wish --read the key--> allowed --an attempt to reach the peer has
 *   failed--> attempt: its name is made durable --> asked, under that name
 *   and revision only, until the answer is definite --> done: it becomes
 *   the record's generation, or void: forgotten
 *
 * From the moment at which an attempt has its name until its end, no hello
 * is said (core_drained), and no other generation is made.  A wish that
 * goes away before costs nothing: nothing was asked for.
 *
 * One question is out at a time; only its own answer counts (the ticket).
 */
#include <errno.h>

#include "core-internal.h"

enum {
  WAIT_MAX_MS = 1000, /* between questions that are not answered */
};

static struct core_action *
ask (struct core *core, enum core_action_type type, enum etcd_swap swap)
{
  struct core_action *action = core_emit (core, type);
  struct etcd *etcd = &core->etcd;

  assert (!etcd->out);
  etcd->out = true;
  etcd->swap = swap;
  action->version = ++etcd->ticket;
  return action;
}

/* --------------------------------------------------- what the key holds */

/* A generation of RECORD's as the key shows it. */
static struct arbiter_value
value_of (const struct gen_record *record, const struct generation *gen,
          struct gen_id parent, uint64_t primary, bool both)
{
  return (struct arbiter_value){
    .volume = record->volume,
    .gen = gen->gen,
    .parent = parent,
    .kind = gen->kind,
    .maker = record->node,
    .primary = primary,
    .members = { record->node, both ? record->peer : 0 },
  };
}

/* The present generation. */
static struct arbiter_value
present_value (const struct gen_record *record)
{
  struct gen_id none = { 0, 0 };

  return value_of (record, &record->history[0],
                   record->history_count > 1 ? record->history[1].gen : none,
                   record->primary, record->both);
}

static bool
keeps_both (uint32_t kind)
{
  return kind == GEN_JOIN || kind == GEN_SWITCH;
}

const struct arbiter_value *
core_arbiter_value (const struct core *core)
{
  return &core->etcd.value;
}

/* What does the answer say of this node's generation? */
static enum key_state
judge (const struct core *core, const struct arbiter_answer *answer)
{
  const struct gen_record *record = &core->record;
  const struct arbiter_value *value = &answer->value;
  bool child;

  if (answer->revision == 0)
    return KEY_ABSENT;
  if (!answer->understood || value->volume != record->volume ||
      value->gen.epoch == 0)
    return KEY_FOREIGN;
  if (gen_id_equal (value->gen, gen_current (record)))
    return KEY_MINE;
  if (gen_knows (record, value->gen))
    return KEY_PAST;
  child = gen_id_equal (value->parent, gen_current (record)) &&
    value->gen.epoch == gen_current (record).epoch + 1;
  if (child && value->maker == record->node && value->kind >= GEN_SOLO &&
      value->kind <= GEN_SWITCH)
    return KEY_OWN_CHILD;
  if (child && value->maker == record->peer && value->kind == GEN_SWITCH)
    return KEY_PEER_SWITCH;
  return KEY_AHEAD;
}

/* --------------------------------------------------------------- wishes */

/* The peer itself is there, or has said that it cannot be chosen: so no
 * attempt to reach it need fail, and the key may be missing or old.
 */
static bool
agreed (const struct core *core)
{
  return core->phase == LINK_DECIDED || core->consent;
}

static enum gen_kind
wish_alone (const struct core *core)
{
  const struct gen_record *record = &core->record;

  if (!record->both)
    return GEN_NONE;
  if (core->consent)
    return core_is_primary (core) ? GEN_SOLO : GEN_TAKEOVER;
  if (core->paused)
    return GEN_NONE;
  /* A node that has just started gives its peer time to do so, too. */
  if (core->link_reason == NULL &&
      core->now_ms < core->start_ms + core->config.grace_ms)
    return GEN_NONE;
  if (core_is_primary (core))
    return GEN_SOLO;
  if (core->config.takeover == TAKEOVER_MANUAL ||
      core->now_ms < lease_free_ms (core))
    return GEN_NONE;
  return GEN_TAKEOVER;
}

static enum gen_kind
wish_linked (const struct core *core)
{
  if (core->relation == REL_SYNC)
    return core->switch_granted ? GEN_SWITCH : GEN_NONE;
  if (core->relation != REL_SOURCE)
    return GEN_NONE;
  /* The peer has noted durably that it is stale: it cannot be promoted. */
  if (core->record.both)
    return core->sync == SYNC_COPY ? GEN_SOLO : GEN_NONE;
  return core->sync == SYNC_DRAIN && core->acked_seq >= core->drain_seq
    ? GEN_JOIN
    : GEN_NONE;
}

static enum gen_kind
wish_of (const struct core *core)
{
  if (core->record.data != DATA_CURRENT || core->failed_now || core->stopping ||
      core->change != GEN_NONE || !core_settled (core))
    return GEN_NONE;
  if (core->phase == LINK_NONE)
    return wish_alone (core);
  return core->phase == LINK_DECIDED ? wish_linked (core) : GEN_NONE;
}

/* ------------------------------------------------------------- attempts */

bool
etcd_undecided (const struct core *core)
{
  return core->record.attempt.kind != GEN_NONE;
}

/* Give the wish a name.  It is asked for when the name is durable. */
static void
begin_attempt (struct core *core, enum gen_kind kind)
{
  struct gen_record *record = &core->record;

  record->attempt = (struct generation){
    .gen = { gen_current (record).epoch + 1, core_random (core) },
    .kind = kind,
  };
  record->attempt_revision = core->etcd.revision;
  core->etcd.wish = GEN_NONE;
  core->etcd.allowed = false;
  core->etcd.sent = false;
  core->etcd.by_word = agreed (core);
  core->change_link = core->link;
  core->switch_granted = false;
  core_save (core, false);
  core->etcd.version = core->sb_version;
}

static void
forget_attempt (struct core *core)
{
  core->record.attempt = (struct generation){ .kind = GEN_NONE };
  core->record.attempt_revision = 0;
}

/* It did not take place, and never will. */
static void
attempt_void (struct core *core)
{
  bool was_switch = core->record.attempt.kind == GEN_SWITCH;

  forget_attempt (core);
  core_save (core, false);
  if (was_switch && core->change_link == core->link)
    link_drop_now (core, "etcd did not let the primary role move");
}

/* It took place: now it is this node's generation. */
static void
attempt_done (struct core *core)
{
  struct gen_record *record = &core->record;
  struct generation made = record->attempt;
  bool here = core->phase == LINK_DECIDED && core->change_link == core->link;

  forget_attempt (core);
  gen_advance (record, (enum gen_kind) made.kind, made.gen.id, 0, 0);
  record->history[0].made_s = (uint32_t) core->wall_s;
  core->etcd.key = KEY_MINE;
  core->consent = false;
  if (record->data != DATA_CURRENT) {
    record->primary = record->node;
    record->both = keeps_both (made.kind);
    core_save (core, true);
    return;
  }
  if (made.kind == GEN_JOIN && here && core->sync == SYNC_DRAIN)
    core->sync = SYNC_JOIN;
  else if (made.kind == GEN_JOIN)
    client_end (core, false, ESHUTDOWN);
  core_enter_change (core, (enum gen_kind) made.kind);
  if (core->etcd.by_word && !keeps_both (made.kind))
    record->answered = true;
}

/* Ask for the attempt, under its own name only.  A copy that has failed
 * meanwhile would stand in its peer's way: it asks for what the key holds
 * already, which makes the attempt impossible if it has not taken place.
 */
static void
ask_attempt (struct core *core)
{
  struct etcd *etcd = &core->etcd;
  const struct gen_record *record = &core->record;
  bool takes_back = record->data != DATA_CURRENT;

  if (etcd->out || core->now_ms < etcd->next_ms)
    return;
  if (takes_back)
    etcd->value = present_value (record);
  else if (core->sb_durable < etcd->version)
    return;
  else
    etcd->value = value_of (record, &record->attempt, gen_current (record),
                            record->node, keeps_both (record->attempt.kind));
  ask (core, ACT_KEY_CAS, takes_back ? SWAP_BACK : SWAP_ATTEMPT)
    ->seq = record->attempt_revision;
}

/* -------------------------------------------------------------- answers */

static void
ask_later (struct core *core)
{
  struct etcd *etcd = &core->etcd;

  etcd->wait_ms = etcd->wait_ms == 0 ? CORE_ARBITER_WAIT_MS : etcd->wait_ms * 2;
  if (etcd->wait_ms > WAIT_MAX_MS)
    etcd->wait_ms = WAIT_MAX_MS;
  etcd->next_ms = core->now_ms + etcd->wait_ms;
}

static void
on_attempt_answer (struct core *core, const struct arbiter_answer *answer)
{
  const struct gen_record *record = &core->record;

  switch (answer->result) {
  case ARBITER_DONE:
    if (core->etcd.swap == SWAP_BACK)
      attempt_void (core);
    else
      attempt_done (core);
    break;
  case ARBITER_CONFLICT:
    if (answer->understood && answer->value.volume == record->volume &&
        gen_id_equal (answer->value.gen, record->attempt.gen))
      attempt_done (core);
    else
      attempt_void (core);
    break;
  case ARBITER_UNKNOWN: core->etcd.sent = true; break;
  case ARBITER_UNREACHABLE:
    /* Never asked for: nothing ties this node to it. */
    if (!core->etcd.sent)
      attempt_void (core);
    break;
  }
}

/* A generation that this node asked for and does not remember, or a switch
 * that the peer could not tell of: no node has served in it.
 */
static void
adopt_from_key (struct core *core, const struct arbiter_value *value)
{
  struct gen_record *record = &core->record;

  if (core->etcd.key == KEY_OWN_CHILD) {
    record->attempt = (struct generation){ .gen = value->gen,
                                           .kind = value->kind };
    core->etcd.by_word = false;
    attempt_done (core);
    return;
  }
  gen_advance (record, GEN_SWITCH, value->gen.id, 0, 0);
  record->history[0].made_s = (uint32_t) core->wall_s;
  record->primary = record->peer;
  client_end (core, true, ESHUTDOWN);
  core->change = GEN_SWITCH;
  core->change_adopts = true;
  core_save (core, true);
}

/* The key does not let the wish come true. */
static void
refuse_wish (struct core *core)
{
  core->etcd.next_ms = core->now_ms + WAIT_MAX_MS;
  if (core->switch_granted)
    link_drop_now (core, "etcd does not let the primary role move");
  if (core->etcd.key == KEY_AHEAD)
    client_end (core, true, ESHUTDOWN);
}

static void
on_read (struct core *core, const struct arbiter_answer *answer)
{
  struct etcd *etcd = &core->etcd;
  enum gen_kind wish = wish_of (core);

  if (wish == GEN_NONE || wish != etcd->wish)
    return;
  etcd->judged = true;
  if (answer->result != ARBITER_DONE) {
    if (core->switch_granted)
      link_drop_now (core, "etcd cannot be reached to move the primary role");
    return;
  }
  if (core->phase == LINK_NONE && core_drained (core) &&
      (etcd->key == KEY_OWN_CHILD || etcd->key == KEY_PEER_SWITCH)) {
    adopt_from_key (core, &answer->value);
    return;
  }
  etcd->allowed = etcd->key == KEY_MINE ||
    (agreed (core) && (etcd->key == KEY_ABSENT || etcd->key == KEY_PAST));
  if (!etcd->allowed)
    refuse_wish (core);
}

void
on_arbiter (struct core *core, const struct core_event *event)
{
  const struct arbiter_answer *answer = event->arbiter;
  struct etcd *etcd = &core->etcd;
  bool told = answer->result == ARBITER_DONE ||
    answer->result == ARBITER_CONFLICT;

  if (!etcd->out || event->version != etcd->ticket)
    return;
  etcd->out = false;
  etcd->reached = told;
  if (told) {
    etcd->known = true;
    etcd->wait_ms = 0;
    etcd->next_ms = core->now_ms;
    etcd->revision = answer->revision;
    etcd->key = etcd->swap != SWAP_NONE && answer->result == ARBITER_DONE
      ? KEY_MINE
      : judge (core, answer);
  }
  else
    ask_later (core);
  etcd->probe_ms = told ? core->now_ms + CORE_PROBE_MS : etcd->next_ms;
  if (etcd->swap == SWAP_ATTEMPT || etcd->swap == SWAP_BACK)
    on_attempt_answer (core, answer);
  else if (etcd->swap == SWAP_NONE) {
    etcd->read_done = etcd->ticket;
    on_read (core, answer);
  }
}

/* ------------------------------------------------------- what follows */

/* A pair that agrees on its generation, while the key knows none or an old
 * one: one of them writes it there.  It asks for nothing new, so nothing
 * depends on the answer.
 */
static bool
publishes (const struct core *core)
{
  const struct gen_record *record = &core->record;

  return core->phase == LINK_DECIDED && core->relation == REL_SYNC &&
    core->peer_joined && core->change == GEN_NONE && core_settled (core) &&
    core->switching == SWITCH_NONE && !core->switch_granted &&
    (record->primary == 0 ? record->node < record->peer
                          : core_is_primary (core)) &&
    (core->etcd.key == KEY_ABSENT || core->etcd.key == KEY_PAST);
}

static void
publish (struct core *core)
{
  core->etcd.value = present_value (&core->record);
  ask (core, ACT_KEY_CAS, SWAP_PUBLISH)->seq = core->etcd.revision;
  core->etcd.key = KEY_UNREAD;
}

/* The number of a read that begins now or later. */
uint64_t
etcd_read_soon (struct core *core)
{
  core->etcd.probe_ms = core->now_ms;
  return core->etcd.ticket + 1;
}

bool
etcd_read_done (const struct core *core, uint64_t number)
{
  return core->etcd.read_done >= number;
}

/* Could the primary role move by a switch, by what was read last? */
bool
etcd_lets_switch (const struct core *core)
{
  if (!core_by_etcd (core))
    return true;
  return core->etcd.reached &&
    (core->etcd.key == KEY_MINE || core->etcd.key == KEY_ABSENT ||
     core->etcd.key == KEY_PAST);
}

/* Before this node goes on alone it tries once more to reach its peer; when
 * that answers, but its link is paused, only as often as it does anyhow.
 */
static void
reach_out (struct core *core)
{
  if (agreed (core))
    core->etcd.attempt = 0;
  else if (core->peer_paused)
    core->etcd.attempt = core->attempt + 1;
  else
    core->etcd.attempt = link_attempt (core);
}

static void
follow_wish (struct core *core)
{
  struct etcd *etcd = &core->etcd;

  if (!etcd->allowed) {
    if (etcd->out || core->now_ms < etcd->next_ms)
      return;
    ask (core, ACT_KEY_READ, SWAP_NONE);
    if (core->attempt_failed >= etcd->attempt)
      reach_out (core);
  }
  else if (core->phase == LINK_DECIDED ||
           (core->attempt_failed >= etcd->attempt && core_drained (core)))
    begin_attempt (core, etcd->wish);
}

static bool
takes_part (const struct core *core)
{
  return core_by_etcd (core) && core->record.volume != 0 && !core->stopping &&
    (!core->failed_now || etcd_undecided (core));
}

void
etcd_advance (struct core *core)
{
  struct etcd *etcd = &core->etcd;
  enum gen_kind wish;

  if (!takes_part (core))
    return;
  if (etcd_undecided (core)) {
    ask_attempt (core);
    return;
  }
  wish = wish_of (core);
  if (wish != etcd->wish) {
    etcd->wish = wish;
    etcd->allowed = etcd->judged = false;
    if (etcd->reached)
      etcd->next_ms = core->now_ms;
    if (wish != GEN_NONE)
      reach_out (core);
  }
  if (wish != GEN_NONE)
    follow_wish (core);
  else if (!etcd->out && core->now_ms >= etcd->next_ms) {
    if (etcd->reached && publishes (core))
      publish (core);
    else if (core->now_ms >= etcd->probe_ms)
      ask (core, ACT_KEY_READ, SWAP_NONE);
  }
}

static void
no_later (const struct core *core, uint64_t time_ms, uint64_t *deadline_ms)
{
  if (time_ms > core->now_ms && time_ms < *deadline_ms)
    *deadline_ms = time_ms;
}

/* When something may be asked, or a wish arise, by the clock alone. */
uint64_t
etcd_deadline (const struct core *core)
{
  const struct etcd *etcd = &core->etcd;
  uint64_t deadline_ms = UINT64_MAX;

  if (!takes_part (core))
    return UINT64_MAX;
  if (!etcd->out) {
    no_later (core, etcd->next_ms, &deadline_ms);
    if (etcd->wish == GEN_NONE)
      no_later (core, etcd->probe_ms, &deadline_ms);
  }
  if (core->phase == LINK_NONE && core->record.both) {
    no_later (core, lease_free_ms (core), &deadline_ms);
    no_later (core, core->start_ms + core->config.grace_ms, &deadline_ms);
  }
  return deadline_ms;
}

/* Is there, as far as is known, no way to serve before something changes
 * elsewhere?  A client had better go to the other node.
 */
bool
etcd_bars (const struct core *core)
{
  const struct etcd *etcd = &core->etcd;

  if (core->config.takeover == TAKEOVER_MANUAL && !core_is_primary (core) &&
      !core->consent)
    return true;
  if (!etcd->judged || etcd_undecided (core))
    return false;
  return !etcd->reached || etcd->key == KEY_AHEAD || etcd->key == KEY_ABSENT ||
    etcd->key == KEY_PAST || etcd->key == KEY_FOREIGN;
}

/* What the state's reason is, as far as it is etcd or the lease; NULL: it
 * is something else.
 */
const char *
etcd_reason (const struct core *core)
{
  const struct etcd *etcd = &core->etcd;
  bool missed = etcd->read_done > 0 && !etcd->reached;

  if (!core_by_etcd (core) || core->record.data != DATA_CURRENT)
    return NULL;
  if (core->phase == LINK_DECIDED && core->relation == REL_SYNC) {
    if (core_is_primary (core) && !lease_holds (core))
      return "the peer has not answered for lease=: requests wait";
    return missed && core->sync == SYNC_OFF
      ? "in sync; etcd cannot be reached: neither node could go on alone"
      : NULL;
  }
  if (core->phase == LINK_DECIDED && core->relation == REL_SOURCE)
    return missed && etcd->wish != GEN_NONE
      ? "etcd cannot be reached: the peer cannot become a member"
      : NULL;
  if (!core->record.both)
    return lease_holds (core)
      ? NULL
      : "took over; waits until the peer's lease must be over";
  if (etcd_undecided (core))
    return "etcd was asked for a new generation; its answer is not known";
  if (core->phase != LINK_NONE)
    return NULL;
  if (etcd->judged && !etcd->reached)
    return "can reach neither the peer nor etcd: serves nothing";
  switch (etcd->judged ? etcd->key : KEY_UNREAD) {
  case KEY_AHEAD:
    return "etcd says that the peer went on without this copy; waits for it";
  case KEY_ABSENT:
  case KEY_PAST:
    return "etcd does not know this generation: start the peer, too";
  case KEY_FOREIGN:
    return "the volume's key in etcd holds something that is not of this "
           "volume: remove the key and start both nodes";
  default: break;
  }
  if (core->config.takeover == TAKEOVER_MANUAL && !core_is_primary (core))
    return "takeover=manual: this backup does not take over by itself";
  return lease_wait_ms (core) > 0 ? "waits until the peer's lease must be over"
                                  : NULL;
}

void
etcd_check (const struct core *core)
{
  const struct gen_record *record = &core->record;

  if (!core_by_etcd (core)) {
    assert (!core->etcd.out);
    assert (core->etcd.ticket == 0);
    return;
  }
  if (core->etcd.allowed)
    assert (core->etcd.wish != GEN_NONE);
  if (!etcd_undecided (core))
    return;
  /* From a name's beginning to its end: no hello, no other generation. */
  assert (record->attempt.gen.epoch == gen_current (record).epoch + 1);
  assert (core->change == GEN_NONE);
  assert (core->phase != LINK_HELLO);
  assert (record->data == DATA_CURRENT || record->data == DATA_FAILED);
  if (core->etcd.out && core->etcd.swap == SWAP_ATTEMPT)
    assert (core->sb_durable >= core->etcd.version || core->failed_now);
}
