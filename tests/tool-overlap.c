/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool-overlap.c: pairs of clients write overlapping unaligned 4K ranges
 * at the same moment, one 0xff and the other 0x55.
 *
 *   tool-overlap ROUNDS FILE FILE URI URI [URI URI...]
 *
 * Each two URIs are a pair, with a third client that reads the overlap
 * meanwhile.  After each round each byte of the overlap must come from
 * the same write: as read by the clients, and in both FILEs.  What is
 * read meanwhile must be all old (zero) or all from one write, and never
 * old again.  Each pair and round has a place of its own, which must be
 * zero before.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libnbd.h>

enum { BLOCK = 4096, PLACE = 4 * BLOCK, PAIRS_MAX = 8, READS = 4, FILES = 2 };

struct pair {
  struct nbd_handle *nbd[3]; /* two writers and the reader */
  uint64_t offset[2];
  uint64_t overlap, length; /* of the two ranges */
  unsigned last[2];         /* how often each value won */
};

struct client {
  pthread_t thread;
  struct pair *pair;
  unsigned which; /* index into pair->nbd */
};

static const unsigned char values[2] = { 0xff, 0x55 };
static struct pair pairs[PAIRS_MAX];
static struct client clients[PAIRS_MAX * 3];
static unsigned pair_count, rounds;
static pthread_barrier_t barrier;
static int files[FILES];

static struct nbd_handle *
connect_to (const char *uri)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL || nbd_connect_uri (nbd, uri) == -1)
    errx (1, "%s: %s", uri, nbd_get_error ());
  return nbd;
}

/* Where the pair writes in this round. */
static void
choose (unsigned p, unsigned round)
{
  struct pair *pair = &pairs[p];
  uint64_t place = ((uint64_t) round * pair_count + p) * PLACE;
  uint64_t first = place + (uint64_t) random () % BLOCK;
  uint64_t second = first + 1 + (uint64_t) random () % (BLOCK - 1);

  pair->offset[round % 2] = first;
  pair->offset[1 - round % 2] = second;
  pair->overlap = second;
  pair->length = first + BLOCK - second;
}

/* The value of all bytes, which must be the same. */
static unsigned char
only_value (const unsigned char *bytes, uint64_t length, const char *where,
            uint64_t offset)
{
  uint64_t i;

  for (i = 1; i < length; i++)
    if (bytes[i] != bytes[0])
      errx (1, "%s: overlap of %lu bytes at %lu is torn: 0x%02x, 0x%02x", where,
            length, offset, bytes[0], bytes[i]);
  return bytes[0];
}

static void
write_range (struct client *client)
{
  unsigned char bytes[BLOCK];

  memset (bytes, values[client->which], BLOCK);
  if (nbd_pwrite (client->pair->nbd[client->which], bytes, BLOCK,
                  client->pair->offset[client->which], 0) == -1)
    errx (1, "write: %s", nbd_get_error ());
}

static unsigned char
read_overlap (const struct pair *pair, struct nbd_handle *nbd)
{
  unsigned char bytes[BLOCK];

  if (nbd_pread (nbd, bytes, pair->length, pair->overlap, 0) == -1)
    errx (1, "read: %s", nbd_get_error ());
  return only_value (bytes, pair->length, "client", pair->overlap);
}

static void
read_meanwhile (struct client *client)
{
  unsigned i;
  unsigned char value, before = 0;

  for (i = 0; i < READS; i++) {
    value = read_overlap (client->pair, client->pair->nbd[client->which]);
    if (value == 0 && before != 0)
      errx (1, "read at %lu: old data again", client->pair->overlap);
    before = value;
  }
}

static void
check_files (struct pair *pair)
{
  unsigned i;
  unsigned char bytes[FILES][BLOCK], value[FILES];

  for (i = 0; i < FILES; i++) {
    if (pread (files[i], bytes[i], pair->length, (off_t) pair->overlap) !=
        (ssize_t) pair->length)
      err (1, "pread");
    value[i] = only_value (bytes[i], pair->length,
                           i == 0 ? "first file" : "second file",
                           pair->overlap);
  }
  if (value[0] != value[1])
    errx (1, "at %lu the files differ", pair->overlap);
  if (value[0] != read_overlap (pair, pair->nbd[0]) ||
      value[0] != read_overlap (pair, pair->nbd[1]))
    errx (1, "at %lu clients and files differ", pair->overlap);
  if (value[0] == 0)
    errx (1, "at %lu nothing was written", pair->overlap);
  pair->last[value[0] == values[1]]++;
}

static void *
run (void *opaque)
{
  struct client *client = opaque;
  unsigned round;

  for (round = 0; round < rounds; round++) {
    pthread_barrier_wait (&barrier);
    if (client->which < 2)
      write_range (client);
    else
      read_meanwhile (client);
    pthread_barrier_wait (&barrier);
  }
  return NULL;
}

static void
start (char **uris)
{
  unsigned i;

  for (i = 0; i < pair_count * 3; i++) {
    struct client *client = &clients[i];

    client->pair = &pairs[i / 3];
    client->which = i % 3;
    client->pair->nbd[i % 3] = connect_to (uris[i / 3 * 2 + i % 2]);
    errno = pthread_create (&client->thread, NULL, run, client);
    if (errno != 0)
      err (1, "pthread_create");
  }
}

static void
finish (void)
{
  unsigned i;

  for (i = 0; i < pair_count * 3; i++) {
    pthread_join (clients[i].thread, NULL);
    nbd_close (clients[i].pair->nbd[i % 3]);
  }
  for (i = 0; i < pair_count; i++)
    printf ("pair %u: 0xff was last %u times, 0x55 %u times\n", i,
            pairs[i].last[0], pairs[i].last[1]);
}

int
main (int argc, char **argv)
{
  unsigned round, i;

  if (argc < 6 || argc % 2 != 0 || argc > 4 + PAIRS_MAX * 2)
    errx (1, "usage: tool-overlap ROUNDS FILE FILE URI URI...");
  rounds = (unsigned) atoi (argv[1]);
  pair_count = ((unsigned) argc - 4) / 2;
  for (i = 0; i < FILES; i++) {
    files[i] = open (argv[2 + i], O_RDONLY | O_CLOEXEC);
    if (files[i] == -1)
      err (1, "%s", argv[2 + i]);
  }
  errno = pthread_barrier_init (&barrier, NULL, pair_count * 3 + 1);
  if (errno != 0)
    err (1, "pthread_barrier_init");

  start (argv + 4);
  for (round = 0; round < rounds; round++) {
    for (i = 0; i < pair_count; i++)
      choose (i, round);
    pthread_barrier_wait (&barrier);
    pthread_barrier_wait (&barrier);
    for (i = 0; i < pair_count; i++)
      check_files (&pairs[i]);
  }
  finish ();
  return 0;
}
