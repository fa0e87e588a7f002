/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool-record.c: makes inputs for the fuzz targets from what real nodes
 * say and store.
 *
 *   tool-record link PORT TARGET PREFIX
 *       listens on PORT, passes each connection on to TARGET, and when it
 *       ends writes what it saw to PREFIX-NUMBER.*: the bytes of both
 *       directions (.stream, for fuzz-stream), and what the core of either
 *       node was given (.core, for fuzz-core).  Until SIGTERM
 *   tool-record meta FILE
 *       a metadata file as an input of fuzz-meta, on standard output
 *
 * Talks to 127.0.0.1 only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "marks.h"
#include "meta.h"
#include "wire.h"

enum {
  NEAR, /* who dialled */
  FAR,
  SIDES,
  INPUT_MAX = 12 * 1024, /* of a recorded input; the rest is left out */
  BUFFER = 2 * (WIRE_HEADER + WIRE_PAYLOAD_MAX),
  PIECE_MAX = 1024,
  /* As in fuzz-core.c. */
  ITEM_FRAME = 0,
  ITEM_UP = 2,
  ITEM_HANGUP = 3,
  ITEM_OPEN = 6,
  ITEM_REQUEST = 8,
  OPEN_SHOWN = 0x41, /* a proxy that knows the present generation */
  REQUEST_WRITE = 1,
  REQUEST_ZERO = 3,
  SECTOR = 512,
};

struct bytes {
  uint8_t at[INPUT_MAX];
  size_t length;
  bool full;
};

/* One direction: what this side has sent. */
struct side {
  int fd;
  uint8_t *buffer; /* BUFFER bytes */
  size_t length;   /* of a frame that is not complete */
  bool opened;     /* its client is in its items */
  struct bytes stream, own, items;
};

static volatile sig_atomic_t stopped;

static _Noreturn void
die (const char *what)
{
  fprintf (stderr, "tool-record: %s: %s\n", what, strerror (errno));
  exit (1);
}

/* ------------------------------------------------------------- inputs */

static void
put (struct bytes *to, const void *bytes, size_t length)
{
  if (to->full || length > INPUT_MAX - to->length) {
    to->full = true;
    return;
  }
  memcpy (to->at + to->length, bytes, length);
  to->length += length;
}

static void
put_number (struct bytes *to, uint64_t value, size_t count)
{
  uint8_t bytes[8];
  size_t i;

  for (i = 0; i < count; i++)
    bytes[i] = (uint8_t) (value >> (8 * i));
  put (to, bytes, count);
}

/* Without the zeros at its end. */
static size_t
trimmed (const uint8_t *bytes, size_t length)
{
  while (length > 0 && bytes[length - 1] == 0)
    length--;
  return length;
}

/* SENDER's frame: its own record or a request of its client for itself, a
 * frame for the other side.
 */
static void
note_frame (struct side *sender, struct side *other,
            const struct wire_frame *frame, const uint8_t *bytes)
{
  size_t stored = 0;

  if (frame->type == WIRE_GREETING_FRAME)
    return;
  if (frame->type != WIRE_WRITE && frame->type != WIRE_HASH_REPLY)
    stored = trimmed (bytes + WIRE_HEADER, frame->payload_length);
  if (frame->type == WIRE_HELLO_FRAME && sender->own.length == 0) {
    put_number (&sender->own, stored, 2);
    put (&sender->own, bytes + WIRE_HEADER, stored);
  }
  if ((frame->type == WIRE_WRITE || frame->type == WIRE_ZERO) &&
      (frame->flags & WIRE_RESYNC) == 0) {
    if (!sender->opened)
      put (&sender->items, (uint8_t[]){ ITEM_OPEN, 0, OPEN_SHOWN }, 3);
    sender->opened = true;
    put (
      &sender->items,
      (uint8_t[]){ ITEM_REQUEST, 0,
                   frame->type == WIRE_WRITE ? REQUEST_WRITE : REQUEST_ZERO },
      3);
    put_number (&sender->items, frame->offset / MARKS_BLOCK, 2);
    put_number (&sender->items, frame->length / SECTOR, 2);
  }
  if (INPUT_MAX - other->items.length < 3 + WIRE_HEADER + stored)
    other->items.full = true;
  put (&other->items, (uint8_t[]){ ITEM_FRAME }, 1);
  put_number (&other->items, stored, 2);
  put (&other->items, bytes, WIRE_HEADER + stored);
}

static void
note_bytes (struct side *sender, struct side *other)
{
  struct wire_frame frame;
  size_t at = 0, whole;

  while (sender->length - at >= WIRE_HEADER &&
         wire_decode (sender->buffer + at, &frame) == WIRE_OK) {
    whole = WIRE_HEADER + (size_t) frame.payload_length;
    if (sender->length - at < whole)
      break;
    note_frame (sender, other, &frame, sender->buffer + at);
    at += whole;
  }
  memmove (sender->buffer, sender->buffer + at, sender->length - at);
  sender->length -= at;
}

/* -------------------------------------------------------------- files */

static FILE *
create (const char *prefix, unsigned number, int side, const char *suffix)
{
  char name[4096];
  FILE *file;

  snprintf (name, sizeof name, "%s-%u%c.%s", prefix, number,
            side == NEAR ? 'n' : 'f', suffix);
  file = fopen (name, "we");
  if (file == NULL)
    die (name);
  return file;
}

static void
write_inputs (const struct side *side, int index, const char *prefix,
              unsigned number)
{
  FILE *file = create (prefix, number, index, "stream");

  fputc (1 + index, file);
  fwrite (side->stream.at, 1, side->stream.length, file);
  fclose (file);
  if (side->own.length == 0)
    return;
  file = create (prefix, number, index, "core");
  fputc (0, file);
  fwrite (side->own.at, 1, side->own.length, file);
  fputc (ITEM_UP, file);
  fwrite (side->items.at, 1, side->items.length, file);
  fputc (ITEM_HANGUP, file);
  fclose (file);
}

/* --------------------------------------------------------------- relay */

static bool
pass_on (struct side *from, struct side *to)
{
  uint8_t *at = from->buffer + from->length;
  ssize_t got = recv (from->fd, at, BUFFER - from->length, 0);

  if (got <= 0)
    return false;
  if (!from->stream.full) {
    size_t room = INPUT_MAX - from->stream.length;

    put (&from->stream, at, (size_t) got < room ? (size_t) got : room);
    from->stream.full = (size_t) got >= room;
  }
  if (send (to->fd, at, (size_t) got, MSG_NOSIGNAL) != got)
    return false;
  from->length += (size_t) got;
  note_bytes (from, to);
  return from->length < BUFFER;
}

static void
relay (int near, int far, const char *prefix, unsigned number)
{
  static struct side sides[SIDES];
  struct pollfd polled[SIDES];
  bool live = true;
  int i;

  sides[NEAR].fd = near;
  sides[FAR].fd = far;
  for (i = 0; i < SIDES; i++) {
    polled[i] = (struct pollfd){ .fd = sides[i].fd, .events = POLLIN };
    sides[i].buffer = malloc (BUFFER);
    if (sides[i].buffer == NULL)
      die ("malloc");
  }
  while (live) {
    if (poll (polled, SIDES, -1) == -1 && errno != EINTR)
      die ("poll");
    for (i = 0; i < SIDES && live; i++)
      if (polled[i].revents != 0)
        live = pass_on (&sides[i], &sides[!i]);
  }
  for (i = 0; i < SIDES; i++)
    write_inputs (&sides[i], i, prefix, number);
}

static int
tcp (const char *port, bool listening)
{
  struct sockaddr_in address = {
    .sin_family = AF_INET,
    .sin_port = htons ((uint16_t) atoi (port)),
    .sin_addr.s_addr = htonl (INADDR_LOOPBACK),
  };
  const struct sockaddr *where = (struct sockaddr *) &address;
  int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

  if (fd == -1)
    die ("socket");
  setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (listening &&
      (bind (fd, where, sizeof address) == -1 || listen (fd, SOMAXCONN) == -1))
    die (port);
  if (listening || connect (fd, where, sizeof address) == 0)
    return fd;
  close (fd);
  return -1;
}

static void
on_term (int signal_number)
{
  (void) signal_number;
  stopped = 1;
}

static int
record_link (const char *port, const char *target, const char *prefix)
{
  struct sigaction action = { .sa_handler = on_term };
  int listener = tcp (port, true), near, far;
  unsigned number = 0;

  sigaction (SIGTERM, &action, NULL);
  while (!stopped) {
    near = accept (listener, NULL, NULL);
    if (near == -1)
      continue;
    far = tcp (target, false);
    number++;
    if (far != -1 && fork () == 0) {
      signal (SIGTERM, SIG_IGN);
      close (listener);
      relay (near, far, prefix, number);
      exit (0);
    }
    close (near);
    if (far != -1)
      close (far);
  }
  close (listener);
  while (wait (NULL) != -1 || errno == EINTR)
    ;
  return 0;
}

/* ---------------------------------------------------------------- meta */

static int
record_meta (const char *name)
{
  static uint8_t bytes[META_MAP_OFFSET + META_PAGE];
  static struct bytes out;
  FILE *file = fopen (name, "re");
  size_t length, at, end;

  if (file == NULL)
    die (name);
  length = fread (bytes, 1, sizeof bytes, file);
  fclose (file);
  put_number (&out, 0, 1);
  for (at = 0; at < length; at = end) {
    end = at + PIECE_MAX < length ? at + PIECE_MAX : length;
    size_t used = trimmed (bytes + at, end - at);

    if (used == 0)
      continue;
    put_number (&out, at / 4, 2);
    put_number (&out, used, 2);
    put (&out, bytes + at, used);
  }
  return fwrite (out.at, 1, out.length, stdout) == out.length ? 0 : 1;
}

int
main (int argc, char **argv)
{
  if (argc == 5 && strcmp (argv[1], "link") == 0)
    return record_link (argv[2], argv[3], argv[4]);
  if (argc == 3 && strcmp (argv[1], "meta") == 0)
    return record_meta (argv[2]);
  fprintf (stderr, "usage: tool-record link PORT TARGET PREFIX | meta FILE\n");
  return 2;
}
