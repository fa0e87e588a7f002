/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-agree.c: what the two nodes agree on by message: the decision of
 * the handshake, generations on their way to the peer, switchover, and
 * the word of a node whose store failed.
 *
 * Nothing is said here that is not durable on the node that says it.
 */
#include <errno.h>

#include "core-internal.h"

static void
send_adopt (struct core *core, enum gen_kind kind)
{
  link_fill_hello (core);
  link_send (core, WIRE_ADOPT)->frame.arg = kind;
  core->peer_joined = false;
  link_deadline_in (core);
}

/* ------------------------------------------------------- the handshake */

static void
create_volume (struct core *core)
{
  struct gen_record *record = &core->record;

  if (record->data == DATA_BLANK) {
    record->volume = core_random (core);
    gen_advance (record, GEN_CREATE, core_random (core), 0, 0);
    record->data = DATA_CURRENT;
    record->both = !record->has_data;
    record->primary = record->has_data ? record->node : 0;
    record->answered = record->has_data;
    record->has_data = false;
    if (!record->both)
      marks_dirty_all (core->marks);
    core_save (core, true);
  }
  core->relation = REL_CREATE;
  core->change = GEN_CREATE;
  core->change_adopts = false;
  core->change_link = core->link;
}

/* The rest is target_advance's: note durably that this copy is being
 * overwritten, then send the marks.
 */
static void
become_target (struct core *core)
{
  client_end (core, true, ESHUTDOWN);
  core->relation = REL_TARGET;
  core->source_gen = gen_current (&core->peer_hello.record);
  /* Of a blank or failed copy nothing is known, and that must survive a
   * crash of either node: this node's map says so from now on.
   */
  if (core->record.data == DATA_BLANK || core->record.data == DATA_FAILED)
    marks_dirty_all (core->marks);
  marks_forget (core->marks);
  /* What compares equal is not sent: it must be as durable as what is. */
  if (core_by_flush (core))
    core_want_sync (core);
}

static void
become_equal (struct core *core)
{
  core->relation = REL_SYNC;
  core->peer_joined = true;
  core->source_gen = gen_current (&core->record);
  if (core_is_primary (core))
    sync_start (core);
  else {
    client_end (core, true, ESHUTDOWN);
    marks_forget (core->marks);
    core->sync = SYNC_OFF;
    core->marks_due = core->record.primary != 0;
  }
}

/* The peer made a switch by this node's grant, and its word did not come
 * through: both copies are members still, and it says it again.  The
 * marks go ahead of the adoption, because they are this node's own.
 */
static void
grant_again (struct core *core)
{
  client_end (core, true, ESHUTDOWN);
  core->relation = REL_SYNC;
  core->switching = SWITCH_GRANTED;
  core->switch_deadline_ms = core->now_ms + core->config.dead_ms;
  core->marks_sent = true;
  sync_send_marks (core);
}

static void
refuse (struct core *core, enum gen_verdict verdict)
{
  core->refusal = gen_refusal_text (verdict, &core->record,
                                    &core->peer_hello.record);
  /* Whoever answered there is no peer to ask; only a newer copy is a
   * reason not to go on without it, and a peer who asks somebody else.
   */
  if (verdict != GEN_REFUSE_STALE && verdict != GEN_REFUSE_ARBITER &&
      verdict != GEN_REFUSE_DURABILITY)
    core->attempt_failed = core->attempt_wanted;
  link_bye (core, verdict, core->refusal);
}

static bool
same_arbiter (const struct core *core)
{
  const struct wire_hello *peer = &core->peer_hello;

  return ((peer->features & WIRE_ETCD) != 0) == core_by_etcd (core) &&
    peer->lease_ms == core->config.lease_ms &&
    peer->grace_ms == core->config.grace_ms;
}

void
link_decide (struct core *core)
{
  const struct gen_record *peer = &core->peer_hello.record;
  enum gen_verdict verdict = gen_decide (&core->record, peer);

  if (verdict < GEN_REFUSE_VOLUME && !same_arbiter (core))
    verdict = GEN_REFUSE_ARBITER;
  if (verdict < GEN_REFUSE_VOLUME &&
      ((core->peer_hello.features & WIRE_CACHED) != 0) != core_by_flush (core))
    verdict = GEN_REFUSE_DURABILITY;
  core->phase = LINK_DECIDED;
  core->was_decided = true;
  core->consent = false;
  core->progress_ms = core->now_ms;
  link_deadline_in (core);
  if (verdict == GEN_SOURCE)
    pause_take_back (core);
  if (pause_holds (core, verdict) || resize_meet (core, verdict))
    return;
  if (verdict <= GEN_CREATE_PEER && core->record.peer != peer->node) {
    core->record.peer = peer->node;
    core_save (core, true);
  }
  /* There is no copy that holds more. */
  if (verdict <= GEN_CREATE_PEER && verdict != GEN_TARGET)
    core->record.may_lack = false;
  switch (verdict) {
  case GEN_SYNC: become_equal (core); break;
  case GEN_ADOPT_MINE:
    become_equal (core);
    send_adopt (core, GEN_SWITCH);
    break;
  case GEN_ADOPT_PEER: grant_again (core); break;
  case GEN_SOURCE:
    core->relation = REL_SOURCE;
    sync_start (core);
    break;
  case GEN_TARGET: become_target (core); break;
  case GEN_CREATE_MINE: create_volume (core); break;
  case GEN_CREATE_PEER: core->relation = REL_CREATE; break;
  case GEN_DIVERGED:
    core->relation = REL_DIVERGED;
    if (core->record.both)
      client_end (core, true, ESHUTDOWN);
    break;
  default: refuse (core, verdict); break;
  }
  /* The sooner it is answered, the sooner one of them may serve. */
  if (core_by_etcd (core) && core->phase == LINK_DECIDED)
    link_ping (core);
}

void
on_hello (struct core *core, const struct wire_hello *hello)
{
  if (core->hello_got ||
      (core->phase != LINK_DRAINING && core->phase != LINK_HELLO)) {
    link_error (core, "a second hello");
    return;
  }
  core->hello_got = true;
  core->peer_hello = *hello;
  /* Its lease was of a link that it has lost. */
  lease_yielded (core);
}

/* ---------------------------------------------- generations by message */

static bool
adopt_fits (const struct core *core, uint64_t kind)
{
  switch (kind) {
  case GEN_CREATE:
    return core->relation == REL_CREATE &&
      (core->record.data == DATA_BLANK ||
       core->peer_hello.record.data == DATA_BLANK);
  case GEN_JOIN:
    return core->relation == REL_TARGET && core->record.data == DATA_SYNCING;
  case GEN_SWITCH:
    return core->relation == REL_SYNC && core->switching == SWITCH_GRANTED;
  default: return false;
  }
}

void
on_adopt (struct core *core, const struct core_event *event)
{
  uint64_t kind = event->frame->arg;

  /* It would make a failed copy a current one.  A handover is on its way. */
  if (core->failed_now)
    return;
  if (core->phase != LINK_DECIDED || core->change != GEN_NONE ||
      !adopt_fits (core, kind) ||
      event->hello->record.node != core->peer_hello.record.node ||
      event->hello->record.history_count == 0 || !event->hello->record.both) {
    link_error (core, "a generation that does not fit");
    return;
  }
  gen_adopt (&core->record, &event->hello->record);
  core->change = (enum gen_kind) kind;
  core->change_adopts = true;
  core->change_link = core->link;
  core->source_gen = gen_current (&core->record);
  core->gen_proxied = false;
  core_save (core, true);
}

void
on_adopted (struct core *core)
{
  if (core->phase != LINK_DECIDED || core->peer_joined || !core->record.both ||
      (core->relation != REL_SYNC && core->relation != REL_CREATE)) {
    link_error (core, "an adoption that nobody asked for");
    return;
  }
  core->relation = REL_SYNC;
  core->peer_joined = true;
}

/* A generation has become durable here. */
void
link_changed (struct core *core, enum gen_kind kind)
{
  bool same_link = core->phase == LINK_DECIDED &&
    core->change_link == core->link;

  if (kind == GEN_SOLO || kind == GEN_TAKEOVER || kind == GEN_FORCE ||
      !same_link)
    return;
  if (core->change_adopts) {
    core->relation = REL_SYNC;
    core->peer_joined = true;
    core->switching = SWITCH_NONE;
    if (kind == GEN_SWITCH)
      sync_switched (core);
    core->marks_sent = false; /* the next switch owes the peer none of them */
    link_send (core, WIRE_ADOPTED);
    return;
  }
  if (kind == GEN_CREATE && !core->record.both) {
    /* The peer shall see a volume with one member, and become target. */
    link_drop_now (core, "volume created from this node's data");
    return;
  }
  if (kind == GEN_JOIN)
    sync_joined (core);
  core->switching = SWITCH_NONE;
  send_adopt (core, kind);
}

/* --------------------------------------------------------- switchover */

void
link_ask_switch (struct core *core, const struct conn *conn, uint64_t how)
{
  if (core->switching != SWITCH_NONE)
    return;
  core->switching = SWITCH_ASKED;
  core->switch_client = conn->open.proxied ? conn->open.client : 0;
  core->switch_session = conn->open.proxied ? conn->open.session : 0;
  core->switch_deadline_ms = core->now_ms + flush_patience_ms (core);
  core->switch_after_ms = core->now_ms + CORE_RETRY_MS;
  link_send (core, WIRE_SWITCH_REQUEST)->frame.arg = how;
}

void
on_switch_request (struct core *core, uint64_t how)
{
  bool mine = core_is_primary (core);
  bool fits = core->relation == REL_SYNC && core->change == GEN_NONE &&
    core_settled (core) && !core->failed_now && !core->stopping &&
    (mine || core->record.primary == 0);

  if (core->phase != LINK_DECIDED) {
    link_error (core, "a switch request before the decision");
    return;
  }
  /* Both want to be the first primary: the lower node id wins. */
  if (fits && core->switching == SWITCH_ASKED &&
      core->record.node > core->peer_hello.record.node)
    core->switching = SWITCH_NONE;
  if (!fits || core->switching != SWITCH_NONE || core->yield_asked ||
      (mine &&
       (core->sync != SYNC_OFF || !core->peer_joined || resize_runs (core) ||
        (client_any_plain (core) && !(how & WIRE_SWITCH_END_PLAIN))))) {
    link_send (core, WIRE_SWITCH_DENY)->frame.arg = admin_why_denied (core);
    return;
  }
  core->switching = SWITCH_GRANTING;
  core->switch_deadline_ms = core->now_ms + flush_patience_ms (core);
}

void
on_switch_grant (struct core *core)
{
  if (core->phase != LINK_DECIDED || core->relation != REL_SYNC ||
      core->switching == SWITCH_GRANTING || core->switching == SWITCH_GRANTED) {
    link_error (core, "a grant that nobody asked for");
    return;
  }
  if (core->switching == SWITCH_NONE || core->failed_now ||
      core->change != GEN_NONE) {
    link_drop_now (core, "the switch came too late");
    return;
  }
  /* It would serve what the peer has no room for. */
  if (core->peer_hello.record.size < core->size) {
    link_drop_now (core, RESIZE_PEER_SMALLER);
    return;
  }
  core->change_link = core->link;
  core->peer_joined = false;
  link_deadline_in (core);
  core->switching = SWITCH_NONE;
  lease_yielded (core);
  if (core_by_etcd (core)) {
    core->switch_granted = true;
    return;
  }
  core_begin_change (core, GEN_SWITCH, core->switch_client,
                     core->switch_session);
}

void
on_switch_deny (struct core *core, uint64_t why)
{
  admin_denied (core, why);
  /* It may be the answer to a request given up for the peer's own. */
  if (core->switching == SWITCH_ASKED)
    core->switching = SWITCH_NONE;
}

/* The sender's store failed and it has noted so: it can neither serve nor
 * be promoted until it was resynced.
 */
void
on_unfit (struct core *core)
{
  core->consent = core->phase == LINK_DECIDED && core->relation == REL_SYNC;
  if (core->consent)
    pause_take_back (core);
  lease_yielded (core);
  link_drop_now (core, "the peer's store failed");
}
