/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-history.c: is what the clients saw linearizable?
 *
 * Each cell is a register, so the check goes cell by cell (a
 * history is linearizable if and only if it is so for each object:
 * Herlihy and Wing 1990).  Per cell it is the search of Wing and Gong
 * with the memory of Lowe ("just in time linearization"): the set of
 * possible worlds, each a value and which of the pending requests have
 * taken effect, is carried from answer to answer.  Few requests are
 * pending on one cell at any time, so the set stays small.
 *
 * A write that was sent more than once may take effect more than once
 * until it is answered (the exception of I3), but never over a write of
 * its own client: that is not sent before.  One that was never
 * answered, or answered by an error, may take effect at any later time.
 *
 * Atomicity over several cells: of two writes that were answered and
 * sent once each, no read sees one on top in one cell and the other on
 * top in another.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { WORLDS = 2048, PENDING = 24 };

struct world {
  uint32_t value;
  uint32_t done; /* bit of the pending list */
};

/* A request under way at one cell. */
struct pending {
  uint32_t op;
  uint32_t value;
  bool used, write, again; /* may take effect more than once */
};

struct search {
  struct sim *sim;
  uint32_t cell;
  struct world worlds[WORLDS];
  uint32_t count;
  struct pending pending[PENDING];
  bool overflow;
};

/* --- worlds ------------------------------------------------------------- */

/* Reads that see their value are done as soon as they can be. */
static struct world
satisfied (const struct search *search, struct world world)
{
  uint32_t i;

  for (i = 0; i < PENDING; i++)
    if (search->pending[i].used && !search->pending[i].write &&
        search->pending[i].value == world.value)
      world.done |= 1u << i;
  return world;
}

static void
add_world (struct search *search, struct world world)
{
  uint32_t i;

  world = satisfied (search, world);
  for (i = 0; i < search->count; i++)
    if (search->worlds[i].value == world.value &&
        search->worlds[i].done == world.done)
      return;
  if (search->count == WORLDS) {
    search->overflow = true;
    return;
  }
  search->worlds[search->count++] = world;
}

/* Is VALUE of another write of the same life of the same client? */
static bool
own_value (const struct search *search, uint32_t number, uint32_t value)
{
  const struct op *ops = search->sim->ops;

  return value != 0 && value - 1 != number &&
    ops[value - 1].client == ops[number].client &&
    ops[value - 1].client_life == ops[number].client_life;
}

/* Everything that pending writes can lead to. */
static void
close_worlds (struct search *search)
{
  uint32_t w, i, bit;
  struct world next;

  for (w = 0; w < search->count; w++)
    for (i = 0; i < PENDING; i++) {
      const struct pending *p = &search->pending[i];

      bit = 1u << i;
      if (!p->used || !p->write)
        continue;
      if ((search->worlds[w].done & bit) &&
          (!p->again || own_value (search, p->op, search->worlds[w].value)))
        continue;
      next.value = p->value;
      next.done = search->worlds[w].done | bit;
      add_world (search, next);
    }
}

/* --- one cell --------------------------------------------------------- */

static void
invoke (struct search *search, uint32_t number)
{
  const struct op *op = &search->sim->ops[number];
  struct pending *p;
  uint32_t i, w;

  for (i = 0; i < PENDING && search->pending[i].used; i++)
    continue;
  if (i == PENDING) {
    search->overflow = true;
    return;
  }
  p = &search->pending[i];
  p->used = true;
  p->op = number;
  p->write = op->kind != OP_READ;
  p->value = tag_value (op->values[search->cell - op->first]);
  p->again = p->write && (op->sends > 1 || op->answered == 0 || op->error != 0);
  for (w = 0; w < search->count; w++) {
    search->worlds[w].done &= ~(1u << i);
    search->worlds[w] = satisfied (search, search->worlds[w]);
  }
}

/* The request has its answer: worlds in which it did not happen end. */
static bool
answer (struct search *search, uint32_t number)
{
  uint32_t i, w, kept = 0;
  struct world world;

  for (i = 0; i < PENDING; i++)
    if (search->pending[i].used && search->pending[i].op == number)
      break;
  assert (i < PENDING);
  close_worlds (search);
  search->pending[i].used = false;
  for (w = 0; w < search->count; w++) {
    world = search->worlds[w];
    if (!(world.done & (1u << i)))
      continue;
    world.done &= ~(1u << i);
    search->worlds[kept++] = world;
  }
  search->count = kept;
  return kept > 0;
}

/* --- all cells -------------------------------------------------------- */

/* An invocation or an answer, in order. */
struct moment {
  uint32_t op;
  bool is_answer;
};

static bool
counts (const struct op *op)
{
  if (op->kind == OP_FLUSH)
    return false;
  return op->kind != OP_READ || (op->answered != 0 && op->error == 0);
}

static uint32_t
list_moments (struct sim *sim, struct moment *moments)
{
  uint32_t i, count = 0;
  struct moment *by_order = sim_alloc (sim,
                                       (sim->order + 1) * sizeof *by_order);

  for (i = 0; i <= sim->order; i++)
    by_order[i].op = UINT32_MAX;
  for (i = 0; i < sim->op_count; i++) {
    const struct op *op = &sim->ops[i];

    if (!counts (op))
      continue;
    by_order[op->invoked] = (struct moment){ i, false };
    if (op->answered != 0 && op->error == 0)
      by_order[op->answered] = (struct moment){ i, true };
  }
  for (i = 0; i <= sim->order; i++)
    if (by_order[i].op != UINT32_MAX)
      moments[count++] = by_order[i];
  return count;
}

static void
complain (const struct search *search, uint32_t number)
{
  const struct op *op = &search->sim->ops[number];

  sim_fail (search->sim,
            "I3: not linearizable: cell %u, op %u (%s of"
            " client %d) %s %u",
            search->cell, number + 1, op->kind == OP_READ ? "read" : "write",
            op->client, op->kind == OP_READ ? "saw" : "wrote",
            tag_value (op->values[search->cell - op->first]));
}

static void
check_one (struct search *search, const struct moment *moments,
           const uint32_t *list, uint32_t count)
{
  uint32_t i;

  memset (search->pending, 0, sizeof search->pending);
  search->overflow = false;
  search->count = 1;
  search->worlds[0] = (struct world){ 0, 0 };
  for (i = 0; i < count && !search->overflow; i++) {
    const struct moment *moment = &moments[list[i]];

    if (!moment->is_answer)
      invoke (search, moment->op);
    else if (!answer (search, moment->op) && !search->overflow)
      complain (search, moment->op);
  }
}

static void
check_cells (struct sim *sim, const struct moment *moments, uint32_t count)
{
  static struct search search;
  uint32_t *start = sim_alloc (sim, (SIM_CELLS + 2) * sizeof *start);
  uint32_t *list, i, s;

  search.sim = sim;
  for (i = 0; i < count; i++) {
    const struct op *op = &sim->ops[moments[i].op];

    for (s = op->first; s < op->first + op->count; s++)
      start[s + 2]++;
  }
  for (s = 0; s < SIM_CELLS; s++)
    start[s + 2] += start[s + 1];
  list = sim_alloc (sim, (start[SIM_CELLS + 1] + 1) * sizeof *list);
  for (i = 0; i < count; i++) {
    const struct op *op = &sim->ops[moments[i].op];

    for (s = op->first; s < op->first + op->count; s++)
      list[start[s + 1]++] = i;
  }
  for (s = 0; s < sim->cells; s++) {
    search.cell = s;
    check_one (&search, moments, list + start[s], start[s + 1] - start[s]);
  }
}

/* --- several cells ---------------------------------------------------- */

static bool
covers (const struct op *op, uint32_t cell)
{
  return cell >= op->first && cell - op->first < op->count;
}

static const struct op *
plain_write (const struct sim *sim, uint32_t value)
{
  const struct op *op;

  if (value == 0)
    return NULL;
  op = &sim->ops[value - 1];
  return op->sends == 1 && op->answered != 0 && op->error == 0 ? op : NULL;
}

/* Along a read: where the writer changes, does either cover both? */
static void
check_atomic (struct sim *sim, uint32_t number)
{
  const struct op *read = &sim->ops[number], *writers[16];
  uint32_t at[16], count = 0, i, j;

  for (i = 0; i < read->count && count < 16; i++) {
    const struct op *writer = plain_write (sim, tag_value (read->values[i]));

    if (writer == NULL)
      continue;
    for (j = 0; j < count && writers[j] != writer; j++)
      continue;
    if (j < count)
      continue;
    writers[count] = writer;
    at[count++] = read->first + i;
  }
  for (i = 0; i < count; i++)
    for (j = 0; j < i; j++)
      if (covers (writers[i], at[j]) && covers (writers[j], at[i]))
        sim_fail (sim,
                  "I3: op %u sees op %u in cell %u and op %u in"
                  " cell %u, both cover both",
                  number + 1, (uint32_t) (writers[i] - sim->ops) + 1, at[i],
                  (uint32_t) (writers[j] - sim->ops) + 1, at[j]);
}

void
history_check (struct sim *sim)
{
  struct moment *moments = sim_alloc (sim, (sim->order + 1) * sizeof *moments);
  uint32_t i, count = list_moments (sim, moments);

  check_cells (sim, moments, count);
  for (i = 0; i < sim->op_count; i++)
    if (sim->ops[i].kind == OP_READ && counts (&sim->ops[i]))
      check_atomic (sim, i);
}
