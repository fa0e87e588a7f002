/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * linear-worlds.c: a set of worlds, each once, found by a hash.
 */
#include <stdlib.h>
#include <string.h>

#include "linear.h"
#include "linear-worlds.h"

static uint64_t
hash_of (const struct worlds *worlds, uint64_t done, const uint32_t *cells)
{
  uint64_t hash = done ^ UINT64_C (0x9e3779b97f4a7c15);
  uint32_t i;

  for (i = 0; i < worlds->cell_count; i++) {
    hash = (hash ^ cells[i]) * UINT64_C (0xbf58476d1ce4e5b9);
    hash ^= hash >> 29;
  }
  return hash;
}

uint32_t *
worlds_cells (const struct worlds *worlds, uint32_t i)
{
  return worlds->cells + (size_t) i * worlds->cell_count;
}

static void *
resize (void *memory, size_t count, size_t size)
{
  memory = realloc (memory, count * size);
  if (memory == NULL)
    abort ();
  return memory;
}

/* Put world I into the table, which has room. */
static void
enter (struct worlds *worlds, uint32_t i)
{
  uint64_t at = hash_of (worlds, worlds->done[i], worlds_cells (worlds, i));

  while (worlds->table[at &= worlds->table_size - 1] != 0)
    at++;
  worlds->table[at] = i + 1;
  worlds->place[i] = (uint32_t) at;
}

static void
grow (struct worlds *worlds)
{
  uint32_t i;

  worlds->capacity = worlds->capacity * 2 + 16;
  worlds->done = resize (worlds->done, worlds->capacity, sizeof *worlds->done);
  worlds->place = resize (worlds->place, worlds->capacity,
                          sizeof *worlds->place);
  worlds->cells = resize (worlds->cells,
                          (size_t) worlds->capacity * worlds->cell_count,
                          sizeof *worlds->cells);
  free (worlds->table);
  worlds->table_size = 64;
  while (worlds->table_size < worlds->capacity * 2)
    worlds->table_size *= 2;
  worlds->table = linear_alloc (worlds->table_size, sizeof *worlds->table);
  for (i = 0; i < worlds->count; i++)
    enter (worlds, i);
}

void
worlds_add (struct worlds *worlds, uint64_t done, const uint32_t *cells)
{
  uint64_t at = hash_of (worlds, done, cells);
  size_t bytes = worlds->cell_count * sizeof *cells;
  uint32_t i;

  for (; worlds->count > 0; at++) {
    i = worlds->table[at &= worlds->table_size - 1];
    if (i == 0)
      break;
    if (worlds->done[i - 1] == done &&
        memcmp (worlds_cells (worlds, i - 1), cells, bytes) == 0)
      return;
  }
  if (worlds->count == worlds->capacity)
    grow (worlds);
  worlds->done[worlds->count] = done;
  memcpy (worlds_cells (worlds, worlds->count), cells, bytes);
  enter (worlds, worlds->count++);
}

void
worlds_clear (struct worlds *worlds)
{
  uint32_t i;

  for (i = 0; i < worlds->count; i++)
    worlds->table[worlds->place[i]] = 0;
  worlds->count = 0;
}

void
worlds_free (struct worlds *worlds)
{
  free (worlds->done);
  free (worlds->cells);
  free (worlds->place);
  free (worlds->table);
}
