/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl-resize.c: the volume is made larger, watched to the end, and what
 * its clients have to do is told.  The nodes go on with it whoever watches.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "duetctl.h"

enum { LOOK_MS = 100, SECTOR = 512 };

/* How many bytes is one UNIT?  0: there is no such unit. */
static uint64_t
unit_bytes (char unit)
{
  static const char units[] = "kmgtpe";
  const char *at;

  if (unit >= 'A' && unit <= 'Z')
    unit = (char) (unit - 'A' + 'a');
  if (unit == 'b' || unit == '\0')
    return 1;
  if (unit == 's')
    return SECTOR;
  at = strchr (units, unit);
  return at != NULL ? UINT64_C (1) << (10 * (at - units + 1)) : 0;
}

/* As nbdkit reads sizes; false: it is none. */
static bool
read_size (const char *text, uint64_t *bytes)
{
  uint64_t unit = 0, number = 0;
  size_t digits = strspn (text, "0123456789"), i;

  if (digits > 0 && strlen (text) <= digits + 1)
    unit = unit_bytes (text[digits]);
  for (i = 0; unit != 0 && i < digits; i++) {
    uint64_t digit = (uint64_t) (text[i] - '0');

    if (number > (INT64_MAX - digit) / 10)
      unit = 0;
    number = number * 10 + digit;
  }
  if (unit == 0 || number == 0 || number > INT64_MAX / unit)
    return false;
  *bytes = number * unit;
  return true;
}

/* The node's word on how it stands: *NODE, to be freed, is its status.  NULL:
 * it cannot be asked, or does not know of it any more.
 */
static const json_t *
wait_for_end (const char *path, json_t **node, int *status)
{
  const json_t *resize;

  do {
    json_decref (*node);
    sleep_ms (LOOK_MS);
    *node = ask_and_check (path, json_pack ("{s:s}", "command", "status"),
                           status);
    if (*node == NULL)
      return NULL;
    resize = json_object_get (*node, "resize");
  } while (json_is_true (json_object_get (resize, "active")));
  if (json_is_object (resize))
    return resize;
  complain ("the node was started anew in the middle of it: the status shows "
            "the size.");
  *status = EXIT_REFUSED;
  return NULL;
}

static void
show_what_follows (const json_t *resize)
{
  char before[SIZE_TEXT], now[SIZE_TEXT];

  printf (
    "the volume has %s now, on both nodes; it had %s\n"
    "Who opens it from now on sees the new size; who has it open goes on\n"
    "with the old one:\n"
    "  duetproxy       has reconnected by itself; its clients must, too\n"
    "  nbd-client, QEMU, and other clients: docs/nbd-clients.md says how\n"
    "Then make larger what is on it: partitions, LVM, resize2fs, xfs_growfs.\n",
    size_text (number (resize, "to_bytes"), now),
    size_text (number (resize, "from_bytes"), before));
}

int
run_resize (const char *path, const char *size, bool json)
{
  uint64_t bytes;
  int status;

  if (!read_size (size, &bytes)) {
    complain ("resize %s: this is not a size, as 512G or 1T.", size);
    return EXIT_USAGE;
  }

  json_t *node = ask_and_check (
    path,
    json_pack ("{s:s, s:I}", "command", "resize", "size", (json_int_t) bytes),
    &status);
  if (node == NULL)
    return status;

  const json_t *resize = wait_for_end (path, &node, &status);
  const char *ended = json_string_value (json_object_get (resize, "ended"));

  if (resize != NULL && json)
    show_json (resize);
  else if (resize != NULL && ended == NULL)
    show_what_follows (resize);
  if (ended != NULL) {
    complain ("it came to nothing: %s.", ended);
    status = EXIT_REFUSED;
  }
  json_decref (node);
  return status;
}
