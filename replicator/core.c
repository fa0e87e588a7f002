/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core.c: one step of the node's state machine: event in, actions out.
 *
 * A step records what the event says and then asks every rule whether
 * its conditions hold now (core_advance).  Rules look at the state, not
 * at the event, so an event that comes early, late or twice finds the
 * same rules.
 *
 * What holds in each state that a user sees (core_check.c tests it):
 *
 *   waiting    no link decided; this process has not served or lost one
 *   candidate  two members, no link: acknowledges nothing
 *   primary    SYNC and record.primary is me: a reply needs both copies
 *   backup     SYNC and it is not: refuses clients, applies frames
 *   syncing    data is SYNCING: serves nothing, takes part in no T1/T2
 *   solo       members is me alone: a reply needs my copy and a mark
 *   diverged   no data flows; serves only if it is solo
 *   failed     serves nothing, links to nobody until restarted
 *
 * This file and core-*.c must never call anything that blocks, allocates
 * or asks the system.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core-internal.h"

#define STATE_WORD(name, word) word,
static const char *const state_words[] = { CORE_STATES (STATE_WORD) };

const char *
core_state_name (enum core_state state)
{
  return state < CORE_STATE_COUNT ? state_words[state] : "?";
}

struct core *
core_new (const struct core_config *config, const struct gen_record *record,
          const uint8_t *map, uint64_t map_bytes)
{
  struct core *core = calloc (1, sizeof *core);

  if (core == NULL)
    return NULL;
  assert (config->beat_ms > 0 && config->dead_ms > config->beat_ms);
  if (config->arbiter == ARBITER_ETCD) {
    assert (config->lease_ms > config->beat_ms);
    assert (config->grace_ms >= core_grace_min (config->lease_ms));
  }
  if (config->durability == DURABILITY_FLUSH)
    assert (config->flush_bytes > 0 && config->flush_ms > 0);
  core->config = *config;
  assert (record->grow_to == 0); /* the store has cut it back */
  core->record = *record;
  core->size = record->size;
  core->random = config->boot;
  core->marks = marks_new (record->size, record->region_size);
  core->ranges = ranges_new (CORE_REQUESTS_MAX + CORE_CHUNKS_MAX);
  if (core->marks == NULL || core->ranges == NULL) {
    core_free (core);
    return NULL;
  }
  if (map != NULL) {
    assert (map_bytes == marks_map_bytes (core->marks));
    memcpy (marks_map (core->marks), map, map_bytes);
    marks_loaded (core->marks);
  }
  /* It may have been sent by the process before. */
  core->etcd.sent = record->attempt.kind != GEN_NONE;
  client_init (core);
  sync_reset (core);
  return core;
}

void
core_free (struct core *core)
{
  if (core == NULL)
    return;
  marks_free (core->marks);
  marks_free (core->grow.room);
  ranges_free (core->ranges);
  free (core);
}

const struct gen_record *
core_record (const struct core *core)
{
  return &core->record;
}

const struct wire_hello *
core_hello (const struct core *core)
{
  return &core->hello;
}

const uint8_t *
core_map_page (const struct core *core, uint32_t page)
{
  return marks_map (core->marks) + (size_t) page * MARKS_PAGE_BYTES;
}

const uint64_t *
core_clear (const struct core *core)
{
  return core->clear;
}

bool
core_takes_data (const struct core *core)
{
  return !core->failed_now;
}

/* ---------------------------------------------------- small services */

/* splitmix64 (Steele, Lea, Flood 2014): turns the event's random bits
 * into as many as one step needs.
 */
uint64_t
core_random (struct core *core)
{
  uint64_t z = core->random += UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
  z ^= z >> 31;
  return z != 0 ? z : 1;
}

struct core_action *
core_emit (struct core *core, enum core_action_type type)
{
  struct core_action *action;

  assert (core->out.count < CORE_ACTIONS_MAX);
  action = &core->out.list[core->out.count++];
  *action = (struct core_action){ .type = type, .link = core->link };
  return action;
}

/* Is there room for what one more request or chunk may emit?  If not,
 * the step says that there is more.
 */
bool
core_room (struct core *core)
{
  enum { MOST_PER_REQUEST = 80, END_OF_STEP = 1200 };

  if (core->out.count + MOST_PER_REQUEST + END_OF_STEP < CORE_ACTIONS_MAX)
    return true;
  core->out.more = true;
  return false;
}

/* The record changed.  BINDING: nothing may depend on the old one. */
void
core_save (struct core *core, bool binding)
{
  core->sb_version++;
  if (binding)
    core->gen_version = core->sb_version;
}

void
core_want_sync (struct core *core)
{
  struct core_action *action = core_emit (core, ACT_SYNC_STORE);

  if (core_synced (core))
    core->sync_ms = core->now_ms;
  action->version = ++core->sync_version;
}

bool
core_settled (const struct core *core)
{
  return core->sb_durable >= core->gen_version;
}

bool
core_synced (const struct core *core)
{
  return core->sync_durable == core->sync_version;
}

bool
core_is_primary (const struct core *core)
{
  return core->record.primary == core->record.node;
}

/* No store operation of a former role runs, nothing waits for the disk or
 * for etcd's decision.
 */
bool
core_drained (const struct core *core)
{
  unsigned i;

  if (core->local_out > 0 || core->map_flight || !core_settled (core) ||
      core->change != GEN_NONE || etcd_undecided (core))
    return false;
  for (i = 0; i < CORE_CHUNKS_MAX; i++)
    if (core->chunks[i].state == CHUNK_READING || core->chunks[i].buffer_busy)
      return false;
  return true;
}

/* May requests start, and may their replies leave (I2, I7)? */
bool
core_may_serve (const struct core *core)
{
  if (core->record.data != DATA_CURRENT || core->record.discard ||
      core->failed_now || core->stopping || core->change != GEN_NONE ||
      !core_settled (core) || !core_synced (core) || !core_is_primary (core))
    return false;
  if (core->record.may_lack)
    return false;
  if (!lease_holds (core))
    return false;
  /* While a join is undecided no hello is said: the drain has time. */
  if (core->phase == LINK_HELLO ||
      (core->phase == LINK_DRAINING && !etcd_undecided (core)))
    return false;
  if (!core->record.both)
    return core->relation != REL_TARGET;
  return core->phase == LINK_DECIDED && core->relation == REL_SYNC &&
    core->sync != SYNC_MARKS && core->peer_joined &&
    core->switching != SWITCH_GRANTED;
}

/* --------------------------------------------------------- generations */

/*
 * Make a generation: T1..T4.  It is in the record at once, and binding:
 * nothing is served, sent or answered until it is durable.
 */
void
core_begin_change (struct core *core, enum gen_kind kind, uint64_t client,
                   uint64_t session)
{
  struct gen_record *record = &core->record;
  bool replaces = kind == GEN_SOLO && !record->both && client != 0 &&
    record->history[0].client == client;

  assert (core->change == GEN_NONE);
  assert (record->data == DATA_CURRENT);
  /* Plain clients that stay are served in it too. */
  if (client_any_plain (core))
    client = session = 0;
  core->previous = *record;
  if (replaces)
    gen_replace (record, core_random (core), session);
  else
    gen_advance (record, kind, core_random (core), client, session);
  if (!replaces)
    record->history[0].made_s = (uint32_t) core->wall_s;
  core_enter_change (core, kind);
}

/* It stands in the history: now it is what this node is in. */
void
core_enter_change (struct core *core, enum gen_kind kind)
{
  struct gen_record *record = &core->record;

  record->primary = record->node;
  record->both = kind == GEN_JOIN || kind == GEN_SWITCH;
  record->discard = record->may_lack = false;
  if (kind == GEN_TAKEOVER || kind == GEN_FORCE)
    marks_suspect (core->marks);
  if (kind != GEN_JOIN) {
    client_end (core, false, ESHUTDOWN);
    core->gen_proxied = false;
    core_want_sync (core);
  }
  core->t1_plain = false;
  core->change = kind;
  core->change_adopts = false;
  core_save (core, true);
}

static bool
finish_change (struct core *core)
{
  enum gen_kind kind = core->change;

  if (kind == GEN_NONE || !core_settled (core) || !core_synced (core))
    return false;
  core->change = GEN_NONE;
  if (kind == GEN_SOLO || kind == GEN_TAKEOVER || kind == GEN_FORCE)
    client_solo (core);
  link_changed (core, kind);
  return true;
}

/* The store failed: this copy serves nobody until it was resynced. */
void
core_fail (struct core *core, int error, const char *reason)
{
  if (core->failed_now)
    return;
  core->failed_now = true;
  core->failed_errno = error;
  core->failed_reason = reason;
  /* What it was about to grant is no longer a copy that holds everything. */
  if (core->switching == SWITCH_GRANTING)
    core->switching = SWITCH_NONE;
  /* A generation of this node's making that was neither served nor told
   * must not stand in the peer's way.  (What etcd knows of was told.)
   */
  if (core->change != GEN_NONE && core->change != GEN_CREATE &&
      !core->change_adopts && !core_by_etcd (core)) {
    resize_keep (&core->previous, &core->record);
    core->record = core->previous;
  }
  core->change = GEN_NONE;
  if (core->record.data == DATA_CURRENT || core->record.data == DATA_SYNCING) {
    core->record.data = DATA_FAILED;
    core_save (core, true);
  }
  /* A client that can go elsewhere is told to; one that cannot gets the
   * error, and so do all when there is no second copy.
   */
  if (core->record.both)
    client_end (core, false, ESHUTDOWN);
  client_end (core, true, error);
  if (core->phase == LINK_DECIDED && core->relation == REL_SYNC &&
      core_is_primary (core)) {
    core->notice_pending = true;
    core->notice_type = WIRE_HANDOVER;
  }
  else if (core->phase == LINK_DECIDED &&
           (core->relation == REL_SYNC || core->relation == REL_TARGET)) {
    core->notice_pending = true;
    core->notice_type = WIRE_NACK;
  }
  else
    link_bye (core, WIRE_BYE_STORE, reason);
  if (core->notice_pending)
    link_deadline_in (core);
}

/* ------------------------------------------------------- user's states */

static const char *
solo_reason (const struct core *core)
{
  if (core->change != GEN_NONE || !core_settled (core))
    return "a new generation is being made durable";
  if (core->phase == LINK_DECIDED && core->relation == REL_SOURCE)
    return "serving alone; the peer is being brought up to date";
  if (core->refusal != NULL)
    return core->refusal;
  if (core->paused)
    return "serving alone; " PAUSED_HERE;
  if (core->peer_paused)
    return "serving alone; " PAUSED_THERE;
  return "serving alone; the peer is away";
}

static const char *
unlinked_reason (const struct core *core)
{
  if (core->refusal != NULL)
    return core->refusal;
  if (core->phase == LINK_DECIDED && core->relation == REL_CREATE)
    return "the volume is being created";
  if (core->record.data == DATA_BLANK)
    return "new node; needs to meet its peer once";
  if (core->phase == LINK_DECIDED)
    return "becoming a member; its new generation is being made durable";
  if (core->record.may_lack)
    return CORE_MAY_LACK;
  if (core->link_reason != NULL)
    return core->link_reason;
  return "no word from the peer yet";
}

static enum core_state
sync_state (const struct core *core, const char **reason)
{
  if (core_is_primary (core)) {
    *reason = core->sync == SYNC_OFF ? "both copies are in sync"
      : core->verify.view.active
      ? "both copies hold all acknowledged writes; repairing blocks that "
        "differ"
      : "both copies hold all acknowledged writes; reconciling blocks that "
        "were in flight";
    if (core->switching == SWITCH_GRANTING || core->switching == SWITCH_GRANTED)
      *reason = "handing the primary role to the peer";
    return STATE_PRIMARY;
  }
  *reason = core->record.primary == 0
    ? "in sync; the first client decides who becomes primary"
    : "in sync; the peer is primary";
  return STATE_BACKUP;
}

static enum core_state
plain_state_of (const struct core *core, const char **reason)
{
  if (core->failed_now) {
    *reason = core->failed_reason;
    return STATE_FAILED;
  }
  if (core->record.data == DATA_FAILED) {
    *reason = core->refusal != NULL
      ? core->refusal
      : "its store failed earlier; it needs a resync from the peer";
    return STATE_FAILED;
  }
  if (core->phase == LINK_DECIDED && core->relation == REL_DIVERGED) {
    *reason = core->record.both
      ? "both copies were written apart from each other; this one does not "
        "serve: give one up with duetctl discard at its node"
      : "both copies were written apart from each other; this one goes on "
        "serving its clients: give one up with duetctl discard at its node";
    return STATE_DIVERGED;
  }
  if (core->record.discard && core->record.data == DATA_CURRENT) {
    *reason = core->refusal != NULL ? core->refusal
      : pause_reason (core) != NULL ? pause_reason (core)
      : core->yield != YIELD_NONE
      ? "stepping back: the peer goes on alone"
      : "this copy was given up: waits for the peer to bring it up to date";
    return STATE_SYNCING;
  }
  if (core->record.data == DATA_SYNCING) {
    *reason = core->refusal != NULL ? core->refusal
      : pause_reason (core) != NULL ? pause_reason (core)
      : core->phase == LINK_DECIDED
      ? "being brought up to date by the peer"
      : "waits for the peer to be brought up to date";
    return STATE_SYNCING;
  }
  if (core->phase == LINK_DECIDED && core->relation == REL_TARGET &&
      core->change == GEN_JOIN) {
    *reason = "complete; becoming a member";
    return STATE_SYNCING;
  }
  if (core->record.data == DATA_CURRENT && !core->record.both) {
    *reason = solo_reason (core);
    return STATE_SOLO;
  }
  if (core->phase == LINK_DECIDED && core->relation == REL_SYNC)
    return sync_state (core, reason);
  if (core->phase == LINK_DECIDED && core->relation == REL_SOURCE) {
    *reason = "the peer is becoming a member";
    return STATE_SOLO;
  }
  *reason = unlinked_reason (core);
  return core->link_reason != NULL && core->record.data == DATA_CURRENT
    ? STATE_CANDIDATE
    : STATE_WAITING;
}

enum core_state
core_state_of (const struct core *core, const char **reason)
{
  enum core_state state = plain_state_of (core, reason);
  const char *etcd = core->refusal == NULL ? etcd_reason (core) : NULL;

  if (etcd != NULL && state != STATE_FAILED && state != STATE_DIVERGED)
    *reason = etcd;
  return state;
}

/* What is late, if anything, is the reason that users look for. */
void
core_late_reason (const struct core *core, enum core_state state,
                  const char **reason)
{
  if (state == STATE_FAILED || state == STATE_DIVERGED)
    return;
  if (core->disk_late)
    *reason = "this node's disk has not answered for longer than dead=";
  else if (core->peer_late)
    *reason = "the peer has made nothing durable for longer than dead=; its "
              "disk may hang";
}

static enum core_state
peer_state_of (const struct core *core)
{
  if (core->phase != LINK_DECIDED)
    return STATE_WAITING;
  switch (core->relation) {
  case REL_SYNC:
    return core->record.primary != 0 && !core_is_primary (core) ? STATE_PRIMARY
                                                                : STATE_BACKUP;
  case REL_SOURCE: return STATE_SYNCING;
  case REL_TARGET: return STATE_SOLO;
  case REL_DIVERGED: return STATE_DIVERGED;
  case REL_NONE:
  case REL_CREATE: break;
  }
  return STATE_WAITING;
}

void
core_view (const struct core *core, struct core_view *view)
{
  *view = (struct core_view){
    .serving = core_may_serve (core),
    .linked = core->phase == LINK_DECIDED,
    .link_reason = core->link_reason,
    .paused = core->paused,
    .peer_paused = core->peer_paused,
    .settled = core->change == GEN_NONE && core_settled (core),
    .resyncing = core->phase == LINK_DECIDED && core->sync != SYNC_OFF,
    .peer_state = peer_state_of (core),
    .record = core->record,
    .dirty_bytes = marks_dirty_bytes (core->marks),
    .resync_done_bytes = core->resync_done_bytes,
    .resync_total_bytes = core->resync_total_bytes,
    .resync_started_ms = core->resync_started_ms,
    .requests = core->requests_used,
    .conns = core->conns_used,
    .rtt_ms = core->rtt_ms,
    .verify = core->verify.view,
    .resize = core->grow.view,
    .arbiter_known = core->etcd.known,
    .arbiter_reached = core->etcd.reached,
    .attempt = (enum gen_kind) core->record.attempt.kind,
    .lease_left_ms = lease_left_ms (core),
    .grace_left_ms = lease_wait_ms (core),
    .disk_late_ms = disk_late_ms (core),
    .unflushed_bytes = core->flush.wrote - core->flush.safe,
  };
  view->record.size = core->size;
  if (resize_runs (core) && core->grow.phase != GROW_UNDOING)
    view->growing_to = core->grow.to;
  view->diverged = core->phase == LINK_DECIDED &&
    core->relation == REL_DIVERGED;
  if (view->diverged)
    view->fork = gen_fork (&core->record, &core->peer_hello.record);
  view->state = core_state_of (core, &view->reason);
  core_late_reason (core, view->state, &view->reason);
  view->refused = core->refusal != NULL && view->reason == core->refusal;
  if (view->refused)
    view->peer_size_bytes = core->peer_hello.record.size;
}

/* ------------------------------------------------------------ the step */

/* Write the map pages that changed, unless some are on their way. */
static void
persist_map (struct core *core)
{
  struct core_action *action;
  uint32_t first, last;

  if (core->map_flight || !marks_take_pages (core->marks, &first, &last))
    return;
  core->map_flight = true;
  core->map_ms = core->now_ms;
  action = core_emit (core, ACT_PERSIST_MAP);
  action->first = first;
  action->last = last;
}

static void
pump_persist (struct core *core)
{
  struct core_action *action;

  if (core->sb_flight == 0 && core->sb_durable < core->sb_version) {
    core->sb_flight = core->sb_version;
    core->sb_ms = core->now_ms;
    action = core_emit (core, ACT_PERSIST_SB);
    action->version = core->sb_flight;
  }
  if (marks_pages_urgent (core->marks))
    persist_map (core);
}

static void
core_advance (struct core *core)
{
  unsigned rounds = 0;
  bool again;

  do {
    again = finish_change (core);
    resize_advance (core); /* before a hello that waits for it */
    link_advance (core);
    etcd_advance (core);
    target_advance (core);
    flush_advance (core);
    client_advance (core);
    sync_advance (core);
    verify_advance (core);
    disk_advance (core);
    admin_advance (core);
    pause_advance (core);
    again |= core->change != GEN_NONE && core_settled (core) &&
      core_synced (core);
    assert (++rounds < 8);
  } while (again);
  pump_persist (core);
  news_advance (core);
}

static void
on_sb_durable (struct core *core, const struct core_event *event)
{
  core->sb_flight = 0;
  if (event->error != 0) {
    /* Decisions cannot be kept: give up without word on disk. */
    core->sb_durable = core->sb_version;
    core->notice_pending = false;
    core_fail (core, event->error, CORE_METADATA_ERROR);
    core->sb_durable = core->sb_version;
    core->notice_pending = false;
    link_bye (core, WIRE_BYE_STORE, CORE_METADATA_ERROR);
    return;
  }
  core->sb_durable = event->version;
}

static void
on_map_durable (struct core *core, const struct core_event *event)
{
  core->map_flight = false;
  if (event->error != 0) {
    core_fail (core, event->error, CORE_METADATA_ERROR);
    return;
  }
  marks_pages_durable (core->marks);
}

static void
on_store_synced (struct core *core, const struct core_event *event)
{
  if (event->error != 0)
    core_fail (core, event->error, CORE_SYNC_ERROR);
  else if (event->version > core->sync_durable) {
    core->sync_durable = event->version;
    core->sync_ms = core->now_ms;
  }
}

static void
on_stop (struct core *core)
{
  core->stopping = true;
  client_end (core, false, ESHUTDOWN);
  client_end (core, true, ESHUTDOWN);
  link_bye (core, WIRE_BYE_STOP, "stopping");
}

static void
on_tick (struct core *core)
{
  link_tick (core);
  sync_tick (core);
  /* Cleared region bits are not urgent: they go out with the clock. */
  persist_map (core);
}

static void
dispatch (struct core *core, const struct core_event *event)
{
  switch (event->type) {
  case EV_START:
    core->started = true;
    core->start_ms = core->granted_ms = core->now_ms;
    core_want_sync (core);
    flush_start (core);
    break;
  case EV_TICK: on_tick (core); break;
  case EV_OPEN: on_open (core, event); break;
  case EV_CLOSE: on_close (core, event->slot); break;
  case EV_REQUEST: on_request (core, event); break;
  case EV_LOCAL_DONE: on_local_done (core, event); break;
  case EV_LINK_UP: on_link_up (core, event); break;
  case EV_LINK_DOWN: on_link_down (core, event); break;
  case EV_CONNECT_FAILED: on_connect_failed (core); break;
  case EV_FRAME: on_frame (core, event); break;
  case EV_APPLIED: on_applied (core, event); break;
  case EV_SB_DURABLE: on_sb_durable (core, event); break;
  case EV_MAP_DURABLE: on_map_durable (core, event); break;
  case EV_STORE_SYNCED: on_store_synced (core, event); break;
  case EV_CHUNK_DONE: on_chunk_done (core, event); break;
  case EV_CHUNK_FREE: on_chunk_free (core, event->slot); break;
  case EV_HANGUP: on_hangup (core, event->slot); break;
  case EV_STOP: on_stop (core); break;
  case EV_ADMIN: on_admin (core, event); break;
  case EV_STORE_SHORT:
    core_fail (core, EIO,
               "the data file was made shorter by somebody else: restore it, "
               "or remove the metadata to start this node blank");
    break;
  case EV_LINK_CLOSING: on_link_closing (core, event); break;
  case EV_ARBITER: on_arbiter (core, event); break;
  case EV_STORE_FLUSHED: on_store_flushed (core, event); break;
  case EV_GROWN: on_grown (core, event); break;
  }
}

const struct core_actions *
core_step (struct core *core, const struct core_event *event)
{
  assert (core->started || event->type == EV_START);
  assert (event->now_ms >= core->now_ms);
  core->out.count = 0;
  core->out.more = false;
  disk_note_time (core, event->now_ms);
  core->now_ms = event->now_ms;
  core->wall_s = event->wall_s;
  core->random ^= event->random;
  dispatch (core, event);
  core_advance (core);
  return &core->out;
}

uint64_t
core_deadline (const struct core *core)
{
  static uint64_t (*const parts[]) (const struct core *core) = {
    link_deadline,  open_deadline,   disk_deadline,
    admin_deadline, verify_deadline, etcd_deadline,
    lease_deadline, sync_deadline,   flush_deadline,
  };
  uint64_t deadline = UINT64_MAX, other;
  size_t i;

  for (i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    other = parts[i](core);
    if (other < deadline)
      deadline = other;
  }
  return deadline;
}
