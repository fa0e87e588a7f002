/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy-session.c: the live session and the life of its connections.
 *
 * A connection is abandoned in three steps, none of which waits for the
 * server: it is marked (from here on no answer of it counts) and its
 * socket shut down, which wakes whoever waits on it; when the last thread
 * has left libnbd its handle is closed; and only then may the requests
 * that were sent there be sent elsewhere, because until then libnbd may
 * still write into their buffers.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proxy-internal.h"

struct conn *
session_new_conn (struct proxy *proxy, struct opening *opening, uint64_t number)
{
  struct conn *conn = calloc (1, sizeof *conn);

  if (conn == NULL)
    return NULL;
  conn->proxy = proxy;
  conn->session = number;
  conn->refs = 1;
  TAILQ_INIT (&conn->requests);
  conn->fd = dup (nbd_aio_get_fd (opening->nbd));
  conn->kick = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (conn->fd == -1 || conn->kick == -1) {
    if (conn->fd != -1)
      close (conn->fd);
    if (conn->kick != -1)
      close (conn->kick);
    free (conn);
    return NULL;
  }
  upstream_watch_path (conn->fd, PROXY_PATH_LIMITS * proxy->config.timeout_ms);
  conn->nbd = opening->nbd;
  opening->nbd = NULL;
  return conn;
}

void
session_unref_locked (struct proxy *proxy, struct conn *conn)
{
  (void) proxy;
  assert (conn->refs > 0);
  if (--conn->refs > 0)
    return;
  assert (conn->closed);
  assert (TAILQ_EMPTY (&conn->requests));
  close (conn->fd);
  close (conn->kick);
  free (conn);
}

static void
wake_conn_locked (struct conn *conn)
{
  struct request *request;

  TAILQ_FOREACH (request, &conn->requests, on_conn)
  pthread_cond_signal (&request->wake);
}

void
session_reap_locked (struct proxy *proxy, struct conn *conn)
{
  if (!conn->abandoned || conn->busy > 0 || conn->closing)
    return;
  conn->closing = true;
  pthread_mutex_unlock (&proxy->mutex);
  if (conn->polite)
    nbd_aio_disconnect (conn->nbd, 0);
  nbd_close (conn->nbd);
  pthread_mutex_lock (&proxy->mutex);
  conn->closed = true;
  wake_conn_locked (conn);
  TAILQ_REMOVE (&proxy->all, conn, all);
  session_unref_locked (proxy, conn);
}

void
session_reap_all_locked (struct proxy *proxy)
{
  struct conn *conn;

  /* The list may change while the mutex is released: begin again. */
  do {
    TAILQ_FOREACH (conn, &proxy->all, all)
    if (conn->abandoned && conn->busy == 0 && !conn->closing)
      break;
    if (conn != NULL)
      session_reap_locked (proxy, conn);
  } while (conn != NULL);
}

static void
abandon_conn_locked (struct proxy *proxy, struct conn *conn)
{
  conn->abandoned = true;
  conn->polite = proxy->stopping && conn->busy == 0 && conn->load == 0;
  epoll_ctl (proxy->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
  if (!conn->polite)
    shutdown (conn->fd, SHUT_RDWR);
  proxy_kick (conn->kick);
  wake_conn_locked (conn);
}

void
session_add_conn_locked (struct proxy *proxy, struct conn *conn)
{
  struct epoll_event event = { .events = EPOLLRDHUP | EPOLLET,
                               .data.u64 = conn->session };

  TAILQ_INSERT_TAIL (&proxy->all, conn, all);
  if (!proxy->live || conn->session != proxy->session.number) {
    abandon_conn_locked (proxy, conn);
    return;
  }
  assert (proxy->conn_count < PROXY_CONNECTIONS_MAX);
  proxy->conns[proxy->conn_count++] = conn;
  /* Without the watch a dead connection shows at the next request. */
  epoll_ctl (proxy->epoll, EPOLL_CTL_ADD, conn->fd, &event);
  session_wake_senders_locked (proxy);
}

void
session_adopt_locked (struct proxy *proxy, const struct session *session,
                      struct conn *conn)
{
  assert (!proxy->live);
  proxy->live = true;
  proxy->sessions++;
  proxy->session = *session;
  proxy->conn_count = 0;
  proxy->joining = proxy->config.connections > 1 &&
    session->facts.is_multi_conn;
  kept_adopted_locked (proxy);
  /* Until one has answered, nobody was promised anything. */
  if (!proxy->witness) {
    proxy->facts = session->facts;
    proxy->facts_known = true;
    pthread_cond_broadcast (&proxy->facts_wake);
  }
  session_add_conn_locked (proxy, conn);
}

void
session_joined_locked (struct proxy *proxy)
{
  proxy->joining = false;
  session_wake_senders_locked (proxy);
}

void
session_abandon_locked (struct proxy *proxy)
{
  uint32_t i;

  assert (proxy->live);
  proxy->live = false;
  proxy->joining = false;
  unanswered_lost (proxy->table);
  kept_abandoned_locked (proxy);
  for (i = 0; i < proxy->conn_count; i++)
    abandon_conn_locked (proxy, proxy->conns[i]);
  proxy->conn_count = 0;
  /* It may still be opening more connections. */
  proxy_kick (proxy->nodes[proxy->session.node].cancel);
  proxy_kick (proxy->control_kick);
}

void
session_lost_locked (struct proxy *proxy, uint64_t number,
                     enum route_event_type type, const char *why)
{
  if (!proxy->live || proxy->session.number != number)
    return;
  proxy_log_locked (proxy, PROXY_NEWS, "session %llu with %s lost: %s",
                    (unsigned long long) number,
                    proxy->nodes[proxy->session.node].uri, why);
  proxy_event_locked (proxy, type, 0);
}

void
session_wake_senders_locked (struct proxy *proxy)
{
  uint32_t slot = UINT32_MAX;

  if (proxy->waiting == 0)
    return;
  while (unanswered_next (proxy->table, &slot))
    if (proxy->requests[slot].conn == NULL)
      pthread_cond_signal (&proxy->requests[slot].wake);
}

struct conn *
session_pick_conn_locked (struct proxy *proxy)
{
  struct conn *best = NULL;
  uint32_t i;

  if (!proxy->live)
    return NULL;
  for (i = 0; i < proxy->conn_count; i++)
    if (best == NULL || proxy->conns[i]->load < best->load)
      best = proxy->conns[i];
  /* While more connections are on their way, one request each: a node
   * that works on one request per connection at a time would otherwise
   * carry out all replays one after the other.
   */
  return proxy->joining && best->load > 0 ? NULL : best;
}
