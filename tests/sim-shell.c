/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-shell.c: carries out what the core asks for, each thing after a
 * delay of its own and in any order that the contract of core.h allows;
 * only frames keep their order.  Writes and reads of more than one
 * cell happen in two parts, so that a missing lock shows.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sim.h"

static uint32_t *
copy_tags (struct sim *sim, const uint32_t *tags, uint32_t count)
{
  uint32_t *copy = sim_alloc (sim, count * sizeof *copy);

  memcpy (copy, tags, count * sizeof *copy);
  return copy;
}

/* --- a request's local part --------------------------------------------- */

static void
local_done (struct sim *sim, struct node *node, uint32_t number, int error)
{
  struct core_event event = { .type = EV_LOCAL_DONE,
                              .slot = number,
                              .error = error };
  struct slot *slot = &node->slots[number];

  slot->local = false;
  if (sim->ops[slot->op].kind != OP_READ)
    node->local_writes--;
  node_step (sim, node, &event);
}

/* store.c reads no page cache whose fdatasync has failed. */
bool
store_read_fails (const struct node *node)
{
  return node->disk.fail_read || node->disk.sync_failed;
}

static void
local_part (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct slot *slot = &node->slots[event->a];
  const struct op *op = &sim->ops[slot->op];
  uint32_t from = event->b;
  uint32_t to = (uint32_t) event->c;
  struct sim_event rest = *event;
  bool write = op->kind != OP_READ;

  if (write ? node->disk.fail_write : store_read_fails (node)) {
    local_done (sim, node, event->a,
                write && node->disk.fail_space ? ENOSPC : EIO);
    return;
  }
  if (write)
    disk_write (sim, node->index, op->first + from, to - from,
                op->values + from);
  else
    memcpy (slot->tags + from, node->disk.cache + op->first + from,
            (to - from) * sizeof (uint32_t));
  if (to < op->count) {
    rest.b = to;
    rest.c = op->count;
    sim_after (sim, sim_below (sim, 60) + node->disk.slow_us / 4, rest);
  }
  else if (slot->durable)
    node_wait_sync (sim, node, (struct waiter){ WAIT_LOCAL, event->a, 0 });
  else
    local_done (sim, node, event->a, 0);
}

static void
act_local (struct sim *sim, struct node *node, const struct core_action *action)
{
  uint32_t number = action->slot;
  struct slot *slot = &node->slots[number];
  const struct op *op = &sim->ops[slot->op];
  struct sim_event event = node_event (node, local_part);

  slot->local = true;
  slot->durable = action->durable;
  if (op->kind == OP_READ)
    slot->tags = sim_alloc (sim, op->count * sizeof *slot->tags);
  else
    node->local_writes++;
  event.a = number;
  event.c = sim_below (sim, op->count + 1);
  sim_after (sim, sim_delay (sim, 30) + node->disk.slow_us / 4, event);
}

static void
act_complete (struct sim *sim, struct node *node,
              const struct core_action *action)
{
  struct slot *slot = &node->slots[action->slot];
  struct nbd *nbd = slot->nbd;
  uint32_t op = slot->op;
  uint32_t *tags = action->error == 0 ? slot->tags : NULL;

  *slot = (struct slot){ .used = false };
  if (nbd != NULL) {
    /* A step may answer and then begin the next generation. */
    nbd_reply (sim, nbd, op, action->error, node->gen_before, tags);
    nbd_request_ended (sim, nbd);
  }
}

void
shell_read_freely (struct sim *sim, struct node *node, uint32_t number)
{
  const struct core_action answer = { .type = ACT_COMPLETE, .slot = number };
  struct slot *slot = &node->slots[number];
  const struct op *op = &sim->ops[slot->op];

  slot->tags = sim_alloc (sim, op->count * sizeof *slot->tags);
  memcpy (slot->tags, node->disk.cache + op->first,
          op->count * sizeof *slot->tags);
  node->data_before = core_record (node->core)->data;
  node->gen_before = gen_current (core_record (node->core));
  sim_mix (sim, number * 2 + (uint64_t) node->index);
  check_action (sim, node, &answer);
  shell_act (sim, node, &answer);
}

/* --- metadata and store ------------------------------------------------- */

static void
record_durable (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct core_event done = { .type = EV_SB_DURABLE, .version = event->c };

  node->record_busy = false;
  if (node->disk.fail_meta)
    done.error = EIO;
  else {
    resize_record (sim, node, &node->record_next);
    node->disk.record = node->record_next;
  }
  check_map (sim);
  node_step (sim, node, &done);
}

static void
act_persist_record (struct sim *sim, struct node *node,
                    const struct core_action *action)
{
  struct sim_event event = node_event (node, record_durable);

  if (node->record_busy)
    sim_fail (sim, "two superblock writes at once at %c", 'A' + node->index);
  node->record_busy = true;
  node->record_next = *core_record (node->core);
  check_record (sim, node->index, &node->record_next);
  event.c = action->version;
  sim_after (sim, sim_delay (sim, 300) + node->disk.slow_us, event);
}

static void
map_durable (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct core_event done = { .type = EV_MAP_DURABLE };

  node->map_busy = false;
  if (node->disk.fail_meta)
    done.error = EIO;
  else
    memcpy (node->disk.map, node->map_next, sizeof node->disk.map);
  check_map (sim);
  node_step (sim, node, &done);
}

static void
act_persist_map (struct sim *sim, struct node *node,
                 const struct core_action *action)
{
  if (node->map_busy || action->first != 0 || action->last != 0)
    sim_fail (sim, "bad or doubled map write at %c", 'A' + node->index);
  node->map_busy = true;
  memcpy (node->map_next, core_map_page (node->core, 0), sizeof node->map_next);
  sim_after (sim, sim_delay (sim, 300) + node->disk.slow_us,
             node_event (node, map_durable));
}

/* --- resync ------------------------------------------------------------- */

static void
chunk_free (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct chunk_buffer *chunk = &node->chunks[event->a];
  struct core_event done = { .type = EV_CHUNK_FREE, .slot = event->a };

  assert (chunk->done && chunk->queued > 0);
  if (--chunk->queued == 0)
    node_step (sim, node, &done);
}

static uint32_t
block_cells (const struct chunk_buffer *chunk, uint32_t block)
{
  uint32_t left = chunk->count - block * SIM_BLOCK_CELLS;

  return left < SIM_BLOCK_CELLS ? left : SIM_BLOCK_CELLS;
}

/* Which of the blocks that were read differ from the peer's hashes? */
static void
compare_chunk (struct chunk_buffer *chunk, uint64_t offset, uint64_t *blocks,
               uint64_t *zeros)
{
  uint32_t b, i, s;
  bool differs, zero;

  *blocks = *zeros = 0;
  for (b = 0; b * SIM_BLOCK_CELLS < chunk->count; b++) {
    if (!(chunk->blocks >> b & 1))
      continue;
    differs = !chunk->compare;
    zero = true;
    for (i = 0; i < block_cells (chunk, b); i++) {
      s = b * SIM_BLOCK_CELLS + i;
      if (tag_value (chunk->tags[s]) != 0)
        zero = false;
      if (chunk->compare &&
          tag_value (chunk->tags[s]) !=
            chunk->hashes[s - cells_in (offset, chunk->hashes_offset - offset)])
        differs = true;
    }
    if (differs)
      *blocks |= UINT64_C (1) << b;
    if (differs && zero)
      *zeros |= UINT64_C (1) << b;
  }
}

static void
chunk_done (struct sim *sim, struct node *node, uint32_t number, int error)
{
  struct chunk_buffer *chunk = &node->chunks[number];
  struct core_event done = { .type = EV_CHUNK_DONE,
                             .slot = number,
                             .error = error };

  if (error == 0)
    compare_chunk (chunk, cell_offset (chunk->first), &done.blocks,
                   &done.zeros);
  chunk->done = true;
  node_step (sim, node, &done);
}

static void
chunk_part (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct chunk_buffer *chunk = &node->chunks[event->a];
  struct sim_event rest = *event;
  uint32_t from = event->b, to = (uint32_t) event->c;

  if (store_read_fails (node)) {
    chunk_done (sim, node, event->a, EIO);
    return;
  }
  memcpy (chunk->tags + from, node->disk.cache + chunk->first + from,
          (to - from) * sizeof (uint32_t));
  if (to == chunk->count) {
    chunk_done (sim, node, event->a, 0);
    return;
  }
  rest.b = to;
  rest.c = chunk->count;
  sim_after (sim, sim_below (sim, 200) + node->disk.slow_us / 4, rest);
}

static void
act_chunk (struct sim *sim, struct node *node, const struct core_action *action)
{
  struct chunk_buffer *chunk = &node->chunks[action->slot];
  struct sim_event event = node_event (node, chunk_part);

  if (chunk->queued > 0 || (chunk->count > 0 && !chunk->done))
    sim_fail (sim, "chunk buffer %u is used twice", action->slot);
  if (action->offset % MARKS_CHUNK != 0)
    sim_fail (sim, "a chunk begins inside a chunk");
  chunk->done = false;
  chunk->first = cell_at (action->offset);
  chunk->count = cells_in (action->offset, action->length);
  chunk->blocks = action->blocks;
  chunk->compare = action->compare;
  chunk->tags = sim_alloc (sim, chunk->count * sizeof *chunk->tags);
  if (chunk->compare && chunk->hashes == NULL)
    sim_fail (sim, "a chunk is compared without hashes");
  event.a = action->slot;
  event.c = sim_below (sim, chunk->count + 1);
  sim_after (sim, sim_delay (sim, 100) + node->disk.slow_us / 4, event);
}

void
shell_hash (struct sim *sim, struct node *node, const struct wire_frame *frame)
{
  struct packet *reply = sim_alloc (sim, sizeof *reply);
  uint32_t i, count = cells_in (frame->offset, frame->length);

  if (node->pipe == NULL)
    return;
  reply->frame.type = WIRE_HASH_REPLY;
  reply->frame.offset = frame->offset;
  reply->frame.length = frame->length;
  reply->frame.arg = frame->arg;
  reply->frame.payload_length = (count + SIM_BLOCK_CELLS - 1) /
    SIM_BLOCK_CELLS * WIRE_HASH;
  reply->tags = copy_tags (sim, node->disk.cache + cell_at (frame->offset),
                           count);
  for (i = 0; i < count; i++)
    reply->tags[i] = tag_value (reply->tags[i]);
  link_put (sim, node, node->pipe->id, reply);
}

/* --- link --------------------------------------------------------------- */

/* The contents that a data frame carries, by the frame's own rules. */
static uint32_t *
frame_tags (struct sim *sim, struct node *node,
            const struct core_action *action)
{
  const struct wire_frame *frame = &action->frame;
  uint32_t first = cell_at (frame->offset), i;
  uint32_t count = cells_in (frame->offset, frame->length);
  const struct op *op;
  struct chunk_buffer *chunk;
  struct sim_event freed = node_event (node, chunk_free);
  uint32_t *tags;

  if (frame->flags & WIRE_RESYNC) {
    chunk = &node->chunks[action->slot];
    if (!chunk->done || first < chunk->first ||
        first + count > chunk->first + chunk->count)
      sim_fail (sim, "a resync frame outside its chunk");
    tags = copy_tags (sim, chunk->tags + (first - chunk->first), count);
    if (frame->type == WIRE_WRITE) {
      chunk->queued++;
      freed.a = action->slot;
      sim_after (sim, sim_delay (sim, 100), freed);
    }
  }
  else {
    op = &sim->ops[node->slots[action->slot].op];
    if (!node->slots[action->slot].used || first < op->first ||
        first + count > op->first + op->count)
      sim_fail (sim, "a write frame outside its request");
    tags = copy_tags (sim, op->values + (first - op->first), count);
  }
  if (frame->type == WIRE_ZERO)
    for (i = 0; i < count; i++)
      if (tag_value (tags[i]) != 0)
        tags[i] = TAG_ZERO;
  return tags;
}

static void
act_send (struct sim *sim, struct node *node, const struct core_action *action)
{
  struct packet *packet = sim_alloc (sim, sizeof *packet);

  packet->frame = action->frame;
  switch (action->frame.type) {
  case WIRE_WRITE:
  case WIRE_ZERO: packet->tags = frame_tags (sim, node, action); break;
  case WIRE_HELLO_FRAME:
  case WIRE_ADOPT:
    packet->hello = sim_alloc (sim, sizeof *packet->hello);
    *packet->hello = *core_hello (node->core);
    break;
  case WIRE_MARKS:
    packet->payload = sim_alloc (sim, MARKS_PAGE_BYTES);
    memcpy (packet->payload,
            core_map_page (node->core, (uint32_t) action->frame.offset),
            MARKS_PAGE_BYTES);
    break;
  case WIRE_CLEAR:
    packet->payload = sim_alloc (sim, WIRE_REGIONS_MAX * 8);
    memcpy (packet->payload, core_clear (node->core), WIRE_REGIONS_MAX * 8);
    break;
  default: break;
  }
  link_put (sim, node, action->link, packet);
}

static void
act_apply (struct sim *sim, struct node *node, const struct core_action *action)
{
  struct packet **at, *packet;
  struct job *job = sim_alloc (sim, sizeof *job);

  if (node->pipe == NULL || node->pipe->id != action->link)
    sim_fail (sim, "I8: %c applies a frame of a dead link", 'A' + node->index);
  if (action->type == ACT_APPLY) {
    for (at = &node->held; *at != NULL; at = &(*at)->next)
      if ((*at)->frame.seq == action->seq)
        break;
    if (*at == NULL)
      sim_fail (sim, "frame %llu is named but not held",
                (unsigned long long) action->seq);
    packet = *at;
    *at = packet->next;
    packet->next = NULL;
  }
  else {
    packet = sim_alloc (sim, sizeof *packet);
    packet->frame = action->frame;
  }
  job->durable = action->durable;
  if (node->pipe->end[node->index].state != PIPE_UP)
    return;
  job->packet = packet;
  if (node->jobs_tail != NULL)
    node->jobs_tail->next = job;
  else
    node->jobs = job;
  node->jobs_tail = job;
  node_worker (sim, node);
}

static void
act_drop_link (struct sim *sim, struct node *node, uint32_t link)
{
  if (node->pipe != NULL && node->pipe->id == link &&
      node->pipe->end[node->index].state == PIPE_UP)
    link_close (sim, node, false);
}

/* --- client connections ------------------------------------------------- */

static void
act_conn (struct sim *sim, struct node *node, const struct core_action *action)
{
  struct nbd *nbd = node->conns[action->slot];

  assert (nbd != NULL);
  if (action->type == ACT_CONN_ENDED) {
    nbd->ended = true;
    if (sim_chance (sim, 2))
      nbd_server_hangs_up (sim, nbd);
    return;
  }
  if (action->error != 0)
    node->conns[action->slot] = NULL;
  else
    resize_shown (sim, node, nbd);
  nbd_opened (sim, nbd, action->error, gen_current (core_record (node->core)));
}

/* --- one action --------------------------------------------------------- */

/* Heartbeats would drown the rest of a trace. */
static bool
is_beat (uint8_t type)
{
  return type == WIRE_PING || type == WIRE_PONG;
}

static void
trace_action (struct sim *sim, const struct node *node,
              const struct core_action *action)
{
#define NAME(name) [name] = #name,
  static const char *const names[] = {
    NAME (ACT_LOCAL) NAME (ACT_COMPLETE) NAME (ACT_OPEN_DONE)
      NAME (ACT_CONN_ENDED) NAME (ACT_SEND) NAME (ACT_APPLY) NAME (ACT_HASH)
        NAME (ACT_PERSIST_SB) NAME (ACT_PERSIST_MAP) NAME (ACT_SYNC_STORE)
          NAME (ACT_CHUNK) NAME (ACT_CONNECT) NAME (ACT_DROP_LINK)
            NAME (ACT_STATE) NAME (ACT_ADMIN_DONE) NAME (ACT_KEY_READ)
              NAME (ACT_KEY_CAS) NAME (ACT_FLUSH_STORE) NAME (ACT_GROW)
  };
#undef NAME
  const struct wire_frame *f = &action->frame;
  struct core_view view;

  if (action->type == ACT_SEND && is_beat (f->type))
    return;
  if (action->type == ACT_SEND)
    sim_trace (sim,
               "%c    %s %s seq %llu at %llu+%u arg %llu link %u"
               " slot %u",
               'A' + node->index, names[action->type], wire_type_name (f->type),
               (unsigned long long) f->seq, (unsigned long long) f->offset,
               f->length, (unsigned long long) f->arg, action->link,
               action->slot);
  else if (action->type == ACT_STATE) {
    core_view (node->core, &view);
    sim_trace (sim, "%c    STATE %s: %s (epoch %llu, data %s, %s)",
               'A' + node->index, core_state_name (view.state), view.reason,
               (unsigned long long) gen_current (&view.record).epoch,
               gen_data_name (view.record.data),
               view.record.both ? "both" : "alone");
  }
  else
    sim_trace (sim, "%c    %s slot %u error %d seq %llu version %llu %s",
               'A' + node->index, names[action->type], action->slot,
               action->error, (unsigned long long) action->seq,
               (unsigned long long) action->version,
               action->reason != NULL ? action->reason : "");
}

void
shell_trace_event (struct sim *sim, const struct node *node,
                   const struct core_event *event)
{
  static const char *const names[] = {
    "start",          "tick",         "open",          "close",
    "request",        "local-done",   "link-up",       "link-down",
    "connect-failed", "frame",        "applied",       "sb-durable",
    "map-durable",    "store-synced", "chunk-done",    "chunk-free",
    "hangup",         "stop",         "store-short",   "admin",
    "link-closing",   "arbiter",      "store-flushed", "grown",
  };

  if (!sim_tracing (sim) || event->type == EV_TICK ||
      (event->type == EV_FRAME && is_beat (event->frame->type)))
    return;
  if (event->type == EV_FRAME)
    sim_trace (sim, "%c frame %s seq %llu at %llu+%u arg %llu link %u",
               'A' + node->index, wire_type_name (event->frame->type),
               (unsigned long long) event->frame->seq,
               (unsigned long long) event->frame->offset, event->frame->length,
               (unsigned long long) event->frame->arg, event->link);
  else if (event->type == EV_OPEN)
    sim_trace (sim, "%c open conn %u client %llx session %llu shown %llu%s",
               'A' + node->index, event->slot,
               (unsigned long long) event->open.client,
               (unsigned long long) event->open.session,
               (unsigned long long) event->open.shown.epoch,
               event->open.unreachable ? " unreachable" : "");
  else if (event->type == EV_REQUEST)
    sim_trace (sim, "%c request %u op %u conn %u kind %d at %llu+%llu",
               'A' + node->index, event->slot, node->slots[event->slot].op + 1,
               event->request.conn, event->request.kind,
               (unsigned long long) event->request.offset,
               (unsigned long long) event->request.length);
  else
    sim_trace (sim,
               "%c %s slot %u link %u seq %llu error %d version %llu"
               " blocks %llx",
               'A' + node->index, names[event->type], event->slot, event->link,
               (unsigned long long) event->seq, event->error,
               (unsigned long long) event->version,
               (unsigned long long) event->blocks);
}

void
shell_act (struct sim *sim, struct node *node, const struct core_action *action)
{
  if (sim_tracing (sim))
    trace_action (sim, node, action);
  switch (action->type) {
  case ACT_LOCAL: act_local (sim, node, action); break;
  case ACT_COMPLETE: act_complete (sim, node, action); break;
  case ACT_OPEN_DONE:
  case ACT_CONN_ENDED: act_conn (sim, node, action); break;
  case ACT_SEND: act_send (sim, node, action); break;
  case ACT_APPLY:
  case ACT_HASH: act_apply (sim, node, action); break;
  case ACT_PERSIST_SB: act_persist_record (sim, node, action); break;
  case ACT_PERSIST_MAP: act_persist_map (sim, node, action); break;
  case ACT_SYNC_STORE:
    node_wait_sync (sim, node,
                    (struct waiter){ WAIT_STORE, 0, action->version });
    break;
  case ACT_FLUSH_STORE:
    node_wait_sync (sim, node,
                    (struct waiter){ WAIT_FLUSH, 0, action->version });
    break;
  case ACT_GROW: resize_act (sim, node, action); break;
  case ACT_CHUNK: act_chunk (sim, node, action); break;
  case ACT_CONNECT: link_dial (sim, node, action->version); break;
  case ACT_DROP_LINK: act_drop_link (sim, node, action->link); break;
  case ACT_STATE: break;
  case ACT_ADMIN_DONE: admin_done (sim, node, action); break;
  case ACT_KEY_READ:
  case ACT_KEY_CAS: etcd_ask (sim, node, action); break;
  }
}
