/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * linear-text.c: histories as text files.
 *
 * One line for each thing that happened, appended whole; TIME is
 * CLOCK_MONOTONIC in nanoseconds, NAME is CLIENT.NUMBER:
 *
 *   s NAME KIND OFFSET LENGTH TIME   sent; KIND: read, write, trim or zero
 *   a NAME TIME [LENGTH:SEEN...]     answered; for a read what it saw, from
 *                                    its offset on: SEEN is the NAME of a
 *                                    write, "zeros" or "torn"
 *   e NAME TIME ERROR                answered by an error: a write may then
 *                                    have happened or not, now or later
 *   f TIME begin|end                 something is broken; all is well again
 *
 * A file has the requests of one client, numbered upwards, or faults.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "linear.h"

enum { RUNS_MAX = 4096 };

/* A file being read. */
struct reader {
  struct linear_history *history;
  uint32_t client;   /* 0: no request yet */
  uint32_t *indices; /* of ops, 1 + index, by number */
  uint32_t size;
  int64_t broken_ns; /* LINEAR_OPEN: nothing is broken */
};

static uint32_t
name_of (uint32_t client, uint32_t number)
{
  if (client == 0 || client > LINEAR_CLIENT_MAX || number > LINEAR_NUMBER_MAX)
    return 0;
  return client << LINEAR_CLIENT_SHIFT | number;
}

/* ------------------------------------------------------------------ read */

static bool
on_sent (struct reader *reader, const char *line)
{
  struct linear_op op = { 0 };
  uint32_t client, number;
  char kind[8];

  if (sscanf (
        line, "s %" SCNu32 ".%" SCNu32 " %7s %" SCNu64 " %" SCNu64 " %" SCNd64,
        &client, &number, kind, &op.offset, &op.length, &op.invoked_ns) != 6)
    return false;
  op.name = name_of (client, number);
  op.kind = strcmp (kind, "read") == 0 ? LINEAR_READ
    : strcmp (kind, "write") == 0      ? LINEAR_WRITE
                                       : LINEAR_ZEROS;
  if (op.name == 0 || op.length == 0 || op.offset + op.length < op.offset)
    return false;
  if (reader->client == 0 && !reader->history->clients[client]) {
    reader->client = client;
    reader->history->clients[client] = true;
  }
  if (client != reader->client)
    return false;
  if (number >= reader->size) {
    uint32_t size = number * 2 + 1024;

    reader->indices = realloc (reader->indices, size * sizeof (uint32_t));
    if (reader->indices == NULL)
      abort ();
    memset (reader->indices + reader->size, 0,
            (size - reader->size) * sizeof (uint32_t));
    reader->size = size;
  }
  if (reader->indices[number] != 0)
    return false;
  reader->indices[number] = linear_add (reader->history, op) + 1;
  return true;
}

/* LENGTH:SEEN; where it ends, or NULL. */
static char *
read_run (char *text, struct linear_run *run)
{
  uint32_t client, number;
  char *end, *colon;

  run->length = strtoull (text, &colon, 10);
  if (colon == text || *colon != ':' || run->length == 0)
    return NULL;
  text = colon + 1;
  end = text + strcspn (text, " \n");
  if (strncmp (text, "zeros", 5) == 0)
    run->name = LINEAR_ZERO;
  else if (strncmp (text, "torn", 4) == 0)
    run->name = LINEAR_TORN;
  else if (sscanf (text, "%" SCNu32 ".%" SCNu32, &client, &number) == 2 &&
           name_of (client, number) != 0)
    run->name = name_of (client, number);
  else
    return NULL;
  return end + strspn (end, " \n");
}

static bool
on_answered (struct reader *reader, char *line)
{
  static struct linear_run runs[RUNS_MAX];
  uint32_t client, number, count = 0, index;
  uint64_t length = 0;
  const struct linear_op *op;
  int64_t time_ns;
  int used;

  if (sscanf (line, "a %" SCNu32 ".%" SCNu32 " %" SCNd64 " %n", &client,
              &number, &time_ns, &used) != 3 ||
      client != reader->client || number >= reader->size ||
      reader->indices[number] == 0)
    return false;
  index = reader->indices[number] - 1;
  op = &reader->history->ops[index];
  for (line += used; *line != 0; length += runs[count++].length)
    if (count == RUNS_MAX || (line = read_run (line, &runs[count])) == NULL)
      return false;
  if (length != (op->kind == LINEAR_READ ? op->length : 0) ||
      op->answered_ns != LINEAR_OPEN || time_ns < op->invoked_ns)
    return false;
  linear_answer (reader->history, index, time_ns, runs, count);
  return true;
}

static bool
on_fault (struct reader *reader, const char *line)
{
  int64_t time_ns;
  char what[8];

  if (sscanf (line, "f %" SCNd64 " %7s", &time_ns, what) != 2)
    return false;
  if (strcmp (what, "begin") == 0) {
    if (reader->broken_ns == LINEAR_OPEN)
      reader->broken_ns = time_ns;
    return true;
  }
  if (strcmp (what, "end") != 0 || reader->broken_ns == LINEAR_OPEN)
    return false;
  linear_add_window (reader->history, reader->broken_ns, time_ns);
  reader->broken_ns = LINEAR_OPEN;
  return true;
}

static bool
on_line (struct reader *reader, char *line)
{
  switch (line[0]) {
  case 's': return on_sent (reader, line);
  case 'a': return on_answered (reader, line);
  case 'e': return reader->client != 0;
  case 'f': return on_fault (reader, line);
  default: return false;
  }
}

bool
linear_read (struct linear_history *history, const char *path, char **error)
{
  struct reader reader = { .history = history, .broken_ns = LINEAR_OPEN };
  FILE *file = fopen (path, "r");
  char *line = NULL;
  size_t size = 0, number = 0;
  ssize_t length;
  bool good = file != NULL;

  *error = NULL;
  while (good && (length = getline (&line, &size, file)) > 0) {
    number++;
    if (line[length - 1] == '\n')
      good = on_line (&reader, line);
  }
  if (reader.broken_ns != LINEAR_OPEN)
    linear_add_window (history, reader.broken_ns, LINEAR_OPEN);
  if (!good &&
      asprintf (error, "%s:%zu: %s", path, number,
                file == NULL ? "cannot be opened"
                             : "not a line of a history") == -1)
    abort ();
  if (file != NULL)
    fclose (file);
  free (line);
  free (reader.indices);
  return good;
}

/* ----------------------------------------------------------------- print */

static void
print_name (FILE *stream, uint32_t name)
{
  if (name == LINEAR_ZERO)
    fprintf (stream, "zeros");
  else if (name == LINEAR_TORN)
    fprintf (stream, "bytes of no write");
  else
    fprintf (stream, "%u.%u", name >> LINEAR_CLIENT_SHIFT,
             name & LINEAR_NUMBER_MAX);
}

/* Two lines at most for a write, one more for each run of a read. */
void
linear_print_op (FILE *stream, const struct linear_op *op, int64_t since_ns)
{
  static const char *const kinds[] = { "read", "write", "zeros" };
  uint64_t offset = op->offset;
  uint32_t i;

  print_name (stream, op->name);
  fprintf (stream, " %s [%" PRIu64 ", %" PRIu64 "), sent at %.6f s, ",
           kinds[op->kind], offset, offset + op->length,
           (double) (op->invoked_ns - since_ns) / 1e9);
  if (op->answered_ns == LINEAR_OPEN)
    fprintf (stream, "never answered");
  else
    fprintf (stream, "answered at %.6f s",
             (double) (op->answered_ns - since_ns) / 1e9);
  fprintf (stream, op->again ? ", may happen again\n" : "\n");
  for (i = 0; i < op->run_count; i++) {
    fprintf (stream, "    saw [%" PRIu64 ", %" PRIu64 ") of ", offset,
             offset + op->runs[i].length);
    print_name (stream, op->runs[i].name);
    fputc ('\n', stream);
    offset += op->runs[i].length;
  }
}
