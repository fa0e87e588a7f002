/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-past.c: what a run may begin with besides two blank nodes: a pair
 * that has a past, and a client that has been idle for a part of it.  And
 * what an operator does for a node whose disk has failed: it is mended,
 * and has perhaps lost some of what it held, or all.
 */
#include <assert.h>
#include <string.h>

#include "sim.h"

/* Whatever a pair may have gone through, one generation after another;
 * the last is one that both share.  Returns one of them all.
 */
static struct gen_id
live_on (struct sim *sim, struct gen_record *record, uint32_t count)
{
  uint32_t awake = (uint32_t) sim_below (sim, count), i;
  struct gen_id last_seen = { 0, 0 };
  uint64_t session = 1 + sim_below (sim, 100), client;
  enum gen_kind kind = GEN_CREATE, next;

  for (i = 0; i < count || kind == GEN_JOIN; i++) {
    client = kind == GEN_CREATE || kind == GEN_JOIN ? 0 : sim->past_client;
    gen_advance (record, kind, sim_random (sim), client,
                 client == 0 ? 0 : ++session);
    if (i == awake)
      last_seen = gen_current (record);
    next = sim_chance (sim, 3) ? GEN_SWITCH
      : sim_chance (sim, 2)    ? GEN_TAKEOVER
                               : GEN_SOLO;
    kind = kind == GEN_SOLO || kind == GEN_TAKEOVER ? GEN_JOIN : next;
  }
  return last_seen;
}

/* Both nodes are members of a volume that has seen some generations, half
 * of the time more than a history holds.
 */
void
past_make (struct sim *sim)
{
  struct gen_record *a = &sim->nodes[0].disk.record;
  struct gen_record *b = &sim->nodes[1].disk.record;
  uint32_t count = 2 + (uint32_t) sim_below (sim, GEN_HISTORY - 2);
  struct gen_id last_seen;
  struct client *client = &sim->clients[0];

  if (sim_chance (sim, 2))
    count += GEN_HISTORY;
  sim->past_client = sim_random (sim) | 1;
  last_seen = live_on (sim, a, count);
  a->volume = sim_random (sim) | 1;
  a->data = DATA_CURRENT;
  a->both = a->answered = true;
  a->peer = b->node;
  b->peer = a->node;
  a->primary = sim_chance (sim, 2) ? a->node : b->node;
  a->has_data = false;
  gen_adopt (b, a);
  check_begin (sim, a);
  if (sim->model->proxied_min == 0 || sim_chance (sim, 2))
    return;
  client->id = sim->past_client;
  client->session = 1000;
  client->saved = last_seen;
}

/* Its files are gone: an empty node takes its place. */
static void
replace (struct sim *sim, struct node *node)
{
  struct gen_record *record = &node->disk.record;

  sim_trace (sim, "%c: is replaced by an empty node", 'A' + node->index);
  *record = (struct gen_record){
    .node = sim_random (sim) | 1,
    .size = record->size,
    .region_size = record->region_size,
    .data = DATA_BLANK,
  };
  memset (node->disk.map, 0, sizeof node->disk.map);
  node->disk.cells = cell_at (record->size);
  disk_zero (sim, node->index, 0, sim->cells);
}

/* NODE, which is down, is about to be started again by somebody who has
 * seen that its copy has failed.
 */
void
past_mend (struct sim *sim, struct node *node)
{
  const struct gen_record *peer = &sim->nodes[1 - node->index].disk.record;
  uint32_t first, count;

  assert (!node->alive);
  if (node->disk.record.data != DATA_FAILED || !sim->store_fault ||
      sim_chance (sim, 2))
    return;
  /* Nobody but a node that is alone takes an empty one for its peer. */
  if (peer->data == DATA_CURRENT && !peer->both && sim_chance (sim, 4)) {
    replace (sim, node);
    return;
  }
  first = (uint32_t) sim_below (sim, sim->cells);
  count = 1 + (uint32_t) sim_below (sim, sim->cells - first);
  if (count > 64 && sim_chance (sim, 2))
    count = 64;
  sim_trace (sim, "%c: its disk is mended, cells %u+%u are lost",
             'A' + node->index, first, count);
  disk_zero (sim, node->index, first, count);
}
