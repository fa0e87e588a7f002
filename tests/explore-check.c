/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore-check.c: the invariants of the design, looked at in every state
 * by somebody who sees both nodes and the client.
 *
 *   I1  a write is acknowledged only when it is durable on every member
 *   I2  one node acknowledges in a generation, and each generation that
 *       acknowledges descends from the one that did before
 *   I3  a read returns what the last answered write left (the client has
 *       one request at a block at a time); and so would every read that a
 *       serving node could be asked for now
 *   I4  when a pair is in sync and nothing is under way, the copies are
 *       identical, in the cache and on the disk
 *   I5  where the copies differ, a durable region bit says so
 *   I6  is seen by I4: a mark cleared too early leaves a difference
 *   I7  a copy that is not current is never served (and I3)
 *   I8  nothing of a fenced session or a dead link reaches the store, and
 *       no local write runs from hello to decision
 */
#include <string.h>

#include "explore.h"

/* --- actions ------------------------------------------------------------ */

void
check_complete (unsigned node, const struct core_action *action,
                uint32_t data_before)
{
  const struct slot *slot = &world.nodes[node].slots[action->slot];
  const struct gen_record *record = core_record (cores[node]);
  unsigned n;

  if (!slot->used)
    violation ("%c answers a request twice", letter (node));
  if (slot->local)
    violation ("%c answers while the local part runs", letter (node));
  if (action->error != 0)
    return;
  if (data_before != DATA_CURRENT)
    violation ("I7: %c serves a copy that is %s", letter (node),
               gen_data_name ((enum data_state) data_before));
  for (n = 0; n < NODES && !slot->read; n++)
    if ((n == node || record->both) &&
        world.nodes[n].durable[slot->block] != slot->tag)
      violation ("I1: %c acknowledges write %u of block %u, which is not"
                 " durable on %c",
                 letter (node), slot->tag, slot->block, letter (n));
}

void
check_open_done (unsigned node, const struct core_action *action)
{
  const struct node_model *n = &world.nodes[node];
  const struct core_open *open;
  unsigned i;

  if (action->error != 0)
    return;
  open = &world.connections[n->connections[action->slot]].open;
  for (i = 0; i < SLOTS; i++)
    if (n->slots[i].used && n->slots[i].local &&
        world.connections[n->slots[i].connection].open.session < open->session)
      violation ("I8: %c accepts session %llu while a request of session %llu"
                 " runs",
                 letter (node), (unsigned long long) open->session,
                 (unsigned long long) world.connections[n->slots[i].connection]
                   .open.session);
}

void
check_local (unsigned node, const struct core_action *action)
{
  struct node_model *n = &world.nodes[node];
  const struct slot *slot = &n->slots[action->slot];
  const struct connection *mine;
  unsigned i;

  if (!slot->used || slot->local)
    violation ("%c starts a local part twice", letter (node));
  mine = &world.connections[slot->connection];
  for (i = 0; i < CONNS; i++) {
    const struct connection *c = &world.connections[i];

    if (c->used && c->node == node && c->server == S_OPEN &&
        c->open.session > mine->open.session)
      violation ("I8: %c starts a request of a fenced session", letter (node));
  }
  if (!n->hello_out || slot->read)
    return;
  n->hello_out = false;
  if (cores[node]->phase != LINK_DECIDED)
    violation ("I8: %c starts a write between hello and decision",
               letter (node));
}

void
check_hello (unsigned node)
{
  struct node_model *n = &world.nodes[node];
  unsigned i;

  for (i = 0; i < SLOTS; i++)
    if (n->slots[i].local && !n->slots[i].read)
      violation ("I8: %c says hello while a write of its own runs",
                 letter (node));
  n->hello_out = true;
}

/* --- what the client is told -------------------------------------------- */

/* Does RECORD show that YOUNG descends from OLD? */
static bool
shows_descent (const struct gen_record *record, struct gen_id young,
               struct gen_id old)
{
  uint32_t i, at = GEN_HISTORY;

  for (i = 0; i < record->history_count; i++) {
    if (gen_id_equal (record->history[i].gen, young))
      at = i;
    if (gen_id_equal (record->history[i].gen, old))
      return at < i;
  }
  return false;
}

void
check_accepted (unsigned node, struct gen_id gen)
{
  struct client_model *client = &world.client;
  bool follows = client->acked.epoch == 0;
  unsigned n;

  if (gen_id_equal (gen, client->acked)) {
    if (client->acked_by != node)
      violation ("I2: both nodes acknowledge in generation %llu",
                 (unsigned long long) gen.epoch);
    return;
  }
  for (n = 0; n < NODES; n++) {
    follows |= shows_descent (&world.nodes[n].record, gen, client->acked);
    if (cores[n] != NULL)
      follows |= shows_descent (core_record (cores[n]), gen, client->acked);
  }
  if (!follows)
    violation ("I2: split brain: %c acknowledges in generation %llu, which"
               " does not descend from %llu of %c",
               letter (node), (unsigned long long) gen.epoch,
               (unsigned long long) client->acked.epoch,
               letter (client->acked_by));
  client->acked = gen;
  client->acked_by = (uint8_t) node;
}

void
check_read (unsigned block, uint8_t tag)
{
  struct client_model *client = &world.client;

  if (client->unknown[block] && tag == client->maybe[block])
    client->value[block] = tag;
  client->unknown[block] = false;
  if (tag != client->value[block])
    violation ("I3: a read of block %u returns write %u, the last answered is"
               " %u",
               block, tag, client->value[block]);
}

/* --- states ------------------------------------------------------------- */

/* A read of BLOCK at NODE would be carried out at once: it must return
 * what was answered last, if no request of the client is open there.
 */
static void
check_readable (unsigned node, unsigned block)
{
  const struct core *core = cores[node];
  const struct client_model *client = &world.client;
  const struct connection *c;
  uint8_t tag = world.nodes[node].cache[block];

  if (core == NULL || client->live == NONE || client->op[block].waits)
    return;
  c = &world.connections[client->live];
  if (c->node != node || c->server != S_OPEN ||
      core->conns[c->slot].state != CONN_OPEN || !core_may_serve (core) ||
      (core->relation == REL_SYNC &&
       marks_overlap (core->marks, block_offset (block), MARKS_BLOCK)))
    return;
  if (tag != client->value[block] &&
      !(client->unknown[block] && tag == client->maybe[block]))
    violation ("I3: %c would answer a read of block %u with write %u, the last"
               " answered is %u",
               letter (node), block, tag, client->value[block]);
}

static bool
differs (unsigned block)
{
  const struct node_model *a = &world.nodes[0], *b = &world.nodes[1];

  return a->cache[block] != b->cache[block] ||
    a->durable[block] != b->durable[block];
}

static void
check_region (unsigned block)
{
  uint8_t bit = (uint8_t) (1u << block_offset (block) / MARKS_CHUNK);

  if (differs (block) && ((world.nodes[0].map | world.nodes[1].map) & bit) == 0)
    violation ("I5: block %u differs and no durable region bit says so", block);
}

/* Both are members of one generation and nothing is on its way. */
static bool
in_sync (void)
{
  unsigned n;
  uint32_t i;

  for (n = 0; n < NODES; n++) {
    const struct core *core = cores[n];
    const struct end *end = &world.ends[n];

    if (core == NULL || core->phase != LINK_DECIDED ||
        core->relation != REL_SYNC || core->sync != SYNC_OFF ||
        core->change != GEN_NONE || core->record.primary == 0 ||
        core->sent_count > 0 || core->local_out > 0 || core->failed_now ||
        world.nodes[n].job_count > 0)
      return false;
    for (i = 0; i < end->count; i++)
      if (end->inbox[i].frame.type != WIRE_PING &&
          end->inbox[i].frame.type != WIRE_PONG)
        return false;
  }
  return world.ends[0].id == world.ends[1].id;
}

bool
check_at_rest (void)
{
  unsigned b;

  if (!in_sync () || world.client.live == NONE || world.partition)
    return false;
  for (b = 0; b < BLOCKS; b++)
    if (world.client.op[b].waits)
      return false;
  return core_may_serve (cores[world.connections[world.client.live].node]);
}

void
check_world (void)
{
  unsigned b, n;

  for (b = 0; b < BLOCKS; b++) {
    check_region (b);
    for (n = 0; n < NODES; n++)
      check_readable (n, b);
  }
  if (!in_sync ())
    return;
  for (b = 0; b < BLOCKS; b++)
    if (differs (b))
      violation ("I4: the pair is in sync and block %u is %u/%u on A and %u/%u"
                 " on B (cache/disk)",
                 b, world.nodes[0].cache[b], world.nodes[0].durable[b],
                 world.nodes[1].cache[b], world.nodes[1].durable[b]);
}
