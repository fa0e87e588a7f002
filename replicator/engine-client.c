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

uint64_t
engine_now_us (void)
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
 * which can go on while a request waits: then false.
 */
static bool
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
      return true;
    if (errno == ETIMEDOUT && client_gone (engine)) {
      engine_step (engine, &hangup);
      return false;
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
  atomic_store (&conn->open, false);
  engine_step_locked (engine, &event);
  engine->free_conns[engine->free_conn_count++] = conn->slot;
  engine_unlock_and_send (engine);
}

/* ------------------------------------------------------------ requests */

/* The local part, what ACT_LOCAL asks for, but for its durability. */
static int
access_store (struct engine *engine, const struct engine_request *request)
{
  const struct core_event *event = &request->event;
  uint64_t offset = event->request.offset, length = event->request.length;

  switch (event->request.kind) {
  case REQ_READ:
    return store_read (engine->store, request->buffer, offset, length);
  case REQ_WRITE:
    return store_write (engine->store, request->buffer, offset, length);
  case REQ_TRIM:
  case REQ_ZERO:
    return store_zero (engine->store, offset, length,
                       event->request.punch || event->request.kind == REQ_TRIM,
                       false);
  case REQ_FLUSH:
  default: return 0;
  }
}

void
engine_on_synced (void *opaque, struct commit_waiter *list, int error)
{
  struct engine *engine = opaque;
  struct engine_request *request;
  struct core_event done;

  pthread_mutex_lock (&engine->lock);
  while (list != NULL) {
    request = caa_container_of (list, struct engine_request, synced);
    list = list->next; /* may be used again after the step */
    done = (struct core_event){ .type = EV_LOCAL_DONE,
                                .slot = (uint32_t) (request - engine->requests),
                                .error = error,
                                .fatal = error != 0 };
    engine_step_locked (engine, &done);
  }
  engine_unlock_and_send (engine);
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

/* What a visit is for. */
struct visit {
  struct engine *engine;
  const struct engine_request *request;
};

static bool
is_done (void *opaque)
{
  const struct visit *visit = opaque;

  pthread_mutex_lock (&visit->engine->lock);
  bool done = visit->request->done;
  pthread_mutex_unlock (&visit->engine->lock);
  return done;
}

/* Who waits for nothing but the peer's ack, and is the only one here,
 * receives it itself, if the link's receiver has stepped aside for that:
 * then true.  Nobody else has news for such a request but the loss of the
 * link, which ends the visit.  LOCK is held before and after.
 */
static bool
visit_locked (struct engine *engine, const struct engine_request *request,
              uint32_t slot, uint32_t conn)
{
  struct core_event hangup = { .type = EV_HANGUP, .slot = conn };
  struct visit visit = { engine, request };

  if (engine->free_request_count != CORE_REQUESTS_MAX - 1 ||
      !core_waits_for_ack (engine->core, slot))
    return false;
  engine_unlock_and_send (engine);
  bool visited = link_visit (engine->link, is_done, &visit);
  bool gone = visited && !is_done (&visit) && client_gone (engine);
  pthread_mutex_lock (&engine->lock);
  if (gone)
    engine_step_locked (engine, &hangup);
  return visited;
}

/* Sleep until there are news for the request, or its client is gone; LOCK
 * is held before and after.
 */
static void
sleep_locked (struct engine *engine, struct engine_request *request,
              uint32_t conn)
{
  request->asleep = true;
  engine_unlock_and_send (engine);
  link_recall (engine->link);
  bool woken = wait_for_wake (engine, &request->wake, conn);
  pthread_mutex_lock (&engine->lock);
  if (!woken && !request->asleep) {
    /* There were news at the same moment: the post is on its way. */
    engine_unlock_and_send (engine);
    while (sem_wait (&request->wake) == -1)
      ;
    pthread_mutex_lock (&engine->lock);
  }
  request->asleep = false;
}

/* Until the core has answered; LOCK is held before and after. */
static void
serve_locked (struct engine *engine, struct engine_request *request,
              uint32_t slot, uint32_t conn)
{
  struct core_event done;

  while (!request->done) {
    if (!request->local_go) {
      if (!visit_locked (engine, request, slot, conn) && !request->done &&
          !request->local_go)
        sleep_locked (engine, request, conn);
      continue;
    }
    request->local_go = false;
    engine_unlock_and_send (engine);
    int error = access_store (engine, request) == -1 ? errno : 0;
    bool sync = error == 0 && request->local_sync;
    /* Then engine_on_synced is told of the end, perhaps by this thread. */
    if (sync)
      store_start_sync (engine->store, &request->synced);
    pthread_mutex_lock (&engine->lock);
    if (sync)
      continue;
    done = (struct core_event){ .type = EV_LOCAL_DONE,
                                .slot = slot,
                                .error = error };
    engine_step_locked (engine, &done);
  }
}

/* The buffer is the client's again only when no frame refers to it.  LOCK
 * is not held.
 */
static void
wait_for_frames (struct engine *engine, struct engine_request *request,
                 uint32_t conn)
{
  if (atomic_load (&request->frames_out) == 0)
    return;
  if (atomic_fetch_add (&request->frames_out, ENGINE_FRAMES_AWAITED) > 0)
    while (!wait_for_wake (engine, &request->wake, conn))
      ;
  atomic_fetch_sub (&request->frames_out, ENGINE_FRAMES_AWAITED);
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
  request->done = request->local_go = request->asleep = false;
  engine_step_locked (engine, event);
  serve_locked (engine, request, slot, conn->slot);
  error = request->error;
  if (atomic_load (&request->frames_out) > 0) {
    engine_unlock_and_send (engine);
    wait_for_frames (engine, request, conn->slot);
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
  latency_add (&engine->latency[kind], engine_now_us () - began_us);
  return r;
}

/* While the core lets reads go past it, one that finds its data in the page
 * cache takes no lock: if that time has not ended when it has read, and its
 * connection has not, then no write had begun by then and this node served.
 * Else the core is asked, and so it is about every read that has to wait
 * for the disk, since it must notice one that does not answer, and when it
 * is due to look at the clock: this process may have been stopped for long.
 *
 * The number is looked at after the data: the kernel's copying ends with
 * an atomic operation on the page that orders both.
 */
static bool
read_freely (struct engine_conn *conn, void *buffer, uint64_t length,
             uint64_t offset)
{
  struct engine *engine = conn->engine;
  uint64_t number = atomic_load (&engine->free_reads);
  uint64_t size = atomic_load (&engine->size);

  return number != 0 && offset <= size && length <= size - offset &&
    store_read_cached (engine->store, buffer, offset, length) &&
    engine_now_ms () < atomic_load (&engine->deadline_ms) &&
    atomic_load (&engine->free_reads) == number && atomic_load (&conn->open);
}

int
engine_read (struct engine_conn *conn, void *buffer, uint64_t length,
             uint64_t offset)
{
  uint64_t began_us = engine_now_us ();
  struct core_event event = {
    .request = { .kind = REQ_READ, .offset = offset, .length = length },
  };

  if (read_freely (conn, buffer, length, offset))
    return count (conn->engine, ENGINE_READ, began_us, length, 0);
  return count (conn->engine, ENGINE_READ, began_us, length,
                carry_out (conn, &event, buffer));
}

int
engine_write (struct engine_conn *conn, const void *buffer, uint64_t length,
              uint64_t offset)
{
  uint64_t began_us = engine_now_us ();
  struct core_event event = {
    .request = { .kind = REQ_WRITE, .offset = offset, .length = length },
  };

  return count (conn->engine, ENGINE_WRITE, began_us, length,
                carry_out (conn, &event, (void *) buffer));
}

int
engine_trim (struct engine_conn *conn, uint64_t length, uint64_t offset)
{
  uint64_t began_us = engine_now_us ();
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
  uint64_t began_us = engine_now_us ();
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
 * read of nothing asks of the core is only whether this connection is
 * served at all.
 */
static int
ask_served (struct engine_conn *conn)
{
  struct core_event event = { .request = { .kind = REQ_READ } };

  return carry_out (conn, &event, NULL);
}

int
engine_flush (struct engine_conn *conn)
{
  uint64_t began_us = engine_now_us ();
  struct core_event event = { .request = { .kind = REQ_FLUSH } };

  return count (conn->engine, ENGINE_FLUSH, began_us, 0,
                carry_out (conn, &event, NULL));
}

int
engine_extents (struct engine_conn *conn, uint64_t length, uint64_t offset,
                int (*extent) (void *opaque, uint64_t extent_offset,
                               uint64_t extent_length, bool hole),
                void *opaque)
{
  uint64_t began_us = engine_now_us ();
  int r = ask_served (conn);

  if (r == 0)
    r = store_extents (conn->engine->store, offset, length, extent, opaque);
  return count (conn->engine, ENGINE_EXTENTS, began_us, length, r);
}

int
engine_cache (struct engine_conn *conn, uint64_t length, uint64_t offset)
{
  uint64_t began_us = engine_now_us ();
  int r = ask_served (conn);

  if (r == 0)
    r = store_cache (conn->engine->store, offset, length);
  return count (conn->engine, ENGINE_CACHE, began_us, length, r);
}
