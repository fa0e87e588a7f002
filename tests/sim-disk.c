/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-disk.c: a disk under a page cache.  A write goes to the cache; a
 * sync makes durable what was in the cache when it began; between the
 * two the system may write a sector back whenever it likes.  A process
 * that dies leaves the cache as it is; a power cut keeps or loses each
 * sector that was not synced, independently (torn writes).  A sync that
 * fails loses track of what was dirty, as Linux does.
 */
#include <string.h>

#include "sim.h"

static void
set_dirty (struct disk *disk, uint32_t sector, bool dirty)
{
  uint64_t bit = UINT64_C (1) << (sector % 64);

  if (dirty)
    disk->dirty[sector / 64] |= bit;
  else
    disk->dirty[sector / 64] &= ~bit;
}

/* The write counted WRITTEN reaches the disk, unless a later one has. */
static void
make_durable (struct sim *sim, int node, uint32_t sector, uint32_t tag,
              uint32_t written)
{
  struct disk *disk = &sim->nodes[node].disk;

  if (disk->kept[sector] >= written)
    return;
  disk->kept[sector] = written;
  disk->durable[sector] = tag;
  if (disk->written[sector] == written)
    set_dirty (disk, sector, false);
  check_durable (sim, node, sector, tag);
  check_sector (sim, sector);
}

static void
keep_cached (struct sim *sim, int node, uint32_t sector)
{
  const struct disk *disk = &sim->nodes[node].disk;

  make_durable (sim, node, sector, disk->cache[sector], disk->written[sector]);
}

void
disk_write (struct sim *sim, int node, uint32_t first, uint32_t count,
            const uint32_t *tags)
{
  struct disk *disk = &sim->nodes[node].disk;
  uint32_t i;
  bool eager = sim_chance (sim, 16);

  for (i = 0; i < count; i++) {
    disk->cache[first + i] = tags[i];
    disk->written[first + i]++;
    set_dirty (disk, first + i, true);
    check_sector (sim, first + i);
    if (eager && sim_chance (sim, 2))
      keep_cached (sim, node, first + i);
  }
}

/* The first dirty sector at or after FROM; SIM_SECTORS: none. */
static uint32_t
next_dirty (const struct disk *disk, uint32_t from)
{
  uint32_t word = from / 64;
  uint64_t bits;

  if (from >= SIM_SECTORS)
    return SIM_SECTORS;
  bits = disk->dirty[word] & (UINT64_MAX << (from % 64));
  while (bits == 0) {
    if (++word == SIM_SECTORS / 64)
      return SIM_SECTORS;
    bits = disk->dirty[word];
  }
  return word * 64 + (uint32_t) __builtin_ctzll (bits);
}

void
disk_sync_begin (struct sim *sim, int node, struct disk_snapshot *snap)
{
  const struct disk *disk = &sim->nodes[node].disk;
  uint32_t sector, count = 0;

  for (sector = next_dirty (disk, 0); sector < SIM_SECTORS;
       sector = next_dirty (disk, sector + 1))
    count++;
  snap->list = sim_alloc (sim, count * sizeof snap->list[0]);
  snap->count = count;
  count = 0;
  for (sector = next_dirty (disk, 0); sector < SIM_SECTORS;
       sector = next_dirty (disk, sector + 1)) {
    snap->list[count].sector = sector;
    snap->list[count].tag = disk->cache[sector];
    snap->list[count++].written = disk->written[sector];
  }
}

void
disk_sync_end (struct sim *sim, int node, const struct disk_snapshot *snap)
{
  uint32_t i;

  for (i = 0; i < snap->count; i++)
    make_durable (sim, node, snap->list[i].sector, snap->list[i].tag,
                  snap->list[i].written);
}

void
disk_sync_fail (struct sim *sim, int node)
{
  struct disk *disk = &sim->nodes[node].disk;
  uint32_t sector;

  for (sector = next_dirty (disk, 0); sector < SIM_SECTORS;
       sector = next_dirty (disk, sector + 1)) {
    if (sim_chance (sim, 2))
      keep_cached (sim, node, sector);
    else if (sim_chance (sim, 2)) {
      /* The page is dropped: the old content comes back. */
      disk->cache[sector] = disk->durable[sector];
      disk->kept[sector] = disk->written[sector];
      check_sector (sim, sector);
    }
  }
  memset (disk->dirty, 0, sizeof disk->dirty);
}

/* A process opens the file.  Pages that a failed sync has left clean but
 * unwritten must not be believed: the store drops clean pages at open.
 */
void
disk_open (struct sim *sim, int node)
{
  struct disk *disk = &sim->nodes[node].disk;
  uint32_t sector;

  for (sector = 0; sector < sim->sectors; sector++) {
    if (disk->kept[sector] == disk->written[sector] ||
        (disk->dirty[sector / 64] >> (sector % 64) & 1))
      continue;
    disk->cache[sector] = disk->durable[sector];
    disk->kept[sector] = disk->written[sector];
    check_sector (sim, sector);
  }
}

void
disk_power_cut (struct sim *sim, int node)
{
  struct disk *disk = &sim->nodes[node].disk;
  uint32_t sector, mood = (uint32_t) sim_below (sim, 3);
  bool keep;

  for (sector = 0; sector < sim->sectors; sector++) {
    if (disk->kept[sector] == disk->written[sector])
      continue;
    keep = mood == 0 || (mood == 1 && sim_chance (sim, 2));
    /* A page that a failed sync forgot is never written. */
    if (!(disk->dirty[sector / 64] >> (sector % 64) & 1))
      keep = false;
    if (keep)
      keep_cached (sim, node, sector);
    disk->cache[sector] = disk->durable[sector];
    disk->kept[sector] = disk->written[sector];
    check_sector (sim, sector);
  }
  memset (disk->dirty, 0, sizeof disk->dirty);
}
