/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore-core.c: a core in a fixed place.
 *
 * The linker sends the pure objects' calloc and free here (--wrap).  Each
 * node has an arena, and core_new, which allocates the same things in the
 * same order each time, finds them at the same addresses each time.  So a
 * core can be copied away and put back, pointers and all.
 *
 * A core is 1.5 MB, nearly all of it room for thousands of requests and
 * frames.  This world has a handful, and they use the first places of
 * each array: only those parts are kept, and core_place_audit proves now
 * and then that nothing else has changed.
 */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"

enum {
  ARENA = 3 * 1024 * 1024,
  ALLOCATIONS = 12,
  PARTS = 32,
  SENT_KEPT = 16,
  APPLY_KEPT = 24,
  MAP_KEPT = 8,
  RANGE_TAGS = CORE_REQUESTS_MAX + CORE_CHUNKS_MAX,
};

/* What core_new allocates, in this order. */
enum allocation {
  ALLOC_CORE,
  ALLOC_MARKS,
  ALLOC_BLOCK_MAP,
  ALLOC_COARSE,
  ALLOC_MARKED,
  ALLOC_MAP,
  ALLOC_DURABLE,
  ALLOC_TAKEN,
  ALLOC_USERS,
  ALLOC_LAST_USE,
  ALLOC_RANGES,
  ALLOC_COUNT,
};

struct part {
  size_t offset, bytes;
};

static struct arena {
  _Alignas(64) uint8_t bytes[ARENA];
  size_t used;
  uint32_t count;
  size_t start[ALLOCATIONS], size[ALLOCATIONS];
} arenas[NODES], *arena_now;

static struct part parts[PARTS];
static uint32_t part_count;
static size_t kept_bytes;

struct core *cores[NODES];

void *__wrap_calloc (size_t count, size_t size);
void *__real_calloc (size_t count, size_t size);
void __wrap_free (void *memory);
void __real_free (void *memory);

void *
__wrap_calloc (size_t count, size_t size)
{
  struct arena *arena = arena_now;
  size_t bytes = count * size;

  if (arena == NULL)
    return __real_calloc (count, size);
  assert (arena->count < ALLOCATIONS && arena->used + bytes + 64 <= ARENA);
  arena->start[arena->count] = arena->used;
  arena->size[arena->count++] = bytes;
  arena->used += (bytes + 63) / 64 * 64;
  return arena->bytes + arena->start[arena->count - 1];
}

void
__wrap_free (void *memory)
{
  uint8_t *byte = memory;

  if (byte < arenas[0].bytes || byte >= (uint8_t *) &arenas[NODES])
    __real_free (memory);
}

/* --- what is kept ------------------------------------------------------- */

static void
keep_part (size_t offset, size_t bytes)
{
  assert (part_count < PARTS);
  parts[part_count++] = (struct part){ offset, bytes };
  kept_bytes += bytes;
}

#define AT(member) offsetof (struct core, member)

/* From one member of struct core to another, that one not included. */
#define KEEP_BETWEEN(from, to) keep_part (AT (from), AT (to) - AT (from))
#define KEEP_FIRST(member, count) \
  keep_part (AT (member), (count) * sizeof ((struct core *) NULL)->member[0])

static size_t
range_entry (const struct arena *arena)
{
  return arena->size[ALLOC_RANGES] / RANGE_TAGS;
}

static size_t
range_header (const struct arena *arena)
{
  return arena->size[ALLOC_RANGES] % RANGE_TAGS;
}

static void
list_parts (void)
{
  const struct arena *arena = &arenas[0];
  size_t entry = range_entry (arena), header = range_header (arena);
  size_t ranges = arena->start[ALLOC_RANGES];
  uint32_t i;

  assert (arena->count == ALLOC_COUNT && arena->start[ALLOC_CORE] == 0);
  keep_part (0, AT (sent));
  KEEP_FIRST (sent, SENT_KEPT);
  KEEP_BETWEEN (sent_head, apply);
  KEEP_FIRST (apply, APPLY_KEPT);
  KEEP_BETWEEN (sync, clear);
  KEEP_FIRST (conns, SLOTS);
  KEEP_BETWEEN (conns_used, clients);
  KEEP_FIRST (clients, 2);
  KEEP_FIRST (requests, SLOTS);
  KEEP_BETWEEN (lists, out);
  for (i = ALLOC_MARKS; i <= ALLOC_LAST_USE; i++)
    keep_part (arena->start[i],
               arena->size[i] == MARKS_PAGE_BYTES ? MAP_KEPT : arena->size[i]);
  keep_part (ranges, header + SLOTS * entry);
  keep_part (ranges + header + CORE_REQUESTS_MAX * entry, CHUNKS * entry);
}

size_t
core_kept_bytes (void)
{
  return NODES * kept_bytes;
}

void
core_keep (uint8_t *bytes)
{
  unsigned n;
  uint32_t i;

  for (n = 0; n < NODES; n++) {
    if (cores[n] == NULL)
      continue;
    for (i = 0; i < part_count; i++) {
      memcpy (bytes, arenas[n].bytes + parts[i].offset, parts[i].bytes);
      bytes += parts[i].bytes;
    }
  }
}

/* The world has been put back already: it says who is alive. */
void
core_put_back (const uint8_t *bytes)
{
  unsigned n;
  uint32_t i;

  for (n = 0; n < NODES; n++) {
    cores[n] = NULL;
    if (!world.nodes[n].alive)
      continue;
    cores[n] = (struct core *) arenas[n].bytes;
    for (i = 0; i < part_count; i++) {
      memcpy (arenas[n].bytes + parts[i].offset, bytes, parts[i].bytes);
      bytes += parts[i].bytes;
    }
  }
}

/* --- birth -------------------------------------------------------------- */

void
core_place_start (unsigned node, const struct core_config *config)
{
  struct arena *arena = &arenas[node];
  static uint8_t map[MARKS_PAGE_BYTES];
  uint32_t i;

  arena->used = 0;
  arena->count = 0;
  for (i = 0; i < part_count; i++)
    memset (arena->bytes + parts[i].offset, 0, parts[i].bytes);
  map[0] = world.nodes[node].map;
  arena_now = arena;
  cores[node] = core_new (config, &world.nodes[node].record, map, sizeof map);
  arena_now = NULL;
  assert (cores[node] == (struct core *) arena->bytes);
}

/* Learn from a first core what there is to be kept. */
void
core_place_init (void)
{
  const struct core_config config = { .beat_ms = 1, .dead_ms = 2 };

  if (part_count > 0)
    return;
  core_place_start (0, &config);
  list_parts ();
  memset (arenas[0].bytes, 0, ARENA);
  cores[0] = NULL;
}

/* Leave no trace of what is over: a ring that is empty begins at 0, an
 * entry of ranges.c that is not entered is all zeros.
 */
void
core_place_tidy (unsigned node)
{
  struct core *core = cores[node];
  struct arena *arena = &arenas[node];
  uint8_t *entries = arena->bytes + arena->start[ALLOC_RANGES] +
    range_header (arena);
  struct sent copy[SENT_KEPT];
  uint32_t i, tag;

  assert (core->sent_count <= SENT_KEPT);
  for (i = 0; i < core->sent_count; i++)
    copy[i] = core->sent[(core->sent_head + i) % CORE_SENT_MAX];
  memset (core->sent, 0, (SENT_KEPT + 1) * sizeof core->sent[0]);
  memcpy (core->sent, copy, core->sent_count * sizeof copy[0]);
  core->sent_head = 0;
  assert (core->rx_seq < APPLY_KEPT);
  for (i = 0; i < SLOTS + CHUNKS; i++) {
    tag = i < SLOTS ? i : CORE_REQUESTS_MAX + i - SLOTS;
    if (!ranges_entered (core->ranges, tag))
      memset (entries + tag * range_entry (arena), 0, range_entry (arena));
  }
}

/* Parts of the core itself come first. */
static bool
is_core_part (uint32_t i)
{
  return parts[i].offset < sizeof (struct core);
}

void
core_copy (unsigned node, struct core *copy)
{
  uint32_t i;

  for (i = 0; i < part_count && is_core_part (i); i++)
    memcpy ((uint8_t *) copy + parts[i].offset,
            arenas[node].bytes + parts[i].offset, parts[i].bytes);
}

/* Times of the last use of a region do not count, see explore-hash.c. */
size_t
core_flatten (unsigned node, const struct core *copy, uint8_t *bytes,
              size_t room)
{
  const struct arena *arena = &arenas[node];
  const uint8_t *from;
  size_t used = 0;
  uint32_t i;

  for (i = 0; i < part_count; i++) {
    if (parts[i].offset == arena->start[ALLOC_LAST_USE])
      continue;
    from = is_core_part (i) ? (const uint8_t *) copy : arena->bytes;
    assert (used + parts[i].bytes <= room);
    memcpy (bytes + used, from + parts[i].offset, parts[i].bytes);
    used += parts[i].bytes;
  }
  return used;
}

/* --- proof that the parts are enough ------------------------------------ */

static bool
is_kept (size_t offset)
{
  uint32_t i;

  for (i = 0; i < part_count; i++)
    if (offset >= parts[i].offset && offset < parts[i].offset + parts[i].bytes)
      return true;
  return offset >= AT (clear) && offset < AT (conns);
}

/* Outside of the parts, and of what is only used within a step, a core
 * is as core_new has left it: zeros, and the same for both nodes.
 */
void
core_place_audit (void)
{
  unsigned n;
  size_t i;

  for (n = 0; n < NODES; n++) {
    if (cores[n] == NULL)
      continue;
    for (i = 0; i < arenas[n].used; i++) {
      if (i == AT (out))
        i = sizeof (struct core);
      if (arenas[n].bytes[i] == 0 || is_kept (i))
        continue;
      fprintf (stderr, "explore: byte %zu of core %c is used and not kept\n", i,
               letter (n));
      exit (2);
    }
  }
}
