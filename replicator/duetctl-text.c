/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl-text.c: figures of an answer as text for people.
 */
#include <inttypes.h>
#include <stdio.h>

#include "duetctl.h"

uint64_t
number (const json_t *object, const char *key)
{
  json_int_t value = json_integer_value (json_object_get (object, key));

  return value > 0 ? (uint64_t) value : 0;
}

const char *
text (const json_t *object, const char *key)
{
  const char *value = json_string_value (json_object_get (object, key));

  return value != NULL ? value : "-";
}

const char *
size_text (uint64_t bytes, char buffer[SIZE_TEXT])
{
  static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
                                       "TiB", "PiB", "EiB" };
  unsigned unit = 0;
  uint64_t one = 1;

  while (bytes / one >= 1024) {
    one *= 1024;
    unit++;
  }
  if (bytes % one == 0)
    snprintf (buffer, SIZE_TEXT, "%" PRIu64 " %s", bytes / one, units[unit]);
  else
    snprintf (buffer, SIZE_TEXT, "%.1f %s", (double) bytes / (double) one,
              units[unit]);
  return buffer;
}

const char *
duration_text (uint64_t us, char buffer[SIZE_TEXT])
{
  if (us < 1000)
    snprintf (buffer, SIZE_TEXT, "%" PRIu64 " us", us);
  else if (us < 1000000)
    snprintf (buffer, SIZE_TEXT, "%.1f ms", (double) us / 1e3);
  else
    snprintf (buffer, SIZE_TEXT, "%.1f s", (double) us / 1e6);
  return buffer;
}

const char *
clock_text (uint64_t seconds, char buffer[SIZE_TEXT])
{
  if (seconds < 3600)
    snprintf (buffer, SIZE_TEXT, "%" PRIu64 ":%02" PRIu64, seconds / 60,
              seconds % 60);
  else
    snprintf (buffer, SIZE_TEXT, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64,
              seconds / 3600, seconds / 60 % 60, seconds % 60);
  return buffer;
}
