/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * marks.c: region map, coarse map and block map.
 *
 * The arrays are as large as the volume asks for (8 MiB of block map for
 * 256 GiB) and come from calloc, so that what was never marked costs no
 * memory.  Therefore: never write to them what already stands there.
 *
 * One summary bit per chunk ("marked": coarse, or some block) keeps
 * searches short.
 *
 * Of the region map there are three bitmaps of the same layout:
 *
 *   map       what is to be on disk;
 *   durable   set in map, and known to be on disk: a subset of map;
 *   taken     set in map ever since the pages under way were taken, so
 *             that they are in that write: durable when it is.
 *
 * Clearing a bit takes it out of all three at once, whether the clear
 * has been written or not: a later set must be persisted again.
 *
 * Invariants (marks_check): durable and taken lie within map and do not
 * overlap; a chunk with a mark lies in a set region (I5).
 *
 * Pure: no I/O, no threads, no allocation after marks_new.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "marks.h"

enum {
  WORD = 64,                                /* bits */
  CHUNK_BLOCKS = MARKS_CHUNK / MARKS_BLOCK, /* one word */
  PAGE_REGIONS = MARKS_PAGE_BYTES * 8,
};

struct marks {
  uint64_t size;        /* bytes */
  uint32_t region_size; /* bytes */
  uint64_t blocks;      /* how many in the volume, the last ones */
  uint64_t chunks;      /* of each possibly in part */
  uint64_t regions;
  uint32_t pages;

  uint64_t *block_map;    /* one word per chunk */
  uint64_t *coarse_map;   /* one bit per chunk */
  uint64_t *marked_map;   /* one bit per chunk */
  uint64_t coarse_chunks; /* set in coarse_map */
  uint64_t dirty_blocks;  /* set in block_map, coarse chunks apart */

  uint8_t *map;
  uint8_t *durable;
  uint8_t *taken;
  uint64_t set_regions;    /* set in map */
  uint64_t urgent_regions; /* set in map, not durable, not taken */
  bool wanted;             /* pages changed since the last take: */
  uint32_t wanted_first;
  uint32_t wanted_last;
  bool taking; /* pages under way: */
  uint32_t taken_first;
  uint32_t taken_last;

  uint32_t *users;       /* per region: writes under way */
  uint64_t *last_use_ms; /* per region */
  uint64_t cursor;       /* region where marks_clear_idle goes on */
};

/* A half-open range of blocks, chunks or regions. */
struct span {
  uint64_t first;
  uint64_t end;
};

static uint64_t
divide_up (uint64_t n, uint64_t unit)
{
  return n / unit + (n % unit != 0);
}

struct marks *
marks_new (uint64_t size, uint32_t region_size)
{
  struct marks *marks;
  uint64_t words, pages;

  assert (size > 0);
  assert (region_size >= MARKS_CHUNK);
  assert ((region_size & (region_size - 1)) == 0);
  marks = calloc (1, sizeof *marks);
  if (marks == NULL)
    return NULL;

  marks->size = size;
  marks->region_size = region_size;
  marks->blocks = divide_up (size, MARKS_BLOCK);
  marks->chunks = divide_up (size, MARKS_CHUNK);
  marks->regions = divide_up (size, region_size);
  pages = divide_up (marks->regions, PAGE_REGIONS);
  assert (pages < UINT32_MAX);
  marks->pages = (uint32_t) pages;

  words = divide_up (marks->chunks, WORD);
  marks->block_map = calloc (marks->chunks, sizeof *marks->block_map);
  marks->coarse_map = calloc (words, sizeof *marks->coarse_map);
  marks->marked_map = calloc (words, sizeof *marks->marked_map);
  marks->map = calloc (pages, MARKS_PAGE_BYTES);
  marks->durable = calloc (pages, MARKS_PAGE_BYTES);
  marks->taken = calloc (pages, MARKS_PAGE_BYTES);
  marks->users = calloc (marks->regions, sizeof *marks->users);
  marks->last_use_ms = calloc (marks->regions, sizeof *marks->last_use_ms);
  if (marks->block_map == NULL || marks->coarse_map == NULL ||
      marks->marked_map == NULL || marks->map == NULL ||
      marks->durable == NULL || marks->taken == NULL || marks->users == NULL ||
      marks->last_use_ms == NULL) {
    marks_free (marks);
    return NULL;
  }
  return marks;
}

void
marks_free (struct marks *marks)
{
  if (marks == NULL)
    return;
  free (marks->block_map);
  free (marks->coarse_map);
  free (marks->marked_map);
  free (marks->map);
  free (marks->durable);
  free (marks->taken);
  free (marks->users);
  free (marks->last_use_ms);
  free (marks);
}

uint8_t *
marks_map (struct marks *marks)
{
  return marks->map;
}

uint64_t
marks_map_bytes (const struct marks *marks)
{
  return (uint64_t) marks->pages * MARKS_PAGE_BYTES;
}

uint64_t
marks_regions (const struct marks *marks)
{
  return marks->regions;
}

uint64_t
marks_chunks (const struct marks *marks)
{
  return marks->chunks;
}

uint32_t
marks_pages (const struct marks *marks)
{
  return marks->pages;
}

/* The units of UNIT bytes that the range touches. */
static struct span
touched (const struct marks *marks, uint64_t offset, uint64_t length,
         uint64_t unit)
{
  struct span span = { 0, 0 };

  assert (offset <= marks->size);
  assert (length <= marks->size - offset);
  if (length > 0) {
    span.first = offset / unit;
    span.end = (offset + length - 1) / unit + 1;
  }
  return span;
}

/* The chunks of a region. */
static struct span
region_chunks (const struct marks *marks, uint64_t region)
{
  uint64_t per_region = marks->region_size / MARKS_CHUNK;
  struct span span;

  assert (region < marks->regions);
  span.first = region * per_region;
  span.end = span.first + per_region;
  if (span.end > marks->chunks)
    span.end = marks->chunks;
  return span;
}

/* Those bits of a chunk's word whose blocks lie in the span of blocks. */
static uint64_t
chunk_bits (uint64_t chunk, struct span blocks)
{
  uint64_t first = chunk * CHUNK_BLOCKS, end = first + CHUNK_BLOCKS;
  uint64_t bits = UINT64_MAX;

  assert (blocks.first < end);
  assert (blocks.end > first);
  if (blocks.first > first)
    bits &= UINT64_MAX << (blocks.first - first);
  if (blocks.end < end)
    bits &= UINT64_MAX >> (end - blocks.end);
  return bits;
}

/* All blocks that a chunk has: fewer than 64 in the last one. */
static uint64_t
whole_chunk (const struct marks *marks, uint64_t chunk)
{
  return chunk_bits (chunk, (struct span){ 0, marks->blocks });
}

static bool
get_bit (const uint64_t *words, uint64_t i)
{
  return words[i / WORD] >> (i % WORD) & 1;
}

static void
put_bit (uint64_t *words, uint64_t i, bool value)
{
  uint64_t bit = UINT64_C (1) << (i % WORD);

  if (value)
    words[i / WORD] |= bit;
  else
    words[i / WORD] &= ~bit;
}

static uint64_t
count_bits (uint64_t word)
{
  return (uint64_t) __builtin_popcountll (word);
}

/* The only place where the marks of a chunk change. */
static void
put_chunk (struct marks *marks, uint64_t chunk, uint64_t blocks, bool coarse)
{
  uint64_t old_blocks = marks->block_map[chunk];
  bool old_coarse = get_bit (marks->coarse_map, chunk);
  bool marked = coarse || blocks != 0;

  if (old_coarse)
    marks->coarse_chunks--;
  else
    marks->dirty_blocks -= count_bits (old_blocks);
  if (coarse)
    marks->coarse_chunks++;
  else
    marks->dirty_blocks += count_bits (blocks);

  if (blocks != old_blocks)
    marks->block_map[chunk] = blocks;
  if (coarse != old_coarse)
    put_bit (marks->coarse_map, chunk, coarse);
  if (marked != get_bit (marks->marked_map, chunk))
    put_bit (marks->marked_map, chunk, marked);
}

/* The first marked chunk of the span; its end when there is none. */
static uint64_t
find_marked (const struct marks *marks, struct span chunks)
{
  uint64_t i = chunks.first, word;

  while (i < chunks.end) {
    word = marks->marked_map[i / WORD] >> (i % WORD);
    if (word != 0) {
      i += (uint64_t) __builtin_ctzll (word);
      return i < chunks.end ? i : chunks.end;
    }
    i += WORD - i % WORD;
  }
  return chunks.end;
}

/* --- regions ---------------------------------------------------------- */

static bool
get_region (const uint8_t *map, uint64_t region)
{
  return map[region / 8] >> (region % 8) & 1;
}

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

/* True when the bit is durable already. */
static bool
set_region (struct marks *marks, uint64_t region)
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
  struct span chunks = region_chunks (marks, region);

  return marks->users[region] == 0 && find_marked (marks, chunks) == chunks.end;
}

static void
make_coarse (struct marks *marks, uint64_t region)
{
  struct span chunks = region_chunks (marks, region);
  uint64_t i;

  for (i = chunks.first; i < chunks.end; ++i)
    if (!get_bit (marks->coarse_map, i))
      put_chunk (marks, i, marks->block_map[i], true);
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
marks_suspect (struct marks *marks)
{
  uint64_t region;

  for (region = 0; region < marks->regions; ++region)
    if (get_region (marks->map, region))
      make_coarse (marks, region);
}

void
marks_use (struct marks *marks, uint64_t offset, uint64_t length,
           uint64_t now_ms)
{
  struct span span = touched (marks, offset, length, marks->region_size);
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
  struct span span = touched (marks, offset, length, marks->region_size);
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
  struct span span = touched (marks, offset, length, marks->region_size);
  bool durable = true;
  uint64_t i;

  for (i = span.first; i < span.end; ++i)
    if (!set_region (marks, i))
      durable = false;
  return durable;
}

bool
marks_durable (const struct marks *marks, uint64_t offset, uint64_t length)
{
  struct span span = touched (marks, offset, length, marks->region_size);
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

/* --- what the peer lacks ---------------------------------------------- */

void
marks_dirty (struct marks *marks, uint64_t offset, uint64_t length)
{
  struct span blocks = touched (marks, offset, length, MARKS_BLOCK);
  struct span chunks = touched (marks, offset, length, MARKS_CHUNK);
  uint64_t i, old, new;

  marks_set_regions (marks, offset, length);
  for (i = chunks.first; i < chunks.end; ++i) {
    old = marks->block_map[i];
    new = old | chunk_bits (i, blocks);
    if (new != old)
      put_chunk (marks, i, new, get_bit (marks->coarse_map, i));
  }
}

void
marks_clean (struct marks *marks, uint64_t offset, uint64_t length)
{
  struct span blocks, chunks;
  uint64_t i, bits;
  bool coarse;

  assert (offset <= marks->size);
  assert (length <= marks->size - offset);
  blocks.first = divide_up (offset, MARKS_BLOCK);
  blocks.end = (offset + length) / MARKS_BLOCK;
  if (offset + length == marks->size)
    blocks.end = marks->blocks;
  if (blocks.first >= blocks.end)
    return;

  chunks.first = blocks.first / CHUNK_BLOCKS;
  chunks.end = divide_up (blocks.end, CHUNK_BLOCKS);
  while ((i = find_marked (marks, chunks)) < chunks.end) {
    bits = chunk_bits (i, blocks);
    coarse = get_bit (marks->coarse_map, i);
    if (bits == whole_chunk (marks, i))
      coarse = false;
    put_chunk (marks, i, marks->block_map[i] & ~bits, coarse);
    chunks.first = i + 1;
  }
}

void
marks_merge_page (struct marks *marks, uint32_t page, const uint8_t *bits)
{
  uint64_t first = (uint64_t) page * PAGE_REGIONS, i;

  assert (page < marks->pages);
  for (i = 0; i < PAGE_REGIONS && first + i < marks->regions; ++i) {
    if (!get_region (bits, i))
      continue;
    set_region (marks, first + i);
    make_coarse (marks, first + i);
  }
}

void
marks_dirty_all (struct marks *marks)
{
  uint64_t i;

  for (i = 0; i < marks->regions; ++i) {
    set_region (marks, i);
    make_coarse (marks, i);
  }
}

void
marks_forget (struct marks *marks)
{
  struct span chunks = { 0, marks->chunks };

  while ((chunks.first = find_marked (marks, chunks)) < chunks.end) {
    put_chunk (marks, chunks.first, 0, false);
    chunks.first++;
  }
}

bool
marks_overlap (const struct marks *marks, uint64_t offset, uint64_t length)
{
  struct span blocks = touched (marks, offset, length, MARKS_BLOCK);
  struct span chunks = touched (marks, offset, length, MARKS_CHUNK);
  uint64_t i;

  while ((i = find_marked (marks, chunks)) < chunks.end) {
    if (get_bit (marks->coarse_map, i))
      return true;
    if (marks->block_map[i] & chunk_bits (i, blocks))
      return true;
    chunks.first = i + 1;
  }
  return false;
}

bool
marks_next_chunk (const struct marks *marks, uint64_t chunk, uint64_t *found)
{
  uint64_t i;

  if (marks->coarse_chunks == 0 && marks->dirty_blocks == 0)
    return false;
  if (chunk >= marks->chunks)
    chunk = 0;
  i = find_marked (marks, (struct span){ chunk, marks->chunks });
  if (i == marks->chunks)
    i = find_marked (marks, (struct span){ 0, chunk });
  assert (get_bit (marks->marked_map, i));
  *found = i;
  return true;
}

uint64_t
marks_chunk_blocks (const struct marks *marks, uint64_t chunk)
{
  assert (chunk < marks->chunks);
  return marks->block_map[chunk];
}

bool
marks_chunk_coarse (const struct marks *marks, uint64_t chunk)
{
  assert (chunk < marks->chunks);
  return get_bit (marks->coarse_map, chunk);
}

void
marks_chunk_compared (struct marks *marks, uint64_t chunk, uint64_t blocks)
{
  assert (chunk < marks->chunks);
  blocks &= whole_chunk (marks, chunk);
  if (blocks != 0)
    set_region (marks, chunk / (marks->region_size / MARKS_CHUNK));
  put_chunk (marks, chunk, blocks, false);
}

uint64_t
marks_dirty_bytes (const struct marks *marks)
{
  uint64_t bytes = marks->coarse_chunks * MARKS_CHUNK +
    marks->dirty_blocks * MARKS_BLOCK;

  return bytes < marks->size ? bytes : marks->size;
}

/* --- invariants ------------------------------------------------------- */

static void
check_chunks (const struct marks *marks)
{
  uint64_t coarse_chunks = 0, dirty_blocks = 0, words, i;
  bool coarse, marked;

  for (i = 0; i < marks->chunks; ++i) {
    coarse = get_bit (marks->coarse_map, i);
    marked = coarse || marks->block_map[i] != 0;
    assert (get_bit (marks->marked_map, i) == marked);
    assert ((marks->block_map[i] & ~whole_chunk (marks, i)) == 0);
    if (coarse)
      coarse_chunks++;
    else
      dirty_blocks += count_bits (marks->block_map[i]);
    if (marked)
      assert (get_region (marks->map, i / (marks->region_size / MARKS_CHUNK)));
  }
  assert (coarse_chunks == marks->coarse_chunks);
  assert (dirty_blocks == marks->dirty_blocks);

  words = divide_up (marks->chunks, WORD);
  for (; i < words * WORD; ++i) {
    assert (!get_bit (marks->coarse_map, i));
    assert (!get_bit (marks->marked_map, i));
  }
}

static void
check_regions (const struct marks *marks)
{
  uint64_t set_regions = 0, urgent_regions = 0, page, i;
  bool set, durable, taken;

  for (i = 0; i < marks_map_bytes (marks) * 8; ++i) {
    if (i % 8 == 0 && marks->map[i / 8] == 0 && marks->durable[i / 8] == 0 &&
        marks->taken[i / 8] == 0) {
      i += 7;
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

void
marks_check (const struct marks *marks)
{
  check_chunks (marks);
  check_regions (marks);
}
