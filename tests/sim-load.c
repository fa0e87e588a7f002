/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-load.c: what the clients read and write, and what they were told.
 * Requests gather around a few places, at any cell, so that they
 * overlap each other, blocks, chunks and regions.  Every write writes a
 * tag of its own.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sim.h"

enum {
  READ_CELLS = 256,
  BUSY_OPS = SIM_OPS / 2, /* at most, when they do not wait for a fault */
  BUSY_THINK_US = 12000,
};

static void think (struct sim *sim, const struct sim_event *event);

/* --- one request -------------------------------------------------------- */

static void
choose_range (struct sim *sim, const struct client *client, struct op *op)
{
  uint32_t cells = client->cells;
  uint64_t dice = sim_below (sim, 100);
  uint32_t first, count;

  if (dice < 75) {
    first = sim->hot[sim_below (sim, 4)] +
      (uint32_t) sim_below (sim, sim->hot_width);
    count = 1 + (uint32_t) sim_below (sim, 32);
  }
  else if (dice < 93) {
    first = (uint32_t) sim_below (sim, cells);
    count = 1 + (uint32_t) sim_below (sim, 128);
  }
  else if (dice < 99) {
    first = (uint32_t) sim_below (sim, cells);
    count = 1 + (uint32_t) sim_below (sim, 1400);
  }
  else {
    first = (uint32_t) sim_below (sim, 2048);
    count = 4000 + (uint32_t) sim_below (sim, 2000);
  }
  /* A third are whole blocks. */
  if (sim_chance (sim, 3)) {
    first -= first % SIM_BLOCK_CELLS;
    count += SIM_BLOCK_CELLS - count % SIM_BLOCK_CELLS;
  }
  if (first >= cells)
    first = cells - 1;
  if (count > cells - first)
    count = cells - first;
  op->first = first;
  op->count = count;
}

static enum op_kind
choose_kind (struct sim *sim)
{
  uint64_t dice;

  if (sim_below (sim, 100) < sim->reads_percent)
    return OP_READ;
  if (flush_mode (sim) && sim_chance (sim, 8))
    return OP_FLUSH;
  dice = sim_below (sim, 60);
  if (dice < 45)
    return OP_WRITE;
  if (dice < 52)
    return OP_ZERO;
  return dice < 57 ? OP_TRIM : OP_FLUSH;
}

/* With durability=flush a client waits for what it would overlap, as the
 * proxy makes it wait.
 */
static bool
overlaps (const struct sim *sim, const struct client *client,
          const struct op *op)
{
  const struct op *other;
  uint32_t i;

  for (i = 0; i < SIM_OUTSTANDING; i++) {
    if (client->ops[i] == NO_OP)
      continue;
    other = &sim->ops[client->ops[i]];
    if (cells_meet (op->first, op->count, other->first, other->count))
      return true;
  }
  return false;
}

static void
choose_free_range (struct sim *sim, const struct client *client, struct op *op)
{
  uint32_t tries = 8;

  do
    choose_range (sim, client, op);
  while (flush_mode (sim) && !client->proxied && overlaps (sim, client, op) &&
         --tries > 0);
  if (tries == 0)
    op->kind = OP_FLUSH;
}

/* Look again at what a lost write may have left behind: most often, and
 * more than once, because what was read must stay.
 */
static bool
choose_doubt (struct sim *sim, struct client *client, struct op *op)
{
  uint32_t at;

  if (client->doubt_count == 0 || sim_chance (sim, 4))
    return false;
  at = (uint32_t) sim_below (sim, client->doubt_count);
  op->kind = OP_READ;
  op->first = sim->ops[client->doubts[at]].first;
  op->count = sim->ops[client->doubts[at]].count;
  if (sim_chance (sim, 8))
    client->doubts[at] = client->doubts[--client->doubt_count];
  return true;
}

static uint32_t
new_op (struct sim *sim, struct client *client)
{
  uint32_t number = sim->op_count++, i, tag = number + 1;
  struct op *op = &sim->ops[number];
  int n;

  assert (number < SIM_OPS);
  if (sim->phase == PHASE_READ && sim->read_next >= client->cells) {
    op->kind = OP_READ; /* so that the size counts */
    op->count = 1;
  }
  else if (sim->phase == PHASE_READ) {
    op->kind = OP_READ;
    op->first = sim->read_next;
    op->count = client->cells - op->first;
    if (op->count > READ_CELLS)
      op->count = READ_CELLS;
    sim->read_next += op->count;
  }
  else if (!choose_doubt (sim, client, op)) {
    op->kind = choose_kind (sim);
    choose_free_range (sim, client, op);
    if (op->kind != OP_READ && !proxy_has_room (client, op->count))
      op->kind = OP_FLUSH;
    if (op->kind == OP_FLUSH)
      op->first = op->count = 0;
  }
  op->client = client->index;
  op->client_life = client->life;
  if (op->kind == OP_READ || op->kind == OP_FLUSH)
    return number;
  op->values = sim_alloc (sim, op->count * sizeof *op->values);
  if (op->kind != OP_WRITE)
    tag |= TAG_ZERO;
  for (i = 0; i < op->count; i++)
    op->values[i] = tag;
  for (n = 0; n < SIM_NODES; n++)
    op->durable[n] = sim_alloc (sim, (op->count + 63) / 64 * 8);
  return number;
}

void
load_answered (struct sim *sim, struct client *client, uint32_t number,
               int error, uint32_t *tags)
{
  struct op *op = &sim->ops[number];
  uint32_t i;

  assert (op->answered == 0);
  sim_trace (sim, "client %d: op %u answered, error %d", client->index,
             number + 1, error);
  op->answered = ++sim->order;
  op->error = error;
  if (error != 0 && !(sim->store_fault && (error == EIO || error == ENOSPC)) &&
      !(sim->disk_hung && !client->proxied && error == EIO))
    sim_fail (sim, "client %d sees error %d for op %u", client->index, error,
              number + 1);
  if (op->kind == OP_READ && error == 0) {
    assert (tags != NULL);
    op->values = tags;
  }
  for (i = 0; i < SIM_OUTSTANDING; i++)
    if (client->ops[i] == number) {
      client->ops[i] = NO_OP;
      client->op_count--;
    }
}

void
load_dropped (struct sim *sim, struct client *client)
{
  uint32_t i;

  for (i = 0; i < SIM_OUTSTANDING; i++) {
    if (client->ops[i] != NO_OP && sim->ops[client->ops[i]].kind == OP_WRITE &&
        client->doubt_count < SIM_OUTSTANDING)
      client->doubts[client->doubt_count++] = client->ops[i];
    client->ops[i] = NO_OP;
  }
  client->op_count = 0;
}

bool
load_idle (const struct sim *sim)
{
  int i;

  for (i = 0; i < sim->client_count; i++)
    if (!sim->clients[i].alive || sim->clients[i].op_count > 0)
      return false;
  return true;
}

/* --- when --------------------------------------------------------------- */

/* Requests that may have been issued by now: they are spread over the
 * planned faults, so that each strikes a pair that works, and a run with
 * fewer faults is the same up to the last that is kept.
 */
static uint32_t
quota (const struct sim *sim)
{
  if (sim->fault_next >= sim->fault_count)
    return sim->op_limit;
  return sim->op_limit * (sim->fault_next + 1) / (sim->fault_planned + 1);
}

static bool
may_issue (const struct sim *sim, const struct client *client)
{
  if (!client->alive || client->op_count >= client->depth)
    return false;
  if (!client->proxied && !client->live)
    return false;
  if (client->cells == 0) /* it was never served */
    return false;
  if (sim->phase == PHASE_READ)
    return sim->read_next < client->cells ||
      (client->live && client->shown_cells > client->cells);
  if (sim->phase != PHASE_RUN || sim->now_us < sim->idle_until)
    return false;
  return sim->op_count < quota (sim) ||
    (sim->now_us < sim->busy_until && sim->op_count < BUSY_OPS &&
     sim->options.requests == 0);
}

void
load_sent (struct sim *sim, uint32_t number)
{
  struct op *op = &sim->ops[number];

  if (op->sends++ == 0)
    op->invoked = ++sim->order;
}

static void
plain_begin (struct sim *sim, struct client *client, uint32_t slot)
{
  load_sent (sim, client->ops[slot]);
  nbd_request (sim, client->nbd[0], client->ops[slot]);
}

static void
think (struct sim *sim, const struct sim_event *event)
{
  struct client *client = &sim->clients[event->a];
  uint64_t typical_us = sim->phase == PHASE_READ ? 500 : sim->think_us;
  uint32_t slot;

  if (sim->now_us < sim->busy_until)
    typical_us = BUSY_THINK_US;
  if (!may_issue (sim, client))
    typical_us += 3 * SIM_MS;
  else {
    for (slot = 0; client->ops[slot] != NO_OP; slot++)
      continue;
    client->ops[slot] = new_op (sim, client);
    client->op_count++;
    sim_trace (sim, "client %d: op %u kind %d cells %u+%u", client->index,
               client->ops[slot] + 1, (int) sim->ops[client->ops[slot]].kind,
               sim->ops[client->ops[slot]].first,
               sim->ops[client->ops[slot]].count);
    if (client->proxied)
      proxy_begin (sim, client, slot);
    else
      plain_begin (sim, client, slot);
  }
  sim_after (sim, sim_delay (sim, typical_us), *event);
}

/* --- clients of either kind --------------------------------------------- */

void
load_init (struct sim *sim)
{
  const struct model *model = sim->model;
  uint32_t proxied, plain, i;

  proxied = model->proxied_min +
    (uint32_t) sim_below (sim, model->proxied_max - model->proxied_min + 1);
  plain = model->plain_min +
    (uint32_t) sim_below (sim, model->plain_max - model->plain_min + 1);
  assert (proxied + plain <= SIM_CLIENTS);
  sim->client_count = (int) (proxied + plain);
  if (plain > 0)
    sim->cut_for_good = -1; /* for these there is no other path */
  for (i = 0; i < proxied + plain; i++) {
    struct client *client = &sim->clients[i];

    client->index = (int) i;
    client->proxied = i < proxied;
    client->depth = 1 + (uint32_t) sim_below (sim, 10);
    memset (client->ops, 0xff, sizeof client->ops); /* NO_OP */
    load_start (sim, client, client->saved.epoch == 0);
    sim_after (sim, sim_below (sim, 20 * SIM_MS),
               (struct sim_event){ .run = think, .node = -1, .a = i });
  }
}

/* A single client that forgets at the wrong time may split the pair, which
 * must then say so.
 */
static bool
may_forget (struct sim *sim, const struct client *client)
{
  if (sim->model->arbiter == ARBITER_ETCD || sim->model->force ||
      check_may_forget (sim))
    return true;
  if (!sim->model->partition || !client->proxied || sim_chance (sim, 2))
    return false;
  sim->may_split = true;
  return true;
}

void
load_start (struct sim *sim, struct client *client, bool amnesia)
{
  int n;
  uint32_t i;

  if (client->alive)
    return;
  amnesia = amnesia && may_forget (sim, client);
  for (n = 0; amnesia && n < SIM_NODES; n++)
    for (i = 0; i < SIM_CONNS; i++)
      if (sim->nodes[n].conns[i] != NULL &&
          sim->nodes[n].conns[i]->client == client->index)
        nbd_lose (sim->nodes[n].conns[i]);
  sim_trace (sim, "client %d: starts%s", client->index,
             amnesia ? " without memory" : "");
  client->alive = true;
  client->life++;
  client->live = false;
  load_dropped (sim, client);
  if (client->proxied)
    proxy_start (sim, client, amnesia);
  else
    plain_start (sim, client);
}

void
load_crash (struct sim *sim, struct client *client)
{
  if (!client->alive)
    return;
  sim_trace (sim, "client %d: is killed", client->index);
  if (client->proxied) {
    flush_note_death (sim);
    proxy_crash (sim, client);
  }
  else
    plain_crash (sim, client);
  load_dropped (sim, client);
  client->alive = false;
}

void
load_message (struct sim *sim, struct nbd *nbd, struct message *message)
{
  if (sim->clients[nbd->client].proxied)
    proxy_message (sim, nbd, message);
  else
    plain_message (sim, nbd, message);
}

void
load_refused (struct sim *sim, struct nbd *nbd)
{
  if (sim->clients[nbd->client].proxied)
    proxy_refused (sim, nbd);
  else
    plain_refused (sim, nbd);
}
