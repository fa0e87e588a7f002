/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-disk.c: a disk under a page cache.  A write goes to the cache; a
 * sync makes durable what was in the cache when it began; between the
 * two the system may write a cell back whenever it likes.  A process
 * that dies leaves the cache as it is; a power cut keeps or loses each
 * sector that was not synced, independently (torn writes), but never half
 * of one.  A sync that fails loses track of what was dirty, as Linux does.
 */
#include <string.h>

#include "sim.h"

static void
set_dirty (struct disk *disk, uint32_t cell, bool dirty)
{
  uint64_t bit = UINT64_C (1) << (cell % 64);

  if (dirty)
    disk->dirty[cell / 64] |= bit;
  else
    disk->dirty[cell / 64] &= ~bit;
}

/* The write counted WRITTEN reaches the disk, unless a later one has. */
static void
make_durable (struct sim *sim, int node, uint32_t cell, uint32_t tag,
              uint32_t written)
{
  struct disk *disk = &sim->nodes[node].disk;

  if (disk->kept[cell] >= written)
    return;
  disk->kept[cell] = written;
  disk->durable[cell] = tag;
  if (disk->written[cell] == written)
    set_dirty (disk, cell, false);
  check_durable (sim, node, cell, tag);
  check_cell (sim, cell);
}

static bool
is_dirty (const struct disk *disk, uint32_t cell)
{
  return disk->dirty[cell / 64] >> (cell % 64) & 1;
}

/* The sector of CELL is written back. */
static void
keep_cached (struct sim *sim, int node, uint32_t cell)
{
  const struct disk *disk = &sim->nodes[node].disk;
  uint32_t first = cell & ~1u, i;

  for (i = first; i < first + 2; i++)
    if (is_dirty (disk, i))
      make_durable (sim, node, i, disk->cache[i], disk->written[i]);
}

/* A cell is lost to the cache: the old content comes back. */
static void
lose_cached (struct sim *sim, int node, uint32_t cell)
{
  struct disk *disk = &sim->nodes[node].disk;

  disk->cache[cell] = disk->durable[cell];
  disk->kept[cell] = disk->written[cell];
  set_dirty (disk, cell, false);
  check_cell (sim, cell);
}

void
disk_write (struct sim *sim, int node, uint32_t first, uint32_t count,
            const uint32_t *tags)
{
  struct disk *disk = &sim->nodes[node].disk;
  uint32_t i;
  bool eager = sim_chance (sim, 16);

  if (first + count > disk->cells)
    sim_fail (sim, "%c writes behind the end of its file", 'A' + node);
  for (i = 0; i < count; i++) {
    disk->cache[first + i] = tags[i];
    disk->written[first + i]++;
    set_dirty (disk, first + i, true);
    check_cell (sim, first + i);
    if (eager && sim_chance (sim, 2))
      keep_cached (sim, node, first + i);
  }
}

/* The first dirty cell at or after FROM; SIM_CELLS: none. */
static uint32_t
next_dirty (const struct disk *disk, uint32_t from)
{
  uint32_t word = from / 64;
  uint64_t bits;

  if (from >= SIM_CELLS)
    return SIM_CELLS;
  bits = disk->dirty[word] & (UINT64_MAX << (from % 64));
  while (bits == 0) {
    if (++word == SIM_CELLS / 64)
      return SIM_CELLS;
    bits = disk->dirty[word];
  }
  return word * 64 + (uint32_t) __builtin_ctzll (bits);
}

void
disk_sync_begin (struct sim *sim, int node, struct disk_snapshot *snap)
{
  const struct disk *disk = &sim->nodes[node].disk;
  uint32_t cell, count = 0;

  for (cell = next_dirty (disk, 0); cell < SIM_CELLS;
       cell = next_dirty (disk, cell + 1))
    count++;
  snap->list = sim_alloc (sim, count * sizeof snap->list[0]);
  snap->count = count;
  count = 0;
  for (cell = next_dirty (disk, 0); cell < SIM_CELLS;
       cell = next_dirty (disk, cell + 1)) {
    snap->list[count].cell = cell;
    snap->list[count].tag = disk->cache[cell];
    snap->list[count++].written = disk->written[cell];
  }
}

void
disk_sync_end (struct sim *sim, int node, const struct disk_snapshot *snap)
{
  uint32_t i;

  for (i = 0; i < snap->count; i++)
    make_durable (sim, node, snap->list[i].cell, snap->list[i].tag,
                  snap->list[i].written);
}

void
disk_sync_fail (struct sim *sim, int node)
{
  struct disk *disk = &sim->nodes[node].disk;
  uint32_t sector, i, dice;

  for (sector = next_dirty (disk, 0) / 2; sector < SIM_SECTORS;
       sector = next_dirty (disk, 2 * sector + 2) / 2) {
    dice = (uint32_t) sim_below (sim, 4);
    if (dice < 2)
      keep_cached (sim, node, 2 * sector);
    for (i = 2 * sector; dice == 2 && i < 2 * sector + 2; i++)
      if (is_dirty (disk, i))
        lose_cached (sim, node, i); /* the page is dropped */
  }
  memset (disk->dirty, 0, sizeof disk->dirty);
}

/* A process opens the file.  Pages that a failed sync has left clean but
 * unwritten must not be believed: the store drops clean pages at open.
 */
void
disk_open (struct sim *sim, int node)
{
  const struct disk *disk = &sim->nodes[node].disk;
  uint32_t cell;

  for (cell = 0; cell < sim->cells; cell++)
    if (disk->kept[cell] != disk->written[cell] && !is_dirty (disk, cell))
      lose_cached (sim, node, cell);
}

/* What was there is lost, and the medium reads as zeros. */
void
disk_zero (struct sim *sim, int node, uint32_t first, uint32_t count)
{
  struct disk *disk = &sim->nodes[node].disk;
  uint32_t cell;

  for (cell = first; cell < first + count; cell++) {
    disk->cache[cell] = disk->durable[cell] = 0;
    disk->kept[cell] = disk->written[cell];
    set_dirty (disk, cell, false);
    check_cell (sim, cell);
  }
}

void
disk_power_cut (struct sim *sim, int node)
{
  struct disk *disk = &sim->nodes[node].disk;
  uint32_t sector, i, mood = (uint32_t) sim_below (sim, 3);

  for (sector = next_dirty (disk, 0) / 2; sector < SIM_SECTORS;
       sector = next_dirty (disk, 2 * sector + 2) / 2)
    if (mood == 0 || (mood == 1 && sim_chance (sim, 2)))
      keep_cached (sim, node, 2 * sector);
  /* What a failed sync forgot is never written. */
  for (i = 0; i < sim->cells; i++)
    if (disk->kept[i] != disk->written[i])
      lose_cached (sim, node, i);
  memset (disk->dirty, 0, sizeof disk->dirty);
}
