/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine.c: the shell around the core: the mutex, the clock, the timer
 * thread, and the carrying out of actions.  It decides nothing.
 *
 * Who carries out what: a client's own thread its local part, the link's
 * receiver what the peer sent, job threads metadata and syncs, the chunk
 * thread resync reads.  Under the mutex a step only queues and wakes.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "engine-internal.h"
#include "thread.h"

/* What a job needs. */
struct engine_job {
  struct engine *engine;
  uint64_t version;
  uint32_t first, count;
  struct core_action action;
  struct gen_record record;
  uint8_t bytes[];
};

uint64_t
engine_now_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_BOOTTIME, &now);
  return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* ---------------------------------------------------------------- jobs */

static struct engine_job *
new_job (struct engine *engine, size_t bytes)
{
  struct engine_job *job = calloc (1, sizeof *job + bytes);

  /* A decision that cannot be carried out must not be lost: better no
   * node than a wrong one.
   */
  if (job == NULL)
    abort ();
  job->engine = engine;
  return job;
}

static void
add_job (struct jobs *jobs, void (*run) (void *), struct engine_job *job)
{
  if (jobs_add (jobs, run, job) == -1)
    abort ();
}

static void
run_log (void *opaque)
{
  struct engine_job *job = opaque;

  job->engine->config.log ((const char *) job->bytes);
  free (job);
}

void
engine_log (struct engine *engine, const char *format, ...)
{
  struct engine_job *job = new_job (engine, ENGINE_LINE);
  va_list args;

  va_start (args, format);
  vsnprintf ((char *) job->bytes, ENGINE_LINE, format, args);
  va_end (args);
  add_job (engine->log_jobs, run_log, job);
}

void
engine_log_once_locked (struct engine *engine, const char *format, ...)
{
  char line[ENGINE_LINE];
  va_list args;
  uint32_t i;

  va_start (args, format);
  vsnprintf (line, sizeof line, format, args);
  va_end (args);
  for (i = 0; i < engine->said_count && i < ENGINE_SAID; i++)
    if (strcmp (engine->said[i], line) == 0)
      return;
  memcpy (engine->said[engine->said_count++ % ENGINE_SAID], line, sizeof line);
  engine_log (engine, "%s", line);
}

static void
run_persist_sb (void *opaque)
{
  struct engine_job *job = opaque;
  struct core_event event = { .type = EV_SB_DURABLE, .version = job->version };

  if (store_save_record (job->engine->store, &job->record) == -1)
    event.error = errno;
  engine_step (job->engine, &event);
  free (job);
}

static void
run_persist_map (void *opaque)
{
  struct engine_job *job = opaque;
  struct core_event event = { .type = EV_MAP_DURABLE };

  if (store_save_pages (job->engine->store, job->first, job->count,
                        job->bytes) == -1)
    event.error = errno;
  engine_step (job->engine, &event);
  free (job);
}

static void
run_sync_store (void *opaque)
{
  struct engine_job *job = opaque;
  struct core_event event = { .type = job->action.type == ACT_SYNC_STORE
                                ? EV_STORE_SYNCED
                                : EV_STORE_FLUSHED,
                              .version = job->version };

  if (store_sync (job->engine->store) == -1)
    event.error = errno;
  engine_step (job->engine, &event);
  free (job);
}

static void
run_grow (void *opaque)
{
  struct engine_job *job = opaque;
  struct engine *engine = job->engine;
  struct core_event event = { .type = EV_GROWN };
  uint64_t size = job->action.length;
  uint32_t region_size = job->record.region_size;

  if (store_grow (engine->store, size, &event.bytes) == -1)
    event.error = errno;
  else if (size > job->record.size) {
    event.room = marks_new (size, region_size);
    if (event.room == NULL)
      event.error = ENOMEM;
  }
  if (event.bytes != 0)
    engine_log (engine,
                "cannot make this copy %" PRIu64 " bytes long: its disk has "
                "%" PRIu64,
                size, event.bytes);
  else if (event.error != 0)
    engine_log (engine, "cannot make this copy %" PRIu64 " bytes long: %s",
                size, strerror (event.error));
  engine_step (engine, &event);
  free (job);
}

static void
run_look (void *opaque)
{
  struct engine *engine = opaque;
  struct core_event event = { .type = EV_STORE_SHORT };
  bool whole = store_is_whole (engine->store);

  pthread_mutex_lock (&engine->lock);
  engine->looking = false;
  if (!whole)
    engine_step_locked (engine, &event);
  engine_unlock_and_send (engine);
}

static void
run_chunk (void *opaque)
{
  struct engine_job *job = opaque;

  engine_read_chunk (job->engine, &job->action);
  free (job);
}

/* ------------------------------------------------------------- actions */

static void
persist_map_locked (struct engine *engine, const struct core_action *action)
{
  uint32_t count = action->last - action->first + 1;
  size_t bytes = (size_t) count * MARKS_PAGE_BYTES;
  struct engine_job *job = new_job (engine, bytes);

  job->first = action->first;
  job->count = count;
  memcpy (job->bytes, core_map_page (engine->core, action->first), bytes);
  add_job (engine->jobs, run_persist_map, job);
}

static void
log_state_locked (struct engine *engine)
{
  char reason[ENGINE_REASON];
  struct core_view view;
  struct gen_id gen;
  char late[64] = "";

  core_view (engine->core, &view);
  engine_reason_locked (engine, &view, reason);
  if (view.disk_late_ms > 0)
    snprintf (late, sizeof late, ": %llu.%llu s by now",
              (unsigned long long) view.disk_late_ms / 1000,
              (unsigned long long) view.disk_late_ms / 100 % 10);
  gen = gen_current (&view.record);
  if (view.linked || view.state != engine->said_state)
    engine->said_count = 0;
  engine->said_state = view.state;
  engine_log_once_locked (
    engine, "%s: %s%s (generation %llu.%016llx)", core_state_name (view.state),
    reason, late, (unsigned long long) gen.epoch, (unsigned long long) gen.id);
}

static void
job_locked (struct engine *engine, struct jobs *jobs, void (*run) (void *),
            const struct core_action *action)
{
  struct engine_job *job = new_job (engine, 0);

  job->version = action->version;
  job->action = *action;
  if (action->type == ACT_PERSIST_SB || action->type == ACT_GROW)
    job->record = *core_record (engine->core);
  add_job (jobs, run, job);
}

static void
drop_link_locked (struct engine *engine, const struct core_action *action)
{
  engine->dead_link = action->link;
  engine->dead_reason = action->reason;
  engine->drop_link = action->link;
  pthread_cond_broadcast (&engine->applied);
}

/* Its thread has news; if that is asleep, it is woken after the lock was
 * released, so that it does not wake up only to wait for the lock.
 */
static void
wake_request_locked (struct engine *engine, uint32_t slot)
{
  struct engine_request *request = &engine->requests[slot];

  if (!request->asleep)
    return;
  request->asleep = false;
  engine->woken[engine->woken_count++] = slot;
}

/* How large is the volume for clients?  May reads go past the core, from
 * now on, and how long?  An exchange, because what comes after it may not
 * be seen before it.
 */
static void
publish_locked (struct engine *engine)
{
  bool is_free = core_reads_freely (engine->core);

  atomic_store (&engine->deadline_ms, core_deadline (engine->core));
  if (atomic_load (&engine->size) != core_size (engine->core))
    atomic_store (&engine->size, core_size (engine->core));
  if (is_free == (atomic_load (&engine->free_reads) != 0))
    return;
  atomic_exchange (&engine->free_reads,
                   is_free ? ++engine->free_reads_count : 0);
}

static void
open_done_locked (struct engine *engine, const struct core_action *action)
{
  struct engine_conn *conn = &engine->conns[action->slot];

  conn->done = true;
  conn->error = action->error;
  conn->reason = action->reason;
  atomic_store (&conn->open, action->error == 0);
  sem_post (&conn->wake);
}

static void
carry_out_locked (struct engine *engine, const struct core_action *action)
{
  struct engine_request *request;

  switch (action->type) {
  case ACT_LOCAL:
    request = &engine->requests[action->slot];
    request->local_go = true;
    request->local_sync = action->durable;
    wake_request_locked (engine, action->slot);
    break;
  case ACT_COMPLETE:
    request = &engine->requests[action->slot];
    request->done = true;
    request->error = action->error;
    wake_request_locked (engine, action->slot);
    break;
  case ACT_OPEN_DONE: open_done_locked (engine, action); break;
  case ACT_CONN_ENDED:
    atomic_store (&engine->conns[action->slot].open, false);
    /* Its next request gets ESHUTDOWN; nbdkit lets a plugin hang up only
     * from within a request.
     */
    break;
  case ACT_SEND: engine_queue_locked (engine, action); break;
  case ACT_APPLY:
    engine->apply_link = action->link;
    engine->apply_seq = action->seq;
    engine->apply_sync = action->durable;
    pthread_cond_broadcast (&engine->applied);
    break;
  case ACT_HASH:
    engine->hash_wanted = true;
    engine->hash_frame = action->frame;
    break;
  case ACT_PERSIST_SB:
    job_locked (engine, engine->jobs, run_persist_sb, action);
    break;
  case ACT_PERSIST_MAP: persist_map_locked (engine, action); break;
  case ACT_SYNC_STORE:
  case ACT_FLUSH_STORE:
    job_locked (engine, engine->jobs, run_sync_store, action);
    break;
  case ACT_GROW: job_locked (engine, engine->jobs, run_grow, action); break;
  case ACT_CHUNK:
    job_locked (engine, engine->chunk_jobs, run_chunk, action);
    break;
  case ACT_CONNECT:
    link_connect (engine->link, (uint32_t) action->version);
    break;
  case ACT_DROP_LINK: drop_link_locked (engine, action); break;
  case ACT_STATE:
    /* It may have failed: then no frame waits any longer. */
    pthread_cond_broadcast (&engine->applied);
    log_state_locked (engine);
    break;
  case ACT_ADMIN_DONE:
    engine->wish.done = true;
    engine->wish.error = action->error;
    engine->wish.reason = action->reason;
    pthread_cond_signal (&engine->wish.wake);
    break;
  case ACT_KEY_READ:
  case ACT_KEY_CAS: engine_ask_arbiter_locked (engine, action); break;
  }
}

static uint64_t
random_locked (struct engine *engine)
{
  /* Generation ids must differ between nodes and runs, not be secret:
   * the kernel seeds, xorshift64* (Marsaglia; Vigna 2016) goes on.
   */
  engine->random ^= engine->random >> 12;
  engine->random ^= engine->random << 25;
  engine->random ^= engine->random >> 27;
  return engine->random * UINT64_C (0x2545f4914f6cdd1d);
}

void
engine_step_locked (struct engine *engine, struct core_event *event)
{
  const struct core_actions *actions;
  uint32_t i;

  do {
    event->now_ms = engine_now_ms ();
    event->wall_s = (uint64_t) time (NULL);
    event->random = random_locked (engine);
    actions = core_step (engine->core, event);
    publish_locked (engine);
    for (i = 0; i < actions->count; i++)
      carry_out_locked (engine, &actions->list[i]);
    engine_news_locked (engine);
    *event = (struct core_event){ .type = EV_TICK };
  } while (actions->more);
#ifdef DUET_CHECK
  core_check (engine->core);
#endif
  if (atomic_load (&engine->deadline_ms) < engine->timer_target)
    pthread_cond_signal (&engine->timer_wake);
}

void
engine_unlock_and_send (struct engine *engine)
{
  bool flush = engine->need_flush ||
    (engine->gathered > 0 && !core_gathers (engine->core, engine->gathered));
  uint32_t drop = engine->drop_link;
  uint32_t woken[CORE_REQUESTS_MAX], woken_count = engine->woken_count, i;

  engine->need_flush = false;
  if (flush)
    engine->gathered = 0;
  engine->drop_link = 0;
  engine->woken_count = 0;
  memcpy (woken, engine->woken, woken_count * sizeof woken[0]);
  pthread_mutex_unlock (&engine->lock);
  if (flush)
    link_flush (engine->link);
  for (i = 0; i < woken_count; i++)
    sem_post (&engine->requests[woken[i]].wake);
  /* After the flush, so that a goodbye has a chance to leave. */
  if (drop != 0)
    link_drop (engine->link, drop);
}

void
engine_step (struct engine *engine, struct core_event *event)
{
  pthread_mutex_lock (&engine->lock);
  engine_step_locked (engine, event);
  engine_unlock_and_send (engine);
}

/* --------------------------------------------------------------- timer */

static struct timespec
monotonic_after (uint64_t ms)
{
  struct timespec at;

  clock_gettime (CLOCK_MONOTONIC, &at);
  at.tv_sec += (time_t) (ms / 1000);
  at.tv_nsec += (long) (ms % 1000) * 1000000;
  if (at.tv_nsec >= 1000000000) {
    at.tv_sec++;
    at.tv_nsec -= 1000000000;
  }
  return at;
}

/* Now and then, not in this thread: the file system may hang. */
static void
look_at_store_locked (struct engine *engine)
{
  if (engine->looking)
    return;
  engine->looking = true;
  if (jobs_add (engine->jobs, run_look, engine) == -1)
    abort ();
}

static void *
timer_thread (void *opaque)
{
  enum { LONGEST_MS = 1000, LOOK_MS = 1000 };
  struct engine *engine = opaque;
  uint64_t look_ms = 0;

  pthread_mutex_lock (&engine->lock);
  while (engine->running) {
    uint64_t now = engine_now_ms ();
    uint64_t deadline = core_deadline (engine->core);
    struct core_event tick = { .type = EV_TICK };
    struct timespec at;

    engine_sample_locked (engine, now);
    if (look_ms <= now) {
      look_at_store_locked (engine);
      look_ms = now + LOOK_MS;
    }
    if (deadline <= now) {
      engine->timer_target = 0;
      engine_step_locked (engine, &tick);
      engine_unlock_and_send (engine);
      pthread_mutex_lock (&engine->lock);
      if (core_deadline (engine->core) > now)
        continue;
      deadline = now + 1;
    }
    if (deadline > now + LONGEST_MS)
      deadline = now + LONGEST_MS;
    engine->timer_target = deadline;
    at = monotonic_after (deadline - now);
    pthread_cond_timedwait (&engine->timer_wake, &engine->lock, &at);
  }
  pthread_mutex_unlock (&engine->lock);
  return NULL;
}

/* ---------------------------------------------------------- life cycle */

static bool
allocate (struct engine *engine)
{
  uint32_t i;

  for (i = 0; i < CORE_REQUESTS_MAX; i++) {
    sem_init (&engine->requests[i].wake, 0, 0);
    engine->free_requests[i] = CORE_REQUESTS_MAX - 1 - i;
  }
  engine->free_request_count = CORE_REQUESTS_MAX;
  for (i = 0; i < CORE_CONNS_MAX; i++) {
    sem_init (&engine->conns[i].wake, 0, 0);
    engine->conns[i].engine = engine;
    engine->conns[i].slot = i;
    engine->free_conns[i] = CORE_CONNS_MAX - 1 - i;
  }
  engine->free_conn_count = CORE_CONNS_MAX;
  for (i = 0; i < CORE_CHUNKS_MAX; i++)
    if ((engine->chunks[i].data = malloc (MARKS_CHUNK)) == NULL)
      return false;
  engine->hash_buffer = malloc (MARKS_CHUNK);
  engine->jobs = jobs_new (3);
  engine->chunk_jobs = jobs_new (1);
  engine->log_jobs = jobs_new (1);
  engine->key_jobs = jobs_new (1);
  return engine->hash_buffer != NULL && engine->jobs != NULL &&
    engine->chunk_jobs != NULL && engine->log_jobs != NULL &&
    engine->key_jobs != NULL;
}

static bool
open_parts (struct engine *engine, char *error, size_t error_size)
{
  const struct engine_config *config = &engine->config;
  struct store_config store_config = {
    .file = config->file,
    .meta = config->meta,
    .size = config->size,
    .region_size = config->region_size,
  };
  struct link_config link_config = {
    .listen = config->listen,
    .peer = config->peer,
    .insecure = config->insecure,
    .boot = config->core.boot,
    .greeting_ms = (uint32_t) config->core.dead_ms,
  };
  struct gen_record record;
  const uint8_t *map;
  uint64_t map_bytes;

  if (tls_is_wanted (&config->tls)) {
    engine->tls = tls_context_new (&config->tls, config->peer, error,
                                   error_size);
    if (engine->tls == NULL)
      return false;
    link_config.tls = engine->tls;
  }
  if (config->core.arbiter == ARBITER_ETCD) {
    engine->arbiter = arbiter_new (&config->arbiter, error, error_size);
    if (engine->arbiter == NULL)
      return false;
  }
  engine->store = store_open (&store_config, &record, error, error_size);
  if (engine->store == NULL)
    return false;
  store_on_synced (engine->store, engine_on_synced, engine);
  engine->size = store_size (engine->store);
  map = store_map (engine->store, &map_bytes);
  link_config.node = record.node;
  engine->core = core_new (&config->core, &record, map, map_bytes);
  engine->link = link_new (&link_config, &engine_link_callbacks, engine, error,
                           error_size);
  if (engine->link == NULL)
    return false;
  if (config->control == NULL)
    return engine->core != NULL;
  engine->control = control_new (config->control, engine, error, error_size);
  return engine->core != NULL && engine->control != NULL;
}

struct engine *
engine_new (const struct engine_config *config, char *error, size_t error_size)
{
  struct engine *engine = calloc (1, sizeof *engine);
  pthread_mutexattr_t lock_attr;
  pthread_condattr_t attr;

  snprintf (error, error_size, "out of memory");
  if (engine == NULL)
    return NULL;
  engine->config = *config;
  /* It is held for so short a time that who meets it taken had better look
   * again than sleep.
   */
  pthread_mutexattr_init (&lock_attr);
  pthread_mutexattr_settype (&lock_attr, PTHREAD_MUTEX_ADAPTIVE_NP);
  pthread_mutex_init (&engine->lock, &lock_attr);
  pthread_mutexattr_destroy (&lock_attr);
  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (&engine->timer_wake, &attr);
  pthread_condattr_destroy (&attr);
  pthread_cond_init (&engine->slot_free, NULL);
  pthread_cond_init (&engine->applied, NULL);
  pthread_cond_init (&engine->wish.wake, NULL);
  if (getrandom (&engine->random, sizeof engine->random, 0) !=
      (ssize_t) sizeof engine->random)
    engine->random = engine_now_ms ();
  engine->random |= 1;
  engine->config.core.boot = random_locked (engine);
  if (!allocate (engine) || !open_parts (engine, error, error_size)) {
    if (engine->store != NULL)
      store_undo (engine->store);
    engine_free (engine);
    return NULL;
  }
  return engine;
}

int
engine_start (struct engine *engine, char *error, size_t error_size)
{
  struct core_event start = { .type = EV_START };

  snprintf (error, error_size, "cannot start threads");
  if (jobs_start (engine->jobs) == -1 ||
      jobs_start (engine->chunk_jobs) == -1 ||
      jobs_start (engine->log_jobs) == -1 ||
      (engine->arbiter != NULL && jobs_start (engine->key_jobs) == -1))
    return -1;
  if (store_bad_pages (engine->store) > 0)
    engine_log (engine,
                "%u page(s) of the region map were damaged: the "
                "regions they describe will be compared with the peer",
                store_bad_pages (engine->store));
  if (engine->config.size != 0 && engine->config.size < engine->size)
    engine_log (engine,
                "size=%" PRIu64 " is what the volume had once: it was grown, "
                "and has %" PRIu64 " bytes now",
                engine->config.size, (uint64_t) engine->size);
  pthread_mutex_lock (&engine->lock);
  engine_started_locked (engine);
  engine_step_locked (engine, &start);
  engine_unlock_and_send (engine);
  engine->running = true;
  if (thread_start (&engine->timer, "duet-timer", timer_thread, engine) != 0) {
    engine->running = false;
    return -1;
  }
  if (link_start (engine->link) == -1)
    return -1;
  if (engine->control != NULL && control_start (engine->control) == -1)
    return -1;
  return 0;
}

void
engine_end_requests (struct engine *engine)
{
  struct core_event stop = { .type = EV_STOP };

  pthread_mutex_lock (&engine->lock);
  if (!engine->stopping && engine->running)
    engine_step_locked (engine, &stop);
  engine->stopping = true;
  pthread_cond_broadcast (&engine->slot_free);
  engine_unlock_and_send (engine);
}

void
engine_stop (struct engine *engine)
{
  bool running;

  /* First, so that the control thread does not wait for a wish. */
  engine_end_requests (engine);
  if (engine->control != NULL)
    control_stop (engine->control);
  if (engine->arbiter != NULL)
    arbiter_stop (engine->arbiter);
  store_stop_growing (engine->store);
  pthread_mutex_lock (&engine->lock);
  engine->keys_ended = true;
  running = engine->running;
  engine->running = false;
  pthread_cond_signal (&engine->timer_wake);
  pthread_mutex_unlock (&engine->lock);
  if (running)
    pthread_join (engine->timer, NULL);
  link_stop (engine->link);
  jobs_stop (engine->key_jobs);
  jobs_stop (engine->chunk_jobs);
  jobs_stop (engine->jobs);
  jobs_stop (engine->log_jobs);
}

void
engine_free (struct engine *engine)
{
  uint32_t i;

  if (engine == NULL)
    return;
  if (engine->control != NULL)
    control_free (engine->control);
  if (engine->link != NULL)
    link_free (engine->link);
  tls_context_free (engine->tls);
  core_free (engine->core);
  if (engine->store != NULL)
    store_close (engine->store);
  jobs_free (engine->jobs);
  jobs_free (engine->chunk_jobs);
  jobs_free (engine->log_jobs);
  jobs_free (engine->key_jobs);
  arbiter_free (engine->arbiter);
  for (i = 0; i < CORE_CHUNKS_MAX; i++)
    free (engine->chunks[i].data);
  free (engine->hash_buffer);
  for (i = 0; i < CORE_REQUESTS_MAX; i++)
    sem_destroy (&engine->requests[i].wake);
  for (i = 0; i < CORE_CONNS_MAX; i++)
    sem_destroy (&engine->conns[i].wake);
  pthread_cond_destroy (&engine->applied);
  pthread_cond_destroy (&engine->wish.wake);
  pthread_cond_destroy (&engine->slot_free);
  pthread_cond_destroy (&engine->timer_wake);
  pthread_mutex_destroy (&engine->lock);
  free (engine);
}

uint64_t
engine_size (const struct engine *engine)
{
  return engine->size;
}
