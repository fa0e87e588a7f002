/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node-http.c: what a node tells over HTTP.  The names are an interface:
 * docs/metrics.md has them all.  Everything here is asked of the engine
 * when somebody wants it; nothing is decided, and nothing changed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "commands.h"
#include "engine.h"
#include "history.h"
#include "http.h"
#include "metrics.h"
#include "node-http.h"
#include "page.h"
#include "version.h"

struct node_http {
  struct engine *engine;
  struct http *http;
  struct history *history; /* the server's thread's */
};

/* -------------------------------------------------------------- metrics */

/* 1 for STATE, 0 for each other; KNOWN: else 0 for all. */
static void
put_state (struct metrics *m, const char *name, const char *help, bool known,
           enum core_state state)
{
  metrics_family (m, METRICS_GAUGE, name, help);
  for (enum core_state s = 0; s < CORE_STATE_COUNT; s++)
    metrics_number (m, known && s == state, "state", core_state_name (s), NULL);
}

/* 16 digits, or nothing for 0, which is no id. */
static const char *
id_text (uint64_t id, char text[20])
{
  text[0] = '\0';
  if (id != 0)
    snprintf (text, 20, "%016" PRIx64, id);
  return text;
}

static unsigned
members_of (const struct gen_record *record)
{
  return record->history_count == 0 ? 0 : record->both ? 2 : 1;
}

static void
put_node (struct metrics *m, const struct engine_status *status)
{
  const struct core_view *view = &status->view;
  const struct gen_record *record = &view->record;
  char volume[20], node[20], peer[20];

  metrics_family (m, METRICS_INFO, "duet_build_info", "The version of duet.");
  metrics_number (m, 1, "version", DUET_VERSION, NULL);
  metrics_family (m, METRICS_INFO, "duet_node_info", "Who this node is.");
  metrics_number (m, 1, "volume", id_text (record->volume, volume), "node",
                  id_text (record->node, node), "peer",
                  id_text (record->peer, peer), "peer_address",
                  status->peer_address, "arbiter",
                  status->arbiter == ARBITER_ETCD ? "etcd" : "client", "tls",
                  status->tls != NULL ? status->tls : "none", NULL);
  put_state (m, "duet_state", "1 for the state of this node.", true,
             view->state);
  put_state (m, "duet_peer_state", "1 for the state of the peer, if known.",
             view->linked && view->peer_state != STATE_WAITING,
             view->peer_state);
  metrics_gauge (m, "duet_healthy",
                 "1 when nothing must be done about this node.",
                 status->healthy);
  metrics_gauge (m, "duet_serving",
                 "1 while clients' requests are carried out.", view->serving);
  metrics_gauge (m, "duet_link_up", "1 while the peer is connected.",
                 view->linked);
  metrics_gauge (m, "duet_members",
                 "Nodes that must hold every acknowledged write.",
                 members_of (record));
  metrics_gauge (m, "duet_generation_epoch", "Epoch of the generation.",
                 gen_current (record).epoch);
  metrics_gauge (m, "duet_size_bytes", "Size of the volume.", record->size);
}

static void
put_copies (struct metrics *m, const struct engine_status *status)
{
  const struct core_view *view = &status->view;
  uint64_t total = view->resyncing ? view->resync_total_bytes : 0;
  uint64_t left = view->dirty_bytes < total ? view->dirty_bytes : total;

  metrics_gauge (m, "duet_dirty_bytes",
                 "What may differ between the two copies.", view->dirty_bytes);
  metrics_gauge (m, "duet_resync_active",
                 "1 while the peer is brought up to date.", view->resyncing);
  metrics_gauge (m, "duet_resync_done_bytes",
                 "Settled by the resync under way.", total - left);
  metrics_gauge (m, "duet_resync_total_bytes",
                 "To settle when that resync started.", total);
  metrics_gauge (m, "duet_diverged", "1 when both copies were written apart.",
                 view->diverged);
  metrics_gauge (m, "duet_verify_active", "1 while both copies are compared.",
                 view->verify.active);
  metrics_gauge (m, "duet_verify_checked_bytes",
                 "Compared by the comparison under way, or the last one.",
                 view->verify.checked_bytes);
  metrics_gauge (m, "duet_verify_different_bytes", "Of those, found to differ.",
                 view->verify.different_bytes);
}

static void
put_requests (struct metrics *m, const struct engine_status *status,
              const struct engine_histograms *histograms)
{
  enum engine_kind kind;

  metrics_family (m, METRICS_HISTOGRAM, "duet_request_duration_seconds",
                  "From a request's arrival to its answer.");
  for (kind = 0; kind < ENGINE_KINDS; kind++)
    metrics_durations (m, &histograms->requests[kind], "kind",
                       engine_kind_name (kind), NULL);
  metrics_family (m, METRICS_COUNTER, "duet_request_bytes_total",
                  "Bytes of requests answered without an error.");
  for (kind = 0; kind < ENGINE_KINDS; kind++)
    metrics_number (m, status->requests[kind].bytes, "kind",
                    engine_kind_name (kind), NULL);
  metrics_family (m, METRICS_COUNTER, "duet_request_errors_total",
                  "Requests answered with an error.");
  for (kind = 0; kind < ENGINE_KINDS; kind++)
    metrics_number (m, status->requests[kind].errors, "kind",
                    engine_kind_name (kind), NULL);
  metrics_gauge (m, "duet_requests_in_flight", "Requests of clients now.",
                 status->view.requests);
  metrics_gauge (m, "duet_connections", "NBD connections of clients now.",
                 status->view.conns);
}

static void
put_pair (struct metrics *m, const char *name, const char *help, uint64_t sent,
          uint64_t received)
{
  metrics_family (m, METRICS_COUNTER, name, help);
  metrics_number (m, sent, "direction", "sent", NULL);
  metrics_number (m, received, "direction", "received", NULL);
}

static void
put_disk_and_link (struct metrics *m, const struct engine_status *status,
                   const struct engine_histograms *histograms)
{
  const struct core_view *view = &status->view;

  metrics_counter (m, "duet_fdatasyncs_total",
                   "fdatasync calls on the data file.", status->fdatasyncs);
  metrics_family (m, METRICS_HISTOGRAM, "duet_fdatasync_duration_seconds",
                  "How long an fdatasync took.");
  metrics_durations (m, &histograms->sync, NULL);
  metrics_family (m, METRICS_HISTOGRAM, "duet_fdatasync_group_size",
                  "Requests and frames that an fdatasync made durable.");
  metrics_numbers (m, &histograms->sync_group, NULL);
  metrics_family (m, METRICS_GAUGE, "duet_disk_late_seconds",
                  "How long the disk has not answered, above dead=.");
  metrics_seconds (m, view->disk_late_ms * 1000, NULL);
  metrics_family (m, METRICS_HISTOGRAM, "duet_link_rtt_seconds",
                  "From a ping to the peer's answer.");
  metrics_durations (m, &histograms->rtt, NULL);
  put_pair (m, "duet_link_bytes_total", "Bytes over the link, as without TLS.",
            status->bytes_sent, status->bytes_received);
  put_pair (m, "duet_link_frames_total", "Frames over the link.",
            status->frames_sent, status->frames_received);
  put_pair (m, "duet_link_system_calls_total", "Calls that moved them.",
            status->link_sends, status->link_receives);
  if (status->arbiter != ARBITER_ETCD)
    return;
  metrics_gauge (m, "duet_arbiter_reached",
                 "1 when etcd answered the last time.", view->arbiter_reached);
  metrics_family (m, METRICS_GAUGE, "duet_lease_left_seconds",
                  "A primary's right to serve.");
  metrics_seconds (m, view->lease_left_ms * 1000, NULL);
}

static void
on_metrics (struct node_http *node, const struct http_request *request,
            struct http_answer *answer)
{
  struct engine_histograms *histograms = malloc (sizeof *histograms);
  struct metrics *m = metrics_new (request->openmetrics);
  struct engine_status status;
  size_t length = 0;
  char *text = NULL;

  if (histograms != NULL && m != NULL) {
    engine_status (node->engine, &status);
    engine_histograms (node->engine, histograms);
    put_node (m, &status);
    put_copies (m, &status);
    put_requests (m, &status, histograms);
    put_disk_and_link (m, &status, histograms);
    metrics_counter (m, "duet_events_total",
                     "Changes that duetctl events tells.", status.events);
    metrics_process (m);
  }
  if (m != NULL)
    text = metrics_end (m, &length);
  if (histograms == NULL) {
    free (text);
    text = NULL;
  }
  free (histograms);
  http_say (answer, metrics_content_type (request->openmetrics), text, length);
}

/* ----------------------------------------------------------------- JSON */

/* Takes JSON, which may be NULL. */
static void
say_json (struct http_answer *answer, json_t *json)
{
  char *text = json != NULL ? json_dumps (json, JSON_COMPACT) : NULL;

  json_decref (json);
  http_say (answer, "application/json", text, text != NULL ? strlen (text) : 0);
}

/* The answer of the control socket to REQUEST, which is taken. */
static void
say_command (struct node_http *node, json_t *request,
             struct http_answer *answer)
{
  say_json (answer, commands_answer (node->engine, request));
  json_decref (request);
}

/* --------------------------------------------------------------- others */

static void
on_health (struct node_http *node, struct http_answer *answer)
{
  struct engine_status status;

  engine_status (node->engine, &status);
  http_line (answer, status.healthy ? 200 : 503, "%s: %s",
             core_state_name (status.view.state), status.reason);
}

static void
on_request (void *opaque, const struct http_request *request,
            struct http_answer *answer)
{
  struct node_http *node = opaque;
  const char *path = request->path;

  if (strcmp (path, "/") == 0)
    *answer = (struct http_answer){
      .status = 200,
      .type = "text/html; charset=utf-8",
      .policy = page_policy,
      .constant = page_html,
      .length = page_length,
    };
  else if (strcmp (path, "/metrics") == 0)
    on_metrics (node, request, answer);
  else if (strcmp (path, "/healthz") == 0)
    on_health (node, answer);
  else if (strcmp (path, "/status.json") == 0)
    say_command (node, json_pack ("{s:s}", "command", "status"), answer);
  else if (strcmp (path, "/events.json") == 0)
    say_command (node,
                 json_pack ("{s:s, s:I}", "command", "events", "after",
                            (json_int_t) request->after),
                 answer);
  else if (strcmp (path, "/history.json") == 0)
    say_json (answer, history_json (node->history, request->after));
}

static void
on_tick (void *opaque)
{
  struct node_http *node = opaque;

  history_look (node->history, node->engine);
}

struct node_http *
node_http_new (const char *address, bool expose, char *error, size_t error_size)
{
  struct node_http *node = calloc (1, sizeof *node);
  struct http_config config = {
    .address = address,
    .expose = expose,
    .answer = on_request,
    .tick = on_tick,
    .opaque = node,
  };

  snprintf (error, error_size, "http=%s: out of memory", address);
  if (node == NULL)
    return NULL;
  node->history = history_new ();
  if (node->history != NULL)
    node->http = http_new (&config, error, error_size);
  if (node->http != NULL)
    return node;
  node_http_free (node);
  return NULL;
}

int
node_http_start (struct node_http *node, struct engine *engine)
{
  node->engine = engine;
  /* The first second has a sample, too. */
  history_look (node->history, engine);
  return http_start (node->http);
}

void
node_http_stop (struct node_http *node)
{
  http_stop (node->http);
}

void
node_http_free (struct node_http *node)
{
  if (node == NULL)
    return;
  http_free (node->http);
  history_free (node->history);
  free (node);
}
