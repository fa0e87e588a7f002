/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-flush.c: durability=flush: what was answered and is not durable.
 *
 * A write is answered when it is written on both members; a flush when all
 * that was answered before is durable on both.  For the peer's part there
 * is WIRE_FLUSH: "make all that you have durable".  Flushes are numbered
 * on each link, and one that finds nothing new since the newest shares it.
 * The node flushes by itself when too much, or anything for too long, is
 * not durable, and before it hands its role over.
 *
 * What is not durable is gone when a node's process ends.  So
 *
 *   - a node that was one of two members and was restarted may lack what
 *     was answered (record.may_lack): it is no source beside a peer that
 *     stayed up, and makes no T1 or T2 (generation.c, core-open.c);
 *   - a node that lost its peer makes its store durable before it makes a
 *     generation alone: what both had is in that generation for good;
 *   - a region bit is cleared only when both have flushed after the last
 *     write there (I5): what a restarted node lacks is in a marked region.
 *
 * With durability=write none of this happens.
 */
#include <errno.h>

#include "core-internal.h"

bool
core_by_flush (const struct core *core)
{
  return core->config.durability == DURABILITY_FLUSH;
}

/* Answers requests, and so owes the flushes. */
static bool
is_flusher (const struct core *core)
{
  return core_by_flush (core) && core_may_serve (core);
}

void
flush_start (struct core *core)
{
  struct gen_record *record = &core->record;

  record->may_lack = record->cached && record->both &&
    record->data == DATA_CURRENT;
  if (core_by_flush (core) && !record->cached) {
    record->cached = true;
    core_save (core, true);
  }
}

/* -------------------------------------------------------------- the link */

void
flush_link_up (struct core *core)
{
  struct flush *f = &core->flush;

  f->asked = f->done = 0;
  f->wanted = f->wanted_seq = f->begun = 0;
  f->fresh = true;
}

void
flush_link_lost (struct core *core)
{
  struct flush *f = &core->flush;

  f->asked = f->done = 0;
  f->whole = false;
  f->running = false;
  f->target_version = 0;
  f->wanted = f->begun = 0;
  if (core_by_flush (core) && core->record.both)
    f->soft = true;
}

/* Is all that this node had when it lost its peer durable?  If not, and it
 * loses its power as the only member, the peer's copy would be given up
 * for one that lacks what both had.
 */
bool
flush_hardened (const struct core *core)
{
  return !core_by_flush (core) || (!core->flush.soft && core_synced (core));
}

/* --------------------------------------------------------- both members */

/* The number of a flush after which the peer has durably what it was sent
 * until now, asked for if there is none.
 */
static uint64_t
ask_peer (struct core *core)
{
  struct flush *f = &core->flush;

  if (f->fresh) {
    f->fresh = false;
    if (core->sent_count == 0 && f->asked == f->done)
      core->progress_ms = core->now_ms;
    link_send (core, WIRE_FLUSH)->frame.arg = ++f->asked;
  }
  return f->asked;
}

/* A flush that began at BEGAN_MS, when MARK bytes had been written, is
 * over, MUTUAL on both members.
 */
static void
flushed (struct flush *f, uint64_t mark, uint64_t began_ms, bool mutual)
{
  if (mark > f->safe)
    f->safe = mark;
  /* Of a write that ended in the same ms it is not known (regions). */
  if (f->oldest_ms <= began_ms)
    f->oldest_ms = f->newest_ms >= began_ms ? began_ms : 0;
  if (!mutual)
    return;
  if (!f->whole || began_ms > f->whole_ms)
    f->whole_ms = began_ms;
  if (!f->whole || mark > f->whole_mark)
    f->whole_mark = mark;
  f->whole = true;
}

static void
maybe_flushed (struct core *core)
{
  struct flush *f = &core->flush;

  if (!f->running || !f->local_done || (f->mutual && f->done < f->number))
    return;
  f->running = false;
  flushed (f, f->mark, f->began_ms, f->mutual);
}

void
on_flushed (struct core *core, uint64_t number)
{
  struct flush *f = &core->flush;

  if (core->relation != REL_SYNC || !core_is_primary (core) ||
      number > f->asked || number < f->done) {
    link_error (core, "the end of a flush that nobody asked for");
    return;
  }
  f->done = number;
  core->progress_ms = core->now_ms;
  maybe_flushed (core);
  client_flushed (core, number);
}

/* Have both members flushed since the last write? */
bool
flush_whole (const struct core *core)
{
  const struct flush *f = &core->flush;

  return !core_by_flush (core) || !core_is_primary (core) ||
    (f->whole && f->whole_mark == f->wrote && f->asked == f->done);
}

/* Regions that were last written before this moment may be cleared. */
uint64_t
flush_clear_before (const struct core *core, uint64_t idle_before_ms)
{
  const struct flush *f = &core->flush;

  if (!core_by_flush (core))
    return idle_before_ms;
  if (!f->whole)
    return 0;
  return f->whole_ms < idle_before_ms ? f->whole_ms : idle_before_ms;
}

/* How long a change of roles may take: a flush has to come before it. */
uint64_t
flush_patience_ms (const struct core *core)
{
  return core->config.dead_ms *
    (core_by_flush (core) ? (uint64_t) CORE_STALL_FACTOR : 1);
}

/* ----------------------------------------------------------- requests */

void
flush_begin_request (struct core *core, struct request *r)
{
  r->mark = core->flush.wrote;
  r->flush = 0;
  if (!core->record.both)
    return;
  r->flush = ask_peer (core);
  r->peer_needed = r->flush > core->flush.done;
}

void
flush_end_request (struct core *core, const struct request *r)
{
  if (core_by_flush (core))
    flushed (&core->flush, r->mark, r->local_ms, r->flush != 0);
}

/* A write has ended. */
void
flush_wrote (struct core *core, uint64_t bytes)
{
  struct flush *f = &core->flush;

  if (!core_by_flush (core))
    return;
  f->wrote += bytes;
  f->newest_ms = core->now_ms;
  if (f->oldest_ms == 0)
    f->oldest_ms = core->now_ms;
}

/* Must writes wait for the node's own flush?  Otherwise what is not durable
 * would have no bound.
 */
bool
flush_holds_back (const struct core *core)
{
  const struct flush *f = &core->flush;

  return f->running && f->wrote - f->mark >= core->config.flush_bytes;
}

/* ----------------------------------------------------- the node's own */

static bool
is_due (const struct core *core)
{
  const struct flush *f = &core->flush;

  if (f->running || !is_flusher (core))
    return false;
  if (core->switching == SWITCH_GRANTING)
    return !client_running (core) && !flush_whole (core);
  return f->wrote - f->safe >= core->config.flush_bytes ||
    (f->oldest_ms != 0 && core->now_ms >= f->oldest_ms + core->config.flush_ms);
}

static void
begin (struct core *core)
{
  struct flush *f = &core->flush;

  f->running = true;
  f->local_done = false;
  f->mark = f->wrote;
  f->began_ms = core->now_ms;
  f->local_version = ++f->version;
  core_emit (core, ACT_FLUSH_STORE)->version = f->local_version;
  f->mutual = core->record.both;
  f->number = f->mutual ? ask_peer (core) : 0;
}

/* ------------------------------------------------------------- backup */

void
on_flush (struct core *core, uint64_t number)
{
  struct flush *f = &core->flush;

  if (core->failed_now)
    return;
  if (!core_by_flush (core) || core->relation != REL_SYNC ||
      core_is_primary (core) || number != f->wanted + 1) {
    link_error (core, "a flush that does not fit");
    return;
  }
  f->wanted = number;
  f->wanted_seq = core->rx_seq;
}

/* All that came before the newest flush is written: make it durable. */
static void
advance_backup (struct core *core)
{
  struct flush *f = &core->flush;

  if (core->phase != LINK_DECIDED || core->failed_now ||
      f->target_version != 0 || f->begun == f->wanted ||
      core->applied_seq < f->wanted_seq || !core_settled (core))
    return;
  f->begun = f->wanted;
  f->target_version = ++f->version;
  f->target_ms = core->now_ms;
  core_emit (core, ACT_FLUSH_STORE)->version = f->target_version;
}

void
on_store_flushed (struct core *core, const struct core_event *event)
{
  struct flush *f = &core->flush;

  if (event->error != 0) {
    core_fail (core, event->error, CORE_SYNC_ERROR);
    return;
  }
  if (f->target_version == event->version) {
    f->target_version = 0;
    link_send (core, WIRE_FLUSHED)->frame.arg = f->begun;
  }
  if (f->running && f->local_version == event->version) {
    f->local_done = true;
    maybe_flushed (core);
  }
}

/* --------------------------------------------------------- what follows */

void
flush_advance (struct core *core)
{
  struct flush *f = &core->flush;

  /* durability=write, now: nothing is missing that could be. */
  if (!core_by_flush (core)) {
    if (core->record.cached && !core->record.may_lack && core_synced (core)) {
      core->record.cached = false;
      core_save (core, false);
    }
    return;
  }
  if (f->soft && core->phase == LINK_NONE && core->local_out == 0 &&
      !core->failed_now) {
    f->soft = false;
    core_want_sync (core);
  }
  advance_backup (core);
  if (!core_is_primary (core)) {
    f->safe = f->wrote;
    f->oldest_ms = 0;
    f->whole = false;
    return;
  }
  /* What was there before this link, or this role, is owed a flush, too. */
  if (core->record.both && !f->whole && f->oldest_ms == 0 && is_flusher (core))
    f->oldest_ms = core->now_ms;
  if (is_due (core))
    begin (core);
}

uint64_t
flush_deadline (const struct core *core)
{
  const struct flush *f = &core->flush;

  if (f->running || f->oldest_ms == 0 || !is_flusher (core))
    return UINT64_MAX;
  return f->oldest_ms + core->config.flush_ms;
}
