/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-pause.c: a backup that steps back, and a link that the operator has
 * paused.
 *
 * To step back is to give up being chosen, durably, while both copies are
 * members: the record says "discard" from then on, and the peer, told of it,
 * goes on alone by this node's own word (T1), as if its store had failed.
 * The copy stays as it was, complete up to that moment, until the peer
 * overwrites it; promote --force takes the word back, and so does a peer
 * that has failed, or may lack something, without having gone on alone.
 *
 *   backup:   wanted --nothing under way--> saving --durable--> told
 *   primary:  asked --> yielded: link dropped, consent, alone
 *
 * A paused node makes no link and follows none: hellos are exchanged, and
 * then both part again, knowing who the other is and whose copy is newer.
 * It is alone in its generation, or its copy does not count.  So nobody is
 * ever waiting to be chosen behind a paused link, and whoever may serve does.
 */
#include "core-internal.h"

/* ---------------------------------------------------------- stepping back */

/* The backup's wish, of its own or its peer's operator. */
void
pause_yield (struct core *core)
{
  if (core->yield == YIELD_NONE)
    core->yield = YIELD_WANTED;
}

void
on_yield (struct core *core)
{
  if (core->relation != REL_SYNC || core_is_primary (core) ||
      core->record.primary == 0) {
    link_error (core, "asked to step back, and this node is no backup");
    return;
  }
  pause_yield (core);
}

static bool
may_yield (const struct core *core)
{
  return core->phase == LINK_DECIDED && core->relation == REL_SYNC &&
    !core_is_primary (core) && core->record.primary != 0 &&
    core->change == GEN_NONE && core_settled (core) &&
    core->switching == SWITCH_NONE && !core->failed_now && !core->stopping;
}

void
pause_advance (struct core *core)
{
  if (core->yield == YIELD_WANTED && may_yield (core)) {
    core->record.discard = true;
    core_save (core, true);
    core->yield = YIELD_SAVING;
  }
  if (core->yield == YIELD_SAVING && core_settled (core) && !core->failed_now) {
    core->yield = YIELD_TOLD;
    core->paused = admin_pauses (core) && core->admin.asked;
    link_send (core, WIRE_YIELDED)->frame.arg = core->paused;
    link_deadline_in (core);
  }
}

/* The peer has failed, or may lack something, and has not gone on alone: if
 * this copy has stepped back for it, it lacks nothing, and is the one that is
 * left.
 */
void
pause_take_back (struct core *core)
{
  if (!core->record.discard)
    return;
  core->record.discard = false;
  core_save (core, true);
}

/* The backup cannot be chosen any more: this node goes on alone. */
void
on_yielded (struct core *core, uint64_t paused)
{
  if (core->relation != REL_SYNC || !core_is_primary (core)) {
    link_error (core, "a node that is no backup steps back");
    return;
  }
  core->consent = true;
  core->peer_paused = paused != 0;
  lease_yielded (core);
  link_drop_now (core, "the peer has stepped back");
  admin_yielded (core);
}

/* ------------------------------------------------------------ paused links */

/* May this node stay without its peer for as long as its operator likes? */
bool
pause_fits (const struct core *core)
{
  return !core->record.both || core->record.data != DATA_CURRENT ||
    core->record.discard;
}

void
pause_end (struct core *core)
{
  core->paused = false;
  core->reconnect_wait_ms = 0;
  core->reconnect_ms = core->now_ms;
}

/* Has it said that it cannot be chosen, nor will be after a restart? */
static bool
is_out (const struct gen_record *record)
{
  return record->discard || record->data == DATA_SYNCING ||
    record->data == DATA_FAILED || record->may_lack;
}

/* Both know who they are, and what the other has; false: let the verdict
 * come true.  A newer copy is a reason not to go on without it, paused or
 * not.
 */
bool
pause_holds (struct core *core, enum gen_verdict verdict)
{
  const struct gen_record *peer = &core->peer_hello.record;
  bool there = (core->peer_hello.features & WIRE_PAUSED) != 0;

  core->peer_paused = there;
  if (verdict >= GEN_REFUSE_VOLUME || (!core->paused && !there))
    return false;
  core->consent = verdict == GEN_SOURCE && core->record.both && is_out (peer);
  if (verdict == GEN_SOURCE || verdict == GEN_DIVERGED)
    core->attempt_failed = core->attempt_wanted;
  else
    core->attempt_held = core->attempt_wanted;
  link_drop_now (core, there ? PAUSED_THERE : PAUSED_HERE);
  return true;
}

/* Why there is no link; NULL: for another reason. */
const char *
pause_reason (const struct core *core)
{
  if (core->phase == LINK_DECIDED)
    return NULL;
  if (core->paused)
    return PAUSED_HERE;
  return core->peer_paused ? PAUSED_THERE : NULL;
}
