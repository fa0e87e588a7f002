/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * metrics.h: figures as text that Prometheus and its kin read: OpenMetrics
 * 1.0, or Prometheus' own older format, which differ in the names of
 * counters and in what surrounds them.
 *
 * Write families one after the other, each with its samples behind it:
 *
 *   metrics_family (m, METRICS_COUNTER, "x_bytes_total", "Bytes.");
 *   metrics_number (m, 5, "kind", "read", NULL);
 *
 * Names are those of the samples, constant, and valid (letters, digits and
 * _); a label's value may be any text.  Labels are pairs of name and value,
 * ended by NULL, at most METRICS_LABELS of them.
 */
#ifndef DUET_METRICS_H
#define DUET_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "latency.h"

enum { METRICS_LABELS = 8 };

enum metrics_type {
  METRICS_GAUGE,
  METRICS_COUNTER,   /* its name ends in _total */
  METRICS_HISTOGRAM, /* its name has no suffix */
  METRICS_INFO,      /* its name ends in _info */
};

struct metrics;

/* NULL: no memory. */
struct metrics *metrics_new (bool openmetrics);

/* HELP is one line without a backslash. */
void metrics_family (struct metrics *metrics, enum metrics_type type,
                     const char *name, const char *help);

/* Samples of the family that was named last. */
void metrics_number (struct metrics *metrics, uint64_t value, ...)
  __attribute__ ((sentinel));
void metrics_seconds (struct metrics *metrics, uint64_t us, ...)
  __attribute__ ((sentinel));
/* Of durations: buckets are powers of two of a us, 16 us to 16.8 s. */
void metrics_durations (struct metrics *metrics,
                        const struct latency_counts *counts, ...)
  __attribute__ ((sentinel));
/* Of numbers: buckets 1, 2, 4, 8, 15, 31 ... 1023. */
void metrics_numbers (struct metrics *metrics,
                      const struct latency_counts *counts, ...)
  __attribute__ ((sentinel));

/* The process that this is: memory, processor time, start. */
void metrics_process (struct metrics *metrics);

/* Frees METRICS.  The text and its length, to be freed by the caller; NULL:
 * no memory.
 */
char *metrics_end (struct metrics *metrics, size_t *length);

/* What the text is, for Content-Type. */
const char *metrics_content_type (bool openmetrics);

/* A family with one sample, which has no labels. */
void metrics_gauge (struct metrics *metrics, const char *name, const char *help,
                    uint64_t value);
void metrics_counter (struct metrics *metrics, const char *name,
                      const char *help, uint64_t value);

#endif /* DUET_METRICS_H */
