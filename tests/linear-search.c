/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * linear-search.c: has one part of a history an order?
 *
 * The search is that of Wing and Gong ("Testing and verifying concurrent
 * objects", 1993) with the memory and the just-in-time order of Lowe
 * ("Testing for linearizability", 2017).  The history is walked through
 * once, by time.  What is kept is the set of worlds that are possible now:
 * the contents, and which of the requests in flight have taken effect.
 * When a request is answered, every world in which it has not taken effect
 * is replaced by all worlds that come of letting requests in flight take
 * effect, in any order, up to this one.  Equal worlds are one.  If none is
 * left the history is not linearizable; if some are left at the end it is.
 * So the answer is exact both ways, unless a limit below is met.
 *
 * A part is an array of cells: the bytes between two neighbouring ends of
 * requests or runs.  Each request takes effect on all its cells at once.
 *
 * The set of worlds stays small because reads say what they saw.  Let a
 * content be wanted while a read that saw it is not yet in its place:
 *
 *   - A content that nobody wants is not remembered: it is NOBODY.
 *   - A world in which a wanted content is overwritten is given up, if
 *     nobody can write it again.  Only zeros have several writers, and
 *     only the writes of I3's exception may take effect again.
 *   - One that may take effect again does so only where it is missed, and
 *     a world in which it is missed when it is answered is given up.
 *   - A read takes effect as soon as the contents are what it saw, and a
 *     request that changes only what nobody wants to what nobody wants
 *     does so at once.  Neither can spoil anything.
 *   - Before an answer, only requests take effect that hang together with
 *     the answered one by overlaps of requests in flight.
 *
 * A write that was never answered may take effect at any time after it was
 * sent, or not at all.  If no read saw it, it is left out.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "linear.h"
#include "linear-worlds.h"

enum {
  PENDING_MAX = 64,   /* bits of a world's done */
  WORLDS_MAX = 200000 /* at one moment */
};

#define NOBODY UINT32_MAX

/* A request of this part.  Contents are 0 for zeros, else 1 + the index of
 * the item that wrote them.
 */
struct item {
  const struct linear_op *op;
  uint32_t first, count; /* cells */
  /* For each cell, of a read: what it saw; of a write: how many reads that
   * saw it are not answered yet.
   */
  uint32_t *cells;
};

/* An invocation or an answer. */
struct event {
  int64_t time_ns;
  bool is_answer;
  uint32_t item;
};

struct search {
  struct item *items;
  uint32_t item_count;
  uint64_t *bounds; /* of cells, sorted, one more than cells */
  uint32_t cell_count;
  uint32_t *memory; /* of all items' cells */
  struct event *events;
  uint32_t event_count;
  uint32_t *zero_reads; /* per cell: not answered reads that saw zeros */
  uint32_t *zero_ops;   /* per cell: not answered requests for zeros */

  uint32_t pending[PENDING_MAX]; /* items, valid where a bit is set in */
  uint64_t reads, writes;        /* writes: zeros too */
  struct worlds now, next, work;
  uint32_t *scratch; /* a world's contents */
};

/* ------------------------------------------------------------- one world */

static bool
covers (const struct item *item, uint32_t cell)
{
  return cell >= item->first && cell - item->first < item->count;
}

static const struct item *
pending_item (const struct search *search, uint64_t bits)
{
  return &search->items[search->pending[__builtin_ctzll (bits)]];
}

/* What ITEM, no read, leaves in its cells. */
static uint32_t
content_of (const struct search *search, const struct item *item)
{
  return item->op->kind == LINEAR_ZEROS ? LINEAR_ZERO
                                        : (uint32_t) (item - search->items) + 1;
}

/* Is there a read to come, in this world, that saw CONTENT in CELL? */
static bool
is_wanted (const struct search *search, uint64_t done, uint32_t cell,
           uint32_t content)
{
  const struct item *item;
  uint64_t bits;
  uint32_t wanted;

  if (content == NOBODY)
    return false;
  if (content == LINEAR_ZERO)
    wanted = search->zero_reads[cell];
  else {
    item = &search->items[content - 1];
    wanted = item->cells[cell - item->first];
  }
  for (bits = done & search->reads; wanted > 0 && bits != 0; bits &= bits - 1) {
    item = pending_item (search, bits);
    if (covers (item, cell) && item->cells[cell - item->first] == content)
      wanted--;
  }
  return wanted > 0;
}

/* Can anybody put CONTENT into CELL once more? */
static bool
may_return (const struct search *search, uint64_t done, uint32_t cell,
            uint32_t content)
{
  const struct item *item;
  uint64_t bits;
  uint32_t writers;

  if (content != LINEAR_ZERO) {
    for (bits = search->writes; bits != 0; bits &= bits - 1) {
      item = pending_item (search, bits);
      if (item == &search->items[content - 1])
        return item->op->again;
    }
    return false;
  }
  writers = search->zero_ops[cell];
  for (bits = done & search->writes; bits != 0; bits &= bits - 1) {
    item = pending_item (search, bits);
    if (item->op->kind == LINEAR_ZEROS && !item->op->again &&
        covers (item, cell))
      writers--;
  }
  return writers > 0;
}

static void
forget_unwanted (const struct search *search, uint64_t done, uint32_t *cells,
                 const struct item *item)
{
  uint32_t i;

  for (i = item->first; i < item->first + item->count; i++)
    if (!is_wanted (search, done, i, cells[i]))
      cells[i] = NOBODY;
}

/* May ITEM take effect now and change nothing that matters? */
static bool
is_harmless (const struct search *search, uint64_t done, const uint32_t *cells,
             const struct item *item)
{
  uint32_t i, content;

  if (item->op->kind == LINEAR_READ)
    return memcmp (cells + item->first, item->cells,
                   item->count * sizeof *cells) == 0;
  content = content_of (search, item);
  for (i = item->first; i < item->first + item->count; i++)
    if (cells[i] != NOBODY || is_wanted (search, done, i, content))
      return false;
  return true;
}

/* All that can take effect without a choice does. */
static uint64_t
settle (const struct search *search, uint64_t done, uint32_t *cells)
{
  const struct item *item;
  uint64_t bits;
  bool again = true;

  while (again) {
    again = false;
    bits = (search->reads | search->writes) & ~done;
    for (; bits != 0; bits &= bits - 1) {
      item = pending_item (search, bits);
      if (!is_harmless (search, done, cells, item))
        continue;
      done |= bits & -bits;
      forget_unwanted (search, done, cells, item);
      again = true;
    }
  }
  return done;
}

/* Does a read to come want ITEM's content where it is not, or not any
 * more?
 */
static bool
is_missed (const struct search *search, uint64_t done, const uint32_t *cells,
           const struct item *item)
{
  uint32_t content = content_of (search, item), i;

  for (i = item->first; i < item->first + item->count; i++)
    if (cells[i] != content && is_wanted (search, done, i, content))
      return true;
  return false;
}

/* The write at SLOT takes effect; false: this world cannot be. */
static bool
apply (const struct search *search, uint64_t *done, uint32_t *cells,
       unsigned slot)
{
  const struct item *item = &search->items[search->pending[slot]];
  uint32_t content = content_of (search, item), i;

  *done |= UINT64_C (1) << slot;
  for (i = item->first; i < item->first + item->count; i++) {
    if (cells[i] != NOBODY && cells[i] != content &&
        !may_return (search, *done, i, cells[i]))
      return false;
    cells[i] = content;
  }
  forget_unwanted (search, *done, cells, item);
  *done = settle (search, *done, cells);
  return true;
}

/* --------------------------------------------------------------- history */

static void
swap_worlds (struct search *search)
{
  struct worlds worlds = search->now;

  search->now = search->next;
  search->next = worlds;
  worlds_clear (&search->next);
}

static enum linear_result
invoke (struct search *search, uint32_t number)
{
  uint64_t free_slots = ~(search->reads | search->writes), done;
  uint32_t slot, i;

  if (free_slots == 0)
    return LINEAR_UNDECIDED;
  slot = (uint32_t) __builtin_ctzll (free_slots);
  search->pending[slot] = number;
  if (search->items[number].op->kind == LINEAR_READ)
    search->reads |= UINT64_C (1) << slot;
  else
    search->writes |= UINT64_C (1) << slot;
  for (i = 0; i < search->now.count; i++) {
    memcpy (search->scratch, worlds_cells (&search->now, i),
            search->cell_count * sizeof *search->scratch);
    done = settle (search, search->now.done[i], search->scratch);
    worlds_add (&search->next, done, search->scratch);
  }
  swap_worlds (search);
  return LINEAR_YES;
}

/* The pending writes that may have to take effect before SLOT. */
static uint64_t
writes_before (const struct search *search, unsigned slot)
{
  uint64_t in = UINT64_C (1) << slot, before = 0, bits, others;
  const struct linear_op *op;

  while (in != before) {
    before = in;
    for (bits = in; bits != 0; bits &= bits - 1) {
      op = pending_item (search, bits)->op;
      others = (search->reads | search->writes) & ~in;
      for (; others != 0; others &= others - 1)
        if (linear_overlap (op, pending_item (search, others)->op))
          in |= others & -others;
    }
  }
  return in & search->writes;
}

/* A world after the answer of the request at SLOT, unless it is missed
 * there: it cannot happen again.
 */
static void
keep (struct search *search, unsigned slot, uint64_t done,
      const uint32_t *cells)
{
  const struct item *item = &search->items[search->pending[slot]];

  if (item->op->kind != LINEAR_WRITE || !item->op->again ||
      !is_missed (search, done, cells, item))
    worlds_add (&search->next, done & ~(UINT64_C (1) << slot), cells);
}

/* Look at all that can follow from world I of the work, by one of the
 * candidates, on the way to the answer of the request at LAST.  What ends
 * with that request is kept.  What does not, or may happen again, is more
 * work.
 */
static void
follow (struct search *search, uint32_t i, uint64_t candidates, unsigned last)
{
  bool again = search->items[search->pending[last]].op->again;
  const struct item *item;
  uint64_t done;
  unsigned slot;

  for (; candidates != 0; candidates &= candidates - 1) {
    slot = (unsigned) __builtin_ctzll (candidates);
    item = &search->items[search->pending[slot]];
    done = search->work.done[i];
    if ((done >> slot & 1) != 0 &&
        (!item->op->again ||
         !is_missed (search, done, worlds_cells (&search->work, i), item)))
      continue;
    memcpy (search->scratch, worlds_cells (&search->work, i),
            search->cell_count * sizeof *search->scratch);
    if (!apply (search, &done, search->scratch, slot))
      continue;
    if ((done >> last & 1) != 0 &&
        (slot == last || (search->work.done[i] >> last & 1) == 0))
      keep (search, last, done, search->scratch);
    if ((done >> last & 1) == 0 || again)
      worlds_add (&search->work, done, search->scratch);
  }
}

/* The request is over: its reads want nothing more. */
static void
retire (struct search *search, struct item *item, unsigned slot)
{
  uint64_t bit = UINT64_C (1) << slot;
  uint32_t i, content;
  struct item *writer;

  search->reads &= ~bit;
  search->writes &= ~bit;
  for (i = item->first; i < item->first + item->count; i++) {
    content = item->cells[i - item->first];
    if (item->op->kind == LINEAR_ZEROS)
      search->zero_ops[i]--;
    if (item->op->kind != LINEAR_READ)
      continue;
    writer = &search->items[content - 1];
    if (content == LINEAR_ZERO)
      search->zero_reads[i]--;
    else
      writer->cells[i - writer->first]--;
  }
}

static enum linear_result
answer (struct search *search, uint32_t number)
{
  uint64_t used = search->reads | search->writes, candidates;
  struct item *item = &search->items[number];
  unsigned slot = 0;
  uint32_t i;
  bool is_done;

  while ((used >> slot & 1) == 0 || search->pending[slot] != number)
    slot++;
  candidates = writes_before (search, slot);
  worlds_clear (&search->work);
  for (i = 0; i < search->now.count; i++) {
    const uint32_t *cells = worlds_cells (&search->now, i);

    is_done = (search->now.done[i] >> slot & 1) != 0;
    if (is_done)
      keep (search, slot, search->now.done[i], cells);
    if (!is_done || item->op->again)
      worlds_add (&search->work, search->now.done[i], cells);
  }
  for (i = 0; i < search->work.count; i++) {
    if (search->work.count > WORLDS_MAX)
      return LINEAR_UNDECIDED;
    follow (search, i, candidates, slot);
  }
  swap_worlds (search);
  retire (search, item, slot);
  return search->now.count > 0 ? LINEAR_YES : LINEAR_NO;
}

/* ----------------------------------------------------------- preparation */

static int
by_number (const void *left, const void *right)
{
  uint64_t l = *(const uint64_t *) left, r = *(const uint64_t *) right;

  return l < r ? -1 : l > r;
}

static int
by_time (const void *left, const void *right)
{
  const struct event *l = left, *r = right;

  if (l->time_ns != r->time_ns)
    return l->time_ns < r->time_ns ? -1 : 1;
  if (l->is_answer != r->is_answer)
    return l->is_answer ? 1 : -1;
  return l->item < r->item ? -1 : l->item > r->item;
}

static uint32_t
cell_at (const struct search *search, uint64_t offset)
{
  const uint64_t *bound = bsearch (&offset, search->bounds,
                                   search->cell_count + 1,
                                   sizeof *search->bounds, by_number);

  return (uint32_t) (bound - search->bounds);
}

static void
find_cells (struct search *search, const struct linear_op *const *ops,
            uint32_t count)
{
  uint64_t offset, total = 0;
  uint32_t i, k;

  for (i = 0; i < count; i++)
    total += 2 + ops[i]->run_count;
  search->bounds = linear_alloc (total, sizeof *search->bounds);
  total = 0;
  for (i = 0; i < count; i++) {
    offset = ops[i]->offset;
    search->bounds[total++] = offset;
    search->bounds[total++] = offset + ops[i]->length;
    for (k = 0; k < ops[i]->run_count; k++)
      search->bounds[total++] = offset += ops[i]->runs[k].length;
  }
  qsort (search->bounds, total, sizeof *search->bounds, by_number);
  k = 0;
  for (i = 1; i < total; i++)
    if (search->bounds[i] != search->bounds[k])
      search->bounds[++k] = search->bounds[i];
  search->cell_count = k;
}

static void
make_items (struct search *search, const struct linear_op *const *ops,
            uint32_t count)
{
  size_t total = 0;
  uint32_t i;

  search->items = linear_alloc (count, sizeof *search->items);
  search->item_count = count;
  for (i = 0; i < count; i++) {
    struct item *item = &search->items[i];

    item->op = ops[i];
    item->first = cell_at (search, ops[i]->offset);
    item->count = cell_at (search, ops[i]->offset + ops[i]->length) -
      item->first;
    total += item->count;
  }
  search->memory = linear_alloc (total, sizeof *search->memory);
  total = 0;
  for (i = 0; i < count; i++) {
    search->items[i].cells = search->memory + total;
    total += search->items[i].count;
  }
}

/* Writes by name, as name << 32 | item, sorted. */
static uint64_t *
list_names (const struct search *search)
{
  uint64_t *names = linear_alloc (search->item_count, sizeof *names);
  uint32_t i;

  for (i = 0; i < search->item_count; i++)
    names[i] = (uint64_t) search->items[i].op->name << 32 | i;
  qsort (names, search->item_count, sizeof *names, by_number);
  return names;
}

/* The content that the bytes of write NAME are in CELL; NOBODY: there is
 * no such write, or not there.
 */
static uint32_t
find_content (const struct search *search, const uint64_t *names, uint32_t name,
              uint32_t cell)
{
  uint32_t low = 0, high = search->item_count, middle;
  const struct item *item;

  if (name == LINEAR_ZERO)
    return LINEAR_ZERO;
  while (low < high) {
    middle = low + (high - low) / 2;
    if (names[middle] >> 32 < name)
      low = middle + 1;
    else
      high = middle;
  }
  if (low == search->item_count || names[low] >> 32 != name)
    return NOBODY;
  item = &search->items[(uint32_t) names[low]];
  if (item->op->kind != LINEAR_WRITE || !covers (item, cell))
    return NOBODY;
  return (uint32_t) names[low] + 1;
}

/* What each cell of the read has, and who is wanted; false: bytes that
 * nobody wrote there.
 */
static bool
note_read (struct search *search, const uint64_t *names, struct item *item)
{
  const struct linear_op *op = item->op;
  uint64_t end = op->offset;
  uint32_t cell = item->first, run, content;
  struct item *writer;

  for (run = 0; run < op->run_count; run++) {
    end += op->runs[run].length;
    for (; search->bounds[cell] < end; cell++) {
      content = find_content (search, names, op->runs[run].name, cell);
      if (content == NOBODY)
        return false;
      item->cells[cell - item->first] = content;
      if (content == LINEAR_ZERO) {
        search->zero_reads[cell]++;
        continue;
      }
      writer = &search->items[content - 1];
      writer->cells[cell - writer->first]++;
    }
  }
  assert (cell == item->first + item->count);
  return true;
}

/* Did no read see anything of it?  Zeros count as seen where any read saw
 * zeros.
 */
static bool
is_unseen (const struct search *search, const struct item *item)
{
  uint32_t i;

  for (i = 0; i < item->count; i++)
    if (item->op->kind == LINEAR_ZEROS ? search->zero_reads[item->first + i] > 0
                                       : item->cells[i] > 0)
      return false;
  return true;
}

static void
list_events (struct search *search)
{
  uint32_t i, k;

  search->events = linear_alloc (2 * (size_t) search->item_count,
                                 sizeof *search->events);
  for (i = 0; i < search->item_count; i++) {
    const struct item *item = &search->items[i];
    const struct linear_op *op = item->op;

    if (op->answered_ns == LINEAR_OPEN && is_unseen (search, item))
      continue;
    search->events[search->event_count++] = (struct event){ op->invoked_ns,
                                                            false, i };
    if (op->answered_ns != LINEAR_OPEN)
      search->events[search->event_count++] = (struct event){ op->answered_ns,
                                                              true, i };
    for (k = 0; op->kind == LINEAR_ZEROS && k < item->count; k++)
      search->zero_ops[item->first + k]++;
  }
  qsort (search->events, search->event_count, sizeof *search->events, by_time);
}

/* -------------------------------------------------------------- the walk */

static enum linear_result
walk (struct search *search, uint32_t *worst, struct linear_verdict *figures)
{
  enum linear_result result = LINEAR_YES;
  uint32_t i, pending;

  memset (search->scratch, 0, search->cell_count * sizeof *search->scratch);
  for (i = 0; i < search->cell_count; i++)
    if (!is_wanted (search, 0, i, LINEAR_ZERO))
      search->scratch[i] = NOBODY;
  worlds_add (&search->now, 0, search->scratch);
  for (i = 0; i < search->event_count && result == LINEAR_YES; i++) {
    const struct event *event = &search->events[i];

    *worst = event->item;
    result = event->is_answer ? answer (search, event->item)
                              : invoke (search, event->item);
    pending = (uint32_t) __builtin_popcountll (search->reads | search->writes);
    if (pending > figures->pending_most)
      figures->pending_most = pending;
    if (search->now.count > figures->worlds_most)
      figures->worlds_most = search->now.count;
  }
  return result;
}

enum linear_result
linear_search (const struct linear_op *const *ops, uint32_t count,
               uint32_t *worst, struct linear_verdict *figures)
{
  struct search search = { 0 };
  enum linear_result result = LINEAR_YES;
  uint64_t *names;
  uint32_t i;

  if (count == 0)
    return LINEAR_YES;
  find_cells (&search, ops, count);
  make_items (&search, ops, count);
  search.zero_reads = linear_alloc (search.cell_count, sizeof (uint32_t));
  search.zero_ops = linear_alloc (search.cell_count, sizeof (uint32_t));
  search.scratch = linear_alloc (search.cell_count, sizeof (uint32_t));
  search.now.cell_count = search.cell_count;
  search.next.cell_count = search.cell_count;
  search.work.cell_count = search.cell_count;
  names = list_names (&search);
  for (i = 0; i < count && result == LINEAR_YES; i++) {
    *worst = i;
    if (ops[i]->kind == LINEAR_READ &&
        !note_read (&search, names, &search.items[i]))
      result = LINEAR_NO;
  }
  if (result == LINEAR_YES) {
    list_events (&search);
    result = walk (&search, worst, figures);
  }
  free (names);
  free (search.bounds);
  free (search.items);
  free (search.memory);
  free (search.events);
  free (search.zero_reads);
  free (search.zero_ops);
  free (search.scratch);
  worlds_free (&search.now);
  worlds_free (&search.next);
  worlds_free (&search.work);
  return result;
}
