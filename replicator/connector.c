/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * connector.c: what comes of a connection.  Called by connector-thread.c,
 * and like it, it never blocks.
 *
 * With TLS the handshake comes first; whoever fails it has not greeted and
 * is nobody.  A dialler greets as soon as it is connected, and its
 * connection secured.  The acceptor reads that,
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
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "connector-internal.h"
#include "link.h"

enum {
  ACCEPTS_MAX = 16,       /* in one round per listener */
  ACCEPT_PAUSE_MS = 100,  /* when descriptors or memory are short */
  LOOKUP_PAUSE_MS = 2000, /* between questions for the peer's name */
};

/* Our greeting on a connection that is new. */
static bool
greet (const struct connector *connector, struct hail *hail,
       enum wire_answer answer)
{
  const struct wire_greeting greeting = {
    .node = connector->node,
    .boot = connector->boot,
    .dials = connector->dials,
    .answer = answer,
  };

  return hail_send (hail, &greeting);
}

/* The two sides agree on this connection: what asked for one has it. */
static void
take (struct connector *connector, struct hail *hail,
      const struct wire_greeting *greeting)
{
  char address[ADDRESS_TEXT];
  struct channel channel = hail->channel;
  struct sockaddr_storage other = hail->other;
  socklen_t other_length = hail->other_length;

  hail->channel = CHANNEL_NONE;
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

  address_format ((struct sockaddr *) &other, other_length, address);
  connector->callbacks.taken (connector->opaque, channel, address);
}

static const char *
own_id (void)
{
  return "it has this node's own id: does peer= lead back here, or was "
         "the metadata (.duet) copied from one node to the other?";
}

/* This connection is not taken, and the user should know WHY (NULL: need
 * not know).
 */
static void
report (struct connector *connector, const struct hail *hail, const char *why)
{
  char host[NI_MAXHOST] = "unknown";

  if (why == NULL)
    return;
  getnameinfo ((const struct sockaddr *) &hail->other, hail->other_length, host,
               sizeof host, NULL, 0, NI_NUMERICHOST);
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
  int fd;

  for (const struct addrinfo *a = address; a != NULL; a = a->ai_next)
    left++;
  outgoing->since_ns = connector_now_ns ();
  if (outgoing->since_ns >= connector->deadline_ns)
    return -1;
  /* what is left of the time, shared by the addresses that are left */
  outgoing->deadline_ns = outgoing->since_ns +
    (connector->deadline_ns - outgoing->since_ns) / left;
  fd = socket (address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
               0);
  if (fd == -1 || !hail_open (outgoing, fd, connector->tls, true))
    return -1;
  connector->dials++;
  memcpy (&outgoing->other, address->ai_addr, address->ai_addrlen);
  outgoing->other_length = address->ai_addrlen;
  set_nodelay (fd);
  if (connect (fd, address->ai_addr, address->ai_addrlen) == 0 ||
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

/* This address is of no use, and WHY (NULL: the user need not know). */
static void
dial_refused (struct connector *connector, const char *why)
{
  report (connector, &connector->outgoing, why);
  dial_next (connector);
}

/* Connected: secure the connection, then greet. */
static void
secure_outgoing (struct connector *connector)
{
  const char *why;

  switch (hail_secure (&connector->outgoing, &why)) {
  case HAIL_PART: break;
  case HAIL_BAD: dial_refused (connector, why); break;
  case HAIL_WHOLE:
    if (greet (connector, &connector->outgoing, WIRE_TAKEN))
      connector->state = DIAL_GREETING;
    else
      dial_next (connector);
    break;
  }
}

/* connect() has ended. */
static void
on_connected (struct connector *connector)
{
  int error = 0;
  socklen_t length = sizeof error;

  getsockopt (connector->outgoing.channel.fd, SOL_SOCKET, SO_ERROR, &error,
              &length);
  if (error != 0) {
    dial_next (connector);
    return;
  }
  connector->state = DIAL_SECURING;
  secure_outgoing (connector);
}

/* The acceptor's answer has come. */
static void
on_answer (struct connector *connector, const struct wire_greeting *greeting)
{
  struct hail *outgoing = &connector->outgoing;

  if (greeting->node == connector->node)
    /* Myself, by a wrong peer=, a copy of me, or a socket connected to
     * itself.
     */
    dial_refused (connector, own_id ());
  else if (greeting->answer == WIRE_REFUSED)
    dial_refused (connector,
                  "it is linked to another node: is it the peer= of two?");
  else if (greeting->answer == WIRE_CROSSING) {
    hail_close (outgoing);
    connector->state = DIAL_CROSSING;
  }
  else
    take (connector, outgoing, greeting);
}

void
connector_on_outgoing (struct connector *connector)
{
  struct wire_greeting greeting;
  const char *why;

  if (connector->state == DIAL_CONNECTING) {
    on_connected (connector);
    return;
  }
  if (connector->state == DIAL_SECURING) {
    secure_outgoing (connector);
    return;
  }
  switch (hail_receive (&connector->outgoing, &greeting, &why)) {
  case HAIL_PART: break;
  case HAIL_WHOLE: on_answer (connector, &greeting); break;
  case HAIL_BAD: dial_refused (connector, why); break;
  }
}

/* Before a new attempt: the peer's name may stand for other addresses now.
 */
static void
refresh_peer (struct connector *connector)
{
  struct addrinfo *found = address_lookup_take (connector->lookup);
  uint64_t now = connector_now_ns ();

  if (found != NULL && connector->tls == NULL && !connector->insecure &&
      !address_is_loopback (found)) {
    connector->callbacks.refused (
      connector->opaque, "peer=",
      "the name leads out of this machine now, and the link has no TLS");
    freeaddrinfo (found);
  }
  else if (found != NULL) {
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
void
connector_on_wanted (struct connector *connector, uint64_t deadline_ns)
{
  if (connector->callbacks.connected (connector->opaque))
    return;
  switch (connector->state) {
  case DIAL_SECURING:
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
    greet (connector, hail, WIRE_REFUSED);
    report (connector, hail, why);
    hail_close (hail);
  }
  else if (why != NULL || !is_welcome (connector, hail, greeting))
    hail_close (hail);
  else if (crossing) {
    greet (connector, hail, WIRE_CROSSING);
    hail_close (hail);
  }
  else if (greet (connector, hail, WIRE_TAKEN))
    take (connector, hail, greeting);
  else
    hail_close (hail);
}

void
connector_on_incoming (struct connector *connector, struct hail *hail)
{
  struct wire_greeting greeting;
  const char *why;
  enum hail_progress progress = hail_secure (hail, &why);

  if (progress == HAIL_WHOLE)
    progress = hail_receive (hail, &greeting, &why);
  switch (progress) {
  case HAIL_PART: break;
  case HAIL_WHOLE: on_greeting (connector, hail, &greeting); break;
  case HAIL_BAD:
    report (connector, hail, why);
    hail_close (hail);
    break;
  }
}

/* A peer speaks at once, so who has been silent longest is the least
 * likely to be it; then, who takes longest for the rest.
 */
static bool
is_less_likely (const struct hail *a, const struct hail *b)
{
  if (a->heard != b->heard)
    return b->heard;
  return a->since_ns < b->since_ns;
}

/* An unused place, or that of the least likely peer. */
static struct hail *
free_place (struct connector *connector)
{
  struct hail *place = &connector->incoming[0];

  for (size_t i = 0; i < INCOMING_MAX; i++) {
    struct hail *hail = &connector->incoming[i];

    if (hail->channel.fd == -1)
      return hail;
    if (is_less_likely (hail, place))
      place = hail;
  }
  hail_close (place);
  return place;
}

void
connector_on_listener (struct connector *connector, int listener)
{
  for (int i = 0; i < ACCEPTS_MAX; i++) {
    struct sockaddr_storage other;
    socklen_t other_length = sizeof other;
    int fd = accept4 (listener, (struct sockaddr *) &other, &other_length,
                      SOCK_NONBLOCK | SOCK_CLOEXEC);

    if (fd == -1) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
          errno == ENOMEM)
        connector->accept_ns = connector_now_ns () +
          ACCEPT_PAUSE_MS * NS_PER_MS;
      return;
    }

    struct hail *place = free_place (connector);

    set_nodelay (fd);
    if (!hail_open (place, fd, connector->tls, false))
      return;
    place->other = other;
    place->other_length = other_length;
    place->heard = false;
    place->since_ns = connector_now_ns ();
    place->deadline_ns = place->since_ns + connector->greeting_ms * NS_PER_MS;
    connector_on_incoming (connector, place);
  }
}

/* ---------------------------------------------------------------- time */

void
connector_on_time (struct connector *connector, uint64_t now)
{
  for (size_t i = 0; i < INCOMING_MAX; i++)
    if (connector->incoming[i].channel.fd != -1 &&
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
