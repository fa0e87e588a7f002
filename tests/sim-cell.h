/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-cell.h: what the content of a disk is in the simulator.
 *
 * Content is modelled per cell as a tag: the number of the write that put
 * it there, with TAG_ZERO for writes that zero.  A sector of 512 bytes,
 * which a disk writes as a whole, is two cells; where one ends and the
 * other begins differs from sector to sector, so that requests begin and
 * end at any byte.
 */
#ifndef DUET_SIM_CELL_H
#define DUET_SIM_CELL_H

#include <assert.h>
#include <stdint.h>

enum {
  SIM_SECTOR = 512,   /* bytes */
  SIM_SECTORS = 4096, /* of the volume, at most */
  SIM_CELLS = 2 * SIM_SECTORS,
  SIM_BLOCK_CELLS = 2 * 8, /* in 4 KiB */
};

/* Where the second cell of SECTOR begins in it: 1 .. 511.  The same 1 MiB
 * further on, where the core cuts long frames.
 */
static inline uint32_t
cell_split (uint32_t sector)
{
  uint32_t dice = sector % 2048 * UINT32_C (2654435761) >> 16;

  return dice % 8 == 0 ? 1 : dice % 8 == 1 ? 511 : 1 + dice % 511;
}

/* The first byte of a cell. */
static inline uint64_t
cell_offset (uint32_t cell)
{
  return (uint64_t) (cell / 2) * SIM_SECTOR +
    (cell % 2 ? cell_split (cell / 2) : 0);
}

/* The cell that begins at a byte. */
static inline uint32_t
cell_at (uint64_t offset)
{
  uint32_t sector = (uint32_t) (offset / SIM_SECTOR);

  assert (offset % SIM_SECTOR == 0 ||
          offset % SIM_SECTOR == cell_split (sector));
  return 2 * sector + (offset % SIM_SECTOR != 0);
}

/* How many cells are in a range of bytes. */
static inline uint32_t
cells_in (uint64_t offset, uint64_t length)
{
  return cell_at (offset + length) - cell_at (offset);
}

#endif /* DUET_SIM_CELL_H */
