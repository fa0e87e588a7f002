/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-world.c: the clock, the event queue, the random numbers, the trace
 * and the course of one run.  Everything a run needs is allocated from an
 * arena that is emptied at its end; nothing here may look at the outside
 * world.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"
#include "splitmix.h"

enum {
  ARENA_BLOCK = 1024 * 1024,
  POLL_MS = 20,
  HEAL_LIMIT_MS = 90000, /* to be whole again after the last fault */
  READ_LIMIT_MS = 60000,
  RUN_LIMIT_MS = 60000, /* of requests and faults */
  QUIET_MS = 14000,     /* longer than CORE_REGION_IDLE_MS */
};

/* --- memory ------------------------------------------------------------- */

struct arena_block {
  struct arena_block *next;
  size_t size, used;
  _Alignas(16) uint8_t bytes[];
};

struct arena {
  struct arena_block *first, *current;
};

static struct arena arena;

static struct arena_block *
arena_block_new (size_t bytes)
{
  size_t size = bytes > ARENA_BLOCK ? bytes : ARENA_BLOCK;
  struct arena_block *block = malloc (sizeof *block + size);

  assert (block != NULL);
  block->next = NULL;
  block->size = size;
  block->used = 0;
  return block;
}

void *
sim_alloc (struct sim *sim, size_t bytes)
{
  struct arena *a = sim->arena;
  void *result;

  bytes = (bytes + 15) & ~(size_t) 15;
  if (a->first == NULL)
    a->first = a->current = arena_block_new (bytes);
  while (a->current->size - a->current->used < bytes) {
    if (a->current->next == NULL)
      a->current->next = arena_block_new (bytes);
    a->current = a->current->next;
    a->current->used = 0;
  }
  result = a->current->bytes + a->current->used;
  a->current->used += bytes;
  memset (result, 0, bytes);
  return result;
}

static void
arena_reset (struct arena *a)
{
  a->current = a->first;
  if (a->first != NULL)
    a->first->used = 0;
}

/* --- random numbers ----------------------------------------------------- */

uint64_t
sim_random (struct sim *sim)
{
  return splitmix_next (&sim->random);
}

uint64_t
sim_below (struct sim *sim, uint64_t bound)
{
  if (sim->options.script != NULL)
    return bound / 2;
  return bound == 0 ? 0 : sim_random (sim) % bound;
}

bool
sim_chance (struct sim *sim, uint32_t one_in)
{
  return sim->options.script == NULL && sim_below (sim, one_in) == 0;
}

uint64_t
sim_delay (struct sim *sim, uint64_t typical_us)
{
  uint64_t dice = sim_below (sim, 64);

  if (sim->options.script != NULL)
    return typical_us;
  if (dice == 0)
    return sim_below (sim, typical_us * 40 + 1);
  if (dice < 8)
    return sim_below (sim, typical_us * 6 + 1);
  if (dice < 20)
    return sim_below (sim, typical_us / 8 + 1);
  return typical_us / 2 + sim_below (sim, typical_us + 1);
}

/* --- trace -------------------------------------------------------------- */

bool
sim_tracing (const struct sim *sim)
{
  return sim->options.trace;
}

void
sim_mix (struct sim *sim, uint64_t value)
{
  sim->hash = (sim->hash ^ value) * UINT64_C (0x100000001b3);
  sim->hash ^= sim->hash >> 29;
}

static void
put_line (struct sim *sim, const char *format, va_list args)
{
  char *line = sim_report->lines[sim_report->line_count % SIM_TRACE_LINES];
  int n = snprintf (line, SIM_TRACE_WIDTH, "%8llu.%03llu  ",
                    (unsigned long long) (sim->now_us / 1000),
                    (unsigned long long) (sim->now_us % 1000));

  vsnprintf (line + n, (size_t) (SIM_TRACE_WIDTH - n), format, args);
  if (sim->options.follow)
    puts (line);
  sim_report->line_count++;
}

void
sim_trace (struct sim *sim, const char *format, ...)
{
  va_list args;

  if (!sim->options.trace)
    return;
  va_start (args, format);
  put_line (sim, format, args);
  va_end (args);
}

static struct sim *current; /* the run of this process */

_Noreturn void
sim_fail (struct sim *sim, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vsnprintf (sim_report->rule, sizeof sim_report->rule, format, args);
  va_end (args);
  va_start (args, format);
  put_line (sim, format, args);
  va_end (args);
  sim_report->failed = true;
  sim_report->events += sim->events;
  sim_report->requests += sim->op_count;
  fflush (stdout);
  _exit (1);
}

/* The C library calls this for an assertion that does not hold: here it
 * is a violation with its own text.
 */
_Noreturn void
__assert_fail (const char *assertion, const char *file, unsigned line,
               const char *function)
{
  if (current != NULL)
    sim_fail (current, "%s:%u: %s: %s", file, line, function, assertion);
  fprintf (stderr, "%s:%u: %s: %s\n", file, line, function, assertion);
  abort ();
}

/* --- event queue -------------------------------------------------------- */

static bool
earlier (const struct sim_event *a, const struct sim_event *b)
{
  if (a->time_us != b->time_us)
    return a->time_us < b->time_us;
  return a->tie < b->tie;
}

void
sim_at (struct sim *sim, uint64_t time_us, struct sim_event event)
{
  uint32_t i = sim->queue_count;

  assert (time_us >= sim->now_us);
  if (sim->queue_count == sim->queue_room) {
    sim->queue_room = sim->queue_room == 0 ? 1024 : sim->queue_room * 2;
    sim->queue = realloc (sim->queue, sim->queue_room * sizeof *sim->queue);
    assert (sim->queue != NULL);
  }
  event.time_us = time_us;
  event.tie = sim->options.script != NULL ? sim->ties++ : sim_random (sim);
  sim->queue_count++;
  while (i > 0 && earlier (&event, &sim->queue[(i - 1) / 2])) {
    sim->queue[i] = sim->queue[(i - 1) / 2];
    i = (i - 1) / 2;
  }
  sim->queue[i] = event;
}

void
sim_after (struct sim *sim, uint64_t delay_us, struct sim_event event)
{
  sim_at (sim, sim->now_us + delay_us, event);
}

static struct sim_event
take_event (struct sim *sim)
{
  struct sim_event first = sim->queue[0];
  struct sim_event last = sim->queue[--sim->queue_count];
  uint32_t i = 0, child;

  while ((child = 2 * i + 1) < sim->queue_count) {
    if (child + 1 < sim->queue_count &&
        earlier (&sim->queue[child + 1], &sim->queue[child]))
      child++;
    if (!earlier (&sim->queue[child], &last))
      break;
    sim->queue[i] = sim->queue[child];
    i = child;
  }
  sim->queue[i] = last;
  return first;
}

static void
dispatch (struct sim *sim, const struct sim_event *event)
{
  const struct node *node;

  if (event->node >= 0) {
    node = &sim->nodes[event->node];
    if (!node->alive || node->life != event->life)
      return;
    if (node->pause_until > sim->now_us) {
      sim_at (sim, node->pause_until + sim_below (sim, 200), *event);
      return;
    }
  }
  event->run (sim, event);
}

/* --- the course of a run ------------------------------------------------ */

static void
enter (struct sim *sim, enum phase phase)
{
  static const char *const names[] = { "run", "heal", "quiet", "read", "done" };

  sim->phase = phase;
  sim->phase_us = sim->now_us;
  sim_trace (sim, "-- phase %s", names[phase]);
}

static bool
maps_clear (const struct sim *sim)
{
  size_t i;
  int n;

  for (n = 0; n < SIM_NODES; n++)
    for (i = 0; i < SIM_REGIONS; i++)
      if (sim->nodes[n].disk.map[i / 8] >> (i % 8) & 1)
        return false;
  return true;
}

/* No requests of a client that died are in a node still, by which a copy
 * may have what the other lacks; and nothing that its administrator asked
 * for, which may be a pause.
 */
static bool
nodes_idle (const struct sim *sim)
{
  struct core_view view;
  int n;

  for (n = 0; n < SIM_NODES; n++) {
    core_view (sim->nodes[n].core, &view);
    if (view.requests > 0 || sim->nodes[n].wishing)
      return false;
  }
  return true;
}

/* Liveness: with all faults repaired the pair must be whole in time. */
static void
poll_heal (struct sim *sim, uint64_t elapsed_ms)
{
  const char *why = "requests do not end";

  if (check_converged (sim, &why) && load_idle (sim) && nodes_idle (sim) &&
      !resize_goes_on (sim)) {
    enter (sim, PHASE_QUIET);
    return;
  }
  admin_resume (sim);
  if (sim->model->force)
    admin_resolve (sim);
  else if ((sim->may_split || sim->model->split) && check_diverged (sim)) {
    enter (sim, PHASE_DONE);
    return;
  }
  if (elapsed_ms > HEAL_LIMIT_MS)
    sim_fail (sim, "liveness: not whole %d ms after the last fault: %s",
              HEAL_LIMIT_MS, why);
}

static void
poll_quiet (struct sim *sim, uint64_t elapsed_ms)
{
  bool wait = sim->options.seed % 4 == 0;

  if (flush_mode (sim) && !flush_all_durable (sim)) {
    if (elapsed_ms > 3 * QUIET_MS)
      sim_fail (sim, "liveness: all is quiet, and not all is durable");
    return;
  }
  if (wait && elapsed_ms < QUIET_MS)
    return;
  resize_check_end (sim);
  if (wait && !maps_clear (sim)) {
    if (elapsed_ms > 3 * QUIET_MS)
      sim_fail (sim, "liveness: region bits stay set though all is quiet");
    return;
  }
  check_identical (sim);
  enter (sim, PHASE_READ);
}

static void
poll (struct sim *sim, const struct sim_event *event)
{
  uint64_t elapsed_ms = (sim->now_us - sim->phase_us) / SIM_MS;
  int n;

  for (n = 0; n < SIM_NODES; n++)
    check_handshake (sim, &sim->nodes[n]);
  switch (sim->phase) {
  case PHASE_RUN:
    resize_reconnect (sim, false);
    if ((sim->op_count >= sim->op_limit &&
         sim->fault_next >= sim->fault_count && sim->repairs == 0) ||
        elapsed_ms > RUN_LIMIT_MS) {
      fault_heal (sim);
      enter (sim, PHASE_HEAL);
    }
    break;
  case PHASE_HEAL: poll_heal (sim, elapsed_ms); break;
  case PHASE_QUIET: poll_quiet (sim, elapsed_ms); break;
  case PHASE_READ:
    /* With durability=flush what was kept may have been sent again. */
    resize_reconnect (sim, true);
    if (load_idle (sim) && sim->read_next >= resize_cells (sim) &&
        (!flush_mode (sim) || flush_all_durable (sim))) {
      check_identical (sim);
      if (!sim->model->split) {
        if (flush_mode (sim))
          flush_check_history (sim);
        else
          history_check (sim);
      }
      enter (sim, PHASE_DONE);
    }
    else if (elapsed_ms > READ_LIMIT_MS)
      sim_fail (sim, "liveness: the last reads are not answered");
    break;
  case PHASE_DONE: break;
  }
  sim_after (sim, POLL_MS * SIM_MS, *event);
}

static void
set_up (struct sim *sim, const struct sim_options *options)
{
  size_t i;

  sim->options = *options;
  if (options->check_every == SIM_CHECK_BY_SEED)
    sim->options.check_every = options->seed % 8 == 0 ? 1 : 61;
  sim->model = &sim_models[options->mode];
  sim->arena = &arena;
  sim->random = options->seed * 2 + 1;
  sim->plan_random = options->seed * 2 + UINT64_C (0x5851f42d4c957f2c);
  sim->hash = UINT64_C (0xcbf29ce484222325);
  sim->cells = SIM_CELLS;
  if (sim_chance (sim, 3))
    sim->cells -= 2 + 2 * (uint32_t) sim_below (sim, 15);
  sim->first_cells = sim->cells;
  sim->region_cells = sim_chance (sim, 2) ? 1024 : 2048;
  sim->regions = SIM_CELLS / sim->region_cells;
  sim->beat_ms = 20 + sim_below (sim, 200);
  sim->dead_ms = sim->beat_ms * (2 + sim_below (sim, 4)) + 10;
  sim->resync_rate = sim_chance (sim, 4) ? 2 * 1024 * 1024 : 0;
  for (i = 0; i < sizeof sim->hot / sizeof sim->hot[0]; i++)
    sim->hot[i] = (uint32_t) sim_below (sim, sim->cells);
  if (sim_chance (sim, 3))
    for (i = 1; i < sizeof sim->hot / sizeof sim->hot[0]; i++)
      sim->hot[i] = sim->hot[0];
  sim->hot_width = sim_chance (sim, 2) ? 8 : 48;
  sim->reads_percent = 20 + (uint32_t) sim_below (sim, 50);
  sim->op_limit = 60 + (uint32_t) sim_below (sim, 340);
  sim->think_us = sim_chance (sim, 3) ? 400
    : sim_chance (sim, 2)             ? 2500
                                      : 12000;
  /* Two nodes that may serve apart may do so by anybody's word. */
  sim->takeover = sim->model->takeover;
  if (sim->model->split && sim_chance (sim, 2))
    sim->takeover = TAKEOVER_ANY;
  else if (sim->model->manual && sim_chance (sim, 6))
    sim->takeover = TAKEOVER_MANUAL;
  sim->cut_for_good = -1;
  if (sim->model->partition && sim->model->proxied_min > 0 &&
      (sim->model->plain_max == 0 || sim->model->arbiter == ARBITER_ETCD) &&
      sim_chance (sim, 6))
    sim->cut_for_good = (int) sim_below (sim, SIM_NODES);
  if (sim->model->arbiter == ARBITER_ETCD) {
    sim->lease_ms = (uint32_t) (sim->beat_ms + 1 +
                                sim_below (sim, 4 * sim->beat_ms));
    sim->grace_ms = core_grace_min (sim->lease_ms) +
      (uint32_t) (sim_chance (sim, 2) ? 0 : sim_below (sim, sim->lease_ms));
  }
  if (flush_mode (sim)) {
    sim->flush.bytes = 1 +
      sim_below (sim, sim_chance (sim, 2) ? 1 << 20 : 1 << 14);
    sim->flush.ms = 20 +
      sim_below (sim,
                 sim_chance (sim, 2)     ? 100
                   : sim_chance (sim, 2) ? 4000
                                         : 25000);
  }
  if (options->requests != 0 && options->requests < sim->op_limit)
    sim->op_limit = options->requests;
}

static void
switch_on (struct sim *sim, const struct sim_event *event)
{
  if (!sim->nodes[event->a].alive)
    node_start (sim, &sim->nodes[event->a]);
}

static void
begin_random (struct sim *sim)
{
  int n;

  fault_plan (sim);
  /* Room to grow, where somebody may want to. */
  if ((sim->fault_kinds >> FAULT_RESIZE & 1) != 0 && !sim_chance (sim, 4))
    sim->first_cells = sim->region_cells / 2 +
      (uint32_t) sim_below (sim, sim->cells - sim->region_cells / 2);
  for (n = 0; n < SIM_NODES; n++) {
    struct sim_event on = { .run = switch_on, .node = -1, .a = (uint32_t) n };

    node_init (sim, n);
    sim_after (sim, sim_below (sim, 30 * SIM_MS), on);
  }
  if (sim->options.seed % 8 == 5)
    past_make (sim);
  load_init (sim);
  fault_begin (sim);
  sim_after (sim, 0, (struct sim_event){ .run = poll, .node = -1 });
}

void
sim_run (const struct sim_options *options)
{
  static struct sim sim;
  struct sim_event *queue = sim.queue, event;
  const struct sim_script *script = options->script;
  uint32_t room = sim.queue_room;
  int n;

  memset (&sim, 0, sizeof sim);
  sim.queue = queue;
  sim.queue_room = room;
  current = &sim;
  arena_reset (&arena);
  set_up (&sim, options);
  if (script != NULL)
    script->begin (&sim);
  else
    begin_random (&sim);
  while (sim.phase != PHASE_DONE) {
    event = take_event (&sim);
    sim.now_us = event.time_us;
    sim_report->virtual_us = sim.now_us;
    if (++sim.events > options->max_events)
      sim_fail (&sim, "liveness: more than %llu events",
                (unsigned long long) options->max_events);
    dispatch (&sim, &event);
    if (script != NULL)
      script->after (&sim);
  }
  for (n = 0; n < SIM_NODES; n++)
    if (sim.nodes[n].core != NULL)
      core_free (sim.nodes[n].core);
  for (n = 0; n < sim.client_count; n++) {
    if (sim.clients[n].table != NULL)
      unanswered_free (sim.clients[n].table);
    kept_free (sim.clients[n].keeper.kept);
  }
  sim_report->events += sim.events;
  sim_report->requests += sim.op_count;
  sim_report->hash ^= sim.hash;
  sim_report->runs++;
}
