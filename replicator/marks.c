/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * marks.c: what the peer may lack: coarse map and block map.  The region
 * map under them is marks-regions.c's.
 *
 * The arrays are as large as the volume asks for (8 MiB of block map for
 * 256 GiB) and come from calloc, so that what was never marked costs no
 * memory.  Therefore: never write to them what already stands there.
 *
 * One summary bit per chunk ("marked": coarse, or some block) keeps
 * searches short.
 *
 * Invariant (marks_check): a chunk with a mark lies in a set region (I5).
 *
 * Pure: no I/O, no threads, no allocation after marks_new.  A larger set
 * of arrays for marks_grow is the caller's to make.
 */
#include <assert.h>
#include <stdlib.h>

#include "marks-internal.h"

enum {
  WORD = 64,                                /* bits */
  CHUNK_BLOCKS = MARKS_CHUNK / MARKS_BLOCK, /* one word */
};

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

uint64_t
marks_size (const struct marks *marks)
{
  return marks->size;
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

struct span
marks_touched (const struct marks *marks, uint64_t offset, uint64_t length,
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

bool
marks_region_marked (const struct marks *marks, uint64_t region)
{
  struct span chunks = region_chunks (marks, region);

  return find_marked (marks, chunks) != chunks.end;
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
marks_suspect (struct marks *marks)
{
  uint64_t region;

  for (region = 0; region < marks->regions; ++region)
    if (get_region (marks->map, region))
      make_coarse (marks, region);
}

void
marks_dirty (struct marks *marks, uint64_t offset, uint64_t length)
{
  struct span blocks = marks_touched (marks, offset, length, MARKS_BLOCK);
  struct span chunks = marks_touched (marks, offset, length, MARKS_CHUNK);
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
    marks_set_region (marks, first + i);
    make_coarse (marks, first + i);
  }
}

void
marks_dirty_all (struct marks *marks)
{
  uint64_t i;

  for (i = 0; i < marks->regions; ++i) {
    marks_set_region (marks, i);
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

void
marks_grow (struct marks *marks, struct marks *room)
{
  struct span chunks = { 0, marks->chunks };
  struct marks old = *marks;

  assert (room->size >= marks->size);
  assert (room->region_size == marks->region_size);
  /* Only where there are marks, so that the rest costs no memory still. */
  while ((chunks.first = find_marked (marks, chunks)) < chunks.end) {
    put_chunk (room, chunks.first, marks->block_map[chunks.first],
               get_bit (marks->coarse_map, chunks.first));
    chunks.first++;
  }
  marks_grow_regions (marks, room);
  *marks = *room;
  *room = old;
  marks_free (room);
}

bool
marks_overlap (const struct marks *marks, uint64_t offset, uint64_t length)
{
  struct span blocks = marks_touched (marks, offset, length, MARKS_BLOCK);
  struct span chunks = marks_touched (marks, offset, length, MARKS_CHUNK);
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
    marks_set_region (marks, chunk / (marks->region_size / MARKS_CHUNK));
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

void
marks_check (const struct marks *marks)
{
  check_chunks (marks);
  marks_check_regions (marks);
}
