/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * marks-regions.c: the region map, which of its bits are durable, and
 * where writes are under way.
 *
 * There are three bitmaps of the same layout:
 *
 *   map       what is to be on disk;
 *   durable   set in map, and known to be on disk: a subset of map;
 *   taken     set in map ever since the pages under way were taken, so
 *             that they are in that write: durable when it is.
 *
 * Clearing a bit takes it out of all three at once, whether the clear
 * has been written or not: a later set must be persisted again.
 *
 * Invariants (marks_check_regions): durable and taken lie within map and
 * do not overlap.
 *
 * Pure: no I/O, no threads, no allocation.
 */
#include <assert.h>
#include <string.h>

#include "marks-internal.h"

static void
put_region (uint8_t *map, uint64_t region, bool value)
{
  uint8_t bit = (uint8_t) (1 << (region % 8));

  if (value)
    map[region / 8] |= bit;
  else
    map[region / 8] = (uint8_t) (map[region / 8] & ~bit);
}

static void
want_page (struct marks *marks, uint64_t region)
{
  uint32_t page = (uint32_t) (region / PAGE_REGIONS);

  if (!marks->wanted || page < marks->wanted_first)
    marks->wanted_first = page;
  if (!marks->wanted || page > marks->wanted_last)
    marks->wanted_last = page;
  marks->wanted = true;
}

bool
marks_set_region (struct marks *marks, uint64_t region)
{
  if (!get_region (marks->map, region)) {
    put_region (marks->map, region, true);
    marks->set_regions++;
    marks->urgent_regions++;
    want_page (marks, region);
  }
  return get_region (marks->durable, region);
}

static void
clear_region (struct marks *marks, uint64_t region)
{
  assert (get_region (marks->map, region));
  if (get_region (marks->durable, region))
    put_region (marks->durable, region, false);
  else if (get_region (marks->taken, region))
    put_region (marks->taken, region, false);
  else
    marks->urgent_regions--;
  put_region (marks->map, region, false);
  marks->set_regions--;
  want_page (marks, region);
}

/* No write under way there, and no mark. */
static bool
may_clear (const struct marks *marks, uint64_t region)
{
  return marks->users[region] == 0 && !marks_region_marked (marks, region);
}

void
marks_loaded (struct marks *marks)
{
  uint64_t bytes = marks_map_bytes (marks), region;

  /* A page that could not be read counts as all ones, padding too. */
  for (region = marks->regions; region < bytes * 8 && region % 8; ++region)
    put_region (marks->map, region, false);
  memset (marks->map + region / 8, 0, bytes - region / 8);

  memcpy (marks->durable, marks->map, bytes);
  memset (marks->taken, 0, bytes);
  marks->urgent_regions = 0;
  marks->wanted = false;
  marks->taking = false;
  marks->set_regions = 0;
  for (region = 0; region < marks->regions; ++region)
    if (get_region (marks->map, region))
      marks->set_regions++;
  marks_suspect (marks);
}

void
marks_use (struct marks *marks, uint64_t offset, uint64_t length,
           uint64_t now_ms)
{
  struct span span = marks_touched (marks, offset, length, marks->region_size);
  uint64_t i;

  for (i = span.first; i < span.end; ++i) {
    assert (marks->users[i] < UINT32_MAX);
    marks->users[i]++;
    marks->last_use_ms[i] = now_ms;
  }
}

void
marks_unuse (struct marks *marks, uint64_t offset, uint64_t length,
             uint64_t now_ms)
{
  struct span span = marks_touched (marks, offset, length, marks->region_size);
  uint64_t i;

  for (i = span.first; i < span.end; ++i) {
    assert (marks->users[i] > 0);
    marks->users[i]--;
    marks->last_use_ms[i] = now_ms;
  }
}

bool
marks_set_regions (struct marks *marks, uint64_t offset, uint64_t length)
{
  struct span span = marks_touched (marks, offset, length, marks->region_size);
  bool durable = true;
  uint64_t i;

  for (i = span.first; i < span.end; ++i)
    if (!marks_set_region (marks, i))
      durable = false;
  return durable;
}

bool
marks_durable (const struct marks *marks, uint64_t offset, uint64_t length)
{
  struct span span = marks_touched (marks, offset, length, marks->region_size);
  uint64_t i;

  for (i = span.first; i < span.end; ++i)
    if (!get_region (marks->durable, i))
      return false;
  return true;
}

uint32_t
marks_clear_idle (struct marks *marks, uint64_t idle_before_ms,
                  uint64_t *regions, uint32_t count)
{
  uint64_t seen = 0, i = marks->cursor, step;
  uint32_t cleared = 0;

  while (seen < marks->regions && cleared < count && marks->set_regions > 0) {
    step = 1;
    if (i % 8 == 0 && marks->map[i / 8] == 0)
      step = marks->regions - i < 8 ? marks->regions - i : 8;
    else if (get_region (marks->map, i) &&
             marks->last_use_ms[i] < idle_before_ms && may_clear (marks, i)) {
      clear_region (marks, i);
      regions[cleared++] = i;
    }
    seen += step;
    i += step;
    if (i == marks->regions)
      i = 0;
  }
  marks->cursor = i;
  return cleared;
}

void
marks_clear_region (struct marks *marks, uint64_t region)
{
  assert (region < marks->regions);
  if (get_region (marks->map, region) && may_clear (marks, region))
    clear_region (marks, region);
}

bool
marks_take_pages (struct marks *marks, uint32_t *first, uint32_t *last)
{
  uint64_t i, end;

  if (marks->taking || !marks->wanted)
    return false;
  *first = marks->taken_first = marks->wanted_first;
  *last = marks->taken_last = marks->wanted_last;
  marks->taking = true;
  marks->wanted = false;

  i = (uint64_t) marks->taken_first * MARKS_PAGE_BYTES;
  end = ((uint64_t) marks->taken_last + 1) * MARKS_PAGE_BYTES;
  for (; i < end; ++i)
    marks->taken[i] = (uint8_t) (marks->map[i] & ~marks->durable[i]);
  /* What is urgent is wanted, and all that was wanted is under way. */
  marks->urgent_regions = 0;
  return true;
}

void
marks_pages_durable (struct marks *marks)
{
  uint64_t i, end;

  assert (marks->taking);
  marks->taking = false;
  i = (uint64_t) marks->taken_first * MARKS_PAGE_BYTES;
  end = ((uint64_t) marks->taken_last + 1) * MARKS_PAGE_BYTES;
  for (; i < end; ++i) {
    marks->durable[i] |= marks->taken[i];
    marks->taken[i] = 0;
  }
}

bool
marks_pages_taken (const struct marks *marks)
{
  return marks->taking;
}

bool
marks_pages_wanted (const struct marks *marks)
{
  return marks->wanted;
}

bool
marks_pages_urgent (const struct marks *marks)
{
  return marks->urgent_regions > 0;
}

void
marks_grow_regions (const struct marks *marks, struct marks *room)
{
  uint64_t bytes = marks_map_bytes (marks), i;

  memcpy (room->map, marks->map, bytes);
  memcpy (room->durable, marks->durable, bytes);
  memcpy (room->taken, marks->taken, bytes);
  for (i = 0; i < marks->regions; ++i) {
    if (marks->users[i] != 0)
      room->users[i] = marks->users[i];
    if (marks->last_use_ms[i] != 0)
      room->last_use_ms[i] = marks->last_use_ms[i];
  }
  room->set_regions = marks->set_regions;
  room->urgent_regions = marks->urgent_regions;
  room->wanted = marks->wanted;
  room->wanted_first = marks->wanted_first;
  room->wanted_last = marks->wanted_last;
  room->taking = marks->taking;
  room->taken_first = marks->taken_first;
  room->taken_last = marks->taken_last;
  room->cursor = marks->cursor;
}

static bool
is_word_clear (const uint8_t *bytes)
{
  uint64_t word;

  memcpy (&word, bytes, sizeof word);
  return word == 0;
}

void
marks_check_regions (const struct marks *marks)
{
  uint64_t set_regions = 0, urgent_regions = 0, page, i;
  uint64_t end = marks_map_bytes (marks) * 8;
  bool set, durable, taken;

  for (i = 0; i < end; ++i) {
    if (i % 64 == 0 && is_word_clear (marks->map + i / 8) &&
        is_word_clear (marks->durable + i / 8) &&
        is_word_clear (marks->taken + i / 8)) {
      i += 63;
      continue;
    }
    page = i / PAGE_REGIONS;
    set = get_region (marks->map, i);
    durable = get_region (marks->durable, i);
    taken = get_region (marks->taken, i);
    set_regions += set;
    assert (!set || i < marks->regions);
    assert (!durable || set);
    assert (!taken || (set && !durable));
    assert (!taken || marks->taking);
    assert (!taken || page >= marks->taken_first);
    assert (!taken || page <= marks->taken_last);
    if (set && !durable && !taken) {
      urgent_regions++;
      assert (marks->wanted);
      assert (page >= marks->wanted_first);
      assert (page <= marks->wanted_last);
    }
  }
  assert (set_regions == marks->set_regions);
  assert (urgent_regions == marks->urgent_regions);
  assert (marks->cursor < marks->regions);
}
