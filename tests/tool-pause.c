/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool-pause.c: how long may a durable write take?
 *
 *   tool-pause FILE
 *
 * Writes one block of FILE (made if need be) again and again, with O_DIRECT
 * and O_DSYNC, two milliseconds apart, and reads it back.  For each line
 * that comes on standard input it prints how many milliseconds the longest
 * of these took since the line before.  Ends at the end of standard input;
 * with status 1 as soon as one fails or what is read is not what was written.
 */
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BLOCK = 4096, REST_MS = 2 };

static uint64_t
now_us (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

/* Write the block full of this number, read it back. */
static void
once (int file, uint64_t *block, uint64_t number)
{
  size_t i;

  for (i = 0; i < BLOCK / sizeof *block; i++)
    block[i] = number;
  if (pwrite (file, block, BLOCK, 0) != BLOCK)
    err (1, "write %lu", number);
  memset (block, 0, BLOCK);
  if (pread (file, block, BLOCK, 0) != BLOCK)
    err (1, "read %lu", number);
  for (i = 0; i < BLOCK / sizeof *block; i++)
    if (block[i] != number)
      errx (1, "read %lu, not %lu", block[i], number);
}

int
main (int argc, char **argv)
{
  uint64_t number = 0, longest_us = 0, began;
  struct pollfd in = { .fd = 0, .events = POLLIN };
  uint64_t *block;
  char asked[64];
  int file;

  if (argc != 2)
    errx (2, "usage: tool-pause FILE");
  file = open (argv[1], O_RDWR | O_CREAT | O_DIRECT | O_DSYNC, 0600);
  if (file == -1)
    err (1, "%s", argv[1]);
  block = aligned_alloc (BLOCK, BLOCK);
  if (block == NULL)
    err (1, "aligned_alloc");
  setvbuf (stdout, NULL, _IOLBF, 0);

  for (;;) {
    began = now_us ();
    once (file, block, ++number);
    if (now_us () - began > longest_us)
      longest_us = now_us () - began;
    if (poll (&in, 1, REST_MS) <= 0)
      continue;
    if (read (0, asked, sizeof asked) <= 0)
      break;
    printf ("%lu\n", longest_us / 1000);
    longest_us = 0;
  }
  free (block);
  close (file);
  return 0;
}
