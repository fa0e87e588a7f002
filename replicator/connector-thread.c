/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * connector-thread.c: the connector's life, and its one thread with poll
 * over the listening sockets, incoming connections that have not greeted
 * yet, and one outgoing attempt.  It must never block: a SYN into nowhere,
 * a stranger who says nothing and a peer that is stopped all just run into
 * their deadlines.
 */
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "connector-internal.h"
#include "link.h"
#include "listener.h"
#include "thread.h"

/* ---------------------------------------------------------- the thread */

static uint64_t
next_deadline (const struct connector *connector)
{
  uint64_t next = NEVER;

  for (size_t i = 0; i < INCOMING_MAX; i++)
    if (connector->incoming[i].channel.fd != -1)
      next = least (next, connector->incoming[i].deadline_ns);
  if (connector->state != DIAL_IDLE)
    next = least (next, connector->deadline_ns);
  if (connector->outgoing.channel.fd != -1)
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

static struct pollfd
poll_of (const struct hail *hail)
{
  return (struct pollfd){
    .fd = hail->channel.fd,
    .events = (short) (channel_has_unsent (&hail->channel) ? POLLIN | POLLOUT
                                                           : POLLIN),
  };
}

static void
fill_polls (const struct connector *connector, bool accepting,
            struct pollfd polls[POLL_MAX])
{
  for (size_t i = 0; i < POLL_MAX; i++)
    polls[i] = (struct pollfd){ .fd = -1, .events = POLLIN };
  polls[POLL_WAKE].fd = connector->wake;
  polls[POLL_OUTGOING] = poll_of (&connector->outgoing);
  if (connector->state == DIAL_CONNECTING)
    polls[POLL_OUTGOING].events = POLLOUT;
  for (size_t i = 0; i < INCOMING_MAX; i++)
    polls[POLL_INCOMING + i] = poll_of (&connector->incoming[i]);
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
  uint64_t now = connector_now_ns ();
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
    connector_on_outgoing (connector);
  for (size_t i = 0; i < INCOMING_MAX; i++)
    if (polls[POLL_INCOMING + i].revents != 0) {
      connector->incoming[i].heard = true;
      connector_on_incoming (connector, &connector->incoming[i]);
    }
  for (size_t i = 0; i < connector->listeners_count; i++)
    if (polls[POLL_LISTENERS + i].revents != 0)
      connector_on_listener (connector, connector->listeners[i]);
  connector_on_time (connector, connector_now_ns ());
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
      connector_on_wanted (connector, wanted_ns);
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

/* With TLS an attempt takes one round trip more, and milliseconds of
 * computing on both sides: it gets twice the time.
 */
void
connector_dial (struct connector *connector, uint32_t timeout_ms)
{
  if (connector->tls != NULL)
    timeout_ms *= 2;
  pthread_mutex_lock (&connector->mutex);
  connector->wanted = true;
  connector->wanted_ns = connector_now_ns () + timeout_ms * NS_PER_MS;
  pthread_mutex_unlock (&connector->mutex);
  wake_up (connector);
}

/* ----------------------------------------------------------- life cycle */

/* The link may use ADDRESSES, which WHICH=NAME stands for: they are local,
 * or it is encrypted, or the user takes the risk.  Else -1 with a message.
 */
static int
check_open (const struct connector *connector, const struct addrinfo *addresses,
            const char *which, const char *name, char *error, size_t error_size)
{
  if (connector->tls != NULL || connector->insecure ||
      address_is_loopback (addresses))
    return 0;
  snprintf (error, error_size,
            "%s=%s leads out of this machine, and the link has no TLS: give "
            "tls-psk= (or tls-ca=, tls-cert= and tls-key=), or insecure=yes "
            "if nobody else can reach that network",
            which, name);
  return -1;
}

static int
open_listeners (struct connector *connector, const char *name, char *error,
                size_t error_size)
{
  struct addrinfo *found = address_resolve (name, 1, error, error_size);
  int count = -1;

  if (found == NULL)
    return -1;
  if (check_open (connector, found, "listen", name, error, error_size) == 0)
    count = listener_open_all (found, "listen", name, connector->listeners,
                               LISTENERS_MAX, error, error_size);
  freeaddrinfo (found);
  if (count == -1)
    return -1;
  connector->listeners_count = (nfds_t) count;
  return 0;
}

static int
find_peer (struct connector *connector, const char *name, char *error,
           size_t error_size)
{
  connector->peer = address_resolve (name, 0, error, error_size);
  if (connector->peer == NULL)
    return -1;
  if (check_open (connector, connector->peer, "peer", name, error,
                  error_size) == -1)
    return -1;
  connector->lookup = address_lookup_new (name);
  if (connector->lookup != NULL)
    return 0;
  snprintf (error, error_size, "out of memory");
  return -1;
}

struct connector *
connector_new (const struct link_config *config,
               const struct connector_callbacks *callbacks, void *opaque,
               char *error, size_t error_size)
{
  struct connector *connector = calloc (1, sizeof *connector);

  if (connector == NULL) {
    snprintf (error, error_size, "out of memory");
    return NULL;
  }
  connector->node = config->node;
  connector->boot = config->boot;
  connector->greeting_ms = config->greeting_ms;
  connector->tls = config->tls;
  connector->insecure = config->insecure;
  connector->callbacks = *callbacks;
  connector->opaque = opaque;
  connector->outgoing.channel = CHANNEL_NONE;
  for (size_t i = 0; i < INCOMING_MAX; i++)
    connector->incoming[i].channel = CHANNEL_NONE;
  pthread_mutex_init (&connector->mutex, NULL);

  connector->wake = eventfd (0, EFD_NONBLOCK | EFD_CLOEXEC);
  if (connector->wake == -1) {
    snprintf (error, error_size, "eventfd: %s", strerrordesc_np (errno));
    goto failed;
  }
  if ((config->listen != NULL &&
       open_listeners (connector, config->listen, error, error_size) == -1) ||
      (config->peer != NULL &&
       find_peer (connector, config->peer, error, error_size) == -1))
    goto failed;
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
