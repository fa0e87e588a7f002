/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * linear.c: a history, its division into parts, the verdict.
 *
 * A history is linearizable if and only if it is so for each object by
 * itself (locality: Herlihy and Wing, "Linearizability: a correctness
 * condition for concurrent objects", 1990).  Requests that overlap belong
 * to one object, since each is atomic as a whole; where no request goes
 * across a byte boundary, the bytes on either side are separate objects.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "linear.h"

void *
linear_alloc (size_t count, size_t size)
{
  void *memory = calloc (count > 0 ? count : 1, size);

  if (memory == NULL)
    abort ();
  return memory;
}

/* ------------------------------------------------------------- history */

void
linear_init (struct linear_history *history)
{
  memset (history, 0, sizeof *history);
}

void
linear_free (struct linear_history *history)
{
  uint32_t i;

  for (i = 0; i < history->count; i++)
    free (history->ops[i].runs);
  free (history->ops);
  free (history->windows);
  linear_init (history);
}

uint32_t
linear_add (struct linear_history *history, struct linear_op op)
{
  if (history->count == history->capacity) {
    history->capacity = history->capacity * 2 + 64;
    history->ops = realloc (history->ops,
                            history->capacity * sizeof *history->ops);
    if (history->ops == NULL)
      abort ();
  }
  assert (op.name != LINEAR_ZERO && op.name != LINEAR_TORN && op.length > 0);
  op.answered_ns = LINEAR_OPEN;
  op.runs = NULL;
  op.run_count = 0;
  history->ops[history->count] = op;
  return history->count++;
}

void
linear_answer (struct linear_history *history, uint32_t index,
               int64_t answered_ns, const struct linear_run *runs,
               uint32_t run_count)
{
  struct linear_op *op = &history->ops[index];

  assert (index < history->count && op->answered_ns == LINEAR_OPEN);
  op->answered_ns = answered_ns;
  op->run_count = run_count;
  if (run_count > 0) {
    op->runs = linear_alloc (run_count, sizeof *runs);
    memcpy (op->runs, runs, run_count * sizeof *runs);
  }
}

void
linear_add_window (struct linear_history *history, int64_t begin_ns,
                   int64_t end_ns)
{
  history->windows = realloc (
    history->windows, (history->window_count + 1) * sizeof *history->windows);
  if (history->windows == NULL)
    abort ();
  history->windows[history->window_count++] = (struct linear_window){ begin_ns,
                                                                      end_ns };
}

void
linear_allow_again (struct linear_history *history)
{
  uint32_t i, w;

  for (i = 0; i < history->count; i++)
    for (w = 0; w < history->window_count; w++)
      if (history->ops[i].kind != LINEAR_READ &&
          history->ops[i].invoked_ns <= history->windows[w].end_ns &&
          history->ops[i].answered_ns >= history->windows[w].begin_ns)
        history->ops[i].again = true;
}

bool
linear_overlap (const struct linear_op *one, const struct linear_op *two)
{
  return one->offset < two->offset + two->length &&
    two->offset < one->offset + one->length;
}

/* --------------------------------------------------------------- parts */

static int
by_offset (const void *left, const void *right)
{
  const struct linear_op *l = *(const struct linear_op *const *) left;
  const struct linear_op *r = *(const struct linear_op *const *) right;

  return l->offset < r->offset ? -1 : l->offset > r->offset;
}

static int
by_invocation (const void *left, const void *right)
{
  const struct linear_op *l = *(const struct linear_op *const *) left;
  const struct linear_op *r = *(const struct linear_op *const *) right;

  if (l->invoked_ns != r->invoked_ns)
    return l->invoked_ns < r->invoked_ns ? -1 : 1;
  return l->name < r->name ? -1 : l->name > r->name;
}

static void
check_part (const struct linear_op **ops, uint32_t count,
            struct linear_verdict *verdict)
{
  enum linear_result result;
  uint32_t worst = 0;

  verdict->parts++;
  qsort (ops, count, sizeof *ops, by_invocation);
  result = linear_search (ops, count, &worst, verdict);
  if (result == LINEAR_NO)
    verdict->ops = linear_shrink (ops, count, &verdict->op_count);
  if (result != LINEAR_YES)
    verdict->result = result;
}

/* One part after the other, until one has no order. */
void
linear_check (const struct linear_history *history,
              struct linear_verdict *verdict)
{
  const struct linear_op **ops = linear_alloc (history->count, sizeof *ops);
  uint32_t count = 0, first = 0, i;
  uint64_t end = 0;

  memset (verdict, 0, sizeof *verdict);
  for (i = 0; i < history->count; i++)
    if (history->ops[i].kind != LINEAR_READ ||
        history->ops[i].answered_ns != LINEAR_OPEN)
      ops[count++] = &history->ops[i];
  qsort (ops, count, sizeof *ops, by_offset);
  for (i = 0; i <= count && verdict->result != LINEAR_NO; i++) {
    if (i > first && (i == count || ops[i]->offset >= end)) {
      check_part (ops + first, i - first, verdict);
      first = i;
    }
    if (i < count && ops[i]->offset + ops[i]->length > end)
      end = ops[i]->offset + ops[i]->length;
  }
  free (ops);
}
