/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-fault.c: the faults of a run strike: after a time, or a little after
 * the nth action of some type at a node, or its nth frame of some type,
 * which is how the narrow moments are hit.  And what was broken is
 * repaired.
 */
#include <assert.h>

#include "sim.h"

/* --- repair ------------------------------------------------------------- */

static void
restart_node (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->a];

  sim->repairs--;
  if (!node->alive)
    node_start (sim, node);
}

static void
restart_client (struct sim *sim, const struct sim_event *event)
{
  sim->repairs--;
  load_start (sim, &sim->clients[event->a], event->b != 0);
}

static void
restart_failed (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->a];
  struct core_view view;

  sim->repairs--;
  if (!node->alive)
    return;
  core_view (node->core, &view);
  if (view.state != STATE_FAILED)
    return;
  node_crash (sim, node, false);
  past_mend (sim, node);
  node_start (sim, node);
}

static void
repair_disk (struct sim *sim, const struct sim_event *event)
{
  struct disk *disk = &sim->nodes[event->a].disk;

  sim->repairs--;
  disk->fail_read = disk->fail_write = disk->fail_space = false;
  disk->fail_sync = disk->fail_meta = false;
  disk->slow_us = 0;
}

static void
repair_after (struct sim *sim, uint64_t delay_us, sim_handler *run, uint32_t a,
              uint32_t b)
{
  sim->repairs++;
  sim_after (sim, delay_us,
             (struct sim_event){ .run = run, .node = -1, .a = a, .b = b });
}

/* --- strike ------------------------------------------------------------- */

static void
strike_stop (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->a];

  if (node->alive && node->life == event->b)
    node_crash (sim, node, false);
}

static void
strike_node (struct sim *sim, const struct fault *fault, int index,
             enum fault_kind kind)
{
  struct node *node = &sim->nodes[index];
  struct core_event stop = { .type = EV_STOP };
  uint64_t delay = 0;

  if (kind == FAULT_STOP && node->alive && !node->stopping) {
    sim_trace (sim, "%c: is told to stop", 'A' + index);
    node->stopping = true;
    delay = sim_delay (sim, 5 * SIM_MS);
    node_step (sim, node, &stop);
    sim_after (sim, delay,
               (struct sim_event){ .run = strike_stop,
                                   .node = -1,
                                   .a = (uint32_t) index,
                                   .b = node->life });
  }
  else
    node_crash (sim, node, kind == FAULT_POWER);
  repair_after (sim, delay + 1 + fault->length_us, restart_node,
                (uint32_t) index, 0);
}

static void
strike_both (struct sim *sim, const struct fault *fault)
{
  struct fault other = *fault;

  strike_node (sim, fault, 0, fault->dice % 2 ? FAULT_POWER : FAULT_CRASH);
  other.length_us = sim_below (sim, 2000 * SIM_MS);
  strike_node (sim, &other, 1, fault->dice % 3 ? FAULT_POWER : FAULT_CRASH);
}

/* Node and client die at once, and are back soon: what was in flight is
 * nobody's to send again.
 */
static void
strike_together (struct sim *sim, const struct fault *fault)
{
  struct fault soon = *fault;
  struct client *client = &sim->clients[fault->client % sim->client_count];

  soon.length_us = fault->length_us % (20 * SIM_MS);
  load_crash (sim, client);
  repair_after (sim, soon.length_us / 2, restart_client,
                (uint32_t) client->index, 0);
  strike_node (sim, &soon, fault->node,
               fault->dice % 2 ? FAULT_POWER : FAULT_CRASH);
}

/* A node is away while the client loses session after session, each
 * before its first answer: a long history without the peer.
 */
static void
strike_flap (struct sim *sim, const struct fault *fault)
{
  struct fault away = *fault;

  away.length_us += 500 * SIM_MS;
  strike_node (sim, &away, fault->node, FAULT_CRASH);
  sim->clients[0].flaps = 2 + fault->dice % 20 * 3;
}

static void
forget_and_turn (struct sim *sim, const struct sim_event *event)
{
  struct client *client = &sim->clients[0];

  sim->repairs--;
  load_crash (sim, client);
  client->flaps = client->wanders = 0;
  client->cut_until[0] = client->cut_until[1] = 0;
  client->cut_until[event->a] = sim->now_us + 300 * SIM_MS;
  load_start (sim, client, true);
}

/* The primary does not see that the link is dead.  The client goes to the
 * other node, and comes back without memory.
 */
static void
strike_deaf (struct sim *sim, const struct fault *fault)
{
  struct client *client = &sim->clients[0];
  uint64_t length_us = 80 * SIM_MS + fault->length_us % (500 * SIM_MS);
  uint32_t i;

  if (!client->live)
    return;
  link_deafen (sim, client->node);
  sim->refuse_until = sim->now_us + 2 * length_us;
  for (i = 0; i < client->nbd_count; i++)
    nbd_cut (sim, client->nbd[i]);
  client->cut_until[client->node] = sim->now_us + length_us;
  repair_after (sim, length_us, forget_and_turn, 1 - (uint32_t) client->node,
                0);
}

/* The nodes are cut off from each other, and see it.  The client, perhaps
 * without memory from the beginning, makes a generation at one, which never
 * answers it, goes to the other, perhaps back again, and then it comes
 * without memory, perhaps.
 */
static void
strike_wander (struct sim *sim, const struct fault *fault)
{
  uint64_t length_us = 700 * SIM_MS + fault->length_us % (800 * SIM_MS);
  struct client *client = &sim->clients[0];
  int n;

  for (n = 0; n < SIM_NODES; n++)
    if (sim->nodes[n].alive)
      link_close (sim, &sim->nodes[n], true);
  sim->partition_until = sim->now_us + 2 * length_us;
  if (fault->dice % 3 == 2) {
    load_crash (sim, client);
    load_start (sim, client, true);
  }
  client->flaps = client->wanders = 1 + (fault->dice % 5 != 0);
  if (fault->dice % 4 != 2)
    return;
  repair_after (sim, length_us, forget_and_turn, (uint32_t) fault->node, 0);
}

/* As good as hanging: the node gives its role away, and is started again
 * when the last operation must have ended.
 */
static void
strike_hang (struct sim *sim, const struct fault *fault)
{
  uint64_t slow_us = 12 * sim->dead_ms * SIM_MS;

  sim->disk_hung = true;
  sim->nodes[fault->node].disk.slow_us = slow_us;
  repair_after (sim, fault->length_us + 2 * slow_us, restart_failed,
                (uint32_t) fault->node, 0);
}

/* Not so slow that a disk counts as hanging, which takes ten times dead=;
 * and where both nodes must hear of each other, not so slow that a
 * handshake, which waits for some operations, ends at dead=.
 */
static uint64_t
slowest (const struct sim *sim)
{
  uint64_t dead_us = sim->dead_ms * SIM_MS;

  return sim->model->partition ? dead_us : dead_us / 8;
}

/* The administrator, who knows of nothing. */
static void
strike_switch (struct sim *sim, const struct fault *fault)
{
  struct core_wish wish = { .kind = ADMIN_SWITCH };

  if (fault->dice % 3 == 1)
    wish.to = fault->dice % 2 ? ADMIN_TO_ME : ADMIN_TO_PEER;
  wish.end_plain = fault->dice % 2 == 0;
  admin_ask (sim, &sim->nodes[fault->node], &wish);
}

static void
strike_disk (struct sim *sim, const struct fault *fault)
{
  struct disk *disk = &sim->nodes[fault->node].disk;

  /* Who hangs for so long is as good as dead, for which the models without
   * partitions would have to wait until the pair is whole.
   */
  if (fault->kind == FAULT_SLOW && fault->dice % 4 == 0 &&
      sim->model->partition)
    strike_hang (sim, fault);
  else if (fault->kind == FAULT_SLOW)
    disk->slow_us = 1000 + fault->length_us / 8 % slowest (sim);
  else {
    sim->store_fault = true;
    disk->fail_read = fault->kind == FAULT_READ;
    disk->fail_space = fault->kind == FAULT_SPACE;
    disk->fail_write = disk->fail_space || fault->kind == FAULT_WRITE;
    disk->fail_sync = fault->kind == FAULT_SYNC;
    disk->fail_meta = fault->kind == FAULT_META;
    repair_after (sim, 2 * fault->length_us + 300 * SIM_MS, restart_failed,
                  (uint32_t) fault->node, 0);
    /* Some administrators see it coming. */
    if (fault->dice % 3 == 0)
      strike_switch (sim, fault);
  }
  repair_after (sim, fault->length_us, repair_disk, (uint32_t) fault->node, 0);
}

/* Now and then for as long as a disk may hang.  What waits for an earlier
 * pause to end has been put off until then: this one does not end it.
 */
static void
strike_pause (struct sim *sim, const struct fault *fault)
{
  struct node *node = &sim->nodes[fault->node];
  uint64_t until = sim->now_us + fault->length_us;

  if (fault->dice % 3 == 0)
    until += CORE_STALL_FACTOR * sim->dead_ms * SIM_MS;
  if (node->alive && until > node->pause_until)
    node->pause_until = until;
}

static void
strike_wish (struct sim *sim, const struct fault *fault, enum core_admin kind)
{
  struct core_wish wish = { .kind = kind };

  admin_ask (sim, &sim->nodes[fault->node], &wish);
}

static void
strike_verify (struct sim *sim, const struct fault *fault)
{
  struct core_wish wish = { .kind = ADMIN_VERIFY,
                            .repair = fault->nth % 2 == 0,
                            .rate = fault->nth % 3 == 0 ? 1 << 20 : 0 };

  if (fault->nth % 8 == 7)
    wish.kind = ADMIN_VERIFY_STOP;
  admin_ask (sim, &sim->nodes[fault->node], &wish);
}

/* Its node may not have noticed yet. */
static bool
disk_fails (const struct sim *sim, int node)
{
  const struct disk *disk = &sim->nodes[node].disk;

  return disk->fail_read || disk->fail_write || disk->fail_sync ||
    disk->fail_meta || disk->sync_failed || disk->record.data == DATA_FAILED;
}

static void
resume (struct sim *sim, const struct sim_event *event)
{
  struct core_wish wish = { .kind = ADMIN_RESUME };

  admin_ask (sim, &sim->nodes[event->a], &wish);
}

/* Paused for a while, or for so long that all is repaired first. */
static void
strike_hold (struct sim *sim, const struct fault *fault)
{
  struct sim_event later = { .run = resume,
                             .node = -1,
                             .a = (uint32_t) fault->node };

  if (fault->dice % 3 == 0) {
    /* Whose copy is doubted steps back: the other one must not fail. */
    if (!disk_fails (sim, 0) && !disk_fails (sim, 1))
      strike_wish (sim, fault, ADMIN_RESYNC);
    return;
  }
  strike_wish (sim, fault, ADMIN_PAUSE);
  if (fault->dice % 4 != 0)
    sim_after (sim, fault->length_us, later);
}

static void
strike_client (struct sim *sim, const struct fault *fault)
{
  struct client *client = &sim->clients[fault->client % sim->client_count];
  uint32_t i;

  switch (fault->kind) {
  case FAULT_CLIENT_CUT:
    for (i = 0; client->live && i < client->nbd_count; i++)
      nbd_cut (sim, client->nbd[i]);
    break;
  case FAULT_CLIENT_STALL:
    nbd_stall_one (sim, client, fault->dice,
                   5 * SIM_MS + fault->length_us % (300 * SIM_MS));
    break;
  case FAULT_CLIENT_LATE:
    nbd_delay_next (sim, client, fault->length_us % (1000 * SIM_MS));
    break;
  case FAULT_CLIENT_PARTITION:
    client->cut_until[fault->node] = sim->now_us + fault->length_us;
    if (fault->busy)
      sim->busy_until = client->cut_until[fault->node];
    break;
  default:
    load_crash (sim, client);
    repair_after (sim, fault->length_us, restart_client,
                  (uint32_t) client->index,
                  fault->kind == FAULT_CLIENT_AMNESIA);
    break;
  }
}

/* A node is cut off from etcd, or from everybody; or all nodes from etcd;
 * or a node does not hear its peer, which hears it.
 */
static void
strike_etcd (struct sim *sim, const struct fault *fault)
{
  struct node *node = &sim->nodes[fault->node];
  uint64_t until = sim->now_us + fault->length_us;
  int c;

  if (fault->kind == FAULT_ONE_WAY) {
    node->deaf_until = until;
    return;
  }
  node->etcd_cut_until = until;
  if (fault->kind == FAULT_ETCD_DOWN)
    sim->nodes[1 - fault->node].etcd_cut_until = until;
  if (fault->kind != FAULT_ISOLATE)
    return;
  sim->partition_until = until;
  /* Its clients may be on its side. */
  for (c = 0; c < sim->client_count; c++)
    if (sim_chance (sim, 2))
      sim->clients[c].cut_until[fault->node] = until;
}

static void
strike (struct sim *sim, const struct fault *fault)
{
  static const char *const names[FAULT_KINDS] = {
    "crash",
    "power",
    "stop",
    "both",
    "cut",
    "partition",
    "pause",
    "client-cut",
    "client-partition",
    "client-crash",
    "client-amnesia",
    "slow",
    "idle",
    "read",
    "write",
    "space",
    "sync",
    "together",
    "refuse",
    "noise",
    "flap",
    "wander",
    "deaf",
    "meta",
    "switch",
    "client-stall",
    "client-late",
    "force",
    "discard",
    "verify",
    "hold",
    "resize",
    "etcd-cut",
    "etcd-down",
    "isolate",
    "one-way",
  };

  sim_trace (sim, "fault: %s node %c client %d length %llu us",
             names[fault->kind], 'A' + fault->node, fault->client,
             (unsigned long long) fault->length_us);
  switch (fault->kind) {
  case FAULT_CRASH:
  case FAULT_POWER:
  case FAULT_STOP: strike_node (sim, fault, fault->node, fault->kind); break;
  case FAULT_BOTH: strike_both (sim, fault); break;
  case FAULT_TOGETHER: strike_together (sim, fault); break;
  case FAULT_CUT: link_cut (sim); break;
  case FAULT_NOISE: link_noise (sim, fault->node); break;
  case FAULT_REFUSE:
    sim->refuse_until = sim->now_us + fault->length_us;
    link_cut (sim);
    break;
  case FAULT_FLAP: strike_flap (sim, fault); break;
  case FAULT_WANDER: strike_wander (sim, fault); break;
  case FAULT_DEAF: strike_deaf (sim, fault); break;
  case FAULT_PARTITION:
    sim->partition_until = sim->now_us + fault->length_us;
    break;
  case FAULT_PAUSE: strike_pause (sim, fault); break;
  case FAULT_SWITCH: strike_switch (sim, fault); break;
  case FAULT_FORCE: strike_wish (sim, fault, ADMIN_FORCE); break;
  case FAULT_VERIFY: strike_verify (sim, fault); break;
  case FAULT_HOLD: strike_hold (sim, fault); break;
  case FAULT_RESIZE: resize_strike (sim, fault); break;
  case FAULT_DISCARD: strike_wish (sim, fault, ADMIN_DISCARD); break;
  case FAULT_ETCD_CUT:
  case FAULT_ETCD_DOWN:
  case FAULT_ISOLATE:
  case FAULT_ONE_WAY: strike_etcd (sim, fault); break;
  case FAULT_IDLE: sim->idle_until = sim->now_us + 14000 * SIM_MS; break;
  case FAULT_SLOW:
  case FAULT_READ:
  case FAULT_WRITE:
  case FAULT_SPACE:
  case FAULT_META:
  case FAULT_SYNC: strike_disk (sim, fault); break;
  default: strike_client (sim, fault); break;
  }
}

/* --- when --------------------------------------------------------------- */

static void arm (struct sim *sim, const struct sim_event *event);

/* Faults that must not meet another one. */
static bool
wants_whole_pair (const struct fault *fault)
{
  switch (fault->kind) {
  case FAULT_CRASH:
  case FAULT_POWER:
  case FAULT_STOP:
  case FAULT_CUT:
  case FAULT_NOISE:
  case FAULT_READ:
  case FAULT_WRITE:
  case FAULT_SPACE:
  case FAULT_SYNC:
  case FAULT_META: return true;
  default: return false;
  }
}

static bool
is_store (enum fault_kind kind)
{
  return kind == FAULT_READ || kind == FAULT_WRITE || kind == FAULT_SPACE ||
    kind == FAULT_SYNC || kind == FAULT_META;
}

/* Both nodes are there and about to make a link: where the network holds,
 * they do so in time.
 */
static bool
greeting (const struct sim *sim)
{
  struct core_view view;
  int n;

  for (n = 0; n < SIM_NODES; n++)
    if (!sim->nodes[n].alive)
      return false;
  core_view (sim->nodes[0].core, &view);
  if (view.linked)
    core_view (sim->nodes[1].core, &view);
  return !view.linked;
}

static bool
ends_a_node (const struct fault *fault)
{
  switch (fault->kind) {
  case FAULT_CRASH:
  case FAULT_POWER:
  case FAULT_STOP:
  case FAULT_BOTH:
  case FAULT_TOGETHER:
  case FAULT_FLAP: return true;
  default: return false;
  }
}

/* With durability=flush a node that ends while the other one's disk fails
 * leaves no copy of which it is known that it lacks nothing.
 */
static bool
takes_the_whole_copy (const struct sim *sim, const struct fault *fault)
{
  int n;

  if (!flush_mode (sim) || !ends_a_node (fault))
    return false;
  for (n = 0; n < SIM_NODES; n++)
    if ((n != fault->node || fault->kind == FAULT_BOTH) && disk_fails (sim, n))
      return true;
  return false;
}

static bool
may_strike (struct sim *sim, const struct fault *fault)
{
  const char *why;

  if (takes_the_whole_copy (sim, fault))
    return false;
  if (fault->kind == FAULT_SLOW && !sim->model->partition)
    return !greeting (sim);
  if (!wants_whole_pair (fault))
    return true;
  if (sim->model->partition && !(sim->model->store && is_store (fault->kind)))
    return true;
  return sim->repairs == 0 && check_converged (sim, &why);
}

static void
fire (struct sim *sim, const struct sim_event *event)
{
  const struct fault *fault = &sim->faults[event->a];

  if (sim->phase != PHASE_RUN || event->a != sim->fault_next)
    return;
  if (!may_strike (sim, fault)) {
    sim_after (sim, 20 * SIM_MS, *event);
    return;
  }
  sim->fault_armed = false;
  sim->fault_next++;
  strike (sim, fault);
  fault_begin (sim);
}

static void
arm (struct sim *sim, const struct sim_event *event)
{
  struct sim_event late = *event;

  late.run = fire;
  if (sim->faults[event->a].action < 0) {
    fire (sim, &late);
    return;
  }
  sim->fault_armed = true;
  /* The moment may never come. */
  sim_after (sim, 4000 * SIM_MS, late);
}

/* Wait for the next fault. */
void
fault_begin (struct sim *sim)
{
  struct sim_event event = { .run = arm, .node = -1, .a = sim->fault_next };

  if (sim->fault_next < sim->fault_count)
    sim_after (sim, sim->faults[sim->fault_next].wait_us, event);
}

void
fault_on_action (struct sim *sim, int node, const struct core_action *action)
{
  struct fault *fault = &sim->faults[sim->fault_next];

  if (!sim->fault_armed || fault->at != node ||
      fault->action != (int) action->type ||
      (fault->frame != 0 && fault->frame != action->frame.type) ||
      --fault->nth > 0)
    return;
  sim->fault_armed = false;
  sim_after (
    sim, fault->delay_us,
    (struct sim_event){ .run = fire, .node = -1, .a = sim->fault_next });
}

/* No more faults: everything is repaired now, but a node that is stopped
 * wakes up when its time has come, and so does what waits in it.  Only a
 * path between clients and a node may stay cut, for which the other path
 * must do.
 */
void
fault_heal (struct sim *sim)
{
  int n, c;
  struct core_view view;

  sim->fault_next = sim->fault_count;
  sim->fault_armed = false;
  sim->idle_until = 0;
  sim->refuse_until = 0;
  if (sim->partition_until > sim->now_us)
    sim->partition_until = sim->now_us;
  for (n = 0; n < SIM_NODES; n++) {
    struct node *node = &sim->nodes[n];
    struct disk *disk = &node->disk;

    disk->fail_read = disk->fail_write = disk->fail_space = false;
    disk->fail_sync = disk->fail_meta = false;
    disk->slow_us = 0;
    disk->room = SIM_CELLS;
    node->etcd_cut_until = node->deaf_until = 0;
    if (node->alive) {
      core_view (node->core, &view);
      if (view.state == STATE_FAILED)
        node_crash (sim, node, false);
    }
    if (!node->alive) {
      past_mend (sim, node);
      node_start (sim, node);
    }
  }
  for (c = 0; c < sim->client_count; c++) {
    sim->clients[c].flaps = 0;
    sim->clients[c].late_us = 0;
    for (n = 0; n < SIM_NODES; n++)
      sim->clients[c].cut_until[n] = n == sim->cut_for_good ? SIM_NEVER / 2 : 0;
    /* It may know generations that were given up. */
    if (sim->model->force)
      load_crash (sim, &sim->clients[c]);
    load_start (sim, &sim->clients[c], sim->model->force);
  }
}
