/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * samples.h: durations that were measured, and the line of JSON that says
 * what they were.
 */
#ifndef DUET_SAMPLES_H
#define DUET_SAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct sample {
  int64_t begun_ns; /* CLOCK_MONOTONIC */
  int64_t took_ns;
  bool is_read;
};

struct samples {
  struct sample *list;
  size_t count, room;
};

int64_t now_ns (void);

/* Print "PROGRAM: MESSAGE: errno" and exit with status 1. */
_Noreturn void die (const char *format, ...)
  __attribute__ ((format (printf, 1, 2)));

/* The value of ARGUMENT if it is "NAME=VALUE", else NULL. */
const char *value_of (const char *argument, const char *name);

void samples_add (struct samples *samples, int64_t begun_ns, int64_t took_ns,
                  bool is_read);
/* Move all of FROM to the end of TO. */
void samples_move (struct samples *to, struct samples *from);
/* One line: how many of them began and ended within [FROM_NS, TO_NS), per
 * second, in bytes when each is of SIZE, and the percentiles of their
 * durations in microseconds.  If none did, all count.  The order is another
 * one afterwards.
 */
void samples_print (struct samples *samples, int64_t from_ns, int64_t to_ns,
                    uint64_t size);
/* Write a line for each to FILE, in the order of their ends:
 * microseconds on CLOCK_MONOTONIC when it began, microseconds that it took,
 * "r" or "w".  Closes FILE.
 */
void samples_save (const struct samples *samples, FILE *file);
void samples_free (struct samples *samples);

#endif
