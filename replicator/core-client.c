/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-client.c: the clients' side of the core: their connections once
 * they are open, what ends them, and the way of a request from its
 * arrival to its answer.  Who may open is core-open.c's.
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
  assert (!r->peer_needed);
  if (error == 0 && !core->record.answered) {
    core->record.answered = true;
    core_save (core, false);
  }
  if (is_write (r))
    flush_wrote (core, r->length);
  list_remove (core, slot);
  r->state = R_FREE;
  core->requests_used--;
  core->writes_used -= is_write (r);
  core->conns[r->conn].requests--;
  action = core_emit (core, ACT_COMPLETE);
  action->slot = slot;
  action->error = error;
  release_range (core, slot);
}

/* End a request as soon as it is over on both sides: at the store here,
 * and by the peer's ack or the loss of the link.  Let into its range
 * earlier, a reader would see what a failover can take back (I3).
 */
static void
abort_request (struct core *core, uint32_t slot, int error)
{
  struct request *r = &core->requests[slot];

  if (r->local_out || r->peer_needed) {
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
  if (r->redo && !r->doomed) {
    move_to (core, slot, R_READY);
    return;
  }
  if (r->peer_needed || !(r->doomed || core_may_serve (core)))
    return;
  /* Nobody waits for a doomed one's answer, but a write that only the
   * peer has may not be passed over in silence.
   */
  if (r->error != 0 && hands_over (core) && !core->failed_now &&
      (is_write (r) || !r->doomed)) {
    core_fail (core, r->error, CORE_DATA_ERROR);
    return;
  }
  if (r->kind == REQ_FLUSH && r->error == 0)
    flush_end_request (core, r);
  finish (core, slot, r->doomed ? r->doom : r->error);
}

static void
start (struct core *core, uint32_t slot)
{
  struct request *r = &core->requests[slot];

  if (r->kind == REQ_FLUSH ? !core_by_flush (core) : r->length == 0) {
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

  if (core->relation == REL_SYNC && !r->redo && r->kind != REQ_FLUSH &&
      marks_overlap (core->marks, r->offset, r->length)) {
    move_to (core, slot, R_RECONCILE);
    release_range (core, slot);
    return true;
  }
  r->peer_needed = false;
  if (r->kind == REQ_FLUSH)
    flush_begin_request (core, r);
  if (is_write (r)) {
    if (flush_holds_back (core))
      return false;
    if (!sync_sends_writes (core))
      marks_dirty (core->marks, r->offset, r->length);
    else if (!sync_room_for_write (core, r->kind == REQ_WRITE ? r->length : 0))
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
  r->local_ms = core->now_ms;
  if (r->kind == REQ_ZERO || r->kind == REQ_TRIM)
    r->local_ms += r->length / CORE_ZERO_RATE;
  if (core->local_out++ == 0 || r->local_ms < core->local_ms)
    core->local_ms = r->local_ms;
  action = core_emit (core, ACT_LOCAL);
  action->slot = slot;
  action->durable = r->kind == REQ_FLUSH ||
    (is_write (r) && !core_by_flush (core));
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
  else if (event->request.offset > core->size ||
           event->request.length > core->size - event->request.offset)
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
  core->writes_used += is_write (r);
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
    core_fail (core, event->error,
               "an fdatasync of the data file failed: mend its disk and "
               "restart this node");
  else if (event->error != 0 && is_write (r) && core->relation == REL_SOURCE &&
           sync_sends_writes (core))
    /* The peer may have what this copy lacks: start over from marks. */
    link_drop_now (core, "a local write failed during resync");
  maybe_finish (core, event->slot);
}

bool
core_waits_for_ack (const struct core *core, uint32_t slot)
{
  const struct request *r = &core->requests[slot];

  return r->state == R_RUNNING && !r->local_out && r->peer_needed;
}

bool
core_reads_freely (const struct core *core)
{
  return core->config.arbiter == ARBITER_CLIENT && core->writes_used == 0 &&
    core->record.answered && core->switching == SWITCH_NONE &&
    (core->relation != REL_SYNC || core->sync == SYNC_OFF) &&
    core_may_serve (core);
}

/* The peer has all frames of the request up to SEQ: they are durable there,
 * or with durability=flush written.
 */
void
client_acked (struct core *core, uint32_t slot, uint64_t seq)
{
  struct request *r = &core->requests[slot];

  if (r->state != R_RUNNING || r->last_seq != seq)
    return;
  r->peer_needed = false;
  maybe_finish (core, slot);
}

/* All that the peer had when flush NUMBER came to it is durable there.  One
 * that ends may end others: begin again.
 */
void
client_flushed (struct core *core, uint64_t number)
{
  uint32_t slot = core->lists[R_RUNNING].head;

  while (slot != NO_SLOT) {
    struct request *r = &core->requests[slot];

    slot = r->next;
    if (r->kind != REQ_FLUSH || !r->peer_needed || r->flush > number)
      continue;
    r->peer_needed = false;
    maybe_finish (core, (uint32_t) (r - core->requests));
    slot = core->lists[R_RUNNING].head;
  }
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

    r->flush = 0; /* its number was of that link */
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

/* A newer session of a client is here: what its older ones have queued
 * fails, what runs is waited for (older_session_runs).
 */
void
client_fence (struct core *core, const struct core_open *open)
{
  uint32_t i;

  for (i = 0; i < CORE_CONNS_MAX; i++) {
    struct conn *conn = &core->conns[i];

    if (!conn->open.proxied || conn->open.client != open->client ||
        conn->open.session >= open->session)
      continue;
    if (conn->state == CONN_OPENING)
      open_refuse (core, i, "a newer session came");
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
    open_refuse (core, slot, "the client hung up");
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
    open_advance (core);
  advance_marking (core);
  serving = core_may_serve (core);
  if (serving && !core->was_serving)
    for (i = 0; i < CORE_REQUESTS_MAX && core->requests_used > 0; i++)
      maybe_finish (core, i);
  core->was_serving = serving;
  if (serving && core->switching != SWITCH_GRANTING)
    advance_requests (core);
}
