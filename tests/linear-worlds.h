/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * linear-worlds.h: a set of worlds of linear-search.c: contents of cells,
 * and which of the requests in flight have taken effect.
 */
#ifndef DUET_LINEAR_WORLDS_H
#define DUET_LINEAR_WORLDS_H

#include <stdint.h>

/* All zeros but cell_count: empty. */
struct worlds {
  uint32_t cell_count;
  uint64_t *done;  /* of each world: bits of requests in flight */
  uint32_t *cells; /* of each world: cell_count contents */
  uint32_t *place; /* of each world: in the table */
  uint32_t count, capacity;
  uint32_t *table; /* 1 + index, 0: free */
  uint32_t table_size;
};

/* The contents of world I, until one is added. */
uint32_t *worlds_cells (const struct worlds *worlds, uint32_t i);

/* Add a world, unless it is there.  CELLS are not of this set. */
void worlds_add (struct worlds *worlds, uint64_t done, const uint32_t *cells);

void worlds_clear (struct worlds *worlds);
void worlds_free (struct worlds *worlds);

#endif /* DUET_LINEAR_WORLDS_H */
