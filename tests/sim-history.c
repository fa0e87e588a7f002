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
 * A request begins when it is sent for the first time: what its proxy
 * holds back until another one is answered cannot have happened.
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

enum { WORLDS = 2048, PENDING = 31, INDEX = 4 * WORLDS };

struct world {
  uint32_t value;
  uint32_t done; /* bit of the pending list */
};

/* A request under way at one cell. */
struct pending {
  uint32_t op;
  uint32_t value;
  bool again; /* may take effect more than once */
};

/* An invocation or an answer, in order. */
struct moment {
  uint32_t op;
  bool is_answer;
};

struct search {
  struct sim *sim;
  uint32_t cell;
  struct world worlds[WORLDS + 1]; /* room for one that is looked up */
  uint32_t count;
  /* Where each world stands, by hash; what is of another round is empty. */
  struct {
    uint32_t round, world;
  } index[INDEX];
  uint32_t round;
  struct pending pending[PENDING];
  uint32_t reads, writes; /* bits of those in use */
  bool overflow;
};

/* A write without an answer, or with an error: it may have happened, and
 * may yet.
 */
static bool
is_lost (const struct op *op)
{
  return op->kind != OP_READ && (op->answered == 0 || op->error != 0);
}

/* --- worlds ------------------------------------------------------------- */

/* Reads that see their value are done as soon as they can be. */
static struct world
satisfied (const struct search *search, struct world world)
{
  uint32_t left, i;

  for (left = search->reads & ~world.done; left != 0; left &= left - 1) {
    i = (uint32_t) __builtin_ctz (left);
    if (search->pending[i].value == world.value)
      world.done |= 1u << i;
  }
  return world;
}

/* Enter world NUMBER into the index; false if one like it is there. */
static bool
enter_world (struct search *search, uint32_t number)
{
  const struct world world = search->worlds[number];
  uint64_t hash = (uint64_t) world.done << 32 | world.value;
  uint32_t i;

  hash *= 0x9e3779b97f4a7c15; /* Fibonacci hashing: Knuth, TAOCP 3, 6.4 */
  for (i = (uint32_t) (hash >> 32) % INDEX;
       search->index[i].round == search->round; i = (i + 1) % INDEX) {
    const struct world *there = &search->worlds[search->index[i].world];

    if (there->value == world.value && there->done == world.done)
      return false;
  }
  search->index[i].round = search->round;
  search->index[i].world = number;
  return true;
}

static void
add_world (struct search *search, struct world world)
{
  search->worlds[search->count] = satisfied (search, world);
  if (!enter_world (search, search->count))
    return;
  if (search->count < WORLDS)
    search->count++;
  else
    search->overflow = true;
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

/* Everything that pending writes can lead to until one of those with the
 * bits WANTED has taken effect; what may come after it comes when it must.
 */
static void
close_worlds (struct search *search, uint32_t wanted)
{
  uint32_t w, left, i;

  search->round++;
  for (w = 0; w < search->count; w++)
    enter_world (search, w);
  for (w = 0; w < search->count; w++) {
    const struct world world = search->worlds[w];

    for (left = world.done & wanted ? 0 : search->writes; left != 0;
         left &= left - 1) {
      const struct pending *p;

      i = (uint32_t) __builtin_ctz (left);
      p = &search->pending[i];
      if (!(world.done & 1u << i) ||
          (p->again && !own_value (search, p->op, world.value)))
        add_world (search, (struct world){ p->value, world.done | 1u << i });
    }
  }
}

/* --- one cell --------------------------------------------------------- */

/* A write without an answer matters only where somebody sees it. */
static bool
is_seen (const struct search *search, const struct moment *moments,
         const uint32_t *list, uint32_t count, uint32_t value)
{
  uint32_t i;

  for (i = 0; i < count; i++) {
    const struct op *op = &search->sim->ops[moments[list[i]].op];

    if (op->kind == OP_READ && moments[list[i]].is_answer &&
        tag_value (op->values[search->cell - op->first]) == value)
      return true;
  }
  return false;
}

static void
invoke (struct search *search, uint32_t number)
{
  const struct op *op = &search->sim->ops[number];
  bool write = op->kind != OP_READ;
  struct pending *p;
  uint32_t i, w;

  i = (uint32_t) __builtin_ctz (~(search->reads | search->writes));
  if (i >= PENDING) {
    search->overflow = true;
    return;
  }
  *(write ? &search->writes : &search->reads) |= 1u << i;
  p = &search->pending[i];
  p->op = number;
  p->value = tag_value (op->values[search->cell - op->first]);
  p->again = write && (op->sends > 1 || is_lost (op));
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
    if (((search->reads | search->writes) & 1u << i) &&
        search->pending[i].op == number)
      break;
  assert (i < PENDING);
  /* One that may take effect again may do so after all others. */
  close_worlds (search, search->pending[i].again ? 0 : 1u << i);
  search->reads &= ~(1u << i);
  search->writes &= ~(1u << i);
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

static bool
counts (const struct op *op)
{
  if (op->kind == OP_FLUSH || op->invoked == 0)
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

  search->reads = search->writes = 0;
  search->overflow = false;
  search->count = 1;
  search->worlds[0] = (struct world){ 0, 0 };
  for (i = 0; i < count && !search->overflow; i++) {
    const struct moment *moment = &moments[list[i]];

    if (!moment->is_answer) {
      const struct op *op = &search->sim->ops[moment->op];

      if (!is_lost (op) ||
          is_seen (search, moments, list + i, count - i,
                   tag_value (op->values[search->cell - op->first])))
        invoke (search, moment->op);
    }
    else if (!answer (search, moment->op) && !search->overflow)
      complain (search, moment->op);
  }
}

/* What happened in CELL is what happened in the one before: the same
 * requests, and their readers saw the same.
 */
static bool
is_like_before (const struct sim *sim, const struct moment *moments,
                uint32_t cell, const uint32_t *before, const uint32_t *list,
                uint32_t count)
{
  uint32_t i, at;

  if (memcmp (before, list, count * sizeof *list) != 0)
    return false;
  for (i = 0; i < count; i++) {
    const struct op *op = &sim->ops[moments[list[i]].op];

    at = cell - op->first;
    if (tag_value (op->values[at]) != tag_value (op->values[at - 1]))
      return false;
  }
  return true;
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
    uint32_t here = start[s + 1] - start[s];

    if (s > 0 && here == start[s] - start[s - 1] &&
        is_like_before (sim, moments, s, list + start[s - 1], list + start[s],
                        here))
      continue;
    search.cell = s;
    check_one (&search, moments, list + start[s], here);
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
