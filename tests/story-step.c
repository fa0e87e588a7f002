/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * story-step.c: what the steps of a story do to the world, and how they
 * are written.  A fault stays until a step repairs it.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "story.h"

enum {
  HOLD_MS = 50, /* how far ahead faults that stay are kept up */
  BLOCK_CELLS = SIM_BLOCK_CELLS,
  CLIENTS = 3,
  DISK_SLOW_US = 300000,
  DISK_HANGS_US = 9000000,
};

static const struct model models[3] = {
  { .name = "story",
    .text = "what the story says",
    .takeover = TAKEOVER_PROXY,
    .partition = true,
    .store = true },
  { .name = "story",
    .text = "what the story says; two clients may split the pair",
    .takeover = TAKEOVER_PROXY,
    .partition = true,
    .store = true,
    .split = true },
  { .name = "story",
    .text = "what the story says; durability=flush",
    .takeover = TAKEOVER_PROXY,
    .durability = DURABILITY_FLUSH,
    .partition = true },
};

static struct {
  bool cut, frozen[SIM_NODES], hidden[SIM_CLIENTS][SIM_NODES];
  uint32_t disks; /* replaced so far */
} faults;

/* --- requests ----------------------------------------------------------- */

static void
issue (struct sim *sim, const struct step_arguments *arguments,
       enum op_kind kind, uint32_t block, uint32_t count)
{
  struct client *client = &sim->clients[arguments->client];
  uint32_t number = sim->op_count++, slot = 0, i;
  uint32_t tag = (number + 1) | (kind == OP_ZERO ? TAG_ZERO : 0);
  struct op *op = &sim->ops[number];
  int n;

  if (!client->alive || (!client->proxied && !client->live))
    sim_fail (sim, "this client cannot ask for anything now");
  *op = (struct op){ .kind = kind,
                     .client = client->index,
                     .client_life = client->life,
                     .first = block * BLOCK_CELLS,
                     .count = count * BLOCK_CELLS };
  if ((count == 0 && kind != OP_FLUSH) || op->first + op->count > sim->cells)
    sim_fail (sim, "there are no such blocks");
  if (kind != OP_READ && kind != OP_FLUSH) {
    if (client->proxied && !proxy_has_room (client, op->count))
      sim_fail (sim, "the proxy can keep no more");
    op->values = sim_alloc (sim, op->count * sizeof *op->values);
    for (i = 0; i < op->count; i++)
      op->values[i] = tag;
    for (n = 0; n < SIM_NODES; n++)
      op->durable[n] = sim_alloc (sim, (op->count + 63) / 64 * 8);
  }
  while (slot < SIM_OUTSTANDING && client->ops[slot] != NO_OP)
    slot++;
  if (slot == SIM_OUTSTANDING)
    sim_fail (sim, "too many requests of one client");
  client->ops[slot] = number;
  client->op_count++;
  if (client->proxied)
    proxy_begin (sim, client, slot);
  else {
    load_sent (sim, number);
    nbd_request (sim, client->nbd[0], number);
  }
}

static void
issue_range (struct sim *sim, const struct step_arguments *arguments,
             enum op_kind kind)
{
  uint32_t first = arguments->number[0], last = first;

  if (arguments->numbers > 1)
    last = arguments->number[1];
  issue (sim, arguments, kind, first, last < first ? 0 : last - first + 1);
}

static void
do_write (struct sim *sim, const struct step_arguments *arguments)
{
  issue_range (sim, arguments, OP_WRITE);
}

static void
do_flush (struct sim *sim, const struct step_arguments *arguments)
{
  issue (sim, arguments, OP_FLUSH, 0, 0);
}

static void
do_write_each (struct sim *sim, const struct step_arguments *arguments)
{
  uint32_t block;

  for (block = arguments->number[0]; block <= arguments->number[1]; block++)
    issue (sim, arguments, OP_WRITE, block, 1);
}

static void
do_zero (struct sim *sim, const struct step_arguments *arguments)
{
  issue_range (sim, arguments, OP_ZERO);
}

static void
do_read (struct sim *sim, const struct step_arguments *arguments)
{
  issue_range (sim, arguments, OP_READ);
}

/* --- clients ------------------------------------------------------------ */

static void
start_client (struct sim *sim, int index, bool amnesia)
{
  struct client *client = &sim->clients[index];

  if (client->alive)
    sim_fail (sim, "this client runs already");
  load_start (sim, client, amnesia || client->id == 0);
  /* Neither numbers from outside the story nor a second connection. */
  client->route.random = 1 + (uint64_t) index;
  client->want = 1;
  trace_client_starts (client);
}

static void
do_client_starts (struct sim *sim, const struct step_arguments *arguments)
{
  start_client (sim, arguments->client, false);
}

static void
do_client_forgets (struct sim *sim, const struct step_arguments *arguments)
{
  start_client (sim, arguments->client, true);
}

static void
do_client_killed (struct sim *sim, const struct step_arguments *arguments)
{
  load_crash (sim, &sim->clients[arguments->client]);
}

static void
do_client_hidden (struct sim *sim, const struct step_arguments *arguments)
{
  (void) sim;
  faults.hidden[arguments->client][arguments->node] = true;
}

static void
do_client_seen (struct sim *sim, const struct step_arguments *arguments)
{
  faults.hidden[arguments->client][arguments->node] = false;
  sim->clients[arguments->client].cut_until[arguments->node] = sim->now_us;
}

/* --- nodes -------------------------------------------------------------- */

static void
start_node (struct sim *sim, int index)
{
  if (sim->nodes[index].alive)
    sim_fail (sim, "this node runs already");
  node_start (sim, &sim->nodes[index]);
}

static void
do_start (struct sim *sim, const struct step_arguments *arguments)
{
  start_node (sim, arguments->node);
}

static void
do_start_both (struct sim *sim, const struct step_arguments *arguments)
{
  (void) arguments;
  start_node (sim, 0);
  start_node (sim, 1);
}

static void
do_kill (struct sim *sim, const struct step_arguments *arguments)
{
  struct node *node = &sim->nodes[arguments->node];

  if (!node->alive)
    sim_fail (sim, "this node is dead already");
  faults.frozen[node->index] = false;
  node_crash (sim, node, false);
}

static void
do_kill_both (struct sim *sim, const struct step_arguments *arguments)
{
  (void) arguments;
  do_kill (sim, &(struct step_arguments){ .node = 0 });
  do_kill (sim, &(struct step_arguments){ .node = 1 });
}

/* Nobody gets word of it, and what was not synced is gone. */
static void
do_power (struct sim *sim, const struct step_arguments *arguments)
{
  struct node *node = &sim->nodes[arguments->node];
  uint32_t i;

  if (!node->alive)
    sim_fail (sim, "this node is dead already");
  link_close (sim, node, true);
  for (i = 0; i < SIM_CONNS; i++) {
    if (node->conns[i] != NULL)
      nbd_server_died (sim, node->conns[i], true);
    node->conns[i] = NULL;
  }
  faults.frozen[node->index] = false;
  node_crash (sim, node, true);
}

static void
stopped (struct sim *sim, const struct sim_event *event)
{
  node_crash (sim, &sim->nodes[event->node], false);
}

static void
do_stop (struct sim *sim, const struct step_arguments *arguments)
{
  struct node *node = &sim->nodes[arguments->node];
  struct core_event stop = { .type = EV_STOP };

  node->stopping = true;
  node_step (sim, node, &stop);
  sim_after (sim, 20 * SIM_MS, node_event (node, stopped));
}

static void
do_freeze (struct sim *sim, const struct step_arguments *arguments)
{
  (void) sim;
  faults.frozen[arguments->node] = true;
}

static void
do_wake (struct sim *sim, const struct step_arguments *arguments)
{
  faults.frozen[arguments->node] = false;
  sim->nodes[arguments->node].pause_until = sim->now_us;
}

/* --- disks -------------------------------------------------------------- */

static struct disk *
break_disk (struct sim *sim, const struct step_arguments *arguments)
{
  sim->store_fault = true;
  return &sim->nodes[arguments->node].disk;
}

/* A bit flips, or somebody writes to the file. */
static void
do_spoil (struct sim *sim, const struct step_arguments *arguments)
{
  struct disk *disk = &sim->nodes[arguments->node].disk;
  uint32_t cell = arguments->number[0] * BLOCK_CELLS;

  sim->spoilt = true;
  disk->cache[cell] = disk->durable[cell] = sim->op_count > 0 ? TAG_ZERO : 1;
  check_cell (sim, cell);
}

static void
do_expect_different (struct sim *sim, const struct step_arguments *arguments)
{
  struct core_view view;

  core_view (sim->nodes[arguments->node].core, &view);
  if (view.verify.active || view.verify.ended != NULL ||
      view.verify.different_blocks != arguments->number[0])
    sim_fail (sim, "it found %llu",
              (unsigned long long) view.verify.different_blocks);
}

static void
do_fail_writes (struct sim *sim, const struct step_arguments *arguments)
{
  break_disk (sim, arguments)->fail_write = true;
}

static void
do_fail_reads (struct sim *sim, const struct step_arguments *arguments)
{
  break_disk (sim, arguments)->fail_read = true;
}

static void
do_fail_syncs (struct sim *sim, const struct step_arguments *arguments)
{
  break_disk (sim, arguments)->fail_sync = true;
}

static void
do_fill (struct sim *sim, const struct step_arguments *arguments)
{
  struct disk *disk = break_disk (sim, arguments);

  disk->fail_space = disk->fail_write = true;
}

static void
do_slow (struct sim *sim, const struct step_arguments *arguments)
{
  sim->nodes[arguments->node].disk.slow_us = DISK_SLOW_US;
}

static void
do_hang (struct sim *sim, const struct step_arguments *arguments)
{
  sim->disk_hung = true;
  sim->nodes[arguments->node].disk.slow_us = DISK_HANGS_US;
}

static void
do_repair (struct sim *sim, const struct step_arguments *arguments)
{
  struct disk *disk = &sim->nodes[arguments->node].disk;

  disk->fail_read = disk->fail_write = false;
  disk->fail_space = disk->fail_sync = false;
  disk->slow_us = 0;
}

/* The high digit of a node id tells whose it is. */
static void
set_node_id (struct sim *sim, int index)
{
  sim->nodes[index].disk.record.node = (index == 0 ? 0xa0 : 0xb0) +
    faults.disks;
}

static void
do_replace (struct sim *sim, const struct step_arguments *arguments)
{
  struct node *node = &sim->nodes[arguments->node];

  if (node->alive)
    sim_fail (sim, "this node runs");
  memset (&node->disk, 0, sizeof node->disk);
  node_init (sim, node->index);
  trace_new_disk (node);
  faults.disks++;
  set_node_id (sim, node->index);
}

/* --- the network -------------------------------------------------------- */

static void
do_cut (struct sim *sim, const struct step_arguments *arguments)
{
  (void) sim;
  (void) arguments;
  faults.cut = true;
}

static void
do_heal (struct sim *sim, const struct step_arguments *arguments)
{
  (void) arguments;
  faults.cut = false;
  sim->partition_until = sim->now_us;
}

static void
do_reset (struct sim *sim, const struct step_arguments *arguments)
{
  (void) arguments;
  link_cut (sim);
}

/* --- looking ------------------------------------------------------------ */

static void
do_expect_state (struct sim *sim, const struct step_arguments *arguments)
{
  const struct node *node = &sim->nodes[arguments->node];
  struct core_view view;

  if (!node->alive)
    sim_fail (sim, "it is dead");
  core_view (node->core, &view);
  if (strcmp (core_state_name (view.state), arguments->rest) != 0)
    sim_fail (sim, "it is %s: %s", core_state_name (view.state), view.reason);
}

static void
do_expect_identical (struct sim *sim, const struct step_arguments *arguments)
{
  (void) arguments;
  check_identical (sim);
}

static void
do_expect_waits (struct sim *sim, const struct step_arguments *arguments)
{
  if (sim->clients[arguments->client].op_count == 0)
    sim_fail (sim, "all its requests are answered");
}

static void
do_expect_served (struct sim *sim, const struct step_arguments *arguments)
{
  if (sim->clients[arguments->client].op_count > 0)
    sim_fail (sim, "it waits for an answer");
}

static void
expect_block (struct sim *sim, const struct step_arguments *arguments,
              const uint32_t *cells, bool wanted)
{
  const uint32_t *block = cells + arguments->number[0] * BLOCK_CELLS;
  uint32_t i, value;
  char name[80], write[32];

  snprintf (write, sizeof write, "write %u of", arguments->number[1]);
  for (i = 0; i < BLOCK_CELLS; i++) {
    value = tag_value (block[i]);
    snprintf (name, sizeof name, "zeros");
    if (value != 0)
      trace_op_name (sim, value - 1, name, sizeof name);
    if ((strncmp (name, write, strlen (write)) == 0) != wanted)
      sim_fail (sim, "it holds %s", name);
  }
}

static void
do_expect_block (struct sim *sim, const struct step_arguments *arguments)
{
  const struct disk *disk = &sim->nodes[arguments->node].disk;

  expect_block (sim, arguments, disk->cache, true);
  expect_block (sim, arguments, disk->durable, true);
}

static void
do_expect_cached (struct sim *sim, const struct step_arguments *arguments)
{
  const struct disk *disk = &sim->nodes[arguments->node].disk;

  expect_block (sim, arguments, disk->cache, true);
  expect_block (sim, arguments, disk->durable, false);
}

static void
do_may_split (struct sim *sim, const struct step_arguments *arguments)
{
  (void) arguments;
  sim->model = &models[1];
}

/* The nodes' own flushes come only when a story waits for a minute. */
static void
do_durability_flush (struct sim *sim, const struct step_arguments *arguments)
{
  (void) arguments;
  sim->model = &models[2];
  sim->flush.bytes = UINT64_C (1) << 30;
  sim->flush.ms = 60000;
}

/* --- time --------------------------------------------------------------- */

static void
do_wait_said (struct sim *sim, const struct step_arguments *arguments)
{
  script_wait_said (sim, arguments->rest);
}

static void
do_wait_seconds (struct sim *sim, const struct step_arguments *arguments)
{
  trace_clearing ();
  script_wait_ms (sim, arguments->number[0] * UINT64_C (1000));
}

static void
do_wait_ms (struct sim *sim, const struct step_arguments *arguments)
{
  script_wait_ms (sim, arguments->number[0]);
}

static void
do_given (struct sim *sim, const struct step_arguments *arguments)
{
  trace_quiet (true);
  script_wait_given (sim, arguments->client);
  faults.hidden[arguments->client][1 - arguments->node] = true;
  start_node (sim, 0);
  start_node (sim, 1);
  start_client (sim, arguments->client, true);
}

bool
step_given (struct sim *sim, int index)
{
  struct step_arguments arguments = { .client = index };
  const struct client *client = &sim->clients[index];
  const char *why;

  if (!check_converged (sim, &why) || !client->live)
    return false;
  if (sim->op_count == 0)
    issue (sim, &arguments, OP_READ, 0, 1);
  if (client->op_count > 0 || (client->proxied && client->saved.epoch == 0))
    return false;
  arguments.node = 1 - client->node;
  do_client_seen (sim, &arguments);
  trace_quiet (false);
  return true;
}

/* --- steps -------------------------------------------------------------- */

/* NODE is a or b; CLIENT is client, other (both with a proxy) or plain
 * (without); N is a number; TEXT is the rest of the line.
 */
static const struct step steps[] = {
  { "given a pair in sync, NODE primary for CLIENT", do_given, true },
  { "two clients may split this pair", do_may_split, true },
  { "the nodes have durability=flush", do_durability_flush, true },
  { "the volume has N blocks", step_volume, true },
  { "both nodes start", do_start_both, false },
  { "both nodes are killed", do_kill_both, false },
  { "NODE starts", do_start, false },
  { "NODE is killed", do_kill, false },
  { "NODE loses power", do_power, false },
  { "NODE is told to stop", do_stop, false },
  { "NODE freezes", do_freeze, false },
  { "NODE wakes up", do_wake, false },
  { "NODE's disk fails writes", do_fail_writes, false },
  { "NODE's disk fails reads", do_fail_reads, false },
  { "NODE's disk fails syncs", do_fail_syncs, false },
  { "NODE's disk is full", do_fill, false },
  { "NODE's disk is slow", do_slow, false },
  { "NODE's disk hangs", do_hang, false },
  { "NODE's disk is well again", do_repair, false },
  { "NODE gets a new disk", do_replace, false },
  { "NODE is asked to switch over", step_ask_switch, false },
  { "NODE is asked to switch over and end plain clients", step_ask_switch_plain,
    false },
  { "NODE is promoted by force", step_ask_force, false },
  { "NODE's copy is given up", step_ask_discard, false },
  { "NODE is asked to pause the link", step_ask_pause, false },
  { "NODE is asked to resume the link", step_ask_resume, false },
  { "NODE is asked for a full resync", step_ask_resync, false },
  { "NODE is asked to grow to N blocks", step_ask_resize, false },
  { "NODE is asked to compare", step_ask_verify, false },
  { "NODE is asked to compare and repair", step_ask_verify_repair, false },
  { "NODE's disk spoils block N", do_spoil, false },
  { "NODE's disk has room for N blocks", step_room, true },
  { "the link is cut", do_cut, false },
  { "the link heals", do_heal, false },
  { "the connection breaks", do_reset, false },
  { "CLIENT starts without memory", do_client_forgets, false },
  { "CLIENT starts", do_client_starts, false },
  { "CLIENT is killed", do_client_killed, false },
  { "CLIENT cannot reach NODE", do_client_hidden, false },
  { "CLIENT can reach NODE again", do_client_seen, false },
  { "CLIENT writes block N", do_write, false },
  { "CLIENT writes blocks N to N", do_write, false },
  { "CLIENT writes each of blocks N to N", do_write_each, false },
  { "CLIENT zeroes blocks N to N", do_zero, false },
  { "CLIENT flushes", do_flush, false },
  { "CLIENT reads block N", do_read, false },
  { "CLIENT reads blocks N to N", do_read, false },
  { "wait until TEXT", do_wait_said, false },
  { "wait N s", do_wait_seconds, false },
  { "wait N ms", do_wait_ms, false },
  { "expect NODE is TEXT", do_expect_state, true },
  { "expect NODE found N blocks different", do_expect_different, true },
  { "expect NODE has N blocks", step_expect_size, true },
  { "expect both copies are the same", do_expect_identical, true },
  { "expect CLIENT waits for an answer", do_expect_waits, true },
  { "expect CLIENT has all its answers", do_expect_served, true },
  { "expect block N holds write N on NODE", do_expect_block, true },
  { "expect block N holds write N on NODE, not synced", do_expect_cached,
    true },
};

static bool
begins (const char *text, const char *with)
{
  return strncmp (text, with, strlen (with)) == 0;
}

/* Read what stands for the word at *PATTERN from *LINE; both move on. */
static bool
match_word (const char **pattern, const char **line,
            struct step_arguments *arguments)
{
  static const char *const clients[CLIENTS] = { "client", "other", "plain" };
  int i;
  char *end;

  if (begins (*pattern, "NODE")) {
    arguments->node = **line - 'a';
    *pattern += strlen ("NODE");
    *line += 1;
    return arguments->node == 0 || arguments->node == 1;
  }
  if (begins (*pattern, "CLIENT")) {
    for (i = 0; i < CLIENTS; i++)
      if (begins (*line, clients[i]))
        break;
    if (i == CLIENTS)
      return false;
    arguments->client = i;
    *pattern += strlen ("CLIENT");
    *line += strlen (clients[i]);
    return true;
  }
  arguments->number[arguments->numbers++] = (uint32_t) strtoul (*line, &end,
                                                                10);
  *pattern += strlen ("N");
  if (end == *line)
    return false;
  *line = end;
  return true;
}

static bool
match (const char *pattern, const char *line, struct step_arguments *arguments)
{
  bool word = true; /* a word begins here */

  *arguments = (struct step_arguments){ .rest = NULL };
  while (*pattern != '\0') {
    if (strcmp (pattern, "TEXT") == 0) {
      arguments->rest = line;
      return *line != '\0';
    }
    if (word &&
        (begins (pattern, "NODE") || begins (pattern, "CLIENT") ||
         begins (pattern, "N "))) {
      if (!match_word (&pattern, &line, arguments))
        return false;
    }
    else if (word && strcmp (pattern, "N") == 0) {
      if (!match_word (&pattern, &line, arguments))
        return false;
    }
    else if (*pattern++ != *line++)
      return false;
    word = pattern[-1] == ' ';
  }
  return *line == '\0';
}

const struct step *
step_find (const char *line, struct step_arguments *arguments)
{
  size_t i;

  for (i = 0; i < sizeof steps / sizeof steps[0]; i++)
    if (match (steps[i].pattern, line, arguments))
      return &steps[i];
  return NULL;
}

void
step_help (void)
{
  size_t i;

  for (i = 0; i < sizeof steps / sizeof steps[0]; i++)
    printf ("  %s\n", steps[i].pattern);
  printf ("  at once STEP\n"
          "NODE: a, b; CLIENT: client, other (with a proxy), plain"
          " (without); N: a number\n");
}

/* --- the world ---------------------------------------------------------- */

void
step_keep_faults (struct sim *sim)
{
  uint64_t until = sim->now_us + HOLD_MS * SIM_MS;
  int n, c;

  if (faults.cut)
    sim->partition_until = until;
  for (n = 0; n < SIM_NODES; n++) {
    if (faults.frozen[n])
      sim->nodes[n].pause_until = until;
    for (c = 0; c < CLIENTS; c++)
      if (faults.hidden[c][n])
        sim->clients[c].cut_until[n] = until;
  }
}

void
step_begin (struct sim *sim)
{
  int n, c;

  sim->model = &models[0];
  sim->beat_ms = 100;
  sim->dead_ms = 500;
  for (n = 0; n < SIM_NODES; n++) {
    node_init (sim, n);
    set_node_id (sim, n);
  }
  sim->client_count = CLIENTS;
  for (c = 0; c < CLIENTS; c++) {
    sim->clients[c].index = c;
    sim->clients[c].proxied = c < CLIENTS - 1;
  }
}
