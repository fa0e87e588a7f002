/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-sync.c: data on its way to the other copy.  The source's window
 * of frames, resync and reconcile (one machine: a reconcile is a resync
 * whose peer stays a member).  The target's side is core-target.c.
 *
 * A mark is cleared by an acknowledgement alone (I6).  What was sent and
 * not acknowledged counts as marked: link_lose marks it.
 */
#include <errno.h>
#include <string.h>

#include "core-internal.h"

enum { TICK_MS = 1000, RATE_TICK_MS = 10 };

_Static_assert((int) PACE_MAX == (int) CORE_CHUNKS_MAX,
               "a place for each chunk");

static bool
is_source (const struct core *core)
{
  return core->phase == LINK_DECIDED &&
    (core->relation == REL_SOURCE ||
     (core->relation == REL_SYNC && core_is_primary (core)));
}

/* ------------------------------------------------------ frames and acks */

/* Do client writes go to the peer now? */
bool
sync_sends_writes (const struct core *core)
{
  if (!is_source (core))
    return false;
  return core->relation == REL_SYNC ||
    (core->sync != SYNC_OFF && core->sync != SYNC_MARKS);
}

/* And do their replies wait for it? */
bool
sync_waits_for_peer (const struct core *core)
{
  return core->relation == REL_SYNC || core->sync == SYNC_DRAIN ||
    core->sync == SYNC_JOIN;
}

/* Room for one more write of a client of COST bytes?  Chunks have a place
 * of their own in the window of frames, or clients who fill it would keep
 * a resync from ending.
 */
bool
sync_room_for_write (const struct core *core, uint64_t cost)
{
  enum { FRAMES_PER_STEP = 80, FOR_CHUNKS = PACE_MAX * CORE_CHUNK_FRAMES };
  uint64_t bytes = core->sent_bytes - core->sent_chunk_bytes;

  return core->sent_count + FRAMES_PER_STEP + FOR_CHUNKS <= CORE_SENT_MAX &&
    (bytes == 0 || bytes + cost <= CORE_SENT_BYTES_MAX);
}

/* What is on its way and will be answered holds back a quarter as much: the
 * more is under way, the less it matters that one frame leaves at once.
 */
bool
core_gathers (const struct core *core, uint32_t queued)
{
  enum { PART = 4 };
  uint32_t unanswered = core->sent_count - core->sent_seen;

  return core_by_flush (core) && core->relation == REL_SYNC &&
    core->sync == SYNC_OFF && unanswered > queued &&
    unanswered - queued >= PART * queued;
}

static uint64_t
send_data (struct core *core, const struct wire_frame *frame, uint32_t slot,
           bool resync)
{
  struct core_action *action = link_send (core, (enum wire_type) frame->type);
  struct sent *sent;

  assert (core->sent_count < CORE_SENT_MAX);
  if (core->sent_count == 0)
    core->progress_ms = core->now_ms;
  core->flush.fresh = true;
  action->slot = slot;
  action->frame.flags = frame->flags;
  action->frame.offset = frame->offset;
  action->frame.length = frame->length;
  action->frame.payload_length = frame->type == WIRE_WRITE ? frame->length : 0;
  action->frame.seq = ++core->tx_seq;
  sent = &core->sent[(core->sent_head + core->sent_count++) % CORE_SENT_MAX];
  *sent = (struct sent){
    .seq = core->tx_seq,
    .offset = frame->offset,
    .length = frame->length,
    .cost = action->frame.payload_length,
    .request = resync ? NO_SLOT : slot,
    .chunk = resync ? slot : NO_SLOT,
  };
  core->sent_bytes += sent->cost;
  if (resync)
    core->sent_chunk_bytes += sent->cost;
  else
    pace_client (&core->pace, core->now_ms);
  return core->tx_seq;
}

/* Send a write, in frames of at most WIRE_PAYLOAD_MAX bytes. */
void
sync_send_request (struct core *core, uint32_t slot)
{
  struct request *r = &core->requests[slot];
  struct wire_frame frame = { .type = WIRE_ZERO };
  uint64_t done;

  if (r->kind != REQ_WRITE) {
    assert (r->length <= UINT32_MAX);
    frame.flags = r->punch ? WIRE_PUNCH : 0;
    frame.offset = r->offset;
    frame.length = (uint32_t) r->length;
    r->last_seq = send_data (core, &frame, slot, false);
    return;
  }
  frame.type = WIRE_WRITE;
  for (done = 0; done < r->length; done += frame.length) {
    uint64_t left = r->length - done;

    frame.offset = r->offset + done;
    frame.length = left < WIRE_PAYLOAD_MAX ? (uint32_t) left : WIRE_PAYLOAD_MAX;
    r->last_seq = send_data (core, &frame, slot, false);
  }
}

/* The oldest frame sent is done with. */
static void
pop_sent (struct core *core)
{
  core->sent_bytes -= core->sent[core->sent_head].cost;
  core->sent_head = (core->sent_head + 1) % CORE_SENT_MAX;
  core->sent_count--;
  if (core->sent_seen > 0)
    core->sent_seen--;
}

/* The peer has written all up to SEQ.  For a client's write that is enough,
 * since its region stays marked until a flush; a chunk waits for its ack.
 */
void
on_received (struct core *core, uint64_t seq)
{
  const struct sent *sent;

  if (!is_source (core) || !core_by_flush (core) || seq > core->tx_seq) {
    link_bye (core, WIRE_BYE_PROTOCOL, "word of what was not sent");
    return;
  }
  core->progress_ms = core->now_ms;
  while (core->sent_seen < core->sent_count) {
    sent = &core->sent[(core->sent_head + core->sent_seen) % CORE_SENT_MAX];
    if (sent->seq > seq)
      break;
    core->sent_seen++;
    if (sent->chunk == NO_SLOT)
      client_acked (core, sent->request, sent->seq);
  }
  while (core->sent_seen > 0 && core->sent[core->sent_head].chunk == NO_SLOT)
    pop_sent (core);
}

void
on_ack (struct core *core, uint64_t seq)
{
  if (!is_source (core) || seq > core->tx_seq || seq < core->acked_seq) {
    link_bye (core, WIRE_BYE_PROTOCOL, "an ack of what was not sent");
    return;
  }
  while (core->sent_count > 0) {
    const struct sent sent = core->sent[core->sent_head];
    struct chunk *chunk;
    bool seen = core->sent_seen > 0;

    if (sent.seq > seq)
      break;
    pop_sent (core);
    marks_clean (core->marks, sent.offset, sent.length);
    if (sent.chunk != NO_SLOT) {
      chunk = &core->chunks[sent.chunk];
      core->sent_chunk_bytes -= sent.cost;
      if (--chunk->unacked == 0) {
        pace_acked (&core->pace, core->now_ms, core->now_ms - chunk->sent_ms,
                    chunk->ahead_bytes);
        chunk->state = CHUNK_FREE;
      }
    }
    else if (!seen)
      client_acked (core, sent.request, sent.seq);
  }
  core->acked_seq = seq;
  core->progress_ms = core->now_ms;
}

/* -------------------------------------------------------- source: marks */

void
sync_start (struct core *core)
{
  core->sync = SYNC_MARKS;
  core->marks_page = 0;
  core->cursor = 0;
  pace_start (&core->pace, core->now_ms);
  core->resync_done_bytes = 0;
  core->resync_total_bytes = 0;
  core->resync_started_ms = core->now_ms;
  core->rate_tokens = 0;
  core->rate_ms = core->now_ms;
  core_want_sync (core);
}

/* The link is gone: what was read or sent is void. */
void
sync_reset (struct core *core)
{
  uint32_t i;

  core->sync = SYNC_OFF;
  for (i = 0; i < CORE_CHUNKS_MAX; i++) {
    struct chunk *chunk = &core->chunks[i];

    if (chunk->state == CHUNK_READING) {
      chunk->stale = true;
      continue;
    }
    if (chunk->state == CHUNK_LOCKING || chunk->verify)
      client_unlock (core, CORE_REQUESTS_MAX + i);
    chunk->state = CHUNK_FREE;
  }
}

void
sync_send_marks (struct core *core)
{
  uint32_t page, pages = marks_pages (core->marks);

  for (page = 0; page < pages; page++) {
    struct core_action *action = link_send (core, WIRE_MARKS);

    action->frame.offset = page;
    action->frame.arg = pages;
    action->frame.payload_length = MARKS_PAGE_BYTES;
  }
}

void
on_marks (struct core *core, const struct wire_frame *frame,
          const uint8_t *payload)
{
  uint32_t pages = marks_pages (core->marks);

  if (!is_source (core) || core->sync != SYNC_MARKS ||
      frame->offset != core->marks_page || frame->arg != pages ||
      frame->payload_length != MARKS_PAGE_BYTES) {
    link_bye (core, WIRE_BYE_PROTOCOL, "marks that do not fit");
    return;
  }
  marks_merge_page (core->marks, core->marks_page, payload);
  if (++core->marks_page < pages)
    return;
  core->sync = SYNC_COPY;
  core->resync_total_bytes = marks_dirty_bytes (core->marks);
  if (core->relation == REL_SOURCE && core->record.both &&
      !core_by_etcd (core)) {
    /* The peer has noted durably that it is stale: it cannot be promoted,
     * so this node may go on alone, by the peer's own word.
     */
    core_begin_change (
      core,
      core_by_flush (core) && !core_is_primary (core) ? GEN_TAKEOVER : GEN_SOLO,
      0, 0);
    core->record.answered = true;
  }
}

/* ------------------------------------------------------- source: chunks */

static bool
chunk_busy (const struct core *core, uint64_t number)
{
  unsigned i;

  for (i = 0; i < CORE_CHUNKS_MAX; i++)
    if (core->chunks[i].state != CHUNK_FREE && core->chunks[i].number == number)
      return true;
  return false;
}

static bool
any_chunk (const struct core *core)
{
  unsigned i;

  for (i = 0; i < CORE_CHUNKS_MAX; i++)
    if (core->chunks[i].state != CHUNK_FREE)
      return true;
  return false;
}

/* The next chunk to send: one that a client waits for, else the next
 * after the cursor.
 */
static bool
next_chunk (struct core *core, uint64_t *number)
{
  uint32_t slot = core->lists[R_RECONCILE].head;
  unsigned tries;

  for (tries = 0; slot != NO_SLOT && tries < CORE_CHUNKS_MAX; tries++) {
    const struct request *r = &core->requests[slot];
    uint64_t end = (r->offset + r->length - 1) / MARKS_CHUNK;

    if (marks_next_chunk (core->marks, r->offset / MARKS_CHUNK, number) &&
        *number >= r->offset / MARKS_CHUNK && *number <= end &&
        !chunk_busy (core, *number))
      return true;
    slot = r->next;
  }
  for (tries = 0; tries <= CORE_CHUNKS_MAX; tries++) {
    if (!marks_next_chunk (core->marks, core->cursor, number))
      return false;
    core->cursor = *number + 1 < marks_chunks (core->marks) ? *number + 1 : 0;
    if (!chunk_busy (core, *number))
      return true;
  }
  return false;
}

void
sync_lock_chunk (struct core *core, uint32_t slot)
{
  struct chunk *chunk = &core->chunks[slot];

  chunk->state = CHUNK_LOCKING;
  if (ranges_enter (core->ranges, CORE_REQUESTS_MAX + slot, chunk->offset,
                    chunk->length, false))
    sync_locked (core, slot);
}

static void
read_chunk (struct core *core, uint32_t slot, uint64_t blocks)
{
  struct chunk *chunk = &core->chunks[slot];
  struct core_action *action = core_emit (core, ACT_CHUNK);

  chunk->state = CHUNK_READING;
  chunk->sent_ms = core->now_ms;
  action->slot = slot;
  action->offset = chunk->offset;
  action->length = chunk->length;
  action->compare = chunk->compare;
  action->blocks = chunk->compare ? UINT64_MAX : blocks;
}

/* No write runs in the chunk, and none starts until it is queued. */
void
sync_locked (struct core *core, uint32_t slot)
{
  struct chunk *chunk = &core->chunks[slot];
  uint64_t blocks = marks_chunk_blocks (core->marks, chunk->number);

  assert (chunk->state == CHUNK_LOCKING);
  if (chunk->verify) {
    verify_locked (core, slot);
    return;
  }
  if (blocks == 0 && !chunk->compare) {
    chunk->state = CHUNK_FREE;
    client_unlock (core, CORE_REQUESTS_MAX + slot);
    return;
  }
  read_chunk (core, slot, blocks);
}

static void
start_chunk (struct core *core, uint32_t slot, uint64_t number)
{
  struct chunk *chunk = &core->chunks[slot];
  uint64_t offset = number * MARKS_CHUNK;
  uint64_t left = core->record.size - offset;
  struct core_action *action;

  *chunk = (struct chunk){
    .number = number,
    .offset = offset,
    .length = left < MARKS_CHUNK ? left : MARKS_CHUNK,
    .compare = marks_chunk_coarse (core->marks, number),
  };
  if (!chunk->compare) {
    sync_lock_chunk (core, slot);
    return;
  }
  chunk->state = CHUNK_HASHING;
  action = link_send (core, WIRE_HASH_REQUEST);
  action->frame.offset = chunk->offset;
  action->frame.length = (uint32_t) chunk->length;
  action->frame.arg = slot;
}

bool
core_hash_wanted (const struct core *core, const struct wire_frame *frame)
{
  const struct chunk *chunk;
  uint64_t blocks;

  if (core->phase != LINK_DECIDED || frame->arg >= CORE_CHUNKS_MAX)
    return false;
  chunk = &core->chunks[frame->arg];
  blocks = (chunk->length + MARKS_BLOCK - 1) / MARKS_BLOCK;
  return chunk->state == CHUNK_HASHING && chunk->offset == frame->offset &&
    frame->payload_length == blocks * WIRE_HASH;
}

void
on_hash_reply (struct core *core, const struct wire_frame *frame)
{
  bool wanted = core_hash_wanted (core, frame);

  if (wanted && core->chunks[frame->arg].verify)
    read_chunk (core, (uint32_t) frame->arg, UINT64_MAX);
  else if (wanted)
    core->chunks[frame->arg].state = CHUNK_HASHED;
  else
    link_bye (core, WIRE_BYE_PROTOCOL, "hashes that nobody asked for");
}

/* Queue the blocks of a chunk that was read: runs of data or of zeros. */
static void
send_chunk (struct core *core, uint32_t slot, uint64_t blocks, uint64_t zeros)
{
  struct chunk *chunk = &core->chunks[slot];
  unsigned first = 0, last;

  chunk->ahead_bytes = core->sent_bytes - core->sent_chunk_bytes;
  while (first < 64) {
    uint64_t bit = UINT64_C (1) << first;
    bool zero = (zeros & bit) != 0;
    struct wire_frame frame = { .type = zero ? WIRE_ZERO : WIRE_WRITE };
    uint64_t end;

    if ((blocks & bit) == 0) {
      first++;
      continue;
    }
    for (last = first + 1; last < 64; last++) {
      bit = UINT64_C (1) << last;
      if ((blocks & bit) == 0 || ((zeros & bit) != 0) != zero)
        break;
    }
    end = last * (uint64_t) MARKS_BLOCK;
    if (end > chunk->length)
      end = chunk->length;
    frame.offset = chunk->offset + first * (uint64_t) MARKS_BLOCK;
    frame.length = (uint32_t) (end - first * (uint64_t) MARKS_BLOCK);
    frame.flags = WIRE_RESYNC | (zero ? WIRE_PUNCH : 0);
    send_data (core, &frame, slot, true);
    chunk->unacked++;
    chunk->buffer_busy |= !zero;
    core->resync_done_bytes += frame.length;
    core->rate_tokens -= frame.length;
    first = last;
  }
  chunk->sent_ms = core->now_ms;
  chunk->state = chunk->unacked > 0 ? CHUNK_SENT : CHUNK_FREE;
}

void
on_chunk_done (struct core *core, const struct core_event *event)
{
  struct chunk *chunk;
  uint64_t valid, blocks;

  assert (event->slot < CORE_CHUNKS_MAX);
  chunk = &core->chunks[event->slot];
  assert (chunk->state == CHUNK_READING);
  blocks = (chunk->length + MARKS_BLOCK - 1) / MARKS_BLOCK;
  valid = blocks == 64 ? UINT64_MAX : (UINT64_C (1) << blocks) - 1;
  blocks = event->blocks & valid;
  if (chunk->stale || event->error != 0)
    chunk->state = CHUNK_FREE;
  else if (chunk->verify) {
    chunk->state = CHUNK_FREE;
    verify_compared (core, event->slot, blocks);
  }
  else {
    if (chunk->compare)
      marks_chunk_compared (core->marks, chunk->number, blocks);
    send_chunk (core, event->slot, blocks, event->zeros & blocks);
  }
  client_unlock (core, CORE_REQUESTS_MAX + event->slot);
  if (event->error != 0 && !chunk->stale && chunk->verify)
    core_fail (core, event->error, CORE_DATA_ERROR);
  else if (event->error != 0 && !chunk->stale)
    link_drop_now (core, "this node cannot read its own copy to resync it");
}

void
on_chunk_free (struct core *core, uint32_t slot)
{
  assert (slot < CORE_CHUNKS_MAX);
  core->chunks[slot].buffer_busy = false;
}

static void
refill_rate (struct core *core)
{
  uint64_t rate = core->config.resync_rate;
  uint64_t passed = core->now_ms - core->rate_ms;

  core->rate_ms = core->now_ms;
  if (passed > TICK_MS)
    passed = TICK_MS;
  core->rate_tokens += (int64_t) (rate * passed / 1000);
  /* At most a tenth of a second in store. */
  if (core->rate_tokens > (int64_t) (rate / 10 + 1))
    core->rate_tokens = (int64_t) (rate / 10 + 1);
}

static bool
rate_limited (const struct core *core)
{
  return core->config.resync_rate != 0 && core->rate_tokens <= 0;
}

/* Chunks that are being compared, and those that the window is for. */
static void
count_chunks (const struct core *core, uint32_t *hashing, uint32_t *moving)
{
  uint32_t i;

  *hashing = *moving = 0;
  for (i = 0; i < CORE_CHUNKS_MAX; i++) {
    enum chunk_state state = core->chunks[i].state;

    if (state == CHUNK_HASHING || state == CHUNK_HASHED)
      (*hashing)++;
    else if (state != CHUNK_FREE)
      (*moving)++;
  }
}

/* Chunks that were compared go first; then new ones, of which those that
 * must be compared may wait for their hashes outside the window.
 */
static void
pump_chunks (struct core *core)
{
  uint32_t i, hashing, moving;
  uint64_t number;

  count_chunks (core, &hashing, &moving);
  for (i = 0; i < CORE_CHUNKS_MAX && moving < core->pace.window; i++)
    if (core->chunks[i].state == CHUNK_HASHED && core_room (core)) {
      sync_lock_chunk (core, i);
      hashing--;
      moving++;
    }
  for (i = 0; i < CORE_CHUNKS_MAX; i++) {
    if (core->chunks[i].state != CHUNK_FREE || core->chunks[i].buffer_busy)
      continue;
    if (moving + hashing >= core->pace.window + CORE_CHUNKS_HASHED ||
        (rate_limited (core) && core->lists[R_RECONCILE].head == NO_SLOT) ||
        !core_room (core) || !next_chunk (core, &number))
      return;
    if (marks_chunk_coarse (core->marks, number))
      hashing++;
    else if (moving < core->pace.window)
      moving++;
    else {
      core->cursor = number; /* its turn comes */
      return;
    }
    start_chunk (core, i, number);
  }
}

void
sync_advance (struct core *core)
{
  uint64_t number;

  if (core->phase != LINK_DECIDED || core->sync == SYNC_OFF ||
      core->sync == SYNC_MARKS || core->sync == SYNC_JOIN ||
      core->change != GEN_NONE || !core_settled (core) || !core_synced (core) ||
      core->failed_now)
    return;
  /* A member takes data from the primary of its own generation only; and
   * one that is stale from a node that is alone.
   */
  if ((core->relation == REL_SYNC && !core->peer_joined) ||
      (core->relation == REL_SOURCE && core->record.both))
    return;
  if (core->sync == SYNC_COPY) {
    if (core->config.resync_rate != 0)
      refill_rate (core);
    pump_chunks (core);
    if (any_chunk (core) || marks_next_chunk (core->marks, 0, &number))
      return;
    if (core->relation == REL_SYNC) {
      core->sync = SYNC_OFF;
      return;
    }
    core->sync = SYNC_DRAIN;
    core->drain_seq = core->tx_seq;
  }
  if (core->sync == SYNC_DRAIN && core->acked_seq >= core->drain_seq &&
      !core_by_etcd (core)) {
    core->sync = SYNC_JOIN;
    core->change_link = core->link;
    core_begin_change (core, GEN_JOIN, 0, 0);
  }
}

/* T3 is durable here: the peer is told by link_changed. */
void
sync_joined (struct core *core)
{
  assert (core->sync == SYNC_JOIN);
  core->sync = SYNC_OFF;
  core->relation = REL_SYNC;
}

/* The peer's switch is durable here.  Before its grant this node had
 * drained: both copies are equal and durable, and the peer has served
 * nobody since.  So no region bit of this node says anything, and none
 * may stay that only it has, or no clear would ever name it.  If the link
 * or a node was lost in between, the peer has this node's marks instead,
 * and reconciles them.
 */
void
sync_switched (struct core *core)
{
  marks_forget (core->marks);
  while (!core->marks_sent &&
         marks_clear_idle (core->marks, UINT64_MAX, core->clear,
                           WIRE_REGIONS_MAX) > 0)
    continue;
}

void
sync_tick (struct core *core)
{
  struct core_action *action;
  uint64_t idle_before;
  uint32_t count;

  if (core->now_ms < core->clear_ms)
    return;
  core->clear_ms = core->now_ms + TICK_MS;
  if (core->relation != REL_SYNC || !core_is_primary (core) ||
      core->sync != SYNC_OFF || !core_may_serve (core) ||
      core->now_ms < CORE_REGION_IDLE_MS)
    return;
  idle_before = flush_clear_before (core, core->now_ms - CORE_REGION_IDLE_MS);
  count = marks_clear_idle (core->marks, idle_before, core->clear,
                            WIRE_REGIONS_MAX);
  if (count == 0)
    return;
  action = link_send (core, WIRE_CLEAR);
  action->frame.payload_length = count * (uint32_t) sizeof (uint64_t);
}

uint64_t
sync_deadline (const struct core *core)
{
  if (core->phase != LINK_DECIDED)
    return UINT64_MAX;
  if (core->sync == SYNC_COPY && rate_limited (core))
    return core->now_ms + RATE_TICK_MS;
  return core->clear_ms > core->now_ms ? core->clear_ms : core->now_ms + 1;
}
