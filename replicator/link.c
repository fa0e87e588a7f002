/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link.c: the one connection to the peer: takes it from connector.c, gives
 * it to sender.c and receiver.c, and tells the engine about it.  Knows
 * neither node state nor the meaning of any frame but the greeting.
 *
 * A connection's life, all on the receiver thread but the first step:
 *
 *   waiting     taken by the connector; the old one, if any, is shut down
 *   present     has an id; the sender sends to it; up() is called
 *   ended       the socket is shut down, by the peer, by an error, by
 *               link_drop, or because another one is waiting
 *   closed      the sender let go of it and every frame queued for it had
 *               its done(); the socket is closed; down() is called
 *
 * Lock: "mutex" is a leaf, held for a few instructions and never across a
 * callback.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "connector.h"
#include "link.h"
#include "receiver.h"
#include "sender.h"
#include "thread.h"

struct connection {
  struct channel channel; /* CHANNEL_NONE: none */
  char address[ADDRESS_TEXT];
};

struct link {
  struct link_callbacks callbacks;
  void *opaque;
  char *peer_address; /* as configured, or NULL */
  struct connector *connector;
  struct sender *sender;
  struct receiver receiver;

  pthread_mutex_t mutex;
  pthread_cond_t changed;    /* mutex: waiting or stopping */
  struct connection waiting; /* mutex */
  struct connection present; /* mutex; written by the receiver thread */
  uint32_t id;               /* mutex; of present, 0: none */
  const char *why;           /* mutex; we ended present: why */
  atomic_bool ended;         /* present is shut down; written under
                                   mutex */
  bool stopping;             /* mutex */
  bool started;              /* set by start and stop */
  uint32_t last_id;          /* the receiver thread's */
  pthread_t thread;
};

/* Under the mutex: end the present connection, if it has not ended yet;
 * the receiver thread notices and does the rest.
 */
static void
end_present_locked (struct link *link, const char *why)
{
  if (link->present.channel.fd == -1 || atomic_load (&link->ended))
    return;
  link->why = why;
  atomic_store (&link->ended, true);
  channel_shutdown (&link->present.channel);
}

/* --------------------------------------- from the connector's thread */

/* Before this end of the present connection is shut down by the link. */
static void
say_closing (struct link *link)
{
  pthread_mutex_lock (&link->mutex);
  bool open = link->present.channel.fd != -1 && !atomic_load (&link->ended);
  uint32_t id = link->id;

  pthread_mutex_unlock (&link->mutex);
  if (open && link->callbacks.closing != NULL)
    link->callbacks.closing (link->opaque, id);
}

static void
on_taken (void *opaque, struct channel channel, const char *address)
{
  struct link *link = opaque;

  say_closing (link);
  pthread_mutex_lock (&link->mutex);
  end_present_locked (link, "replaced by a new connection");
  channel_close (&link->waiting.channel);
  link->waiting.channel = channel;
  snprintf (link->waiting.address, ADDRESS_TEXT, "%s", address);
  pthread_cond_signal (&link->changed);
  pthread_mutex_unlock (&link->mutex);
}

static void
on_failed (void *opaque)
{
  struct link *link = opaque;

  link->callbacks.connect_failed (link->opaque);
}

static void
on_refused (void *opaque, const char *address, const char *why)
{
  struct link *link = opaque;

  if (link->callbacks.refused != NULL)
    link->callbacks.refused (link->opaque, address, why);
}

static bool
on_connected (void *opaque)
{
  struct link *link = opaque;

  pthread_mutex_lock (&link->mutex);
  bool connected = link->waiting.channel.fd != -1 ||
    (link->present.channel.fd != -1 && !atomic_load (&link->ended));
  pthread_mutex_unlock (&link->mutex);
  return connected;
}

/* ------------------------------------------------ the receiver thread */

/* Wait for the next connection and make it the present one.  False: the
 * link stops.
 */
static bool
next_connection (struct link *link)
{
  pthread_mutex_lock (&link->mutex);
  while (!link->stopping && link->waiting.channel.fd == -1)
    pthread_cond_wait (&link->changed, &link->mutex);

  bool stopping = link->stopping;

  if (!stopping) {
    if (++link->last_id == 0)
      link->last_id = 1;
    link->present = link->waiting;
    link->waiting.channel = CHANNEL_NONE;
    link->id = link->last_id;
    link->why = NULL;
    atomic_store (&link->ended, false);
  }
  pthread_mutex_unlock (&link->mutex);
  return !stopping;
}

/* Did the peer close it, or its kernel when its process died?  With TLS an
 * end of the connection beneath says the same, and so does a close that TLS
 * tells of; an alert does not.  What the sender met counts too, since the
 * receiver is then only told to stop.
 */
static bool
is_peers_doing (struct link *link, const char *why)
{
  return !sender_failed (link->sender) &&
    (strcmp (why, "closed by the peer") == 0 ||
     strcmp (why, strerrordesc_np (ECONNRESET)) == 0);
}

/* Carry the present connection from up to down. */
static void
carry (struct link *link)
{
  const struct timeval wait = { .tv_usec = LINK_VISIT_MS * 1000 };
  struct channel *channel = &link->present.channel;
  uint32_t id = link->id;
  struct channel ended;
  const char *why;
  bool peer_closed;

  fcntl (channel->fd, F_SETFL, fcntl (channel->fd, F_GETFL) & ~O_NONBLOCK);
  setsockopt (channel->fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  sender_open (link->sender, channel, id);
  link->callbacks.up (link->opaque, id);
  why = receiver_run (&link->receiver, channel, id, &link->callbacks,
                      link->opaque, &link->ended);
  peer_closed = is_peers_doing (link, why);
  if (!peer_closed)
    say_closing (link);

  pthread_mutex_lock (&link->mutex);
  if (atomic_load (&link->ended))
    peer_closed = false;
  end_present_locked (link, why);
  why = link->why;
  pthread_mutex_unlock (&link->mutex);

  sender_close (link->sender);

  pthread_mutex_lock (&link->mutex);
  ended = *channel;
  *channel = CHANNEL_NONE;
  link->id = 0;
  pthread_mutex_unlock (&link->mutex);
  channel_close (&ended);
  link->callbacks.down (link->opaque, id, why, peer_closed);
}

static void *
link_main (void *argument)
{
  struct link *link = argument;

  while (next_connection (link))
    carry (link);
  return NULL;
}

/* ---------------------------------------------------------- life cycle */

struct link *
link_new (const struct link_config *config,
          const struct link_callbacks *callbacks, void *opaque, char *error,
          size_t error_size)
{
  static const struct connector_callbacks connector_callbacks = {
    .taken = on_taken,
    .failed = on_failed,
    .refused = on_refused,
    .connected = on_connected,
  };
  struct link *link = calloc (1, sizeof *link);

  assert (config->node != 0);
  if (link == NULL)
    goto no_memory;
  link->callbacks = *callbacks;
  link->opaque = opaque;
  link->waiting.channel = link->present.channel = CHANNEL_NONE;
  pthread_mutex_init (&link->mutex, NULL);
  pthread_cond_init (&link->changed, NULL);

  link->sender = sender_new ();
  bool has_receiver = receiver_init (&link->receiver) == 0;

  if (config->peer != NULL)
    link->peer_address = strdup (config->peer);
  if (link->sender == NULL || !has_receiver ||
      (config->peer != NULL && link->peer_address == NULL))
    goto no_memory;
  link->connector = connector_new (config, &connector_callbacks, link, error,
                                   error_size);
  if (link->connector == NULL) {
    link_free (link);
    return NULL;
  }
  return link;

no_memory:
  snprintf (error, error_size, "out of memory");
  link_free (link);
  return NULL;
}

int
link_start (struct link *link)
{
  int error = sender_start (link->sender);

  if (error == 0)
    error = thread_start (&link->thread, "duet-receive", link_main, link);
  link->started = error == 0;
  if (error == 0)
    error = connector_start (link->connector);
  if (error != 0) {
    link_stop (link);
    errno = error;
    return -1;
  }
  return 0;
}

void
link_stop (struct link *link)
{
  connector_stop (link->connector);
  if (link->started) {
    say_closing (link);
    pthread_mutex_lock (&link->mutex);
    link->stopping = true;
    end_present_locked (link, "stopped");
    pthread_cond_signal (&link->changed);
    pthread_mutex_unlock (&link->mutex);
    pthread_join (link->thread, NULL);
    link->started = false;
  }
  channel_close (&link->waiting.channel);
  sender_stop (link->sender);
}

void
link_free (struct link *link)
{
  if (link == NULL)
    return;
  assert (!link->started);
  connector_free (link->connector);
  if (link->sender != NULL)
    sender_flush (link->sender);
  sender_free (link->sender);
  receiver_free (&link->receiver);
  free (link->peer_address);
  pthread_cond_destroy (&link->changed);
  pthread_mutex_destroy (&link->mutex);
  free (link);
}

/* ------------------------------------------------------- from any thread */

void
link_connect (struct link *link, uint32_t timeout_ms)
{
  /* Decided here, not when the connector gets round to it: by then the
   * connection may have ended, and the dial would make one that nobody
   * asked for.
   */
  if (!on_connected (link))
    connector_dial (link->connector, timeout_ms);
}

void
link_drop (struct link *link, uint32_t id)
{
  pthread_mutex_lock (&link->mutex);
  if (id != 0 && link->id == id)
    end_present_locked (link, "dropped");
  pthread_mutex_unlock (&link->mutex);
}

void
link_queue (struct link *link, struct link_frame *frame)
{
  sender_queue (link->sender, frame);
}

void
link_flush (struct link *link)
{
  sender_flush (link->sender);
}

bool
link_visit (struct link *link, bool (*enough) (void *opaque), void *opaque)
{
  return receiver_visit (&link->receiver, enough, opaque);
}

void
link_recall (struct link *link)
{
  receiver_recall (&link->receiver);
}

void
link_counts (struct link *link, struct link_counts *counts)
{
  const struct receiver *receiver = &link->receiver;

  sender_counts (link->sender, counts);
  counts->bytes_received = atomic_load_explicit (&receiver->bytes,
                                                 memory_order_relaxed);
  counts->frames_received = atomic_load_explicit (&receiver->frames,
                                                  memory_order_relaxed);
  counts->receives = atomic_load_explicit (&receiver->receives,
                                           memory_order_relaxed);
}

const char *
link_peer_address (struct link *link)
{
  static _Thread_local char text[ADDRESS_TEXT];
  bool connected;

  pthread_mutex_lock (&link->mutex);
  connected = link->present.channel.fd != -1;
  if (connected)
    memcpy (text, link->present.address, sizeof text);
  pthread_mutex_unlock (&link->mutex);
  if (connected)
    return text;
  return link->peer_address != NULL ? link->peer_address : "";
}
