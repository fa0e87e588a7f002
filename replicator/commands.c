/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * commands.c: what the commands of the control socket mean.  A handler
 * looks at its own arguments, asks the engine, and makes the answer; it
 * decides nothing.  docs/duetctl.pod lists arguments and keys.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "commands.h"
#include "engine.h"
#include "status.h"

enum { REASON = 512 };

json_t *
commands_refusal (const char *reason)
{
  return json_pack ("{s:s}", "error", reason);
}

static uint64_t
now_us (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000;
}

static json_t *
on_status (struct engine *engine, json_t *request)
{
  struct engine_status status;
  const char *command;

  if (json_unpack (request, "{s:s !}", "command", &command) == -1)
    return commands_refusal ("status takes no arguments");
  engine_status (engine, &status);
  return status_json (&status);
}

static json_t *
on_switchover (struct engine *engine, json_t *request)
{
  struct core_wish wish = { .kind = ADMIN_SWITCH };
  const char *command, *to = "other";
  uint64_t began_us = now_us ();
  int end_plain = 0;
  char reason[REASON];

  if (json_unpack (request, "{s:s, s?s, s?b !}", "command", &command, "to", &to,
                   "end_plain", &end_plain) == -1)
    return commands_refusal ("switchover takes \"to\", a string, and "
                             "\"end_plain\", true or false");
  if (strcmp (to, "this") == 0)
    wish.to = ADMIN_TO_ME;
  else if (strcmp (to, "peer") == 0)
    wish.to = ADMIN_TO_PEER;
  else if (strcmp (to, "other") != 0)
    return commands_refusal (
      "switchover is to \"this\" node, its \"peer\", or the \"other\" one "
      "than now");
  wish.end_plain = end_plain != 0;
  if (engine_admin (engine, &wish, reason, sizeof reason) == -1)
    return commands_refusal (reason);

  struct engine_status status;
  engine_status (engine, &status);
  return json_pack ("{s:o, s:I}", "status", status_json (&status), "took_us",
                    (json_int_t) (now_us () - began_us));
}

static json_t *
event_json (const struct engine_event *event)
{
  char id[17];

  snprintf (id, sizeof id, "%016" PRIx64, event->gen.id);
  return json_pack ("{s:I, s:I, s:s, s:s, s:s, s:{s:I, s:s}}", "number",
                    (json_int_t) event->number, "time_ms",
                    (json_int_t) event->time_ms, "what",
                    engine_event_name (event->kind), "text", event->text,
                    "state", core_state_name (event->state), "generation",
                    "epoch", (json_int_t) event->gen.epoch, "id", id);
}

/* Some hundred kilobytes: not on the stack. */
static json_t *
on_events (struct engine *engine, json_t *request)
{
  const char *command;
  json_int_t after = 0;
  uint32_t count, i;
  uint64_t boot;

  if (json_unpack (request, "{s:s, s?I !}", "command", &command, "after",
                   &after) == -1 ||
      after < 0)
    return commands_refusal ("events takes \"after\", a number");

  struct engine_event *list = calloc (ENGINE_EVENTS, sizeof *list);
  json_t *events = json_array ();
  if (list == NULL || events == NULL) {
    free (list);
    json_decref (events);
    return NULL;
  }
  engine_events (engine, (uint64_t) after, list, &count, &boot);
  for (i = 0; i < count; i++)
    json_array_append_new (events, event_json (&list[i]));
  free (list);

  char id[17];
  snprintf (id, sizeof id, "%016" PRIx64, boot);
  return json_pack ("{s:s, s:o}", "boot", id, "events", events);
}

/* What is done is said by the status, soon. */
static json_t *
do_wish (struct engine *engine, const struct core_wish *wish)
{
  struct engine_status status;
  char reason[REASON];

  if (engine_admin (engine, wish, reason, sizeof reason) == -1)
    return commands_refusal (reason);
  engine_status (engine, &status);
  return json_pack ("{s:o}", "status", status_json (&status));
}

static json_t *
on_promote (struct engine *engine, json_t *request)
{
  const char *command;
  int force;

  if (json_unpack (request, "{s:s, s:b !}", "command", &command, "force",
                   &force) == -1 ||
      !force)
    return commands_refusal ("promote takes \"force\", which must be true");
  return do_wish (engine, &(struct core_wish){ .kind = ADMIN_FORCE });
}

static json_t *
on_verify (struct engine *engine, json_t *request)
{
  struct core_wish wish = { .kind = ADMIN_VERIFY };
  const char *command;
  int repair = 0, stop = 0;
  json_int_t rate = 0;

  if (json_unpack (request, "{s:s, s?b, s?b, s?I !}", "command", &command,
                   "repair", &repair, "stop", &stop, "rate", &rate) == -1 ||
      rate < 0)
    return commands_refusal ("verify takes \"repair\" and \"stop\", true or "
                             "false, and \"rate\", bytes per second");
  if (stop)
    wish.kind = ADMIN_VERIFY_STOP;
  wish.repair = repair != 0;
  wish.rate = (uint64_t) rate;
  return do_wish (engine, &wish);
}

/* A command without arguments: its name says all. */
static json_t *
on_bare (struct engine *engine, json_t *request, const char *name,
         enum core_admin kind)
{
  const char *command;
  char reason[REASON];

  if (json_unpack (request, "{s:s !}", "command", &command) == -1) {
    snprintf (reason, sizeof reason, "%s takes no arguments", name);
    return commands_refusal (reason);
  }
  return do_wish (engine, &(struct core_wish){ .kind = kind });
}

static json_t *
on_discard (struct engine *engine, json_t *request)
{
  return on_bare (engine, request, "discard", ADMIN_DISCARD);
}

static json_t *
on_pause (struct engine *engine, json_t *request)
{
  return on_bare (engine, request, "pause", ADMIN_PAUSE);
}

static json_t *
on_resume (struct engine *engine, json_t *request)
{
  return on_bare (engine, request, "resume", ADMIN_RESUME);
}

static json_t *
on_resync (struct engine *engine, json_t *request)
{
  const char *command;
  int full;

  if (json_unpack (request, "{s:s, s:b !}", "command", &command, "full",
                   &full) == -1 ||
      !full)
    return commands_refusal ("resync takes \"full\", which must be true");
  return do_wish (engine, &(struct core_wish){ .kind = ADMIN_RESYNC });
}

static json_t *
on_resize (struct engine *engine, json_t *request)
{
  const char *command;
  json_int_t size;

  if (json_unpack (request, "{s:s, s:I !}", "command", &command, "size",
                   &size) == -1 ||
      size <= 0)
    return commands_refusal ("resize takes \"size\", a number of bytes");
  return do_wish (
    engine,
    &(struct core_wish){ .kind = ADMIN_RESIZE, .size = (uint64_t) size });
}

static const struct {
  const char *name;
  json_t *(*handle) (struct engine *engine, json_t *request);
} commands[] = {
  { "status", on_status },         { "events", on_events },
  { "switchover", on_switchover }, { "promote", on_promote },
  { "discard", on_discard },       { "verify", on_verify },
  { "pause", on_pause },           { "resume", on_resume },
  { "resync", on_resync },         { "resize", on_resize },
};

static json_t *
on_unknown (const char *name)
{
  json_t *known = json_array ();

  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
    json_array_append_new (known, json_string (commands[i].name));
  return json_pack ("{s:o, s:o}", "error",
                    json_sprintf ("this node knows no command \"%s\"", name),
                    "commands", known);
}

json_t *
commands_answer (struct engine *engine, json_t *request)
{
  if (!json_is_object (request))
    return commands_refusal ("the request is not a JSON object on one line");

  const char *name = json_string_value (json_object_get (request, "command"));
  if (name == NULL)
    return commands_refusal ("the request has no \"command\"");
  for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
    if (strcmp (name, commands[i].name) == 0)
      return commands[i].handle (engine, request);
  return on_unknown (name);
}
