/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore-node.c: a node's shell and disk.  What the core asks for is
 * noted as under way; that it comes to an end is a choice.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "explore.h"

enum {
  TIME_PASSES_MS = CORE_REGION_IDLE_MS + 1000,
  /* So long that only the choices E_SILENCE and F_DEADLINE reach it. */
  DEAD_MS = 1000 * 1000 * 1000,
};

bool stepped[NODES];

/* --- one step ----------------------------------------------------------- */

static void
act_send (unsigned node, const struct core_action *action)
{
  struct node_model *n = &world.nodes[node];
  const struct wire_frame *frame = &action->frame;
  uint8_t tags[BLOCKS] = { 0 };
  const struct slot *slot;
  unsigned b;

  if (frame->type == WIRE_HELLO_FRAME)
    check_hello (node);
  if (frame->type != WIRE_WRITE && frame->type != WIRE_ZERO) {
    link_queue_frame (node, action, tags);
    return;
  }
  if (frame->flags & WIRE_RESYNC) {
    assert (action->slot < CHUNKS);
    memcpy (tags, n->chunks[action->slot].tags, sizeof tags);
    n->chunks[action->slot].free_due += frame->type == WIRE_WRITE;
  }
  else {
    slot = &n->slots[action->slot];
    if (!slot->used || frame->offset != block_offset (slot->block))
      violation ("%c sends a write that is not its request's", letter (node));
    tags[slot->block] = slot->tag;
  }
  if (frame->type == WIRE_ZERO)
    for (b = 0; b < BLOCKS; b++)
      tags[b] = 0;
  link_queue_frame (node, action, tags);
}

static void
act_apply (unsigned node, const struct core_action *action)
{
  struct node_model *n = &world.nodes[node];
  struct job *job;
  uint32_t i;

  if (action->link != world.ends[node].id || world.ends[node].state == END_NONE)
    violation ("I8: %c applies a frame of a dead link", letter (node));
  assert (n->job_count < JOBS);
  job = &n->jobs[n->job_count++];
  *job = (struct job){ .hash = action->type == ACT_HASH, .link = action->link };
  if (job->hash) {
    job->in.frame = action->frame;
    return;
  }
  for (i = 0; i < n->held_count; i++)
    if (n->held[i].frame.seq == action->seq)
      break;
  if (i == n->held_count)
    violation ("%c names a frame that it does not hold", letter (node));
  job->in = n->held[i];
  memmove (&n->held[i], &n->held[i + 1],
           (--n->held_count - i) * sizeof n->held[0]);
  memset (&n->held[n->held_count], 0, sizeof n->held[0]);
}

static void
act_complete (unsigned node, const struct core_action *action,
              struct gen_id gen)
{
  struct slot *slot = &world.nodes[node].slots[action->slot];

  client_told (slot->connection,
               (struct message){
                 .type = M_ANSWER,
                 .block = slot->block,
                 .tag = slot->tag,
                 .read = slot->read,
                 .error = action->error,
                 .gen = gen,
               });
  *slot = (struct slot){ .used = false };
}

static void
act_open_done (unsigned node, const struct core_action *action)
{
  struct node_model *n = &world.nodes[node];
  unsigned number = n->connections[action->slot];
  struct connection *c = &world.connections[number];
  struct message message = { .type = M_OPENED };

  assert (number != NONE && c->server == S_OPENING);
  message.gen = gen_current (core_record (cores[node]));
  c->server = S_OPEN;
  if (action->error != 0) {
    message.type = M_REFUSED;
    message.gen = (struct gen_id){ 0, 0 };
    n->connections[action->slot] = NONE;
    c->server = S_OVER;
  }
  client_told (number, message);
}

static void
act_chunk (unsigned node, const struct core_action *action)
{
  struct chunk_model *chunk;

  assert (action->slot < CHUNKS);
  chunk = &world.nodes[node].chunks[action->slot];
  if (chunk->reading)
    violation ("%c reads two chunks into one buffer", letter (node));
  chunk->reading = true;
  chunk->compare = action->compare;
  chunk->offset = action->offset;
  chunk->blocks = action->blocks;
}

static void
act_persist (unsigned node, const struct core_action *action)
{
  struct node_model *n = &world.nodes[node];

  if (action->type == ACT_PERSIST_SB) {
    if (n->record_busy)
      violation ("%c writes two superblocks at once", letter (node));
    n->record_busy = true;
    n->record_next = *core_record (cores[node]);
    n->record_version = action->version;
    return;
  }
  if (n->map_busy)
    violation ("%c writes two map pages at once", letter (node));
  n->map_busy = true;
  n->map_next = core_map_page (cores[node], 0)[0];
}

static void
act (unsigned node, const struct core_action *action, struct gen_id gen_before)
{
  struct node_model *n = &world.nodes[node];

  switch (action->type) {
  case ACT_LOCAL:
    check_local (node, action);
    n->slots[action->slot].local = true;
    break;
  case ACT_COMPLETE: act_complete (node, action, gen_before); break;
  case ACT_OPEN_DONE:
    check_open_done (node, action);
    act_open_done (node, action);
    break;
  case ACT_CONN_ENDED:
    client_told (n->connections[action->slot],
                 (struct message){ .type = M_END });
    break;
  case ACT_SEND: act_send (node, action); break;
  case ACT_APPLY:
  case ACT_HASH: act_apply (node, action); break;
  case ACT_PERSIST_SB:
  case ACT_PERSIST_MAP: act_persist (node, action); break;
  case ACT_SYNC_STORE:
    n->sync_busy = true;
    n->sync_version = action->version;
    break;
  case ACT_CHUNK: act_chunk (node, action); break;
  case ACT_CONNECT: n->dialing = true; break;
  case ACT_DROP_LINK:
    n->hello_out = false;
    if (world.ends[node].id == action->link)
      link_close_end (node);
    break;
  case ACT_STATE:
  case ACT_ADMIN_DONE: break;
  case ACT_KEY_READ:
  case ACT_KEY_CAS:                     /* no etcd in this world */
  case ACT_GROW:                        /* nobody wants a larger volume */
  case ACT_FLUSH_STORE: assert (false); /* durability=write */
  }
}

static void
one_step (unsigned node, struct core_event *event, bool *more)
{
  struct core *core = cores[node];
  const struct core_actions *actions;
  uint32_t data_before = core->record.data, i;
  struct gen_id gen_before = gen_current (&core->record);
  struct core_view view;

  stepped[node] = true;
  event->now_ms = world.nodes[node].now_ms;
  event->random = ++world.random * UINT64_C (0x9e3779b97f4a7c15);
  actions = core_step (core, event);
  for (i = 0; i < actions->count; i++) {
    const struct core_action *action = &actions->list[i];

    if (action->type == ACT_COMPLETE)
      check_complete (node, action, data_before);
    if (action->type == ACT_STATE && telling) {
      core_view (core, &view);
      tell ("      %c is %s: %s", letter (node), core_state_name (view.state),
            view.reason);
    }
    act (node, action, gen_before);
  }
  *more = actions->more;
}

/* Connections whose clients are gone and whose requests have ended. */
static bool
close_one (unsigned node)
{
  struct core_event event = { .type = EV_CLOSE };
  bool more;
  unsigned i, s;

  for (i = 0; i < CONNS; i++) {
    struct connection *c = &world.connections[i];

    if (!c->used || c->node != node || !c->hung_up || c->server != S_OPEN)
      continue;
    for (s = 0; s < SLOTS; s++)
      if (world.nodes[node].slots[s].used &&
          world.nodes[node].slots[s].connection == i)
        break;
    if (s < SLOTS)
      continue;
    event.slot = c->slot;
    world.nodes[node].connections[c->slot] = NONE;
    client_server_end (i);
    one_step (node, &event, &more);
    return true;
  }
  return false;
}

void
node_step (unsigned node, struct core_event *event)
{
  struct node_model *n = &world.nodes[node];
  struct core_event again = { .type = EV_TICK };
  struct core_event freed = { .type = EV_CHUNK_FREE };
  bool more;
  uint32_t i;

  one_step (node, event, &more);
  while (more)
    one_step (node, &again, &more);
  for (i = 0; i < CHUNKS; i++) {
    if (n->chunks[i].free_due == 0)
      continue;
    n->chunks[i].free_due = 0;
    freed.slot = i;
    one_step (node, &freed, &more);
  }
  while (close_one (node))
    continue;
  core_place_tidy (node);
}

/* --- disk --------------------------------------------------------------- */

static void
disk_put (unsigned node, unsigned block, uint8_t tag, bool durable)
{
  struct node_model *n = &world.nodes[node];

  n->cache[block] = tag;
  n->forgotten[block] = false;
  if (bounds.plant == PLANT_SYNC)
    n->durable_before[block] = n->durable[block];
  if (durable)
    n->durable[block] = tag;
}

static bool
frame_touches (const struct wire_frame *frame, unsigned block)
{
  return block_offset (block) >= frame->offset &&
    block_offset (block) < frame->offset + frame->length;
}

static void
disk_apply (unsigned node, const struct job *job, bool durable)
{
  unsigned b;

  for (b = 0; b < BLOCKS; b++)
    if (frame_touches (&job->in.frame, b))
      disk_put (node, b, job->in.tags[b], durable);
}

/* An fdatasync that fails loses track of what was dirty. */
static void
disk_sync_fails (unsigned node)
{
  struct node_model *n = &world.nodes[node];
  unsigned b;

  for (b = 0; b < BLOCKS; b++)
    n->forgotten[b] = n->cache[b] != n->durable[b];
}

/* --- what was under way ends -------------------------------------------- */

static void
local_done (unsigned node, unsigned number)
{
  struct node_model *n = &world.nodes[node];
  struct slot *slot = &n->slots[number];
  struct core_event event = { .type = EV_LOCAL_DONE, .slot = number };

  slot->local = false;
  if (slot->read)
    slot->tag = n->cache[slot->block];
  else
    disk_put (node, slot->block, slot->tag, true);
  node_step (node, &event);
}

static void
local_failed (unsigned node, unsigned number)
{
  struct core_event event = { .type = EV_LOCAL_DONE,
                              .slot = number,
                              .error = EIO };
  struct slot *slot = &world.nodes[node].slots[number];

  slot->local = false;
  if (!slot->read) {
    disk_put (node, slot->block, slot->tag, false);
    disk_sync_fails (node);
    event.fatal = true;
  }
  node_step (node, &event);
}

static void
job_done (unsigned node, bool fails)
{
  struct node_model *n = &world.nodes[node];
  struct job job = n->jobs[0];
  struct core_action reply = { .link = job.link };
  struct core_event event = { .type = EV_APPLIED, .link = job.link };

  memmove (&n->jobs[0], &n->jobs[1], --n->job_count * sizeof n->jobs[0]);
  memset (&n->jobs[n->job_count], 0, sizeof n->jobs[0]);
  if (job.hash) {
    reply.frame.type = WIRE_HASH_REPLY;
    reply.frame.offset = job.in.frame.offset;
    reply.frame.length = job.in.frame.length;
    reply.frame.arg = job.in.frame.arg;
    reply.frame.payload_length = (job.in.frame.length + MARKS_BLOCK - 1) /
      MARKS_BLOCK * WIRE_HASH;
    if (world.ends[node].id == job.link && world.ends[node].state == END_UP)
      link_queue_frame (node, &reply, n->cache);
    return;
  }
  disk_apply (node, &job, !fails);
  event.seq = job.in.frame.seq;
  if (fails) {
    disk_sync_fails (node);
    event.error = EIO;
    event.fatal = true;
    n->job_count = 0;
    memset (n->jobs, 0, sizeof n->jobs);
  }
  node_step (node, &event);
}

static void
record_done (unsigned node)
{
  struct node_model *n = &world.nodes[node];
  struct core_event event = { .type = EV_SB_DURABLE };

  n->record = n->record_next;
  n->record_busy = false;
  memset (&n->record_next, 0, sizeof n->record_next);
  event.version = n->record_version;
  node_step (node, &event);
}

static void
map_done (unsigned node)
{
  struct node_model *n = &world.nodes[node];
  struct core_event event = { .type = EV_MAP_DURABLE };

  if (bounds.plant == PLANT_MAP)
    n->map_before = n->map;
  n->map = n->map_next;
  n->map_busy = false;
  n->map_next = 0;
  node_step (node, &event);
}

static void
sync_done (unsigned node)
{
  struct node_model *n = &world.nodes[node];
  struct core_event event = { .type = EV_STORE_SYNCED };
  unsigned b;

  for (b = 0; b < BLOCKS; b++)
    if (!n->forgotten[b])
      n->durable[b] = n->cache[b];
  n->sync_busy = false;
  event.version = n->sync_version;
  node_step (node, &event);
}

/* Which blocks of the chunk were asked for, or differ from the peer's
 * hashes?  Blocks of the chunk that are not in this world are zero on
 * both nodes.
 */
static void
chunk_done (unsigned node, unsigned number)
{
  struct node_model *n = &world.nodes[node];
  struct chunk_model *chunk = &n->chunks[number];
  struct core_event event = { .type = EV_CHUNK_DONE, .slot = number };
  uint64_t bit, at;
  unsigned b;

  event.zeros = chunk->compare ? 0 : chunk->blocks;
  event.blocks = event.zeros;
  for (b = 0; b < BLOCKS; b++) {
    at = block_offset (b);
    if (at < chunk->offset || at >= chunk->offset + MARKS_CHUNK)
      continue;
    bit = UINT64_C (1) << (at - chunk->offset) / MARKS_BLOCK;
    chunk->tags[b] = n->cache[b];
    if (chunk->compare && chunk->tags[b] != chunk->hashes[b])
      event.blocks |= bit;
    if (chunk->tags[b] != 0)
      event.zeros &= ~bit;
    else
      event.zeros |= event.blocks & bit;
  }
  chunk->reading = false;
  node_step (node, &event);
  if (!chunk->reading)
    memset (chunk, 0, sizeof *chunk);
}

/* --- life --------------------------------------------------------------- */

void
node_blank (unsigned node)
{
  struct node_model *n = &world.nodes[node];

  n->now_ms = 1000 * 1000;
  n->record.node = 1 + node;
  n->record.size = volume_size ();
  n->record.region_size = MARKS_CHUNK;
  n->record.data = DATA_BLANK;
  memset (n->connections, NONE, sizeof n->connections);
}

static void
start (unsigned node)
{
  struct node_model *n = &world.nodes[node];
  struct core_config config = {
    .beat_ms = DEAD_MS / 2,
    .dead_ms = DEAD_MS,
    .takeover = TAKEOVER_PROXY,
    .boot = ++world.random,
  };
  struct core_event event = { .type = EV_START };
  unsigned b;

  /* The store drops clean pages that a failed sync left, see store.h. */
  for (b = 0; b < BLOCKS; b++) {
    if (n->forgotten[b])
      n->cache[b] = n->durable[b];
    n->forgotten[b] = false;
  }
  if (bounds.plant == PLANT_SUPERBLOCK)
    n->record_before = n->record;
  n->alive = true;
  core_place_start (node, &config);
  node_step (node, &event);
}

/* Which of the things under way had reached the disk, one bit each. */
enum {
  DIED_RECORD = 1,
  DIED_MAP = 2,
  DIED_LOCAL = 4,                  /* << slot */
  DIED_JOBS = DIED_LOCAL << SLOTS, /* times how many */
};

static uint32_t
death_choices (unsigned node, choice *list)
{
  const struct node_model *n = &world.nodes[node];
  uint32_t count = 0, mask = 0, jobs = 0, i, v;

  if (n->record_busy)
    mask |= DIED_RECORD;
  if (n->map_busy)
    mask |= DIED_MAP;
  for (i = 0; i < SLOTS; i++)
    if (n->slots[i].local && !n->slots[i].read)
      mask |= (uint32_t) DIED_LOCAL << i;
  while (jobs < n->job_count && !n->jobs[jobs].hash)
    jobs++;
  for (v = 0; v < DIED_JOBS; v++)
    for (i = 0; (v & ~mask) == 0 && i <= jobs; i++)
      list[count++] = make_choice (F_KILL, node, v + i * DIED_JOBS);
  return count;
}

static void
forget_process (unsigned node)
{
  struct node_model *n = &world.nodes[node];

  n->alive = false;
  cores[node] = NULL;
  n->record_busy = n->map_busy = n->sync_busy = n->dialing = false;
  memset (&n->record_next, 0, sizeof n->record_next);
  n->map_next = 0;
  memset (n->slots, 0, sizeof n->slots);
  memset (n->chunks, 0, sizeof n->chunks);
  memset (n->held, 0, sizeof n->held);
  memset (n->jobs, 0, sizeof n->jobs);
  n->held_count = n->job_count = 0;
  memset (n->connections, NONE, sizeof n->connections);
  n->hello_out = false;
}

static void
die (unsigned node, unsigned detail)
{
  struct node_model *n = &world.nodes[node];
  uint32_t i;

  if (detail & DIED_RECORD)
    n->record = n->record_next;
  if (detail & DIED_MAP)
    n->map = n->map_next;
  for (i = 0; i < SLOTS; i++)
    if (detail & (unsigned) DIED_LOCAL << i)
      disk_put (node, n->slots[i].block, n->slots[i].tag, false);
  for (i = 0; i < detail / DIED_JOBS; i++)
    disk_apply (node, &n->jobs[i], false);
  if (bounds.plant == PLANT_SUPERBLOCK)
    n->record = n->record_before;
  if (bounds.plant == PLANT_MAP)
    n->map &= n->map_before;
  if (bounds.plant == PLANT_SYNC)
    for (i = 0; i < BLOCKS; i++)
      n->cache[i] = n->durable[i] = n->durable_before[i];
  forget_process (node);
  link_node_died (node);
  client_node_died (node);
}

/* Everything that was not synced is lost.  A node that lives dies first
 * with its superblock and map as they are on the disk.
 */
static void
lose_power (unsigned node)
{
  struct node_model *n = &world.nodes[node];

  if (n->alive)
    die (node, 0);
  memcpy (n->cache, n->durable, sizeof n->cache);
  memset (n->forgotten, 0, sizeof n->forgotten);
}

/* --- choices ------------------------------------------------------------ */

/* Would the core do anything if its clock moved? */
static bool
time_matters (unsigned node)
{
  const struct core *core = cores[node];
  const struct node_model *n = &world.nodes[node];

  if (core->phase == LINK_NONE)
    return !core->attempt_flight && !core->failed_now && !core->stopping;
  if (core->phase != LINK_DECIDED)
    return false;
  if (core->now_ms < core->switch_after_ms)
    return true;
  return !n->map_busy &&
    (marks_pages_wanted (core->marks) ||
     (core->relation == REL_SYNC && core_may_serve (core) &&
      core->sync == SYNC_OFF && core_map_page (core, 0)[0] != 0));
}

static uint32_t
fault_choices (unsigned node, choice *list)
{
  const struct node_model *n = &world.nodes[node];
  const struct core *core = cores[node];
  uint32_t count = 0, i;

  if (n->alive && kind_allowed (F_KILL))
    count += death_choices (node, list);
  if (kind_allowed (F_POWER) &&
      memcmp (n->cache, n->durable, sizeof n->cache) != 0)
    list[count++] = make_choice (F_POWER, node, 0);
  if (!n->alive)
    return count;
  if (kind_allowed (F_DEADLINE) && core->phase == LINK_DECIDED &&
      core->switching == SWITCH_ASKED && world.ends[node].state == END_UP &&
      world.ends[node].count == 0 && !world.ends[node].deaf)
    list[count++] = make_choice (F_DEADLINE, node, 1);
  if (kind_allowed (F_DEADLINE) && core->phase != LINK_NONE &&
      core->phase != LINK_DROPPING)
    list[count++] = make_choice (F_DEADLINE, node, 0);
  if (!kind_allowed (F_STORE) || core->failed_now)
    return count;
  for (i = 0; i < SLOTS; i++)
    if (n->slots[i].local)
      list[count++] = make_choice (F_STORE, node, i);
  if (n->job_count > 0 && !n->jobs[0].hash)
    list[count++] = make_choice (F_STORE, node, SLOTS);
  return count;
}

uint32_t
node_choices (choice *list)
{
  uint32_t count = 0, i;
  unsigned node;

  for (node = 0; node < NODES; node++) {
    const struct node_model *n = &world.nodes[node];

    if (!n->alive)
      list[count++] = make_choice (E_START, node, 0);
    if (n->alive && cores[node]->failed_now)
      list[count++] = make_choice (E_RESTART, node, 0);
    if (n->job_count > 0)
      list[count++] = make_choice (E_JOB, node, 0);
    for (i = 0; i < SLOTS; i++)
      if (n->slots[i].local)
        list[count++] = make_choice (E_LOCAL, node, i);
    if (n->record_busy)
      list[count++] = make_choice (E_RECORD, node, 0);
    if (n->map_busy)
      list[count++] = make_choice (E_MAP, node, 0);
    if (n->sync_busy)
      list[count++] = make_choice (E_SYNC, node, 0);
    for (i = 0; i < CHUNKS; i++)
      if (n->chunks[i].reading)
        list[count++] = make_choice (E_CHUNK, node, i);
    if (n->alive && time_matters (node))
      list[count++] = make_choice (E_TICK, node, 0);
    if (world.faults_left > 0)
      count += fault_choices (node, list + count);
  }
  return count;
}

/* The clock moves on; with a heartbeat of the peer just before when it is
 * only a switch that takes too long.
 */
static void
time_passes (unsigned node, uint64_t ms, bool heard)
{
  struct core_event tick = { .type = EV_TICK };
  struct wire_frame beat = { .type = WIRE_PONG };
  struct core_event event = { .type = EV_FRAME, .frame = &beat };

  world.nodes[node].now_ms += ms;
  if (heard) {
    event.link = world.ends[node].id;
    node_step (node, &event);
  }
  node_step (node, &tick);
}

bool
node_choose (choice c)
{
  unsigned node = choice_node (c), detail = choice_detail (c);

  switch (choice_kind (c)) {
  case E_START: start (node); break;
  case E_RESTART:
    die (node, 0);
    start (node);
    break;
  case E_TICK: time_passes (node, TIME_PASSES_MS, false); break;
  case E_SILENCE: time_passes (node, DEAD_MS, false); break;
  case F_DEADLINE: time_passes (node, DEAD_MS, detail == 1); break;
  case E_JOB: job_done (node, false); break;
  case E_LOCAL: local_done (node, detail); break;
  case E_RECORD: record_done (node); break;
  case E_MAP: map_done (node); break;
  case E_SYNC: sync_done (node); break;
  case E_CHUNK: chunk_done (node, detail); break;
  case F_KILL: die (node, detail); break;
  case F_POWER: lose_power (node); break;
  case F_STORE:
    if (detail < SLOTS)
      local_failed (node, detail);
    else
      job_done (node, true);
    break;
  default: return false;
  }
  return true;
}
