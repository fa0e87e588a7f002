/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy.c: life cycle of the proxy, its control thread, log and memory.
 *
 * The control thread owns the time: it ticks the route, watches idle
 * connections for a hang-up, closes abandoned connections that nobody
 * uses and writes the log.  It never waits for a node, a disk or a lock
 * held across either, so a failover is never held up by it.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "notice.h"
#include "proxy-internal.h"
#include "thread.h"

enum {
  TICK_MS = 250, /* longest time between two ticks */
  SAVE_RETRY_MS = 1000,
  EVENTS_MAX = 32,
};

/* Session number of control_kick in the epoll set: none has it. */
static const uint64_t kick_event = 0;

/* ------------------------------------------------------------------ log */

void
proxy_log_locked (struct proxy *proxy, enum proxy_level level,
                  const char *format, ...)
{
  va_list arguments;
  uint32_t line;

  if (proxy->log_count == PROXY_LOG_LINES) {
    proxy->log_first = (proxy->log_first + 1) % PROXY_LOG_LINES;
    proxy->log_count--;
  }
  line = (proxy->log_first + proxy->log_count++) % PROXY_LOG_LINES;
  proxy->log[line].level = level;
  va_start (arguments, format);
  vsnprintf (proxy->log[line].text, PROXY_LOG_MAX, format, arguments);
  va_end (arguments);
  proxy->troubled = true;
  proxy_kick (proxy->control_kick);
}

/* May unlock. */
static void
write_log_locked (struct proxy *proxy)
{
  struct log_line line;

  while (proxy->log_count > 0) {
    line = proxy->log[proxy->log_first];
    proxy->log_first = (proxy->log_first + 1) % PROXY_LOG_LINES;
    proxy->log_count--;
    pthread_mutex_unlock (&proxy->mutex);
    if (line.level == PROXY_ERROR)
      nbdkit_error ("%s", line.text);
    else
      notice ("duetproxy", line.text);
    pthread_mutex_lock (&proxy->mutex);
  }
}

/* ---------------------------------------------------------------- waiting */

void
proxy_kick (int eventfd)
{
  uint64_t one = 1;

  if (write (eventfd, &one, sizeof one) == -1)
    assert (errno == EAGAIN);
}

bool
proxy_wait_locked (struct proxy *proxy, pthread_cond_t *cond, uint64_t until_ms)
{
  struct timespec until = {
    .tv_sec = (time_t) (until_ms / 1000),
    .tv_nsec = (long) (until_ms % 1000) * 1000000,
  };
  int error = pthread_cond_timedwait (cond, &proxy->mutex, &until);

  assert (error == 0 || error == ETIMEDOUT);
  return error == 0;
}

bool
proxy_is_client_gone_locked (struct proxy *proxy)
{
  int result;

  pthread_mutex_unlock (&proxy->mutex);
  result = nbdkit_nanosleep (0, 1000);
  pthread_mutex_lock (&proxy->mutex);
  return result == -1;
}

/* A node whose volume has grown ends its sessions, which an idle proxy has not
 * seen yet: have one answer of the session before a client is told the size.
 * Only for a moment, since the nodes may all be away.
 */
static void
look_locked (struct proxy *proxy, uint64_t end_ms)
{
  uint64_t until_ms = upstream_now_ms () + PROXY_LOOK_MS;
  uint64_t number;

  if (!proxy->live || (proxy->facts.can & UPSTREAM_IS_DUET) == 0)
    return;
  number = ++proxy->looks_wanted;
  if (until_ms > end_ms)
    until_ms = end_ms;
  pthread_cond_broadcast (&proxy->facts_wake);
  while (proxy->looks_done < number && !proxy->stopping &&
         proxy_wait_locked (proxy, &proxy->facts_wake, until_ms))
    continue;
}

int
proxy_wait_facts (struct proxy *proxy, struct upstream_facts *facts)
{
  uint64_t give_up_ms = proxy->config.give_up_ms;
  uint64_t end_ms = give_up_ms > 0 ? upstream_now_ms () + give_up_ms
                                   : UINT64_MAX;
  uint64_t until_ms;
  int error = 0;

  pthread_mutex_lock (&proxy->mutex);
  proxy->waiting++;
  while (!proxy->witness && error == 0) {
    until_ms = upstream_now_ms () + PROXY_CHECK_MS;
    if (until_ms > end_ms)
      until_ms = end_ms;
    if (proxy->stopping)
      error = ESHUTDOWN;
    else if (upstream_now_ms () >= end_ms)
      error = EIO;
    else if (!proxy_wait_locked (proxy, &proxy->facts_wake, until_ms) &&
             proxy_is_client_gone_locked (proxy))
      error = ESHUTDOWN;
  }
  if (error == 0)
    look_locked (proxy, end_ms);
  proxy->waiting--;
  *facts = proxy->facts;
  pthread_mutex_unlock (&proxy->mutex);
  return error;
}

/* See look_locked.  Unlocks. */
static void
look_when_wanted_locked (struct proxy *proxy)
{
  char byte;
  const struct upstream_call look = { .kind = UPSTREAM_PREAD,
                                      .length = 1,
                                      .in = &byte };
  uint64_t number;

  while (!proxy->stopping) {
    number = proxy->looks_wanted;
    if (proxy->looks_done == number || !proxy->live) {
      pthread_cond_wait (&proxy->facts_wake, &proxy->mutex);
      continue;
    }
    pthread_mutex_unlock (&proxy->mutex);
    proxy_carry (proxy, &look);
    pthread_mutex_lock (&proxy->mutex);
    proxy->looks_done = number;
    pthread_cond_broadcast (&proxy->facts_wake);
  }
}

/* Get one answer of the first session before any client's request goes
 * out.  Only an answer makes the proxy a witness of the generation, and
 * one that shows none can choose no node when the others are lost: a
 * primary that loses its backup before it has answered this proxy would
 * refuse it until the backup is back (docs/architecture.md, "Who may").
 */
static void *
first_main (void *argument)
{
  struct proxy *proxy = argument;
  struct upstream_call flush = { .kind = UPSTREAM_FLUSH };
  int error = 0;

  pthread_mutex_lock (&proxy->mutex);
  while (!proxy->facts_known && !proxy->stopping)
    pthread_cond_wait (&proxy->facts_wake, &proxy->mutex);
  while ((proxy->facts.can & UPSTREAM_IS_DUET) && !proxy->stopping) {
    pthread_mutex_unlock (&proxy->mutex);
    error = proxy_carry (proxy, &flush);
    pthread_mutex_lock (&proxy->mutex);
    if (error == 0)
      break;
    proxy_wait_locked (proxy, &proxy->facts_wake,
                       upstream_now_ms () + PROXY_CHECK_MS);
  }
  proxy->witness = true;
  pthread_cond_broadcast (&proxy->facts_wake);
  look_when_wanted_locked (proxy);
  pthread_mutex_unlock (&proxy->mutex);
  return NULL;
}

/* ----------------------------------------------------------------- memory */

bool
proxy_save_locked (struct proxy *proxy, uint64_t noted)
{
  struct proxystate state;
  uint64_t saves;
  int result, error;

  assert (noted <= proxy->noted);
  while (proxy->saving)
    pthread_cond_wait (&proxy->saved_wake, &proxy->mutex);
  if (proxy->saved >= noted &&
      proxy->next_session + PROXY_SESSIONS_AHEAD / 2 <= proxy->state.session)
    return true;
  proxy->saving = true;
  state = proxy->state;
  state.session = proxy->next_session + PROXY_SESSIONS_AHEAD;
  saves = proxy->noted;
  pthread_mutex_unlock (&proxy->mutex);
  result = proxystate_save (proxy->config.state_path, &state);
  error = errno;
  pthread_mutex_lock (&proxy->mutex);
  proxy->saving = false;
  pthread_cond_broadcast (&proxy->saved_wake);
  if (result == -1) {
    proxy_log_locked (proxy, PROXY_ERROR, "cannot write %s: %s",
                      proxy->config.state_path, strerror (error));
    return false;
  }
  proxy->state.session = state.session;
  proxy->saved = saves;
  return true;
}

uint64_t
proxy_take_session_locked (struct proxy *proxy)
{
  if (proxy->config.state_path != NULL) {
    if (proxy->next_session > proxy->state.session &&
        !proxy_save_locked (proxy, proxy->saved))
      return 0;
    if (proxy->next_session + PROXY_SESSIONS_AHEAD / 2 > proxy->state.session)
      pthread_cond_signal (&proxy->saver_wake);
  }
  return proxy->next_session++;
}

/* Reserves session numbers before they are needed, so that a failover
 * does not wait for the disk.
 */
static void *
saver_main (void *argument)
{
  struct proxy *proxy = argument;

  pthread_mutex_lock (&proxy->mutex);
  while (!proxy->stopping) {
    if (proxy->next_session + PROXY_SESSIONS_AHEAD / 2 <= proxy->state.session)
      pthread_cond_wait (&proxy->saver_wake, &proxy->mutex);
    else if (!proxy_save_locked (proxy, proxy->saved))
      proxy_wait_locked (proxy, &proxy->saver_wake,
                         upstream_now_ms () + SAVE_RETRY_MS);
  }
  pthread_mutex_unlock (&proxy->mutex);
  return NULL;
}

/* ---------------------------------------------------------------- control */

/* The live session has not answered yet: its generation is not the one
 * that the next open would show.
 */
static bool
is_fresh_locked (const struct proxy *proxy)
{
  const struct upstream_facts *facts = &proxy->session.facts;

  return proxy->live && (facts->can & UPSTREAM_IS_DUET) != 0 &&
    !gen_id_equal (facts->description.generation, proxy->state.generation);
}

/* Since when is an answer waited for? */
static uint64_t
oldest_sent_ms_locked (const struct proxy *proxy)
{
  uint64_t sent_ms = unanswered_sent_ms (proxy->table);

  return proxy->again_ms < sent_ms ? proxy->again_ms : sent_ms;
}

void
proxy_event_locked (struct proxy *proxy, enum route_event_type type,
                    uint64_t attempt)
{
  struct route_event event = {
    .type = type,
    .now_ms = upstream_now_ms (),
    .attempt = attempt,
    .sent_ms = oldest_sent_ms_locked (proxy),
    .fresh = is_fresh_locked (proxy),
  };
  struct route_step step;
  struct node_task task;

  if (proxy->stopping)
    return;
  if (type == ROUTE_TICK && proxy->route.ask != ROUTE_ASK_NONE &&
      event.now_ms >= proxy->route.ask_until_ms)
    node_log_locked (&proxy->nodes[proxy->route.ask_node], "cannot be reached",
                     "no answer in time");
  step = route_step (&proxy->route, &event);
  if (step.abandon && step.adopt)
    proxy_log_locked (proxy, PROXY_NEWS,
                      "session %" PRIu64 " with %s left: no answer "
                      "for %" PRIu64 " ms",
                      proxy->session.number,
                      proxy->nodes[proxy->session.node].uri,
                      event.now_ms - event.sent_ms);
  if (step.abandon)
    session_abandon_locked (proxy);
  if (step.adopt) {
    assert (proxy->accepted_conn != NULL);
    session_adopt_locked (proxy, proxy->accepted, proxy->accepted_conn);
    proxy->accepted_conn = NULL;
    if (proxy->troubled)
      proxy_log_locked (proxy, PROXY_NEWS, "session %" PRIu64 " with %s",
                        proxy->session.number,
                        proxy->nodes[proxy->session.node].uri);
    proxy->troubled = false;
  }
  if (step.ask != ROUTE_ASK_NONE) {
    task = (struct node_task){
      .ask = step.ask,
      .attempt = step.attempt,
      .unreachable = step.unreachable,
      .greet_by_ms = step.greet_by_ms,
      .answer_by_ms = step.answer_by_ms,
    };
    node_ask_locked (&proxy->nodes[step.node], &task);
  }
  if (type != ROUTE_TICK)
    proxy_kick (proxy->control_kick);
}

static uint64_t
next_tick_ms_locked (const struct proxy *proxy)
{
  uint64_t now_ms = upstream_now_ms ();
  uint64_t tick_ms = now_ms + TICK_MS;
  uint64_t deadline_ms;

  /* A request may be sent, and so begin to wait, after this. */
  if (proxy->config.timeout_ms / 4 < TICK_MS)
    tick_ms = now_ms + proxy->config.timeout_ms / 4 + 1;
  deadline_ms = route_deadline (&proxy->route, oldest_sent_ms_locked (proxy));
  return deadline_ms < tick_ms ? deadline_ms : tick_ms;
}

/* Wait for hang-ups and kicks.  Unlocks. */
static void
wait_events_locked (struct proxy *proxy)
{
  struct epoll_event events[EVENTS_MAX];
  uint64_t now_ms = upstream_now_ms ();
  uint64_t until_ms = next_tick_ms_locked (proxy);
  uint64_t kicks;
  int count, i;

  pthread_mutex_unlock (&proxy->mutex);
  count = epoll_wait (proxy->epoll, events, EVENTS_MAX,
                      until_ms > now_ms ? (int) (until_ms - now_ms) : 0);
  pthread_mutex_lock (&proxy->mutex);
  for (i = 0; i < count; i++)
    if (events[i].data.u64 != kick_event)
      session_lost_locked (proxy, events[i].data.u64, ROUTE_LOST_EOF,
                           "the connection ended");
    else if (read (proxy->control_kick, &kicks, sizeof kicks) == -1)
      assert (errno == EAGAIN);
}

static void
wake_all_locked (struct proxy *proxy)
{
  uint32_t i;

  for (i = 0; i < PROXY_REQUESTS_MAX; i++)
    pthread_cond_broadcast (&proxy->requests[i].wake);
  for (i = 0; i < proxy->config.nodes; i++) {
    pthread_cond_broadcast (&proxy->nodes[i].wake);
    proxy_kick (proxy->nodes[i].cancel);
  }
  pthread_cond_broadcast (&proxy->facts_wake);
  pthread_cond_broadcast (&proxy->room);
  pthread_cond_broadcast (&proxy->saver_wake);
  pthread_cond_broadcast (&proxy->kept_room);
  pthread_cond_broadcast (&proxy->kept_wake);
  pthread_cond_broadcast (&proxy->kept_flush);
  proxy_kick (proxy->control_kick);
}

static void
stop_locked (struct proxy *proxy)
{
  proxy->stopping = true;
  if (proxy->live)
    session_abandon_locked (proxy);
  session_reap_all_locked (proxy);
  wake_all_locked (proxy);
}

static void *
control_main (void *argument)
{
  struct proxy *proxy = argument;
  uint64_t checked_ms = 0;

  pthread_mutex_lock (&proxy->mutex);
  proxy_event_locked (proxy, ROUTE_START, 0);
  while (!proxy->stopping) {
    write_log_locked (proxy);
    session_reap_all_locked (proxy);
    wait_events_locked (proxy);
    proxy_event_locked (proxy, ROUTE_TICK, 0);
    /* nbdkit ends only when its threads have left us, so look whether it
     * wants to end while some wait here.
     */
    if ((proxy->waiting > 0 || unanswered_count (proxy->table) > 0) &&
        upstream_now_ms () - checked_ms >= TICK_MS) {
      checked_ms = upstream_now_ms ();
      if (proxy_is_client_gone_locked (proxy))
        stop_locked (proxy);
    }
  }
  write_log_locked (proxy);
  pthread_mutex_unlock (&proxy->mutex);
  return NULL;
}

/* ------------------------------------------------------------- life cycle */

static void
init_cond (pthread_cond_t *cond)
{
  pthread_condattr_t attributes;

  pthread_condattr_init (&attributes);
  pthread_condattr_setclock (&attributes, CLOCK_MONOTONIC);
  pthread_cond_init (cond, &attributes);
  pthread_condattr_destroy (&attributes);
}

/* 0, or -1 with errno set. */
static int
init_files (struct proxy *proxy)
{
  struct epoll_event event = { .events = EPOLLIN };
  uint32_t i;

  event.data.u64 = kick_event;
  proxy->epoll = epoll_create1 (EPOLL_CLOEXEC);
  proxy->control_kick = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (proxy->epoll == -1 || proxy->control_kick == -1 ||
      epoll_ctl (proxy->epoll, EPOLL_CTL_ADD, proxy->control_kick, &event) ==
        -1)
    return -1;
  for (i = 0; i < proxy->config.nodes; i++) {
    proxy->nodes[i].cancel = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (proxy->nodes[i].cancel == -1)
      return -1;
  }
  return 0;
}

static uint64_t
random_id (void)
{
  uint64_t id = 0;

  while (id == 0)
    if (getrandom (&id, sizeof id, 0) != sizeof id)
      id = 0;
  return id;
}

/* 0, or -1 after the error was reported. */
static int
init_state (struct proxy *proxy)
{
  const char *path = proxy->config.state_path, *why;

  proxy->state_lock = -1;
  if (path != NULL) {
    proxy->state_lock = proxystate_load (path, &proxy->state, &why);
    if (proxy->state_lock == -1) {
      nbdkit_error ("state=%s: %s: %m", path, why);
      return -1;
    }
  }
  if (proxy->state.client == 0)
    proxy->state.client = random_id ();
  proxy->next_session = proxy->state.session + 1;
  if (path == NULL)
    return 0;
  /* Now, so that a folder that cannot be written shows at the start. */
  proxy->state.session += PROXY_SESSIONS_AHEAD;
  if (proxystate_save (path, &proxy->state) == -1) {
    nbdkit_error ("state=%s: cannot write it: %m", path);
    return -1;
  }
  return 0;
}

struct proxy *
proxy_new (const struct proxy_config *config)
{
  struct proxy *proxy = calloc (1, sizeof *proxy);
  struct route_config route = { .nodes = config->nodes,
                                .timeout_ms = config->timeout_ms,
                                .seed = random_id () };
  uint32_t i;

  if (proxy == NULL ||
      (proxy->table = unanswered_new (PROXY_REQUESTS_MAX)) == NULL ||
      !kept_init (proxy)) {
    nbdkit_error ("out of memory");
    free (proxy);
    return NULL;
  }
  proxy->config = *config;
  proxy->epoll = proxy->control_kick = -1;
  pthread_mutex_init (&proxy->mutex, NULL);
  init_cond (&proxy->room);
  init_cond (&proxy->facts_wake);
  init_cond (&proxy->saved_wake);
  init_cond (&proxy->saver_wake);
  init_cond (&proxy->kept_room);
  init_cond (&proxy->kept_wake);
  init_cond (&proxy->kept_flush);
  TAILQ_INIT (&proxy->all);
  route_init (&proxy->route, &route);
  for (i = 0; i < PROXY_REQUESTS_MAX; i++) {
    proxy->requests[i].proxy = proxy;
    init_cond (&proxy->requests[i].wake);
  }
  for (i = 0; i < config->nodes; i++) {
    proxy->nodes[i].proxy = proxy;
    proxy->nodes[i].index = i;
    proxy->nodes[i].uri = config->uris[i];
    proxy->nodes[i].cancel = -1;
    init_cond (&proxy->nodes[i].wake);
  }
  if (init_state (proxy) == -1)
    return NULL;
  return proxy;
}

/* 0, or -1 with errno set. */
static int
start_thread (struct proxy *proxy, const char *name, void *(*run) (void *),
              void *argument)
{
  int error = thread_start (&proxy->threads[proxy->thread_count], name, run,
                            argument);

  errno = error;
  if (error != 0)
    return -1;
  proxy->thread_count++;
  return 0;
}

/* 0, or -1 with errno set; some threads may run then. */
static int
start_threads (struct proxy *proxy)
{
  uint32_t i;

  for (i = 0; i < proxy->config.nodes; i++)
    if (start_thread (proxy, "proxy-node", node_main, &proxy->nodes[i]) == -1)
      return -1;
  if (proxy->config.state_path != NULL &&
      start_thread (proxy, "proxy-saver", saver_main, proxy) == -1)
    return -1;
  if (start_thread (proxy, "proxy-first", first_main, proxy) == -1 ||
      start_thread (proxy, "proxy-again", kept_again_main, proxy) == -1 ||
      start_thread (proxy, "proxy-flush", kept_flush_main, proxy) == -1)
    return -1;
  return start_thread (proxy, "proxy-control", control_main, proxy);
}

int
proxy_start (struct proxy *proxy)
{
  if (init_files (proxy) == -1) {
    nbdkit_error ("cannot make event descriptors: %m");
    return -1;
  }
  if (start_threads (proxy) == -1) {
    nbdkit_error ("cannot start a thread: %m");
    proxy_stop (proxy);
    return -1;
  }
  return 0;
}

void
proxy_end_requests (struct proxy *proxy)
{
  pthread_mutex_lock (&proxy->mutex);
  if (!proxy->stopping)
    stop_locked (proxy);
  pthread_mutex_unlock (&proxy->mutex);
}

void
proxy_stop (struct proxy *proxy)
{
  if (proxy->thread_count == 0)
    return;
  proxy_end_requests (proxy);
  while (proxy->thread_count > 0)
    pthread_join (proxy->threads[--proxy->thread_count], NULL);
  pthread_mutex_lock (&proxy->mutex);
  session_reap_all_locked (proxy);
  pthread_mutex_unlock (&proxy->mutex);
}

static void
close_file (int fd)
{
  if (fd != -1)
    close (fd);
}

void
proxy_free (struct proxy *proxy)
{
  uint32_t i;

  for (i = 0; i < proxy->config.nodes; i++)
    close_file (proxy->nodes[i].cancel);
  close_file (proxy->control_kick);
  close_file (proxy->epoll);
  close_file (proxy->state_lock);
  unanswered_free (proxy->table);
  kept_end (proxy);
  free (proxy);
}
