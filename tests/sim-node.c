/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-node.c: a node's process: it starts from what its disk says, steps
 * the core, applies the peer's frames in order, syncs for all that wait,
 * and dies at any moment.  What the core asks for is carried out in
 * sim-shell.c.  The core is never stepped from within a step.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sim.h"

struct sim_event
node_event (const struct node *node, sim_handler *run)
{
  return (struct sim_event){
    .run = run,
    .node = node->index,
    .life = node->life,
  };
}

/* --- its clock ---------------------------------------------------------- */

uint64_t
node_clock_ms (const struct sim *sim, const struct node *node)
{
  uint64_t rate = (uint64_t) (SIM_DRIFT_UNIT + node->drift);

  return node->base_ms + sim->now_us * rate / SIM_DRIFT_UNIT / SIM_MS;
}

/* The first moment at which its clock shows CLOCK_MS. */
static uint64_t
node_clock_at (const struct node *node, uint64_t clock_ms)
{
  uint64_t rate = (uint64_t) (SIM_DRIFT_UNIT + node->drift);
  uint64_t passed_us = (clock_ms - node->base_ms) * SIM_MS;

  return (passed_us * SIM_DRIFT_UNIT + rate - 1) / rate;
}

/* --- one step ----------------------------------------------------------- */

static void
tick (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct core_event tick_event = { .type = EV_TICK };

  if (node->tick_us != event->c)
    return;
  node->tick_us = SIM_NEVER;
  node_step (sim, node, &tick_event);
}

static void
schedule_tick (struct sim *sim, struct node *node, bool at_once)
{
  uint64_t deadline = core_deadline (node->core), time = sim->now_us;
  struct sim_event event = node_event (node, tick);

  if (deadline == UINT64_MAX && !at_once)
    return;
  if (!at_once && deadline > node->base_ms &&
      node_clock_at (node, deadline) > time)
    time = node_clock_at (node, deadline);
  if (!at_once)
    time += sim_delay (sim, 100);
  if (time >= node->tick_us)
    return;
  node->tick_us = event.c = time;
  sim_at (sim, time, event);
}

/* The decision that follows NODE's hello was seen in an earlier step.  (In
 * this one it may begin a write and then drop the link, for a pause.)
 */
static void
note_decision (struct node *node)
{
  struct core_view view;

  if (!node->hello_out)
    return;
  core_view (node->core, &view);
  node->hello_out = !view.linked;
}

void
node_step (struct sim *sim, struct node *node, struct core_event *event)
{
  const struct sim_script *script = sim->options.script;
  const struct core_actions *actions;
  uint32_t i;

  assert (node->alive);
  event->now_ms = node_clock_ms (sim, node);
  event->random = sim_random (sim);
  sim_mix (sim, event->now_ms * 64 + event->type * 2 + (uint64_t) node->index);
  sim_mix (sim, (uint64_t) event->slot << 32 | (uint32_t) event->error);
  sim->steps++;
  shell_trace_event (sim, node, event);
  if (script != NULL)
    script->on_event (sim, node, event);
  note_decision (node);
  node->data_before = core_record (node->core)->data;
  node->gen_before = gen_current (core_record (node->core));
  actions = core_step (node->core, event);
  for (i = 0; i < actions->count; i++) {
    sim_mix (sim, actions->list[i].type + actions->list[i].slot * 32u);
    check_action (sim, node, &actions->list[i]);
    if (script != NULL)
      script->on_action (sim, node, &actions->list[i]);
    shell_act (sim, node, &actions->list[i]);
    fault_on_action (sim, node->index, &actions->list[i]);
  }
  if (sim->options.check_every != 0 &&
      sim->steps % sim->options.check_every == 0)
    core_check (node->core);
  if (event->type == EV_CHUNK_DONE)
    admin_check_verify (sim, node);
  flush_note_step (node);
  resize_check_step (sim, node);
  schedule_tick (sim, node, actions->more);
}

/* --- group commit ------------------------------------------------------- */

static void sync_begin (struct sim *sim, const struct sim_event *event);

static void
sync_served (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct core_event done = { .error = (int) (uint32_t) event->c };
  const struct waiter *waiter = event->data;

  done.fatal = done.error != 0;
  switch (waiter->type) {
  case WAIT_LOCAL:
    done.type = EV_LOCAL_DONE;
    done.slot = waiter->number;
    node->slots[waiter->number].local = false;
    node->local_writes--;
    node_step (sim, node, &done);
    break;
  case WAIT_STORE:
    done.type = EV_STORE_SYNCED;
    done.version = waiter->value;
    node_step (sim, node, &done);
    break;
  case WAIT_FLUSH:
    done.type = EV_STORE_FLUSHED;
    done.version = waiter->value;
    node_step (sim, node, &done);
    break;
  case WAIT_APPLIED:
    done.type = EV_APPLIED;
    done.link = waiter->number;
    done.seq = waiter->value;
    node_step (sim, node, &done);
    node_worker_idle (sim, node);
    break;
  }
}

static void
sync_end (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct sim_event served = node_event (node, sync_served);
  uint32_t i;
  struct waiter *waiter;

  if (node->disk.fail_sync && !node->disk.sync_failed) {
    node->disk.sync_failed = true;
    disk_sync_fail (sim, node->index);
    sim_trace (sim, "%c: fdatasync fails", 'A' + node->index);
  }
  else if (!node->disk.sync_failed)
    disk_sync_end (sim, node->index, &node->snapshot);
  served.c = node->disk.sync_failed ? EIO : 0;
  for (i = 0; i < node->served_count; i++) {
    waiter = sim_alloc (sim, sizeof *waiter);
    *waiter = node->served[i];
    served.data = waiter;
    sim_after (sim, sim_below (sim, 100), served);
  }
  node->served_count = 0;
  node->syncing = false;
  if (node->waiting_count > 0) {
    node->syncing = true;
    sim_after (sim, 5, node_event (node, sync_begin));
  }
}

static void
sync_begin (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];

  memcpy (node->served, node->waiting,
          node->waiting_count * sizeof node->waiting[0]);
  node->served_count = node->waiting_count;
  node->waiting_count = 0;
  disk_sync_begin (sim, node->index, &node->snapshot);
  sim_after (sim, sim_delay (sim, 250) + node->disk.slow_us,
             node_event (node, sync_end));
}

void
node_wait_sync (struct sim *sim, struct node *node, struct waiter waiter)
{
  assert (node->waiting_count < SIM_WAITERS);
  node->waiting[node->waiting_count++] = waiter;
  if (!node->syncing) {
    node->syncing = true;
    sim_after (sim, sim_below (sim, 40), node_event (node, sync_begin));
  }
}

/* --- the peer's frames -------------------------------------------------- */

static void worker_run (struct sim *sim, const struct sim_event *event);

static void
link_down (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct core_event down = { .type = EV_LINK_DOWN,
                             .link = event->a,
                             .peer_closed = node->link_closed };

  assert (!node->job_busy);
  link_drained (sim, node);
  node->held = NULL;
  node->jobs = node->jobs_tail = NULL;
  node->written_seq = 0;
  node->written_sync = false;
  node->hello_out = false;
  node_step (sim, node, &down);
}

static bool
closing (const struct node *node)
{
  return node->pipe != NULL &&
    node->pipe->end[node->index].state == PIPE_CLOSING;
}

void
node_worker_idle (struct sim *sim, struct node *node)
{
  struct sim_event event = node_event (node, link_down);

  node->job_busy = false;
  if (node->jobs != NULL)
    node_worker (sim, node);
  else if (closing (node)) {
    event.a = node->pipe->id;
    sim_after (sim, sim_delay (sim, 50), event);
  }
}

/* The connection has ended: frames that have not reached the store are
 * dropped or applied, as it happens; then the core is told.
 */
void
node_link_lost (struct sim *sim, struct node *node, bool closed)
{
  struct core_view view;
  uint32_t i;

  node->link_closed = closed;
  sim_trace (sim, "%c: link %u lost%s", 'A' + node->index, node->pipe->id,
             node->job_busy ? ", draining" : "");
  /* One that never came to a decision counts as an attempt. */
  core_view (node->core, &view);
  node->tried = !view.linked;
  node->asked = false;
  for (i = 0; i < SIM_CONNS; i++)
    if (node->conns[i] != NULL && node->conns[i]->server == NBD_OPENING &&
        node->conns[i]->open.proxied)
      node->asked = true;
  if (sim_chance (sim, 2))
    node->jobs = node->jobs_tail = NULL;
  if (!node->job_busy)
    node_worker_idle (sim, node);
}

/* Written is enough, with durability=flush. */
static void
applied (struct sim *sim, struct node *node, const struct waiter *waiter)
{
  struct sim_event event = node_event (node, sync_served);
  struct waiter *copy = sim_alloc (sim, sizeof *copy);

  *copy = *waiter;
  event.data = copy;
  sim_after (sim, sim_below (sim, 50), event);
}

static void
worker_next (struct sim *sim, struct node *node)
{
  struct waiter waiter = { .type = WAIT_APPLIED };

  if (node->jobs != NULL && !sim_chance (sim, 5))
    sim_after (sim, sim_below (sim, 20) + node->disk.slow_us / 8,
               node_event (node, worker_run));
  else if (node->written_seq != 0) {
    waiter.number = node->pipe->id;
    waiter.value = node->written_seq;
    node->written_seq = 0;
    if (node->written_sync)
      node_wait_sync (sim, node, waiter);
    else
      applied (sim, node, &waiter);
    node->written_sync = false;
  }
  else
    node_worker_idle (sim, node);
}

static void
apply_failed (struct sim *sim, struct node *node, uint64_t seq)
{
  struct core_event event = {
    .type = EV_APPLIED, .link = node->pipe->id, .seq = seq, .error = EIO
  };

  node->jobs = node->jobs_tail = NULL;
  node->written_seq = 0;
  node_step (sim, node, &event);
  node_worker_idle (sim, node);
}

static void
apply_rest (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  const struct packet *packet = event->data;
  uint32_t first = cell_at (packet->frame.offset);

  disk_write (sim, node->index, first + event->a, event->b - event->a,
              packet->tags + event->a);
  node->written_seq = packet->frame.seq;
  worker_next (sim, node);
}

static void
worker_run (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct sim_event rest = node_event (node, apply_rest);
  struct packet *packet;
  uint32_t count, half;
  bool hash;

  if (node->jobs == NULL) {
    worker_next (sim, node);
    return;
  }
  packet = node->jobs->packet;
  node->written_sync |= node->jobs->durable;
  node->jobs = node->jobs->next;
  if (node->jobs == NULL)
    node->jobs_tail = NULL;
  hash = packet->frame.type == WIRE_HASH_REQUEST;
  if (hash ? store_read_fails (node) : node->disk.fail_write) {
    apply_failed (sim, node, packet->frame.seq);
    return;
  }
  if (hash) {
    shell_hash (sim, node, &packet->frame);
    worker_next (sim, node);
    return;
  }
  count = cells_in (packet->frame.offset, packet->frame.length);
  half = (uint32_t) sim_below (sim, count + 1);
  disk_write (sim, node->index, cell_at (packet->frame.offset), half,
              packet->tags);
  rest.a = half;
  rest.b = count;
  rest.data = packet;
  sim_after (sim, sim_below (sim, 30) + node->disk.slow_us / 8, rest);
}

void
node_worker (struct sim *sim, struct node *node)
{
  if (node->job_busy || node->jobs == NULL)
    return;
  node->job_busy = true;
  sim_after (sim, sim_delay (sim, 40), node_event (node, worker_run));
}

void
node_link_up (struct sim *sim, struct node *node, uint32_t link)
{
  struct core_event event = { .type = EV_LINK_UP, .link = link };

  node->link_up_us = sim->now_us;
  node_step (sim, node, &event);
}

void
node_frame (struct sim *sim, struct node *node, struct packet *packet)
{
  struct core_event event = { .type = EV_FRAME };

  event.link = node->pipe->id;
  event.frame = &packet->frame;
  event.hello = packet->hello;
  event.payload = packet->payload;
  if (packet->frame.type == WIRE_WRITE || packet->frame.type == WIRE_ZERO) {
    packet->next = node->held;
    node->held = packet;
  }
  if (packet->frame.type == WIRE_HASH_REPLY &&
      packet->frame.arg < CORE_CHUNKS_MAX) {
    node->chunks[packet->frame.arg].hashes = packet->tags;
    node->chunks[packet->frame.arg].hashes_offset = packet->frame.offset;
  }
  node_step (sim, node, &event);
}

/* --- life --------------------------------------------------------------- */

void
node_init (struct sim *sim, int index)
{
  struct node *node = &sim->nodes[index];
  struct gen_record *record = &node->disk.record;

  node->index = index;
  node->base_ms = 1 + sim_below (sim, 1000000);
  node->drift = (int64_t) sim_below (sim, 2 * SIM_DRIFT_MAX + 1) -
    SIM_DRIFT_MAX;
  /* As wrong as arbiter=etcd allows, often in opposite directions. */
  if (sim->model->arbiter == ARBITER_ETCD)
    node->drift *= 2;
  record->node = sim_random (sim) | 1;
  record->size = cell_offset (sim->first_cells);
  node->disk.cells = sim->first_cells;
  node->disk.room = SIM_CELLS;
  record->region_size = (uint32_t) cell_offset (sim->region_cells);
  record->data = DATA_BLANK;
  /* Now and then one of them is told to begin with the data it has. */
  record->has_data = sim->options.seed % 16 == 3 && index == 0;
}

void
node_start (struct sim *sim, struct node *node)
{
  struct core_event event = { .type = EV_START };
  struct core_config config = {
    .beat_ms = sim->beat_ms,
    .dead_ms = sim->dead_ms,
    .resync_rate = sim->resync_rate,
    .takeover = sim->takeover,
    .arbiter = sim->model->arbiter,
    .lease_ms = sim->lease_ms,
    .grace_ms = sim->grace_ms,
    .durability = sim->model->durability,
    .flush_bytes = sim->flush.bytes,
    .flush_ms = sim->flush.ms,
  };
  struct gen_record record;

  assert (!node->alive);
  sim_trace (sim, "%c: starts", 'A' + node->index);
  config.boot = sim_random (sim);
  node->life++;
  node->alive = true;
  node->stopping = false;
  node->tick_us = SIM_NEVER;
  node->disk.sync_failed = false;
  disk_open (sim, node->index);
  flush_note_start (sim, node);
  resize_start (sim, node, &record);
  node->core = core_new (&config, &record, node->disk.map,
                         sizeof node->disk.map);
  assert (node->core != NULL);
  node_step (sim, node, &event);
}

/* Forget everything that lived in the process. */
static void
forget (struct node *node)
{
  memset (node->slots, 0, sizeof node->slots);
  memset (node->conns, 0, sizeof node->conns);
  memset (node->newest, 0, sizeof node->newest);
  memset (node->chunks, 0, sizeof node->chunks);
  node->local_writes = 0;
  node->proxied = (struct gen_id){ 0, 0 };
  node->asked = node->tried = false;
  node->syncing = false;
  node->waiting_count = node->served_count = 0;
  node->record_busy = node->map_busy = false;
  node->dialing = false;
  node->etcd_ticket = 0;
  node->hello_out = false;
  node->held = NULL;
  node->jobs = node->jobs_tail = NULL;
  node->job_busy = false;
  node->written_seq = 0;
  node->written_sync = node->lacks = false;
  node->pause_until = 0;
  node->wishing = false;
}

void
node_crash (struct sim *sim, struct node *node, bool power)
{
  uint32_t i;
  bool silent = power && sim_chance (sim, 2);

  if (!node->alive)
    return;
  sim_trace (sim, "%c: %s", 'A' + node->index,
             power ? "loses power" : "is killed");
  flush_note_end (sim, node);
  node->alive = false;
  /* Metadata and syncs under way may still have reached the disk. */
  resize_crash (sim, node);
  if (node->record_busy && sim_chance (sim, 2))
    node->disk.record = node->record_next;
  if (node->map_busy && sim_chance (sim, 2)) {
    memcpy (node->disk.map, node->map_next, sizeof node->disk.map);
    check_map (sim);
  }
  if (node->served_count > 0 && !node->disk.sync_failed && sim_chance (sim, 2))
    disk_sync_end (sim, node->index, &node->snapshot);
  link_close (sim, node, silent);
  for (i = 0; i < SIM_CONNS; i++)
    if (node->conns[i] != NULL)
      nbd_server_died (sim, node->conns[i], silent);
  core_free (node->core);
  node->core = NULL;
  forget (node);
  if (power)
    disk_power_cut (sim, node->index);
}
