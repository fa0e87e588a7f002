/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy-node.c: one thread per node, which opens sessions there.
 *
 * A thread of its own lets the resolver, a TLS handshake or a slow node
 * take its time without holding up anything else.  The thread never
 * decides: it reports to the route, and what it opened for an attempt
 * that is no longer wanted is closed again.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "proxy-internal.h"

void
node_ask_locked (struct node *node, const struct node_task *task)
{
  node->task = *task;
  node->has_task = true;
  pthread_cond_signal (&node->wake);
  proxy_kick (node->cancel);
}

void
node_log_locked (struct node *node, const char *verb, const char *message)
{
  char line[UPSTREAM_MESSAGE_MAX];

  snprintf (line, sizeof line, "%s: %.200s", verb, message);
  if (strcmp (line, node->logged) == 0)
    return;
  memcpy (node->logged, line, sizeof line);
  proxy_log_locked (node->proxy, PROXY_NEWS, "node %s %s", node->uri, line);
}

static const char *
missing_capability (uint32_t missing)
{
  static const struct {
    uint32_t can;
    const char *name;
  } names[] = {
    { UPSTREAM_CAN_WRITE, "writing" },
    { UPSTREAM_CAN_FLUSH, "flush" },
    { UPSTREAM_CAN_FUA, "forced unit access" },
    { UPSTREAM_CAN_TRIM, "trim" },
    { UPSTREAM_CAN_ZERO, "write-zeroes" },
    { UPSTREAM_CAN_CACHE, "cache" },
    { UPSTREAM_CAN_EXTENTS, "extents" },
    { UPSTREAM_IS_DUET, "the duet protocol" },
  };
  size_t i;

  for (i = 0; i < sizeof names / sizeof names[0]; i++)
    if (missing & names[i].can)
      return names[i].name;
  return "nothing";
}

/* May the server stand in for what clients were promised?  Else says why
 * not in MESSAGE.
 */
static bool
fits_locked (const struct proxy *proxy, const struct upstream_facts *facts,
             char *message)
{
  const struct upstream_facts *promised = &proxy->facts;
  uint32_t missing;

  if (facts->block_min_bytes > 1) {
    snprintf (message, UPSTREAM_MESSAGE_MAX,
              "it wants requests in blocks of %" PRIu32 " bytes",
              facts->block_min_bytes);
    return false;
  }
  if (!proxy->witness)
    return true;
  if (facts->size_bytes < promised->size_bytes) {
    snprintf (message, UPSTREAM_MESSAGE_MAX,
              "its volume has %" PRIu64 " bytes, %" PRIu64 " are needed",
              facts->size_bytes, promised->size_bytes);
    return false;
  }
  if (facts->payload_max_bytes < promised->payload_max_bytes) {
    snprintf (message, UPSTREAM_MESSAGE_MAX,
              "its largest request is %" PRIu32 " bytes, %" PRIu32
              " are needed",
              facts->payload_max_bytes, promised->payload_max_bytes);
    return false;
  }
  /* A fast zero may be answered with ENOTSUP at any time. */
  missing = promised->can & ~facts->can & ~(uint32_t) UPSTREAM_CAN_FAST_ZERO;
  if (missing != 0)
    snprintf (message, UPSTREAM_MESSAGE_MAX, "it lacks %s",
              missing_capability (missing));
  return missing == 0;
}

/* Wait for the opening to leave stages below WANTED. */
static void
wait_stage (struct node *node, struct opening *opening,
            enum upstream_stage wanted, uint64_t until_ms)
{
  while (opening->stage < wanted)
    if (!upstream_wait (opening, 1, node->cancel, until_ms))
      break;
  if (opening->stage < wanted) {
    opening->stage = UPSTREAM_UNREACHABLE;
    snprintf (opening->message, sizeof opening->message, "no answer in time");
  }
}

/* The name to ask for, with a new session number.  False when there is
 * none.
 */
static bool
name_session (struct node *node, const struct node_task *task,
              struct session *session)
{
  struct proxy *proxy = node->proxy;
  struct export_ask ask = { .unreachable = task->unreachable };

  pthread_mutex_lock (&proxy->mutex);
  ask.session = proxy_take_session_locked (proxy);
  ask.client = proxy->state.client;
  ask.shown = proxy->state.generation;
  pthread_mutex_unlock (&proxy->mutex);
  session->number = ask.session;
  session->node = node->index;
  if (ask.session != 0)
    exportname_format (&ask, session->name);
  return ask.session != 0;
}

/* -------------------------------------------------------------- joining */

/* One more connection of SESSION is ready. */
static void
add_joined (struct proxy *proxy, const struct session *session,
            struct opening *opening)
{
  struct upstream_facts facts;
  struct conn *conn = NULL;

  if (upstream_facts (opening, &facts))
    conn = session_new_conn (proxy, opening, session->number);
  pthread_mutex_lock (&proxy->mutex);
  if (conn != NULL)
    session_add_conn_locked (proxy, conn);
  /* All connections of a session are of one generation, at one process. */
  if (facts.description.generation.id !=
        session->facts.description.generation.id ||
      facts.description.boot != session->facts.description.boot)
    session_lost_locked (proxy, session->number, ROUTE_LOST_SHUTDOWN,
                         "the node's generation has changed");
  pthread_mutex_unlock (&proxy->mutex);
  if (opening->nbd != NULL)
    upstream_drop (opening);
}

static bool
is_session_live (struct proxy *proxy, const struct session *session)
{
  bool live;

  pthread_mutex_lock (&proxy->mutex);
  live = proxy->live && proxy->session.number == session->number;
  pthread_mutex_unlock (&proxy->mutex);
  return live;
}

/* Open further connections of SESSION, all side by side.  Those that fail
 * are left out: the session works with fewer.
 */
static void
join_session (struct node *node, const struct session *session)
{
  struct proxy *proxy = node->proxy;
  struct opening openings[PROXY_CONNECTIONS_MAX];
  uint64_t until_ms = upstream_now_ms () + ROUTE_OPEN_MS;
  uint32_t count = proxy->config.connections - 1;
  uint32_t i, moving;

  for (i = 0; i < count; i++)
    upstream_start (&openings[i], node->uri);
  do {
    moving = 0;
    for (i = 0; i < count; i++) {
      if (openings[i].stage == UPSTREAM_GREETED)
        upstream_go (&openings[i], session->name);
      if (openings[i].stage == UPSTREAM_READY && openings[i].nbd != NULL)
        add_joined (proxy, session, &openings[i]);
      moving += openings[i].stage < UPSTREAM_READY;
    }
  } while (moving > 0 && is_session_live (proxy, session) &&
           upstream_wait (openings, count, node->cancel, until_ms));
  pthread_mutex_lock (&proxy->mutex);
  if (proxy->live && proxy->session.number == session->number) {
    session_joined_locked (proxy);
    if (proxy->conn_count <= count)
      proxy_log_locked (proxy, PROXY_NEWS,
                        "session %" PRIu64 ": %" PRIu32 " of %" PRIu32
                        " connections opened",
                        session->number, proxy->conn_count, count + 1);
  }
  pthread_mutex_unlock (&proxy->mutex);
  for (i = 0; i < count; i++)
    if (openings[i].nbd != NULL)
      upstream_drop (&openings[i]);
}

/* -------------------------------------------------------------- opening */

static bool
is_wanted_locked (const struct proxy *proxy, const struct node_task *task)
{
  return !proxy->stopping && proxy->route.ask == task->ask &&
    proxy->route.attempt == task->attempt;
}

/* The node does not serve: say so, and tell the route. */
static void
report (struct node *node, const struct node_task *task,
        enum upstream_stage stage, const char *message)
{
  struct proxy *proxy = node->proxy;
  bool refused = stage == UPSTREAM_REFUSED;

  pthread_mutex_lock (&proxy->mutex);
  if (is_wanted_locked (proxy, task)) {
    node_log_locked (node, refused ? "refused" : "cannot be reached", message);
    proxy_event_locked (proxy, refused ? ROUTE_REFUSED : ROUTE_UNREACHABLE,
                        task->attempt);
  }
  pthread_mutex_unlock (&proxy->mutex);
}

/* The node has said no.  The route goes on at once; then the node is asked
 * what it is, for the log.
 */
static void
report_refusal (struct node *node, const struct node_task *task,
                struct opening *opening)
{
  struct proxy *proxy = node->proxy;
  struct export_description is;
  bool wanted;

  pthread_mutex_lock (&proxy->mutex);
  wanted = is_wanted_locked (proxy, task);
  if (wanted)
    proxy_event_locked (proxy, ROUTE_REFUSED, task->attempt);
  pthread_mutex_unlock (&proxy->mutex);
  if (!wanted ||
      !upstream_describe (opening, node->cancel,
                          upstream_now_ms () + ROUTE_OPEN_MS, &is))
    return;
  snprintf (opening->message, sizeof opening->message,
            "does not serve (state=%s primary=%.200s)", is.state,
            is.primary[0] != '\0' ? is.primary : "-");
  pthread_mutex_lock (&proxy->mutex);
  if (!proxy->stopping)
    node_log_locked (node, "refused", opening->message);
  pthread_mutex_unlock (&proxy->mutex);
}

/* The node has opened the session: it becomes the live one if it still
 * may.  CONN is abandoned otherwise.
 */
static bool
offer_session (struct node *node, const struct node_task *task,
               const struct session *session, struct conn *conn, char *message)
{
  struct proxy *proxy = node->proxy;
  bool adopted = false;

  pthread_mutex_lock (&proxy->mutex);
  if (is_wanted_locked (proxy, task) &&
      fits_locked (proxy, &session->facts, message)) {
    proxy->accepted = session;
    proxy->accepted_conn = conn;
    node->logged[0] = '\0';
    proxy_event_locked (proxy, ROUTE_ACCEPTED, task->attempt);
    adopted = proxy->accepted_conn == NULL;
    proxy->accepted = NULL;
    proxy->accepted_conn = NULL;
  }
  if (!adopted)
    session_add_conn_locked (proxy, conn);
  session_reap_all_locked (proxy);
  pthread_mutex_unlock (&proxy->mutex);
  return adopted;
}

static void
open_session (struct node *node, const struct node_task *task,
              struct opening *opening)
{
  struct session session = { 0 };
  struct conn *conn;

  if (opening->stage == UPSTREAM_GREETED) {
    if (name_session (node, task, &session)) {
      upstream_go (opening, session.name);
      wait_stage (node, opening, UPSTREAM_READY, task->answer_by_ms);
    }
    else {
      opening->stage = UPSTREAM_REFUSED;
      snprintf (opening->message, sizeof opening->message,
                "cannot write the state file, so it was not asked");
    }
  }
  if (opening->stage == UPSTREAM_READY) {
    if (!upstream_facts (opening, &session.facts))
      snprintf (opening->message, sizeof opening->message,
                "it speaks another version of the duet protocol");
    else if ((conn = session_new_conn (node->proxy, opening, session.number)) ==
             NULL)
      snprintf (opening->message, sizeof opening->message, "%s",
                strerror (errno));
    else if (offer_session (node, task, &session, conn, opening->message)) {
      if (node->proxy->config.connections > 1 && session.facts.is_multi_conn)
        join_session (node, &session);
      return;
    }
    report (node, task, UPSTREAM_REFUSED, opening->message);
  }
  else if (opening->stage == UPSTREAM_REFUSED && opening->go_error == ENOENT)
    report_refusal (node, task, opening);
  else
    report (node, task, opening->stage, opening->message);
}

static void
carry_out (struct node *node, const struct node_task *task)
{
  struct proxy *proxy = node->proxy;
  struct opening opening;

  upstream_start (&opening, node->uri);
  wait_stage (node, &opening, UPSTREAM_GREETED, task->greet_by_ms);
  if (task->ask == ROUTE_ASK_OPEN)
    open_session (node, task, &opening);
  else if (opening.stage == UPSTREAM_GREETED) {
    pthread_mutex_lock (&proxy->mutex);
    proxy_event_locked (proxy, ROUTE_REACHED, task->attempt);
    pthread_mutex_unlock (&proxy->mutex);
  }
  else
    report (node, task, UPSTREAM_UNREACHABLE, opening.message);
  if (opening.nbd != NULL)
    upstream_drop (&opening);
}

void *
node_main (void *argument)
{
  struct node *node = argument;
  struct proxy *proxy = node->proxy;
  struct node_task task;
  uint64_t kicks;

  pthread_mutex_lock (&proxy->mutex);
  while (!proxy->stopping) {
    if (!node->has_task) {
      pthread_cond_wait (&node->wake, &proxy->mutex);
      continue;
    }
    node->has_task = false;
    task = node->task;
    if (read (node->cancel, &kicks, sizeof kicks) == -1)
      assert (errno == EAGAIN);
    pthread_mutex_unlock (&proxy->mutex);
    carry_out (node, &task);
    pthread_mutex_lock (&proxy->mutex);
  }
  pthread_mutex_unlock (&proxy->mutex);
  return NULL;
}
