/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * status.c: the engine's status as JSON.  It says what the engine says
 * and decides nothing; docs/duetctl.pod is the list of the keys.
 *
 * json_pack takes care of references: when one part could not be made,
 * the whole is NULL and nothing leaks.
 */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "engine.h"
#include "marks.h"
#include "status.h"

enum { ID_TEXT = 17 };

/* JSON numbers are signed here; nothing that is counted gets this far. */
static json_t *
number (uint64_t value)
{
  return json_integer ((json_int_t) (value < INT64_MAX ? value : INT64_MAX));
}

static void
format_id (uint64_t id, char text[ID_TEXT])
{
  snprintf (text, ID_TEXT, "%016" PRIx64, id);
}

static json_t *
id_json (uint64_t id)
{
  char text[ID_TEXT];

  format_id (id, text);
  return json_string (text);
}

/* Ids of things that need not be there: 0 is none. */
static json_t *
id_or_null (uint64_t id)
{
  return id != 0 ? id_json (id) : json_null ();
}

static json_t *
generation_json (const struct gen_record *record)
{
  struct gen_id gen = gen_current (record);

  return json_pack ("{s:o, s:o}", "epoch", number (gen.epoch), "id",
                    id_json (gen.id));
}

static json_t *
members_json (const struct gen_record *record)
{
  if (record->history_count == 0)
    return json_array ();
  if (!record->both)
    return json_pack ("[o]", id_json (record->node));
  return json_pack ("[o, o]", id_json (record->node), id_json (record->peer));
}

/* An address that is not UTF-8 must not hide the rest of the status. */
static json_t *
address_json (const char *address)
{
  if (address[0] == '\0')
    return json_null ();

  json_t *text = json_string (address);
  return text != NULL ? text : json_null ();
}

static json_t *
peer_json (const struct engine_status *status)
{
  const struct core_view *view = &status->view;
  bool known = view->linked && view->peer_state != STATE_WAITING;

  return json_pack (
    "{s:o, s:o, s:b, s:s?}", "node", id_or_null (view->record.peer), "address",
    address_json (status->peer_address), "connected", (int) view->linked,
    "state", known ? core_state_name (view->peer_state) : NULL);
}

/* By whose operator the link is paused, as far as is known. */
static const char *
paused_by (const struct core_view *view)
{
  if (view->paused)
    return view->peer_paused ? "both" : "this";
  return view->peer_paused ? "peer" : NULL;
}

/* What is done is what is not dirty any more, be it sent or found equal.
 * A client that writes meanwhile may make it dirtier than it was.
 */
static json_t *
resync_json (const struct engine_status *status)
{
  const struct core_view *view = &status->view;
  uint64_t total = view->resync_total_bytes;
  uint64_t left = view->dirty_bytes < total ? view->dirty_bytes : total;

  if (!view->resyncing)
    return json_null ();
  return json_pack ("{s:b, s:o, s:o, s:o}", "active", 1, "done_bytes",
                    number (total - left), "total_bytes", number (total),
                    "bytes_per_second",
                    number (status->resync_bytes_per_second));
}

/* What only this copy has, when the two were written apart: it would be
 * lost if this copy was given up.
 */
static json_t *
diverged_json (const struct engine_status *status)
{
  const struct core_view *view = &status->view;
  const struct gen_record *record = &view->record;
  uint32_t made_s = 0;

  if (!view->diverged)
    return json_null ();
  if (view->fork > 0)
    made_s = record->history[view->fork - 1].made_s;
  return json_pack ("{s:o, s:o, s:o, s:o}", "generations", number (view->fork),
                    "since", made_s != 0 ? number (made_s) : json_null (),
                    "dirty_bytes", number (view->dirty_bytes), "dirty_blocks",
                    number (view->dirty_bytes / MARKS_BLOCK));
}

static json_t *
differences_json (const struct core_verify *verify)
{
  json_t *list = json_array ();
  uint32_t i;

  for (i = 0; i < verify->count; i++)
    json_array_append_new (list,
                           json_pack ("[o, o]", number (verify->list[i].offset),
                                      number (verify->list[i].length)));
  return list;
}

/* The comparison under way, or the last one of this process. */
static json_t *
verify_json (const struct engine_status *status)
{
  const struct core_verify *verify = &status->view.verify;

  if (verify->started_ms == 0)
    return json_null ();
  return json_pack (
    "{s:b, s:b, s:s?, s:o, s:o, s:o, s:o, s:o, s:o}", "active",
    (int) verify->active, "repair", (int) verify->repair, "ended",
    verify->ended, "checked_bytes", number (verify->checked_bytes),
    "total_bytes", number (status->view.record.size), "bytes_per_second",
    number (status->verify_bytes_per_second), "different_blocks",
    number (verify->different_blocks), "different_bytes",
    number (verify->different_bytes), "differences", differences_json (verify));
}

/* The growth under way that this node was asked for, or the last one. */
static json_t *
resize_json (const struct engine_status *status)
{
  const struct core_resize *resize = &status->view.resize;
  bool ended = status->resize_ended[0] != '\0';

  if (resize->started_ms == 0)
    return json_null ();
  return json_pack ("{s:b, s:o, s:o, s:s?}", "active", (int) resize->active,
                    "from_bytes", number (resize->from_bytes), "to_bytes",
                    number (resize->to_bytes), "ended",
                    ended ? status->resize_ended : NULL);
}

static json_t *
figures_json (const struct engine_figures *figures)
{
  return json_pack (
    "{s:o, s:o, s:o, s:o, s:o, s:o}", "count", number (figures->count), "bytes",
    number (figures->bytes), "errors", number (figures->errors), "p50_us",
    number (figures->p50_us), "p99_us", number (figures->p99_us), "max_us",
    number (figures->max_us));
}

static json_t *
requests_json (const struct engine_status *status)
{
  json_t *requests = json_object ();

  for (enum engine_kind kind = 0; requests != NULL && kind < ENGINE_KINDS;
       kind++)
    if (json_object_set_new (requests, engine_kind_name (kind),
                             figures_json (&status->requests[kind])) == -1) {
      json_decref (requests);
      requests = NULL;
    }
  return requests;
}

static json_t *
link_json (const struct engine_status *status)
{
  return json_pack (
    "{s:s?, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "tls", status->tls, "rtt_us",
    status->rtt_us > 0 ? number (status->rtt_us) : json_null (), "bytes_sent",
    number (status->bytes_sent), "bytes_received",
    number (status->bytes_received), "frames_sent",
    number (status->frames_sent), "frames_received",
    number (status->frames_received), "sends", number (status->link_sends),
    "receives", number (status->link_receives));
}

static json_t *
fdatasync_json (const struct engine_status *status)
{
  const struct engine_figures *sync = &status->sync;
  const struct engine_figures *group = &status->sync_group;

  return json_pack ("{s:o, s:o, s:o, s:o, s:o, s:o}", "p50_us",
                    number (sync->p50_us), "p99_us", number (sync->p99_us),
                    "max_us", number (sync->max_us), "group_p50",
                    number (group->p50_us), "group_p99", number (group->p99_us),
                    "group_max", number (group->max_us));
}

/* Resident memory of this process. */
static json_t *
rss_json (void)
{
  FILE *statm = fopen ("/proc/self/statm", "re");
  uint64_t pages;

  if (statm == NULL)
    return json_null ();
  int found = fscanf (statm, "%*u %" SCNu64, &pages);
  fclose (statm);
  if (found != 1)
    return json_null ();
  return number (pages * (uint64_t) sysconf (_SC_PAGESIZE));
}

/* etcd may be asked only now and then; reached is as of the last time. */
static json_t *
arbiter_json (const struct engine_status *status)
{
  const struct core_view *view = &status->view;
  bool failed = status->arbiter_reason[0] != '\0';
  bool asks = view->attempt != GEN_NONE;

  if (status->arbiter != ARBITER_ETCD)
    return json_pack ("{s:s}", "kind", "client");
  return json_pack ("{s:s, s:b, s:s?, s:s?, s:o, s:o}", "kind", "etcd",
                    "reached", (int) view->arbiter_reached, "reason",
                    failed ? status->arbiter_reason : NULL, "attempt",
                    asks ? gen_kind_name (view->attempt) : NULL,
                    "lease_left_ms", number (view->lease_left_ms),
                    "grace_left_ms", number (view->grace_left_ms));
}

json_t *
status_json (const struct engine_status *status)
{
  const struct core_view *view = &status->view;
  const struct gen_record *record = &view->record;

  return json_pack (
    "{s:o, s:o, s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o,"
    " s:o, s:o, s:o, s:o, s:b, s:o, s:o, s:o, s:o, s:s?, s:s, s:o, s:o, s:o}",
    "volume", id_or_null (record->volume), "node", id_json (record->node),
    "state", core_state_name (view->state), "reason", status->reason, "serving",
    (int) view->serving, "generation", generation_json (record), "members",
    members_json (record), "peer", peer_json (status), "dirty_bytes",
    number (view->dirty_bytes), "resync", resync_json (status), "diverged",
    diverged_json (status), "verify", verify_json (status), "requests",
    requests_json (status), "size_bytes", number (record->size), "rss_bytes",
    rss_json (), "fdatasyncs", number (status->fdatasyncs), "sync_callers",
    number (status->sync_callers), "fdatasync", fdatasync_json (status),
    "healthy", (int) status->healthy, "connections", number (view->conns),
    "in_flight", number (view->requests), "link", link_json (status), "arbiter",
    arbiter_json (status), "paused", paused_by (view), "durability",
    status->durability == DURABILITY_FLUSH ? "flush" : "write",
    "unflushed_bytes", number (view->unflushed_bytes), "resize",
    resize_json (status), "growing_to_bytes",
    view->growing_to != 0 ? number (view->growing_to) : json_null ());
}
