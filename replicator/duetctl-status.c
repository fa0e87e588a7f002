/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl-status.c: a node's status as a table for people.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "duetctl.h"

static void
show_members (const json_t *status)
{
  const json_t *members = json_object_get (status, "members");

  printf ("members     ");
  if (json_array_size (members) == 0)
    printf ("none yet");
  for (size_t i = 0; i < json_array_size (members); i++) {
    const char *member = json_string_value (json_array_get (members, i));

    if (member == NULL)
      member = "-";
    printf ("%s%s%s", i > 0 ? ", " : "", member,
            strcmp (member, text (status, "node")) == 0 ? " (this node)" : "");
  }
  printf ("\n");
}

static void
show_peer (const json_t *status)
{
  const json_t *peer = json_object_get (status, "peer");
  bool connected = json_is_true (json_object_get (peer, "connected"));

  printf ("peer        %s at %s, %s", text (peer, "node"),
          text (peer, "address"), connected ? "connected" : "not connected");
  if (json_is_string (json_object_get (peer, "state")))
    printf (", %s", text (peer, "state"));
  printf ("\n");
}

static void
show_resync (const json_t *status)
{
  const json_t *resync = json_object_get (status, "resync");
  uint64_t done = number (resync, "done_bytes");
  uint64_t total = number (resync, "total_bytes");
  uint64_t rate = number (resync, "bytes_per_second");
  char buffer[SIZE_TEXT];

  if (!json_is_true (json_object_get (resync, "active"))) {
    printf ("resync      %s\n",
            strcmp (text (status, "state"), "syncing") == 0
              ? "from the peer, which knows how far it is"
              : "none");
    return;
  }
  if (total == 0) {
    printf ("resync      starting\n");
    return;
  }
  if (done > total)
    done = total;
  /* Rounded down: 100 % means that nothing is left. */
  printf ("resync      %d %%, ", (int) ((double) done * 100 / (double) total));
  printf ("%s of ", size_text (done, buffer));
  printf ("%s", size_text (total, buffer));
  if (rate > 0) {
    printf (", %s/s", size_text (rate, buffer));
    printf (", %s left", clock_text ((total - done) / rate, buffer));
  }
  printf ("\n");
}

static void
show_requests (json_t *requests)
{
  const char *kind;
  json_t *figures;
  char bytes[SIZE_TEXT], p50[SIZE_TEXT], p99[SIZE_TEXT], max[SIZE_TEXT];

  printf ("\n%-8s %12s %12s %8s %10s %10s %10s\n", "requests", "count", "bytes",
          "errors", "p50", "p99", "max");
  json_object_foreach (requests, kind, figures)
    printf ("%-8s %12" PRIu64 " %12s %8" PRIu64 " %10s %10s %10s\n", kind,
            number (figures, "count"),
            size_text (number (figures, "bytes"), bytes),
            number (figures, "errors"),
            duration_text (number (figures, "p50_us"), p50),
            duration_text (number (figures, "p99_us"), p99),
            duration_text (number (figures, "max_us"), max));
}

static void
show_costs (const json_t *status)
{
  const json_t *link = json_object_get (status, "link");
  uint64_t syncs = number (status, "fdatasyncs");
  uint64_t callers = number (status, "sync_callers");
  char buffer[SIZE_TEXT];

  printf ("\nfdatasync   %" PRIu64, syncs);
  if (syncs > 0)
    printf (" for %" PRIu64 " requests and frames, %.1f each", callers,
            (double) callers / (double) syncs);
  printf ("\nsent        %" PRIu64 " frames, ", number (link, "frames_sent"));
  printf ("%s\n", size_text (number (link, "bytes_sent"), buffer));
  printf ("received    %" PRIu64 " frames, ", number (link, "frames_received"));
  printf ("%s\n", size_text (number (link, "bytes_received"), buffer));
  printf ("memory      %s\n", size_text (number (status, "rss_bytes"), buffer));
}

void
show_status (const json_t *status)
{
  const json_t *generation = json_object_get (status, "generation");
  bool serving = json_is_true (json_object_get (status, "serving"));
  char buffer[SIZE_TEXT];

  printf ("volume      %s, %s\n", text (status, "volume"),
          size_text (number (status, "size_bytes"), buffer));
  printf ("node        %s\n", text (status, "node"));
  printf ("state       %s, %s clients\n", text (status, "state"),
          serving ? "serving" : "not serving");
  printf ("reason      %s\n", text (status, "reason"));
  if (number (generation, "epoch") == 0)
    printf ("generation  none yet\n");
  else
    printf ("generation  %" PRIu64 ".%s\n", number (generation, "epoch"),
            text (generation, "id"));
  show_members (status);
  show_peer (status);
  printf ("dirty       %s\n",
          size_text (number (status, "dirty_bytes"), buffer));
  show_resync (status);
  show_requests (json_object_get (status, "requests"));
  show_costs (status);
}
