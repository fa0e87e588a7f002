/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool-hangup.c: clients that hang up in the middle.
 *
 *   tool-hangup COUNT URI
 *
 * COUNT clients, one after the other, send 64 requests each on one
 * connection and hang up without a word: at once, or after some of the
 * answers, or after half a request.  A client that behaves works all the
 * time, and must be served without an error.
 */
#include <err.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libnbd.h>

enum { DEPTH = 64, REQUEST = 65536, AREA = 1 << 20, BLOCK = 4096 };

static char rubbish[DEPTH][REQUEST];
static atomic_bool stopped;
static const char *uri;

static struct nbd_handle *
connect_to_uri (void)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL || nbd_connect_uri (nbd, uri) == -1)
    errx (1, "%s: %s", uri, nbd_get_error ());
  return nbd;
}

/* Writes and reads below AREA; the others stay above it. */
static void *
behave (void *opaque)
{
  struct nbd_handle *nbd = connect_to_uri ();
  unsigned *served = opaque;
  unsigned char data[BLOCK], found[BLOCK];

  while (!stopped) {
    memset (data, (int) *served, sizeof data);
    if (nbd_pwrite (nbd, data, BLOCK, *served % 100 * BLOCK, 0) == -1 ||
        nbd_pread (nbd, found, BLOCK, *served % 100 * BLOCK, 0) == -1)
      errx (1, "the client that behaves: %s", nbd_get_error ());
    if (memcmp (data, found, BLOCK) != 0)
      errx (1, "the client that behaves read other data than it wrote");
    ++*served;
  }
  nbd_close (nbd);
  return NULL;
}

static void
send_requests (struct nbd_handle *nbd, unsigned salt)
{
  unsigned i;
  uint64_t offset;
  int64_t cookie;

  for (i = 0; i < DEPTH; i++) {
    offset = AREA + (uint64_t) i * REQUEST;
    if ((i + salt) % 2 == 0)
      cookie = nbd_aio_pread (nbd, rubbish[i], REQUEST, offset,
                              NBD_NULL_COMPLETION, 0);
    else
      cookie = nbd_aio_pwrite (nbd, rubbish[i], REQUEST, offset,
                               NBD_NULL_COMPLETION, 0);
    if (cookie == -1)
      errx (1, "%s", nbd_get_error ());
  }
}

/* Half a request, for the server to wait for. */
static void
send_half (struct nbd_handle *nbd)
{
  static const unsigned char half[] = { 0x25, 0x60, 0x95, 0x13, 0, 0, 0, 1 };

  if (write (nbd_aio_get_fd (nbd), half, sizeof half) != sizeof half)
    err (1, "write");
}

static void
hang_up (unsigned i)
{
  struct nbd_handle *nbd = connect_to_uri ();
  unsigned answers;

  if (i % 10 == 9)
    send_half (nbd);
  else
    send_requests (nbd, i);
  for (answers = 0; answers < i % 5 * 4 && i % 10 != 9; answers++)
    if (nbd_poll (nbd, 0) == -1)
      errx (1, "%s", nbd_get_error ());
  nbd_close (nbd);
}

int
main (int argc, char **argv)
{
  unsigned i, served = 0;
  pthread_t thread;

  if (argc != 3)
    errx (1, "usage: tool-hangup COUNT URI");
  uri = argv[2];
  errno = pthread_create (&thread, NULL, behave, &served);
  if (errno != 0)
    err (1, "pthread_create");

  for (i = 0; i < (unsigned) atoi (argv[1]); i++)
    hang_up (i);
  stopped = true;
  pthread_join (thread, NULL);
  if (served == 0)
    errx (1, "the client that behaves was not served");
  printf ("%u hung up; the client that behaves was served %u times\n", i,
          served);
  return 0;
}
