/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-core.h: a core in a small world, for fuzz-core.c: everything that
 * the engine does for a core is done at once, or when the input says so.
 * The engine's promises (core.h) are kept here; the peer keeps none.
 *
 * After each step the invariants of the core are looked at, and what it
 * asks for: is it something that the engine can do?
 */
#ifndef DUET_FUZZ_CORE_H
#define DUET_FUZZ_CORE_H

#include <errno.h>

#include "core.h"
#include "fuzz.h"
#include "marks.h"
#include "meta.h"

enum {
  WORLD_REQUESTS = 64, /* slots in use; the core has more */
  WORLD_CONNS = 16,
  WORLD_PENDING = 4096,
  WORLD_FRAMES = 8192, /* data frames in, at least CORE_SENT_MAX */
  WORLD_BEAT_MS = 100,
  WORLD_DEAD_MS = 500,
  WORLD_SIZE_MAX = 64 * 1024 * 1024, /* bytes: nothing grows beyond */
};

struct world_request {
  bool used, local;
  uint32_t conn;
  uint64_t offset, length;
};

enum world_conn { WORLD_FREE, WORLD_OPENING, WORLD_OPEN, WORLD_ENDED };

struct world {
  struct core *core;
  uint64_t now_ms, random, size;
  uint32_t pages;

  uint32_t link; /* number of the newest */
  bool up;       /* from EV_LINK_UP to EV_LINK_DOWN */
  bool ended;    /* no further frame comes; EV_LINK_DOWN is due */
  bool dropped;  /* by the core */
  bool dialing;

  /* Events that are due: the engine's work is done. */
  bool held; /* until the input says so */
  uint32_t pending_count;
  bool record_busy, map_busy, chunk_busy[CORE_CHUNKS_MAX];
  bool chunk_queued[CORE_CHUNKS_MAX]; /* EV_CHUNK_FREE is due */

  struct world_request requests[WORLD_REQUESTS];
  enum world_conn conns[WORLD_CONNS];
  uint32_t conn_requests[WORLD_CONNS];

  /* This link, as the peer sees it. */
  uint64_t in_seq, named_seq; /* data frames to the core */
  uint64_t out_seq;           /* data frames from the core */
  uint64_t ping;
  uint32_t wishes, wish_slot; /* unanswered; the next one */
  uint64_t marks_in;          /* pages sent to the core */
  struct wire_frame hash_request;
  struct wire_hello peer; /* the last hello to the core */

  /* From here on nothing is cleared when a world begins. */
  struct core_event pending[WORLD_PENDING];
  struct {
    uint64_t offset, length;
  } in[WORLD_FRAMES];
};

/* ------------------------------------------------------------- actions */

static inline void
world_due (struct world *world, struct core_event event)
{
  assert (world->pending_count < WORLD_PENDING);
  world->pending[world->pending_count++] = event;
}

static inline void
world_complete (struct world *world, const struct core_action *action)
{
  struct world_request *request = &world->requests[action->slot];

  assert (action->slot < WORLD_REQUESTS);
  assert (request->used);
  assert (!request->local);
  request->used = false;
  world->conn_requests[request->conn]--;
}

/* What the engine would put on the wire must be readable there. */
static inline void
world_check_frame (struct world *world, const struct core_action *action)
{
  struct wire_frame frame = action->frame, read;
  uint8_t header[WIRE_HEADER], payload[WIRE_HELLO];
  struct wire_hello hello;

  if (frame.type == WIRE_HELLO_FRAME || frame.type == WIRE_ADOPT) {
    frame.payload_length = WIRE_HELLO;
    wire_encode_hello (core_hello (world->core), payload);
    assert (wire_decode_hello (payload, WIRE_HELLO, &hello) == WIRE_OK);
  }
  wire_encode (&frame, header);
  assert (wire_decode (header, &read) == WIRE_OK);
  if (frame.type == WIRE_MARKS)
    assert (frame.offset < world->pages && frame.arg == world->pages);
}

static inline void
world_check_data (struct world *world, const struct core_action *action)
{
  const struct wire_frame *frame = &action->frame;

  assert (frame->seq == world->out_seq + 1);
  assert (frame->offset + frame->length <= world->size);
  world->out_seq = frame->seq;
  if (frame->flags & WIRE_RESYNC) {
    assert (action->slot < CORE_CHUNKS_MAX);
    assert (!world->chunk_busy[action->slot]);
    if (frame->type == WIRE_WRITE && !world->chunk_queued[action->slot]) {
      world->chunk_queued[action->slot] = true;
      world_due (
        world,
        (struct core_event){ .type = EV_CHUNK_FREE, .slot = action->slot });
    }
  }
  else {
    const struct world_request *request = &world->requests[action->slot];

    assert (action->slot < WORLD_REQUESTS);
    assert (request->used);
    assert (frame->offset >= request->offset);
    assert (frame->offset + frame->length <= request->offset + request->length);
  }
}

static inline void
world_send (struct world *world, const struct core_action *action)
{
  const struct wire_frame *frame = &action->frame;

  if (!world->up || action->link != world->link)
    return;
  world_check_frame (world, action);
  if (frame->type == WIRE_WRITE || frame->type == WIRE_ZERO)
    world_check_data (world, action);
  else if (frame->type == WIRE_PING)
    world->ping = frame->arg;
  else if (frame->type == WIRE_HASH_REQUEST)
    world->hash_request = *frame;
}

static inline void
world_apply (struct world *world, const struct core_action *action)
{
  uint64_t at = action->seq % WORLD_FRAMES;

  assert (world->up && action->link == world->link);
  assert (action->seq == world->named_seq + 1);
  assert (action->seq <= world->in_seq);
  assert (world->in[at].offset + world->in[at].length <= world->size);
  world->named_seq = action->seq;
  world_due (world,
             (struct core_event){
               .type = EV_APPLIED, .link = action->link, .seq = action->seq });
}

static inline void
world_persist (struct world *world, const struct core_action *action)
{
  uint8_t slot[META_SLOT];

  if (action->type == ACT_PERSIST_SB) {
    assert (!world->record_busy);
    world->record_busy = true;
    /* It asserts that the next start can read it. */
    meta_encode (core_record (world->core), 1, slot);
    world_due (
      world,
      (struct core_event){ .type = EV_SB_DURABLE, .version = action->version });
    return;
  }
  assert (!world->map_busy);
  assert (action->first <= action->last && action->last < world->pages);
  world->map_busy = true;
  world_due (world, (struct core_event){ .type = EV_MAP_DURABLE });
}

/* It ends well unless the input says otherwise, or it is too large. */
static inline void
world_grow (struct world *world, const struct core_action *action)
{
  assert (action->length >= core_record (world->core)->size);
  world_due (world,
             (struct core_event){ .type = EV_GROWN, .bytes = action->length });
}

static inline void
world_grown (struct world *world, struct core_event *event)
{
  const struct gen_record *record = core_record (world->core);
  uint64_t size = event->bytes;

  if (event->error == 0 && size > WORLD_SIZE_MAX)
    event->error = E2BIG;
  event->bytes = event->error == ENOSPC ? record->size : 0;
  if (event->error != 0 || size == record->size)
    return;
  event->room = marks_new (size, record->region_size);
  world->size = size;
  world->pages = marks_pages (event->room);
}

static inline void
world_chunk (struct world *world, const struct core_action *action)
{
  assert (action->slot < CORE_CHUNKS_MAX);
  assert (!world->chunk_busy[action->slot]);
  assert (!world->chunk_queued[action->slot]);
  assert (action->length > 0 && action->length <= MARKS_CHUNK);
  assert (action->offset + action->length <= world->size);
  world->chunk_busy[action->slot] = true;
  world_due (world,
             (struct core_event){ .type = EV_CHUNK_DONE,
                                  .slot = action->slot,
                                  .blocks = action->blocks & world->random,
                                  .zeros = action->blocks & world->random &
                                    world->random >> 3 });
}

/* The peer hangs up, or its bytes make no sense, or the core drops it. */
static inline void
world_hang_up (struct world *world)
{
  if (!world->up || world->ended)
    return;
  world->ended = true;
  world_due (world,
             (struct core_event){ .type = EV_LINK_DOWN, .link = world->link });
}

static inline void
world_drop (struct world *world, const struct core_action *action)
{
  assert (world->up && action->link == world->link);
  assert (!world->dropped);
  world->dropped = true;
  world_hang_up (world);
}

static inline void
world_act (struct world *world, const struct core_action *action)
{
  switch (action->type) {
  case ACT_LOCAL:
    assert (action->slot < WORLD_REQUESTS);
    assert (world->requests[action->slot].used);
    assert (!world->requests[action->slot].local);
    world->requests[action->slot].local = true;
    world_due (
      world,
      (struct core_event){ .type = EV_LOCAL_DONE, .slot = action->slot });
    break;
  case ACT_COMPLETE: world_complete (world, action); break;
  case ACT_OPEN_DONE:
    assert (world->conns[action->slot] == WORLD_OPENING);
    world->conns[action->slot] = action->error != 0 ? WORLD_FREE : WORLD_OPEN;
    break;
  case ACT_CONN_ENDED:
    assert (world->conns[action->slot] == WORLD_OPEN);
    world->conns[action->slot] = WORLD_ENDED;
    break;
  case ACT_SEND: world_send (world, action); break;
  case ACT_APPLY: world_apply (world, action); break;
  case ACT_HASH:
    assert (action->frame.length <= MARKS_CHUNK);
    assert (action->frame.offset + action->frame.length <= world->size);
    break;
  case ACT_PERSIST_SB:
  case ACT_PERSIST_MAP: world_persist (world, action); break;
  case ACT_SYNC_STORE:
    world_due (world,
               (struct core_event){ .type = EV_STORE_SYNCED,
                                    .version = action->version });
    break;
  case ACT_GROW: world_grow (world, action); break;
  case ACT_CHUNK: world_chunk (world, action); break;
  case ACT_CONNECT: world->dialing = true; break;
  case ACT_DROP_LINK: world_drop (world, action); break;
  case ACT_STATE: assert (action->reason != NULL); break;
  case ACT_ADMIN_DONE:
    assert (world->wishes > 0);
    assert (action->slot < world->wish_slot);
    assert ((action->error == 0) == (action->reason == NULL));
    world->wishes--;
    break;
  case ACT_KEY_READ:
  case ACT_KEY_CAS:                     /* no etcd in this world */
  case ACT_FLUSH_STORE: assert (false); /* durability=write */
  }
}

/* ---------------------------------------------------------------- steps */

static inline void
world_step (struct world *world, struct core_event event)
{
  const struct core_actions *actions;
  unsigned rounds = 0;
  uint32_t i;

  do {
    assert (++rounds < 100);
    world->random = world->random * UINT64_C (6364136223846793005) + 1;
    event.now_ms = world->now_ms;
    event.random = world->random;
    actions = core_step (world->core, &event);
    for (i = 0; i < actions->count; i++)
      world_act (world, &actions->list[i]);
    core_check (world->core);
    event = (struct core_event){ .type = EV_TICK };
  } while (actions->more);
}

/* The link is gone for good: frames of it that were not applied yet are
 * dropped before the core hears of it.
 */
static inline void
world_forget_link (struct world *world)
{
  uint32_t i, kept = 0;

  for (i = 0; i < world->pending_count; i++) {
    const struct core_event *event = &world->pending[i];

    if (event->type != EV_APPLIED && event->type != EV_LINK_DOWN)
      world->pending[kept++] = *event;
  }
  world->pending_count = kept;
  world->up = false;
}

/* The engine has done what it was asked as number I; ERROR is an errno,
 * FATAL says that an fdatasync failed.
 */
static inline void
world_finish (struct world *world, uint32_t i, int error, bool fatal)
{
  struct core_event event = world->pending[i];

  memmove (&world->pending[i], &world->pending[i + 1],
           (world->pending_count - i - 1) * sizeof event);
  world->pending_count--;
  event.error = error;
  event.fatal = error != 0 && fatal;
  switch (event.type) {
  case EV_LOCAL_DONE: world->requests[event.slot].local = false; break;
  case EV_SB_DURABLE: world->record_busy = false; break;
  case EV_MAP_DURABLE: world->map_busy = false; break;
  case EV_CHUNK_DONE: world->chunk_busy[event.slot] = false; break;
  case EV_GROWN: world_grown (world, &event); break;
  case EV_CHUNK_FREE:
    world->chunk_queued[event.slot] = false;
    event.error = 0;
    break;
  case EV_LINK_DOWN:
    event.error = 0;
    world_forget_link (world);
    break;
  default: break;
  }
  world_step (world, event);
}

/* All that is due, in order, unless the input holds it back. */
static inline void
world_settle (struct world *world)
{
  unsigned rounds = 0;

  while (!world->held && world->pending_count > 0) {
    assert (++rounds < 100000);
    world_finish (world, 0, 0, false);
  }
}

static inline void
world_connect (struct world *world)
{
  if (world->up)
    return;
  world->up = true;
  world->ended = world->dropped = world->dialing = false;
  world->link++;
  world->in_seq = world->named_seq = world->out_seq = 0;
  world->ping = world->marks_in = 0;
  world->hash_request = (struct wire_frame){ 0 };
  world_step (world,
              (struct core_event){ .type = EV_LINK_UP, .link = world->link });
}

static inline void
world_close (struct world *world, uint32_t conn)
{
  if (world->conns[conn] != WORLD_OPEN && world->conns[conn] != WORLD_ENDED)
    return;
  if (world->conn_requests[conn] > 0)
    return;
  world->conns[conn] = WORLD_FREE;
  world_step (world, (struct core_event){ .type = EV_CLOSE, .slot = conn });
}

/* ------------------------------------------------------------------ end */

static inline bool
world_opening (const struct world *world)
{
  uint32_t i;

  for (i = 0; i < WORLD_CONNS; i++)
    if (world->conns[i] == WORLD_OPENING)
      return true;
  return false;
}

/* The peer is gone: whoever opens gets an answer in time. */
static inline void
world_wait (struct world *world)
{
  uint64_t end_ms = world->now_ms + WORLD_DEAD_MS + 1000 + 1, deadline;
  unsigned rounds = 0;

  while (world->now_ms < end_ms && world_opening (world)) {
    assert (++rounds < 1000);
    if (world->dialing) {
      world->dialing = false;
      world_step (world, (struct core_event){ .type = EV_CONNECT_FAILED });
    }
    world_settle (world);
    deadline = core_deadline (world->core);
    if (deadline > world->now_ms)
      world->now_ms = deadline < end_ms ? deadline : end_ms;
    world_step (world, (struct core_event){ .type = EV_TICK });
    world_settle (world);
  }
  assert (!world_opening (world));
}

/* The node is stopped: everything ends. */
static inline void
world_end (struct world *world)
{
  uint32_t i;

  world->held = false;
  world_settle (world);
  world_hang_up (world);
  world_settle (world);
  assert (!world->up);
  world_wait (world);
  world_step (world, (struct core_event){ .type = EV_STOP });
  world_settle (world);
  for (i = 0; i < WORLD_REQUESTS; i++)
    assert (!world->requests[i].used);
  for (i = 0; i < WORLD_CONNS; i++) {
    assert (world->conns[i] == WORLD_FREE || world->conns[i] == WORLD_ENDED);
    world_close (world, i);
  }
}

#endif /* DUET_FUZZ_CORE_H */
