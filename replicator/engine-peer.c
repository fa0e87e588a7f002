/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine-peer.c: the peer's side of the engine.  Frames on their way out
 * get their payload here; the link's receiver thread carries out what the
 * peer sends: writes as they come, one fdatasync for all that were there,
 * one ack; chunks of a resync are read and compared here.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "engine-internal.h"

/* ------------------------------------------------------------- sending */

struct chunk_freed {
  struct engine *engine;
  uint32_t slot;
};

static void
run_chunk_free (void *opaque)
{
  struct chunk_freed *freed = opaque;
  struct core_event event = { .type = EV_CHUNK_FREE, .slot = freed->slot };

  engine_step (freed->engine, &event);
  free (freed);
}

static void
chunk_frame_done (struct engine *engine, uint32_t slot)
{
  struct chunk_freed *freed;

  if (atomic_fetch_sub (&engine->chunks[slot].frames_out, 1) != 1)
    return;
  freed = malloc (sizeof *freed);
  if (freed == NULL)
    abort ();
  *freed = (struct chunk_freed){ engine, slot };
  if (jobs_add (engine->jobs, run_chunk_free, freed) == -1)
    abort ();
}

/* From the sender's thread: the frame's payload is not needed any more. */
static void
frame_done (struct link_frame *link_frame)
{
  struct out_frame *frame = (struct out_frame *) link_frame;
  struct engine *engine = frame->engine;
  uint32_t request = frame->request, chunk = frame->chunk;

  if (frame->counted)
    atomic_fetch_sub (&engine->unread, 1);
  if (!frame->embedded)
    free (frame);
  if (chunk != NO_SLOT)
    chunk_frame_done (engine, chunk);
  if (request != NO_SLOT &&
      atomic_fetch_sub (&engine->requests[request].frames_out, 1) ==
        ENGINE_FRAMES_AWAITED + 1)
    sem_post (&engine->requests[request].wake);
}

static struct out_frame *
new_frame (struct engine *engine, const struct core_action *action,
           size_t payload)
{
  struct out_frame *frame = malloc (sizeof *frame + payload);

  if (frame == NULL)
    abort ();
  *frame = (struct out_frame){
    .link = { .frame = action->frame,
              .link = action->link,
              .done = frame_done },
    .engine = engine,
    .request = NO_SLOT,
    .chunk = NO_SLOT,
    .counted = action->frame.type != WIRE_MARKS,
  };
  if (frame->counted)
    atomic_fetch_add (&engine->unread, 1);
  if (payload > 0) {
    frame->link.payload = frame + 1;
    frame->link.frame.payload_length = (uint32_t) payload;
  }
  return frame;
}

static void
put_le64 (uint8_t *to, uint64_t value)
{
  unsigned i;

  for (i = 0; i < 8; i++)
    to[i] = (uint8_t) (value >> (8 * i));
}

/* A control frame: its payload is copied from the core now. */
static struct out_frame *
control_frame (struct engine *engine, const struct core_action *action)
{
  size_t length = action->frame.payload_length, i;
  struct out_frame *frame;
  uint8_t *payload;

  if (action->frame.type == WIRE_HELLO_FRAME ||
      action->frame.type == WIRE_ADOPT)
    length = WIRE_HELLO;
  frame = new_frame (engine, action, length);
  payload = (uint8_t *) (frame + 1);
  switch (action->frame.type) {
  case WIRE_HELLO_FRAME:
  case WIRE_ADOPT:
    wire_encode_hello (core_hello (engine->core), payload);
    break;
  case WIRE_MARKS:
    memcpy (payload,
            core_map_page (engine->core, (uint32_t) action->frame.offset),
            MARKS_PAGE_BYTES);
    break;
  case WIRE_CLEAR:
    for (i = 0; i < length / 8; i++)
      put_le64 (payload + 8 * i, core_clear (engine->core)[i]);
    break;
  }
  return frame;
}

static struct out_frame *
request_frame (struct engine *engine, const struct core_action *action)
{
  struct engine_request *request = &engine->requests[action->slot];
  struct out_frame *frame;

  /* Only the first frame of a request can use the one in its slot. */
  if (atomic_load (&request->frames_out) == 0) {
    frame = &request->frame;
    *frame = (struct out_frame){
      .link = { .frame = action->frame,
                .link = action->link,
                .done = frame_done },
      .engine = engine,
      .chunk = NO_SLOT,
      .embedded = true,
    };
  }
  else
    frame = new_frame (engine, action, 0);
  frame->request = action->slot;
  if (action->frame.type == WIRE_WRITE)
    frame->link.payload = (const uint8_t *) request->buffer +
      (action->frame.offset - request->event.request.offset);
  atomic_fetch_add (&request->frames_out, 1);
  return frame;
}

void
engine_queue_locked (struct engine *engine, const struct core_action *action)
{
  bool data = action->frame.type == WIRE_WRITE ||
    action->frame.type == WIRE_ZERO;
  struct out_frame *frame;

  if (data && (action->frame.flags & WIRE_RESYNC) == 0)
    frame = request_frame (engine, action);
  else {
    frame = control_frame (engine, action);
    if (action->frame.type == WIRE_WRITE) {
      struct engine_chunk *chunk = &engine->chunks[action->slot];

      frame->chunk = action->slot;
      frame->link.payload = chunk->data + action->frame.offset % MARKS_CHUNK;
      atomic_fetch_add (&chunk->frames_out, 1);
    }
  }
  if (action->frame.type == WIRE_PING) {
    engine->ping_token = action->frame.arg;
    engine->ping_us = latency_now_us ();
  }
  link_queue (engine->link, &frame->link);
  if (data && (action->frame.flags & WIRE_RESYNC) == 0 &&
      action->frame.payload_length <= ENGINE_GATHERED_BYTES)
    engine->gathered++;
  else
    engine->need_flush = true;
}

static void
measure_rtt_locked (struct engine *engine, uint64_t token)
{
  if (engine->ping_us == 0 || token != engine->ping_token)
    return;
  engine->rtt_us = latency_now_us () - engine->ping_us;
  engine->ping_us = 0;
  latency_add (&engine->rtt, engine->rtt_us);
}

/* -------------------------------------------------------------- chunks */

static bool
is_zero (const uint8_t *data, size_t length)
{
  return data[0] == 0 && memcmp (data, data + 1, length - 1) == 0;
}

static void
hash_block (const uint8_t *data, size_t length, uint8_t hash[WIRE_HASH])
{
  XXH128_canonical_t canonical;

  XXH128_canonicalFromHash (&canonical, XXH3_128bits (data, length));
  memcpy (hash, canonical.digest, WIRE_HASH);
}

/* Read the wanted blocks of a chunk, in as few reads as they are runs. */
static int
read_blocks (struct engine *engine, const struct core_action *action,
             uint8_t *data)
{
  uint64_t first = 0, last,
           blocks = (action->length + MARKS_BLOCK - 1) / MARKS_BLOCK;

  while (first < blocks) {
    uint64_t begin = first * MARKS_BLOCK, end;

    last = first;
    while (last < blocks && (action->blocks >> last & 1) != 0)
      last++;
    if (last == first) {
      first++;
      continue;
    }
    end = last * MARKS_BLOCK < action->length ? last * MARKS_BLOCK
                                              : action->length;
    if (store_read (engine->store, data + begin, action->offset + begin,
                    end - begin) == -1)
      return -1;
    first = last;
  }
  return 0;
}

void
engine_read_chunk (struct engine *engine, const struct core_action *action)
{
  struct engine_chunk *chunk = &engine->chunks[action->slot];
  struct core_event event = { .type = EV_CHUNK_DONE, .slot = action->slot };
  uint64_t i;

  if (read_blocks (engine, action, chunk->data) == -1)
    event.error = errno;
  for (i = 0; event.error == 0 && i * MARKS_BLOCK < action->length; i++) {
    const uint8_t *data = chunk->data + i * MARKS_BLOCK;
    uint64_t left = action->length - i * MARKS_BLOCK;
    size_t length = left < MARKS_BLOCK ? (size_t) left : MARKS_BLOCK;
    uint8_t hash[WIRE_HASH];

    if ((action->blocks >> i & 1) == 0)
      continue;
    if (action->compare) {
      hash_block (data, length, hash);
      if (memcmp (hash, chunk->hashes + i * WIRE_HASH, WIRE_HASH) == 0)
        continue;
    }
    event.blocks |= UINT64_C (1) << i;
    if (is_zero (data, length))
      event.zeros |= UINT64_C (1) << i;
  }
  engine_step (engine, &event);
}

/* The source asks for hashes of this node's blocks. */
static void
answer_hash (struct engine *engine, uint32_t link,
             const struct wire_frame *request)
{
  uint32_t blocks = (request->length + MARKS_BLOCK - 1) / MARKS_BLOCK, i;
  struct core_action action = { .link = link, .frame = *request };
  struct out_frame *frame;

  if (store_read (engine->store, engine->hash_buffer, request->offset,
                  request->length) == -1) {
    engine->rx_error = errno;
    return;
  }
  action.frame.type = WIRE_HASH_REPLY;
  action.frame.flags = 0;
  frame = new_frame (engine, &action, (size_t) blocks * WIRE_HASH);
  for (i = 0; i < blocks; i++) {
    uint32_t left = request->length - i * MARKS_BLOCK;

    hash_block (engine->hash_buffer + (size_t) i * MARKS_BLOCK,
                left < MARKS_BLOCK ? left : MARKS_BLOCK,
                (uint8_t *) (frame + 1) + (size_t) i * WIRE_HASH);
  }
  pthread_mutex_lock (&engine->lock);
  link_queue (engine->link, &frame->link);
  engine->need_flush = true;
  engine_unlock_and_send (engine);
}

/* ------------------------------------------------------------ receiving */

static void
on_up (void *opaque, uint32_t link)
{
  struct engine *engine = opaque;
  struct core_event event = { .type = EV_LINK_UP, .link = link };

  engine->rx_seq = 0;
  engine->rx_bytes = 0;
  engine->rx_frames = 0;
  engine->rx_error = 0;
  engine->rx_sync = false;
  pthread_mutex_lock (&engine->lock);
  engine->apply_seq = 0;
  engine->apply_link = link;
  engine->hash_wanted = false;
  engine->refused[0] = '\0';
  engine_step_locked (engine, &event);
  engine_unlock_and_send (engine);
}

static void
on_closing (void *opaque, uint32_t link)
{
  struct engine *engine = opaque;
  struct core_event event = { .type = EV_LINK_CLOSING, .link = link };

  engine_step (engine, &event);
}

static void
on_down (void *opaque, uint32_t link, const char *why, bool peer_closed)
{
  struct engine *engine = opaque;
  struct core_event event = { .type = EV_LINK_DOWN,
                              .link = link,
                              .peer_closed = peer_closed };
  struct core_view view;

  pthread_mutex_lock (&engine->lock);
  core_view (engine->core, &view);
  if (engine->dead_link == link)
    why = engine->dead_reason;
  if (!view.refused) /* else the state's line has said why */
    engine_log_once_locked (engine, "link to %s closed: %s",
                            engine->config.peer, why);
  engine_step_locked (engine, &event);
  engine_unlock_and_send (engine);
}

static void
on_connect_failed (void *opaque)
{
  struct engine *engine = opaque;
  struct core_event event = { .type = EV_CONNECT_FAILED };

  pthread_mutex_lock (&engine->lock);
  if (!engine->refused_again)
    engine->refused[0] = '\0';
  engine->refused_again = false;
  engine_step_locked (engine, &event);
  engine_unlock_and_send (engine);
}

static void
on_refused (void *opaque, const char *address, const char *why)
{
  struct engine *engine = opaque;

  pthread_mutex_lock (&engine->lock);
  engine->refused_again = true;
  snprintf (engine->refused, sizeof engine->refused, "no link with %s: %s",
            address, why);
  engine_log_once_locked (engine, "%s", engine->refused);
  pthread_mutex_unlock (&engine->lock);
}

/* Wait until the core lets the frame touch the store; LOCK is held.
 * False when its link was dropped, or this node's store failed, instead.
 */
static bool
may_apply_locked (struct engine *engine, uint32_t link, uint64_t seq)
{
  for (;;) {
    if (engine->dead_link == link || !core_takes_data (engine->core))
      return false;
    if (engine->apply_link == link && engine->apply_seq >= seq)
      return true;
    pthread_cond_wait (&engine->applied, &engine->lock);
  }
}

static void
apply (struct engine *engine, const struct wire_frame *frame,
       const uint8_t *payload)
{
  int r;

  if (frame->type == WIRE_WRITE)
    r = store_write (engine->store, payload, frame->offset, frame->length);
  else
    r = store_zero (engine->store, frame->offset, frame->length,
                    (frame->flags & WIRE_PUNCH) != 0, false);
  if (r == -1 && engine->rx_error == 0)
    engine->rx_error = errno;
  if (frame->type == WIRE_WRITE && (frame->flags & WIRE_RESYNC) != 0 &&
      frame->length >= ENGINE_WRITEBACK_BYTES)
    store_begin_writeback (engine->store, frame->offset, frame->length);
  engine->rx_seq = frame->seq;
  engine->rx_bytes += frame->length;
  engine->rx_frames++;
}

/* All that is there has been written: make it durable if any of it shall
 * be, and tell the core.
 */
static void
settle (struct engine *engine, uint32_t link)
{
  struct core_event event = { .type = EV_APPLIED, .link = link };

  if (engine->rx_error == 0 && engine->rx_sync &&
      store_sync (engine->store) == -1)
    engine->rx_error = errno;
  engine->rx_sync = false;
  event.seq = engine->rx_seq;
  event.error = engine->rx_error;
  engine->rx_frames = 0;
  engine->rx_bytes = 0;
  engine_step (engine, &event);
}

/* An ack has settled the only request there was, whose thread slept for
 * it, WOKEN.  If that happens again and again it is one client that writes,
 * waits and writes, and the next time the thread may receive its ack itself.
 */
static bool
may_step_aside (struct engine *engine, bool woken)
{
  uint64_t now_us = woken ? engine_now_us () : 0;
  uint64_t since_us = now_us - engine->lone_ack_us;

  engine->lone_ack_us = now_us;
  return woken && since_us < ENGINE_LONE_US;
}

static int
on_frame (void *opaque, uint32_t link, const struct wire_frame *frame,
          const uint8_t *payload, bool last)
{
  struct engine *engine = opaque;
  struct core_event event = {
    .type = EV_FRAME, .link = link, .frame = frame, .payload = payload
  };
  bool data = frame->type == WIRE_WRITE || frame->type == WIRE_ZERO;
  bool ack = wire_is_ack (frame->type);
  struct wire_hello hello;
  struct wire_frame hash;
  bool go = data, hash_wanted, lone;

  if (frame->type == WIRE_HELLO_FRAME || frame->type == WIRE_ADOPT) {
    if (wire_decode_hello (payload, frame->payload_length, &hello) != WIRE_OK)
      return -1;
    event.hello = &hello;
  }
  pthread_mutex_lock (&engine->lock);
  if (frame->type == WIRE_HASH_REPLY && core_hash_wanted (engine->core, frame))
    memcpy (engine->chunks[frame->arg].hashes, payload, frame->payload_length);
  if (frame->type == WIRE_PONG)
    measure_rtt_locked (engine, frame->arg);
  engine->hash_wanted = false;
  lone = ack && engine->free_request_count == CORE_REQUESTS_MAX - 1;
  engine_step_locked (engine, &event);
  lone = lone && engine->woken_count > 0;
  hash_wanted = engine->hash_wanted;
  hash = engine->hash_frame;
  if (data) {
    if (engine->need_flush || engine->woken_count > 0) {
      engine_unlock_and_send (engine);
      pthread_mutex_lock (&engine->lock);
    }
    go = may_apply_locked (engine, link, frame->seq);
    engine->rx_sync |= go && engine->apply_sync;
  }
  engine_unlock_and_send (engine);
  if (hash_wanted)
    answer_hash (engine, link, &hash);
  if (go)
    apply (engine, frame, payload);
  if (engine->rx_error != 0 ||
      (engine->rx_frames > 0 &&
       (last || engine->rx_frames >= ENGINE_SYNC_FRAMES ||
        engine->rx_bytes >= ENGINE_SYNC_BYTES)))
    settle (engine, link);
  /* Who asks and does not read would have us keep the answers (I9). */
  if (atomic_load (&engine->unread) > ENGINE_UNREAD_MAX)
    return -1;
  return ack && may_step_aside (engine, lone) ? LINK_ASIDE : 0;
}

const struct link_callbacks engine_link_callbacks = {
  .up = on_up,
  .closing = on_closing,
  .down = on_down,
  .connect_failed = on_connect_failed,
  .refused = on_refused,
  .frame = on_frame,
};
