/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-link.h: what the two test programs of the link share: a link with
 * callbacks that take notes, packets to send, and a raw socket that can
 * misbehave.  Loopback only, on ports that were free a moment ago.  Waits
 * for states with a deadline, never for time.
 */
#ifndef DUET_CHECK_LINK_H
#define DUET_CHECK_LINK_H

#include <check.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "link.h"

enum {
  PATIENCE_MS = 20000, /* a state that takes longer never comes */
  SOON_MS = 1000,      /* "at once", on a busy machine */
  GREETING_MS = 300,
};

/* One end: a link and what its callbacks have said. */
struct node {
  struct link *link;
  uint64_t id;
  char address[32];
  uint16_t port;
  atomic_uint up; /* id of the present connection, or 0 */
  atomic_int ups, downs, fails, refusals;
  const char *_Atomic why;
  const char *_Atomic refusal;
  atomic_bool closing;     /* said of this connection */
  atomic_bool peer_closed; /* and of the last one */
  atomic_uint_fast64_t frames;
  atomic_uint_fast64_t lasts; /* frames with LAST */
  atomic_bool gate;           /* the frame callback waits while it is set */
  atomic_int at_gate;
  atomic_bool inside;    /* the frame callback; never two at once */
  atomic_bool aside;     /* it lets others receive */
  atomic_int visited;    /* frames that came to a visitor */
  bool in_order;         /* payloads must carry 0, 1, 2, ... */
  uint64_t next;         /* receiver thread: expected payload */
  pthread_mutex_t queue; /* the engine's mutex, so to say */
  uint64_t queued;       /* queue */
  atomic_uint_fast64_t done;
};

struct packet {
  struct link_frame frame;
  struct node *node;
  atomic_bool done;
  uint8_t payload[];
};

static inline uint64_t
now_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static inline void
pause_us (long us)
{
  const struct timespec time = { .tv_nsec = us * 1000 };

  nanosleep (&time, NULL);
}

/* Wait until CONDITION, or fail. */
#define WAIT(condition)                                          \
  do {                                                           \
    uint64_t wait_end = now_ms () + PATIENCE_MS;                 \
    while (!(condition)) {                                       \
      ck_assert_msg (now_ms () < wait_end, "no %s", #condition); \
      pause_us (100);                                            \
    }                                                            \
  } while (0)

static inline uint16_t
bound_port (int fd)
{
  struct sockaddr_in address;
  socklen_t length = sizeof address;

  ck_assert_int_eq (getsockname (fd, (struct sockaddr *) &address, &length), 0);
  return ntohs (address.sin_port);
}

/* A listening socket on a port the kernel chose. */
static inline int
raw_listen (void)
{
  const struct sockaddr_in address = {
    .sin_family = AF_INET,
    .sin_addr.s_addr = htonl (INADDR_LOOPBACK),
  };
  int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  ck_assert_int_ne (fd, -1);
  ck_assert_int_eq (
    bind (fd, (const struct sockaddr *) &address, sizeof address), 0);
  ck_assert_int_eq (listen (fd, 16), 0);
  return fd;
}

static inline uint16_t
free_port (void)
{
  int fd = raw_listen ();
  uint16_t port = bound_port (fd);

  close (fd);
  return port;
}

static inline void
on_up (void *opaque, uint32_t link)
{
  struct node *node = opaque;

  ck_assert_uint_ne (link, 0);
  ck_assert_uint_eq (node->up, 0);
  node->next = 0;
  node->up = link;
  node->ups++;
}

static inline void
on_closing (void *opaque, uint32_t link)
{
  struct node *node = opaque;

  (void) link;
  node->closing = true;
}

static inline void
on_down (void *opaque, uint32_t link, const char *why, bool peer_closed)
{
  struct node *node = opaque;

  ck_assert_uint_eq (node->up, link);
  ck_assert_ptr_nonnull (why);
  node->why = why;
  node->peer_closed = peer_closed;
  node->up = 0;
  node->downs++;
}

static inline void
on_connect_failed (void *opaque)
{
  struct node *node = opaque;

  node->fails++;
}

/* This thread is in link_visit. */
static _Thread_local bool visiting;

static inline int
on_frame (void *opaque, uint32_t link, const struct wire_frame *frame,
          const uint8_t *payload, bool last)
{
  struct node *node = opaque;
  uint64_t number;

  ck_assert_uint_eq (node->up, link);
  ck_assert (!atomic_exchange (&node->inside, true));
  if (node->gate) {
    node->at_gate++;
    WAIT (!node->gate);
    node->at_gate--;
  }
  if (node->in_order && frame->type == WIRE_WRITE) {
    ck_assert_uint_ge (frame->payload_length, sizeof number);
    memcpy (&number, payload, sizeof number);
    ck_assert_uint_eq (number, node->next);
    ck_assert_uint_eq (frame->seq, node->next);
    node->next++;
  }
  /* as the engine does after each step */
  link_flush (node->link);
  if (visiting)
    node->visited++;
  if (last)
    node->lasts++;
  ck_assert (atomic_exchange (&node->inside, false));
  node->frames++;
  if (frame->type == WIRE_NACK)
    return -1;
  return node->aside ? LINK_ASIDE : 0;
}

static inline void
on_refused (void *opaque, const char *address, const char *why)
{
  struct node *node = opaque;

  ck_assert_str_eq (address, "127.0.0.1");
  atomic_store (&node->refusal, why);
  node->refusals++;
}

static const struct link_callbacks callbacks = {
  .up = on_up,
  .closing = on_closing,
  .down = on_down,
  .connect_failed = on_connect_failed,
  .refused = on_refused,
  .frame = on_frame,
};

/* With TLS, those nodes that are started from now on. */
static const struct tls_context *node_tls;

static inline void
node_start (struct node *node, uint64_t id, uint16_t port, uint16_t peer_port)
{
  char peer[32];
  char error[256] = "";
  const struct link_config config = {
    .listen = port != 0 ? node->address : NULL,
    .peer = peer_port != 0 ? peer : NULL,
    .tls = node_tls,
    .node = id,
    .boot = id * 1000 + 1,
    .greeting_ms = GREETING_MS,
  };

  memset (node, 0, sizeof *node);
  node->id = id;
  node->port = port;
  snprintf (node->address, sizeof node->address, "127.0.0.1:%d", port);
  snprintf (peer, sizeof peer, "127.0.0.1:%d", peer_port);
  pthread_mutex_init (&node->queue, NULL);
  node->link = link_new (&config, &callbacks, node, error, sizeof error);
  ck_assert_msg (node->link != NULL, "%s", error);
  ck_assert_int_eq (link_start (node->link), 0);
}

static inline void
node_stop (struct node *node)
{
  link_stop (node->link);
  ck_assert_uint_eq (node->up, 0);
  ck_assert_int_eq (node->ups, node->downs);
  link_free (node->link);
  ck_assert_uint_eq (node->queued, node->done);
  pthread_mutex_destroy (&node->queue);
}

static inline void
pair_start (struct node *a, struct node *b)
{
  uint16_t port_a = free_port ();
  uint16_t port_b = free_port ();

  node_start (a, 1, port_a, port_b);
  node_start (b, 2, port_b, port_a);
}

static inline void
pair_connect (struct node *a, struct node *b)
{
  link_connect (a->link, PATIENCE_MS);
  WAIT (a->up != 0 && b->up != 0);
}

static inline void
pair_stop (struct node *a, struct node *b)
{
  node_stop (a);
  node_stop (b);
}

static inline void
on_done (struct link_frame *frame)
{
  struct packet *packet = (struct packet *) frame;

  packet->node->done++;
  ck_assert (!atomic_exchange (&packet->done, true));
}

static inline void
on_done_free (struct link_frame *frame)
{
  on_done (frame);
  free (frame); /* nobody waits for it */
}

/* A frame with LENGTH bytes of payload: none: PING, else WRITE.  There is
 * room for a number in any case.
 */
static inline struct packet *
packet_new (struct node *node, uint32_t length,
            void (*done) (struct link_frame *))
{
  struct packet *packet = calloc (1,
                                  sizeof *packet + sizeof (uint64_t) + length);

  ck_assert_ptr_nonnull (packet);
  packet->node = node;
  packet->frame.done = done;
  packet->frame.link = node->up;
  packet->frame.frame.type = WIRE_PING;
  if (length > 0) {
    packet->frame.frame.type = WIRE_WRITE;
    packet->frame.frame.length = length;
    packet->frame.frame.payload_length = length;
    packet->frame.payload = packet->payload;
    memset (packet->payload, 0x5a, length);
  }
  return packet;
}

/* Queue, numbered in the order of queueing; a WRITE should have 8 bytes or
 * more, for the number.
 */
static inline void
node_queue (struct node *node, struct packet *packet)
{
  pthread_mutex_lock (&node->queue);
  uint64_t number = node->queued++;
  packet->frame.frame.seq = number;
  memcpy (packet->payload, &number, sizeof number);
  link_queue (node->link, &packet->frame);
  pthread_mutex_unlock (&node->queue);
}

static inline void
node_send (struct node *node, uint32_t length)
{
  node_queue (node, packet_new (node, length, on_done_free));
  link_flush (node->link);
}

/* --------------------------------------------------- a raw, rude peer */

static inline int
raw_dial (uint16_t port)
{
  const struct sockaddr_in address = {
    .sin_family = AF_INET,
    .sin_addr.s_addr = htonl (INADDR_LOOPBACK),
    .sin_port = htons (port),
  };
  int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  ck_assert_int_ne (fd, -1);
  ck_assert_int_eq (
    connect (fd, (const struct sockaddr *) &address, sizeof address), 0);
  return fd;
}

static inline void
raw_send (int fd, const void *bytes, size_t length)
{
  ck_assert_int_eq (send (fd, bytes, length, MSG_NOSIGNAL), (ssize_t) length);
}

static inline void
raw_frame (int fd, struct wire_frame frame, const void *payload)
{
  uint8_t header[WIRE_HEADER];

  frame.payload_crc = payload != NULL
    ? wire_crc32c (payload, frame.payload_length)
    : 0;
  wire_encode (&frame, header);
  raw_send (fd, header, sizeof header);
  if (payload != NULL)
    raw_send (fd, payload, frame.payload_length);
}

static inline void
raw_greet (int fd, uint64_t node, uint64_t boot, uint64_t dials,
           enum wire_answer answer)
{
  const struct wire_greeting greeting = {
    .node = node,
    .boot = boot,
    .dials = dials,
    .answer = answer,
  };
  const struct wire_frame frame = {
    .type = WIRE_GREETING_FRAME,
    .payload_length = WIRE_GREETING,
  };
  uint8_t payload[WIRE_GREETING];

  wire_encode_greeting (&greeting, payload);
  raw_frame (fd, frame, payload);
}

/* Has something come, or the end, within the usual patience? */
static inline bool
raw_wait (int fd)
{
  struct pollfd readable = { .fd = fd, .events = POLLIN };

  return poll (&readable, 1, PATIENCE_MS) == 1;
}

/* The peer's greeting; false when it closed instead. */
static inline bool
raw_greeting (int fd, struct wire_greeting *greeting)
{
  uint8_t bytes[WIRE_HEADER + WIRE_GREETING];
  struct wire_frame frame;

  ck_assert (raw_wait (fd));
  if (recv (fd, bytes, sizeof bytes, MSG_WAITALL) != sizeof bytes)
    return false;
  ck_assert_int_eq (wire_decode (bytes, &frame), WIRE_OK);
  ck_assert_int_eq (frame.type, WIRE_GREETING_FRAME);
  ck_assert_int_eq (wire_check_payload (&frame, bytes + WIRE_HEADER), WIRE_OK);
  ck_assert_int_eq (
    wire_decode_greeting (bytes + WIRE_HEADER, WIRE_GREETING, greeting),
    WIRE_OK);
  return true;
}

static inline bool
raw_closed (int fd)
{
  char byte;

  ck_assert (raw_wait (fd));
  return recv (fd, &byte, 1, 0) <= 0;
}

/* Dial NODE, greet, and become its connection. */
static inline int
raw_connect (struct node *node, uint64_t id, uint64_t boot, uint64_t dials)
{
  struct wire_greeting greeting;
  int fd = raw_dial (node->port);

  raw_greet (fd, id, boot, dials, WIRE_TAKEN);
  ck_assert (raw_greeting (fd, &greeting));
  ck_assert_uint_eq (greeting.answer, WIRE_TAKEN);
  ck_assert_uint_eq (greeting.node, node->id);
  return fd;
}

#endif /* DUET_CHECK_LINK_H */
