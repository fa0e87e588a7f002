/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-disk.c: a disk that neither works nor gives an error.  How long has
 * the oldest operation on this node's files been out?  After dead_ms the
 * reason says so.  After CORE_STALL_FACTOR times that a primary whose
 * backup has all data gives its role away, like one whose store failed: a
 * call that is stuck can neither be cancelled nor be waited for.
 *
 * A node that has given up so counts as failed, even if all its calls
 * return a moment later: they may have changed the store after the peer
 * took over (I1, I8).
 */
#include <errno.h>

#include "core-internal.h"

/* A timer that is late by a good part of dead= is no disk's fault: this
 * node was stopped.  With a link there is a heartbeat, and whatever is out
 * on the disk has a time at which it is late.
 */
void
disk_note_time (struct core *core, uint64_t now_ms)
{
  uint64_t dead_ms = core->config.dead_ms, due_ms;

  if (now_ms - core->now_ms <= dead_ms)
    return;
  due_ms = core_deadline (core);
  if (now_ms > due_ms && now_ms - due_ms > dead_ms / 2)
    core->awake_ms = now_ms;
}

static void
earlier (uint64_t *since_ms, bool is_out, uint64_t began_ms)
{
  if (is_out && began_ms < *since_ms)
    *since_ms = began_ms;
}

/* When the oldest operation began; UINT64_MAX: none is out.  Of requests
 * this is a moment when all that are out had not begun before.
 */
static uint64_t
out_since (const struct core *core)
{
  uint64_t since_ms = UINT64_MAX;
  unsigned i;

  earlier (&since_ms, core->local_out > 0, core->local_ms);
  earlier (&since_ms, core->sb_flight != 0, core->sb_ms);
  earlier (&since_ms, core->map_flight, core->map_ms);
  earlier (&since_ms, !core_synced (core), core->sync_ms);
  earlier (&since_ms, core->flush.running && !core->flush.local_done,
           core->flush.began_ms);
  earlier (&since_ms, core->flush.target_version != 0, core->flush.target_ms);
  earlier (&since_ms,
           core->phase != LINK_NONE && core->named_seq > core->applied_seq,
           core->apply_ms);
  for (i = 0; i < CORE_CHUNKS_MAX; i++)
    earlier (&since_ms, core->chunks[i].state == CHUNK_READING,
             core->chunks[i].sent_ms);
  /* A node that was stopped itself did not wait for its disk. */
  return since_ms < core->awake_ms ? core->awake_ms : since_ms;
}

static uint64_t
late_at (const struct core *core, uint64_t factor)
{
  uint64_t since_ms = out_since (core);
  uint64_t wait_ms = core->config.dead_ms * factor;

  return since_ms > UINT64_MAX - wait_ms ? UINT64_MAX : since_ms + wait_ms;
}

/* The requests that set local_ms may have ended: look at those that are
 * out.  Asked only when it seems to be late.
 */
static void
find_oldest_request (struct core *core)
{
  uint32_t slot;

  core->local_ms = core->now_ms;
  for (slot = core->lists[R_RUNNING].head; slot != NO_SLOT;
       slot = core->requests[slot].next)
    earlier (&core->local_ms, core->requests[slot].local_out,
             core->requests[slot].local_ms);
}

/* Is there a backup that holds all that was acknowledged? */
static bool
may_give_away (const struct core *core)
{
  return core->phase == LINK_DECIDED && core->relation == REL_SYNC &&
    core->record.both && core->record.data == DATA_CURRENT &&
    core_is_primary (core) && core->peer_joined && !core->failed_now &&
    !core->stopping;
}

void
disk_advance (struct core *core)
{
  if (core->local_out > 0 && core->now_ms >= late_at (core, 1))
    find_oldest_request (core);
  core->disk_late = !core->failed_now && core->now_ms >= late_at (core, 1);
  if (core->disk_late && may_give_away (core) &&
      core->now_ms >= late_at (core, CORE_STALL_FACTOR))
    core_fail (core, EIO, "the disk did not answer for ten times dead=");
}

/* How long it has not answered, when that is too long; else 0. */
uint64_t
disk_late_ms (const struct core *core)
{
  return core->disk_late ? core->now_ms - out_since (core) : 0;
}

uint64_t
disk_deadline (const struct core *core)
{
  if (core->failed_now)
    return UINT64_MAX;
  if (!core->disk_late)
    return late_at (core, 1);
  return may_give_away (core) ? late_at (core, CORE_STALL_FACTOR) : UINT64_MAX;
}
