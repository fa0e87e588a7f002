/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * samples.c: see samples.h.
 */
#include "samples.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int64_t
now_ns (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

void
die (const char *format, ...)
{
  int error = errno;
  va_list args;

  fprintf (stderr, "%s: ", program_invocation_short_name);
  va_start (args, format);
  vfprintf (stderr, format, args);
  va_end (args);
  fprintf (stderr, "%s%s\n", error != 0 ? ": " : "",
           error != 0 ? strerror (error) : "");
  exit (EXIT_FAILURE);
}

const char *
value_of (const char *argument, const char *name)
{
  size_t length = strlen (name);

  if (strncmp (argument, name, length) != 0 || argument[length] != '=')
    return NULL;
  return argument + length + 1;
}

static void
make_room (struct samples *samples, size_t count)
{
  if (samples->count + count <= samples->room)
    return;
  samples->room = 2 * (samples->count + count) + 1024;
  samples->list = realloc (samples->list,
                           samples->room * sizeof samples->list[0]);
  if (samples->list == NULL)
    die ("no memory for samples");
}

void
samples_add (struct samples *samples, int64_t begun_ns, int64_t took_ns,
             bool is_read)
{
  make_room (samples, 1);
  samples->list[samples->count++] = (struct sample){ .begun_ns = begun_ns,
                                                     .took_ns = took_ns,
                                                     .is_read = is_read };
}

void
samples_move (struct samples *to, struct samples *from)
{
  make_room (to, from->count);
  if (from->count > 0)
    memcpy (to->list + to->count, from->list,
            from->count * sizeof from->list[0]);
  to->count += from->count;
  samples_free (from);
}

static int
by_duration (const void *a, const void *b)
{
  const struct sample *left = a, *right = b;

  return (left->took_ns > right->took_ns) - (left->took_ns < right->took_ns);
}

static int
by_end (const void *a, const void *b)
{
  const struct sample *left = a, *right = b;
  int64_t left_end = left->begun_ns + left->took_ns;
  int64_t right_end = right->begun_ns + right->took_ns;

  return (left_end > right_end) - (left_end < right_end);
}

/* Nearest rank, in microseconds. */
static double
percentile (const struct sample *sorted, size_t count, double part)
{
  size_t rank = (size_t) ((double) count * part);

  if (count == 0)
    return 0;
  return (double) sorted[rank < count ? rank : count - 1].took_ns / 1e3;
}

/* Move those that began and ended within [FROM_NS, TO_NS) to the front;
 * how many.
 */
static size_t
pick (struct samples *samples, int64_t from_ns, int64_t to_ns)
{
  struct sample *list = samples->list;
  size_t count = 0;

  for (size_t i = 0; i < samples->count; i++)
    if (list[i].begun_ns >= from_ns &&
        list[i].begun_ns + list[i].took_ns < to_ns) {
      struct sample picked = list[i];

      list[i] = list[count];
      list[count++] = picked;
    }
  return count;
}

void
samples_print (struct samples *samples, int64_t from_ns, int64_t to_ns,
               uint64_t size)
{
  struct sample *list = samples->list;
  size_t count = pick (samples, from_ns, to_ns);
  double seconds = (double) (to_ns - from_ns) / 1e9, sum = 0;

  if (count == 0 && samples->count > 0) {
    count = samples->count;
    qsort (list, count, sizeof list[0], by_end);
    seconds = (double) (list[count - 1].begun_ns + list[count - 1].took_ns -
                        list[0].begun_ns) /
      1e9;
  }
  for (size_t i = 0; i < count; i++)
    sum += (double) list[i].took_ns / 1e3;
  qsort (list, count, sizeof list[0], by_duration);
  printf ("{\"count\": %zu, \"seconds\": %.6f, \"per_second\": %.1f, "
          "\"bytes_per_second\": %.0f, \"mean\": %.1f, \"min\": %.1f, "
          "\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p999\": %.1f, "
          "\"max\": %.1f}\n",
          count, seconds, (double) count / seconds,
          (double) count * (double) size / seconds,
          count > 0 ? sum / (double) count : 0, percentile (list, count, 0),
          percentile (list, count, 0.5), percentile (list, count, 0.9),
          percentile (list, count, 0.99), percentile (list, count, 0.999),
          percentile (list, count, 1));
}

void
samples_save (const struct samples *samples, FILE *file)
{
  qsort (samples->list, samples->count, sizeof samples->list[0], by_end);
  for (size_t i = 0; i < samples->count; i++)
    fprintf (file, "%.1f %.1f %c\n", (double) samples->list[i].begun_ns / 1e3,
             (double) samples->list[i].took_ns / 1e3,
             samples->list[i].is_read ? 'r' : 'w');
  if (fclose (file) == EOF)
    die ("cannot write the log");
}

void
samples_free (struct samples *samples)
{
  free (samples->list);
  *samples = (struct samples){ .list = NULL };
}
