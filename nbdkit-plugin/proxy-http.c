/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy-http.c: what a proxy tells over HTTP.  The names are an interface:
 * docs/metrics.md has them all.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "metrics.h"
#include "proxy-http.h"
#include "proxy-status.h"
#include "version.h"

static const char front[] =
  "This is a duet proxy.  /metrics is for Prometheus, /status.json for\n"
  "programs, /healthz for watchdogs; the nodes have a page for people.\n";

/* -------------------------------------------------------------- metrics */

static void
put_session (struct metrics *m, const struct proxy_status *status)
{
  metrics_family (m, METRICS_INFO, "duetproxy_build_info",
                  "The version of duet.");
  metrics_number (m, 1, "version", DUET_VERSION, NULL);
  metrics_gauge (m, "duetproxy_healthy",
                 "1 when nothing must be done about it.", status->healthy);
  metrics_family (m, METRICS_GAUGE, "duetproxy_node_current",
                  "1 for the node of the live session.");
  for (uint32_t i = 0; i < status->node_count; i++)
    metrics_number (m, status->live && status->node == i, "node",
                    status->nodes[i].uri, NULL);
  metrics_gauge (m, "duetproxy_session_live", "1 while a session is open.",
                 status->live);
  metrics_gauge (m, "duetproxy_session_number", "Number of the newest session.",
                 status->session);
  metrics_gauge (m, "duetproxy_session_connections",
                 "NBD connections of the live session.", status->connections);
  metrics_gauge (m, "duetproxy_generation_epoch",
                 "Epoch of the generation that answered last.",
                 status->generation.epoch);
  metrics_counter (m, "duetproxy_reconnects_total",
                   "Sessions begun after the first one.", status->reconnects);
  metrics_counter (m, "duetproxy_replays_total",
                   "Requests sent once more because their session was lost.",
                   status->replays);
}

static void
put_requests (struct metrics *m, const struct proxy_status *status)
{
  unsigned kind;

  metrics_gauge (m, "duetproxy_requests_unanswered", "Requests of clients now.",
                 status->unanswered);
  metrics_family (m, METRICS_GAUGE, "duetproxy_pause_seconds",
                  "How long requests have been waiting without an answer.");
  metrics_seconds (m, status->pause_us, NULL);
  metrics_family (m, METRICS_GAUGE, "duetproxy_longest_pause_seconds",
                  "The longest of those since the start.");
  metrics_seconds (m, status->longest_pause_us, NULL);
  metrics_family (m, METRICS_HISTOGRAM, "duetproxy_request_duration_seconds",
                  "From a client's request to its answer.");
  for (kind = 0; kind < UPSTREAM_KINDS; kind++)
    metrics_durations (m, &status->requests[kind].latency, "kind",
                       proxy_kind_name (kind), NULL);
  metrics_family (m, METRICS_COUNTER, "duetproxy_request_bytes_total",
                  "Bytes of requests answered without an error.");
  for (kind = 0; kind < UPSTREAM_KINDS; kind++)
    metrics_number (m, status->requests[kind].bytes, "kind",
                    proxy_kind_name (kind), NULL);
  metrics_family (m, METRICS_COUNTER, "duetproxy_request_errors_total",
                  "Requests answered with an error.");
  for (kind = 0; kind < UPSTREAM_KINDS; kind++)
    metrics_number (m, status->requests[kind].errors, "kind",
                    proxy_kind_name (kind), NULL);
}

static void
say_metrics (const struct proxy_status *status, bool openmetrics,
             struct http_answer *answer)
{
  struct metrics *m = metrics_new (openmetrics);
  size_t length = 0;
  char *text = NULL;

  if (m != NULL) {
    put_session (m, status);
    put_requests (m, status);
    metrics_process (m);
    text = metrics_end (m, &length);
  }
  http_say (answer, metrics_content_type (openmetrics), text, length);
}

/* --------------------------------------------------------------- others */

static void
say_json (const struct proxy_status *status, struct http_answer *answer)
{
  json_t *json = proxy_status_json (status);
  char *text = json != NULL ? json_dumps (json, JSON_COMPACT) : NULL;

  json_decref (json);
  http_say (answer, "application/json", text, text != NULL ? strlen (text) : 0);
}

static void
say_health (const struct proxy_status *status, struct http_answer *answer)
{
  unsigned number = status->healthy ? 200 : 503;

  if (status->live)
    http_line (answer, number,
               "session %" PRIu64 " with %s; %" PRIu32
               " requests wait, for %" PRIu64 " ms",
               status->session, status->nodes[status->node].uri,
               status->unanswered, status->pause_us / 1000);
  else
    http_line (answer, number,
               "no node serves this proxy; %" PRIu32
               " requests wait, for %" PRIu64 " ms",
               status->unanswered, status->pause_us / 1000);
}

static void
on_request (void *opaque, const struct http_request *request,
            struct http_answer *answer)
{
  struct proxy_status *status = malloc (sizeof *status);
  const char *path = request->path;

  if (status == NULL) {
    http_say (answer, NULL, NULL, 0);
    return;
  }
  proxy_status (opaque, status);
  if (strcmp (path, "/") == 0)
    *answer = (struct http_answer){
      .status = 200,
      .type = "text/plain; charset=utf-8",
      .constant = front,
      .length = sizeof front - 1,
    };
  else if (strcmp (path, "/metrics") == 0)
    say_metrics (status, request->openmetrics, answer);
  else if (strcmp (path, "/status.json") == 0)
    say_json (status, answer);
  else if (strcmp (path, "/healthz") == 0)
    say_health (status, answer);
  free (status);
}

struct http *
proxy_http_new (struct proxy *proxy, const char *address, bool expose,
                char *error, size_t error_size)
{
  struct http_config config = {
    .address = address,
    .expose = expose,
    .answer = on_request,
    .opaque = proxy,
  };

  return http_new (&config, error, error_size);
}
