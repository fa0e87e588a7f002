/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * commands.c: what the commands of the control socket mean.  A handler
 * looks at its own arguments, asks the engine, and makes the answer; it
 * decides nothing.  docs/duetctl.pod lists arguments and keys.
 */
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

static const struct {
  const char *name;
  json_t *(*handle) (struct engine *engine, json_t *request);
} commands[] = {
  { "status", on_status },
  { "switchover", on_switchover },
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
