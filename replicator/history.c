/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * history.c: a ring of samples.  Each is the difference between two looks
 * at counters that only grow, per second; quantiles are of what came in
 * between, taken from the difference of two histograms.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "engine.h"
#include "history.h"

/* What a request's kind did in a sample's time. */
struct rate {
  uint64_t requests, bytes; /* per second */
  uint64_t p50_us, p99_us;  /* 0: there was none */
};

struct sample {
  uint64_t number, time_ms;
  enum core_state state;
  struct rate read, write;
  uint64_t sync_p99_us, sent_bytes, received_bytes, dirty_bytes;
};

struct look {
  uint64_t us;
  struct engine_status status;
  struct engine_histograms histograms;
};

struct history {
  uint64_t count;
  struct look looks[2], *last; /* NULL: none yet */
  struct sample samples[HISTORY_SAMPLES];
};

struct history *
history_new (void)
{
  return calloc (1, sizeof (struct history));
}

void
history_free (struct history *history)
{
  free (history);
}

static uint64_t
per_second (uint64_t now, uint64_t before, uint64_t us)
{
  return us > 0 ? (uint64_t) ((double) (now - before) * 1e6 / (double) us) : 0;
}

static struct rate
rate_of (const struct look *now, const struct look *before,
         enum engine_kind kind)
{
  const struct engine_figures *a = &now->status.requests[kind];
  const struct engine_figures *b = &before->status.requests[kind];
  struct latency_counts counts = now->histograms.requests[kind];
  uint64_t us = now->us - before->us;

  latency_counts_since (&counts, &before->histograms.requests[kind]);
  return (struct rate){
    .requests = per_second (a->count, b->count, us),
    .bytes = per_second (a->bytes, b->bytes, us),
    .p50_us = latency_counts_quantile (&counts, 500),
    .p99_us = latency_counts_quantile (&counts, 990),
  };
}

static void
add (struct history *history, const struct look *now, const struct look *before)
{
  struct sample *sample = &history->samples[history->count % HISTORY_SAMPLES];
  struct latency_counts sync = now->histograms.sync;
  uint64_t us = now->us - before->us;
  struct timespec wall;

  clock_gettime (CLOCK_REALTIME, &wall);
  latency_counts_since (&sync, &before->histograms.sync);
  *sample = (struct sample){
    .number = ++history->count,
    .time_ms = (uint64_t) wall.tv_sec * 1000 +
      (uint64_t) wall.tv_nsec / 1000000,
    .state = now->status.view.state,
    .read = rate_of (now, before, ENGINE_READ),
    .write = rate_of (now, before, ENGINE_WRITE),
    .sync_p99_us = latency_counts_quantile (&sync, 990),
    .sent_bytes = per_second (now->status.bytes_sent, before->status.bytes_sent,
                              us),
    .received_bytes = per_second (now->status.bytes_received,
                                  before->status.bytes_received, us),
    .dirty_bytes = now->status.view.dirty_bytes,
  };
}

void
history_look (struct history *history, struct engine *engine)
{
  struct look *before = history->last;
  struct look *now = before == &history->looks[0] ? &history->looks[1]
                                                  : &history->looks[0];

  now->us = latency_now_us ();
  engine_status (engine, &now->status);
  engine_histograms (engine, &now->histograms);
  history->last = now;
  if (before != NULL)
    add (history, now, before);
}

/* ----------------------------------------------------------------- JSON */

static json_t *
sample_json (const struct sample *sample)
{
  const uint64_t numbers[] = {
    sample->read.requests, sample->read.bytes,     sample->read.p50_us,
    sample->read.p99_us,   sample->write.requests, sample->write.bytes,
    sample->write.p50_us,  sample->write.p99_us,   sample->sync_p99_us,
    sample->sent_bytes,    sample->received_bytes, sample->dirty_bytes,
  };
  json_t *list = json_pack ("[I, I, s]", (json_int_t) sample->number,
                            (json_int_t) sample->time_ms,
                            core_state_name (sample->state));

  for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
    json_array_append_new (list, json_integer ((json_int_t) numbers[i]));
  return list;
}

json_t *
history_json (const struct history *history, uint64_t after)
{
  uint64_t newest = history->count;
  uint64_t first = newest > HISTORY_SAMPLES ? newest - HISTORY_SAMPLES + 1 : 1;
  json_t *samples = json_array ();

  if (after >= first && after <= newest)
    first = after + 1;
  for (uint64_t number = first; number <= newest; number++)
    json_array_append_new (
      samples, sample_json (&history->samples[(number - 1) % HISTORY_SAMPLES]));
  return json_pack (
    "{s:[s, s, s, s, s, s, s, s, s, s, s, s, s, s, s], s:o}", "keys", "number",
    "time_ms", "state", "reads_per_second", "read_bytes_per_second",
    "read_p50_us", "read_p99_us", "writes_per_second", "write_bytes_per_second",
    "write_p50_us", "write_p99_us", "fdatasync_p99_us", "sent_bytes_per_second",
    "received_bytes_per_second", "dirty_bytes", "samples", samples);
}
