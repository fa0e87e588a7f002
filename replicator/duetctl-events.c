/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl-events.c: what happens at a node, a line for each change.  The
 * node keeps the last ones; this asks again and again for those that it
 * has not seen.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "duetctl.h"

enum { POLL_MS = 200, TIME_TEXT = 32 };

/* What has been seen: of which process, up to which number. */
struct seen {
  char boot[32];
  uint64_t number;
};

/* In local time; as it is if it is no time. */
static const char *
time_text (const json_t *event, char buffer[TIME_TEXT])
{
  uint64_t ms = number (event, "time_ms");
  time_t seconds = (time_t) (ms / 1000);
  struct tm local;
  size_t length = 0;

  if (localtime_r (&seconds, &local) != NULL)
    length = strftime (buffer, TIME_TEXT - 4, "%Y-%m-%d %H:%M:%S", &local);
  snprintf (buffer + length, TIME_TEXT - length, ".%03u",
            (unsigned) (ms % 1000));
  return buffer;
}

static void
show_event (const json_t *event, bool json)
{
  char buffer[TIME_TEXT];
  const char *what = text (event, "what");

  if (json) {
    json_dumpf (event, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER);
    printf ("\n");
    return;
  }
  printf ("%s  %-10s  ", time_text (event, buffer), what);
  if (strcmp (what, "state") == 0)
    printf ("%s: ", text (event, "state"));
  printf ("%s\n", text (event, "text"));
}

static void
show_new (const json_t *answer, struct seen *seen, bool json)
{
  const json_t *events = json_object_get (answer, "events");
  const char *boot = text (answer, "boot");
  size_t i;

  if (strncmp (boot, seen->boot, sizeof seen->boot - 1) != 0) {
    snprintf (seen->boot, sizeof seen->boot, "%s", boot);
    seen->number = 0;
  }
  for (i = 0; i < json_array_size (events); i++) {
    const json_t *event = json_array_get (events, i);
    uint64_t this = number (event, "number");

    if (this <= seen->number)
      continue;
    if (seen->number != 0 && this > seen->number + 1)
      complain ("%" PRIu64 " events came too fast and are lost.",
                this - seen->number - 1);
    show_event (event, json);
    seen->number = this;
  }
  fflush (stdout);
}

int
follow_events (const char *path, bool json, bool once)
{
  struct seen seen = { .number = 0 };
  bool away = false;
  int status;
  json_t *answer = ask_and_check (
    path, json_pack ("{s:s}", "command", "events"), &status);

  if (answer == NULL)
    return status;
  for (;;) {
    if (answer == NULL && !away)
      complain ("the node cannot be reached; trying again.");
    away = answer == NULL;
    if (answer != NULL)
      show_new (answer, &seen, json);
    json_decref (answer);
    if (once || ferror (stdout))
      return EXIT_OK;
    sleep_ms (POLL_MS);
    answer = ask_quietly (path,
                          json_pack ("{s:s, s:I}", "command", "events", "after",
                                     (json_int_t) seen.number));
  }
}
