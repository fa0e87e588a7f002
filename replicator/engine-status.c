/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine-status.c: what a node says of itself: its figures, its export
 * description, and the reason for its state, to which the engine adds what
 * the core cannot know or may not put into words.
 */
#include <stdio.h>
#include <string.h>

#include "engine-internal.h"
#include "exportname.h"

/* -------------------------------------------------------------- reason */

/* How a node that has lost its peer, or not met it yet, comes to serve. */
static const char *
how_to_serve (const struct engine *engine, const struct core_view *view)
{
  const struct gen_record *record = &view->record;
  bool alone = view->state == STATE_CANDIDATE || view->state == STATE_WAITING;

  /* There etcd decides, and the core's reason says how that stands. */
  if (engine->arbiter != NULL)
    return "";
  if (!alone || view->linked || view->refused || view->peer_paused ||
      !record->both || record->data != DATA_CURRENT)
    return "";
  if (engine->config.core.takeover == TAKEOVER_ANY)
    return "; any client that opens it makes it primary";
  if (engine->config.core.takeover == TAKEOVER_MANUAL &&
      record->primary != record->node)
    return "; takeover=manual: to make it primary, restart it with "
           "takeover=any";
  return "; waits for the peer, or for a client that was served before and "
         "comes through its proxy (or for the operator: duetctl promote "
         "--force)";
}

void
engine_reason_locked (const struct engine *engine, const struct core_view *view,
                      char text[ENGINE_REASON])
{
  const char *reason = view->reason != NULL ? view->reason : "";
  bool stranger = !view->linked && engine->refused[0] != '\0';

  if (view->refused && view->peer_size_bytes != view->record.size)
    snprintf (text, ENGINE_REASON, "%s (%llu bytes here, %llu there)", reason,
              (unsigned long long) view->record.size,
              (unsigned long long) view->peer_size_bytes);
  else
    snprintf (text, ENGINE_REASON, "%s%s%s%s", reason, stranger ? "; " : "",
              stranger ? engine->refused : "", how_to_serve (engine, view));
}

/* ------------------------------------------------------ speed of a resync */

void
engine_sample_locked (struct engine *engine, uint64_t now_ms)
{
  struct engine_samples *samples = &engine->samples;
  uint32_t last = samples->count - 1;
  struct core_view view;

  if (samples->count > 0 && now_ms < samples->list[last].ms + ENGINE_SAMPLE_MS)
    return;
  core_view (engine->core, &view);
  if (!view.resyncing || view.resync_total_bytes == 0 ||
      view.resync_started_ms != samples->started_ms)
    samples->count = 0;
  if (!view.resyncing || view.resync_total_bytes == 0)
    return;
  samples->started_ms = view.resync_started_ms;
  if (samples->count == ENGINE_SAMPLES)
    memmove (&samples->list[0], &samples->list[1],
             (size_t) --samples->count * sizeof samples->list[0]);
  samples->list[samples->count].ms = now_ms;
  samples->list[samples->count++].left_bytes = view.dirty_bytes;
}

/* Since the oldest sample; since the start when that is younger. */
static uint64_t
speed_locked (const struct engine *engine, const struct core_view *view)
{
  const struct engine_samples *samples = &engine->samples;
  uint64_t from_ms = view->resync_started_ms;
  uint64_t from_bytes = view->resync_total_bytes;
  uint64_t now_ms = engine_now_ms ();

  if (!view->resyncing)
    return 0;
  if (samples->started_ms == view->resync_started_ms &&
      samples->count == ENGINE_SAMPLES) {
    from_ms = samples->list[0].ms;
    from_bytes = samples->list[0].left_bytes;
  }
  if (now_ms <= from_ms || view->dirty_bytes >= from_bytes)
    return 0;
  return (from_bytes - view->dirty_bytes) * 1000 / (now_ms - from_ms);
}

static uint64_t
verify_speed (const struct core_verify *verify)
{
  uint64_t now_ms = engine_now_ms ();

  if (!verify->active || now_ms <= verify->started_ms)
    return 0;
  return verify->checked_bytes * 1000 / (now_ms - verify->started_ms);
}

/* -------------------------------------------------------------- status */

const char *
engine_kind_name (enum engine_kind kind)
{
  static const char *const names[] = {
    "read", "write", "trim", "zero", "flush", "extents", "cache",
  };

  return kind < ENGINE_KINDS ? names[kind] : "?";
}

static void
fill_syncs (struct engine *engine, struct engine_status *status)
{
  struct latency_counts duration, group;

  store_sync_counts (engine->store, &status->fdatasyncs, &status->sync_callers);
  store_sync_histograms (engine->store, &duration, &group);
  status->sync = (struct engine_figures){
    .count = duration.count,
    .p50_us = latency_counts_quantile (&duration, 500),
    .p99_us = latency_counts_quantile (&duration, 990),
    .max_us = duration.max_us,
  };
  status->sync_group = (struct engine_figures){
    .count = group.count,
    .p50_us = latency_counts_quantile (&group, 500),
    .p99_us = latency_counts_quantile (&group, 990),
    .max_us = group.max_us,
  };
}

static void
fill_figures (struct engine *engine, struct engine_status *status)
{
  struct link_counts counts;
  unsigned i;

  for (i = 0; i < ENGINE_KINDS; i++) {
    struct engine_figures *f = &status->requests[i];

    f->count = atomic_load (&engine->count[i]);
    f->errors = atomic_load (&engine->errors[i]);
    f->bytes = atomic_load (&engine->bytes[i]);
    f->p50_us = latency_quantile (&engine->latency[i], 500);
    f->p99_us = latency_quantile (&engine->latency[i], 990);
    f->max_us = atomic_load (&engine->latency[i].max_us);
  }
  fill_syncs (engine, status);
  status->tls = engine->config.tls.psk != NULL ? "psk"
    : engine->config.tls.ca != NULL            ? "x509"
                                               : NULL;
  link_counts (engine->link, &counts);
  status->bytes_sent = counts.bytes_sent;
  status->bytes_received = counts.bytes_received;
  status->frames_sent = counts.frames_sent;
  status->frames_received = counts.frames_received;
  status->link_sends = counts.sends;
  status->link_receives = counts.receives;
}

/* A node whose peer is away is not ill: the peer is. */
static bool
is_healthy (const struct core_view *view)
{
  switch (view->state) {
  case STATE_PRIMARY:
  case STATE_SOLO: return view->serving && view->disk_late_ms == 0;
  case STATE_BACKUP: return view->linked && view->disk_late_ms == 0;
  default: return false;
  }
}

static void
fill_resize (struct engine_status *status)
{
  const struct core_resize *resize = &status->view.resize;

  if (resize->ended == NULL)
    return;
  if (resize->disk_bytes == 0)
    snprintf (status->resize_ended, ENGINE_REASON, "%s", resize->ended);
  else
    snprintf (status->resize_ended, ENGINE_REASON, "%s (it has %llu bytes)",
              resize->ended, (unsigned long long) resize->disk_bytes);
}

void
engine_status (struct engine *engine, struct engine_status *status)
{
  memset (status, 0, sizeof *status);
  pthread_mutex_lock (&engine->lock);
  core_view (engine->core, &status->view);
  engine_reason_locked (engine, &status->view, status->reason);
  status->verify_bytes_per_second = verify_speed (&status->view.verify);
  memcpy (status->arbiter_reason, engine->arbiter_reason,
          sizeof status->arbiter_reason);
  status->resync_bytes_per_second = speed_locked (engine, &status->view);
  status->rtt_us = engine->rtt_us;
  status->events = engine->events.count;
  pthread_mutex_unlock (&engine->lock);
  fill_resize (status);
  status->healthy = is_healthy (&status->view);
  status->arbiter = engine->config.core.arbiter;
  status->durability = engine->config.core.durability;
  snprintf (status->peer_address, sizeof status->peer_address, "%s",
            engine->config.peer);
  fill_figures (engine, status);
}

void
engine_histograms (struct engine *engine, struct engine_histograms *histograms)
{
  for (unsigned i = 0; i < ENGINE_KINDS; i++)
    latency_read (&engine->latency[i], &histograms->requests[i]);
  latency_read (&engine->rtt, &histograms->rtt);
  store_sync_histograms (engine->store, &histograms->sync,
                         &histograms->sync_group);
}

void
engine_describe (struct engine *engine, char *text)
{
  struct export_description description = { .size_bytes = engine->size };
  struct core_view view;
  const char *address = "";

  pthread_mutex_lock (&engine->lock);
  core_view (engine->core, &view);
  pthread_mutex_unlock (&engine->lock);
  if (view.record.primary == view.record.node)
    address = engine->config.listen;
  else if (view.record.primary != 0)
    address = engine->config.peer;
  snprintf (description.state, sizeof description.state, "%s",
            core_state_name (view.state));
  snprintf (description.primary, sizeof description.primary, "%s", address);
  description.generation = gen_current (&view.record);
  description.node = view.record.node;
  if (engine->config.core.durability == DURABILITY_FLUSH) {
    description.cached = true;
    description.boot = engine->config.core.boot;
  }
  exportname_describe (&description, text);
}
