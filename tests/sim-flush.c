/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-flush.c: durability=flush: what must hold of writes that are
 * answered before they are durable, for somebody who sees both disks.
 *
 *   when a write is answered  all members have it in their page caches
 *   when a flush is answered  what was written when it came is durable on
 *                             all members
 *   T1, T2                    are not made by a copy that may lack
 *                             something, nor while anything is not durable
 *   what the client sees      as long as it lives nothing answered is lost;
 *                             when it has died, what was not flushed may
 *                             be, if no member's process has outlived it
 *                             or the client was about to send it again;
 *                             and nothing else.  Without a proxy it lives
 *                             as long as its session
 */
#include <assert.h>
#include <string.h>

#include "sim.h"

bool
flush_mode (const struct sim *sim)
{
  return sim->model->durability == DURABILITY_FLUSH;
}

/* --- nodes ------------------------------------------------------------- */

/* A flush covers what was answered when it came, not what is under way. */
static void
leave_out (const struct sim *sim, const struct node *node,
           const struct disk *disk, uint32_t *written)
{
  uint32_t i, cell;

  for (i = 0; i < SIM_SLOTS; i++) {
    const struct op *op = &sim->ops[node->slots[i].op];

    if (!node->slots[i].used || op->kind == OP_READ || op->kind == OP_FLUSH)
      continue;
    for (cell = op->first; cell < op->first + op->count; cell++)
      written[cell] = disk->kept[cell];
  }
}

/* A request comes to NODE. */
void
flush_begins (struct sim *sim, const struct node *node, struct slot *slot)
{
  const struct op *op = &sim->ops[slot->op];
  int n;

  slot->peer_life = sim->nodes[1 - node->index].life;
  for (n = 0; n < SIM_NODES && op->kind == OP_FLUSH && flush_mode (sim); n++) {
    const struct disk *disk = &sim->nodes[n].disk;

    slot->written[n] = sim_alloc (sim, sizeof disk->written);
    memcpy (slot->written[n], disk->written, sizeof disk->written);
    leave_out (sim, node, disk, slot->written[n]);
  }
}

/* Is the peer of NODE still what it was when the request of SLOT came, of
 * NODE's generation, and its disk has lost nothing that was not synced?
 */
bool
flush_peer_same (const struct sim *sim, const struct node *node,
                 const struct slot *slot)
{
  const struct node *peer = &sim->nodes[1 - node->index];

  return peer->alive && peer->life == slot->peer_life && !peer->lacks &&
    !peer->disk.sync_failed && core_record (peer->core)->data == DATA_CURRENT &&
    gen_id_equal (gen_current (core_record (peer->core)),
                  gen_current (core_record (node->core)));
}

/* The peer of NODE was restarted, is away, or its disk has just lost what
 * was not synced; NODE may not know it yet.
 */
bool
flush_peer_lost (const struct sim *sim, const struct node *node)
{
  const struct node *peer = &sim->nodes[1 - node->index];

  return !peer->alive || peer->lacks || peer->disk.sync_failed;
}

static void
check_flushed (struct sim *sim, const struct node *node,
               const struct slot *slot, int n)
{
  const struct disk *disk = &sim->nodes[n].disk;
  uint32_t cell;

  for (cell = 0; cell < sim->cells; cell++)
    if (disk->kept[cell] < slot->written[n][cell])
      sim_fail (sim, "flush: %c answers op %u, cell %u is not durable on %c",
                'A' + node->index, slot->op + 1, cell, 'A' + n);
}

static void
check_written (struct sim *sim, const struct node *node,
               const struct slot *slot, int n)
{
  const struct op *op = &sim->ops[slot->op];
  uint32_t i;

  for (i = 0; i < op->count; i++)
    if (sim->nodes[n].disk.cache[op->first + i] != op->values[i])
      sim_fail (sim, "flush: %c answers op %u, %c does not have cell %u",
                'A' + node->index, slot->op + 1, 'A' + n, op->first + i);
}

/* NODE answers a write or a flush without an error. */
void
flush_check_answer (struct sim *sim, const struct node *node,
                    const struct slot *slot)
{
  bool flush = sim->ops[slot->op].kind == OP_FLUSH;
  int n;

  for (n = 0; n < SIM_NODES; n++) {
    /* Its next read will tell. */
    if (n == node->index && node->disk.sync_failed)
      continue;
    if (n != node->index &&
        (!core_record (node->core)->both || !flush_peer_same (sim, node, slot)))
      continue;
    if (flush)
      check_flushed (sim, node, slot, n);
    else
      check_written (sim, node, slot, n);
  }
}

/* NODE, one of two members until now, goes on alone. */
void
flush_check_change (struct sim *sim, const struct node *node, bool linked)
{
  const struct disk *disk = &node->disk;
  uint32_t cell;

  if (!flush_mode (sim) || !disk->record.both || linked)
    return;
  if (node->lacks && !sim->model->force)
    sim_fail (sim, "flush: %c goes on alone, and was restarted as one of two",
              'A' + node->index);
  if (is_target (&sim->nodes[1 - node->index]))
    return;
  for (cell = 0; cell < sim->cells; cell++)
    if (disk->kept[cell] != disk->written[cell])
      sim_fail (sim, "flush: %c goes on alone, cell %u is not durable",
                'A' + node->index, cell);
}

/* What NODE believes of itself when it starts, and how it gets over it. */
void
flush_note_start (struct sim *sim, struct node *node)
{
  const struct gen_record *record = &node->disk.record;

  node->lacks = node->disk.cached && record->both &&
    record->data == DATA_CURRENT;
  if (!flush_mode (sim))
    node->disk.cached = false;
}

/* From now on there may be answered writes in its page cache only. */
void
flush_note_action (struct sim *sim, struct node *node,
                   const struct core_action *action)
{
  if (flush_mode (sim) &&
      (action->type == ACT_COMPLETE ||
       (action->type == ACT_SEND && action->frame.type == WIRE_RECEIVED)))
    node->disk.cached = true;
}

void
flush_note_step (struct node *node)
{
  struct core_view view;

  if (!node->lacks)
    return;
  core_view (node->core, &view);
  if (view.linked || !view.record.both || view.record.data != DATA_CURRENT)
    node->lacks = view.record.may_lack;
}

/* NODE's process is about to end.  Does the other one hold all that was
 * answered?  When in doubt, no.
 */
static bool
other_holds_all (const struct sim *sim, const struct node *node)
{
  const struct node *other = &sim->nodes[1 - node->index];
  const struct gen_record *mine = core_record (node->core), *its;

  if (!other->alive || other->lacks)
    return false;
  its = core_record (other->core);
  if (its->data != DATA_CURRENT)
    return false;
  if (mine->data != DATA_CURRENT || node->lacks)
    return true;
  return gen_id_equal (gen_current (mine), gen_current (its))
    ? mine->both && its->both
    : gen_knows (its, gen_current (mine));
}

/* A client begins to send again what it keeps: if it dies on the way, an
 * older write may stand where a newer one was.
 */
void
flush_note_again (struct sim *sim)
{
  assert (sim->flush.turn_count < FLUSH_TURNS);
  sim->flush.turns[sim->flush.turn_count++] = ++sim->order;
}

/* A client forgets what it wrote: it dies, or its session ends and there is
 * no proxy.
 */
void
flush_note_death (struct sim *sim)
{
  if (!flush_mode (sim))
    return;
  assert (sim->flush.death_count < FLUSH_DEATHS);
  sim->flush.deaths[sim->flush.death_count++] = ++sim->order;
}

void
flush_note_end (struct sim *sim, const struct node *node)
{
  if (!flush_mode (sim) || other_holds_all (sim, node))
    return;
  assert (sim->flush.loss_count < FLUSH_ENDS);
  sim_trace (sim, "what is not flushed may be lost");
  sim->flush.losses[sim->flush.loss_count++] = ++sim->order;
}

/* Is anything not durable anywhere? */
bool
flush_all_durable (const struct sim *sim)
{
  int n;

  for (n = 0; n < SIM_NODES; n++) {
    const struct disk *disk = &sim->nodes[n].disk;

    if (memcmp (disk->kept, disk->written, sim->cells * sizeof disk->kept[0]) !=
        0)
      return false;
  }
  return true;
}

/* --- what the client saw ------------------------------------------------ */

enum { VALUES = 128, FLUSHES = 64 };

/* Values that a cell may have. */
struct values {
  uint32_t count;
  uint32_t list[VALUES];
};

struct event {
  enum { NOTHING, INVOKED, ANSWERED, DIED, LOST, AGAIN } what;
  uint32_t op;
  uint32_t order;
  uint32_t first, count; /* cells that it is about */
};

/* One cell.  There is one client, whose requests do not overlap. */
struct cell {
  struct values may;        /* what it may be now */
  struct values floor;      /* what it may have been when the last flush that
                          was answered was sent */
  struct values since;      /* what was written after that, or just then */
  uint32_t writers[VALUES]; /* of since */
  struct values late;       /* of writes without an answer, which may take
                          effect at any later time (as in sim-history.c) */
  bool own;          /* the newest answered write is of the client that lives */
  uint32_t answered; /* that write's value */
  uint32_t lost;     /* order of the newest loss, 0: none since a flush */
  bool open;         /* a value was perhaps lost, and none flushed since */
  struct {
    uint32_t op;
    struct values may;
  } flushes[FLUSHES]; /* sent and not answered */
  uint32_t flush_count;
};

static bool
has (const struct values *values, uint32_t value)
{
  uint32_t i;

  for (i = 0; i < values->count; i++)
    if (values->list[i] == value)
      return true;
  return false;
}

static void
add (struct values *values, uint32_t value)
{
  if (has (values, value))
    return;
  assert (values->count < VALUES);
  values->list[values->count++] = value;
}

static void
add_all (struct values *to, const struct values *from)
{
  uint32_t i;

  for (i = 0; i < from->count; i++)
    add (to, from->list[i]);
}

static void
only (struct values *values, uint32_t value)
{
  values->count = 1;
  values->list[0] = value;
}

/* Not the places that are free: a run makes very many of these. */
static void
copy (struct values *to, const struct values *from)
{
  to->count = from->count;
  memmove (to->list, from->list, from->count * sizeof *from->list);
}

static uint32_t
value_of (const struct op *op, uint32_t cell)
{
  return tag_value (op->values[cell - op->first]);
}

static void
write_invoked (const struct sim *sim, struct cell *c, uint32_t number,
               uint32_t value)
{
  const struct op *op = &sim->ops[number];

  add (&c->may, value);
  if (op->answered == 0 || op->error != 0)
    add (&c->late, value);
  assert (c->since.count < VALUES);
  c->writers[c->since.count] = number;
  c->since.list[c->since.count++] = value;
}

static void
flush_invoked (struct cell *c, uint32_t number)
{
  assert (c->flush_count < FLUSHES);
  c->flushes[c->flush_count].op = number;
  copy (&c->flushes[c->flush_count++].may, &c->may);
}

static void
flush_answered (const struct sim *sim, struct cell *c, uint32_t number)
{
  uint32_t began = sim->ops[number].invoked, i, kept = 0;

  for (i = 0; c->flushes[i].op != number; i++)
    assert (i + 1 < c->flush_count);
  copy (&c->floor, &c->flushes[i].may);
  add_all (&c->floor, &c->may);
  c->flush_count--;
  c->flushes[i].op = c->flushes[c->flush_count].op;
  copy (&c->flushes[i].may, &c->flushes[c->flush_count].may);
  for (i = 0; i < c->since.count; i++) {
    const struct op *writer = &sim->ops[c->writers[i]];

    if (writer->answered != 0 && writer->answered < began)
      continue;
    c->writers[kept] = c->writers[i];
    c->since.list[kept++] = c->since.list[i];
  }
  c->since.count = kept;
  c->open = false;
  if (c->lost < began)
    c->lost = 0;
}

static void
lose (struct cell *c)
{
  add_all (&c->may, &c->floor);
  add_all (&c->may, &c->since);
  c->open = true;
}

static void
died (struct cell *c)
{
  c->own = false;
  c->flush_count = 0; /* they are never answered */
  if (c->lost != 0)
    lose (c);
}

/* The nodes have lost what was not flushed.  A client that lives has what
 * it wrote.
 */
static void
lost (struct cell *c, uint32_t order)
{
  c->lost = order;
  if (!c->own)
    lose (c);
}

/* The proxy sends what is answered and not flushed again.  A write that had
 * an error is not kept, so what it left may be gone, though it was read.
 */
static void
again (struct cell *c, uint32_t order)
{
  if (!c->own)
    return;
  c->lost = order;
  if (has (&c->since, c->answered))
    add (&c->may, c->answered);
}

static void
read_answered (struct sim *sim, struct cell *c, uint32_t number, uint32_t cell)
{
  uint32_t value = value_of (&sim->ops[number], cell);

  if (!has (&c->may, value) && !has (&c->late, value))
    sim_fail (sim,
              "flush: op %u reads %u in cell %u: what was answered%s is"
              " lost",
              number + 1, value, cell, c->open ? " and flushed" : "");
  if (c->open && (has (&c->floor, value) || has (&c->since, value)))
    return;
  only (&c->may, value);
  if (c->since.count == 0)
    only (&c->floor, value);
}

static void
happen (struct sim *sim, struct cell *c, const struct event *event,
        uint32_t cell)
{
  const struct op *op = &sim->ops[event->op];

  if (event->what == DIED)
    died (c);
  else if (event->what == LOST)
    lost (c, event->order);
  else if (event->what == AGAIN)
    again (c, event->order);
  else if (op->kind == OP_FLUSH && event->what == INVOKED)
    flush_invoked (c, event->op);
  else if (op->kind == OP_FLUSH)
    flush_answered (sim, c, event->op);
  else if (op->kind == OP_READ)
    read_answered (sim, c, event->op, cell);
  else if (event->what == INVOKED)
    write_invoked (sim, c, event->op, value_of (op, cell));
  else {
    c->answered = value_of (op, cell);
    only (&c->may, c->answered);
    c->own = true;
  }
}

static void
list_op (const struct sim *sim, struct event *list, uint32_t number)
{
  const struct op *op = &sim->ops[number];
  struct event event = { INVOKED, number, op->invoked, op->first, op->count };

  if (op->kind == OP_FLUSH) {
    event.first = 0;
    event.count = sim->cells;
  }
  if (op->invoked != 0 && op->kind != OP_READ)
    list[op->invoked] = event;
  event.what = ANSWERED;
  event.order = op->answered;
  if (op->answered != 0 && op->error == 0)
    list[op->answered] = event;
}

/* By order; what has an error has no answer, and when a read was sent does
 * not matter.
 */
static struct event *
list_events (struct sim *sim, uint32_t *count)
{
  struct event *list = sim_alloc (sim, (sim->order + 1) * sizeof *list);
  uint32_t i, at, kept = 0;

  for (i = 0; i < sim->op_count; i++)
    list_op (sim, list, i);
  for (i = 0; i < sim->flush.death_count; i++) {
    at = sim->flush.deaths[i];
    list[at] = (struct event){ DIED, 0, at, 0, sim->cells };
  }
  for (i = 0; i < sim->flush.turn_count; i++) {
    at = sim->flush.turns[i];
    list[at] = (struct event){ AGAIN, 0, at, 0, sim->cells };
  }
  for (i = 0; i < sim->flush.loss_count; i++) {
    at = sim->flush.losses[i];
    list[at] = (struct event){ LOST, 0, at, 0, sim->cells };
  }
  for (i = 0; i <= sim->order; i++)
    if (list[i].what != NOTHING)
      list[kept++] = list[i];
  *count = kept;
  return list;
}

/* Mark each cell whose history may differ from that of the one before it:
 * where a request begins or has ended, and where a read saw something else.
 * The others need no look of their own.
 */
static void
mark_edges (const struct sim *sim, bool *edges)
{
  uint32_t i, n;

  for (n = 0; n < sim->op_count; n++) {
    const struct op *op = &sim->ops[n];

    edges[op->first] = edges[op->first + op->count] = true;
    for (i = 1; op->kind == OP_READ && op->values != NULL && i < op->count; i++)
      if (op->values[i] != op->values[i - 1])
        edges[op->first + i] = true;
  }
}

void
flush_check_history (struct sim *sim)
{
  static struct cell c;
  const struct event *list;
  uint32_t count, cell, i;
  bool *edges;

  if (sim->flush.broken)
    return;
  assert (sim->client_count == 1);
  list = list_events (sim, &count);
  edges = sim_alloc (sim, sim->cells + 1);
  mark_edges (sim, edges);
  for (cell = 0; cell < sim->cells; cell++) {
    if (cell > 0 && !edges[cell])
      continue;
    c.since.count = c.late.count = c.flush_count = 0;
    c.open = c.own = false;
    c.lost = 0;
    only (&c.may, 0);
    only (&c.floor, 0);
    for (i = 0; i < count; i++)
      if (cell - list[i].first < list[i].count)
        happen (sim, &c, &list[i], cell);
  }
}
