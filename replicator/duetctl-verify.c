/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl-verify.c: a comparison of both copies is begun, watched, and what
 * it found is told.  The node goes on with it whoever watches.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "duetctl.h"

enum { PROGRESS_MS = 200 };

/* In one line, in its place. */
static void
show_progress (const json_t *verify, bool active)
{
  char size[SIZE_TEXT], rate[SIZE_TEXT];

  if (isatty (STDOUT_FILENO) == 0)
    return;
  printf ("\r\033[K");
  if (active) {
    show_bar (stdout, "verify", number (verify, "checked_bytes"),
              number (verify, "total_bytes"));
    printf ("of %s, %s/s, %" PRIu64 " blocks differ",
            size_text (number (verify, "total_bytes"), size),
            size_text (number (verify, "bytes_per_second"), rate),
            number (verify, "different_blocks"));
  }
  fflush (stdout);
}

static int
show_result (const json_t *verify)
{
  const json_t *list = json_object_get (verify, "differences");
  uint64_t blocks = number (verify, "different_blocks");
  const char *ended = json_string_value (json_object_get (verify, "ended"));
  char size[SIZE_TEXT];
  size_t i;

  for (i = 0; i < json_array_size (list); i++) {
    const json_t *range = json_array_get (list, i);

    printf ("differs: %" JSON_INTEGER_FORMAT " bytes at %" JSON_INTEGER_FORMAT
            "\n",
            json_integer_value (json_array_get (range, 1)),
            json_integer_value (json_array_get (range, 0)));
  }
  printf ("%s compared: ", size_text (number (verify, "checked_bytes"), size));
  if (blocks == 0)
    printf ("both copies are the same\n");
  else
    printf ("%" PRIu64 " blocks differ%s\n", blocks,
            json_is_true (json_object_get (verify, "repair"))
              ? "ed and were sent again"
              : "; --repair sends them from the primary");
  if (ended != NULL) {
    complain ("it has not come to its end: %s.", ended);
    return EXIT_REFUSED;
  }
  return blocks == 0 ? EXIT_OK : EXIT_DIFFERENT;
}

static json_t *
ask_status (const char *path, int *status)
{
  return ask_and_check (path, json_pack ("{s:s}", "command", "status"), status);
}

int
run_verify (const char *path, json_t *request, bool json)
{
  int status;
  bool active = true;
  json_t *answer = ask_and_check (path, request, &status);

  if (answer == NULL)
    return status;
  while (active) {
    json_decref (answer);
    sleep_ms (PROGRESS_MS);
    answer = ask_status (path, &status);
    if (answer == NULL)
      return status;

    const json_t *verify = json_object_get (answer, "verify");
    active = json_is_true (json_object_get (verify, "active")) ||
      json_is_object (json_object_get (answer, "resync"));
    if (!json)
      show_progress (verify, active);
  }

  json_t *verify = json_object_get (answer, "verify");
  if (json) {
    show_json (verify);
    status = number (verify, "different_blocks") == 0 ? EXIT_OK
                                                      : EXIT_DIFFERENT;
    if (json_is_string (json_object_get (verify, "ended")))
      status = EXIT_REFUSED;
  }
  else
    status = show_result (verify);
  json_decref (answer);
  return status;
}
