/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-check-sync.c: what must be true of resync and reconcile while they
 * go on, for somebody who sees both disks.  A later write, or the next
 * resync, would hide most of it from a look at the end of the run.
 *
 *   I4  when a copy becomes a member, and when a reconcile ends, the copies
 *       differ only where a request is under way
 *   I4  nobody writes in a chunk while it is read for the peer
 */
#include <assert.h>

#include "sim.h"

static bool
is_write (const struct op *op)
{
  return op->kind != OP_READ && op->kind != OP_FLUSH;
}

bool
cells_meet (uint32_t first, uint32_t count, uint32_t other,
            uint32_t other_count)
{
  return first < other + other_count && other < first + count;
}

/* --- both copies -------------------------------------------------------- */

/* May the copies differ in CELL, because NODE is at a write there? */
static bool
under_way (const struct sim *sim, const struct node *node, uint32_t cell)
{
  uint32_t i;

  for (i = 0; i < SIM_SLOTS; i++) {
    const struct op *op = &sim->ops[node->slots[i].op];

    if (node->slots[i].used && is_write (op) &&
        cells_meet (op->first, op->count, cell, 1))
      return true;
  }
  return false;
}

/* With durability=flush one copy may be less durable than the other. */
static bool
same_content (const struct sim *sim, uint32_t cell)
{
  return tag_value (sim->nodes[0].disk.cache[cell]) ==
    tag_value (sim->nodes[1].disk.cache[cell]);
}

/* NODE takes its peer's copy for as good as its own. */
void
check_equal (struct sim *sim, const struct node *node)
{
  uint32_t region, cell;

  /* What is lost now was answered, and its node will hear of it. */
  if (flush_mode (sim) &&
      (sim->nodes[0].disk.sync_failed || sim->nodes[1].disk.sync_failed))
    return;
  for (region = 0; region < sim->regions; region++) {
    if (sim->differing[region] == 0)
      continue;
    for (cell = region * sim->region_cells;
         cell < (region + 1) * sim->region_cells; cell++)
      if (sim->differs[cell] &&
          !(flush_mode (sim) && same_content (sim, cell)) &&
          !under_way (sim, node, cell))
        sim_fail (sim,
                  "I4: %c takes both copies for equal: cell %u is %u on A"
                  " and %u on B",
                  'A' + node->index, cell,
                  tag_value (sim->nodes[0].disk.cache[cell]),
                  tag_value (sim->nodes[1].disk.cache[cell]));
  }
}

/* NODE makes its peer a member: with durability=flush, too, all that is
 * there must be durable, since NODE's flushes were its own until now.
 */
void
check_joined (struct sim *sim, const struct node *node)
{
  const struct disk *disk = &sim->nodes[1 - node->index].disk;
  uint32_t cell;

  for (cell = 0; cell < sim->cells; cell++)
    if (disk->kept[cell] != disk->written[cell] && !under_way (sim, node, cell))
      sim_fail (sim,
                "flush: %c lets its peer join, whose cell %u is not"
                " durable",
                'A' + node->index, cell);
}

/* --- a chunk and the writes next to it ---------------------------------- */

static bool
is_read_now (const struct chunk_buffer *chunk)
{
  return chunk->count > 0 && !chunk->done;
}

/* A write of OP begins at the store of NODE. */
void
check_beside_chunks (struct sim *sim, const struct node *node,
                     const struct op *op)
{
  uint32_t i;

  for (i = 0; is_write (op) && i < CORE_CHUNKS_MAX; i++) {
    const struct chunk_buffer *chunk = &node->chunks[i];

    if (is_read_now (chunk) &&
        cells_meet (op->first, op->count, chunk->first, chunk->count))
      sim_fail (sim,
                "I4: %c writes cells %u+%u while it reads %u+%u for the"
                " peer",
                'A' + node->index, op->first, op->count, chunk->first,
                chunk->count);
  }
}

/* NODE begins to read a chunk. */
void
check_chunk_begins (struct sim *sim, const struct node *node,
                    const struct core_action *action)
{
  uint32_t first = cell_at (action->offset), i;
  uint32_t count = cells_in (action->offset, action->length);

  for (i = 0; i < SIM_SLOTS; i++) {
    const struct slot *slot = &node->slots[i];
    const struct op *op = &sim->ops[slot->op];

    if (slot->used && slot->local && is_write (op) &&
        cells_meet (op->first, op->count, first, count))
      sim_fail (sim,
                "I4: %c reads cells %u+%u for the peer while it writes"
                " %u+%u",
                'A' + node->index, first, count, op->first, op->count);
  }
}
