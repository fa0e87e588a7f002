/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool-unaligned.c: one client that reads and writes ranges of any offset
 * and length, and compares each answer with a model in memory.
 *
 *   tool-unaligned URI MODEL
 *
 * Writes: 4096 bytes at each of the 4096 alignments, odd lengths from 1
 * to 70000, and ranges that end at the end of the volume or beyond it
 * (refused).  At the end all is read again, and the model is written to
 * the file MODEL.  The volume must be all zeros at the start.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

enum { BLOCK = 4096, LONGEST = 70000, PIECE = 1 << 20, RANDOM_ROUNDS = 700 };

static struct nbd_handle *nbd;
static unsigned char *model;
static uint64_t size;

static uint64_t
below (uint64_t limit)
{
  return ((uint64_t) random () << 31 | (uint64_t) random ()) % limit;
}

static void
write_range (uint64_t offset, uint64_t length)
{
  uint64_t i;

  for (i = 0; i < length; i++)
    model[offset + i] = (unsigned char) random ();
  if (nbd_pwrite (nbd, model + offset, length, offset, 0) == -1)
    errx (1, "write of %lu at %lu: %s", length, offset, nbd_get_error ());
}

static void
check_range (uint64_t offset, uint64_t length)
{
  static unsigned char found[PIECE];

  if (nbd_pread (nbd, found, length, offset, 0) == -1)
    errx (1, "read of %lu at %lu: %s", length, offset, nbd_get_error ());
  if (memcmp (found, model + offset, length) != 0)
    errx (1, "the %lu bytes at %lu differ", length, offset);
}

/* Each alignment once; the blocks overlap their neighbours. */
static void
every_alignment (void)
{
  uint64_t i, offset;

  for (i = 0; i < BLOCK; i++) {
    offset = i / 4 * BLOCK + i;
    write_range (offset, BLOCK);
    check_range (offset > 1000 ? offset - 1000 : 0, BLOCK + 2000);
  }
}

static void
random_ranges (void)
{
  unsigned i;
  uint64_t length, offset;

  for (i = 0; i < RANDOM_ROUNDS; i++) {
    length = (1 + below (i % 2 ? LONGEST : 600)) | 1;
    offset = below (size - length);
    write_range (offset, length);
    length = 1 + below (LONGEST);
    check_range (below (size - length), length);
  }
}

static void
near_the_end (void)
{
  static const uint64_t lengths[] = { 1,    2,    511,  512,   513,
                                      4095, 4096, 4097, 65537, LONGEST };
  unsigned i;
  char byte = 0;

  for (i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    write_range (size - lengths[i], lengths[i]);
    check_range (size - lengths[i], lengths[i]);
    write_range (size - lengths[i] - 1, lengths[i]);
    check_range (size - lengths[i] - 1, lengths[i] + 1);
  }

  /* Let libnbd send what it would refuse itself. */
  if (nbd_set_strict_mode (nbd, 0) == -1)
    errx (1, "%s", nbd_get_error ());
  if (nbd_pwrite (nbd, &byte, 1, size, 0) != -1 ||
      nbd_pread (nbd, &byte, 1, size, 0) != -1)
    errx (1, "a range beyond the end was accepted");
}

static void
save_model (const char *path)
{
  FILE *file = fopen (path, "w");

  if (file == NULL || fwrite (model, size, 1, file) != 1 || fclose (file))
    err (1, "%s", path);
}

int
main (int argc, char **argv)
{
  uint64_t offset;
  int64_t found;

  if (argc != 3)
    errx (1, "usage: tool-unaligned URI MODEL");
  nbd = nbd_create ();
  if (nbd == NULL || nbd_connect_uri (nbd, argv[1]) == -1 ||
      (found = nbd_get_size (nbd)) == -1)
    errx (1, "%s", nbd_get_error ());
  size = (uint64_t) found;
  model = calloc (1, size);
  if (model == NULL)
    err (1, "calloc");

  every_alignment ();
  random_ranges ();
  near_the_end ();
  for (offset = 0; offset < size; offset += PIECE)
    check_range (offset, size - offset < PIECE ? size - offset : PIECE);

  save_model (argv[2]);
  free (model);
  nbd_close (nbd);
  return 0;
}
