/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy-kept.c: writes that nodes with durability=flush have answered and
 * that no flush vouches for yet: copies of them, and sending them again
 * when a session begins at another process (kept.h has the rules).
 *
 * A copy is made before a write is sent, and enters the table in the very
 * moment in which its answer is taken for one, so that whichever session
 * comes next finds it there.  A write that cannot be kept (too long for
 * one call, or no memory) is followed by a flush before its client is
 * answered, at the same process.
 *
 * Two threads: one sends again, over the live session's first connection,
 * while all other requests wait; one flushes when half of the room is
 * taken, and so that nothing is kept for long.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proxy-internal.h"

enum {
  KEPT_WRITES = 32768,
  KEPT_BYTES = 64 << 20,
  KEPT_COST = 64,       /* bytes that each write counts besides its data */
  KEPT_WINDOW = 32,     /* sent again at once */
  KEPT_FLUSH_MS = 5000, /* kept no longer than about this */
  KEPT_RETRY_MS = 1000,
};

/* A copy.  Freed by the last of the table and the sendings of it. */
struct kept_data {
  struct upstream_call call;
  uint32_t refs;
  uint8_t bytes[];
};

/* One sending. */
struct again {
  struct proxy *proxy;
  struct conn *conn;
  struct kept_data *data;
  uint64_t number;
  uint64_t round; /* session in which it counts */
};

bool
kept_init (struct proxy *proxy)
{
  proxy->kept = kept_new (KEPT_WRITES, KEPT_BYTES);
  proxy->again_ms = UINT64_MAX;
  return proxy->kept != NULL;
}

static void
unref_locked (struct kept_data *data)
{
  assert (data->refs > 0);
  if (--data->refs == 0)
    free (data);
}

static uint64_t
cost (const struct kept_data *data)
{
  return KEPT_COST +
    (data->call.kind == UPSTREAM_PWRITE ? data->call.length : 0);
}

static void
drop_locked (struct proxy *proxy, uint64_t number)
{
  struct kept_write write;

  while (kept_flushed (proxy->kept, number, &write))
    unref_locked (write.data);
  pthread_cond_broadcast (&proxy->kept_room);
}

void
kept_end (struct proxy *proxy)
{
  kept_lost (proxy->kept);
  kept_session (proxy->kept, 0); /* whatever was to be sent again */
  while (kept_count (proxy->kept) > 0) {
    uint64_t number;

    while (kept_next (proxy->kept, &number)) {
      kept_sent (proxy->kept, number);
      kept_answered (proxy->kept, number);
    }
    drop_locked (proxy, UINT64_MAX);
  }
  kept_free (proxy->kept);
}

/* -------------------------------------------------------- a write begins */

static bool
is_write (enum upstream_kind kind)
{
  return kind == UPSTREAM_PWRITE || kind == UPSTREAM_TRIM ||
    kind == UPSTREAM_ZERO;
}

static struct kept_data *
copy (const struct upstream_call *call)
{
  bool payload = call->kind == UPSTREAM_PWRITE;
  struct kept_data *data = malloc (sizeof *data + (payload ? call->length : 0));

  if (data == NULL)
    return NULL;
  data->call = *call;
  data->call.flags &= ~(uint32_t) LIBNBD_CMD_FLAG_FAST_ZERO;
  data->refs = 1;
  if (payload) {
    memcpy (data->bytes, call->out, call->length);
    data->call.out = data->bytes;
  }
  return data;
}

int
kept_begin_locked (struct proxy *proxy, const struct upstream_call *call,
                   uint64_t end_ms, struct kept_data **data)
{
  uint64_t until_ms;

  *data = NULL;
  if (!proxy->keeps || !is_write (call->kind) ||
      (call->kind == UPSTREAM_PWRITE &&
       call->length > proxy->facts.payload_max_bytes))
    return 0;
  pthread_mutex_unlock (&proxy->mutex);
  *data = copy (call);
  pthread_mutex_lock (&proxy->mutex);
  while (*data != NULL && !kept_reserve (proxy->kept, cost (*data))) {
    pthread_cond_signal (&proxy->kept_flush);
    until_ms = upstream_now_ms () + PROXY_CHECK_MS;
    if (until_ms > end_ms)
      until_ms = end_ms;
    if (proxy->stopping || upstream_now_ms () >= end_ms ||
        (!proxy_wait_locked (proxy, &proxy->kept_room, until_ms) &&
         proxy_is_client_gone_locked (proxy))) {
      unref_locked (*data);
      *data = NULL;
      return proxy->stopping || upstream_now_ms () < end_ms ? ESHUTDOWN : EIO;
    }
  }
  return 0;
}

/* It has ended without an answer that counts. */
void
kept_discard_locked (struct proxy *proxy, struct kept_data *data)
{
  if (data == NULL)
    return;
  kept_release (proxy->kept, cost (data));
  pthread_cond_broadcast (&proxy->kept_room);
  unref_locked (data);
}

/* -------------------------------------------------------------- answers */

void
kept_sending_locked (struct proxy *proxy, struct request *request,
                     enum upstream_kind kind)
{
  request->kind = kind;
  request->flush_mark = kept_newest (proxy->kept);
}

void
kept_answer_locked (struct proxy *proxy, struct request *request, int error)
{
  const struct export_description *node = &proxy->session.facts.description;
  struct kept_write write;

  if (error != 0)
    return;
  /* What is in parts must all be with one process. */
  if (!request->begun)
    request->boot = node->boot;
  request->begun = true;
  request->torn |= request->boot != node->boot;
  if (request->kind == UPSTREAM_FLUSH) {
    if (kept_count (proxy->kept) > 0)
      drop_locked (proxy, request->flush_mark);
    return;
  }
  if (!is_write (request->kind) || !request->last || request->torn)
    return;
  request->unkept = node->cached && request->kept == NULL;
  if (!node->cached || request->kept == NULL)
    return;
  write = (struct kept_write){ .offset = request->kept->call.offset,
                               .length = request->kept->call.length,
                               .data = request->kept };
  kept_add (proxy->kept, &write, cost (request->kept));
  request->kept = NULL;
  if (kept_count (proxy->kept) == 1 || kept_wants_flush (proxy->kept))
    pthread_cond_signal (&proxy->kept_flush);
}

/* ------------------------------------------------------------- sessions */

void
kept_adopted_locked (struct proxy *proxy)
{
  const struct export_description *node = &proxy->session.facts.description;

  proxy->keeps = (proxy->session.facts.can & UPSTREAM_IS_DUET) != 0 &&
    node->cached;
  kept_session (proxy->kept, proxy->keeps ? node->boot : 0);
  if (!kept_settled (proxy->kept))
    proxy_log_locked (proxy, PROXY_NEWS,
                      "%lu writes that were answered and not flushed are sent "
                      "again",
                      (unsigned long) kept_count (proxy->kept));
  pthread_cond_signal (&proxy->kept_wake);
}

void
kept_abandoned_locked (struct proxy *proxy)
{
  proxy->again_round++;
  proxy->again_out = 0;
  proxy->again_ms = UINT64_MAX;
  kept_lost (proxy->kept);
  pthread_cond_signal (&proxy->kept_wake);
}

static int
on_again (void *user_data, int *error)
{
  struct again *again = user_data;
  struct proxy *proxy = again->proxy;
  struct conn *conn = again->conn;

  pthread_mutex_lock (&proxy->mutex);
  if (*error == ENOTCONN || *error == ESHUTDOWN) {
    if (conn->fault == CONN_GOOD)
      conn->fault = *error == ENOTCONN ? CONN_EOF : CONN_SHUTDOWN;
  }
  else if (again->round == proxy->again_round) {
    request_note_generation_locked (proxy);
    if (*error != 0 && proxy->kept_error == 0) {
      proxy->kept_error = *error;
      proxy_log_locked (proxy, PROXY_ERROR,
                        "a write that had been answered cannot be repeated: "
                        "%s; the next flush fails",
                        strerror (*error));
    }
    kept_answered (proxy->kept, again->number);
    proxy->again_out--;
    proxy->again_ms = proxy->again_out > 0 ? upstream_now_ms () : UINT64_MAX;
    if (kept_settled (proxy->kept))
      session_wake_senders_locked (proxy);
    pthread_cond_signal (&proxy->kept_wake);
  }
  pthread_mutex_unlock (&proxy->mutex);
  return 1;
}

/* libnbd has no more to do with it. */
static void
free_again (void *user_data)
{
  struct again *again = user_data;
  struct proxy *proxy = again->proxy;

  pthread_mutex_lock (&proxy->mutex);
  unref_locked (again->data);
  pthread_mutex_unlock (&proxy->mutex);
  free (again);
}

/* Unlocks. */
static void
send_again_locked (struct proxy *proxy, struct conn *conn, uint64_t number)
{
  struct again *again = malloc (sizeof *again);
  struct kept_data *data = kept_write (proxy->kept, number).data;
  nbd_completion_callback done = { .callback = on_again,
                                   .user_data = again,
                                   .free = free_again };
  int error = 0;

  if (again == NULL) {
    proxy_wait_locked (proxy, &proxy->kept_wake,
                       upstream_now_ms () + KEPT_RETRY_MS);
    return;
  }
  data->refs++;
  *again = (struct again){ proxy, conn, data, number, proxy->again_round };
  kept_sent (proxy->kept, number);
  proxy->again_out++;
  proxy->again_ms = upstream_now_ms ();
  conn->busy++;
  pthread_mutex_unlock (&proxy->mutex);
  if (upstream_send (conn->nbd, &data->call, done) == -1)
    error = errno;
  pthread_mutex_lock (&proxy->mutex);
  conn->busy--;
  /* Not sent: no use of this connection, whatever the reason. */
  if (error != 0 && conn->fault == CONN_GOOD)
    conn->fault = CONN_EOF;
}

void *
kept_again_main (void *argument)
{
  struct proxy *proxy = argument;
  struct conn *conn;
  uint64_t number;

  pthread_mutex_lock (&proxy->mutex);
  while (!proxy->stopping) {
    conn = proxy->live ? proxy->conns[0] : NULL;
    if (conn == NULL || kept_settled (proxy->kept)) {
      pthread_cond_wait (&proxy->kept_wake, &proxy->mutex);
      continue;
    }
    conn->refs++;
    if (request_conn_lost_locked (proxy, conn))
      session_reap_locked (proxy, conn);
    else if (proxy->again_out < KEPT_WINDOW && kept_next (proxy->kept, &number))
      send_again_locked (proxy, conn, number);
    else if (!conn->polled)
      request_lead_locked (proxy, conn, upstream_now_ms () + PROXY_CHECK_MS);
    else
      proxy_wait_locked (proxy, &proxy->kept_wake,
                         upstream_now_ms () + PROXY_CHECK_MS);
    session_unref_locked (proxy, conn);
  }
  pthread_mutex_unlock (&proxy->mutex);
  return NULL;
}

/* ------------------------------------------------------------ own flushes */

void *
kept_flush_main (void *argument)
{
  struct proxy *proxy = argument;
  struct upstream_call flush = { .kind = UPSTREAM_FLUSH };
  uint64_t until_ms = 0;
  int error;

  pthread_mutex_lock (&proxy->mutex);
  while (!proxy->stopping) {
    if (kept_count (proxy->kept) == 0) {
      pthread_cond_wait (&proxy->kept_flush, &proxy->mutex);
      until_ms = upstream_now_ms () + KEPT_FLUSH_MS;
      continue;
    }
    if (!kept_wants_flush (proxy->kept) && upstream_now_ms () < until_ms) {
      proxy_wait_locked (proxy, &proxy->kept_flush, until_ms);
      continue;
    }
    pthread_mutex_unlock (&proxy->mutex);
    error = proxy_carry (proxy, &flush);
    pthread_mutex_lock (&proxy->mutex);
    until_ms = upstream_now_ms () + KEPT_FLUSH_MS;
    if (error != 0 && !proxy->stopping)
      proxy_wait_locked (proxy, &proxy->kept_flush,
                         upstream_now_ms () + KEPT_RETRY_MS);
  }
  pthread_mutex_unlock (&proxy->mutex);
  return NULL;
}
