/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * route.c: where the proxy turns next.  See route.h for the picture.
 *
 * The order of a round: the node that served last comes first, because a
 * node that ended a session by itself, or whose process was restarted,
 * answers at once; nodes that could not be reached in the last round come
 * last, because they may cost the whole time limit.
 *
 * A node that refuses is asked again in the next round.  When it refused
 * while some other node could not be reached, it is told so: only the
 * client knows that the primary is cut off from it, and a backup whose
 * link is up does not move without a reason.  A client with one node only
 * reaches no other.
 */
#include <assert.h>
#include <string.h>

#include "route.h"

/* -------------------------------------------------------------- helpers */

/* xorshift64*: good enough to keep proxies from marching in step. */
static uint64_t
next_random (struct route *route)
{
  route->random ^= route->random >> 12;
  route->random ^= route->random << 25;
  route->random ^= route->random >> 27;
  return route->random * 0x2545f4914f6cdd1d;
}

/* Pause before the next round, with jitter: half fixed, half random. */
static uint64_t
pause_ms (struct route *route)
{
  uint64_t nominal = ROUTE_PAUSE_MIN_MS;
  uint32_t i = 1;

  if (route->live) {
    nominal = ROUTE_PROBE_PAUSE_MS;
    i = ROUTE_PROBES_QUICK;
  }
  for (; i < route->failed_rounds && nominal < ROUTE_PAUSE_MAX_MS; i++)
    nominal *= 2;
  if (nominal > ROUTE_PAUSE_MAX_MS)
    nominal = ROUTE_PAUSE_MAX_MS;
  return nominal / 2 + next_random (route) % (nominal / 2 + 1);
}

static uint64_t
at_least_1 (uint64_t ms)
{
  return ms > 0 ? ms : 1;
}

/* An answer may take so long until something is done about it.  The first
 * one of a session gets more than the limit with each session that was
 * lost for want of one, so that a slow disk does not end sessions for
 * ever.
 */
static uint64_t
stall_ms (const struct route *route)
{
  uint64_t timeout_ms = route->config.timeout_ms;

  if (route->fresh)
    return timeout_ms << route->patience;
  return at_least_1 (timeout_ms >> (ROUTE_CAUTION_MAX - route->caution));
}

static uint64_t
ping_limit_ms (const struct route *route)
{
  uint64_t limit_ms = route->config.timeout_ms / 4;

  return limit_ms > ROUTE_PING_MIN_MS ? limit_ms : ROUTE_PING_MIN_MS;
}

/* Some node other than NODE had this result when last asked. */
static bool
another_was (const struct route *route, uint32_t node, enum route_result result)
{
  uint32_t other;

  for (other = 0; other < route->config.nodes; other++)
    if (other != node && route->last[other] == result)
      return true;
  return false;
}

/* Is it worth while to ask whether the serving node can be reached?  It
 * serves to tell those who refuse; a single node is asked for the log.
 */
static bool
is_ping_due (const struct route *route, uint64_t now_ms, uint64_t sent_ms)
{
  uint64_t timeout_ms = route->config.timeout_ms;

  return now_ms - sent_ms >= timeout_ms - timeout_ms / 4 &&
    (!route->pinged || now_ms - route->ping_ms >= timeout_ms) &&
    (route->config.nodes == 1 ||
     another_was (route, route->node, ROUTE_WAS_REFUSED));
}

static bool
is_stalled (const struct route *route, uint64_t now_ms, uint64_t sent_ms)
{
  return route->live && sent_ms != ROUTE_NEVER && now_ms >= sent_ms &&
    now_ms - sent_ms >= stall_ms (route);
}

/* A fresh start: what was learned before does not count any more. */
static void
forget (struct route *route, uint64_t now_ms)
{
  memset (route->last, 0, sizeof route->last);
  route->in_round = false;
  route->failed_rounds = 0;
  route->round_at_ms = now_ms;
  route->pinged = false;
}

static void
begin_round (struct route *route)
{
  uint32_t pass, i;

  route->in_round = true;
  route->round_count = 0;
  route->round_next = 0;
  /* A probe leaves the node that serves alone, but for a ping, whose
   * result the others are told.
   */
  if (route->live)
    route->round[route->round_count++] = route->node;
  for (pass = 0; pass < 2; pass++)
    for (i = 0; i < route->config.nodes; i++) {
      uint32_t node = (route->node + i) % route->config.nodes;
      bool late = route->last[node] == ROUTE_WAS_UNREACHABLE;

      if (late == (pass == 1) && !(route->live && node == route->node))
        route->round[route->round_count++] = node;
    }
}

static void
ask (struct route *route, uint32_t node, uint64_t now_ms,
     struct route_step *step)
{
  uint64_t limit_ms;

  route->ask = route->live && node == route->node ? ROUTE_ASK_PING
                                                  : ROUTE_ASK_OPEN;
  limit_ms = route->ask == ROUTE_ASK_PING ? ping_limit_ms (route)
                                          : ROUTE_OPEN_MS;
  route->ask_node = node;
  route->ask_until_ms = now_ms + limit_ms;
  route->attempt++;
  step->ask = route->ask;
  step->node = node;
  step->attempt = route->attempt;
  step->unreachable = route->ask == ROUTE_ASK_OPEN &&
    route->last[node] == ROUTE_WAS_REFUSED &&
    (route->config.nodes == 1 ||
     another_was (route, node, ROUTE_WAS_UNREACHABLE));
  step->answer_by_ms = route->ask_until_ms;
  step->greet_by_ms = now_ms + route->config.timeout_ms;
  if (step->greet_by_ms > step->answer_by_ms)
    step->greet_by_ms = step->answer_by_ms;
}

/* ---------------------------------------------------------------- events */

static void
on_lost (struct route *route, enum route_event_type type, uint64_t now_ms,
         struct route_step *step)
{
  step->abandon = true;
  route->live = false;
  forget (route, now_ms);
  if (type == ROUTE_LOST_TIMEOUT)
    route->node = (route->node + 1) % route->config.nodes;
  /* An open that is under way may succeed: wait for it.  A ping is of no
   * more use.
   */
  if (route->ask == ROUTE_ASK_PING)
    route->ask = ROUTE_ASK_NONE;
}

static void
on_accepted (struct route *route, uint64_t now_ms, struct route_step *step)
{
  step->abandon = route->live;
  step->adopt = true;
  route->live = true;
  route->caution = 0;
  route->node = route->ask_node;
  route->ask = ROUTE_ASK_NONE;
  forget (route, now_ms);
}

static void
on_answer (struct route *route, enum route_result result)
{
  route->last[route->ask_node] = result;
  route->ask = ROUTE_ASK_NONE;
}

static void
on_event (struct route *route, const struct route_event *event,
          struct route_step *step)
{
  bool is_answer = route->ask != ROUTE_ASK_NONE &&
    event->attempt == route->attempt;

  switch (event->type) {
  case ROUTE_START: forget (route, event->now_ms); break;
  case ROUTE_TICK:
    if (route->ask != ROUTE_ASK_NONE && event->now_ms >= route->ask_until_ms)
      on_answer (route, ROUTE_WAS_UNREACHABLE);
    break;
  case ROUTE_ACCEPTED:
    if (is_answer && route->ask == ROUTE_ASK_OPEN)
      on_accepted (route, event->now_ms, step);
    break;
  case ROUTE_REFUSED:
    if (is_answer)
      on_answer (route, ROUTE_WAS_REFUSED);
    break;
  case ROUTE_REACHED:
    if (is_answer)
      on_answer (route, ROUTE_WAS_REACHED);
    break;
  case ROUTE_UNREACHABLE:
    if (is_answer)
      on_answer (route, ROUTE_WAS_UNREACHABLE);
    break;
  case ROUTE_LOST_EOF:
  case ROUTE_LOST_SHUTDOWN:
  case ROUTE_LOST_TIMEOUT:
    if (route->live)
      on_lost (route, event->type, event->now_ms, step);
    break;
  }
}

/* The live session is answered in time (again): probes that went before
 * were not needed.
 */
static void
calm_down (struct route *route, uint64_t now_ms)
{
  if (route->failed_rounds > 0 || route->in_round) {
    if (route->caution < ROUTE_CAUTION_MAX)
      route->caution++;
    route->alarm_ms = now_ms;
  }
  else if (now_ms - route->alarm_ms >= ROUTE_CALM_MS)
    route->caution = 0;
  forget (route, now_ms);
}

/* The next node of the round; false when there is none left. */
static bool
ask_next (struct route *route, const struct route_event *event,
          struct route_step *step)
{
  while (route->round_next < route->round_count) {
    uint32_t node = route->round[route->round_next++];

    if (route->live && node == route->node) {
      if (!is_ping_due (route, event->now_ms, event->sent_ms))
        continue;
      route->pinged = true;
      route->ping_ms = event->now_ms;
    }
    ask (route, node, event->now_ms, step);
    return true;
  }
  return false;
}

/* Nothing is asked: ask the next node when its time has come. */
static void
go_on (struct route *route, const struct route_event *event,
       struct route_step *step)
{
  uint64_t now_ms = event->now_ms;

  if (route->live && !is_stalled (route, now_ms, event->sent_ms)) {
    calm_down (route, now_ms);
    return;
  }
  if (route->live && event->fresh && route->config.nodes > 1) {
    if (route->patience < ROUTE_PATIENCE_MAX)
      route->patience++;
    on_lost (route, ROUTE_LOST_TIMEOUT, now_ms, step);
  }
  if (!route->in_round) {
    if (now_ms < route->round_at_ms)
      return;
    begin_round (route);
  }
  if (ask_next (route, event, step))
    return;
  route->in_round = false;
  route->failed_rounds++;
  route->round_at_ms = now_ms + pause_ms (route);
}

void
route_init (struct route *route, const struct route_config *config)
{
  assert (config->nodes >= 1);
  assert (config->nodes <= ROUTE_NODES_MAX);
  assert (config->timeout_ms >= 1);
  memset (route, 0, sizeof *route);
  route->config = *config;
  route->random = config->seed != 0 ? config->seed : 1;
  route->round_at_ms = ROUTE_NEVER;
}

struct route_step
route_step (struct route *route, const struct route_event *event)
{
  struct route_step step = { 0 };

  route->fresh = event->fresh;
  if (route->live && !event->fresh)
    route->patience = 0;
  on_event (route, event, &step);
  /* Requests that waited on the old session are not late on the new. */
  if (route->ask == ROUTE_ASK_NONE && !step.adopt)
    go_on (route, event, &step);
  route_check (route);
  return step;
}

uint64_t
route_deadline (const struct route *route, uint64_t sent_ms)
{
  uint64_t due_ms;

  if (route->ask != ROUTE_ASK_NONE)
    return route->ask_until_ms;
  if (!route->live)
    return route->round_at_ms;
  if (sent_ms == ROUTE_NEVER)
    return ROUTE_NEVER;
  due_ms = sent_ms + stall_ms (route);
  return due_ms > route->round_at_ms ? due_ms : route->round_at_ms;
}

void
route_check (const struct route *route)
{
  assert (route->node < route->config.nodes);
  assert (route->round_count <= route->config.nodes);
  assert (route->round_next <= route->round_count);
  if (route->ask != ROUTE_ASK_NONE)
    assert (route->ask_node < route->config.nodes);
  /* Only a probe pings, and it never opens at the node that serves. */
  if (route->ask == ROUTE_ASK_PING)
    assert (route->live && route->ask_node == route->node);
  if (route->ask == ROUTE_ASK_OPEN && route->live)
    assert (route->ask_node != route->node);
}
