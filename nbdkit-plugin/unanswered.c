/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * unanswered.c: the requests that the client still waits for.
 *
 * A fixed pool of slots.  A slot goes
 *
 *   FREE -begin-> NEW -sent-> SENT -answered-> NEW -end-> FREE
 *                              |                ^
 *                             lost             answered
 *                              v                |
 *                            REPLAY ---sent---> SENT
 *
 * and may end from any state but FREE.  The range lock (ranges.h) is held
 * or waited for from begin to end, so it outlives sessions; "nothing in
 * its way" is "holds its range".  What was sent once holds its range
 * until it ends, so replays never wait for each other.
 *
 * A tag is the slot in the low 16 bits and a number that no other sending
 * has in the high 48.
 */
#include <assert.h>
#include <stdlib.h>

#include "ranges.h"
#include "unanswered.h"

enum { NONE = UINT32_MAX, SLOT_BITS = 16 };

enum state { FREE, NEW, SENT, REPLAY };

struct slot {
  enum state state;
  uint32_t before; /* by arrival; NONE at the ends */
  uint32_t after;  /* also chains the free slots */
  uint64_t offset;
  uint64_t length;
  enum unanswered_kind kind;
  uint64_t tag; /* of the newest sending */
  uint64_t sent_ms;
};

struct unanswered {
  uint32_t capacity;
  uint32_t count;
  uint32_t replays;
  uint32_t oldest;
  uint32_t youngest;
  uint32_t free;
  uint64_t sendings;
  struct ranges *ranges;
  struct slot slots[];
};

struct unanswered *
unanswered_new (uint32_t capacity)
{
  struct unanswered *table;
  uint32_t i;

  assert (capacity >= 1);
  assert (capacity <= UNANSWERED_MAX);
  table = calloc (1,
                  sizeof *table + (size_t) capacity * sizeof table->slots[0]);
  if (table == NULL)
    return NULL;
  table->ranges = ranges_new (capacity);
  if (table->ranges == NULL) {
    free (table);
    return NULL;
  }
  table->capacity = capacity;
  table->oldest = table->youngest = NONE;
  for (i = 0; i < capacity; i++)
    table->slots[i].after = i + 1 < capacity ? i + 1 : NONE;
  return table;
}

void
unanswered_free (struct unanswered *table)
{
  if (table != NULL)
    ranges_free (table->ranges);
  free (table);
}

static void
set_state (struct unanswered *table, uint32_t slot, enum state state)
{
  table->replays -= table->slots[slot].state == REPLAY;
  table->slots[slot].state = state;
  table->replays += state == REPLAY;
}

bool
unanswered_begin (struct unanswered *table, enum unanswered_kind kind,
                  uint64_t offset, uint64_t length, uint32_t *slot)
{
  struct slot *new;

  if (table->free == NONE)
    return false;
  *slot = table->free;
  new = &table->slots[*slot];
  assert (new->state == FREE);
  table->free = new->after;
  new->kind = kind;
  new->offset = offset;
  new->length = kind == UNANSWERED_FLUSH ? 0 : length;
  new->before = table->youngest;
  new->after = NONE;
  if (table->youngest != NONE)
    table->slots[table->youngest].after = *slot;
  else
    table->oldest = *slot;
  table->youngest = *slot;
  table->count++;
  set_state (table, *slot, NEW);
  ranges_enter (table->ranges, *slot, new->offset, new->length,
                kind == UNANSWERED_WRITE);
  return true;
}

bool
unanswered_may_send (const struct unanswered *table, uint32_t slot)
{
  assert (slot < table->capacity);
  assert (table->slots[slot].state != FREE);
  return table->slots[slot].state == REPLAY ||
    (table->slots[slot].state == NEW && table->replays == 0 &&
     ranges_held (table->ranges, slot));
}

uint64_t
unanswered_sent (struct unanswered *table, uint32_t slot, uint64_t now_ms)
{
  assert (unanswered_may_send (table, slot));
  set_state (table, slot, SENT);
  table->slots[slot].tag = ++table->sendings << SLOT_BITS | slot;
  table->slots[slot].sent_ms = now_ms;
  return table->slots[slot].tag;
}

bool
unanswered_answered (struct unanswered *table, uint64_t tag, uint32_t *slot)
{
  *slot = (uint32_t) (tag & ((1u << SLOT_BITS) - 1));
  if (*slot >= table->capacity || table->slots[*slot].state != SENT ||
      table->slots[*slot].tag != tag)
    return false;
  set_state (table, *slot, NEW);
  return true;
}

void
unanswered_lost (struct unanswered *table)
{
  uint32_t slot;

  for (slot = table->oldest; slot != NONE; slot = table->slots[slot].after)
    if (table->slots[slot].state == SENT)
      set_state (table, slot, REPLAY);
}

uint32_t
unanswered_replays (const struct unanswered *table)
{
  return table->replays;
}

bool
unanswered_next (const struct unanswered *table, uint32_t *slot)
{
  *slot = *slot == NONE ? table->oldest : table->slots[*slot].after;
  while (*slot != NONE && !unanswered_may_send (table, *slot))
    *slot = table->slots[*slot].after;
  return *slot != NONE;
}

void
unanswered_end (struct unanswered *table, uint32_t slot)
{
  struct slot *old = &table->slots[slot];
  uint32_t ready;

  assert (slot < table->capacity);
  assert (old->state != FREE);
  set_state (table, slot, FREE);
  ranges_leave (table->ranges, slot);
  /* Who holds its range now is asked for by unanswered_may_send. */
  while (ranges_next (table->ranges, &ready))
    ;
  if (old->before != NONE)
    table->slots[old->before].after = old->after;
  else
    table->oldest = old->after;
  if (old->after != NONE)
    table->slots[old->after].before = old->before;
  else
    table->youngest = old->before;
  old->after = table->free;
  table->free = slot;
  table->count--;
}

uint64_t
unanswered_sent_ms (const struct unanswered *table)
{
  uint64_t oldest_ms = UINT64_MAX;
  uint32_t slot;

  for (slot = table->oldest; slot != NONE; slot = table->slots[slot].after)
    if (table->slots[slot].state == SENT &&
        table->slots[slot].sent_ms < oldest_ms)
      oldest_ms = table->slots[slot].sent_ms;
  return oldest_ms;
}

uint32_t
unanswered_count (const struct unanswered *table)
{
  return table->count;
}

static bool
is_conflict (const struct slot *a, const struct slot *b)
{
  return (a->kind == UNANSWERED_WRITE || b->kind == UNANSWERED_WRITE) &&
    a->length > 0 && b->length > 0 && a->offset < b->offset + b->length &&
    b->offset < a->offset + a->length;
}

void
unanswered_check (const struct unanswered *table)
{
  uint32_t count = 0, replays = 0, a, b;

  for (a = table->oldest; a != NONE; a = table->slots[a].after) {
    count++;
    replays += table->slots[a].state == REPLAY;
    assert (table->slots[a].state != FREE);
    if (table->slots[a].state == NEW)
      continue;
    /* The rule itself: nothing older that conflicts is unanswered. */
    assert (ranges_held (table->ranges, a));
    for (b = table->oldest; b != a; b = table->slots[b].after)
      assert (!is_conflict (&table->slots[a], &table->slots[b]));
  }
  assert (count == table->count);
  assert (replays == table->replays);
  ranges_check (table->ranges);
}
