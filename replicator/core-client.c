/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-client.c: the clients' side of the core: who may open (the rules
 * of arbiter=client), fencing of older sessions, and the way of a
 * request from its arrival to its answer.
 */
#include <errno.h>
#include <string.h>

#include "core-internal.h"

/* --------------------------------------------------------------- lists */

static void
list_add (struct core *core, enum request_state state, uint32_t slot)
{
  struct request_list *list = &core->lists[state];
  struct request *r = &core->requests[slot];

  r->state = state;
  r->next = NO_SLOT;
  r->prev = list->tail;
  if (list->tail != NO_SLOT)
    core->requests[list->tail].next = slot;
  else
    list->head = slot;
  list->tail = slot;
}

static void
list_remove (struct core *core, uint32_t slot)
{
  struct request *r = &core->requests[slot];
  struct request_list *list = &core->lists[r->state];

  if (r->prev != NO_SLOT)
    core->requests[r->prev].next = r->next;
  else
    list->head = r->next;
  if (r->next != NO_SLOT)
    core->requests[r->next].prev = r->prev;
  else
    list->tail = r->prev;
}

static void
move_to (struct core *core, uint32_t slot, enum request_state state)
{
  list_remove (core, slot);
  list_add (core, state, slot);
}

void
client_init (struct core *core)
{
  unsigned i;

  for (i = 0; i < R_STATES; i++)
    core->lists[i].head = core->lists[i].tail = NO_SLOT;
}

static bool
is_write (const struct request *r)
{
  return r->kind != REQ_READ && r->kind != REQ_FLUSH;
}

/* ------------------------------------------------------------ requests */

/* Give up the range of TAG (a request, or a chunk) if it has entered
 * one, and let in who waited for it.
 */
void
client_unlock (struct core *core, uint32_t tag)
{
  if (!ranges_entered (core->ranges, tag))
    return;
  ranges_leave (core->ranges, tag);
  while (ranges_next (core->ranges, &tag)) {
    if (tag < CORE_REQUESTS_MAX)
      client_locked (core, tag);
    else
      sync_locked (core, tag - CORE_REQUESTS_MAX);
  }
}

static void
release_range (struct core *core, uint32_t slot)
{
  struct request *r = &core->requests[slot];

  if (r->used) {
    marks_unuse (core->marks, r->offset, r->length, core->now_ms);
    r->used = false;
  }
  client_unlock (core, slot);
}

static void
finish (struct core *core, uint32_t slot, int error)
{
  struct request *r = &core->requests[slot];
  struct core_action *action;

  assert (!r->local_out);
  if (error == 0 && !core->record.answered) {
    core->record.answered = true;
    core_save (core, false);
  }
  list_remove (core, slot);
  r->state = R_FREE;
  core->requests_used--;
  core->conns[r->conn].requests--;
  action = core_emit (core, ACT_COMPLETE);
  action->slot = slot;
  action->error = error;
  release_range (core, slot);
}

/* End a request as soon as its local part lets go of the store. */
static void
abort_request (struct core *core, uint32_t slot, int error)
{
  struct request *r = &core->requests[slot];

  if (r->local_out) {
    if (!r->doomed) {
      r->doomed = true;
      r->doom = error;
    }
    return;
  }
  finish (core, slot, error);
}

/* A local part failed while the peer is an equal member: this node hands
 * over rather than show the error, once the peer is known to have the
 * write (a full disk may be full on both).
 */
static bool
hands_over (const struct core *core)
{
  return core->record.both && core->phase == LINK_DECIDED &&
    core->relation == REL_SYNC;
}

static void
maybe_finish (struct core *core, uint32_t slot)
{
  struct request *r = &core->requests[slot];

  if (r->state != R_RUNNING || r->local_out)
    return;
  if (r->doomed) {
    finish (core, slot, r->doom);
    return;
  }
  if (r->redo) {
    move_to (core, slot, R_READY);
    return;
  }
  if (r->peer_needed || !core_may_serve (core))
    return;
  if (r->error != 0 && hands_over (core)) {
    core_fail (core, r->error, "the data file gave an error");
    return;
  }
  finish (core, slot, r->error);
}

static void
start (struct core *core, uint32_t slot)
{
  struct request *r = &core->requests[slot];

  if (r->length == 0 || r->kind == REQ_FLUSH) {
    /* durability=write: everything answered is durable already. */
    finish (core, slot, 0);
    return;
  }
  move_to (core, slot, R_LOCKING);
  if (ranges_enter (core->ranges, slot, r->offset, r->length, is_write (r)))
    client_locked (core, slot);
}

/* The request holds its range. */
void
client_locked (struct core *core, uint32_t slot)
{
  struct request *r = &core->requests[slot];

  assert (r->state == R_LOCKING);
  if (!is_write (r)) {
    move_to (core, slot, R_READY);
    return;
  }
  marks_use (core->marks, r->offset, r->length, core->now_ms);
  r->used = true;
  move_to (core, slot,
           marks_set_regions (core->marks, r->offset, r->length) ? R_READY
                                                                 : R_MARKING);
}

/* Carry out a READY request; false when the link's window is full. */
static bool
go (struct core *core, uint32_t slot)
{
  struct request *r = &core->requests[slot];
  struct core_action *action;

  if (core->relation == REL_SYNC && !r->redo &&
      marks_overlap (core->marks, r->offset, r->length)) {
    move_to (core, slot, R_RECONCILE);
    release_range (core, slot);
    return true;
  }
  r->peer_needed = false;
  if (is_write (r)) {
    if (!sync_sends_writes (core))
      marks_dirty (core->marks, r->offset, r->length);
    else if (sync_window_full (core, r->kind == REQ_WRITE ? r->length : 0))
      return false;
    else {
      r->peer_needed = sync_waits_for_peer (core);
      sync_send_request (core, slot);
    }
  }
  move_to (core, slot, R_RUNNING);
  r->redo = false;
  r->error = 0;
  r->local_out = true;
  core->local_out++;
  action = core_emit (core, ACT_LOCAL);
  action->slot = slot;
  return true;
}

void
on_request (struct core *core, const struct core_event *event)
{
  struct request *r;
  struct core_action *action;
  const struct conn *conn;
  int error = 0;

  assert (event->slot < CORE_REQUESTS_MAX);
  assert (event->request.conn < CORE_CONNS_MAX);
  r = &core->requests[event->slot];
  conn = &core->conns[event->request.conn];
  assert (r->state == R_FREE);
  if (conn->state != CONN_OPEN || core->stopping)
    error = core->failed_now && !core->record.both ? EIO : ESHUTDOWN;
  else if (event->request.offset > core->record.size ||
           event->request.length > core->record.size - event->request.offset)
    error = event->request.kind == REQ_READ ? EINVAL : ENOSPC;
  if (error != 0) {
    action = core_emit (core, ACT_COMPLETE);
    action->slot = event->slot;
    action->error = error;
    return;
  }
  *r = (struct request){
    .kind = event->request.kind,
    .punch = event->request.punch || event->request.kind == REQ_TRIM,
    .conn = event->request.conn,
    .offset = event->request.offset,
    .length = event->request.length,
  };
  core->requests_used++;
  core->conns[r->conn].requests++;
  list_add (core, R_HELD, event->slot);
}

void
on_local_done (struct core *core, const struct core_event *event)
{
  struct request *r = &core->requests[event->slot];

  assert (r->state == R_RUNNING && r->local_out);
  r->local_out = false;
  core->local_out--;
  r->error = event->error;
  if (event->error != 0 && event->fatal)
    core_fail (core, event->error, "an fdatasync of the data file failed");
  else if (event->error != 0 && is_write (r) && core->relation == REL_SOURCE &&
           sync_sends_writes (core))
    /* The peer may have what this copy lacks: start over from marks. */
    link_drop_now (core, "a local write failed during resync");
  maybe_finish (core, event->slot);
}

/* The peer has made durable all frames of the request up to SEQ. */
void
client_acked (struct core *core, uint32_t slot, uint64_t seq)
{
  struct request *r = &core->requests[slot];

  if (r->state != R_RUNNING || r->last_seq != seq)
    return;
  r->peer_needed = false;
  maybe_finish (core, slot);
}

/* ------------------------------------------------------ ends of service */

static bool
conn_ends (const struct conn *conn, bool plain_too)
{
  return (conn->open.proxied || plain_too) &&
    (conn->state == CONN_OPEN || conn->state == CONN_ENDED);
}

static void
end_conn (struct core *core, uint32_t slot)
{
  if (core->conns[slot].state != CONN_OPEN)
    return;
  core->conns[slot].state = CONN_ENDED;
  core_emit (core, ACT_CONN_ENDED)->slot = slot;
}

/* End all proxied connections, and PLAIN_TOO the others. */
void
client_end (struct core *core, bool plain_too, int error)
{
  uint32_t i;

  if (core->conns_used == 0)
    return;
  for (i = 0; i < CORE_CONNS_MAX; i++)
    if (conn_ends (&core->conns[i], plain_too))
      end_conn (core, i);
  for (i = 0; i < CORE_REQUESTS_MAX && core->requests_used > 0; i++)
    if (core->requests[i].state != R_FREE &&
        conn_ends (&core->conns[core->requests[i].conn], plain_too))
      abort_request (core, i, error);
}

/* What stays in the core after the link was lost: all requests of a solo
 * node, the plain clients' of one of two members.
 */
void
client_link_lost (struct core *core)
{
  uint32_t i;

  for (i = 0; i < CORE_REQUESTS_MAX && core->requests_used > 0; i++) {
    struct request *r = &core->requests[i];

    if (r->state != R_RUNNING || !r->peer_needed)
      continue;
    r->peer_needed = false;
    /* Whether the peer has it is open: unless this node is alone, it is
     * carried out again when it serves again.
     */
    r->redo = core->record.both;
    maybe_finish (core, i);
  }
}

/* A solo generation is durable: what had waited for it is swept up by
 * client_advance, since the node serves again.
 */
void
client_solo (struct core *core)
{
  core->was_serving = false;
}

bool
client_any_plain (const struct core *core)
{
  uint32_t i;

  for (i = 0; i < CORE_CONNS_MAX && core->conns_used > 0; i++)
    if (core->conns[i].state == CONN_OPEN && !core->conns[i].open.proxied)
      return true;
  return false;
}

bool
client_running (const struct core *core)
{
  return core->lists[R_RUNNING].head != NO_SLOT;
}

/* --------------------------------------------------------------- opens */

enum open_verdict { OPEN_NO, OPEN_WAIT, OPEN_YES };

struct open_answer {
  enum open_verdict verdict;
  const char *reason;
};

#define ANSWER(v, r) ((struct open_answer){ (v), (r) })

static bool
older_session_runs (const struct core *core, const struct core_open *open)
{
  uint32_t i;

  for (i = 0; i < CORE_CONNS_MAX; i++) {
    const struct conn *conn = &core->conns[i];

    if ((conn->state == CONN_OPEN || conn->state == CONN_ENDED) &&
        conn->open.proxied && conn->open.client == open->client &&
        conn->open.session < open->session && conn->requests > 0)
      return true;
  }
  return false;
}

/* A new solo generation for this client: T1 or T2, after one fresh
 * attempt to reach the peer.
 */
static struct open_answer
open_by_new_generation (struct core *core, struct conn *conn)
{
  bool alone_with_link = !core->record.both && core->phase == LINK_DECIDED;
  bool mine = core_is_primary (core);

  if (!alone_with_link) {
    if (core->phase != LINK_NONE || !core_drained (core))
      return ANSWER (OPEN_WAIT, "the link is being settled");
    if (conn->attempt == 0)
      conn->attempt = link_attempt (core);
    if (core->attempt_failed < conn->attempt)
      return ANSWER (OPEN_WAIT, "trying to reach the peer");
  }
  else if (core->sync == SYNC_JOIN)
    return ANSWER (OPEN_WAIT, "the peer is joining");
  core_begin_change (core, mine ? GEN_SOLO : GEN_TAKEOVER,
                     conn->open.proxied ? conn->open.client : 0,
                     conn->open.proxied ? conn->open.session : 0);
  return ANSWER (OPEN_WAIT, "a new generation is being made");
}

static struct open_answer
open_solo (struct core *core, struct conn *conn)
{
  const struct generation *now = &core->record.history[0];
  struct gen_id shown = conn->open.shown;

  if (!conn->open.proxied || shown.epoch == 0) {
    if (core->record.answered || core->config.takeover == TAKEOVER_ANY)
      return ANSWER (OPEN_YES, NULL);
    return ANSWER (OPEN_NO,
                   "this generation has not answered a client yet "
                   "and the client shows none: the operator must "
                   "decide (duetctl promote)");
  }
  if (now->client == conn->open.client && !gen_id_equal (shown, now->gen) &&
      now->session != conn->open.session)
    return open_by_new_generation (core, conn);
  return ANSWER (OPEN_YES, NULL);
}

static struct open_answer
open_linked (struct core *core, struct conn *conn)
{
  if (core->record.primary == 0 ||
      (!core_is_primary (core) && conn->open.unreachable)) {
    if (core->switching != SWITCH_NONE || !core->peer_joined)
      return ANSWER (OPEN_WAIT, "a change of primary is under way");
    if (conn->asked_switch)
      return ANSWER (OPEN_NO, "the peer did not hand over");
    if (core->now_ms < core->switch_after_ms && core->record.primary != 0)
      return ANSWER (OPEN_NO,
                     "backup; asked the peer to hand over a "
                     "moment ago");
    conn->asked_switch = true;
    link_ask_switch (core, conn);
    return ANSWER (OPEN_WAIT, "asking the peer to hand over");
  }
  if (!core_is_primary (core))
    return ANSWER (OPEN_NO, "backup; the peer is primary");
  if (!core_may_serve (core) || core->switching != SWITCH_NONE)
    return ANSWER (OPEN_WAIT, "the primary is getting ready");
  if (conn->open.proxied && conn->open.shown.epoch != 0)
    return ANSWER (OPEN_YES, NULL);
  if (conn->ping == 0) {
    conn->ping = ++core->ping_token;
    core->ping_ms = core->now_ms;
    link_send (core, WIRE_PING)->frame.arg = conn->ping;
  }
  return core->pong_token >= conn->ping ? ANSWER (OPEN_YES, NULL)
                                        : ANSWER (OPEN_WAIT, "asking the peer");
}

static struct open_answer
open_unlinked (struct core *core, struct conn *conn)
{
  bool any = core->config.takeover == TAKEOVER_ANY;
  bool memory = conn->open.proxied && conn->open.shown.epoch != 0;

  if (core->phase != LINK_NONE && core->phase != LINK_DECIDED)
    return ANSWER (OPEN_WAIT, "the link is being settled");
  if (core->phase == LINK_DECIDED)
    return core->relation == REL_DIVERGED ? ANSWER (OPEN_NO, "diverged")
                                          : ANSWER (OPEN_WAIT, "handshake");
  if (!memory && !any)
    return ANSWER (OPEN_NO,
                   "no link to the peer, and the client shows no "
                   "generation that it was served under");
  if (!core_is_primary (core) && core->config.takeover == TAKEOVER_MANUAL)
    return ANSWER (OPEN_NO,
                   "takeover=manual: the operator must promote "
                   "this backup");
  return open_by_new_generation (core, conn);
}

static struct open_answer
open_try (struct core *core, struct conn *conn)
{
  const struct core_open *open = &conn->open;

  if (core->stopping)
    return ANSWER (OPEN_NO, "stopping");
  if (core->failed_now || core->record.data == DATA_FAILED)
    return ANSWER (OPEN_NO, "failed");
  if (core->record.data == DATA_SYNCING)
    return ANSWER (OPEN_NO, "syncing: this copy is not complete");
  if (core->phase == LINK_DRAINING || core->phase == LINK_HELLO ||
      core->phase == LINK_DROPPING || core->change != GEN_NONE ||
      !core_settled (core) || !core_synced (core))
    return ANSWER (OPEN_WAIT, "a change is under way");
  if (open->proxied && older_session_runs (core, open))
    return ANSWER (OPEN_WAIT, "an older session's requests are ending");
  if (core->record.data == DATA_BLANK)
    return core->phase == LINK_NONE
      ? ANSWER (OPEN_NO, "new node; it has not met its peer yet")
      : ANSWER (OPEN_WAIT, "the volume is being created");
  if (open->proxied && open->shown.epoch != 0 &&
      !gen_knows (&core->record, open->shown))
    return ANSWER (OPEN_NO,
                   "the client was served under a generation that "
                   "this copy does not know: it may be stale");
  if (!core->record.both)
    return open_solo (core, conn);
  if (core->phase == LINK_DECIDED && core->relation == REL_SYNC)
    return open_linked (core, conn);
  return open_unlinked (core, conn);
}

static void
answer_open (struct core *core, uint32_t slot, struct open_answer answer)
{
  struct conn *conn = &core->conns[slot];
  struct core_action *action = core_emit (core, ACT_OPEN_DONE);

  action->slot = slot;
  action->reason = answer.reason;
  core->opening--;
  if (answer.verdict == OPEN_YES) {
    conn->state = CONN_OPEN;
    if (conn->open.proxied)
      core->gen_proxied = true;
    return;
  }
  action->error = ESHUTDOWN;
  conn->state = CONN_FREE;
  core->conns_used--;
}

static void
advance_opens (struct core *core)
{
  struct open_answer answer;
  uint32_t i;

  for (i = 0; i < CORE_CONNS_MAX && core->opening > 0; i++) {
    if (core->conns[i].state != CONN_OPENING)
      continue;
    if (!core_room (core))
      return;
    answer = open_try (core, &core->conns[i]);
    if (answer.verdict == OPEN_WAIT &&
        core->now_ms >= core->conns[i].deadline_ms)
      answer.verdict = OPEN_NO;
    if (answer.verdict != OPEN_WAIT)
      answer_open (core, i, answer);
  }
}

/* Remember CLIENT's newest SESSION; false when a newer one was seen. */
static bool
note_session (struct core *core, uint64_t id, uint64_t session)
{
  struct client *oldest = &core->clients[0];
  uint32_t i;

  for (i = 0; i < CORE_CLIENTS; i++) {
    struct client *client = &core->clients[i];

    if (client->id == id) {
      client->used_ms = core->now_ms;
      if (session < client->session)
        return false;
      client->session = session;
      return true;
    }
    if (client->used_ms < oldest->used_ms || client->id == 0)
      if (oldest->id != 0)
        oldest = client;
  }
  *oldest = (struct client){ id, session, core->now_ms };
  return true;
}

/* A newer session of a client is here: what its older ones have queued
 * fails, what runs is waited for (older_session_runs).
 */
static void
fence (struct core *core, const struct core_open *open)
{
  uint32_t i;

  for (i = 0; i < CORE_CONNS_MAX; i++) {
    struct conn *conn = &core->conns[i];

    if (!conn->open.proxied || conn->open.client != open->client ||
        conn->open.session >= open->session)
      continue;
    if (conn->state == CONN_OPENING)
      answer_open (core, i, ANSWER (OPEN_NO, "a newer session came"));
    else
      end_conn (core, i);
  }
  for (i = 0; i < CORE_REQUESTS_MAX && core->requests_used > 0; i++) {
    const struct request *r = &core->requests[i];
    const struct conn *conn = &core->conns[r->conn];

    if (r->state != R_FREE && r->state != R_RUNNING && conn->open.proxied &&
        conn->open.client == open->client && conn->open.session < open->session)
      abort_request (core, i, ESHUTDOWN);
  }
}

void
on_open (struct core *core, const struct core_event *event)
{
  struct conn *conn = &core->conns[event->slot];

  assert (event->slot < CORE_CONNS_MAX && conn->state == CONN_FREE);
  *conn = (struct conn){
    .state = CONN_OPENING,
    .open = event->open,
    .deadline_ms = core->now_ms + core->config.dead_ms + 1000,
  };
  core->conns_used++;
  core->opening++;
  if (!event->open.proxied)
    return;
  if (note_session (core, event->open.client, event->open.session))
    fence (core, &event->open);
  else
    answer_open (core, event->slot,
                 ANSWER (OPEN_NO, "a newer session of this client exists"));
}

void
on_close (struct core *core, uint32_t slot)
{
  struct conn *conn = &core->conns[slot];

  assert (conn->state == CONN_OPEN || conn->state == CONN_ENDED);
  assert (conn->requests == 0);
  conn->state = CONN_FREE;
  core->conns_used--;
}

void
on_hangup (struct core *core, uint32_t slot)
{
  uint32_t i;

  assert (slot < CORE_CONNS_MAX);
  if (core->conns[slot].state == CONN_FREE)
    return;
  if (core->conns[slot].state == CONN_OPENING) {
    answer_open (core, slot, ANSWER (OPEN_NO, "the client hung up"));
    return;
  }
  end_conn (core, slot);
  for (i = 0; i < CORE_REQUESTS_MAX && core->requests_used > 0; i++)
    if (core->requests[i].state != R_FREE && core->requests[i].conn == slot)
      abort_request (core, i, ESHUTDOWN);
}

/* ------------------------------------------------------- what follows */

static void
advance_marking (struct core *core)
{
  uint32_t slot, next;

  for (slot = core->lists[R_MARKING].head; slot != NO_SLOT; slot = next) {
    const struct request *r = &core->requests[slot];

    next = r->next;
    if (marks_durable (core->marks, r->offset, r->length))
      move_to (core, slot, R_READY);
  }
}

static void
advance_requests (struct core *core)
{
  uint32_t slot, next;

  for (slot = core->lists[R_RECONCILE].head; slot != NO_SLOT; slot = next) {
    const struct request *r = &core->requests[slot];

    next = r->next;
    if (core->relation != REL_SYNC ||
        !marks_overlap (core->marks, r->offset, r->length))
      start (core, slot);
  }
  while ((slot = core->lists[R_HELD].head) != NO_SLOT && core_room (core))
    start (core, slot);
  for (slot = core->lists[R_READY].head; slot != NO_SLOT; slot = next) {
    next = core->requests[slot].next;
    if (!core_room (core))
      break;
    go (core, slot);
  }
}

void
client_advance (struct core *core)
{
  bool serving;
  uint32_t i;

  if (core->opening > 0)
    advance_opens (core);
  advance_marking (core);
  serving = core_may_serve (core);
  if (serving && !core->was_serving)
    for (i = 0; i < CORE_REQUESTS_MAX && core->requests_used > 0; i++)
      maybe_finish (core, i);
  core->was_serving = serving;
  if (serving && core->switching != SWITCH_GRANTING)
    advance_requests (core);
}

uint64_t
client_deadline (const struct core *core)
{
  uint64_t deadline = UINT64_MAX;
  uint32_t i;

  for (i = 0; i < CORE_CONNS_MAX && core->opening > 0; i++)
    if (core->conns[i].state == CONN_OPENING &&
        core->conns[i].deadline_ms < deadline)
      deadline = core->conns[i].deadline_ms;
  return deadline;
}
