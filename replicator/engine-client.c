/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine-client.c: clients' calls.  The thread that brings a request
 * enters it into the core, sends what that queued (so the peer begins
 * first), carries out the local part, and waits for the core's answer.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine-internal.h"
#include "exportname.h"

static uint64_t
now_us (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static bool
client_gone (struct engine *engine)
{
  return engine->config.gone != NULL && engine->config.gone ();
}

/* Wait for WAKE on behalf of the connection SLOT; now and then look
 * whether its client has hung up or the server wants to end, neither of
 * which can go on while a request waits.
 */
static void
wait_for_wake (struct engine *engine, sem_t *wake, uint32_t slot)
{
  struct core_event hangup = { .type = EV_HANGUP, .slot = slot };
  struct timespec until;

  for (;;) {
    clock_gettime (CLOCK_MONOTONIC, &until);
    until.tv_nsec += ENGINE_WAIT_MS * 1000000L;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (sem_clockwait (wake, CLOCK_MONOTONIC, &until) == 0)
      return;
    if (errno == ETIMEDOUT && client_gone (engine)) {
      engine_step (engine, &hangup);
      return;
    }
  }
}

/* --------------------------------------------------------- connections */

static uint32_t
take_conn_locked (struct engine *engine)
{
  if (engine->free_conn_count == 0)
    return NO_SLOT;
  return engine->free_conns[--engine->free_conn_count];
}

static struct engine_conn *
refuse (struct engine *engine, int error, const char *reason, char *message,
        size_t message_size)
{
  char text[EXPORTNAME_DESCRIPTION_MAX];

  engine_describe (engine, text);
  snprintf (message, message_size, "this node does not serve: %s (%s)",
            reason != NULL ? reason : "not ready", text);
  errno = error;
  return NULL;
}

static int
read_name (const char *name, struct core_open *open)
{
  struct export_ask ask;

  *open = (struct core_open){ .proxied = false };
  switch (exportname_parse (name, &ask)) {
  case EXPORTNAME_PLAIN: return 0;
  case EXPORTNAME_PROXY:
    *open = (struct core_open){
      .proxied = true,
      .client = ask.client,
      .session = ask.session,
      .shown = ask.shown,
      .unreachable = ask.unreachable,
    };
    return 0;
  case EXPORTNAME_BAD: break;
  }
  return -1;
}

struct engine_conn *
engine_open (struct engine *engine, const char *name, char *error,
             size_t error_size)
{
  struct core_event event = { .type = EV_OPEN };
  struct engine_conn *conn;
  const char *reason;
  int why;

  if (read_name (name, &event.open) == -1)
    return refuse (engine, EINVAL, "malformed export name", error, error_size);
  pthread_mutex_lock (&engine->lock);
  event.slot = take_conn_locked (engine);
  if (event.slot == NO_SLOT) {
    pthread_mutex_unlock (&engine->lock);
    return refuse (engine, EMFILE, "too many connections", error, error_size);
  }
  conn = &engine->conns[event.slot];
  conn->done = false;
  engine_step_locked (engine, &event);
  while (!conn->done) {
    engine_unlock_and_send (engine);
    wait_for_wake (engine, &conn->wake, conn->slot);
    pthread_mutex_lock (&engine->lock);
  }
  why = conn->error;
  reason = conn->reason;
  if (why != 0)
    engine->free_conns[engine->free_conn_count++] = conn->slot;
  engine_unlock_and_send (engine);
  return why == 0 ? conn : refuse (engine, why, reason, error, error_size);
}

void
engine_close (struct engine_conn *conn)
{
  struct engine *engine = conn->engine;
  struct core_event event = { .type = EV_CLOSE, .slot = conn->slot };

  pthread_mutex_lock (&engine->lock);
  engine_step_locked (engine, &event);
  engine->free_conns[engine->free_conn_count++] = conn->slot;
  engine_unlock_and_send (engine);
}

/* ------------------------------------------------------------ requests */

/* The local part: what ACT_LOCAL asks for. */
static void
carry_out_local (struct engine *engine, struct engine_request *request,
                 struct core_event *done)
{
  const struct core_event *event = &request->event;
  uint64_t offset = event->request.offset, length = event->request.length;
  int r;

  switch (event->request.kind) {
  case REQ_READ:
    r = store_read (engine->store, request->buffer, offset, length);
    break;
  case REQ_WRITE:
    r = store_write (engine->store, request->buffer, offset, length);
    break;
  case REQ_TRIM:
  case REQ_ZERO:
    r = store_zero (engine->store, offset, length,
                    event->request.punch || event->request.kind == REQ_TRIM,
                    false);
    break;
  case REQ_FLUSH:
  default: r = 0; break;
  }
  if (r == 0 && event->request.kind != REQ_READ) {
    r = store_sync (engine->store);
    done->fatal = r == -1;
  }
  done->error = r == -1 ? errno : 0;
}

static uint32_t
take_request_locked (struct engine *engine)
{
  while (engine->free_request_count == 0 && !engine->stopping)
    pthread_cond_wait (&engine->slot_free, &engine->lock);
  if (engine->stopping)
    return NO_SLOT;
  return engine->free_requests[--engine->free_request_count];
}

static void
give_request_locked (struct engine *engine, uint32_t slot)
{
  if (engine->free_request_count == 0)
    pthread_cond_signal (&engine->slot_free);
  engine->free_requests[engine->free_request_count++] = slot;
}

/* Until the core has answered; LOCK is held before and after. */
static void
serve_locked (struct engine *engine, struct engine_request *request,
              uint32_t slot, uint32_t conn)
{
  struct core_event done;

  while (!request->done) {
    if (request->local_go) {
      request->local_go = false;
      engine_unlock_and_send (engine);
      done = (struct core_event){ .type = EV_LOCAL_DONE, .slot = slot };
      carry_out_local (engine, request, &done);
      pthread_mutex_lock (&engine->lock);
      engine_step_locked (engine, &done);
      continue;
    }
    engine_unlock_and_send (engine);
    wait_for_wake (engine, &request->wake, conn);
    pthread_mutex_lock (&engine->lock);
  }
}

static int
carry_out (struct engine_conn *conn, struct core_event *event, void *buffer)
{
  struct engine *engine = conn->engine;
  struct engine_request *request;
  uint32_t slot;
  int error;

  event->type = EV_REQUEST;
  event->request.conn = conn->slot;
  pthread_mutex_lock (&engine->lock);
  slot = take_request_locked (engine);
  if (slot == NO_SLOT) {
    pthread_mutex_unlock (&engine->lock);
    errno = ESHUTDOWN;
    return -1;
  }
  request = &engine->requests[slot];
  event->slot = slot;
  request->event = *event;
  request->buffer = buffer;
  request->done = request->local_go = false;
  /* Left over from the slot's last use: posts that nobody had to wait for. */
  while (sem_trywait (&request->wake) == 0)
    ;
  engine_step_locked (engine, event);
  serve_locked (engine, request, slot, conn->slot);
  error = request->error;
  /* The buffer is the client's again only when no frame refers to it. */
  while (atomic_load (&request->frames_out) > 0) {
    engine_unlock_and_send (engine);
    wait_for_wake (engine, &request->wake, conn->slot);
    pthread_mutex_lock (&engine->lock);
  }
  give_request_locked (engine, slot);
  engine_unlock_and_send (engine);
  errno = error;
  return error == 0 ? 0 : -1;
}

/* Enter a request of KIND, which began at BEGAN_US and ended with R and
 * errno, into the figures.
 */
static int
count (struct engine *engine, enum engine_kind kind, uint64_t began_us,
       uint64_t length, int r)
{
  if (r == -1) {
    atomic_fetch_add_explicit (&engine->errors[kind], 1, memory_order_relaxed);
    return r;
  }
  atomic_fetch_add_explicit (&engine->count[kind], 1, memory_order_relaxed);
  atomic_fetch_add_explicit (&engine->bytes[kind], length,
                             memory_order_relaxed);
  latency_add (&engine->latency[kind], now_us () - began_us);
  return r;
}

int
engine_read (struct engine_conn *conn, void *buffer, uint64_t length,
             uint64_t offset)
{
  uint64_t began_us = now_us ();
  struct core_event event = {
    .request = { .kind = REQ_READ, .offset = offset, .length = length },
  };

  return count (conn->engine, ENGINE_READ, began_us, length,
                carry_out (conn, &event, buffer));
}

int
engine_write (struct engine_conn *conn, const void *buffer, uint64_t length,
              uint64_t offset)
{
  uint64_t began_us = now_us ();
  struct core_event event = {
    .request = { .kind = REQ_WRITE, .offset = offset, .length = length },
  };

  return count (conn->engine, ENGINE_WRITE, began_us, length,
                carry_out (conn, &event, (void *) buffer));
}

int
engine_trim (struct engine_conn *conn, uint64_t length, uint64_t offset)
{
  uint64_t began_us = now_us ();
  struct core_event event = {
    .request = { .kind = REQ_TRIM, .offset = offset, .length = length },
  };

  return count (conn->engine, ENGINE_TRIM, began_us, length,
                carry_out (conn, &event, NULL));
}

int
engine_zero (struct engine_conn *conn, uint64_t length, uint64_t offset,
             bool punch, bool fast)
{
  uint64_t began_us = now_us ();
  struct core_event event = {
    .request = { .kind = REQ_ZERO,
                 .offset = offset,
                 .length = length,
                 .punch = punch },
  };

  if (fast && !store_zero_is_fast (conn->engine->store, punch)) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return count (conn->engine, ENGINE_ZERO, began_us, length,
                carry_out (conn, &event, NULL));
}

/* Extents and read-ahead are hints about the primary's own file: what a
 * flush asks of the core is only whether this connection is served at all.
 */
static int
ask_served (struct engine_conn *conn)
{
  struct core_event event = { .request = { .kind = REQ_FLUSH } };

  return carry_out (conn, &event, NULL);
}

int
engine_flush (struct engine_conn *conn)
{
  uint64_t began_us = now_us ();

  return count (conn->engine, ENGINE_FLUSH, began_us, 0, ask_served (conn));
}

int
engine_extents (struct engine_conn *conn, uint64_t length, uint64_t offset,
                int (*extent) (void *opaque, uint64_t extent_offset,
                               uint64_t extent_length, bool hole),
                void *opaque)
{
  uint64_t began_us = now_us ();
  int r = ask_served (conn);

  if (r == 0)
    r = store_extents (conn->engine->store, offset, length, extent, opaque);
  return count (conn->engine, ENGINE_EXTENTS, began_us, length, r);
}

int
engine_cache (struct engine_conn *conn, uint64_t length, uint64_t offset)
{
  uint64_t began_us = now_us ();
  int r = ask_served (conn);

  if (r == 0)
    r = store_cache (conn->engine->store, offset, length);
  return count (conn->engine, ENGINE_CACHE, began_us, length, r);
}
