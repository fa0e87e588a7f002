/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy-request.c: one request, from the client's call to its answer.
 *
 * The thread that brings a request carries it all the way:
 *
 *   enter the table (waits while it is full)
 *   wait until it may be sent and a session is live      <-.
 *   send it on the least loaded connection                 |
 *   wait for the answer, on the connection itself when     |
 *     no other thread does                                 |
 *   session lost: wait until its connection is closed -----'
 *   make the generation durable if it is news
 *   leave the table
 *
 * A read or write longer than the server takes is sent in parts; it holds
 * its range for all of them, and after a failover only the part that was
 * not answered is sent again.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "proxy-internal.h"

/* ------------------------------------------------------------- answers */

/* The volume has grown: whoever comes from now on is told so.  Not before the
 * session has answered: if it was left unanswered for the other node, what it
 * has shown is void, its size, too.
 */
static void
note_size_locked (struct proxy *proxy)
{
  uint64_t bytes = proxy->session.facts.size_bytes;

  if (bytes <= proxy->facts.size_bytes)
    return;
  proxy->facts.size_bytes = bytes;
  proxy_log_locked (proxy, PROXY_NEWS,
                    "the volume has grown to %llu bytes: clients see it when "
                    "they connect anew",
                    (unsigned long long) bytes);
}

void
request_note_generation_locked (struct proxy *proxy)
{
  const struct upstream_facts *facts = &proxy->session.facts;
  const struct gen_id *gen = &facts->description.generation;

  if ((facts->can & UPSTREAM_IS_DUET) != 0)
    note_size_locked (proxy);
  if (!(facts->can & UPSTREAM_IS_DUET) ||
      (gen->epoch == proxy->state.generation.epoch &&
       gen->id == proxy->state.generation.id))
    return;
  proxy->state.generation = *gen;
  proxy->noted++;
}

/* libnbd calls this in a thread that is inside libnbd for the connection,
 * with the handle's lock held.
 */
static int
on_answer (void *user_data, int *error)
{
  struct request *request = user_data;
  struct proxy *proxy = request->proxy;
  struct conn *conn;
  uint32_t slot;

  pthread_mutex_lock (&proxy->mutex);
  conn = request->conn;
  assert (conn != NULL);
  if (*error == ENOTCONN || *error == ESHUTDOWN) {
    if (conn->fault == CONN_GOOD)
      conn->fault = *error == ENOTCONN ? CONN_EOF : CONN_SHUTDOWN;
  }
  else if (!conn->abandoned &&
           unanswered_answered (proxy->table, request->tag, &slot)) {
    assert (&proxy->requests[slot] == request);
    request_note_generation_locked (proxy);
    kept_answer_locked (proxy, request, *error);
    request->answered = true;
    request->error = *error;
    request->noted = proxy->noted;
    conn->load--;
    pthread_cond_signal (&request->wake);
  }
  pthread_mutex_unlock (&proxy->mutex);
  return 1;
}

/* -------------------------------------------------------------- sending */

static uint64_t
min_ms (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

/* Until the request may be sent: 0 with *CONN; or the errno to fail with.
 * Unlocks.
 */
static int
wait_to_send_locked (struct proxy *proxy, uint32_t slot, uint64_t end_ms,
                     struct conn **conn)
{
  pthread_cond_t *wake = &proxy->requests[slot].wake;
  bool woken;

  while (true) {
    if (proxy->stopping)
      return ESHUTDOWN;
    *conn = session_pick_conn_locked (proxy);
    if (*conn != NULL && kept_settled (proxy->kept) &&
        unanswered_may_send (proxy->table, slot))
      return 0;
    if (upstream_now_ms () >= end_ms)
      return EIO;
    proxy->waiting++;
    woken = proxy_wait_locked (
      proxy, wake, min_ms (end_ms, upstream_now_ms () + PROXY_CHECK_MS));
    proxy->waiting--;
    /* Nothing of this request is in libnbd: it may be dropped. */
    if (!woken && proxy_is_client_gone_locked (proxy))
      return ESHUTDOWN;
  }
}

/* libnbd will not send it: as if the server had answered with ERROR. */
static void
answer_locally_locked (struct proxy *proxy, struct request *request, int error)
{
  uint32_t slot;

  if (!unanswered_answered (proxy->table, request->tag, &slot))
    return;
  request->answered = true;
  request->error = error;
  request->conn->load--;
}

/* Unlocks. */
static void
send_locked (struct proxy *proxy, uint32_t slot, struct conn *conn,
             const struct upstream_call *call)
{
  struct request *request = &proxy->requests[slot];
  nbd_completion_callback done = { .callback = on_answer,
                                   .user_data = request };
  bool replays = unanswered_replays (proxy->table) > 0;
  bool wants_write;
  int error = 0;

  request->tag = unanswered_sent (proxy->table, slot, upstream_now_ms ());
  kept_sending_locked (proxy, request, call->kind);
  request->answered = false;
  request->conn = conn;
  TAILQ_INSERT_TAIL (&conn->requests, request, on_conn);
  conn->refs++;
  conn->load++;
  conn->busy++;
  if (replays && unanswered_replays (proxy->table) == 0)
    session_wake_senders_locked (proxy);
  pthread_mutex_unlock (&proxy->mutex);
  if (upstream_send (conn->nbd, call, done) == -1)
    error = errno;
  if (error != 0 && upstream_is_dead (conn->nbd))
    error = ENOTCONN;
  wants_write = upstream_wants_write (conn->nbd);
  pthread_mutex_lock (&proxy->mutex);
  conn->busy--;
  /* Who waits on the connection waits for input only. */
  if (wants_write && conn->polled)
    proxy_kick (conn->kick);
  if (error == ENOTCONN && conn->fault == CONN_GOOD)
    conn->fault = CONN_EOF;
  else if (error != 0)
    answer_locally_locked (proxy, request, error);
}

/* -------------------------------------------------------------- waiting */

void
request_lead_locked (struct proxy *proxy, struct conn *conn, uint64_t until_ms)
{
  uint64_t now_ms = upstream_now_ms ();
  int timeout_ms = until_ms > now_ms ? (int) (until_ms - now_ms) : 0;
  int result;

  conn->polled = true;
  conn->busy++;
  pthread_mutex_unlock (&proxy->mutex);
  result = upstream_poll (conn->nbd, conn->fd, conn->kick, timeout_ms);
  pthread_mutex_lock (&proxy->mutex);
  conn->busy--;
  conn->polled = false;
  if (result == -1 && conn->fault == CONN_GOOD)
    conn->fault = CONN_EOF;
}

bool
request_conn_lost_locked (struct proxy *proxy, struct conn *conn)
{
  if (!conn->abandoned && conn->fault == CONN_SHUTDOWN)
    session_lost_locked (proxy, conn->session, ROUTE_LOST_SHUTDOWN,
                         "the node stopped serving");
  else if (!conn->abandoned && conn->fault == CONN_EOF)
    session_lost_locked (proxy, conn->session, ROUTE_LOST_EOF,
                         "the connection broke");
  return conn->abandoned || conn->fault != CONN_GOOD;
}

/* Until the request is answered, or its connection closed.  Unlocks. */
static void
wait_answer_locked (struct proxy *proxy, struct request *request,
                    uint64_t end_ms)
{
  struct conn *conn = request->conn;
  uint64_t now_ms, until_ms;

  while (!request->answered && !conn->closed) {
    now_ms = upstream_now_ms ();
    until_ms = min_ms (end_ms, now_ms + PROXY_CHECK_MS);
    if (conn->abandoned) {
      session_reap_locked (proxy, conn);
      if (!conn->closed)
        proxy_wait_locked (proxy, &request->wake, now_ms + PROXY_CHECK_MS);
    }
    else if (request_conn_lost_locked (proxy, conn))
      continue;
    else if (now_ms >= end_ms)
      session_lost_locked (proxy, conn->session, ROUTE_LOST_TIMEOUT,
                           "no answer for give-up= seconds");
    else if (!conn->polled)
      request_lead_locked (proxy, conn, until_ms);
    else
      proxy_wait_locked (proxy, &request->wake, until_ms);
  }
}

/* The request has no more to do with its connection: hand on the wait. */
static void
leave_conn_locked (struct proxy *proxy, struct request *request)
{
  struct conn *conn = request->conn;
  struct request *next;

  TAILQ_REMOVE (&conn->requests, request, on_conn);
  request->conn = NULL;
  next = TAILQ_FIRST (&conn->requests);
  if (next != NULL && !conn->polled)
    pthread_cond_signal (&next->wake);
  session_wake_senders_locked (proxy);
  session_unref_locked (proxy, conn);
}

/* Send one call, over as many sessions as it takes.  Its errno, or 0.
 * Unlocks.
 */
static int
carry_locked (struct proxy *proxy, uint32_t slot, uint64_t end_ms,
              const struct upstream_call *call)
{
  struct request *request = &proxy->requests[slot];
  struct conn *conn;
  bool again = false;
  int error;

  request->answered = false;
  while (!request->answered) {
    error = wait_to_send_locked (proxy, slot, end_ms, &conn);
    if (error != 0)
      return error;
    proxy->replays += again;
    again = true;
    send_locked (proxy, slot, conn, call);
    wait_answer_locked (proxy, request, end_ms);
    leave_conn_locked (proxy, request);
  }
  return request->error;
}

/* ---------------------------------------------------------------- calls */

static const enum unanswered_kind kinds[] = {
  [UPSTREAM_PREAD] = UNANSWERED_READ,   [UPSTREAM_PWRITE] = UNANSWERED_WRITE,
  [UPSTREAM_FLUSH] = UNANSWERED_FLUSH,  [UPSTREAM_TRIM] = UNANSWERED_WRITE,
  [UPSTREAM_ZERO] = UNANSWERED_WRITE,   [UPSTREAM_CACHE] = UNANSWERED_READ,
  [UPSTREAM_EXTENTS] = UNANSWERED_READ,
};

/* Unlocks. */
static int
enter_locked (struct proxy *proxy, const struct upstream_call *call,
              uint64_t end_ms, uint32_t *slot)
{
  while (!unanswered_begin (proxy->table, kinds[call->kind], call->offset,
                            call->length, slot)) {
    if (proxy->stopping)
      return ESHUTDOWN;
    if (upstream_now_ms () >= end_ms)
      return EIO;
    if (!proxy_wait_locked (
          proxy, &proxy->room,
          min_ms (end_ms, upstream_now_ms () + PROXY_CHECK_MS)) &&
        proxy_is_client_gone_locked (proxy))
      return ESHUTDOWN;
  }
  proxy->requests[*slot].noted = 0;
  proxy->requests[*slot].kept = NULL;
  return 0;
}

static void
leave_locked (struct proxy *proxy, uint32_t slot)
{
  uint64_t now_us = latency_now_us ();

  if (now_us - proxy->quiet_us > proxy->longest_pause_us)
    proxy->longest_pause_us = now_us - proxy->quiet_us;
  proxy->quiet_us = now_us;
  unanswered_end (proxy->table, slot);
  pthread_cond_signal (&proxy->room);
  session_wake_senders_locked (proxy);
}

/* The part of CALL that begins after DONE bytes. */
static struct upstream_call
part_of (const struct upstream_call *call, uint32_t done, uint32_t part_max)
{
  struct upstream_call part = *call;

  part.offset += done;
  part.length -= done;
  if (call->kind == UPSTREAM_PREAD)
    part.in = (char *) call->in + done;
  else if (call->kind == UPSTREAM_PWRITE)
    part.out = (const char *) call->out + done;
  else
    return part;
  if (part.length > part_max)
    part.length = part_max;
  return part;
}

/* The generation that answered must be durable in the state file before
 * the answer is passed on (docs/architecture.md, "Who may").  Unlocks.
 */
static int
remember_locked (struct proxy *proxy, uint64_t noted, uint64_t end_ms)
{
  if (proxy->config.state_path == NULL)
    return 0;
  while (proxy->saved < noted && !proxy_save_locked (proxy, noted)) {
    if (proxy->stopping)
      return ESHUTDOWN;
    if (upstream_now_ms () >= end_ms)
      return EIO;
    proxy_wait_locked (proxy, &proxy->saved_wake,
                       min_ms (end_ms, upstream_now_ms () + PROXY_CHECK_MS));
  }
  return 0;
}

/* All parts of CALL.  Unlocks. */
static int
carry_parts_locked (struct proxy *proxy, uint32_t slot, uint64_t end_ms,
                    const struct upstream_call *call)
{
  static const struct upstream_call flush = { .kind = UPSTREAM_FLUSH };
  struct request *request = &proxy->requests[slot];
  struct upstream_call part;
  uint32_t done = 0;
  int error;

  request->begun = request->torn = request->unkept = false;
  do {
    part = part_of (call, done, proxy->facts.payload_max_bytes);
    request->last = done + part.length == call->length;
    error = carry_locked (proxy, slot, end_ms, &part);
    done += part.length;
  } while (error == 0 && done < call->length);
  if (error == 0 && request->unkept)
    error = carry_locked (proxy, slot, end_ms, &flush);
  return error;
}

int
proxy_carry (struct proxy *proxy, const struct upstream_call *call)
{
  uint64_t give_up_ms = proxy->config.give_up_ms;
  uint64_t end_ms = give_up_ms > 0 ? upstream_now_ms () + give_up_ms
                                   : UINT64_MAX;
  struct kept_data *kept = NULL;
  struct request *request;
  uint32_t slot;
  int error, unsaved;

  pthread_mutex_lock (&proxy->mutex);
  error = kept_begin_locked (proxy, call, end_ms, &kept);
  if (error == 0)
    error = enter_locked (proxy, call, end_ms, &slot);
  if (error == 0) {
    if (unanswered_count (proxy->table) == 1)
      proxy->quiet_us = latency_now_us ();
    request = &proxy->requests[slot];
    request->kept = kept;
    kept = NULL;
    do
      error = carry_parts_locked (proxy, slot, end_ms, call);
    while (error == 0 && request->torn && call->kind != UPSTREAM_PREAD);
    unsaved = remember_locked (proxy, request->noted, end_ms);
    if (unsaved != 0)
      error = unsaved;
    kept = request->kept;
    leave_locked (proxy, slot);
  }
  kept_discard_locked (proxy, kept);
  pthread_mutex_unlock (&proxy->mutex);
  return error;
}

/* A flush tells, once, that what the proxy kept could not be sent again. */
static int
take_kept_error (struct proxy *proxy)
{
  int error;

  pthread_mutex_lock (&proxy->mutex);
  error = proxy->kept_error;
  proxy->kept_error = 0;
  pthread_mutex_unlock (&proxy->mutex);
  return error;
}

int
proxy_call (struct proxy *proxy, const struct upstream_call *call)
{
  struct proxy_figures *figures = &proxy->figures[call->kind];
  uint64_t began_us = latency_now_us ();
  int error = proxy_carry (proxy, call);

  if (error == 0 && call->kind == UPSTREAM_FLUSH)
    error = take_kept_error (proxy);
  if (error == 0) {
    latency_add (&figures->latency, latency_now_us () - began_us);
    atomic_fetch_add_explicit (&figures->bytes, call->length,
                               memory_order_relaxed);
  }
  else if (error != ESHUTDOWN) /* nobody was there to be answered */
    atomic_fetch_add_explicit (&figures->errors, 1, memory_order_relaxed);
  return error;
}
