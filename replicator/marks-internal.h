/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * marks-internal.h: what marks.c and marks-regions.c share, and nobody
 * else.
 */
#ifndef DUET_MARKS_INTERNAL_H
#define DUET_MARKS_INTERNAL_H

#include "marks.h"

enum {
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

static inline uint64_t
divide_up (uint64_t n, uint64_t unit)
{
  return n / unit + (n % unit != 0);
}

static inline bool
get_region (const uint8_t *map, uint64_t region)
{
  return map[region / 8] >> (region % 8) & 1;
}

/* ------------------------------------------------------------- marks.c */

/* The units of UNIT bytes that the range touches. */
struct span marks_touched (const struct marks *marks, uint64_t offset,
                           uint64_t length, uint64_t unit);

/* Does the region hold a coarse or block mark? */
bool marks_region_marked (const struct marks *marks, uint64_t region);

/* ----------------------------------------------------- marks-regions.c */

/* Set a region's bit.  True when it is durable already. */
bool marks_set_region (struct marks *marks, uint64_t region);

/* The region map's part of marks_grow: all that is known goes to ROOM. */
void marks_grow_regions (const struct marks *marks, struct marks *room);

/* The region map's part of marks_check. */
void marks_check_regions (const struct marks *marks);

#endif /* DUET_MARKS_INTERNAL_H */
