/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-link.c: the link to the peer: reaching out, heartbeats, frames as
 * they come, and what the loss of the link means.  What the two nodes say
 * to each other is in core-agree.c.
 *
 * Nothing is said here that is not durable on the node that says it.
 */
#include <errno.h>

#include "core-internal.h"

static uint64_t
later (uint64_t a, uint64_t b)
{
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

struct core_action *
link_send (struct core *core, enum wire_type type)
{
  struct core_action *action = core_emit (core, ACT_SEND);

  assert (core->phase == LINK_HELLO || core->phase == LINK_DECIDED ||
          type == WIRE_HELLO_FRAME || type == WIRE_BYE);
  action->slot = NO_SLOT;
  action->frame.type = (uint8_t) type;
  action->frame.gen = gen_current (&core->record);
  core->last_tx_ms = core->now_ms;
  return action;
}

/* What the peer is waited for from now on has dead_ms of its own. */
void
link_deadline_in (struct core *core)
{
  core->hello_deadline_ms = core->now_ms + core->config.dead_ms;
}

void
link_fill_hello (struct core *core)
{
  core->hello = (struct wire_hello){
    .record = core->record,
    .boot = core->config.boot,
    .features = (core_by_etcd (core) ? WIRE_ETCD : 0u) |
      (core->paused ? WIRE_PAUSED : 0u) |
      (core_by_flush (core) ? WIRE_CACHED : 0u),
    .lease_ms = core->config.lease_ms,
    .grace_ms = core->config.grace_ms,
  };
}

/* ------------------------------------------------------------ the loss */

/* The link is lost for every purpose but the store operations that may
 * still run (I8): those are over when EV_LINK_DOWN comes.
 */
void
link_lose (struct core *core, const char *reason)
{
  uint32_t i;

  for (i = 0; i < core->sent_count; i++) {
    const struct sent *s = &core->sent[(core->sent_head + i) % CORE_SENT_MAX];
    marks_dirty (core->marks, s->offset, s->length);
  }
  core->sent_count = core->sent_seen = 0;
  core->sent_bytes = 0;
  core->sent_chunk_bytes = 0;
  core->link_reason = reason;
  core->relation = REL_NONE;
  core->hello_got = false;
  core->peer_joined = false;
  core->switching = SWITCH_NONE;
  core->notice_pending = false;
  core->marks_sent = core->marks_due = false;
  core->switch_granted = false;
  core->yield = YIELD_NONE;
  core->yield_asked = false;
  lease_reset (core);
  sync_reset (core);
  flush_link_lost (core);
  resize_link_lost (core);
  if (core->record.both) {
    client_end (core, false, ESHUTDOWN);
    /* A plain connection that is still open was served by this process
     * as primary of this generation: becoming anything else ends it.
     */
    core->t1_plain = !core_by_etcd (core) && core_is_primary (core) &&
      !core->gen_proxied && core->record.data == DATA_CURRENT &&
      !core->failed_now && client_any_plain (core);
  }
  client_link_lost (core);
}

void
link_drop_now (struct core *core, const char *reason)
{
  if (core->phase == LINK_NONE || core->phase == LINK_DROPPING)
    return;
  core_emit (core, ACT_DROP_LINK)->reason = reason;
  link_lose (core, reason);
  core->phase = LINK_DROPPING;
}

void
link_bye (struct core *core, uint64_t why, const char *reason)
{
  if (core->phase == LINK_NONE || core->phase == LINK_DROPPING)
    return;
  link_send (core, WIRE_BYE)->frame.arg = why;
  link_drop_now (core, reason);
}

/* The peer does not keep to the protocol. */
void
link_error (struct core *core, const char *reason)
{
  link_bye (core, WIRE_BYE_PROTOCOL, reason);
}

void
on_link_down (struct core *core, const struct core_event *event)
{
  bool lost = core->phase != LINK_DROPPING;

  if (core->phase == LINK_NONE || event->link != core->link)
    return;
  if (lost)
    link_lose (core, "the link to the peer was lost");
  /* A node gives up its lease before it closes, and a dead one has none. */
  if (event->peer_closed)
    lease_yielded (core);
  core->phase = LINK_NONE;
  core->reconnect_wait_ms = 0;
  core->reconnect_ms = core->now_ms;
  /* A peer that takes no part, says nothing, or whose store has failed,
   * would do so again: do not hold clients up for it at every turn.  One
   * that was lost in the middle of its words was there just now, and may
   * serve: that is no failed attempt, but a reason for the next one.
   */
  if (core->peer_paused)
    core->reconnect_ms += CORE_PAUSED_MS;
  else if (!core->was_decided && lost)
    core->reconnect_ms += CORE_ATTEMPT_MS;
  else if (!core->was_decided || core->refusal != NULL || core->consent)
    core->reconnect_ms += CORE_RETRY_MS;
  if (!core->was_decided && !lost)
    core->attempt_failed = core->attempt;
  if (core->t1_plain && !core->consent)
    core->t1_attempt = link_attempt (core);
}

/* -------------------------------------------------------- reaching out */

static void
start_attempt (struct core *core)
{
  uint64_t timeout = CORE_ATTEMPT_MS;

  /* A fresh attempt for a waiting client is short; background ones grow
   * so that a distant peer can be reached too.
   */
  if (core->attempt >= core->attempt_wanted) {
    timeout += core->reconnect_wait_ms * 4;
    if (timeout > core->config.dead_ms)
      timeout = core->config.dead_ms;
  }
  core->attempt++;
  core->attempt_flight = true;
  core->attempt_patient = timeout > CORE_ATTEMPT_MS;
  core_emit (core, ACT_CONNECT)->version = timeout;
}

/* The number of an attempt that begins now or later.  One in the
 * background must not keep it waiting: a peer that is stopped accepts
 * connections and never greets.
 */
uint64_t
link_attempt (struct core *core)
{
  core->attempt_wanted = core->attempt + 1;
  if (core->phase != LINK_NONE)
    return core->attempt_wanted;
  if (!core->attempt_flight)
    start_attempt (core);
  else if (core->attempt_patient) {
    core->attempt_patient = false;
    core_emit (core, ACT_CONNECT)->version = CORE_ATTEMPT_MS;
  }
  return core->attempt_wanted;
}

void
on_connect_failed (struct core *core)
{
  if (!core->attempt_flight)
    return;
  core->attempt_flight = false;
  core->peer_paused = false;
  core->attempt_failed = core->attempt;
  core->reconnect_wait_ms = core->reconnect_wait_ms * 2 + 10;
  if (core->reconnect_wait_ms > CORE_RECONNECT_MS)
    core->reconnect_wait_ms = CORE_RECONNECT_MS;
  core->reconnect_ms = core->now_ms + core->reconnect_wait_ms;
}

void
on_link_up (struct core *core, const struct core_event *event)
{
  assert (core->phase == LINK_NONE);
  core->link = event->link;
  core->phase = LINK_DRAINING;
  core->relation = REL_NONE;
  core->attempt_flight = false;
  core->refusal = NULL;
  core->t1_plain = false;
  core->hello_got = false;
  core->was_decided = false;
  core->last_rx_ms = core->last_tx_ms = core->now_ms;
  core->ping_ms = 0;
  core->pong_token = core->ping_token;
  lease_reset (core);
  core->tx_seq = core->acked_seq = 0;
  core->rx_seq = core->named_seq = 0;
  core->applied_seq = core->reply_seq = 0;
  core->hard_seq = core->ack_seq = 0;
  flush_link_up (core);
  link_deadline_in (core);
  if (core->failed_now || core->stopping)
    link_bye (core, core->failed_now ? WIRE_BYE_STORE : WIRE_BYE_STOP,
              "this node does not take part");
  else if (resize_is_long (core))
    link_bye (core, WIRE_BYE_DEADLINE, "this node's copy is being grown");
}

/* ------------------------------------------------------------- frames */

static void
on_bye (struct core *core, uint64_t why)
{
  const char *reason = "the peer ended the link";

  if (why < GEN_VERDICT_COUNT && why >= GEN_REFUSE_VOLUME)
    reason = "the peer refused the link; its log says why";
  else if (why == WIRE_BYE_STOP)
    reason = "the peer was stopped";
  else if (why == WIRE_BYE_STORE)
    reason = "the peer's store failed";
  else if (why == WIRE_BYE_PAUSE)
    reason = PAUSED_THERE;
  core->peer_paused = why == WIRE_BYE_PAUSE;
  lease_yielded (core);
  link_drop_now (core, reason);
}

uint64_t
link_ping (struct core *core)
{
  core->ping_ms = core->now_ms;
  link_send (core, WIRE_PING)->frame.arg = ++core->ping_token;
  lease_pinged (core);
  return core->ping_token;
}

static void
on_ping (struct core *core, uint64_t token)
{
  lease_grant (core);
  link_send (core, WIRE_PONG)->frame.arg = token;
}

static void
on_pong (struct core *core, uint64_t token)
{
  if (token > core->ping_token) {
    link_error (core, "an answer to a ping that was not sent");
    return;
  }
  if (token == core->ping_token && core->ping_ms != 0)
    core->rtt_ms = core->now_ms - core->ping_ms;
  if (token > core->pong_token)
    core->pong_token = token;
  lease_answered (core, token);
}

static void
on_decided_frame (struct core *core, const struct core_event *event)
{
  const struct wire_frame *frame = event->frame;

  if (core->phase != LINK_DECIDED) {
    link_error (core, "a frame before the decision");
    return;
  }
  switch ((enum wire_type) frame->type) {
  case WIRE_WRITE:
  case WIRE_ZERO: on_data (core, frame); break;
  case WIRE_ACK: on_ack (core, frame->seq); break;
  case WIRE_NACK:
  case WIRE_HANDOVER: on_unfit (core); break;
  case WIRE_PONG: on_pong (core, frame->arg); break;
  case WIRE_MARKS: on_marks (core, frame, event->payload); break;
  case WIRE_HASH_REPLY: on_hash_reply (core, frame); break;
  case WIRE_CLEAR: on_clear (core, frame, event->payload); break;
  case WIRE_ADOPT: on_adopt (core, event); break;
  case WIRE_ADOPTED: on_adopted (core); break;
  case WIRE_SWITCH_REQUEST: on_switch_request (core, frame->arg); break;
  case WIRE_SWITCH_GRANT: on_switch_grant (core); break;
  case WIRE_SWITCH_DENY: on_switch_deny (core, frame->arg); break;
  case WIRE_SWITCH_OFFER: on_switch_offer (core, frame->arg); break;
  case WIRE_YIELD: on_yield (core); break;
  case WIRE_YIELDED: on_yielded (core, frame->arg); break;
  case WIRE_PING: on_ping (core, frame->arg); break;
  case WIRE_RECEIVED: on_received (core, frame->seq); break;
  case WIRE_FLUSH: on_flush (core, frame->arg); break;
  case WIRE_FLUSHED: on_flushed (core, frame->arg); break;
  case WIRE_RESIZE: on_resize (core, frame->arg); break;
  case WIRE_RESIZED: on_resized (core, frame->arg, frame->offset); break;
  case WIRE_HASH_REQUEST:
    if (core->relation != REL_TARGET &&
        (core->relation != REL_SYNC || core_is_primary (core))) {
      link_error (core, "a hash request to a source");
      break;
    }
    if (frame->length > MARKS_CHUNK ||
        frame->offset + frame->length > core->record.size) {
      link_error (core, "a hash request out of bounds");
      break;
    }
    core_emit (core, ACT_HASH)->frame = *frame;
    break;
  default: link_error (core, "a frame that does not belong here"); break;
  }
}

void
on_frame (struct core *core, const struct core_event *event)
{
  if (event->link != core->link || core->phase == LINK_NONE ||
      core->phase == LINK_DROPPING)
    return;
  core->last_rx_ms = core->now_ms;
  if (event->frame->type == WIRE_HELLO_FRAME)
    on_hello (core, event->hello);
  else if (event->frame->type == WIRE_BYE)
    on_bye (core, event->frame->arg);
  else
    on_decided_frame (core, event);
}

/* -------------------------------------------------- time and conditions */

static bool
waits_for_peer (const struct core *core)
{
  if (core->phase == LINK_DRAINING || core->phase == LINK_HELLO)
    return true;
  if (core->phase != LINK_DECIDED)
    return false;
  return core->relation == REL_CREATE || core->sync == SYNC_MARKS ||
    (core->relation == REL_SYNC && !core->peer_joined) || core->failed_now ||
    core->yield == YIELD_TOLD;
}

/* While this node's own store is at the peer's frames it reads nothing
 * from the link: that is not the peer's silence.
 */
static uint64_t
silent_at (const struct core *core)
{
  if (core->named_seq > core->applied_seq)
    return UINT64_MAX;
  return later (core->last_rx_ms, core->config.dead_ms);
}

/* How long writes may wait for a peer that is alive but does not ack. */
static uint64_t
stalled_at (const struct core *core, uint64_t factor)
{
  if (core->sent_count == 0 && core->flush.asked == core->flush.done)
    return UINT64_MAX;
  return later (core->progress_ms, core->config.dead_ms * factor);
}

/* Without a lease only silence is worth a ping. */
static uint64_t
ping_due_ms (const struct core *core)
{
  return later (core_by_etcd (core) ? core->ping_ms : core->last_tx_ms,
                core->config.beat_ms);
}

static void
beat (struct core *core)
{
  if (core->phase != LINK_DECIDED)
    return;
  if (core->now_ms >= silent_at (core)) {
    link_drop_now (core, "the peer is silent");
    return;
  }
  if (core->now_ms >= stalled_at (core, CORE_STALL_FACTOR)) {
    link_drop_now (core, "the peer is there but makes nothing durable");
    return;
  }
  if (core->now_ms >= ping_due_ms (core))
    link_ping (core);
}

void
link_tick (struct core *core)
{
  if (waits_for_peer (core) && core->now_ms >= core->hello_deadline_ms)
    link_bye (core, WIRE_BYE_DEADLINE, "the peer took too long to answer");
  if (core->switching != SWITCH_NONE &&
      core->now_ms >= core->switch_deadline_ms) {
    if (core->switching == SWITCH_ASKED)
      core->switching = SWITCH_NONE;
    else
      link_drop_now (core, "the peer did not complete the switch");
  }
  beat (core);
  if (core->phase == LINK_NONE && !core->failed_now && !core->stopping &&
      !core->attempt_flight && !core->paused &&
      core->now_ms >= core->reconnect_ms)
    start_attempt (core);
}

/* T1 for plain clients, T1 or T2 by the peer's own word. */
static void
advance_alone (struct core *core)
{
  bool fit = !core_by_etcd (core) && core->phase == LINK_NONE &&
    core_drained (core) && core->record.data == DATA_CURRENT &&
    core->record.both && !core->record.discard && !core->failed_now &&
    !core->stopping && flush_hardened (core) && !core->record.may_lack;

  if (!fit)
    return;
  if (core->consent) {
    core->consent = false;
    core_begin_change (core, core_is_primary (core) ? GEN_SOLO : GEN_TAKEOVER,
                       0, 0);
    /* The peer cannot have been promoted: as good as a client's word. */
    core->record.answered = true;
  }
  else if (core->t1_plain && core->attempt_failed >= core->t1_attempt)
    core_begin_change (core, GEN_SOLO, 0, 0);
}

void
link_advance (struct core *core)
{
  if (core->phase == LINK_DRAINING && core_drained (core) &&
      !resize_runs (core)) {
    link_fill_hello (core);
    core->phase = LINK_HELLO;
    link_send (core, WIRE_HELLO_FRAME);
  }
  if (core->phase == LINK_HELLO && core->hello_got)
    link_decide (core);
  if (core->switching == SWITCH_GRANTING && !client_running (core) &&
      !verify_runs (core) && flush_whole (core)) {
    assert (core->sent_count == 0); /* drained: both copies are equal */
    client_end (core, true, ESHUTDOWN);
    core->switching = SWITCH_GRANTED;
    link_send (core, WIRE_SWITCH_GRANT);
  }
  if (core->notice_pending && core_settled (core)) {
    core->notice_pending = false;
    link_send (core, (enum wire_type) core->notice_type)
      ->frame.arg = (uint64_t) core->failed_errno;
    link_deadline_in (core);
  }
  if (core->phase == LINK_NONE && !core->attempt_flight && !core->failed_now &&
      !core->stopping && core->attempt < core->attempt_wanted)
    start_attempt (core);
  advance_alone (core);
  core->peer_late = core->phase == LINK_DECIDED &&
    core->now_ms >= stalled_at (core, 1);
}

uint64_t
link_deadline (const struct core *core)
{
  uint64_t deadline = UINT64_MAX;
  uint64_t beat_ms, dead_ms, stalled_ms;

  if (core->phase == LINK_NONE && !core->failed_now && !core->stopping &&
      !core->attempt_flight && !core->paused)
    deadline = core->reconnect_ms;
  if (waits_for_peer (core) && core->hello_deadline_ms < deadline)
    deadline = core->hello_deadline_ms;
  if (core->phase == LINK_DECIDED) {
    beat_ms = ping_due_ms (core);
    dead_ms = silent_at (core);
    stalled_ms = stalled_at (core, core->peer_late ? CORE_STALL_FACTOR : 1);
    if (stalled_ms < dead_ms)
      dead_ms = stalled_ms;
    if (beat_ms < deadline)
      deadline = beat_ms;
    if (dead_ms < deadline)
      deadline = dead_ms;
  }
  if (core->switching != SWITCH_NONE && core->switch_deadline_ms < deadline)
    deadline = core->switch_deadline_ms;
  return deadline;
}
