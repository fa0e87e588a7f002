/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ranges.c: byte-range locks in order of arrival.
 *
 * Entries live in a fixed array indexed by tag and are linked by index
 * from the oldest to the youngest.  An entry counts the older entries
 * that are in its way ("blockers").  Leaving takes one off the count of
 * each younger entry it was in the way of; those that come to zero go on
 * the ready queue, which ranges_next empties.
 *
 * Every operation is linear in the number of entries in the set, which
 * the depth of the clients' queues bounds.
 *
 * Pure: no I/O, no threads, no allocation after ranges_new.
 */
#include <assert.h>
#include <stdlib.h>

#include "ranges.h"

static const uint32_t NONE = UINT32_MAX; /* end of a list */

/* Tags of the entries next to one in a list; NONE at its ends. */
struct neighbours {
  uint32_t before;
  uint32_t after;
};

struct list {
  uint32_t first;
  uint32_t last;
};

struct entry {
  uint64_t offset;
  uint64_t length;
  struct neighbours age;   /* among all, oldest first */
  struct neighbours queue; /* among the ready, when "ready" */
  uint32_t blockers;       /* older entries in the way */
  bool entered;
  bool exclusive;
  bool ready; /* on the ready queue */
};

struct ranges {
  uint32_t capacity;
  struct list ages;
  struct list ready;
  struct entry entries[];
};

struct ranges *
ranges_new (uint32_t capacity)
{
  struct ranges *ranges;

  assert (capacity < NONE);
  ranges = calloc (
    1, sizeof *ranges + (size_t) capacity * sizeof ranges->entries[0]);
  if (ranges == NULL)
    return NULL;
  ranges->capacity = capacity;
  ranges->ages = (struct list){ NONE, NONE };
  ranges->ready = (struct list){ NONE, NONE };
  return ranges;
}

void
ranges_free (struct ranges *ranges)
{
  free (ranges);
}

static void
age_append (struct ranges *ranges, uint32_t tag)
{
  struct list *list = &ranges->ages;

  ranges->entries[tag].age = (struct neighbours){ list->last, NONE };
  if (list->last == NONE)
    list->first = tag;
  else
    ranges->entries[list->last].age.after = tag;
  list->last = tag;
}

static void
age_remove (struct ranges *ranges, uint32_t tag)
{
  struct list *list = &ranges->ages;
  struct neighbours old = ranges->entries[tag].age;

  if (old.before == NONE)
    list->first = old.after;
  else
    ranges->entries[old.before].age.after = old.after;
  if (old.after == NONE)
    list->last = old.before;
  else
    ranges->entries[old.after].age.before = old.before;
}

static void
ready_append (struct ranges *ranges, uint32_t tag)
{
  struct list *list = &ranges->ready;
  struct entry *entry = &ranges->entries[tag];

  assert (!entry->ready);
  entry->ready = true;
  entry->queue = (struct neighbours){ list->last, NONE };
  if (list->last == NONE)
    list->first = tag;
  else
    ranges->entries[list->last].queue.after = tag;
  list->last = tag;
}

static void
ready_remove (struct ranges *ranges, uint32_t tag)
{
  struct list *list = &ranges->ready;
  struct entry *entry = &ranges->entries[tag];
  struct neighbours old = entry->queue;

  assert (entry->ready);
  entry->ready = false;
  if (old.before == NONE)
    list->first = old.after;
  else
    ranges->entries[old.before].queue.after = old.after;
  if (old.after == NONE)
    list->last = old.before;
  else
    ranges->entries[old.after].queue.before = old.before;
}

/* May A and B not hold their ranges at the same time?  Written without
 * sums, so that a range may reach the end of the number line.
 */
static bool
conflict (const struct entry *a, const struct entry *b)
{
  if (!a->exclusive && !b->exclusive)
    return false;
  if (a->offset <= b->offset)
    return b->offset - a->offset < a->length && b->length > 0;
  else
    return a->offset - b->offset < b->length && a->length > 0;
}

bool
ranges_enter (struct ranges *ranges, uint32_t tag, uint64_t offset,
              uint64_t length, bool exclusive)
{
  struct entry *entry, *older;
  uint32_t i;

  assert (tag < ranges->capacity);
  assert (length <= UINT64_MAX - offset);
  entry = &ranges->entries[tag];
  assert (!entry->entered);
  assert (!entry->ready);

  entry->offset = offset;
  entry->length = length;
  entry->exclusive = exclusive;
  entry->blockers = 0;
  for (i = ranges->ages.first; i != NONE; i = older->age.after) {
    older = &ranges->entries[i];
    if (conflict (older, entry))
      entry->blockers++;
  }
  entry->entered = true;
  age_append (ranges, tag);
  return entry->blockers == 0;
}

void
ranges_leave (struct ranges *ranges, uint32_t tag)
{
  struct entry *entry, *younger;
  uint32_t i;

  assert (tag < ranges->capacity);
  entry = &ranges->entries[tag];
  assert (entry->entered);

  for (i = entry->age.after; i != NONE; i = younger->age.after) {
    younger = &ranges->entries[i];
    if (!conflict (entry, younger))
      continue;
    assert (younger->blockers > 0);
    if (--younger->blockers == 0)
      ready_append (ranges, i);
  }
  if (entry->ready)
    ready_remove (ranges, tag);
  age_remove (ranges, tag);
  entry->entered = false;
}

bool
ranges_next (struct ranges *ranges, uint32_t *tag)
{
  if (ranges->ready.first == NONE)
    return false;
  *tag = ranges->ready.first;
  ready_remove (ranges, *tag);
  return true;
}

bool
ranges_entered (const struct ranges *ranges, uint32_t tag)
{
  assert (tag < ranges->capacity);
  return ranges->entries[tag].entered;
}

bool
ranges_held (const struct ranges *ranges, uint32_t tag)
{
  assert (tag < ranges->capacity);
  return ranges->entries[tag].entered && ranges->entries[tag].blockers == 0;
}

/* Abort unless the entry's count and flags are what its elders imply. */
static void
check_entry (const struct ranges *ranges, uint32_t tag)
{
  const struct entry *entry = &ranges->entries[tag];
  uint32_t i, blockers = 0;

  assert (entry->entered);
  for (i = ranges->ages.first; i != tag; i = ranges->entries[i].age.after) {
    assert (i != NONE);
    if (conflict (&ranges->entries[i], entry))
      blockers++;
  }
  assert (entry->blockers == blockers);
  if (entry->ready)
    assert (blockers == 0);
}

void
ranges_check (const struct ranges *ranges)
{
  uint32_t i, before, entered = 0, linked = 0, ready = 0, queued = 0;

  for (i = 0; i < ranges->capacity; ++i) {
    entered += ranges->entries[i].entered;
    ready += ranges->entries[i].ready;
  }

  before = NONE;
  for (i = ranges->ages.first; i != NONE; i = ranges->entries[i].age.after) {
    assert (ranges->entries[i].age.before == before);
    assert (linked < entered);
    check_entry (ranges, i);
    linked++;
    before = i;
  }
  assert (ranges->ages.last == before);
  assert (linked == entered);

  before = NONE;
  for (i = ranges->ready.first; i != NONE; i = ranges->entries[i].queue.after) {
    assert (ranges->entries[i].queue.before == before);
    assert (ranges->entries[i].entered);
    assert (ranges->entries[i].ready);
    assert (queued < ready);
    queued++;
    before = i;
  }
  assert (ranges->ready.last == before);
  assert (queued == ready);
}
