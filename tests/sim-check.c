/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-check.c: the invariants of the design that can be looked at while
 * a run goes on, by somebody who sees both disks, both nodes and all
 * clients at once.
 *
 *   I1  a write is acknowledged only when it is durable on every member
 *   I2  at most one node acknowledges in a generation, and of any two
 *       generations that acknowledged one descends from the other
 *   I4  after resync, when all is quiet, both copies are identical; while
 *       it goes on: sim-check-sync.c
 *   I5  where the copies differ, a region bit is durable on one of them
 *   I7  a copy that is not current is never served
 *   I8  no store operation of a fenced session or of a dead link; and no
 *       local write runs while a hello waits for its decision
 *
 * An answer counts when a client has accepted it: one that was lost on
 * the way acknowledged nothing to anybody.
 */
#include <assert.h>
#include <string.h>

#include "sim.h"

/* --- both disks --------------------------------------------------------- */

static bool
region_marked (const struct sim *sim, uint32_t region)
{
  int n;

  /* Of a copy that is blank or says it has failed nothing is believed. */
  for (n = 0; n < SIM_NODES; n++)
    if (sim->nodes[n].disk.map[region / 8] >> (region % 8) & 1 ||
        sim->nodes[n].disk.record.data == DATA_FAILED ||
        sim->nodes[n].disk.record.data == DATA_BLANK)
      return true;
  return false;
}

void
check_cell (struct sim *sim, uint32_t cell)
{
  const struct disk *a = &sim->nodes[0].disk, *b = &sim->nodes[1].disk;
  uint32_t region = cell / sim->region_cells;
  bool differs = tag_value (a->cache[cell]) != tag_value (b->cache[cell]) ||
    tag_value (a->durable[cell]) != tag_value (b->durable[cell]);

  if (differs == sim->differs[cell])
    return;
  sim->differs[cell] = differs;
  if (!differs) {
    sim->differing[region]--;
    return;
  }
  sim->differing[region]++;
  if (!sim->spoilt && !region_marked (sim, region))
    sim_fail (sim, "I5: cell %u differs and no durable region bit says so",
              cell);
}

/* A map page has become durable, or a failed copy a target: no bit may
 * have gone too early, or be missing.
 */
void
check_map (struct sim *sim)
{
  uint32_t region;

  for (region = 0; region < sim->regions; region++)
    if (!sim->spoilt && sim->differing[region] > 0 &&
        !region_marked (sim, region))
      sim_fail (sim, "I5: region %u is clear and %u cells differ", region,
                sim->differing[region]);
}

void
check_durable (struct sim *sim, int node, uint32_t cell, uint32_t tag)
{
  uint32_t number = (tag & ~TAG_ZERO) - 1, i;
  struct op *op;

  if ((tag & ~TAG_ZERO) == 0)
    return;
  op = &sim->ops[number];
  assert (cell >= op->first);
  assert (cell < op->first + op->count);
  i = cell - op->first;
  op->durable[node][i / 64] |= UINT64_C (1) << (i % 64);
}

void
check_identical (struct sim *sim)
{
  const struct disk *a = &sim->nodes[0].disk, *b = &sim->nodes[1].disk;
  uint32_t s;

  for (s = 0; s < sim->cells; s++) {
    if (tag_value (a->cache[s]) != tag_value (b->cache[s]))
      sim_fail (sim, "I4: cell %u is %u on A and %u on B", s,
                tag_value (a->cache[s]), tag_value (b->cache[s]));
    if (tag_value (a->durable[s]) != tag_value (b->durable[s]))
      sim_fail (sim, "I4: cell %u is durably %u on A and %u on B", s,
                tag_value (a->durable[s]), tag_value (b->durable[s]));
  }
}

/* --- generations -------------------------------------------------------- */

static struct seen_gen *
find_gen (struct sim *sim, struct gen_id gen)
{
  uint32_t i;

  for (i = sim->gen_count; i-- > 0;)
    if (gen_id_equal (sim->gens[i].gen, gen))
      return &sim->gens[i];
  return NULL;
}

static const struct gen_record *
record_of (const struct node *node)
{
  return node->alive ? core_record (node->core) : &node->disk.record;
}

static bool
descends (const struct seen_gen *young, const struct seen_gen *old)
{
  while (young != NULL && young != old)
    young = young->parent;
  return young == old;
}

static struct seen_gen *
learn (struct sim *sim, const struct gen_record *record)
{
  struct seen_gen *seen = &sim->gens[sim->gen_count++];

  seen->gen = record->history[0].gen;
  seen->kind = record->history[0].kind;
  seen->acked_by = -1;
  if (record->history_count > 1)
    seen->parent = find_gen (sim, record->history[1].gen);
  return seen;
}

/* The generation in which a pair with a past begins. */
void
check_begin (struct sim *sim, const struct gen_record *record)
{
  learn (sim, record);
}

/* NODE declares its copy void.  What a client was answered there must be
 * in the peer's copy, unless an operator may have given that up.
 */
static void
check_void (struct sim *sim, int node)
{
  const struct gen_record *peer = record_of (&sim->nodes[1 - node]);
  const struct seen_gen *newest = find_gen (sim, gen_current (peer));
  uint32_t i;

  if (sim->model->force)
    return;
  /* The peer may be about to write a newer one down. */
  if (newest == NULL && peer->history_count > 1)
    newest = find_gen (sim, peer->history[1].gen);
  for (i = 0; i < sim->gen_count; i++)
    if (sim->gens[i].acked_by == node && !descends (newest, &sim->gens[i]))
      sim_fail (sim,
                "I1: %c gives up its copy, in which generation %llu.%llx"
                " has answered",
                'A' + node, (unsigned long long) sim->gens[i].gen.epoch,
                (unsigned long long) sim->gens[i].gen.id & 0xffff);
}

/* NODE has declared itself the target of a resync, maybe on a link that is
 * gone when what the other node made of it is written down.
 */
bool
is_target (const struct node *node)
{
  return node->disk.record.data == DATA_SYNCING;
}

/* NODE goes on alone by nobody's word: for the sake of plain clients, then,
 * and no proxied session may have been opened in the generation that ends.
 */
static void
check_unasked (struct sim *sim, const struct node *node,
               const struct gen_record *record)
{
  if (record->history[0].kind != GEN_SOLO || record->history[0].client != 0 ||
      !node->disk.record.both || node->asked ||
      sim->takeover != TAKEOVER_PROXY || sim->model->arbiter == ARBITER_ETCD ||
      sim->nodes[1 - node->index].disk.record.discard || sim->store_fault ||
      sim->disk_hung)
    return;
  if (!node->tried)
    sim_fail (sim, "I2: %c goes on alone and has not looked for its peer",
              'A' + node->index);
  if (gen_id_equal (node->proxied, record->history[1].gen))
    sim_fail (sim,
              "I2: %c goes on alone for plain clients, though a proxied one"
              " was there",
              'A' + node->index);
}

/* takeover=manual: NODE, the backup, takes over only from a peer that has
 * said that its copy does not count.
 */
static void
check_manual (struct sim *sim, const struct node *node,
              const struct gen_record *record)
{
  const struct gen_record *its = &sim->nodes[1 - node->index].disk.record;

  if (sim->takeover == TAKEOVER_MANUAL &&
      record->history[0].kind == GEN_TAKEOVER && node->disk.record.both &&
      its->data == DATA_CURRENT && !its->discard && !sim->store_fault &&
      !sim->disk_hung)
    sim_fail (sim, "%c takes over, which nobody told it to do",
              'A' + node->index);
}

/* A node goes on alone: not between hello and decision, not as a target,
 * and not while store operations of its former role run.
 */
static void
check_change (struct sim *sim, struct node *node,
              const struct gen_record *record)
{
  struct core_view view;

  if (record->history[0].kind != GEN_SOLO &&
      record->history[0].kind != GEN_TAKEOVER)
    return;
  core_view (node->core, &view);
  if (node->hello_out && !view.linked)
    sim_fail (sim, "%c makes a generation between hello and decision",
              'A' + node->index);
  if (view.linked && view.peer_state == STATE_SOLO)
    sim_fail (sim, "I7: %c makes a generation though it is a target",
              'A' + node->index);
  if (!view.linked && !is_target (&sim->nodes[1 - node->index])) {
    check_unasked (sim, node, record);
    check_manual (sim, node, record);
  }
  flush_check_change (sim, node, view.linked);
  if (node->disk.record.both && node->local_writes > 0)
    sim_fail (sim, "I8: %c goes on alone while %u of its own writes run",
              'A' + node->index, node->local_writes);
}

/* NODE makes its peer a member.  If etcd's word for it comes when the link
 * is gone, the peer must be brought up to date again before either serves.
 */
static bool
takes_in (const struct sim *sim, const struct node *node)
{
  struct core_view view;

  core_view (node->core, &view);
  return sim->model->arbiter != ARBITER_ETCD || view.linked;
}

/* A record is about to be persisted: learn its newest generation. */
void
check_record (struct sim *sim, int node, const struct gen_record *record)
{
  struct seen_gen *seen;

  /* The operator may decide otherwise. */
  if (record->data == DATA_SYNCING && !record->discard)
    check_void (sim, node);
  if (record->data == DATA_FAILED && !sim->store_fault && !sim->disk_hung)
    sim_fail (sim, "%c gives up a copy whose disk works", 'A' + node);
  if (record->history_count == 0 ||
      find_gen (sim, record->history[0].gen) != NULL)
    return;
  assert (sim->gen_count < SIM_GENERATIONS);
  if (sim->model->arbiter == ARBITER_ETCD)
    etcd_check_record (sim, node, record);
  check_change (sim, &sim->nodes[node], record);
  seen = learn (sim, record);
  if (record->history[0].kind == GEN_JOIN &&
      takes_in (sim, &sim->nodes[node])) {
    check_equal (sim, &sim->nodes[node]);
    if (flush_mode (sim))
      check_joined (sim, &sim->nodes[node]);
  }
  sim_trace (sim, "generation %llu.%llx (%s) after %llu.%llx",
             (unsigned long long) seen->gen.epoch,
             (unsigned long long) seen->gen.id & 0xffff,
             gen_kind_name (record->history[0].kind),
             (unsigned long long) record->history[1].gen.epoch,
             (unsigned long long) record->history[1].gen.id & 0xffff);
}

void
check_accepted (struct sim *sim, int node, struct gen_id gen)
{
  struct seen_gen *seen = find_gen (sim, gen);
  uint32_t i;

  if (seen == NULL)
    sim_fail (sim, "I2: %c answers in a generation it never wrote down",
              'A' + node);
  if (seen->acked_by == node)
    return;
  if (seen->acked_by >= 0)
    sim_fail (sim, "I2: both nodes acknowledge in generation %llu.%llx",
              (unsigned long long) gen.epoch,
              (unsigned long long) gen.id & 0xffff);
  seen->acked_by = node;
  if (sim->model->split || sim->may_split)
    return;
  for (i = 0; i < sim->gen_count; i++)
    if (sim->gens[i].acked_by >= 0 && !descends (seen, &sim->gens[i]) &&
        !descends (&sim->gens[i], seen))
      sim_fail (sim,
                "I2: split brain: %c acknowledges in %llu.%llx, %c did"
                " in %llu.%llx",
                'A' + node, (unsigned long long) gen.epoch,
                (unsigned long long) gen.id & 0xffff,
                'A' + sim->gens[i].acked_by,
                (unsigned long long) sim->gens[i].gen.epoch,
                (unsigned long long) sim->gens[i].gen.id & 0xffff);
}

/* Has a node alone answered, or may yet answer, and no client knows of
 * it?  The arbiter takes an answer for proof that the client has noted
 * the generation.  If a client loses its memory just then, both nodes may
 * serve it: such a pair must end diverged.
 */
bool
check_may_forget (struct sim *sim)
{
  const struct gen_record *record;
  const struct seen_gen *seen;
  uint32_t i;
  int n;

  for (n = 0; n < SIM_NODES; n++) {
    const struct node *node = &sim->nodes[n];

    record = record_of (node);
    seen = find_gen (sim, gen_current (record));
    if (record->both || seen == NULL || seen->acked_by >= 0)
      continue;
    if (record->answered)
      return false;
    for (i = 0; i < SIM_SLOTS; i++)
      if (node->slots[i].used)
        return false;
  }
  return true;
}

/* --- actions ------------------------------------------------------------ */

/* A session is answered in the generation that it was opened in, or in one
 * that a joining peer has made of it.
 */
static void
check_bound (struct sim *sim, const struct node *node, const struct nbd *nbd)
{
  const struct seen_gen *now;

  if (!nbd->open.proxied || gen_id_equal (nbd->bound, node->gen_before))
    return;
  now = find_gen (sim, node->gen_before);
  while (now != NULL && now->kind == GEN_JOIN &&
         !gen_id_equal (now->gen, nbd->bound))
    now = now->parent;
  if (now == NULL || !gen_id_equal (now->gen, nbd->bound))
    sim_fail (sim,
              "I2: %c answers session %llu, which was opened in generation"
              " %llu, in %llu",
              'A' + node->index, (unsigned long long) nbd->open.session,
              (unsigned long long) nbd->bound.epoch,
              (unsigned long long) node->gen_before.epoch);
}

/* What two members answer must survive either: what is read is durable at
 * the peer.  If the peer has left the generation, its copy has, too.
 */
static void
check_read_kept (struct sim *sim, const struct node *node,
                 const struct slot *slot)
{
  const struct op *op = &sim->ops[slot->op];
  const struct node *peer = &sim->nodes[1 - node->index];
  const struct gen_record *record = core_record (node->core);
  const struct gen_record *other = record_of (peer);
  bool flush = flush_mode (sim);
  const uint32_t *keeps = flush ? peer->disk.cache : peer->disk.durable;
  uint32_t i;

  if (flush && !flush_peer_same (sim, node, slot))
    return;
  if (!record->both || sim->store_fault || other->data != DATA_CURRENT ||
      !gen_id_equal (gen_current (record), gen_current (other)))
    return;
  for (i = op->first; i < op->first + op->count; i++)
    if (tag_value (node->disk.cache[i]) != tag_value (keeps[i]))
      sim_fail (sim, "I3: %c lets a client read %u in cell %u, %c keeps %u",
                'A' + node->index, tag_value (node->disk.cache[i]), i,
                'A' + peer->index, tag_value (keeps[i]));
}

static void
check_complete (struct sim *sim, struct node *node,
                const struct core_action *action)
{
  const struct slot *slot = &node->slots[action->slot];
  const struct op *op = &sim->ops[slot->op];
  const struct gen_record *record = core_record (node->core);
  uint32_t i;
  int n;

  if (!slot->used)
    sim_fail (sim, "%c completes a request twice", 'A' + node->index);
  if (slot->local)
    sim_fail (sim, "%c completes op %u while its local part runs",
              'A' + node->index, slot->op + 1);
  if (action->error == 0)
    check_bound (sim, node, slot->nbd);
  if (action->error != 0 || (op->kind == OP_FLUSH && !flush_mode (sim)))
    return;
  if (sim->model->arbiter == ARBITER_ETCD)
    etcd_check_served (sim, node->index, node->gen_before);
  resize_answered (sim, node, op);
  /* A copy may fail in the very step that answers. */
  if (node->data_before != DATA_CURRENT)
    sim_fail (sim, "I7: %c serves a copy that is %s", 'A' + node->index,
              gen_data_name ((enum data_state) node->data_before));
  if (op->kind == OP_READ) {
    check_read_kept (sim, node, slot);
    return;
  }
  if (flush_mode (sim)) {
    flush_check_answer (sim, node, slot);
    return;
  }
  for (n = 0; n < SIM_NODES; n++) {
    if (n != node->index && !record->both)
      continue;
    for (i = 0; i < op->count; i++)
      if (!(op->durable[n][i / 64] >> (i % 64) & 1))
        sim_fail (sim,
                  "I1: %c acknowledges op %u, cell %u is not durable"
                  " on %c",
                  'A' + node->index, slot->op + 1, op->first + i, 'A' + n);
  }
}

/* NODE accepts a client without memory: the only one, so that the other
 * node cannot have answered it in a generation that this one lacks.  Not
 * so if the client has left, and this node, stopped for a while, reads now
 * what its peer said before.
 */
static void
check_memoryless (struct sim *sim, const struct node *node)
{
  const struct gen_record *record = core_record (node->core);
  const struct seen_gen *mine = NULL;
  uint32_t i;

  /* A step may accept and then begin the next generation. */
  for (i = 0; mine == NULL && i < record->history_count; i++)
    mine = find_gen (sim, record->history[i].gen);
  if (sim->client_count > 1 || sim->may_split || sim->model->split)
    return;
  for (i = 0; i < sim->gen_count; i++)
    if (sim->gens[i].acked_by >= 0 && !descends (mine, &sim->gens[i]))
      sim_fail (sim,
                "I7: %c accepts a client without memory, but %c has"
                " answered in %llu.%llx",
                'A' + node->index, 'A' + sim->gens[i].acked_by,
                (unsigned long long) sim->gens[i].gen.epoch,
                (unsigned long long) sim->gens[i].gen.id & 0xffff);
}

/* Whoever has given a session up, and opened a newer one here, must not
 * come in with the old one, however late it arrives.
 */
static void
check_newest (struct sim *sim, struct node *node, const struct nbd *nbd)
{
  struct accepted *newest = &node->newest[nbd->client];

  if (newest->client == nbd->open.client && newest->session > nbd->open.session)
    sim_fail (sim, "I8: %c accepts session %llu after session %llu",
              'A' + node->index, (unsigned long long) nbd->open.session,
              (unsigned long long) newest->session);
  newest->client = nbd->open.client;
  newest->session = nbd->open.session;
}

static void
check_open_done (struct sim *sim, struct node *node,
                 const struct core_action *action)
{
  const struct core_open *open = &node->conns[action->slot]->open;
  struct core_view view;
  uint32_t i;

  if (action->error != 0)
    return;
  core_view (node->core, &view);
  if (view.linked && view.peer_state == STATE_SOLO)
    sim_fail (sim, "I7: %c accepts a client though it is a target",
              'A' + node->index);
  if (!open->proxied)
    return;
  node->proxied = gen_current (&view.record);
  if (open->shown.epoch == 0 && !node->conns[action->slot]->client_gone)
    check_memoryless (sim, node);
  check_newest (sim, node, node->conns[action->slot]);
  for (i = 0; i < SIM_SLOTS; i++) {
    const struct slot *slot = &node->slots[i];

    if (slot->used && slot->local && slot->nbd->open.client == open->client &&
        slot->nbd->open.session < open->session)
      sim_fail (sim,
                "I8: %c accepts session %llu while op %u of session"
                " %llu runs",
                'A' + node->index, (unsigned long long) open->session,
                slot->op + 1, (unsigned long long) slot->nbd->open.session);
  }
}

static bool
fenced (const struct node *node, const struct nbd *old)
{
  uint32_t i;

  for (i = 0; i < SIM_CONNS; i++) {
    const struct nbd *nbd = node->conns[i];

    if (nbd != NULL && nbd->server == NBD_OPEN && old->open.proxied &&
        nbd->open.client == old->open.client &&
        nbd->open.session > old->open.session)
      return true;
  }
  return false;
}

static void
check_local (struct sim *sim, struct node *node,
             const struct core_action *action)
{
  const struct slot *slot = &node->slots[action->slot];
  struct core_view view;

  if (!slot->used || slot->local)
    sim_fail (sim, "%c starts a local part twice", 'A' + node->index);
  if (fenced (node, slot->nbd))
    sim_fail (sim, "I8: %c starts op %u of a fenced session", 'A' + node->index,
              slot->op + 1);
  check_beside_chunks (sim, node, &sim->ops[slot->op]);
  if (!node->hello_out || sim->ops[slot->op].kind == OP_READ)
    return;
  core_view (node->core, &view);
  node->hello_out = false;
  if (!view.linked)
    sim_fail (sim, "%c starts a write between hello and decision",
              'A' + node->index);
}

static void
check_send (struct sim *sim, struct node *node,
            const struct core_action *action)
{
  if (action->frame.type == WIRE_BYE)
    node->accuses = action->frame.arg == WIRE_BYE_PROTOCOL;
  if (action->frame.type != WIRE_HELLO_FRAME)
    return;
  if (node->local_writes > 0)
    sim_fail (sim, "I8: %c says hello while %u of its own writes run",
              'A' + node->index, node->local_writes);
  node->hello_out = true;
}

/* Both are the same program, and what the network has changed is dropped
 * unread: if one accuses the other, one of them is wrong.
 */
static void
check_drop (struct sim *sim, struct node *node,
            const struct core_action *action)
{
  node->hello_out = false;
  if (node->accuses)
    sim_fail (sim, "%c accuses its peer: %s", 'A' + node->index,
              action->reason);
}

/* A primary that calls its pair whole.  If it has not noticed yet that
 * the link is dead, the peer may have gone on without it, or tried to and
 * failed.
 */
static void
check_state (struct sim *sim, const struct node *node)
{
  const struct gen_record *peer = record_of (&sim->nodes[1 - node->index]);
  struct core_view view;

  /* With durability=flush, or has lost what it had. */
  if (flush_mode (sim) && flush_peer_lost (sim, node))
    return;
  core_view (node->core, &view);
  if (view.state == STATE_PRIMARY && view.linked && !view.resyncing &&
      peer->data == DATA_CURRENT &&
      gen_id_equal (gen_current (peer), gen_current (&view.record)))
    check_equal (sim, node);
}

void
check_action (struct sim *sim, struct node *node,
              const struct core_action *action)
{
  if (sim->model->arbiter == ARBITER_ETCD)
    etcd_check_action (sim, node, action);
  flush_note_action (sim, node, action);
  switch (action->type) {
  case ACT_COMPLETE: check_complete (sim, node, action); break;
  case ACT_OPEN_DONE: check_open_done (sim, node, action); break;
  case ACT_LOCAL: check_local (sim, node, action); break;
  case ACT_DROP_LINK: check_drop (sim, node, action); break;
  case ACT_SEND: check_send (sim, node, action); break;
  case ACT_CHUNK: check_chunk_begins (sim, node, action); break;
  case ACT_STATE: check_state (sim, node); break;
  default: break;
  }
}

/* --- time --------------------------------------------------------------- */

/* A peer that hangs must not hold a node for long: hello and decision
 * have a deadline.
 */
void
check_handshake (struct sim *sim, const struct node *node)
{
  uint64_t limit_us = (sim->dead_ms + sim->dead_ms / 50 + 100) * SIM_MS;
  uint64_t since_us = node->link_up_us;
  struct core_view view;

  if (!node->alive || node->pipe == NULL ||
      node->pipe->end[node->index].state != PIPE_UP ||
      node->pause_until > sim->now_us || node->disk.slow_us > 0)
    return;
  if (node->pause_until > since_us)
    since_us = node->pause_until;
  if (sim->now_us - since_us < limit_us)
    return;
  core_view (node->core, &view);
  if (!view.linked)
    sim_fail (sim, "I9: the handshake of %c does not end", 'A' + node->index);
}

/* --- liveness ----------------------------------------------------------- */

/* Both copies were written apart, and both nodes say so. */
bool
check_diverged (struct sim *sim)
{
  struct core_view view;
  int n;

  for (n = 0; n < SIM_NODES; n++) {
    if (!sim->nodes[n].alive)
      return false;
    core_view (sim->nodes[n].core, &view);
    if (view.state != STATE_DIVERGED)
      return false;
  }
  return true;
}

bool
check_converged (struct sim *sim, const char **why)
{
  struct core_view view[SIM_NODES];
  int n;

  for (n = 0; n < SIM_NODES; n++) {
    if (!sim->nodes[n].alive) {
      *why = "a node is dead";
      return false;
    }
    core_view (sim->nodes[n].core, &view[n]);
    if (!view[n].linked) {
      *why = view[n].reason;
      return false;
    }
    if (view[n].resyncing) {
      *why = "a resync goes on";
      return false;
    }
  }
  for (n = 0; n < SIM_NODES; n++)
    if (view[n].state == STATE_PRIMARY && view[1 - n].state == STATE_BACKUP)
      return true;
  *why = view[0].reason;
  return false;
}
