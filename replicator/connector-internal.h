/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * connector-internal.h: shared by connector.c, which decides what comes of
 * a connection, and connector-thread.c, which waits for them.
 */
#ifndef DUET_CONNECTOR_INTERNAL_H
#define DUET_CONNECTOR_INTERNAL_H

#include <poll.h>
#include <pthread.h>
#include <time.h>

#include "connector.h"
#include "hail.h"

enum {
  LISTENERS_MAX = 8,
  INCOMING_MAX = 8, /* not greeted yet; see free_place */
};

#define NS_PER_MS UINT64_C (1000000)
#define NEVER     UINT64_MAX

enum dial_state {
  DIAL_IDLE,
  DIAL_CONNECTING, /* connect() is under way */
  DIAL_SECURING,   /* connected; the TLS handshake, if there is one */
  DIAL_GREETING,   /* greeted, the answer is awaited */
  DIAL_CROSSING,   /* the peer's own attempt is awaited */
};

struct connector {
  /* unchanging after connector_new */
  uint64_t node, boot;
  uint32_t greeting_ms;
  const struct tls_context *tls; /* NULL: none */
  bool insecure;
  struct connector_callbacks callbacks;
  void *opaque;
  int listeners[LISTENERS_MAX];
  nfds_t listeners_count;
  int wake; /* eventfd */

  pthread_mutex_t mutex;
  bool wanted;        /* mutex: dial was called */
  uint64_t wanted_ns; /* mutex: its deadline */
  bool stopping;      /* mutex */
  bool started;       /* set by start and stop */
  pthread_t thread;

  /* the thread's own */
  struct hail incoming[INCOMING_MAX];
  uint64_t accept_ns;    /* no accept before */
  struct addrinfo *peer; /* NULL: no peer= */
  struct address_lookup *lookup;
  uint64_t lookup_ns; /* no question before */
  enum dial_state state;
  struct hail outgoing;           /* deadline: of this address */
  const struct addrinfo *address; /* being tried */
  uint64_t deadline_ns;           /* of the attempt */
  uint64_t dials;                 /* connections dialled */
  struct wire_greeting last;      /* peer's, of what was taken last */
};

static inline uint64_t
connector_now_ns (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000 * NS_PER_MS + (uint64_t) now.tv_nsec;
}

static inline uint64_t
least (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

/* All from the connector's thread.  connector_dial was called. */
void connector_on_wanted (struct connector *connector, uint64_t deadline_ns);
/* The outgoing attempt's socket has news, an incoming one's, a listening
 * one's.
 */
void connector_on_outgoing (struct connector *connector);
void connector_on_incoming (struct connector *connector, struct hail *hail);
void connector_on_listener (struct connector *connector, int listener);
void connector_on_time (struct connector *connector, uint64_t now);

#endif /* DUET_CONNECTOR_INTERNAL_H */
