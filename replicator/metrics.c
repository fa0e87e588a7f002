/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * metrics.c: figures as text for Prometheus.
 *
 * In OpenMetrics a family of counters, or of information, is named without
 * the suffix that its samples have, the unit has a line of its own, and
 * the text says where it ends.  In Prometheus' older format the family has
 * the samples' name.  All else is the same, and written here once.
 */
#include <assert.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "metrics.h"

enum {
  FIRST_BIT = 4, /* durations: 16 us ... */
  LAST_BIT = 24, /* ... 16.8 s */
  NUMBER_BITS = 10,
  LABELS_TEXT = 1024,
  MICRO = 1000000,
};

struct metrics {
  FILE *out;
  char *text;
  size_t length;
  bool openmetrics;
  const char *name; /* of the family's samples */
};

struct metrics *
metrics_new (bool openmetrics)
{
  struct metrics *metrics = calloc (1, sizeof *metrics);

  if (metrics == NULL)
    return NULL;
  metrics->openmetrics = openmetrics;
  metrics->out = open_memstream (&metrics->text, &metrics->length);
  if (metrics->out != NULL)
    return metrics;
  free (metrics);
  return NULL;
}

/* ------------------------------------------------------------- families */

static bool
ends_in (const char *name, size_t length, const char *suffix)
{
  size_t bytes = strlen (suffix);

  return length > bytes && memcmp (name + length - bytes, suffix, bytes) == 0;
}

/* Length of the family's name in OpenMetrics. */
static size_t
family_length (enum metrics_type type, const char *name)
{
  const char *suffix = type == METRICS_COUNTER ? "_total"
    : type == METRICS_INFO                     ? "_info"
                                               : "";
  size_t length = strlen (name);

  assert (suffix[0] == '\0' || ends_in (name, length, suffix));
  return length - strlen (suffix);
}

void
metrics_family (struct metrics *metrics, enum metrics_type type,
                const char *name, const char *help)
{
  static const char *const words[] = { "gauge", "counter", "histogram",
                                       "info" };
  static const char *const units[] = { "seconds", "bytes" };
  int length = (int) strlen (name);
  const char *word = words[type];

  metrics->name = name;
  if (metrics->openmetrics)
    length = (int) family_length (type, name);
  else if (type == METRICS_INFO)
    word = "gauge";
  fprintf (metrics->out, "# HELP %.*s %s\n# TYPE %.*s %s\n", length, name, help,
           length, name, word);
  for (size_t i = 0; metrics->openmetrics && i < 2; i++)
    if (ends_in (name, (size_t) length, units[i]))
      fprintf (metrics->out, "# UNIT %.*s %s\n", length, name, units[i]);
}

/* -------------------------------------------------------------- samples */

/* Length of the UTF-8 sequence at TEXT; 0: it is none. */
static size_t
sequence (const unsigned char *text)
{
  size_t length = text[0] < 0x80 ? 1
    : text[0] < 0xc2             ? 0
    : text[0] < 0xe0             ? 2
    : text[0] < 0xf0             ? 3
    : text[0] < 0xf5             ? 4
                                 : 0;

  for (size_t i = 1; i < length; i++)
    if ((text[i] & 0xc0) != 0x80)
      return 0;
  return length;
}

/* A label's value: escaped, and UTF-8 whatever it was. */
static void
put_value (FILE *out, const char *value)
{
  const unsigned char *at = (const unsigned char *) value;

  while (*at != '\0') {
    size_t length = sequence (at);

    if (*at == '\n')
      fputs ("\\n", out);
    else if (*at == '"' || *at == '\\')
      fprintf (out, "\\%c", *at);
    else if (length == 0)
      fputc ('?', out);
    else
      fwrite (at, 1, length, out);
    at += length > 0 ? length : 1;
  }
}

/* KIND="read",X="y" as text, or nothing; cut off behind the last whole
 * label that has room.
 */
static void
format_labels (va_list labels, char text[LABELS_TEXT])
{
  FILE *out = fmemopen (text, LABELS_TEXT, "w");
  const char *name = va_arg (labels, const char *);
  long whole = 0;

  text[0] = '\0';
  if (out == NULL)
    return;
  for (unsigned i = 0; i < METRICS_LABELS && name != NULL; i++) {
    fprintf (out, "%s%s=\"", i > 0 ? "," : "", name);
    put_value (out, va_arg (labels, const char *));
    fputc ('"', out);
    fflush (out);
    if (ferror (out) || ftell (out) >= LABELS_TEXT - 1)
      break;
    whole = ftell (out);
    name = va_arg (labels, const char *);
  }
  fclose (out);
  text[whole] = '\0';
}

static void
put_sample (struct metrics *metrics, const char *suffix, const char *labels,
            const char *value)
{
  bool any = labels[0] != '\0';

  fprintf (metrics->out, "%s%s%s%s%s %s\n", metrics->name, suffix,
           any ? "{" : "", labels, any ? "}" : "", value);
}

static void
put_number (struct metrics *metrics, const char *suffix, const char *labels,
            uint64_t value)
{
  char text[24];

  snprintf (text, sizeof text, "%" PRIu64, value);
  put_sample (metrics, suffix, labels, text);
}

static void
format_seconds (uint64_t us, char text[32])
{
  snprintf (text, 32, "%" PRIu64 ".%06" PRIu64, us / MICRO, us % MICRO);
}

static void
put_seconds (struct metrics *metrics, const char *suffix, const char *labels,
             uint64_t us)
{
  char text[32];

  format_seconds (us, text);
  put_sample (metrics, suffix, labels, text);
}

void
metrics_number (struct metrics *metrics, uint64_t value, ...)
{
  char labels[LABELS_TEXT];
  va_list args;

  va_start (args, value);
  format_labels (args, labels);
  va_end (args);
  put_number (metrics, "", labels, value);
}

void
metrics_seconds (struct metrics *metrics, uint64_t us, ...)
{
  char labels[LABELS_TEXT];
  va_list args;

  va_start (args, us);
  format_labels (args, labels);
  va_end (args);
  put_seconds (metrics, "", labels, us);
}

void
metrics_gauge (struct metrics *metrics, const char *name, const char *help,
               uint64_t value)
{
  metrics_family (metrics, METRICS_GAUGE, name, help);
  metrics_number (metrics, value, NULL);
}

void
metrics_counter (struct metrics *metrics, const char *name, const char *help,
                 uint64_t value)
{
  metrics_family (metrics, METRICS_COUNTER, name, help);
  metrics_number (metrics, value, NULL);
}

/* ----------------------------------------------------------- histograms */

static void
put_bucket (struct metrics *metrics, const char *labels, const char *edge,
            uint64_t count)
{
  char all[LABELS_TEXT + 48];

  snprintf (all, sizeof all, "%s%sle=\"%s\"", labels,
            labels[0] != '\0' ? "," : "", edge);
  put_number (metrics, "_bucket", all, count);
}

/* A duration in whole us that is below a power of two was below it as
 * well before it was cut off.
 */
void
metrics_durations (struct metrics *metrics, const struct latency_counts *counts,
                   ...)
{
  char labels[LABELS_TEXT], edge[32];
  va_list args;

  va_start (args, counts);
  format_labels (args, labels);
  va_end (args);
  for (unsigned bit = FIRST_BIT; bit <= LAST_BIT; bit++) {
    uint64_t us = UINT64_C (1) << bit;

    format_seconds (us, edge);
    put_bucket (metrics, labels, edge, latency_counts_upto (counts, us - 1));
  }
  put_bucket (metrics, labels, "+Inf", counts->count);
  put_seconds (metrics, "_sum", labels, counts->sum_us);
  put_number (metrics, "_count", labels, counts->count);
}

void
metrics_numbers (struct metrics *metrics, const struct latency_counts *counts,
                 ...)
{
  char labels[LABELS_TEXT], edge[32];
  va_list args;

  va_start (args, counts);
  format_labels (args, labels);
  va_end (args);
  for (unsigned bit = 0; bit <= NUMBER_BITS; bit++) {
    uint64_t number = bit < 4 ? 1u << bit : (1u << bit) - 1;

    snprintf (edge, sizeof edge, "%" PRIu64 "%s", number,
              metrics->openmetrics ? ".0" : "");
    put_bucket (metrics, labels, edge, latency_counts_upto (counts, number));
  }
  put_bucket (metrics, labels, "+Inf", counts->count);
  put_number (metrics, "_sum", labels, counts->sum_us);
  put_number (metrics, "_count", labels, counts->count);
}

/* -------------------------------------------------------------- process */

/* When this process began, in us since 1970; 0: not known. */
static uint64_t began_us;
static pthread_once_t began_once = PTHREAD_ONCE_INIT;

/* Once, because the two clocks drift apart by a little. */
static void
find_began (void)
{
  FILE *stat = fopen ("/proc/self/stat", "re");
  struct timespec wall, boot;
  uint64_t ticks = 0;
  char line[1024];
  size_t length;
  const char *at;

  if (stat == NULL)
    return;
  length = fread (line, 1, sizeof line - 1, stat);
  fclose (stat);
  line[length] = '\0';
  /* Field 22; the second may have blanks in it, and is in brackets. */
  at = strrchr (line, ')');
  if (at == NULL ||
      sscanf (at,
              ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d "
              "%*d %*d %*d %*d %" SCNu64,
              &ticks) != 1)
    return;
  clock_gettime (CLOCK_REALTIME, &wall);
  clock_gettime (CLOCK_BOOTTIME, &boot);
  began_us = (uint64_t) (wall.tv_sec - boot.tv_sec) * MICRO +
    ticks * MICRO / (uint64_t) sysconf (_SC_CLK_TCK);
}

static uint64_t
resident_bytes (void)
{
  FILE *statm = fopen ("/proc/self/statm", "re");
  uint64_t pages = 0;

  if (statm == NULL)
    return 0;
  if (fscanf (statm, "%*u %" SCNu64, &pages) != 1)
    pages = 0;
  fclose (statm);
  return pages * (uint64_t) sysconf (_SC_PAGESIZE);
}

static uint64_t
time_us (const struct timeval *time)
{
  return (uint64_t) time->tv_sec * MICRO + (uint64_t) time->tv_usec;
}

void
metrics_process (struct metrics *metrics)
{
  uint64_t bytes = resident_bytes ();
  struct rusage usage;

  pthread_once (&began_once, find_began);
  getrusage (RUSAGE_SELF, &usage);
  if (bytes > 0) {
    metrics_family (metrics, METRICS_GAUGE, "process_resident_memory_bytes",
                    "Resident memory of the process.");
    metrics_number (metrics, bytes, NULL);
  }
  metrics_family (metrics, METRICS_COUNTER, "process_cpu_seconds_total",
                  "User and system time of the process.");
  metrics_seconds (metrics,
                   time_us (&usage.ru_utime) + time_us (&usage.ru_stime), NULL);
  if (began_us > 0) {
    metrics_family (metrics, METRICS_GAUGE, "process_start_time_seconds",
                    "When the process started, since 1970.");
    metrics_seconds (metrics, began_us, NULL);
  }
}

/* ------------------------------------------------------------------ end */

char *
metrics_end (struct metrics *metrics, size_t *length)
{
  char *text;
  int failed;

  if (metrics->openmetrics)
    fputs ("# EOF\n", metrics->out);
  failed = ferror (metrics->out);
  failed |= fclose (metrics->out);
  text = metrics->text;
  *length = metrics->length;
  free (metrics);
  if (!failed)
    return text;
  free (text);
  return NULL;
}

const char *
metrics_content_type (bool openmetrics)
{
  return openmetrics
    ? "application/openmetrics-text; version=1.0.0; charset=utf-8"
    : "text/plain; version=0.0.4; charset=utf-8";
}
