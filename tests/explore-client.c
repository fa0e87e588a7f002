/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore-client.c: one client behind its proxy.  It obeys the rules of
 * the proxy (what it shows, what it replays, what it holds back), but
 * where it turns and when is left open, so that it does all that route.c
 * might do and more:
 *
 *   - a session number is never used twice; each open shows the newest
 *     generation that has answered this client
 *   - no request overlaps an unanswered one, also over sessions
 *   - a new session gets all unanswered requests again
 *   - another node is probed beside a live session only when that session
 *     has answered already
 *
 * Messages to the server may be taken long after the client has gone, and
 * answers may be lost with the connection.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "explore.h"

void
client_begin (void)
{
  struct client_model *client = &world.client;

  client->asking = client->live = NONE;
  client->next_tag = 1;
  client->acked_by = NONE;
}

/* --- connections -------------------------------------------------------- */

static void
release_if_over (struct connection *c)
{
  if (c->client_gone && c->server == S_OVER)
    *c = (struct connection){ .used = false };
}

void
client_told (unsigned number, struct message message)
{
  struct connection *c = &world.connections[number];

  assert (c->used);
  if (c->client_gone) {
    release_if_over (c);
    return;
  }
  assert (c->to_client_count < QUEUE);
  c->to_client[c->to_client_count++] = message;
}

void
client_server_end (unsigned number)
{
  world.connections[number].server = S_OVER;
  release_if_over (&world.connections[number]);
}

void
client_node_died (unsigned node)
{
  unsigned i;

  for (i = 0; i < CONNS; i++) {
    struct connection *c = &world.connections[i];

    if (!c->used || c->node != node)
      continue;
    memset (c->to_server, 0, sizeof c->to_server);
    c->to_server_count = 0;
    c->broken = true;
    client_server_end (i);
  }
}

static void
hang_up (unsigned number)
{
  struct connection *c = &world.connections[number];

  c->client_gone = true;
  memset (c->to_client, 0, sizeof c->to_client);
  c->to_client_count = 0;
  release_if_over (c);
}

static void
queue_operation (unsigned block)
{
  struct connection *c = &world.connections[world.client.live];
  const struct operation *op = &world.client.op[block];

  assert (c->to_server_count < QUEUE);
  c->to_server[c->to_server_count++] = (struct request_message){
    .block = (uint8_t) block,
    .tag = op->tag,
    .read = op->read,
  };
}

/* --- the client's side -------------------------------------------------- */

static bool
free_connection (unsigned *number)
{
  for (*number = 0; *number < CONNS; ++*number)
    if (!world.connections[*number].used)
      return true;
  return false;
}

static void
ask (unsigned node, bool unreachable)
{
  struct client_model *client = &world.client;
  struct connection *c;
  unsigned number;

  if (!free_connection (&number))
    violation ("no room for a connection");
  c = &world.connections[number];
  *c = (struct connection){
    .used = true,
    .node = (uint8_t) node,
    .server = S_NEW,
    .open = {
      .proxied = true,
      .client = 1,
      .session = ++client->session,
      .shown = client->shown,
      .unreachable = unreachable,
    },
  };
  client->asking = (uint8_t) number;
}

static void
abandon (void)
{
  if (world.client.live != NONE)
    hang_up (world.client.live);
  world.client.live = NONE;
}

static void
stop_asking (void)
{
  hang_up (world.client.asking);
  world.client.asking = NONE;
}

static void
adopt (unsigned number, struct gen_id gen)
{
  struct client_model *client = &world.client;
  unsigned b;

  abandon ();
  client->asking = NONE;
  client->live = (uint8_t) number;
  world.connections[number].gen = gen;
  for (b = 0; b < BLOCKS; b++)
    if (client->op[b].waits)
      queue_operation (b);
}

/* Note what was answered; PLANT_SHOWN: only the first time. */
static void
note (struct gen_id gen)
{
  if (bounds.plant != PLANT_SHOWN || world.client.shown.epoch == 0)
    world.client.shown = gen;
}

static void
answered (const struct connection *c, const struct message *message)
{
  struct client_model *client = &world.client;
  struct operation *op = &client->op[message->block];
  unsigned b = message->block;

  if (!op->waits || op->read != message->read ||
      (!op->read && op->tag != message->tag))
    violation ("the client gets an answer that it does not wait for");
  if (message->error != 0) {
    if (!kind_allowed (F_STORE))
      violation ("the client sees error %d", message->error);
    if (!op->read) {
      client->unknown[b] = true;
      client->maybe[b] = op->tag;
    }
  }
  else {
    check_accepted (c->node, message->gen);
    note (c->gen);
    if (op->read)
      check_read (b, message->tag);
    else {
      client->value[b] = op->tag;
      client->unknown[b] = false;
    }
  }
  *op = (struct operation){ .waits = false };
}

static void
take_reply (unsigned number)
{
  struct client_model *client = &world.client;
  struct connection *c = &world.connections[number];
  struct message message = c->to_client[0];

  memmove (&c->to_client[0], &c->to_client[1],
           --c->to_client_count * sizeof message);
  memset (&c->to_client[c->to_client_count], 0, sizeof message);
  if (number == client->asking) {
    if (message.type == M_OPENED)
      adopt (number, message.gen);
    else
      stop_asking ();
  }
  else if (message.type == M_END || message.error == ESHUTDOWN)
    abandon ();
  else
    answered (c, &message);
}

static void
begin (unsigned block, bool read)
{
  struct client_model *client = &world.client;

  client->op[block].waits = true;
  client->op[block].read = read;
  if (read)
    client->reads_left--;
  else {
    client->writes_left--;
    client->op[block].tag = client->next_tag++;
  }
  queue_operation (block);
}

/* --- the server's side -------------------------------------------------- */

static bool
free_slot (const struct connection *c, uint32_t *slot)
{
  const struct node_model *n = &world.nodes[c->node];

  for (*slot = 0; *slot < SLOTS; ++*slot)
    if (c->server == S_NEW ? n->connections[*slot] == NONE
                           : !n->slots[*slot].used)
      return true;
  return false;
}

static void
take_open (unsigned number)
{
  struct connection *c = &world.connections[number];
  struct core_event event = { .type = EV_OPEN, .open = c->open };

  if (!free_slot (c, &event.slot))
    violation ("no room for an open");
  c->server = S_OPENING;
  c->slot = (uint8_t) event.slot;
  world.nodes[c->node].connections[event.slot] = (uint8_t) number;
  node_step (c->node, &event);
}

static void
take_request (unsigned number)
{
  struct connection *c = &world.connections[number];
  struct request_message message = c->to_server[0];
  struct core_event event = { .type = EV_REQUEST };

  if (!free_slot (c, &event.slot))
    violation ("no room for a request");
  memmove (&c->to_server[0], &c->to_server[1],
           --c->to_server_count * sizeof message);
  memset (&c->to_server[c->to_server_count], 0, sizeof message);
  world.nodes[c->node].slots[event.slot] = (struct slot){
    .used = true,
    .read = message.read,
    .connection = (uint8_t) number,
    .block = message.block,
    .tag = message.tag,
  };
  event.request.kind = message.read ? REQ_READ : REQ_WRITE;
  event.request.conn = c->slot;
  event.request.offset = block_offset (message.block);
  event.request.length = MARKS_BLOCK;
  node_step (c->node, &event);
}

static void
see_gone (unsigned number)
{
  struct connection *c = &world.connections[number];
  struct core_event event = { .type = EV_HANGUP, .slot = c->slot };

  memset (c->to_server, 0, sizeof c->to_server);
  c->to_server_count = 0;
  if (c->server == S_NEW) {
    client_server_end (number);
    return;
  }
  c->hung_up = true;
  node_step (c->node, &event);
}

/* --- choices ------------------------------------------------------------ */

static uint32_t
connection_choices (unsigned number, choice *list)
{
  const struct connection *c = &world.connections[number];
  const struct client_model *client = &world.client;
  uint32_t count = 0, slot;

  if (!c->used)
    return 0;
  if ((c->server == S_NEW || (c->server == S_OPEN && c->to_server_count > 0)) &&
      !c->hung_up && free_slot (c, &slot))
    list[count++] = make_choice (E_TAKE, 0, number);
  if (c->client_gone && !c->hung_up)
    list[count++] = make_choice (E_GONE, 0, number);
  if ((client->asking == number || client->live == number) &&
      c->to_client_count > 0)
    list[count++] = make_choice (E_REPLY, 0, number);
  if (c->broken && !c->client_gone)
    list[count++] = make_choice (E_LOST, 0, number);
  return count;
}

/* May the client look for another node while its session lives? */
static bool
may_probe (unsigned node)
{
  const struct client_model *client = &world.client;
  const struct connection *c;

  if (client->live == NONE || client->asking != NONE)
    return false;
  c = &world.connections[client->live];
  return c->node != node && gen_id_equal (c->gen, client->shown);
}

static uint32_t
ask_choices (choice *list)
{
  const struct client_model *client = &world.client;
  bool fault = world.faults_left > 0;
  uint32_t count = 0;
  unsigned node, number;

  for (node = 0; node < NODES && free_connection (&number); node++) {
    if (!world.nodes[node].alive)
      continue;
    if (client->asking == NONE && client->live == NONE) {
      list[count++] = make_choice (E_ASK, node, 0);
      if (fault && kind_allowed (F_UNREACHABLE))
        list[count++] = make_choice (F_UNREACHABLE, node, 0);
    }
    else if (fault && kind_allowed (F_PROBE) && may_probe (node))
      list[count++] = make_choice (F_PROBE, node, 0);
  }
  if (!fault || !kind_allowed (F_HANG_UP))
    return count;
  if (client->live != NONE)
    list[count++] = make_choice (F_HANG_UP, 0, client->live);
  if (client->asking != NONE)
    list[count++] = make_choice (F_HANG_UP, 0, client->asking);
  return count;
}

uint32_t
client_choices (choice *list)
{
  const struct client_model *client = &world.client;
  uint32_t count = 0;
  unsigned i;

  for (i = 0; i < CONNS; i++)
    count += connection_choices (i, list + count);
  /* Until the first write the blocks are alike. */
  for (i = 0; i < BLOCKS && client->live != NONE; i++) {
    if (client->op[i].waits || (i > 0 && client->next_tag == 1))
      continue;
    if (client->writes_left > 0)
      list[count++] = make_choice (E_WRITE, 0, i);
    if (client->reads_left > 0)
      list[count++] = make_choice (E_READ, 0, i);
  }
  return count + ask_choices (list + count);
}

bool
client_choose (choice c)
{
  unsigned detail = choice_detail (c);

  switch (choice_kind (c)) {
  case E_ASK:
  case F_PROBE: ask (choice_node (c), false); break;
  case F_UNREACHABLE: ask (choice_node (c), true); break;
  case F_HANG_UP:
  case E_LOST:
    if (detail == world.client.asking)
      stop_asking ();
    else
      abandon ();
    break;
  case E_TAKE:
    if (world.connections[detail].server == S_NEW)
      take_open (detail);
    else
      take_request (detail);
    break;
  case E_GONE: see_gone (detail); break;
  case E_REPLY: take_reply (detail); break;
  case E_WRITE: begin (detail, false); break;
  case E_READ: begin (detail, true); break;
  default: return false;
  }
  return true;
}
