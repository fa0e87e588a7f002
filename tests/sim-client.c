/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-client.c: the failover proxy with one client behind it.  Where it
 * turns next is decided by the real route.c, what may be sent by the real
 * unanswered.c; this file is their shell: it takes session numbers from
 * the state file, opens, sends, and notes the generation in the file
 * before the first answer under it is passed on.
 */
#include <assert.h>
#include <errno.h>

#include "sim.h"

_Static_assert((int) FLUSH_SLOTS == (int) SIM_OUTSTANDING,
               "a mark for each request");

static void feed (struct sim *sim, struct client *client,
                  enum route_event_type type, uint64_t attempt);

static struct client *
client_of (struct sim *sim, const struct sim_event *event)
{
  struct client *client = &sim->clients[event->a];

  return client->alive && client->life == event->b ? client : NULL;
}

static struct sim_event
client_event (const struct client *client, sim_handler *run)
{
  return (struct sim_event){
    .run = run, .node = -1, .a = (uint32_t) client->index, .b = client->life
  };
}

/* --- asking ------------------------------------------------------------- */

static void
stop_asking (struct sim *sim, struct client *client)
{
  if (client->asking != NULL)
    nbd_hang_up (sim, client->asking);
  client->asking = NULL;
  client->ask = ROUTE_ASK_NONE;
}

static void
pinged (struct sim *sim, const struct sim_event *event)
{
  struct client *client = client_of (sim, event);
  const struct node *node;

  if (client == NULL || client->ask != ROUTE_ASK_PING ||
      client->attempt != event->c)
    return;
  node = &sim->nodes[client->node];
  client->ask = ROUTE_ASK_NONE;
  feed (sim, client,
        node->alive && node->pause_until <= sim->now_us &&
            client->cut_until[node->index] <= sim->now_us
          ? ROUTE_REACHED
          : ROUTE_UNREACHABLE,
        event->c);
}

/* The node has not greeted in time. */
static void
not_greeted (struct sim *sim, const struct sim_event *event)
{
  struct client *client = client_of (sim, event);

  if (client == NULL || client->ask != ROUTE_ASK_OPEN ||
      client->attempt != event->c || client->asking == NULL ||
      client->asking->server != NBD_NEW)
    return;
  stop_asking (sim, client);
  feed (sim, client, ROUTE_UNREACHABLE, event->c);
}

static void
ask (struct sim *sim, struct client *client, const struct route_step *step)
{
  struct core_open open = { .proxied = true };
  struct sim_event event = client_event (client, pinged);
  uint64_t now_ms = sim->now_us / SIM_MS;

  stop_asking (sim, client);
  sim_trace (sim, "client %d: asks %c", client->index, 'A' + (int) step->node);
  client->ask = step->ask;
  client->attempt = event.c = step->attempt;
  if (step->ask == ROUTE_ASK_PING) {
    sim_after (sim, sim_delay (sim, 300), event);
    return;
  }
  open.client = client->id;
  open.session = ++client->session; /* durable before it is used */
  open.shown = client->shown;
  open.unreachable = step->unreachable;
  client->asking = nbd_connect (sim, client, (int) step->node, &open);
  event.run = not_greeted;
  sim_after (sim, (step->greet_by_ms - now_ms) * SIM_MS, event);
}

/* --- the live session --------------------------------------------------- */

static void
abandon (struct sim *sim, struct client *client)
{
  uint32_t i;

  sim_trace (sim, "client %d: abandons its session", client->index);
  client->live = false;
  for (i = 0; i < client->nbd_count; i++)
    nbd_hang_up (sim, client->nbd[i]);
  client->nbd_count = 0;
  unanswered_lost (client->table);
  if (client->keeper.kept != NULL)
    kept_lost (client->keeper.kept);
  client->keeper.again_count = 0;
}

/* The node that broke the session is out of reach. */
static void
turn_away (struct sim *sim, const struct sim_event *event)
{
  struct client *client = client_of (sim, event);

  if (client == NULL || client->wanders == 0)
    return;
  client->wanders--;
  client->cut_until[1 - client->node] = 0;
  client->cut_until[client->node] = sim->now_us + 600 * SIM_MS;
  if (client->asking != NULL && client->asking->node == client->node)
    nbd_cut (sim, client->asking);
}

/* The session breaks at once, or soon. */
static void
flap (struct sim *sim, const struct sim_event *event)
{
  struct client *client = client_of (sim, event);
  uint32_t i;

  if (client == NULL || !client->live)
    return;
  for (i = 0; i < client->nbd_count; i++) {
    if (client->wanders > 0)
      nbd_lose (client->nbd[i]);
    nbd_cut (sim, client->nbd[i]);
  }
  if (client->wanders > 0)
    sim_after (sim, sim_chance (sim, 4) ? 5 * SIM_MS : 0,
               client_event (client, turn_away));
}

/* What the node's process tells of itself. */
static uint64_t
boot_of (const struct nbd *nbd)
{
  return (uint64_t) nbd->node_life << 1 | (uint64_t) nbd->node;
}

static void
adopt (struct sim *sim, struct client *client)
{
  struct nbd *nbd = client->accepted;
  uint32_t i;

  client->live = true;
  client->node = nbd->node;
  client->shown_cells = nbd->cells;
  if (!client->bound)
    client->cells = nbd->cells;
  client->served = nbd->gen;
  client->keeper.boot = boot_of (nbd);
  if (client->keeper.kept != NULL)
    kept_session (client->keeper.kept, client->keeper.boot);
  if (client->keeper.kept != NULL && !kept_settled (client->keeper.kept))
    flush_note_again (sim);
  client->nbd[0] = nbd;
  client->nbd_count = 1;
  client->accepted = NULL;
  sim_trace (sim, "client %d: session %llu at %c", client->index,
             (unsigned long long) nbd->open.session, 'A' + nbd->node);
  for (i = 1; i < client->want; i++)
    client->nbd[client->nbd_count++] = nbd_connect (sim, client, nbd->node,
                                                    &nbd->open);
  if (client->flaps == 0)
    return;
  client->flaps--;
  sim_after (sim, client->flaps % 8 == 7 ? 30 * SIM_MS : 0,
             client_event (client, flap));
}

static void
lost (struct sim *sim, struct client *client, enum route_event_type type)
{
  if (client->live)
    feed (sim, client, type, 0);
}

/* What is kept and was answered by another process comes first.  True when
 * all of it was answered.
 */
static bool
send_again (struct sim *sim, struct client *client)
{
  struct nbd *nbd;
  uint64_t number;
  uint32_t op;

  while (client->keeper.again_count < FLUSH_AGAIN &&
         kept_next (client->keeper.kept, &number)) {
    op = (uint32_t) (uintptr_t) kept_write (client->keeper.kept, number).data;
    client->keeper.again[client->keeper.again_count].op = op;
    client->keeper.again[client->keeper.again_count++].number = number;
    kept_sent (client->keeper.kept, number);
    client->keeper.again_ms = sim->now_us / SIM_MS;
    sim_trace (sim, "client %d: op %u again", client->index, op + 1);
    /* A node does what came on one connection in any order, too. */
    nbd = client->nbd[number % client->nbd_count];
    nbd_request (sim, nbd->client_open ? nbd : client->nbd[0], op);
  }
  return kept_settled (client->keeper.kept);
}

void
proxy_pump (struct sim *sim, struct client *client)
{
  uint32_t slot = UINT32_MAX;
  struct nbd *nbd;

  if (!client->live)
    return;
  if (client->keeper.kept != NULL && !send_again (sim, client))
    return;
  while (unanswered_next (client->table, &slot)) {
    if (client->answered[slot])
      continue;
    nbd = client->nbd[slot % client->nbd_count];
    if (!nbd->client_open)
      nbd = client->nbd[0];
    client->tags[slot] = unanswered_sent (client->table, slot,
                                          sim->now_us / SIM_MS);
    load_sent (sim, client->ops[slot]);
    if (client->keeper.kept != NULL)
      client->keeper.mark[slot] = kept_newest (client->keeper.kept);
    nbd_request (sim, nbd, client->ops[slot]);
  }
  if (sim->options.check_every != 0 &&
      sim->steps % sim->options.check_every == 0)
    unanswered_check (client->table);
}

void
proxy_begin (struct sim *sim, struct client *client, uint32_t slot)
{
  const struct op *op = &sim->ops[client->ops[slot]];
  enum unanswered_kind kind = UNANSWERED_WRITE;
  uint64_t offset = cell_offset (op->first);
  uint32_t taken;

  if (op->kind == OP_READ)
    kind = UNANSWERED_READ;
  else if (op->kind == OP_FLUSH)
    kind = UNANSWERED_FLUSH;
  if (!unanswered_begin (client->table, kind, offset,
                         cell_offset (op->first + op->count) - offset, &taken))
    assert (false);
  if (taken != slot) {
    client->ops[taken] = client->ops[slot];
    client->ops[slot] = NO_OP;
  }
  client->answered[taken] = false;
  proxy_pump (sim, client);
  feed (sim, client, ROUTE_TICK, 0);
}

/* --- the route ---------------------------------------------------------- */

/* When what has waited longest for its answer was sent; ROUTE_NEVER:
 * nothing waits.
 */
static uint64_t
oldest_sent_ms (const struct client *client)
{
  uint64_t sent_ms = unanswered_sent_ms (client->table);

  if (client->keeper.again_count > 0 && client->keeper.again_ms < sent_ms)
    return client->keeper.again_ms;
  return sent_ms;
}

static void
on_tick (struct sim *sim, const struct sim_event *event)
{
  struct client *client = client_of (sim, event);

  if (client == NULL || client->tick_us != event->c)
    return;
  client->tick_us = SIM_NEVER;
  feed (sim, client, ROUTE_TICK, 0);
}

static void
schedule (struct sim *sim, struct client *client)
{
  uint64_t due_ms = route_deadline (&client->route, oldest_sent_ms (client));
  struct sim_event event = client_event (client, on_tick);
  uint64_t time;

  if (due_ms == ROUTE_NEVER)
    return;
  time = due_ms * SIM_MS;
  if (time <= sim->now_us)
    time = sim->now_us + SIM_MS;
  if (time >= client->tick_us)
    return;
  client->tick_us = event.c = time;
  sim_at (sim, time, event);
}

static void
feed (struct sim *sim, struct client *client, enum route_event_type type,
      uint64_t attempt)
{
  struct route_event event = {
    .type = type,
    .now_ms = sim->now_us / SIM_MS,
    .attempt = attempt,
    .sent_ms = oldest_sent_ms (client),
    .fresh = client->live && !gen_id_equal (client->served, client->shown),
  };
  struct route_step step = route_step (&client->route, &event);

  if (step.abandon && client->live)
    abandon (sim, client);
  if (step.adopt)
    adopt (sim, client);
  if (step.ask != ROUTE_ASK_NONE)
    ask (sim, client, &step);
  proxy_pump (sim, client);
  schedule (sim, client);
}

/* --- answers ------------------------------------------------------------ */

static void
pass_on (struct sim *sim, struct client *client, const struct late *late)
{
  uint32_t slot;

  for (slot = 0; slot < SIM_OUTSTANDING; slot++)
    if (client->ops[slot] == late->op)
      break;
  assert (slot < SIM_OUTSTANDING);
  unanswered_end (client->table, slot);
  if (late->error == 0)
    check_accepted (sim, late->node, late->gen);
  load_answered (sim, client, late->op, late->error, late->tags);
}

static void
noted (struct sim *sim, const struct sim_event *event)
{
  struct client *client = client_of (sim, event);
  const struct late *late;

  if (client == NULL)
    return;
  client->saved = *(struct gen_id *) event->data;
  if (!gen_id_equal (client->saved, client->shown)) {
    struct sim_event again = *event;

    again.data = sim_alloc (sim, sizeof client->shown);
    *(struct gen_id *) again.data = client->shown;
    sim_after (sim, sim_delay (sim, 300), again);
    return;
  }
  client->noting = false;
  for (late = client->late; late != NULL; late = late->next)
    pass_on (sim, client, late);
  client->late = client->late_tail = NULL;
  proxy_pump (sim, client);
  schedule (sim, client);
}

/* Is it the answer to a kept write that was sent again? */
static bool
answered_again (struct sim *sim, struct client *client,
                const struct message *message)
{
  uint32_t i;

  for (i = 0; i < client->keeper.again_count; i++)
    if (client->keeper.again[i].op == message->op)
      break;
  if (i == client->keeper.again_count)
    return false;
  if (message->error != 0 && !sim->store_fault)
    sim_fail (sim, "client %d: op %u, sent again, has error %d", client->index,
              message->op + 1, message->error);
  /* The proxy fails the next flush: nothing is promised any more. */
  if (message->error != 0)
    sim->flush.broken = true;
  kept_answered (client->keeper.kept, client->keeper.again[i].number);
  client->keeper.again[i] = client->keeper.again[--client->keeper.again_count];
  client->keeper.again_ms = sim->now_us / SIM_MS;
  proxy_pump (sim, client);
  schedule (sim, client);
  return true;
}

/* Keep what may still be lost, until a flush. */
static void
keep (struct client *client, const struct op *op, uint32_t slot,
      const struct message *message)
{
  struct kept_write write = { .data = (void *) (uintptr_t) message->op };

  if (op->kind == OP_FLUSH) {
    while (
      message->error == 0 &&
      kept_flushed (client->keeper.kept, client->keeper.mark[slot], &write))
      continue;
    return;
  }
  if (op->kind == OP_READ)
    return;
  if (message->error != 0) {
    kept_release (client->keeper.kept, op->count);
    return;
  }
  write.offset = cell_offset (op->first);
  write.length = cell_offset (op->first + op->count) - write.offset;
  kept_add (client->keeper.kept, &write, op->count);
}

bool
proxy_has_room (struct client *client, uint32_t count)
{
  return client->keeper.kept == NULL ||
    kept_reserve (client->keeper.kept, count);
}

static void
answered (struct sim *sim, struct client *client, struct nbd *nbd,
          const struct message *message)
{
  struct late *late = sim_alloc (sim, sizeof *late);
  struct sim_event event = client_event (client, noted);
  uint32_t slot, found;

  for (slot = 0; slot < SIM_OUTSTANDING; slot++)
    if (client->ops[slot] == message->op)
      break;
  assert (slot < SIM_OUTSTANDING);
  if (!unanswered_answered (client->table, client->tags[slot], &found))
    sim_fail (sim, "client %d: op %u is answered twice", client->index,
              message->op + 1);
  assert (found == slot);
  client->answered[slot] = true;
  if (client->keeper.kept != NULL)
    keep (client, &sim->ops[message->op], slot, message);
  late->op = message->op;
  late->node = nbd->node;
  late->gen = message->gen;
  late->error = message->error;
  late->tags = message->tags;
  client->shown = client->served;
  resize_counts (client);
  if (gen_id_equal (client->saved, client->shown)) {
    pass_on (sim, client, late);
    proxy_pump (sim, client);
    schedule (sim, client);
    return;
  }
  if (client->late_tail != NULL)
    client->late_tail->next = late;
  else
    client->late = late;
  client->late_tail = late;
  if (client->noting)
    return;
  client->noting = true;
  event.data = sim_alloc (sim, sizeof client->shown);
  *(struct gen_id *) event.data = client->shown;
  sim_after (sim, sim_delay (sim, 300), event);
}

/* A further connection of the live session came to something. */
static void
joined (struct sim *sim, struct client *client, struct nbd *nbd,
        const struct message *message)
{
  uint32_t i;

  if (message->error == 0 && gen_id_equal (message->gen, client->served) &&
      boot_of (nbd) == client->keeper.boot) {
    nbd->client_open = true;
    return;
  }
  if (message->error == 0) {
    lost (sim, client, ROUTE_LOST_SHUTDOWN);
    return;
  }
  for (i = 0; i < client->nbd_count; i++)
    if (client->nbd[i] == nbd)
      client->nbd[i] = client->nbd[--client->nbd_count];
  nbd_hang_up (sim, nbd);
}

static void
opened (struct sim *sim, struct client *client, struct nbd *nbd,
        const struct message *message)
{
  uint64_t attempt = client->attempt;

  client->asking = NULL;
  client->ask = ROUTE_ASK_NONE;
  if (message->error != 0 || !resize_fits (sim, client, nbd)) {
    nbd_hang_up (sim, nbd);
    feed (sim, client, ROUTE_REFUSED, attempt);
    return;
  }
  nbd->client_open = true;
  nbd->gen = message->gen;
  client->accepted = nbd;
  feed (sim, client, ROUTE_ACCEPTED, attempt);
  if (client->accepted != NULL) {
    nbd_hang_up (sim, nbd);
    client->accepted = NULL;
  }
}

static bool
in_session (const struct client *client, const struct nbd *nbd)
{
  uint32_t i;

  for (i = 0; i < client->nbd_count; i++)
    if (client->nbd[i] == nbd)
      return client->live;
  return false;
}

void
proxy_message (struct sim *sim, struct nbd *nbd, struct message *message)
{
  struct client *client = &sim->clients[nbd->client];

  if (nbd == client->asking) {
    if (message->type == MSG_OPENED)
      opened (sim, client, nbd, message);
    else
      proxy_refused (sim, nbd);
    return;
  }
  if (!in_session (client, nbd))
    return;
  if (message->type == MSG_OPENED)
    joined (sim, client, nbd, message);
  else if (message->type == MSG_EOF && !nbd->client_open) {
    struct message refused = { .type = MSG_OPENED, .error = ECONNREFUSED };

    joined (sim, client, nbd, &refused);
  }
  else if (message->type == MSG_EOF)
    lost (sim, client, ROUTE_LOST_EOF);
  else if (message->error == ESHUTDOWN)
    lost (sim, client, ROUTE_LOST_SHUTDOWN);
  else if (!answered_again (sim, client, message))
    answered (sim, client, nbd, message);
}

void
proxy_refused (struct sim *sim, struct nbd *nbd)
{
  struct client *client = &sim->clients[nbd->client];
  struct message refused = { .type = MSG_OPENED, .error = ECONNREFUSED };
  uint64_t attempt = client->attempt;

  if (in_session (client, nbd)) {
    joined (sim, client, nbd, &refused);
    return;
  }
  if (nbd != client->asking)
    return;
  stop_asking (sim, client);
  feed (sim, client, ROUTE_UNREACHABLE, attempt);
}

/* --- life --------------------------------------------------------------- */

void
proxy_start (struct sim *sim, struct client *client, bool amnesia)
{
  struct route_config config = { .nodes = SIM_NODES };

  if (amnesia) {
    client->id = sim_random (sim) | 1;
    client->session = 0;
    client->saved = (struct gen_id){ 0, 0 };
  }
  if (!gen_id_equal (client->saved, client->shown))
    client->bound = false;
  /* What it was shown may have been given up, with the size. */
  if (amnesia && sim->model->force)
    client->cells = 0;
  client->shown = client->saved;
  client->tick_us = SIM_NEVER;
  client->ask = ROUTE_ASK_NONE;
  client->asking = client->accepted = NULL;
  client->noting = false;
  client->late = client->late_tail = NULL;
  client->nbd_count = 0;
  client->want = 1 + (uint32_t) sim_below (sim, SIM_SESSION_CONNS);
  client->table = unanswered_new (SIM_OUTSTANDING);
  assert (client->table != NULL);
  client->keeper.again_count = 0;
  if (flush_mode (sim)) {
    client->keeper.kept = kept_new (2 * SIM_OUTSTANDING +
                                      (uint32_t) sim_below (sim, 64),
                                    1000 + sim_below (sim, 20000));
    assert (client->keeper.kept != NULL);
  }
  config.timeout_ms = 300 + sim_below (sim, 3000);
  config.seed = sim_random (sim);
  route_init (&client->route, &config);
  feed (sim, client, ROUTE_START, 0);
}

void
proxy_crash (struct sim *sim, struct client *client)
{
  uint32_t i;

  stop_asking (sim, client);
  for (i = 0; i < client->nbd_count; i++)
    nbd_hang_up (sim, client->nbd[i]);
  client->nbd_count = 0;
  unanswered_free (client->table);
  client->table = NULL;
  kept_free (client->keeper.kept);
  client->keeper.kept = NULL;
}
