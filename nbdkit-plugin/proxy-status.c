/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy-status.c: what a proxy says of itself, also as JSON.  It decides
 * nothing.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proxy-internal.h"
#include "proxy-status.h"

const char *
proxy_kind_name (enum upstream_kind kind)
{
  static const char *const names[] = {
    [UPSTREAM_PREAD] = "read",      [UPSTREAM_PWRITE] = "write",
    [UPSTREAM_FLUSH] = "flush",     [UPSTREAM_TRIM] = "trim",
    [UPSTREAM_ZERO] = "zero",       [UPSTREAM_CACHE] = "cache",
    [UPSTREAM_EXTENTS] = "extents",
  };

  return names[kind];
}

static void
fill_requests (struct proxy *proxy, struct proxy_status *status)
{
  for (unsigned i = 0; i < UPSTREAM_KINDS; i++) {
    latency_read (&proxy->figures[i].latency, &status->requests[i].latency);
    status->requests[i].bytes = atomic_load (&proxy->figures[i].bytes);
    status->requests[i].errors = atomic_load (&proxy->figures[i].errors);
  }
}

void
proxy_status (struct proxy *proxy, struct proxy_status *status)
{
  uint32_t i;

  memset (status, 0, sizeof *status);
  pthread_mutex_lock (&proxy->mutex);
  status->node_count = proxy->config.nodes;
  for (i = 0; i < proxy->config.nodes; i++) {
    status->nodes[i].uri = proxy->nodes[i].uri;
    memcpy (status->nodes[i].problem, proxy->nodes[i].logged,
            sizeof status->nodes[i].problem);
  }
  status->live = proxy->live;
  status->node = proxy->session.node;
  status->session = proxy->session.number;
  status->connections = proxy->live ? proxy->conn_count : 0;
  status->client = proxy->state.client;
  status->generation = proxy->state.generation;
  status->size_bytes = proxy->facts_known ? proxy->facts.size_bytes : 0;
  status->reconnects = proxy->sessions > 0 ? proxy->sessions - 1 : 0;
  status->replays = proxy->replays;
  status->unanswered = unanswered_count (proxy->table);
  if (status->unanswered > 0)
    status->pause_us = latency_now_us () - proxy->quiet_us;
  status->longest_pause_us = proxy->longest_pause_us > status->pause_us
    ? proxy->longest_pause_us
    : status->pause_us;
  pthread_mutex_unlock (&proxy->mutex);
  status->healthy = status->live &&
    status->pause_us < proxy->config.timeout_ms * 1000;
  fill_requests (proxy, status);
}

/* ----------------------------------------------------------------- JSON */

static json_t *
id_json (uint64_t id)
{
  char text[20];

  snprintf (text, sizeof text, "%016" PRIx64, id);
  return json_string (text);
}

static json_t *
number (uint64_t value)
{
  return json_integer ((json_int_t) (value < INT64_MAX ? value : INT64_MAX));
}

/* Text from outside that is no UTF-8 must not hide the rest. */
static json_t *
text_json (const char *text)
{
  json_t *json = text[0] != '\0' ? json_string (text) : NULL;

  return json != NULL ? json : json_null ();
}

static json_t *
nodes_json (const struct proxy_status *status)
{
  json_t *list = json_array ();
  uint32_t i;

  for (i = 0; i < status->node_count; i++)
    json_array_append_new (
      list,
      json_pack ("{s:o, s:b, s:o}", "uri", text_json (status->nodes[i].uri),
                 "current", (int) (status->live && status->node == i),
                 "problem", text_json (status->nodes[i].problem)));
  return list;
}

static json_t *
requests_json (const struct proxy_status *status)
{
  json_t *requests = json_object ();

  for (unsigned i = 0; i < UPSTREAM_KINDS; i++) {
    const struct latency_counts *counts = &status->requests[i].latency;

    json_object_set_new (
      requests, proxy_kind_name ((enum upstream_kind) i),
      json_pack ("{s:o, s:o, s:o, s:o, s:o, s:o}", "count",
                 number (counts->count), "bytes",
                 number (status->requests[i].bytes), "errors",
                 number (status->requests[i].errors), "p50_us",
                 number (latency_counts_quantile (counts, 500)), "p99_us",
                 number (latency_counts_quantile (counts, 990)), "max_us",
                 number (counts->max_us)));
  }
  return requests;
}

json_t *
proxy_status_json (const struct proxy_status *status)
{
  return json_pack (
    "{s:b, s:b, s:o, s:o, s:o, s:o, s:{s:o, s:o}, s:o, s:o, s:o, s:o, s:o,"
    " s:o, s:o}",
    "healthy", (int) status->healthy, "live", (int) status->live, "nodes",
    nodes_json (status), "client", id_json (status->client), "session",
    number (status->session), "connections", number (status->connections),
    "generation", "epoch", number (status->generation.epoch), "id",
    id_json (status->generation.id), "size_bytes", number (status->size_bytes),
    "reconnects", number (status->reconnects), "replays",
    number (status->replays), "unanswered", number (status->unanswered),
    "pause_us", number (status->pause_us), "longest_pause_us",
    number (status->longest_pause_us), "requests", requests_json (status));
}
