/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine-events.c: the last events of this process, for people who follow
 * them: a ring of fixed size, the oldest are forgotten.  Who asks says
 * what it has seen, so that nothing is kept for anybody.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "engine-internal.h"

static const char *const kind_names[] = {
  [EVENT_START] = "start",
  [EVENT_STATE] = "state",
  [EVENT_LINK] = "link",
  [EVENT_RESYNC] = "resync",
  [EVENT_GENERATION] = "generation",
  [EVENT_SIZE] = "size",
};

const char *
engine_event_name (enum engine_event_kind kind)
{
  return kind_names[kind];
}

static uint64_t
wall_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_REALTIME, &now);
  return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* A new one, its text still empty; LOCK is held. */
static struct engine_event *
add_locked (struct engine *engine, enum engine_event_kind kind)
{
  struct engine_events *events = &engine->events;
  struct engine_event *event = &events->list[events->count % ENGINE_EVENTS];

  *event = (struct engine_event){
    .number = ++events->count,
    .time_ms = wall_ms (),
    .kind = kind,
    .state = events->shown.state,
    .gen = events->gen,
  };
  return event;
}

void
engine_started_locked (struct engine *engine)
{
  struct engine_events *events = &engine->events;

  core_view (engine->core, &events->shown);
  events->gen = gen_current (&events->shown.record);
  events->news = core_news (engine->core);
  snprintf (add_locked (engine, EVENT_START)->text, ENGINE_REASON,
            "the node has started");
}

static void
tell_link_locked (struct engine *engine, const struct core_view *view)
{
  struct engine_event *event = add_locked (engine, EVENT_LINK);

  if (view->linked)
    snprintf (event->text, ENGINE_REASON, "connected to the peer");
  else
    snprintf (event->text, ENGINE_REASON, "not connected: %s",
              view->link_reason != NULL ? view->link_reason : "no reason");
}

static void
tell_resync_locked (struct engine *engine, const struct core_view *view)
{
  struct engine_event *event = add_locked (engine, EVENT_RESYNC);

  if (view->resyncing)
    snprintf (event->text, ENGINE_REASON,
              "begun: at most %" PRIu64 " bytes differ", view->dirty_bytes);
  else if (!view->linked)
    snprintf (event->text, ENGINE_REASON, "interrupted");
  else
    snprintf (event->text, ENGINE_REASON, "ended");
}

static void
tell_generation_locked (struct engine *engine, const struct gen_record *record)
{
  struct engine_event *event = add_locked (engine, EVENT_GENERATION);

  snprintf (event->text, ENGINE_REASON, "%" PRIu64 ".%016" PRIx64 " (%s): %s",
            event->gen.epoch, event->gen.id,
            gen_kind_name ((enum gen_kind) record->history[0].kind),
            record->both ? "both nodes are members"
                         : "this node is the only member");
}

static void
tell_size_locked (struct engine *engine, uint64_t before, uint64_t size)
{
  struct engine_event *event = add_locked (engine, EVENT_SIZE);

  snprintf (event->text, ENGINE_REASON,
            "the volume has grown from %" PRIu64 " to %" PRIu64 " bytes",
            before, size);
  engine_log (engine, "%s", event->text);
}

void
engine_news_locked (struct engine *engine)
{
  struct engine_events *events = &engine->events;
  struct core_view before = events->shown, view;
  struct gen_id gen = events->gen;
  char reason[ENGINE_REASON];

  if (core_news (engine->core) == events->news)
    return;
  events->news = core_news (engine->core);
  core_view (engine->core, &view);
  events->shown = view;
  if (view.settled)
    events->gen = gen_current (&view.record);
  if (view.linked != before.linked)
    tell_link_locked (engine, &view);
  if (!gen_id_equal (gen, events->gen))
    tell_generation_locked (engine, &view.record);
  if (view.record.size != before.record.size)
    tell_size_locked (engine, before.record.size, view.record.size);
  if (view.state != before.state || view.reason != before.reason) {
    engine_reason_locked (engine, &view, reason);
    memcpy (add_locked (engine, EVENT_STATE)->text, reason, sizeof reason);
  }
  if (view.resyncing != before.resyncing)
    tell_resync_locked (engine, &view);
}

uint64_t
engine_events (struct engine *engine, uint64_t after, struct engine_event *list,
               uint32_t *count, uint64_t *boot)
{
  const struct engine_events *events = &engine->events;
  uint64_t first = 1, number, newest;

  pthread_mutex_lock (&engine->lock);
  newest = events->count;
  if (newest > ENGINE_EVENTS)
    first = newest - ENGINE_EVENTS + 1;
  if (after >= first && after <= newest)
    first = after + 1;
  *count = 0;
  for (number = first; number <= newest; number++)
    list[(*count)++] = events->list[(number - 1) % ENGINE_EVENTS];
  *boot = engine->config.core.boot;
  pthread_mutex_unlock (&engine->lock);
  return newest;
}
