/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl.h: what the files of the administrator's tool share.
 *
 *   duetctl.c         the command line and the commands
 *   duetctl-ask.c     one question to a node
 *   duetctl-text.c    figures as text
 *   duetctl-status.c  the table of a status
 *   duetctl-events.c  a line for each change
 *   duetctl-verify.c  a comparison, watched to its end
 *   duetctl-resize.c  the volume made larger, and what follows from it
 *   duetctl-meta.c    what a metadata file says, without a node
 */
#ifndef DUET_DUETCTL_H
#define DUET_DUETCTL_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* Exit status; see duetctl(1). */
enum {
  EXIT_OK,
  EXIT_REFUSED,
  EXIT_USAGE,
  EXIT_UNREACHABLE,
  EXIT_TIMEOUT,
  EXIT_DIFFERENT
};

enum { SIZE_TEXT = 32 };

/* A line for people on stderr. */
void complain (const char *format, ...) __attribute__ ((format (printf, 1, 2)));

/* The answer to REQUEST, which is taken, of the node that listens on PATH;
 * NULL after a message.
 */
json_t *ask (const char *path, json_t *request);
/* The same without any message. */
json_t *ask_quietly (const char *path, json_t *request);
/* As ask, but a refusal is a message and NULL; STATUS: what to exit with. */
json_t *ask_and_check (const char *path, json_t *request, int *status);

/* What an answer lacks reads as zero or "-", so that nodes of other
 * versions can be shown.
 */
uint64_t number (const json_t *object, const char *key);
const char *text (const json_t *object, const char *key);
/* In powers of 1024, exact ones without a fraction. */
const char *size_text (uint64_t bytes, char buffer[SIZE_TEXT]);
const char *duration_text (uint64_t us, char buffer[SIZE_TEXT]);
const char *clock_text (uint64_t seconds, char buffer[SIZE_TEXT]);

void show_status (FILE *out, const json_t *status);
/* Twice a second until it is interrupted, or so many TIMES; exit status. */
int watch_status (const char *path, uint64_t times);

/* Until it is interrupted, or ONCE those that there are; exit status. */
int follow_events (const char *path, bool json, bool once);

/* As --json prints it. */
void show_json (const json_t *answer);

/* Begin with REQUEST, which is taken, and wait for the end; exit status. */
int run_verify (const char *path, json_t *request, bool json);

/* Make the volume SIZE large, in nbdkit's notation, and wait for the end;
 * exit status.
 */
int run_resize (const char *path, const char *size, bool json);

/* Show the metadata file PATH, whether a node runs on it or not; exit
 * status: EXIT_REFUSED if a node could not start with it.
 */
int dump_meta (const char *path, bool json);

/* Rounded down: 100 % means that nothing is left. */
void show_bar (FILE *out, const char *name, uint64_t done, uint64_t total);

void sleep_ms (uint64_t ms);

#endif /* DUET_DUETCTL_H */
