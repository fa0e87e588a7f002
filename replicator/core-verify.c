/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-verify.c: the administrator's question whether both copies are the
 * same, while clients go on: chunk after chunk is locked, hashed at the
 * peer, read here and compared.  The lock is what makes it exact: no write
 * is under way there, on either side, from the question to the answer.
 *
 * A difference is a fault of a disk, or somebody wrote to a data file
 * behind the nodes' back.  It is told, and with repair the primary's block
 * is sent, in the way of a reconcile: until it is durable there, clients
 * wait for it.
 *
 *   start --> [wait for the rate] --> lock --> hash-request --> hash-reply
 *               ^                                                  |
 *               +------- [reconcile what differs] <--- compare <---+
 */
#include <errno.h>

#include "core-internal.h"

static void
end (struct core *core, const char *why)
{
  core->verify.view.active = false;
  core->verify.view.ended = why;
  core->verify.slot = NO_SLOT;
}

/* NULL: begun. */
const char *
verify_begin (struct core *core, const struct core_wish *wish)
{
  if (core->verify.view.active)
    return "a comparison is under way already: its progress is in the status";
  if (core->phase != LINK_DECIDED || core->relation != REL_SYNC)
    return "the copies can be compared only while both nodes are in sync";
  if (!core_is_primary (core))
    return "this node is not primary: ask the other one";
  if (resize_runs (core))
    return "the volume is being grown: ask again when that has ended";
  core->verify = (struct verify){
    .view = { .active = true,
              .repair = wish->repair,
              .started_ms = core->now_ms },
    .slot = NO_SLOT,
    .rate = wish->rate,
  };
  return NULL;
}

const char *
verify_stop (struct core *core)
{
  if (!core->verify.view.active)
    return "no comparison is under way at this node";
  core->verify.stop = true;
  return NULL;
}

/* A chunk is under way: the role must not change hands before it is
 * through, or the next primary's writes would look like differences.
 */
bool
verify_runs (const struct core *core)
{
  return core->verify.view.active && core->verify.slot != NO_SLOT;
}

static void
start_next (struct core *core)
{
  struct verify *verify = &core->verify;
  uint64_t offset = verify->next * MARKS_CHUNK;
  uint64_t left = core->record.size - offset;
  uint32_t slot;

  for (slot = 0; slot < CORE_CHUNKS_MAX; slot++)
    if (core->chunks[slot].state == CHUNK_FREE &&
        !core->chunks[slot].buffer_busy)
      break;
  if (slot == CORE_CHUNKS_MAX)
    return;
  verify->slot = slot;
  core->chunks[slot] = (struct chunk){
    .number = verify->next++,
    .offset = offset,
    .length = left < MARKS_CHUNK ? left : MARKS_CHUNK,
    .compare = true,
    .verify = true,
  };
  if (verify->rate != 0)
    verify->wait_ms = core->now_ms +
      core->chunks[slot].length * 1000 / verify->rate;
  sync_lock_chunk (core, slot);
}

void
verify_advance (struct core *core)
{
  struct verify *verify = &core->verify;

  if (!verify->view.active)
    return;
  if (core->phase != LINK_DECIDED || core->relation != REL_SYNC) {
    end (core, "the link was lost");
    return;
  }
  if (!core_is_primary (core)) {
    end (core, "this node is not primary any more");
    return;
  }
  if (verify->slot != NO_SLOT || core->sync != SYNC_OFF)
    return;
  if (core->failed_now)
    end (core, "this node's copy has failed");
  else if (verify->stop)
    end (core, "it was told to stop");
  else if (verify->next == marks_chunks (core->marks))
    end (core, NULL);
  else if (core_may_serve (core) && core->switching == SWITCH_NONE &&
           core->now_ms >= verify->wait_ms && core_room (core))
    start_next (core);
}

/* The range is held: nothing is under way there on either side. */
void
verify_locked (struct core *core, uint32_t slot)
{
  struct chunk *chunk = &core->chunks[slot];
  struct core_action *action = link_send (core, WIRE_HASH_REQUEST);

  assert (core->sync == SYNC_OFF);
  chunk->state = CHUNK_HASHING;
  action->frame.offset = chunk->offset;
  action->frame.length = (uint32_t) chunk->length;
  action->frame.arg = slot;
}

static void
note (struct core *core, uint64_t offset, uint64_t length)
{
  struct core_verify *view = &core->verify.view;
  struct core_difference *last = NULL;

  if (view->count > 0)
    last = &view->list[view->count - 1];
  if (last != NULL && last->offset + last->length == offset)
    last->length += length;
  else if (view->count < CORE_DIFFERENCES)
    view->list[view->count++] = (struct core_difference){ offset, length };
  view->different_bytes += length;
  view->different_blocks++;
}

/* What differs is marked: send it, as after a crash. */
static void
repair (struct core *core)
{
  assert (core->relation == REL_SYNC && core->sync == SYNC_OFF);
  core->sync = SYNC_COPY;
  pace_start (&core->pace, core->now_ms);
  core->resync_done_bytes = 0;
  core->resync_total_bytes = marks_dirty_bytes (core->marks);
  core->resync_started_ms = core->now_ms;
  core->rate_tokens = 0;
  core->rate_ms = core->now_ms;
}

/* These blocks of the chunk differ; its range is still held.  A copy that
 * has failed meanwhile lacks the write that failed, and is no measure.
 */
void
verify_compared (struct core *core, uint32_t slot, uint64_t blocks)
{
  struct verify *verify = &core->verify;
  const struct chunk *chunk = &core->chunks[slot];
  unsigned i;

  assert (verify->slot == slot);
  verify->slot = NO_SLOT;
  if (core->failed_now)
    return;
  verify->view.checked_bytes += chunk->length;
  for (i = 0; i < 64; i++) {
    uint64_t offset = chunk->offset + i * (uint64_t) MARKS_BLOCK;
    uint64_t left = chunk->offset + chunk->length - offset;
    uint64_t length = left < MARKS_BLOCK ? left : MARKS_BLOCK;

    if ((blocks >> i & 1) == 0)
      continue;
    note (core, offset, length);
    if (verify->view.repair)
      marks_dirty (core->marks, offset, length);
  }
  if (blocks != 0 && verify->view.repair)
    repair (core);
}

uint64_t
verify_deadline (const struct core *core)
{
  const struct verify *verify = &core->verify;

  if (!verify->view.active || verify->slot != NO_SLOT ||
      verify->wait_ms <= core->now_ms)
    return UINT64_MAX;
  return verify->wait_ms;
}
