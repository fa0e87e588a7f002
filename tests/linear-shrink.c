/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * linear-shrink.c: from requests that have no order to a few that have
 * none by themselves.
 *
 * Pieces are taken away, large ones first, as long as what remains has no
 * order: delta debugging (Zeller and Hildebrandt, "Simplifying and
 * isolating failure-inducing input", 2002).  What is taken away must not
 * make a fault that was not there: a read may always go, or lose some of
 * the bytes that it saw; a write only together with all reads that saw it,
 * and zeros only with all reads that may have seen them.
 * Then an order of the whole, had there been one, were an order of the
 * rest.  So what this file returns is a proof by itself.
 */
#include <stdlib.h>
#include <string.h>

#include "linear.h"

/* Beyond so many, zeros are not looked at one by one. */
enum { COVER_MAX = 500 };

struct shrink {
  struct linear_op *ops;
  uint32_t count;
  bool *gone; /* per op: not in what is tried now */
  const struct linear_op **tried;
};

/* Have those that are not gone no order? */
static bool
fails (struct shrink *shrink)
{
  struct linear_verdict figures = { 0 };
  uint32_t i, count = 0, worst;

  for (i = 0; i < shrink->count; i++)
    if (!shrink->gone[i])
      shrink->tried[count++] = &shrink->ops[i];
  return linear_search (shrink->tried, count, &worst, &figures) == LINEAR_NO;
}

static int
by_name (const void *left, const void *right)
{
  const struct linear_op *l = *(const struct linear_op *const *) left;
  const struct linear_op *r = *(const struct linear_op *const *) right;

  return l->name < r->name ? -1 : l->name > r->name;
}

/* Is there one that stays, of [OFFSET, END), between the zeros and the
 * read?  Then what the read saw is not of those zeros.
 */
static bool
is_covered (const struct shrink *shrink, const struct linear_op *zeros,
            const struct linear_op *read, uint64_t offset, uint64_t end)
{
  uint32_t i;

  if (shrink->count > COVER_MAX)
    return false;
  for (i = 0; i < shrink->count; i++) {
    const struct linear_op *op = &shrink->ops[i];

    if (!shrink->gone[i] && op->kind != LINEAR_READ && op->offset <= offset &&
        end <= op->offset + op->length && zeros->answered_ns < op->invoked_ns &&
        op->answered_ns < read->invoked_ns && !zeros->again)
      return true;
  }
  return false;
}

/* May the read have seen zeros of one of these? */
static bool
needs_zeros (const struct shrink *shrink, const struct linear_op *read,
             const struct linear_op **zeros, uint32_t count)
{
  uint64_t offset = read->offset, end, low, high;
  uint32_t run, i;

  for (run = 0; run < read->run_count; run++, offset = end) {
    end = offset + read->runs[run].length;
    for (i = 0; read->runs[run].name == LINEAR_ZERO && i < count; i++) {
      low = zeros[i]->offset > offset ? zeros[i]->offset : offset;
      high = zeros[i]->offset + zeros[i]->length;
      if (high > end)
        high = end;
      if (low < high && zeros[i]->invoked_ns <= read->answered_ns &&
          !is_covered (shrink, zeros[i], read, low, high))
        return true;
    }
  }
  return false;
}

static bool
needs_write (const struct linear_op *read, const struct linear_op **writes,
             uint32_t count)
{
  struct linear_op key = { 0 };
  const struct linear_op *wanted = &key;
  uint32_t run;

  for (run = 0; run < read->run_count; run++) {
    key.name = read->runs[run].name;
    if (bsearch (&wanted, writes, count, sizeof *writes, by_name) != NULL)
      return true;
  }
  return false;
}

/* Reads that saw what goes must go too. */
static void
follow_writes (struct shrink *shrink, uint32_t first, uint32_t end)
{
  const struct linear_op **writes, **zeros;
  uint32_t write_count = 0, zero_count = 0, i;

  writes = linear_alloc (end - first, sizeof *writes);
  zeros = linear_alloc (end - first, sizeof *zeros);
  for (i = first; i < end; i++)
    if (shrink->ops[i].kind == LINEAR_WRITE)
      writes[write_count++] = &shrink->ops[i];
    else if (shrink->ops[i].kind == LINEAR_ZEROS)
      zeros[zero_count++] = &shrink->ops[i];
  qsort (writes, write_count, sizeof *writes, by_name);
  for (i = 0; i < shrink->count; i++)
    if (shrink->ops[i].kind == LINEAR_READ && !shrink->gone[i])
      shrink->gone[i] = needs_write (&shrink->ops[i], writes, write_count) ||
        needs_zeros (shrink, &shrink->ops[i], zeros, zero_count);
  free (writes);
  free (zeros);
}

/* Try without [FIRST, END) and, if it still has no order, forget them. */
static bool
try_without (struct shrink *shrink, uint32_t first, uint32_t end)
{
  uint32_t i, kept = 0;

  memset (shrink->gone, 0, shrink->count * sizeof *shrink->gone);
  for (i = first; i < end; i++)
    shrink->gone[i] = true;
  follow_writes (shrink, first, end);
  if (!fails (shrink))
    return false;
  for (i = 0; i < shrink->count; i++)
    if (!shrink->gone[i])
      shrink->ops[kept++] = shrink->ops[i];
  shrink->count = kept;
  return true;
}

static void
take_away (struct shrink *shrink)
{
  uint32_t size = shrink->count, first, end;

  while (size > 1 || shrink->count > 1) {
    bool less = false;

    size = (size + 1) / 2;
    for (first = 0; first < shrink->count;) {
      end = first + size < shrink->count ? first + size : shrink->count;
      if (try_without (shrink, first, end))
        less = true;
      else
        first = end;
    }
    if (size == 1 && !less)
      break;
  }
}

/* Make reads narrower, at either end. */
static void
narrow (struct shrink *shrink)
{
  uint32_t i, side;

  memset (shrink->gone, 0, shrink->count * sizeof *shrink->gone);
  for (i = 0; i < shrink->count; i++)
    for (side = 0; side < 2; side++)
      while (shrink->ops[i].run_count > 1) {
        struct linear_op *op = &shrink->ops[i], whole = *op;
        const struct linear_run *run = side == 0 ? &op->runs[0]
                                                 : &op->runs[op->run_count - 1];

        op->length -= run->length;
        op->offset += side == 0 ? run->length : 0;
        op->runs += side == 0 ? 1 : 0;
        op->run_count--;
        if (!fails (shrink)) {
          *op = whole;
          break;
        }
      }
}

struct linear_op *
linear_shrink (const struct linear_op *const *ops, uint32_t count,
               uint32_t *shrunk)
{
  struct shrink shrink = { .count = count };
  uint32_t i, before;

  shrink.ops = linear_alloc (count, sizeof *shrink.ops);
  shrink.gone = linear_alloc (count, sizeof *shrink.gone);
  shrink.tried = linear_alloc (count, sizeof *shrink.tried);
  for (i = 0; i < count; i++)
    shrink.ops[i] = *ops[i];
  take_away (&shrink);
  do {
    before = shrink.count;
    narrow (&shrink);
    take_away (&shrink);
  } while (shrink.count < before);
  free (shrink.gone);
  free (shrink.tried);
  *shrunk = shrink.count;
  return shrink.ops;
}
