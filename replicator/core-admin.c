/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-admin.c: what the administrator asks for.  A command is a wish: it
 * is looked at in each step until it has come true, cannot come true any
 * more, or its time is over, and then answered once, with a sentence that
 * says why not and what to do.  One at a time.
 *
 * It never takes a short cut: a switchover is the same T4 that a client
 * causes (core-link.c), so that a node or a link may die at any moment of
 * it; a copy that was given up is a target because its record says so.
 */
#include <errno.h>

#include "core-internal.h"

static void
answer (struct core *core, int error, const char *reason)
{
  struct core_action *action = core_emit (core, ACT_ADMIN_DONE);

  action->slot = core->admin.slot;
  action->error = error;
  action->reason = reason;
  core->admin.busy = false;
}

static void
answer_now (struct core *core, const char *why_not)
{
  answer (core, why_not != NULL ? EPERM : 0, why_not);
}

/* --------------------------------------------------------- switchover */

/* Both copies are members, and the one that shall is primary. */
static bool
switched (const struct core *core)
{
  return core->phase == LINK_DECIDED && core->relation == REL_SYNC &&
    core->record.primary != 0 && core_is_primary (core) == core->admin.to_me &&
    core->peer_joined && core->change == GEN_NONE && core_settled (core) &&
    core->switching == SWITCH_NONE;
}

/* What the copies of a decided link are that are not in sync; NULL: they
 * are, or the volume is being created.
 */
const char *
admin_out_of_sync (const struct core *core)
{
  switch (core->relation) {
  case REL_SOURCE:
    return "the peer is being brought up to date: wait until it is in sync";
  case REL_TARGET:
    return "this node is being brought up to date: wait until it is in sync";
  case REL_DIVERGED: return "both copies were written apart from each other";
  default: return NULL;
  }
}

/* Why there can be none; NULL: there can, at once or in a moment. */
static const char *
no_switch (const struct core *core)
{
  const char *why;

  if (core->failed_now || core->record.data == DATA_FAILED)
    return "this node's store has failed";
  if (core->paused || core->peer_paused)
    return pause_reason (core);
  if (core->phase == LINK_NONE || core->phase == LINK_DROPPING)
    return core->admin.asked
      ? "the link was lost in the middle of it: the status says what became "
        "of it"
      : "the peer is not connected: its copy may be stale";
  if (core->phase != LINK_DECIDED)
    return NULL;
  why = admin_out_of_sync (core);
  if (why != NULL || core->relation != REL_SYNC)
    return why;
  if (core->record.primary == 0)
    return "no node is primary yet: the first client that opens one decides";
  if (!core->admin.asked && !etcd_lets_switch (core))
    return "etcd does not let the primary role move now: see the status";
  if (core->admin.asked && core->switching == SWITCH_NONE &&
      core->admin.denied != NULL)
    return core->admin.denied;
  if (core_is_primary (core) && !core->admin.wish.end_plain &&
      client_any_plain (core))
    return "clients without a proxy are connected to the primary and would "
           "be cut off: disconnect them, or say --end-plain";
  return NULL;
}

/* Is the role, or who is a member, changing, or not yet durable? */
bool
admin_changes (const struct core *core)
{
  return core->change != GEN_NONE || !core_settled (core) ||
    !core_synced (core) || !core->peer_joined || core->switching != SWITCH_NONE;
}

/* What on this node has to end first. */
static const char *
not_yet (const struct core *core)
{
  if (core->phase != LINK_DECIDED || core->relation != REL_SYNC)
    return "the link is being settled";
  if (core->sync != SYNC_OFF && core_is_primary (core))
    return "blocks that were in flight are being reconciled";
  if (resize_runs (core))
    return "the volume is being grown";
  if (admin_changes (core))
    return "another change is under way";
  return NULL;
}

static void
ask_for_switch (struct core *core)
{
  static const struct conn operator_conn;
  uint64_t how = core->admin.wish.end_plain ? WIRE_SWITCH_END_PLAIN : 0;

  core->admin.asked = true;
  if (core->admin.to_me)
    link_ask_switch (core, &operator_conn, how);
  else
    link_send (core, WIRE_SWITCH_OFFER)->frame.arg = how;
}

static void
advance_switch (struct core *core)
{
  const char *why;

  if (switched (core)) {
    answer (core, 0, NULL);
    return;
  }
  why = no_switch (core);
  if (why != NULL) {
    answer (core, EPERM, why);
    return;
  }
  why = core->admin.asked ? "the peer did not complete it" : not_yet (core);
  if (why == NULL)
    ask_for_switch (core);
  else if (core->now_ms >= core->admin.deadline_ms)
    answer (core, ETIMEDOUT, why);
}

/* The primary's operator offers its role: the rest goes as if this node
 * had asked.
 */
void
on_switch_offer (struct core *core, uint64_t how)
{
  static const struct conn operator_conn;

  if (core->phase != LINK_DECIDED || core->relation != REL_SYNC ||
      core_is_primary (core) || core->record.primary == 0) {
    link_bye (core, WIRE_BYE_PROTOCOL, "an offer that does not fit");
    return;
  }
  if (core->failed_now || core->stopping || core->change != GEN_NONE ||
      core->switching != SWITCH_NONE || core->yield != YIELD_NONE ||
      !etcd_lets_switch (core))
    link_send (core, WIRE_SWITCH_DENY)->frame.arg = WIRE_DENY_BUSY;
  else
    link_ask_switch (core, &operator_conn, how);
}

/* What to tell the peer whose request is denied. */
uint64_t
admin_why_denied (const struct core *core)
{
  if (core_is_primary (core) && core->sync == SYNC_OFF && core->peer_joined &&
      core->switching == SWITCH_NONE && client_any_plain (core))
    return WIRE_DENY_PLAIN;
  return WIRE_DENY_BUSY;
}

void
admin_denied (struct core *core, uint64_t why)
{
  core->admin.denied = why == WIRE_DENY_PLAIN
    ? "clients without a proxy are connected to the primary and would be cut "
      "off: disconnect them, or say --end-plain"
    : "the peer is busy with another change: try again in a moment";
}

/* ------------------------------------------------- promoted by force: T5 */

/* Two histories cannot come about, and only the key makes a generation. */
static const char *
etcd_decides (const struct core *core)
{
  return core_by_etcd (core)
    ? "arbiter=etcd: the volume's key in etcd decides which copy goes on, not "
      "this command: read it as docs/arbiters.md says"
    : NULL;
}

/* Why this copy cannot be made the one; NULL: it can, perhaps later. */
static const char *
no_force (const struct core *core)
{
  const struct gen_record *record = &core->record;

  if (core->failed_now || record->data == DATA_FAILED)
    return "this node's store has failed: see \"failed\" in "
           "nbdkit-duet-plugin(1)";
  if (record->data == DATA_BLANK)
    return "this node is blank: there is nothing to serve";
  if (record->data == DATA_SYNCING)
    return "this copy is not complete: it was being brought up to date";
  if (core->phase == LINK_DECIDED && core->relation == REL_SYNC)
    return "the peer is connected and in sync: use duetctl switchover";
  if (core->phase == LINK_DECIDED && core->relation == REL_SOURCE)
    return "this node has the newer copy and brings the peer up to date: "
           "there is nothing to force";
  if (core->phase == LINK_DECIDED && core->relation == REL_TARGET)
    return "the peer is connected and has the newer copy";
  if (core->admin.attempt != 0 && core->attempt_held >= core->admin.attempt)
    return core->refusal != NULL
      ? core->refusal
      : "the peer is there and has the newer copy, but the link is paused: "
        "say duetctl resume, or stop the peer first";
  if (!record->both && record->answered && !record->discard)
    return "this node is alone in its generation and serves: there is nothing "
           "to force";
  return NULL;
}

/* Nothing is under way, and the peer is diverged, has refused the link, or
 * was not there when it was tried just now.
 */
static bool
may_force (struct core *core)
{
  struct admin *admin = &core->admin;

  if (core->change != GEN_NONE || !core_settled (core) || !core_synced (core) ||
      !core_drained (core))
    return false;
  if (core->phase == LINK_DECIDED)
    return core->relation == REL_DIVERGED;
  if (core->phase == LINK_NONE && !flush_hardened (core))
    return false;
  if (core->phase != LINK_NONE)
    return false;
  if (admin->attempt == 0)
    admin->attempt = link_attempt (core);
  return core->attempt_failed >= admin->attempt || core->refusal != NULL;
}

static void
advance_force (struct core *core)
{
  const char *why;

  if (core->admin.asked) {
    if (core->failed_now)
      answer (core, EIO, "this node's store has failed");
    else if (core->change == GEN_NONE)
      answer (core, 0, NULL);
    return;
  }
  why = etcd_decides (core);
  if (why == NULL)
    why = no_force (core);
  if (why != NULL)
    answer (core, EPERM, why);
  else if (may_force (core)) {
    core->admin.asked = true;
    core->record.discard = false;
    core_begin_change (core, GEN_FORCE, 0, 0);
    /* The operator's word is as good as a client's. */
    core->record.answered = true;
  }
  else if (core->now_ms >= core->admin.deadline_ms)
    answer (core, ETIMEDOUT, "the link is being settled");
}

/* ----------------------------------------------------------- discard */

static const char *
no_discard (const struct core *core)
{
  if (core->failed_now)
    return "this node's store has failed: mend its disk and restart it first";
  if (core->record.discard)
    return "this copy was given up already";
  if (core->phase != LINK_DECIDED || core->relation != REL_DIVERGED)
    return "this copy is given up only while the node is diverged, and "
           "connected to the peer that has the other one";
  if (core->peer_hello.record.data != DATA_CURRENT)
    return "the peer's copy cannot replace this one: its store has failed";
  return NULL;
}

/* The decision is durable before anything follows from it.  Then the link
 * begins anew, and what the two say of themselves makes this node the
 * target: regions that either has written since they parted are compared.
 */
static void
advance_discard (struct core *core)
{
  const char *why;

  if (!core->admin.asked) {
    why = etcd_decides (core);
    if (why == NULL)
      why = no_discard (core);
    if (why != NULL) {
      answer (core, EPERM, why);
      return;
    }
    core->admin.asked = true;
    core->record.discard = true;
    core_save (core, true);
    client_end (core, true, ESHUTDOWN);
  }
  if (core->failed_now)
    answer (core, EIO, "this node's store has failed");
  else if (core_settled (core)) {
    if (core->phase == LINK_DECIDED && core->relation == REL_DIVERGED)
      link_drop_now (core, "this copy was given up");
    answer (core, 0, NULL);
  }
}

/* --------------------------------------------------- pause and resume */

bool
admin_pauses (const struct core *core)
{
  return core->admin.busy && core->admin.wish.kind == ADMIN_PAUSE;
}

/* A change of role, of members or of the link is under way. */
static bool
in_between (const struct core *core)
{
  return core->change != GEN_NONE || !core_settled (core) ||
    etcd_undecided (core) || core->sync == SYNC_JOIN ||
    core->phase == LINK_DRAINING || core->phase == LINK_HELLO ||
    core->relation == REL_CREATE;
}

/* Does the newest answer of etcd come from after the command? */
static bool
has_read (struct core *core)
{
  if (!core_by_etcd (core))
    return true;
  if (core->admin.read == 0)
    core->admin.read = etcd_read_soon (core);
  return etcd_read_done (core, core->admin.read);
}

/* Could the primary go on alone?  NULL: it could, or etcd is being asked. */
static const char *
not_alone (struct core *core)
{
  return has_read (core) && !etcd_lets_switch (core)
    ? "etcd does not let the primary go on alone now: see the status"
    : NULL;
}

/* Why this node cannot be kept apart from its peer. */
static const char *
no_pause (struct core *core)
{
  if (core->paused)
    return "the link is paused already";
  if (core->failed_now)
    return "this node's store has failed: it links to nobody";
  if (core->record.data == DATA_BLANK)
    return "this node is blank: it has nothing to be kept apart";
  if (in_between (core))
    return NULL;
  if (core->phase == LINK_DECIDED && core->relation == REL_DIVERGED)
    return "both copies were written apart from each other: no data flows";
  if (core->phase == LINK_DECIDED && core->relation == REL_SYNC)
    return core->record.primary == 0
      ? "no node is primary yet: the first client that opens one decides"
      : not_alone (core);
  if (core->phase != LINK_DECIDED && !pause_fits (core))
    return "the peer is not connected, and which node goes on alone is not "
           "decided: there is no link to pause";
  return NULL;
}

/* Both are members: the backup steps back.  WHY it cannot yet, or NULL. */
static const char *
ask_to_yield (struct core *core)
{
  const char *why = has_read (core) ? not_yet (core) : "etcd is being asked";

  if (why != NULL)
    return why;
  core->admin.asked = true;
  if (core_is_primary (core)) {
    core->yield_asked = true;
    link_send (core, WIRE_YIELD);
  }
  else
    pause_yield (core);
  return NULL;
}

/* At the primary: the backup has stepped back, the link is dropped. */
void
admin_yielded (struct core *core)
{
  struct admin *admin = &core->admin;

  if (!admin->busy || !admin->asked)
    return;
  if (admin->wish.kind == ADMIN_PAUSE)
    core->paused = true;
  if (admin->wish.kind == ADMIN_RESYNC) {
    marks_dirty_all (core->marks);
    admin->marked = true;
  }
}

static const char lost_meanwhile[] =
  "the link was lost in the middle of it: the status says what became of it";

/* It waits for the peer's word, or for this node to be alone. */
static void
advance_yielding (struct core *core, bool done)
{
  bool apart = core->phase == LINK_NONE || core->phase == LINK_DROPPING;
  bool told = core->paused || core->admin.marked;

  if (done)
    answer (core, 0, NULL);
  else if (core->failed_now)
    answer (core, EIO, "this node's store has failed");
  else if (apart && !told)
    answer (core, EPERM, lost_meanwhile);
  else if (core->now_ms >= core->admin.deadline_ms) {
    if (core->paused && admin_pauses (core))
      pause_end (core);
    answer (core, ETIMEDOUT,
            told ? "this node could not go on alone in time: see the status"
                 : "the peer did not step back in time");
  }
}

static void
advance_pause (struct core *core)
{
  const char *why;
  bool apart = core->phase == LINK_NONE || core->phase == LINK_DROPPING;

  if (core->admin.asked) {
    advance_yielding (
      core, core->paused && apart && pause_fits (core) && !in_between (core));
    return;
  }
  why = no_pause (core);
  if (why != NULL) {
    answer (core, EPERM, why);
    return;
  }
  why = "the link is being settled";
  if (!in_between (core) && core->relation == REL_SYNC)
    why = ask_to_yield (core);
  else if (!in_between (core) && pause_fits (core)) {
    core->paused = true;
    link_bye (core, WIRE_BYE_PAUSE, PAUSED_HERE);
    answer (core, 0, NULL);
    return;
  }
  if (why != NULL && core->now_ms >= core->admin.deadline_ms)
    answer (core, ETIMEDOUT, why);
}

static const char *
resume (struct core *core)
{
  if (!core->paused)
    return core->peer_paused
      ? "the link is paused at the peer, not here: say it there"
      : "the link is not paused";
  pause_end (core);
  return NULL;
}

/* ------------------------------------------------------- full resync */

static const char *
no_resync (struct core *core)
{
  const struct gen_record *record = &core->record;

  if (core->failed_now || record->data != DATA_CURRENT || record->discard)
    return "this copy is not the current one: ask the node that serves";
  if (core->phase == LINK_DECIDED && core->relation == REL_DIVERGED)
    return "both copies were written apart from each other: give one up with "
           "duetctl discard first";
  if (!core_is_primary (core) || core->relation == REL_TARGET)
    return "this node is not primary: ask the other one";
  if (in_between (core))
    return NULL;
  if (core->phase != LINK_DECIDED && record->both)
    return "the peer is not connected, and which node goes on alone is not "
           "decided";
  return core->phase == LINK_DECIDED && core->relation == REL_SYNC
    ? not_alone (core)
    : NULL;
}

/* All of the peer's copy counts as different: durably, so that it does also
 * after a restart.  It is a target, or will be when it comes.
 */
static void
advance_resync (struct core *core)
{
  const struct gen_record *record = &core->record;
  const char *why;
  bool alone = !record->both || core->relation == REL_SYNC;

  if (core->admin.asked) {
    advance_yielding (core,
                      core->admin.marked && alone && !in_between (core) &&
                        !marks_pages_urgent (core->marks) && !core->map_flight);
    return;
  }
  why = no_resync (core);
  if (why != NULL) {
    answer (core, EPERM, why);
    return;
  }
  why = "the link is being settled";
  if (!in_between (core) && core->relation == REL_SYNC)
    why = ask_to_yield (core);
  else if (!in_between (core) && !record->both) {
    core->admin.asked = core->admin.marked = true;
    link_drop_now (core, "all of the peer's copy is to be compared");
    marks_dirty_all (core->marks);
    return;
  }
  if (why != NULL && core->now_ms >= core->admin.deadline_ms)
    answer (core, ETIMEDOUT, why);
}

/* ----------------------------------------------------- all commands */

void
on_admin (struct core *core, const struct core_event *event)
{
  struct core_action *action;

  if (core->admin.busy) {
    action = core_emit (core, ACT_ADMIN_DONE);
    action->slot = event->slot;
    action->error = EBUSY;
    action->reason = "another command of the administrator is under way";
    return;
  }
  core->admin = (struct admin){
    .busy = true,
    .slot = event->slot,
    .wish = event->wish,
    .to_me = event->wish.to == ADMIN_TO_ME ||
      (event->wish.to == ADMIN_TO_OTHER && !core_is_primary (core)),
    .deadline_ms = core->now_ms + 2 * core->config.dead_ms + CORE_RETRY_MS,
  };
}

void
admin_advance (struct core *core)
{
  if (!core->admin.busy)
    return;
  if (core->stopping) {
    answer (core, ESHUTDOWN, "this node is being stopped");
    return;
  }
  switch (core->admin.wish.kind) {
  case ADMIN_SWITCH: advance_switch (core); break;
  case ADMIN_FORCE: advance_force (core); break;
  case ADMIN_DISCARD: advance_discard (core); break;
  case ADMIN_VERIFY:
    answer_now (core, verify_begin (core, &core->admin.wish));
    break;
  case ADMIN_VERIFY_STOP: answer_now (core, verify_stop (core)); break;
  case ADMIN_PAUSE: advance_pause (core); break;
  case ADMIN_RESUME: answer_now (core, resume (core)); break;
  case ADMIN_RESYNC: advance_resync (core); break;
  case ADMIN_RESIZE:
    answer_now (core, resize_begin (core, &core->admin.wish));
    break;
  case ADMIN_KINDS: break;
  }
}

uint64_t
admin_deadline (const struct core *core)
{
  return core->admin.busy ? core->admin.deadline_ms : UINT64_MAX;
}
