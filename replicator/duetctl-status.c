/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl-status.c: a node's status as a table for people, once, or drawn
 * anew in its place for as long as they watch.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "duetctl.h"

enum { WATCH_MS = 500 };

static void
show_members (FILE *out, const json_t *status)
{
  const json_t *members = json_object_get (status, "members");

  fprintf (out, "members     ");
  if (json_array_size (members) == 0)
    fprintf (out, "none yet");
  for (size_t i = 0; i < json_array_size (members); i++) {
    const char *member = json_string_value (json_array_get (members, i));

    if (member == NULL)
      member = "-";
    fprintf (out, "%s%s%s", i > 0 ? ", " : "", member,
             strcmp (member, text (status, "node")) == 0 ? " (this node)" : "");
  }
  fprintf (out, "\n");
}

static void
show_peer (FILE *out, const json_t *status)
{
  const json_t *peer = json_object_get (status, "peer");
  bool connected = json_is_true (json_object_get (peer, "connected"));

  fprintf (out, "peer        %s at %s, %s", text (peer, "node"),
           text (peer, "address"), connected ? "connected" : "not connected");
  if (json_is_string (json_object_get (peer, "state")))
    fprintf (out, ", %s", text (peer, "state"));
  if (json_is_string (json_object_get (status, "paused")))
    fprintf (out, ", paused");
  fprintf (out, "\n");
}

void
show_bar (FILE *out, const char *name, uint64_t done, uint64_t total)
{
  enum { WIDTH = 20 };
  double part = total > 0 ? (double) done / (double) total : 1;
  int i;

  fprintf (out, "%-11s [", name);
  for (i = 0; i < WIDTH; i++)
    fputc (i < (int) (part * WIDTH) ? '#' : '.', out);
  fprintf (out, "] %d %%, ", (int) (part * 100));
}

/* Nothing when the client is the witness. */
static void
show_arbiter (FILE *out, const json_t *status)
{
  const json_t *arbiter = json_object_get (status, "arbiter");
  const json_t *reason = json_object_get (arbiter, "reason");
  const json_t *attempt = json_object_get (arbiter, "attempt");

  if (strcmp (text (arbiter, "kind"), "etcd") != 0)
    return;
  fprintf (out, "arbiter     etcd, ");
  if (json_is_string (reason))
    fprintf (out, "does not answer: %s", json_string_value (reason));
  else
    fprintf (out, "%s",
             json_is_true (json_object_get (arbiter, "reached"))
               ? "answers"
               : "not asked yet");
  if (json_is_string (attempt))
    fprintf (out, "; waits for \"%s\"", json_string_value (attempt));
  fprintf (out, "\n");
}

static void
show_resync (FILE *out, const json_t *status)
{
  const json_t *resync = json_object_get (status, "resync");
  uint64_t done = number (resync, "done_bytes");
  uint64_t total = number (resync, "total_bytes");
  uint64_t rate = number (resync, "bytes_per_second");
  char buffer[SIZE_TEXT];

  if (!json_is_true (json_object_get (resync, "active"))) {
    fprintf (out, "resync      %s\n",
             strcmp (text (status, "state"), "syncing") == 0
               ? "from the peer, which knows how far it is"
               : "none");
    return;
  }
  if (total == 0) {
    fprintf (out, "resync      starting\n");
    return;
  }
  if (done > total)
    done = total;
  show_bar (out, "resync", done, total);
  fprintf (out, "%s of ", size_text (done, buffer));
  fprintf (out, "%s", size_text (total, buffer));
  if (rate > 0) {
    fprintf (out, ", %s/s", size_text (rate, buffer));
    fprintf (out, ", %s left", clock_text ((total - done) / rate, buffer));
  }
  fprintf (out, "\n");
}

/* A growth that goes on, or the last one if it came to nothing. */
static void
show_resize (FILE *out, const json_t *status)
{
  const json_t *resize = json_object_get (status, "resize");
  const char *ended = json_string_value (json_object_get (resize, "ended"));
  char size[SIZE_TEXT];

  if (number (status, "growing_to_bytes") > 0)
    fprintf (out, "growing     to %s\n",
             size_text (number (status, "growing_to_bytes"), size));
  else if (ended != NULL)
    fprintf (out, "resize      not to %s: %s\n",
             size_text (number (resize, "to_bytes"), size), ended);
}

static void
show_requests (FILE *out, json_t *requests)
{
  const char *kind;
  json_t *figures;
  char bytes[SIZE_TEXT], p50[SIZE_TEXT], p99[SIZE_TEXT], max[SIZE_TEXT];

  fprintf (out, "\n%-8s %12s %12s %8s %10s %10s %10s\n", "requests", "count",
           "bytes", "errors", "p50", "p99", "max");
  json_object_foreach (requests, kind, figures)
    fprintf (out, "%-8s %12" PRIu64 " %12s %8" PRIu64 " %10s %10s %10s\n", kind,
             number (figures, "count"),
             size_text (number (figures, "bytes"), bytes),
             number (figures, "errors"),
             duration_text (number (figures, "p50_us"), p50),
             duration_text (number (figures, "p99_us"), p99),
             duration_text (number (figures, "max_us"), max));
}

static void
show_costs (FILE *out, const json_t *status)
{
  const json_t *link = json_object_get (status, "link");
  uint64_t syncs = number (status, "fdatasyncs");
  uint64_t callers = number (status, "sync_callers");
  char buffer[SIZE_TEXT];

  fprintf (out, "\nfdatasync   %" PRIu64, syncs);
  if (syncs > 0)
    fprintf (out, " for %" PRIu64 " requests and frames, %.1f each", callers,
             (double) callers / (double) syncs);
  fprintf (out, "\nsent        %" PRIu64 " frames, ",
           number (link, "frames_sent"));
  fprintf (out, "%s\n", size_text (number (link, "bytes_sent"), buffer));
  fprintf (out, "received    %" PRIu64 " frames, ",
           number (link, "frames_received"));
  fprintf (out, "%s\n", size_text (number (link, "bytes_received"), buffer));
  fprintf (out, "memory      %s\n",
           size_text (number (status, "rss_bytes"), buffer));
}

void
show_status (FILE *out, const json_t *status)
{
  const json_t *generation = json_object_get (status, "generation");
  bool serving = json_is_true (json_object_get (status, "serving"));
  char buffer[SIZE_TEXT];

  fprintf (out, "volume      %s, %s\n", text (status, "volume"),
           size_text (number (status, "size_bytes"), buffer));
  fprintf (out, "node        %s\n", text (status, "node"));
  fprintf (out, "state       %s, %s clients\n", text (status, "state"),
           serving ? "serving" : "not serving");
  fprintf (out, "reason      %s\n", text (status, "reason"));
  if (number (generation, "epoch") == 0)
    fprintf (out, "generation  none yet\n");
  else
    fprintf (out, "generation  %" PRIu64 ".%s\n", number (generation, "epoch"),
             text (generation, "id"));
  show_members (out, status);
  show_peer (out, status);
  show_arbiter (out, status);
  fprintf (out, "dirty       %s\n",
           size_text (number (status, "dirty_bytes"), buffer));
  if (strcmp (text (status, "durability"), "flush") == 0)
    fprintf (out, "unflushed   %s\n",
             size_text (number (status, "unflushed_bytes"), buffer));
  show_resync (out, status);
  show_resize (out, status);
  show_requests (out, json_object_get (status, "requests"));
  show_costs (out, status);
}

/* --------------------------------------------------------------- watching */

/* The table as text, to be freed; NULL: no memory. */
static char *
table_text (const char *path, const json_t *status)
{
  char *table = NULL;
  size_t size;
  FILE *out = open_memstream (&table, &size);

  if (out == NULL)
    return NULL;
  if (status != NULL)
    show_status (out, status);
  else
    fprintf (out, "%s: the node cannot be reached; trying again\n", path);
  fclose (out);
  return table;
}

/* From the upper left corner, as much as the terminal has room for; what
 * was longer before is wiped.
 */
static void
draw (const char *table, bool first)
{
  struct winsize size = { .ws_row = 24, .ws_col = 80 };
  const char *end;
  int row, length;

  ioctl (STDOUT_FILENO, TIOCGWINSZ, &size);
  printf ("%s", first ? "\033[2J\033[H" : "\033[H");
  for (row = 1; row < size.ws_row; row++, table = end + 1) {
    end = strchr (table, '\n');
    if (end == NULL)
      break;
    length = (int) (end - table);
    printf ("%.*s\033[K\n", length < size.ws_col ? length : size.ws_col, table);
  }
  printf ("\033[J");
}

int
watch_status (const char *path, uint64_t times)
{
  bool terminal = isatty (STDOUT_FILENO) != 0;

  for (uint64_t i = 0; times == 0 || i < times; i++) {
    if (i > 0)
      sleep_ms (WATCH_MS);

    json_t *status = ask_quietly (path,
                                  json_pack ("{s:s}", "command", "status"));
    char *table = table_text (path, status);

    if (table != NULL && terminal)
      draw (table, i == 0);
    else if (table != NULL)
      printf ("%s%s", i > 0 ? "\n" : "", table);
    free (table);
    json_decref (status);
    if (fflush (stdout) != 0)
      break;
  }
  return EXIT_OK;
}
