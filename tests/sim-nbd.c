/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-nbd.c: connections between clients and nodes, and the node's side
 * of them as nbdkit has it: a connection closes when its requests have
 * ended, however early the client hung up; what stands in the socket is
 * read before the end is seen.
 */
#include <assert.h>
#include <string.h>

#include "sim.h"

enum { UNREACHABLE_US = 300000 };

static void to_server (struct sim *sim, const struct sim_event *event);
static void to_client (struct sim *sim, const struct sim_event *event);

static struct node *
server (struct sim *sim, const struct nbd *nbd)
{
  struct node *node = &sim->nodes[nbd->node];

  return node->alive && node->life == nbd->node_life ? node : NULL;
}

/* --- both directions ---------------------------------------------------- */

static void
push_server (struct sim *sim, struct nbd *nbd, struct message *message)
{
  uint64_t time = sim->now_us + sim_delay (sim, 80);
  struct sim_event event = { .run = to_server, .node = -1, .data = nbd };

  if (nbd->server_muted)
    return;
  if (time < nbd->server_last)
    time = nbd->server_last;
  nbd->server_last = time;
  if (nbd->to_server_tail != NULL)
    nbd->to_server_tail->next = message;
  else
    nbd->to_server = message;
  nbd->to_server_tail = message;
  sim_at (sim, time, event);
}

static void
push_client (struct sim *sim, struct nbd *nbd, struct message *message)
{
  uint64_t time = sim->now_us + sim_delay (sim, 80);
  struct sim_event event = { .run = to_client, .node = -1, .data = nbd };

  if (nbd->client_gone)
    return;
  if (time < nbd->client_last)
    time = nbd->client_last;
  nbd->client_last = time;
  if (nbd->to_client_tail != NULL)
    nbd->to_client_tail->next = message;
  else
    nbd->to_client = message;
  nbd->to_client_tail = message;
  sim_at (sim, time, event);
}

static void
send_eof (struct sim *sim, struct nbd *nbd, bool to_the_server)
{
  struct message *message = sim_alloc (sim, sizeof *message);

  message->type = MSG_EOF;
  if (to_the_server)
    push_server (sim, nbd, message);
  else
    push_client (sim, nbd, message);
}

/* --- the node's side ---------------------------------------------------- */

static void
close_now (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct nbd *nbd = event->data;
  struct core_event close = { .type = EV_CLOSE, .slot = nbd->slot };

  if (nbd->server != NBD_OPEN || nbd->requests > 0)
    return;
  nbd->server = NBD_DONE;
  node->conns[nbd->slot] = NULL;
  node_step (sim, node, &close);
}

static void
close_soon (struct sim *sim, struct nbd *nbd)
{
  struct node *node = server (sim, nbd);
  struct sim_event event;

  if (node == NULL || nbd->server != NBD_OPEN || !nbd->server_eof ||
      nbd->requests > 0)
    return;
  event = node_event (node, close_now);
  event.data = nbd;
  sim_after (sim, sim_below (sim, 100), event);
}

void
nbd_request_ended (struct sim *sim, struct nbd *nbd)
{
  assert (nbd->requests > 0);
  nbd->requests--;
  close_soon (sim, nbd);
}

static void
serve_open (struct sim *sim, struct node *node, struct nbd *nbd)
{
  struct core_event event = { .type = EV_OPEN, .open = nbd->open };

  for (nbd->slot = 0; nbd->slot < SIM_CONNS; nbd->slot++)
    if (node->conns[nbd->slot] == NULL)
      break;
  if (nbd->slot == SIM_CONNS)
    sim_fail (sim, "liveness: %c keeps all connections open",
              'A' + node->index);
  node->conns[nbd->slot] = nbd;
  nbd->server = NBD_OPENING;
  node->asked |= nbd->open.proxied;
  event.slot = nbd->slot;
  node_step (sim, node, &event);
}

/* May this one go past the core, as in engine_read?  Half of those that
 * may do.
 */
static bool
reads_freely (struct sim *sim, const struct node *node, const struct nbd *nbd,
              const struct op *op)
{
  return op->kind == OP_READ && nbd->server == NBD_OPEN && !nbd->ended &&
    !store_read_fails (node) && sim->options.script == NULL &&
    core_reads_freely (node->core) &&
    node_clock_ms (sim, node) < core_deadline (node->core) &&
    sim_chance (sim, 2);
}

static void
serve_request (struct sim *sim, struct node *node, struct nbd *nbd,
               uint32_t number)
{
  static const enum core_request_kind kinds[] = {
    [OP_READ] = REQ_READ, [OP_WRITE] = REQ_WRITE, [OP_ZERO] = REQ_ZERO,
    [OP_TRIM] = REQ_TRIM, [OP_FLUSH] = REQ_FLUSH,
  };
  const struct op *op = &sim->ops[number];
  struct core_event event = { .type = EV_REQUEST };
  uint32_t slot;

  for (slot = 0; slot < SIM_SLOTS; slot++)
    if (!node->slots[slot].used)
      break;
  if (slot == SIM_SLOTS)
    sim_fail (sim, "liveness: %c keeps all requests", 'A' + node->index);
  if (op->first + op->count > nbd->cells)
    sim_fail (sim, "op %u lies behind the end that client %d was shown",
              number + 1, nbd->client);
  node->slots[slot] = (struct slot){ .used = true, .nbd = nbd, .op = number };
  flush_begins (sim, node, &node->slots[slot]);
  nbd->requests++;
  if (reads_freely (sim, node, nbd, op)) {
    shell_read_freely (sim, node, slot);
    return;
  }
  event.slot = slot;
  event.request.kind = kinds[op->kind];
  event.request.conn = nbd->slot;
  event.request.offset = cell_offset (op->first);
  event.request.length = cell_offset (op->first + op->count) -
    cell_offset (op->first);
  event.request.punch = op->kind == OP_ZERO && op->first % 2 == 0;
  node_step (sim, node, &event);
}

/* The node notices that a client has gone which it still keeps waiting. */
static void
notice (struct sim *sim, const struct sim_event *event)
{
  struct nbd *nbd = event->data;
  struct core_event hangup = { .type = EV_HANGUP, .slot = nbd->slot };

  if (nbd->server == NBD_OPENING ||
      (nbd->server == NBD_OPEN && nbd->requests > 0))
    node_step (sim, &sim->nodes[nbd->node], &hangup);
}

static void
hung_up (struct sim *sim, struct nbd *nbd)
{
  struct sim_event event = node_event (&sim->nodes[nbd->node], notice);

  nbd->server_eof = true;
  event.data = nbd;
  if (nbd->server == NBD_OPENING || nbd->server == NBD_OPEN)
    sim_after (sim, sim_delay (sim, 1000), event);
}

static bool
held_back (struct sim *sim, const struct nbd *nbd,
           const struct sim_event *event)
{
  uint64_t until = sim->clients[nbd->client].cut_until[nbd->node];

  if (until <= sim->now_us)
    return false;
  sim_at (sim, until + sim_below (sim, 2 * SIM_MS), *event);
  return true;
}

static void
to_server (struct sim *sim, const struct sim_event *event)
{
  struct nbd *nbd = event->data;
  struct node *node = server (sim, nbd);
  struct message *message;

  if (node == NULL) {
    /* Still in the backlog when the process died: reset. */
    if (nbd->server == NBD_NEW)
      send_eof (sim, nbd, false);
    nbd->server = NBD_DONE;
    return;
  }
  if (held_back (sim, nbd, event))
    return;
  if (node->pause_until > sim->now_us) {
    sim_at (sim, node->pause_until + sim_below (sim, 200), *event);
    return;
  }
  message = nbd->to_server;
  if (message == NULL || nbd->server == NBD_DONE || nbd->server_eof)
    return;
  /* nbdkit answers the open before it reads on. */
  if (nbd->server == NBD_OPENING) {
    if (message->type == MSG_EOF)
      hung_up (sim, nbd);
    else
      sim_after (sim, 1000, *event);
    return;
  }
  nbd->to_server = message->next;
  if (nbd->to_server == NULL)
    nbd->to_server_tail = NULL;
  switch (message->type) {
  case MSG_OPEN: serve_open (sim, node, nbd); break;
  case MSG_REQUEST: serve_request (sim, node, nbd, message->op); break;
  default:
    hung_up (sim, nbd);
    if (nbd->server == NBD_NEW)
      nbd->server = NBD_DONE;
    close_soon (sim, nbd);
    break;
  }
}

void
nbd_opened (struct sim *sim, struct nbd *nbd, int error, struct gen_id gen)
{
  struct message *message = sim_alloc (sim, sizeof *message);

  assert (nbd->server == NBD_OPENING);
  nbd->server = error == 0 ? NBD_OPEN : NBD_DONE;
  nbd->bound = gen;
  message->type = MSG_OPENED;
  message->error = error;
  message->gen = gen;
  push_client (sim, nbd, message);
  if (error != 0)
    send_eof (sim, nbd, false);
  close_soon (sim, nbd);
}

void
nbd_reply (struct sim *sim, struct nbd *nbd, uint32_t op, int error,
           struct gen_id gen, uint32_t *tags)
{
  struct message *message = sim_alloc (sim, sizeof *message);

  message->type = MSG_REPLY;
  message->op = op;
  message->error = error;
  message->gen = gen;
  message->tags = tags;
  push_client (sim, nbd, message);
}

void
nbd_server_hangs_up (struct sim *sim, struct nbd *nbd)
{
  if (nbd->server != NBD_OPEN)
    return;
  nbd->server_eof = true;
  nbd->server_muted = true;
  nbd->to_server = nbd->to_server_tail = NULL;
  send_eof (sim, nbd, false);
  close_soon (sim, nbd);
}

/* A host that comes back answers what is sent to its old connections
 * with a reset.
 */
static void
reset (struct sim *sim, const struct sim_event *event)
{
  struct nbd *nbd = event->data;

  if (nbd->client_gone)
    return;
  if (sim->nodes[nbd->node].alive)
    send_eof (sim, nbd, false);
  else
    sim_after (sim, sim_delay (sim, 100 * SIM_MS), *event);
}

void
nbd_server_died (struct sim *sim, struct nbd *nbd, bool silent)
{
  nbd->server = NBD_DONE;
  nbd->server_muted = true;
  nbd->to_server = nbd->to_server_tail = NULL;
  if (!silent)
    send_eof (sim, nbd, false);
  else
    sim_after (sim, sim_delay (sim, 100 * SIM_MS),
               (struct sim_event){ .run = reset, .node = -1, .data = nbd });
}

/* --- the client's side -------------------------------------------------- */

static void
to_client (struct sim *sim, const struct sim_event *event)
{
  struct nbd *nbd = event->data;
  struct message *message;

  if (nbd->client_gone || (!nbd->cut && held_back (sim, nbd, event)))
    return;
  message = nbd->to_client;
  if (message == NULL)
    return;
  nbd->to_client = message->next;
  if (nbd->to_client == NULL)
    nbd->to_client_tail = NULL;
  message->next = NULL;
  load_message (sim, nbd, message);
}

/* The attempt to connect reaches the node, or does not. */
static void
arrive (struct sim *sim, const struct sim_event *event)
{
  struct nbd *nbd = event->data;
  struct node *node = &sim->nodes[nbd->node];
  struct message *message;
  uint64_t cut_until = sim->clients[nbd->client].cut_until[nbd->node];

  if (nbd->client_gone)
    return;
  if (cut_until > sim->now_us && event->a == 0) {
    struct sim_event late = *event;

    late.a = 1;
    sim_after (sim, UNREACHABLE_US, late);
    return;
  }
  if (cut_until > sim->now_us || !node->alive) {
    load_refused (sim, nbd);
    return;
  }
  nbd->node_life = node->life;
  message = sim_alloc (sim, sizeof *message);
  message->type = MSG_OPEN;
  push_server (sim, nbd, message);
}

struct nbd *
nbd_connect (struct sim *sim, struct client *client, int node,
             const struct core_open *open)
{
  struct nbd *nbd = sim_alloc (sim, sizeof *nbd);
  struct sim_event event = { .run = arrive, .node = -1, .data = nbd };

  nbd->id = ++sim->nbds;
  nbd->node = node;
  nbd->client = client->index;
  nbd->client_life = client->life;
  nbd->open = *open;
  nbd->server_last = sim->now_us + client->late_us;
  client->late_us = 0;
  sim_after (sim, sim_delay (sim, 150), event);
  return nbd;
}

void
nbd_request (struct sim *sim, struct nbd *nbd, uint32_t op)
{
  struct message *message = sim_alloc (sim, sizeof *message);

  message->type = MSG_REQUEST;
  message->op = op;
  push_server (sim, nbd, message);
}

void
nbd_hang_up (struct sim *sim, struct nbd *nbd)
{
  if (nbd->client_gone)
    return;
  nbd->client_gone = true;
  send_eof (sim, nbd, true);
}

/* Drop a random tail of what is on its way to the server. */
static void
lose_tail (struct sim *sim, struct nbd *nbd)
{
  struct message *message, **at = &nbd->to_server;

  while (*at != NULL && !sim_chance (sim, 3))
    at = &(*at)->next;
  *at = NULL;
  nbd->to_server_tail = NULL;
  for (message = nbd->to_server; message != NULL; message = message->next)
    nbd->to_server_tail = message;
}

void
nbd_lose (struct nbd *nbd)
{
  if (nbd->server != NBD_NEW)
    nbd->to_server = nbd->to_server_tail = NULL;
}

void
nbd_cut (struct sim *sim, struct nbd *nbd)
{
  lose_tail (sim, nbd);
  send_eof (sim, nbd, true);
  nbd->server_muted = nbd->cut = true;
  nbd->to_client = nbd->to_client_tail = NULL;
  send_eof (sim, nbd, false);
}

/* --- faults of single connections --------------------------------------- */

static void
cut_stalled (struct sim *sim, const struct sim_event *event)
{
  struct nbd *nbd = event->data;

  if (!nbd->client_gone)
    nbd_cut (sim, nbd);
}

/* On one of the connections of a session no answer gets through any more,
 * and after LENGTH_US it is found dead.  The others go on.
 */
void
nbd_stall_one (struct sim *sim, struct client *client, uint32_t dice,
               uint64_t length_us)
{
  struct sim_event event = { .run = cut_stalled, .node = -1 };
  struct nbd *nbd;

  if (!client->live || client->nbd_count == 0)
    return;
  nbd = client->nbd[dice % client->nbd_count];
  nbd->client_last = sim->now_us + length_us;
  event.data = nbd;
  sim_after (sim, length_us, event);
}

/* A proxy loses its session, and what it says on its next connection stands
 * in the network until it has given that one up, and MORE_US.
 */
void
nbd_delay_next (struct sim *sim, struct client *client, uint64_t more_us)
{
  uint32_t i;

  if (!client->proxied || !client->alive)
    return;
  client->late_us = client->route.config.timeout_ms * SIM_MS + more_us;
  for (i = 0; client->live && i < client->nbd_count; i++)
    nbd_cut (sim, client->nbd[i]);
}
