/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * connector.c: one thread with poll over the listening sockets, incoming
 * connections that have not greeted yet, and one outgoing attempt.  It
 * must never block: a SYN into nowhere, a stranger who says nothing and a
 * peer that is stopped all just run into their deadlines.
 *
 * A dialler greets as soon as it is connected.  The acceptor reads that,
 * decides, and answers with its own greeting (or by closing); that answer
 * makes the connection.  So each connection is decided at one place, by
 * its acceptor, and nobody but a dialler's deadline interferes.
 *
 * Crossing.  H and L (the higher and the lower id) dial each other at the
 * same time; h and l are their connections.  The acceptor's rule is: when
 * my own attempt is past connect(), that is, my greeting is on its way,
 * and my id is the higher one, answer CROSSING; else take it and give up
 * my own attempt.  Then exactly one survives:
 *   - If h is past connect() when H reads l's greeting, l is refused.  L
 *     takes h whatever it is doing itself, since L's id is not higher; on
 *     CROSSING, or if it has not heard yet, it keeps waiting for h.
 *   - Else H takes l and closes h before it has greeted, so that L cannot
 *     take h.
 * No round ends without a connection unless a deadline or a fault ends
 * it, so there is nothing to repeat for ever.
 *
 * Late greetings.  A valid greeting on a new connection means that the
 * peer has given up the present one, provided that it dialled after the
 * two agreed on the present one; a greeting may also come late, from an
 * attempt which the peer gave up in favour of the present connection.
 * Time cannot tell these apart, the greeting's count of dials can: both
 * greetings of a connection carry it, so each side knows how often the
 * other had dialled when they agreed, and refuses what is not newer.
 * After a restart (another boot) everything is newer; a connection whose
 * other end has been closed already is not taken at all.  While there is
 * a connection, no other node than its peer can replace it.
 *
 * No TCP keepalive or TCP_USER_TIMEOUT here: the core's heartbeat is
 * faster than either, and it knows why it gives up.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "connector.h"
#include "hail.h"
#include "link.h"
#include "listener.h"
#include "thread.h"

enum {
  LISTENERS_MAX = 8,
  INCOMING_MAX = 8,       /* not greeted yet; the oldest goes */
  ACCEPTS_MAX = 16,       /* in one round per listener */
  ACCEPT_PAUSE_MS = 100,  /* when descriptors or memory are short */
  LOOKUP_PAUSE_MS = 2000, /* between questions for the peer's name */
};

#define NS_PER_MS UINT64_C (1000000)
#define NEVER     UINT64_MAX

enum dial_state {
  DIAL_IDLE,
  DIAL_CONNECTING, /* connect() is under way */
  DIAL_GREETING,   /* greeted, the answer is awaited */
  DIAL_CROSSING,   /* the peer's own attempt is awaited */
};

struct connector {
  /* unchanging after connector_new */
  uint64_t node, boot;
  uint32_t greeting_ms;
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

static uint64_t
now_ns (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000 * NS_PER_MS + (uint64_t) now.tv_nsec;
}

static uint64_t
least (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

/* Our greeting on a connection that is new. */
static bool
greet (const struct connector *connector, int fd, enum wire_answer answer)
{
  const struct wire_greeting greeting = {
    .node = connector->node,
    .boot = connector->boot,
    .dials = connector->dials,
    .answer = answer,
  };

  return hail_send (fd, &greeting);
}

/* The two sides agree on this connection: what asked for one has it. */
static void
take (struct connector *connector, struct hail *hail,
      const struct wire_greeting *greeting)
{
  struct sockaddr_storage storage;
  socklen_t length = sizeof storage;
  char address[ADDRESS_TEXT] = "unknown";
  int fd = hail->fd;

  hail->fd = -1;
  hail_close (hail);
  hail_close (&connector->outgoing);
  connector->state = DIAL_IDLE;
  connector->last = *greeting;

  /* Before the callback: a dial after the end of this connection must
   * not be taken for one from before its beginning.
   */
  pthread_mutex_lock (&connector->mutex);
  connector->wanted = false;
  pthread_mutex_unlock (&connector->mutex);

  if (getpeername (fd, (struct sockaddr *) &storage, &length) == 0)
    address_format ((struct sockaddr *) &storage, length, address);
  connector->callbacks.taken (connector->opaque, fd, address);
}

static const char *
own_id (void)
{
  return "it has this node's own id: does peer= lead back here, or was "
         "the metadata (.duet) copied from one node to the other?";
}

/* This connection is not taken, and the user should know WHY. */
static void
report (struct connector *connector, const struct hail *hail, const char *why)
{
  struct sockaddr_storage storage;
  socklen_t length = sizeof storage;
  char host[NI_MAXHOST] = "unknown";

  if (getpeername (hail->fd, (struct sockaddr *) &storage, &length) == 0)
    getnameinfo ((struct sockaddr *) &storage, length, host, sizeof host, NULL,
                 0, NI_NUMERICHOST);
  connector->callbacks.refused (connector->opaque, host, why);
}

/* ------------------------------------------------------------ dialling */

static void
dial_failed (struct connector *connector)
{
  hail_close (&connector->outgoing);
  connector->state = DIAL_IDLE;
  connector->callbacks.failed (connector->opaque);
}

static void
set_nodelay (int fd)
{
  int one = 1;

  setsockopt (fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

/* Begin with the present address.  -1: it is of no use. */
static int
dial_address (struct connector *connector)
{
  const struct addrinfo *address = connector->address;
  struct hail *outgoing = &connector->outgoing;
  uint64_t left = 0;

  for (const struct addrinfo *a = address; a != NULL; a = a->ai_next)
    left++;
  outgoing->since_ns = now_ns ();
  if (outgoing->since_ns >= connector->deadline_ns)
    return -1;
  /* what is left of the time, shared by the addresses that are left */
  outgoing->deadline_ns = outgoing->since_ns +
    (connector->deadline_ns - outgoing->since_ns) / left;
  outgoing->fd = socket (address->ai_family,
                         SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (outgoing->fd == -1)
    return -1;
  connector->dials++;
  set_nodelay (outgoing->fd);
  if (connect (outgoing->fd, address->ai_addr, address->ai_addrlen) == 0 ||
      errno == EINPROGRESS)
    return 0;
  hail_close (outgoing);
  return -1;
}

/* Try the present address, or the next ones. */
static void
dial_some (struct connector *connector)
{
  connector->state = DIAL_CONNECTING;
  while (connector->address != NULL) {
    if (dial_address (connector) == 0)
      return;
    connector->address = connector->address->ai_next;
  }
  dial_failed (connector);
}

static void
dial_next (struct connector *connector)
{
  hail_close (&connector->outgoing);
  connector->address = connector->address->ai_next;
  dial_some (connector);
}

/* connect() has ended: greet. */
static void
on_connected (struct connector *connector)
{
  int fd = connector->outgoing.fd;
  int error = 0;
  socklen_t length = sizeof error;

  getsockopt (fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0 || !greet (connector, fd, WIRE_TAKEN))
    dial_next (connector);
  else
    connector->state = DIAL_GREETING;
}

/* The acceptor's answer has come. */
static void
on_answer (struct connector *connector, const struct wire_greeting *greeting)
{
  struct hail *outgoing = &connector->outgoing;

  if (greeting->node == connector->node) {
    /* Myself, by a wrong peer=, a copy of me, or a socket connected to
     * itself.
     */
    report (connector, outgoing, own_id ());
    dial_next (connector);
  }
  else if (greeting->answer == WIRE_REFUSED) {
    report (connector, outgoing,
            "it is linked to another node: is it the peer= of two?");
    dial_next (connector);
  }
  else if (greeting->answer == WIRE_CROSSING) {
    hail_close (outgoing);
    connector->state = DIAL_CROSSING;
  }
  else
    take (connector, outgoing, greeting);
}

static void
on_outgoing (struct connector *connector)
{
  struct wire_greeting greeting;

  if (connector->state == DIAL_CONNECTING) {
    on_connected (connector);
    return;
  }
  switch (hail_receive (&connector->outgoing, &greeting)) {
  case HAIL_PART: break;
  case HAIL_WHOLE: on_answer (connector, &greeting); break;
  case HAIL_VERSION:
    report (connector, &connector->outgoing,
            wire_reason_text (WIRE_BAD_VERSION));
    dial_next (connector);
    break;
  case HAIL_BAD: dial_next (connector); break;
  }
}

/* Before a new attempt: the peer's name may stand for other addresses now.
 */
static void
refresh_peer (struct connector *connector)
{
  struct addrinfo *found = address_lookup_take (connector->lookup);
  uint64_t now = now_ns ();

  if (found != NULL) {
    freeaddrinfo (connector->peer);
    connector->peer = found;
  }
  if (now >= connector->lookup_ns) {
    address_lookup_begin (connector->lookup);
    connector->lookup_ns = now + LOOKUP_PAUSE_MS * NS_PER_MS;
  }
}

/* connector_dial was called.  An attempt that still connects begins anew,
 * so that the answer is as fresh as the question; one that has come
 * further is joined and must be done by the earlier of both deadlines.
 */
static void
on_wanted (struct connector *connector, uint64_t deadline_ns)
{
  if (connector->callbacks.connected (connector->opaque))
    return;
  switch (connector->state) {
  case DIAL_GREETING:
  case DIAL_CROSSING:
    connector->deadline_ns = least (connector->deadline_ns, deadline_ns);
    connector->outgoing.deadline_ns = least (connector->outgoing.deadline_ns,
                                             deadline_ns);
    break;
  case DIAL_IDLE:
  case DIAL_CONNECTING:
    hail_close (&connector->outgoing);
    connector->deadline_ns = deadline_ns;
    if (connector->peer != NULL)
      refresh_peer (connector);
    connector->address = connector->peer;
    dial_some (connector);
    break;
  }
}

/* ----------------------------------------------------------- accepting */

/* Does it come from an attempt older than what we agreed on last? */
static bool
is_late (const struct connector *connector,
         const struct wire_greeting *greeting)
{
  return greeting->boot == connector->last.boot &&
    greeting->dials <= connector->last.dials;
}

static bool
is_welcome (const struct connector *connector, const struct hail *hail,
            const struct wire_greeting *greeting)
{
  return greeting->answer == WIRE_TAKEN && !is_late (connector, greeting) &&
    !hail_is_closed (hail);
}

/* NULL, or why a node with this greeting is not the one to be linked to. */
static const char *
is_stranger (const struct connector *connector,
             const struct wire_greeting *greeting)
{
  if (greeting->node == connector->node)
    return own_id ();
  /* A third node, set up wrongly, must not cut us off from our peer. */
  if (greeting->node != connector->last.node &&
      connector->callbacks.connected (connector->opaque))
    return "it is another node than the one this node is linked to";
  return NULL;
}

static void
on_greeting (struct connector *connector, struct hail *hail,
             const struct wire_greeting *greeting)
{
  bool crossing = connector->state == DIAL_GREETING &&
    connector->node > greeting->node;
  const char *why = is_stranger (connector, greeting);

  if (why != NULL && greeting->answer == WIRE_TAKEN) {
    greet (connector, hail->fd, WIRE_REFUSED);
    report (connector, hail, why);
    hail_close (hail);
  }
  else if (why != NULL || !is_welcome (connector, hail, greeting))
    hail_close (hail);
  else if (crossing) {
    greet (connector, hail->fd, WIRE_CROSSING);
    hail_close (hail);
  }
  else if (greet (connector, hail->fd, WIRE_TAKEN))
    take (connector, hail, greeting);
  else
    hail_close (hail);
}

static void
on_incoming (struct connector *connector, struct hail *hail)
{
  struct wire_greeting greeting;

  switch (hail_receive (hail, &greeting)) {
  case HAIL_PART: break;
  case HAIL_WHOLE: on_greeting (connector, hail, &greeting); break;
  case HAIL_VERSION:
    report (connector, hail, wire_reason_text (WIRE_BAD_VERSION));
    hail_close (hail);
    break;
  case HAIL_BAD: hail_close (hail); break;
  }
}

/* An unused place, or that of the oldest: a peer greets at once, so who
 * has been silent longest is the least likely to be it.
 */
static struct hail *
free_place (struct connector *connector)
{
  struct hail *place = &connector->incoming[0];

  for (size_t i = 0; i < INCOMING_MAX; i++) {
    struct hail *hail = &connector->incoming[i];

    if (hail->fd == -1)
      return hail;
    if (hail->since_ns < place->since_ns)
      place = hail;
  }
  hail_close (place);
  return place;
}

static void
on_listener (struct connector *connector, int listener)
{
  for (int i = 0; i < ACCEPTS_MAX; i++) {
    int fd = accept4 (listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd == -1) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
          errno == ENOMEM)
        connector->accept_ns = now_ns () + ACCEPT_PAUSE_MS * NS_PER_MS;
      return;
    }

    struct hail *place = free_place (connector);

    set_nodelay (fd);
    place->fd = fd;
    place->since_ns = now_ns ();
    place->deadline_ns = place->since_ns + connector->greeting_ms * NS_PER_MS;
    on_incoming (connector, place);
  }
}

/* ---------------------------------------------------------- the thread */

static void
on_time (struct connector *connector, uint64_t now)
{
  for (size_t i = 0; i < INCOMING_MAX; i++)
    if (connector->incoming[i].fd != -1 &&
        connector->incoming[i].deadline_ns <= now)
      hail_close (&connector->incoming[i]);

  if (connector->state == DIAL_IDLE)
    return;
  if (connector->deadline_ns <= now)
    dial_failed (connector);
  else if (connector->state != DIAL_CROSSING &&
           connector->outgoing.deadline_ns <= now)
    dial_next (connector);
}

static uint64_t
next_deadline (const struct connector *connector)
{
  uint64_t next = NEVER;

  for (size_t i = 0; i < INCOMING_MAX; i++)
    if (connector->incoming[i].fd != -1)
      next = least (next, connector->incoming[i].deadline_ns);
  if (connector->state != DIAL_IDLE)
    next = least (next, connector->deadline_ns);
  if (connector->outgoing.fd != -1)
    next = least (next, connector->outgoing.deadline_ns);
  if (connector->accept_ns != 0)
    next = least (next, connector->accept_ns);
  return next;
}

/* What poll watches, in fixed places; unused ones have fd -1. */
enum {
  POLL_WAKE,
  POLL_OUTGOING,
  POLL_INCOMING,
  POLL_LISTENERS = POLL_INCOMING + INCOMING_MAX,
  POLL_MAX = POLL_LISTENERS + LISTENERS_MAX,
};

static void
fill_polls (const struct connector *connector, bool accepting,
            struct pollfd polls[POLL_MAX])
{
  for (size_t i = 0; i < POLL_MAX; i++)
    polls[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
  polls[POLL_WAKE].fd = connector->wake;
  polls[POLL_OUTGOING].fd = connector->outgoing.fd;
  if (connector->state == DIAL_CONNECTING)
    polls[POLL_OUTGOING].events = POLLOUT;
  for (size_t i = 0; i < INCOMING_MAX; i++)
    polls[POLL_INCOMING + i].fd = connector->incoming[i].fd;
  for (size_t i = 0; accepting && i < connector->listeners_count; i++)
    polls[POLL_LISTENERS + i].fd = connector->listeners[i];
}

/* Wait and see to all that has happened.  The outgoing attempt comes
 * first, the listeners last: a greeting that is there is read before its
 * place is given to a newcomer.
 */
static void
serve (struct connector *connector)
{
  struct pollfd polls[POLL_MAX];
  uint64_t now = now_ns ();
  uint64_t next;
  int wait_ms = -1;

  if (connector->accept_ns <= now)
    connector->accept_ns = 0;
  fill_polls (connector, connector->accept_ns == 0, polls);
  next = next_deadline (connector);
  if (next != NEVER)
    wait_ms = next <= now ? 0
                          : (int) ((next - now + NS_PER_MS - 1) / NS_PER_MS);
  if (poll (polls, POLL_MAX, wait_ms) == -1)
    return;

  if (polls[POLL_WAKE].revents != 0) {
    uint64_t wakes;

    if (read (connector->wake, &wakes, sizeof wakes) == -1)
      assert (errno == EAGAIN);
  }
  if (polls[POLL_OUTGOING].revents != 0)
    on_outgoing (connector);
  for (size_t i = 0; i < INCOMING_MAX; i++)
    if (polls[POLL_INCOMING + i].revents != 0)
      on_incoming (connector, &connector->incoming[i]);
  for (size_t i = 0; i < connector->listeners_count; i++)
    if (polls[POLL_LISTENERS + i].revents != 0)
      on_listener (connector, connector->listeners[i]);
  on_time (connector, now_ns ());
}

static void *
connector_main (void *argument)
{
  struct connector *connector = argument;

  for (;;) {
    pthread_mutex_lock (&connector->mutex);
    bool stopping = connector->stopping;
    bool wanted = connector->wanted;
    uint64_t wanted_ns = connector->wanted_ns;
    connector->wanted = false;
    pthread_mutex_unlock (&connector->mutex);

    if (stopping)
      return NULL;
    if (wanted)
      on_wanted (connector, wanted_ns);
    serve (connector);
  }
}

static void
wake_up (struct connector *connector)
{
  uint64_t one = 1;

  if (write (connector->wake, &one, sizeof one) == -1)
    assert (errno == EAGAIN); /* it is awake */
}

void
connector_dial (struct connector *connector, uint32_t timeout_ms)
{
  pthread_mutex_lock (&connector->mutex);
  connector->wanted = true;
  connector->wanted_ns = now_ns () + timeout_ms * NS_PER_MS;
  pthread_mutex_unlock (&connector->mutex);
  wake_up (connector);
}

/* ----------------------------------------------------------- life cycle */

struct connector *
connector_new (const struct link_config *config,
               const struct connector_callbacks *callbacks, void *opaque,
               char *error, size_t error_size)
{
  struct connector *connector = calloc (1, sizeof *connector);
  int count;

  if (connector == NULL) {
    snprintf (error, error_size, "out of memory");
    return NULL;
  }
  connector->node = config->node;
  connector->boot = config->boot;
  connector->greeting_ms = config->greeting_ms;
  connector->callbacks = *callbacks;
  connector->opaque = opaque;
  connector->outgoing.fd = -1;
  for (size_t i = 0; i < INCOMING_MAX; i++)
    connector->incoming[i].fd = -1;
  pthread_mutex_init (&connector->mutex, NULL);

  connector->wake = eventfd (0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (connector->wake == -1) {
    snprintf (error, error_size, "eventfd: %s", strerrordesc_np (errno));
    goto failed;
  }
  if (config->listen != NULL) {
    count = listener_open_all (config->listen, connector->listeners,
                               LISTENERS_MAX, error, error_size);
    if (count == -1)
      goto failed;
    connector->listeners_count = (nfds_t) count;
  }
  if (config->peer != NULL) {
    connector->peer = address_resolve (config->peer, 0, error, error_size);
    if (connector->peer == NULL)
      goto failed;
    connector->lookup = address_lookup_new (config->peer);
    if (connector->lookup == NULL) {
      snprintf (error, error_size, "out of memory");
      goto failed;
    }
  }
  return connector;

failed:
  connector_free (connector);
  return NULL;
}

void
connector_free (struct connector *connector)
{
  if (connector == NULL)
    return;
  assert (!connector->started);
  hail_close (&connector->outgoing);
  for (size_t i = 0; i < INCOMING_MAX; i++)
    hail_close (&connector->incoming[i]);
  for (size_t i = 0; i < connector->listeners_count; i++)
    close (connector->listeners[i]);
  if (connector->peer != NULL)
    freeaddrinfo (connector->peer);
  address_lookup_free (connector->lookup);
  if (connector->wake != -1)
    close (connector->wake);
  pthread_mutex_destroy (&connector->mutex);
  free (connector);
}

int
connector_start (struct connector *connector)
{
  int error = thread_start (&connector->thread, "duet-connect", connector_main,
                            connector);

  connector->started = error == 0;
  return error;
}

void
connector_stop (struct connector *connector)
{
  if (!connector->started)
    return;
  pthread_mutex_lock (&connector->mutex);
  connector->stopping = true;
  pthread_mutex_unlock (&connector->mutex);
  wake_up (connector);
  pthread_join (connector->thread, NULL);
  connector->started = false;

  /* From now on a dialling peer is refused at once. */
  for (size_t i = 0; i < connector->listeners_count; i++)
    close (connector->listeners[i]);
  connector->listeners_count = 0;
}
