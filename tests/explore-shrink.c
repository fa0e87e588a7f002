/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore-shrink.c: a violation as the shortest story that shows it.
 *
 * Depth first finds long ways.  So choices are left out, in pieces that
 * get smaller (Zeller and Hildebrandt's ddmin, 2002); a choice that is not
 * possible any more is passed over.  What is left is told in words, and in
 * numbers that can be replayed.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"

bool telling;

void
tell (const char *format, ...)
{
  va_list args;

  if (!telling)
    return;
  va_start (args, format);
  vprintf (format, args);
  va_end (args);
  putchar ('\n');
}

static bool
is_possible (choice c)
{
  choice list[CHOICES_MAX];
  uint32_t count = world_choices (list), i;

  for (i = 0; i < count; i++)
    if (list[i] == c)
      return true;
  return false;
}

/* Take the choices of PATH but for those left out; what was taken goes to
 * TAKEN.  True when a rule broke.
 */
static bool
replay (const choice *path, uint32_t length, uint32_t out_first,
        uint32_t out_count, choice *taken, uint32_t *taken_count,
        char rule[512])
{
  char text[256];
  uint32_t i;

  world_prefix ();
  *taken_count = 0;
  for (i = 0; i < length; i++) {
    if ((i >= out_first && i < out_first + out_count) || !is_possible (path[i]))
      continue;
    if (telling) {
      world_describe (path[i], text, sizeof text);
      tell ("%4u  %s", *taken_count + 1, text);
    }
    taken[(*taken_count)++] = path[i];
    if (!search_try (path[i], rule) || !search_look (rule))
      return true;
  }
  return false;
}

/* The beginnings of two rules are the same: I1, I2, an assertion. */
static bool
same_rule (const char *a, const char *b)
{
  return strncmp (a, b, 3) == 0;
}

void
shrink_path (struct search_result *result)
{
  uint32_t room = result->path_length, piece = room / 2, at, count;
  choice *taken = malloc ((room + 1) * sizeof *taken);
  char rule[512];

  assert (taken != NULL);
  while (piece > 0) {
    bool less = false;

    for (at = 0; at < result->path_length;) {
      if (replay (result->path, result->path_length, at, piece, taken, &count,
                  rule) &&
          same_rule (rule, result->rule) && count < result->path_length) {
        memcpy (result->path, taken, count * sizeof *taken);
        memcpy (result->rule, rule, sizeof rule);
        result->path_length = count;
        less = true;
      }
      else
        at += piece;
    }
    if (!less || piece > 1)
      piece /= 2;
  }
  free (taken);
}

void
story_print (const choice *path, uint32_t length)
{
  choice *taken = malloc ((length + 1) * sizeof *taken);
  char rule[512] = "";
  uint32_t count, i;

  assert (taken != NULL);
  telling = true;
  if (replay (path, length, 0, 0, taken, &count, rule))
    printf ("      %s\n", rule);
  telling = false;
  printf ("replay: ");
  for (i = 0; i < length; i++)
    printf ("%s%x", i > 0 ? "," : "", path[i]);
  printf ("\n");
  free (taken);
}

/* CODES as printed above; true when a rule broke. */
bool
story_replay (const char *codes)
{
  uint32_t room = (uint32_t) strlen (codes) + 1, length = 0, count;
  choice *path = malloc (room * sizeof *path);
  choice *taken = malloc (room * sizeof *taken);
  char rule[512] = "", *end;
  bool broken;

  assert (path != NULL && taken != NULL);
  while (*codes != '\0') {
    path[length++] = (choice) strtoul (codes, &end, 16);
    codes = *end == ',' ? end + 1 : end;
    if (end == codes && *end != '\0')
      break;
  }
  telling = true;
  broken = replay (path, length, 0, 0, taken, &count, rule);
  telling = false;
  printf ("      %s\n", broken ? rule : "no rule was broken");
  free (path);
  free (taken);
  return broken;
}
