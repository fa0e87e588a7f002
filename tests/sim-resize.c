/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-resize.c: the volume grows: a node's files, what a crash leaves of them,
 * and the rules that come with it:
 *
 *   a superblock never says a smaller size than the one before, and none that
 *   the data file does not have; and a node that starts can use what it finds
 *
 *   a size that a node shows to its clients is durable there and, if it has a
 *   member beside it, there, too; so nothing behind the end of a member's copy
 *   is answered
 *
 *   no client that was answered is shown a smaller size after that, unless an
 *   operator or the lack of an arbiter may have let a lost copy come back
 *
 *   in the end both nodes have the same size
 */
#include <errno.h>

#include "sim.h"

/* --- files -------------------------------------------------------------- */

/* ACT_GROW has come to its end, well or not. */
static void
grown (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct core_event done = { .type = EV_GROWN };
  uint32_t cells = event->a;

  node->grow_busy = false;
  if (node->disk.room < cells) {
    done.error = ENOSPC;
    done.bytes = cell_offset (node->disk.room);
  }
  else if (node->disk.fail_space || node->disk.fail_meta ||
           node->disk.sync_failed)
    done.error = node->disk.fail_space ? ENOSPC : EIO;
  else {
    node->disk.cells = cells;
    if (cell_offset (cells) > node->disk.record.size)
      done.room = marks_new (cell_offset (cells),
                             node->disk.record.region_size);
  }
  node_step (sim, node, &done);
}

void
resize_act (struct sim *sim, struct node *node,
            const struct core_action *action)
{
  struct sim_event event = node_event (node, grown);

  event.a = cell_at (action->length);
  if (node->grow_busy)
    sim_fail (sim, "%c grows twice at once", 'A' + node->index);
  if (action->length < node->disk.record.size)
    sim_fail (sim, "%c cuts its own copy", 'A' + node->index);
  if (action->length > node->disk.record.size &&
      action->length > node->disk.record.grow_to)
    sim_fail (sim,
              "%c makes its file longer than its superblock says: the next"
              " start would refuse it",
              'A' + node->index);
  node->grow_busy = true;
  node->grow_cells = event.a;
  sim_after (sim, sim_delay (sim, 400) + node->disk.slow_us, event);
}

/* The process dies: its file may have got the length, or any in between. */
void
resize_crash (struct sim *sim, struct node *node)
{
  uint32_t from = node->disk.cells, to = node->grow_cells;

  if (!node->grow_busy)
    return;
  node->grow_busy = false;
  if (to <= node->disk.room && sim_chance (sim, 2))
    node->disk.cells = to;
  else if (to > from && to <= node->disk.room)
    node->disk.cells += (uint32_t) sim_below (sim, to - from);
}

/* What the store does when a node starts (store-open.c). */
void
resize_start (struct sim *sim, struct node *node, struct gen_record *record)
{
  uint32_t cells = cell_at (node->disk.record.size);

  *record = node->disk.record;
  record->grow_to = 0;
  if (node->disk.cells < cells ||
      (node->disk.cells > cells &&
       cell_offset (node->disk.cells) > node->disk.record.grow_to))
    sim_fail (sim, "%c cannot start: its file has %u cells, not %u",
              'A' + node->index, node->disk.cells, cells);
  node->disk.cells = cells;
  node->size = node->disk.record.size;
}

/* RECORD becomes durable at NODE. */
void
resize_record (struct sim *sim, struct node *node,
               const struct gen_record *record)
{
  if (record->size < node->disk.record.size)
    sim_fail (sim, "the volume shrinks at %c", 'A' + node->index);
  if (record->size > cell_offset (node->disk.cells))
    sim_fail (sim, "%c's superblock counts what its file does not have",
              'A' + node->index);
  if (record->grow_to == 0 && record->size < cell_offset (node->disk.cells))
    sim_fail (sim, "%c forgets that its file is too long", 'A' + node->index);
}

/* --- what is shown ------------------------------------------------------ */

/* Does the member beside NODE, if there is one, have SIZE durably? */
static bool
peer_has (const struct sim *sim, const struct node *node, uint64_t size)
{
  const struct gen_record *mine = core_record (node->core);
  const struct gen_record *peer = &sim->nodes[1 - node->index].disk.record;

  /* One that has left the generation is no member of it. */
  return !mine->both || peer->size >= size || peer->data != DATA_CURRENT ||
    !gen_id_equal (gen_current (mine), gen_current (peer));
}

/* After a step of NODE. */
void
resize_check_step (struct sim *sim, struct node *node)
{
  uint64_t size = core_size (node->core);

  if (size == node->size)
    return;
  if (size < node->size)
    sim_fail (sim, "the volume shrinks for %c's clients", 'A' + node->index);
  if (size > node->disk.record.size)
    sim_fail (sim, "%c has a size that is not durable", 'A' + node->index);
  sim_trace (sim, "%c: has grown to %u cells", 'A' + node->index,
             cell_at (size));
  node->size = size;
}

/* A client is let in, and told the size. */
void
resize_shown (struct sim *sim, const struct node *node, struct nbd *nbd)
{
  uint64_t size = core_size (node->core);

  nbd->cells = cell_at (size);
  if (!peer_has (sim, node, size))
    sim_fail (sim, "%c shows %u cells to a client, %c has fewer",
              'A' + node->index, nbd->cells, 'B' - node->index);
}

/* NODE answers OP: it lies within what all members have. */
void
resize_answered (struct sim *sim, const struct node *node, const struct op *op)
{
  if (!peer_has (sim, node, cell_offset (op->first + op->count)))
    sim_fail (sim, "I1: %c answers behind the end of %c's copy",
              'A' + node->index, 'B' - node->index);
}

/* CLIENT is answered: from now on it counts on the size that it was shown. */
void
resize_counts (struct client *client)
{
  client->bound = true;
  if (client->shown_cells > client->cells)
    client->cells = client->shown_cells;
}

/* CLIENT comes to a server that has shown it this size.  False: it is smaller
 * than the one that it counts on.
 */
bool
resize_fits (struct sim *sim, struct client *client, const struct nbd *nbd)
{
  if (!client->bound || nbd->cells >= client->cells)
    return true;
  if (!sim->model->split && !sim->may_split)
    sim_fail (sim, "the volume shrinks for client %d: %u cells, it had %u",
              client->index, nbd->cells, client->cells);
  return false;
}

/* The largest size that both nodes have now. */
uint32_t
resize_cells (const struct sim *sim)
{
  uint64_t a = sim->nodes[0].disk.record.size;
  uint64_t b = sim->nodes[1].disk.record.size;

  return cell_at (a < b ? a : b);
}

/* Some of the clients who still see an old size come back for the new one;
 * in the end ALL of them.
 */
void
resize_reconnect (struct sim *sim, bool all)
{
  uint32_t i;
  int c;

  for (c = 0; c < sim->client_count; c++) {
    struct client *client = &sim->clients[c];
    const struct node *node = &sim->nodes[client->node];

    if (!client->alive || !client->live || !node->alive ||
        client->shown_cells >= cell_at (core_size (node->core)) ||
        (!all && !sim_chance (sim, 4)))
      continue;
    sim_trace (sim, "client %d: connects anew, for the size", c);
    for (i = 0; i < client->nbd_count; i++)
      nbd_cut (sim, client->nbd[i]);
  }
}

bool
resize_goes_on (const struct sim *sim)
{
  struct core_view view;
  int n;

  for (n = 0; n < SIM_NODES; n++) {
    core_view (sim->nodes[n].core, &view);
    if (view.growing_to != 0)
      return true;
  }
  return false;
}

void
resize_check_end (struct sim *sim)
{
  uint64_t a = core_size (sim->nodes[0].core);
  uint64_t b = core_size (sim->nodes[1].core);

  if (a != b || sim->nodes[0].disk.record.size != a ||
      sim->nodes[1].disk.record.size != b)
    sim_fail (sim, "the sizes differ in the end: %u cells on A, %u on B",
              cell_at (a), cell_at (b));
}

/* --- the operator ------------------------------------------------------- */

static void
roomy (struct sim *sim, const struct sim_event *event)
{
  sim->repairs--;
  sim->nodes[event->a].disk.room = SIM_CELLS;
}

/* Makes the volume larger by a little or a lot, at the primary if there is
 * one; now and then asks for what is impossible.
 */
void
resize_strike (struct sim *sim, const struct fault *fault)
{
  struct node *node = &sim->nodes[fault->node];
  struct core_wish wish = { .kind = ADMIN_RESIZE };
  struct core_view view;
  uint32_t cells, to;
  int n;

  for (n = 0; n < SIM_NODES && fault->dice % 4 != 0; n++)
    if (sim->nodes[n].alive) {
      core_view (sim->nodes[n].core, &view);
      if (view.serving)
        node = &sim->nodes[n];
    }
  if (!node->alive)
    return;
  cells = to = cell_at (core_size (node->core));
  if (cells < sim->cells)
    to += 1 +
      fault->dice / 16 % (fault->dice % 3 == 0 ? 20 : sim->cells - cells);
  if (to > sim->cells)
    to = sim->cells;
  if (fault->dice % 32 == 7)
    to = cells / 2;
  if (fault->dice % 8 == 5 && to > cells) {
    sim->nodes[fault->node].disk.room = cells + (to - cells) / 2;
    sim->repairs++;
    sim_after (sim, fault->length_us,
               (struct sim_event){
                 .run = roomy, .node = -1, .a = (uint32_t) fault->node });
  }
  wish.size = cell_offset (to);
  sim_trace (sim, "%c: from %u to %u cells", 'A' + node->index, cells, to);
  admin_ask (sim, node, &wish);
}
