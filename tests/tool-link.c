/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool-link.c: a peer that does not keep to the link protocol.
 *
 *   tool-link forge PORT NODE ROUNDS SEED
 *       ROUNDS connections to PORT, each with a greeting in the name of
 *       NODE (hexadecimal; 0: another one each time) and then random
 *       bytes, half frames, huge lengths, or frames that are well formed
 *       and make no sense
 *   tool-link flood PORT COUNT
 *       COUNT connections at once that say nothing, held until SIGTERM
 *   tool-link version PORT
 *       listens on PORT and answers whoever dials in a newer version of
 *       the protocol, until SIGTERM
 *   tool-link deaf PORT COUNT
 *       greets a blank node and makes a volume with it, sends COUNT pings
 *       and reads no answer; succeeds when it is hung up on
 *
 * Talks to 127.0.0.1 only.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "splitmix.h"
#include "wire.h"

enum {
  PAYLOAD_MAX = 8192,
  FRAMES_MAX = 8,
  VERSION_AT = 4, /* in a header */
  PAYLOAD_LENGTH_AT = 8,
  HEADER_CRC_AT = 60,
};

static uint64_t random_state;

static uint64_t
random_64 (void)
{
  return splitmix_next (&random_state);
}

static uint64_t
random_below (uint64_t limit)
{
  return random_64 () % limit;
}

static void
fill_random (uint8_t *bytes, size_t length)
{
  size_t i;

  for (i = 0; i < length; i++)
    bytes[i] = (uint8_t) random_64 ();
}

static _Noreturn void
die (const char *what)
{
  fprintf (stderr, "tool-link: %s: %s\n", what, strerror (errno));
  exit (1);
}

static struct sockaddr_in
local (const char *port)
{
  struct sockaddr_in address = {
    .sin_family = AF_INET,
    .sin_port = htons ((uint16_t) atoi (port)),
    .sin_addr.s_addr = htonl (INADDR_LOOPBACK),
  };

  return address;
}

/* -1: nobody listens. */
static int
dial (const char *port)
{
  struct sockaddr_in address = local (port);
  int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  if (fd == -1)
    die ("socket");
  if (connect (fd, (struct sockaddr *) &address, sizeof address) == 0)
    return fd;
  close (fd);
  return -1;
}

/* The checksum again, after the header was changed. */
static void
sign (uint8_t *header)
{
  uint32_t crc = wire_crc32c (header, HEADER_CRC_AT);
  unsigned i;

  for (i = 0; i < 4; i++)
    header[HEADER_CRC_AT + i] = (uint8_t) (crc >> (8 * i));
}

/* False: the other side has hung up, which is its right. */
static bool
put (int fd, const void *bytes, size_t length)
{
  return send (fd, bytes, length, MSG_NOSIGNAL) == (ssize_t) length;
}

static bool
put_frame (int fd, struct wire_frame *frame, const uint8_t *payload)
{
  uint8_t header[WIRE_HEADER];

  if (frame->payload_length > 0)
    frame->payload_crc = wire_crc32c (payload, frame->payload_length);
  wire_encode (frame, header);
  return put (fd, header, sizeof header) &&
    put (fd, payload, frame->payload_length);
}

static bool
greet (int fd, uint64_t node, uint16_t version)
{
  struct wire_greeting greeting = {
    .node = node,
    .boot = random_64 () | 1,
    .dials = 1,
    .answer = WIRE_TAKEN,
  };
  struct wire_frame frame = {
    .type = WIRE_GREETING_FRAME,
    .payload_length = WIRE_GREETING,
  };
  uint8_t bytes[WIRE_HEADER + WIRE_GREETING];

  wire_encode_greeting (&greeting, bytes + WIRE_HEADER);
  frame.payload_crc = wire_crc32c (bytes + WIRE_HEADER, WIRE_GREETING);
  wire_encode (&frame, bytes);
  bytes[VERSION_AT] = (uint8_t) version;
  sign (bytes);
  return put (fd, bytes, sizeof bytes);
}

/* ---------------------------------------------------------------- forge */

/* A frame with a good checksum; everything else is chance. */
static bool
put_nonsense (int fd)
{
  static uint8_t payload[PAYLOAD_MAX];
  struct wire_frame frame = {
    .type = (uint8_t) random_below (WIRE_TYPE_COUNT),
    .flags = (uint8_t) random_below (4),
    .length = (uint32_t) random_below (PAYLOAD_MAX),
    .seq = random_below (4),
    .offset = random_below (3) == 0 ? random_64 () : random_below (1 << 26),
    .gen = { random_below (4), random_64 () },
    .arg = random_below (2) == 0 ? random_64 () : random_below (8),
  };

  fill_random (payload, sizeof payload);
  switch (random_below (4)) {
  case 0: frame.payload_length = (uint32_t) random_below (PAYLOAD_MAX); break;
  case 1: frame.payload_length = frame.length; break;
  case 2: frame.payload_length = WIRE_HELLO; break;
  default: break;
  }
  if (frame.type == WIRE_HELLO_FRAME)
    frame.payload_length = WIRE_HELLO;
  return put_frame (fd, &frame, payload);
}

/* A hello as a node might send it, of a copy with every right. */
static bool
put_hello (int fd, uint64_t node)
{
  struct wire_hello hello = {
    .record = {
      .volume = random_below (2) == 0 ? 0 : random_64 (),
      .node = node,
      .size = UINT64_C (64) << 20,
      .region_size = 4 << 20,
      .data = (uint32_t) random_below (DATA_STATE_COUNT),
      .both = random_below (2) == 0,
      .has_data = random_below (2) == 0,
    },
    .boot = random_64 (),
  };
  struct wire_frame frame = {
    .type = WIRE_HELLO_FRAME,
    .payload_length = WIRE_HELLO,
  };
  uint8_t payload[WIRE_HELLO];

  if (hello.record.data == DATA_BLANK)
    hello.record.volume = 0;
  wire_encode_hello (&hello, payload);
  return put_frame (fd, &frame, payload);
}

static void
put_huge (int fd)
{
  struct wire_frame frame = { .type = WIRE_WRITE, .length = 4096, .seq = 1 };
  uint8_t header[WIRE_HEADER];

  wire_encode (&frame, header);
  memset (header + PAYLOAD_LENGTH_AT, 0xff, 4);
  sign (header);
  put (fd, header, sizeof header);
}

static void
forge_one (int fd, uint64_t node)
{
  uint8_t bytes[256];
  unsigned i, frames = (unsigned) random_below (FRAMES_MAX);

  if (random_below (4) != 0 && !greet (fd, node, WIRE_VERSION))
    return;
  if (random_below (2) == 0 && !put_hello (fd, node))
    return;
  switch (random_below (5)) {
  case 0:
    fill_random (bytes, sizeof bytes);
    put (fd, bytes, sizeof bytes);
    break;
  case 1: put_huge (fd); break;
  case 2: /* half a frame */ put (fd, "DUET\1\0\3\0", 8); break;
  default:
    for (i = 0; i < frames; i++)
      if (!put_nonsense (fd))
        return;
    break;
  }
}

static int
forge (const char *port, uint64_t node, unsigned rounds)
{
  struct timeval patience = { .tv_usec = 20000 };
  uint8_t answer[4096];
  unsigned i, reached = 0;

  for (i = 0; i < rounds; i++) {
    int fd = dial (port);

    if (fd == -1)
      continue;
    reached++;
    forge_one (fd, node != 0 ? node : random_64 () | 1);
    setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    while (recv (fd, answer, sizeof answer, 0) > 0)
      ;
    close (fd);
  }
  printf ("%u of %u connections\n", reached, rounds);
  return reached == rounds ? 0 : 1;
}

/* ----------------------------------------------------------------- deaf */

static int
be_deaf (const char *port, unsigned long count)
{
  struct wire_hello hello = {
    .record = { .node = 1,
                .size = UINT64_C (64) << 20,
                .region_size = 4 << 20,
                .data = DATA_BLANK },
    .boot = 1,
  };
  struct wire_frame frame = {
    .type = WIRE_HELLO_FRAME,
    .payload_length = WIRE_HELLO,
  };
  uint8_t payload[WIRE_HELLO];
  unsigned long i;
  int fd = dial (port);

  if (fd == -1)
    die ("connect");
  wire_encode_hello (&hello, payload);
  if (!greet (fd, 1, WIRE_VERSION) || !put_frame (fd, &frame, payload))
    die ("greeting");
  frame = (struct wire_frame){ .type = WIRE_PING };
  for (i = 0; i < count; i++)
    if (!put_frame (fd, &frame, NULL)) {
      printf ("hung up after %lu\n", i);
      return 0;
    }
  printf ("never hung up\n");
  return 1;
}

/* ------------------------------------------------------ flood, version */

static int
flood (const char *port, unsigned count)
{
  struct rlimit limit = { count + 64, count + 64 };
  unsigned i;

  setrlimit (RLIMIT_NOFILE, &limit);
  for (i = 0; i < count; i++)
    if (dial (port) == -1)
      die ("connect");
  printf ("flooded\n");
  fflush (stdout);
  for (;;)
    pause ();
}

static int
answer_newer (const char *port)
{
  struct sockaddr_in address = local (port);
  int server = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int one = 1;

  setsockopt (server, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind (server, (struct sockaddr *) &address, sizeof address) == -1 ||
      listen (server, 16) == -1)
    die ("listen");
  printf ("listening\n");
  fflush (stdout);
  for (;;) {
    uint8_t ask[WIRE_HEADER + WIRE_GREETING];
    int fd = accept (server, NULL, NULL);

    if (fd == -1)
      die ("accept");
    if (recv (fd, ask, sizeof ask, MSG_WAITALL) > 0)
      greet (fd, 77, WIRE_VERSION + 1);
    close (fd);
  }
}

int
main (int argc, char **argv)
{
  const char *what = argc > 2 ? argv[1] : "";

  random_state = (uint64_t) getpid ();
  if (strcmp (what, "forge") == 0 && argc == 6) {
    random_state = strtoull (argv[5], NULL, 10);
    return forge (argv[2], strtoull (argv[3], NULL, 16),
                  (unsigned) atoi (argv[4]));
  }
  if (strcmp (what, "flood") == 0 && argc == 4)
    return flood (argv[2], (unsigned) atoi (argv[3]));
  if (strcmp (what, "deaf") == 0 && argc == 4)
    return be_deaf (argv[2], strtoul (argv[3], NULL, 10));
  if (strcmp (what, "version") == 0 && argc == 3)
    return answer_newer (argv[2]);
  fprintf (stderr,
           "usage: tool-link forge PORT NODE ROUNDS SEED | "
           "flood PORT COUNT | version PORT | deaf PORT COUNT\n");
  return 2;
}
