/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool-meta.c: change a superblock so that its checksum is right again.
 *
 *   tool-meta FILE OFFSET VALUE     a u32 at OFFSET of both slots
 *
 * For tests of metadata that another version wrote, or another volume's.
 * Slots without a magic are left alone.  docs/disk-format.md has the
 * offsets.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "wire.h"

enum { SLOT = 4096, SLOTS = 2, CRC_AT = SLOT - 4 };

static void
put_u32 (uint8_t *to, uint32_t value)
{
  unsigned i;

  for (i = 0; i < 4; i++)
    to[i] = (uint8_t) (value >> (8 * i));
}

static bool
change_slot (int fd, unsigned slot, size_t offset, uint32_t value)
{
  uint8_t bytes[SLOT];
  off_t at = (off_t) slot * SLOT;

  if (pread (fd, bytes, SLOT, at) != SLOT)
    return false;
  if (memcmp (bytes, "DUETMETA", 8) != 0)
    return true;
  put_u32 (bytes + offset, value);
  put_u32 (bytes + CRC_AT, wire_crc32c (bytes, CRC_AT));
  return pwrite (fd, bytes, SLOT, at) == SLOT;
}

int
main (int argc, char **argv)
{
  size_t offset = argc == 4 ? strtoul (argv[2], NULL, 10) : SLOT;
  unsigned slot;
  int fd;

  if (offset > CRC_AT - 4) {
    fprintf (stderr, "usage: tool-meta FILE OFFSET VALUE\n");
    return 2;
  }
  fd = open (argv[1], O_RDWR | O_CLOEXEC);
  for (slot = 0; slot < SLOTS; slot++)
    if (fd == -1 ||
        !change_slot (fd, slot, offset,
                      (uint32_t) strtoul (argv[3], NULL, 0))) {
      fprintf (stderr, "tool-meta: %s: %s\n", argv[1], strerror (errno));
      return 1;
    }
  close (fd);
  return 0;
}
