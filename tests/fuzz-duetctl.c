/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-duetctl.c: answers that duetctl reads.  The input is what a node, or
 * whatever listens there, sends back.  duetctl as a whole runs on it, each
 * command once for people and once with --json, and must end with one of
 * its exit statuses.
 */
#include <sys/socket.h>

#include "fuzz.h"

enum {
  ANSWER_MAX = 65536,
  NODE_END = 100, /* descriptor of the node's end */
};

static const uint8_t *node_says;
static size_t node_says_length;

/* The node: it has answered already, and hung up. */
static int
node_socket (void)
{
  int ends[2];

  if (socketpair (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == -1)
    return -1;
  assert (send (ends[1], node_says, node_says_length, MSG_NOSIGNAL) ==
          (ssize_t) node_says_length);
  shutdown (ends[1], SHUT_WR);
  /* Kept open until the next call, so that the request can be sent. */
  assert (dup2 (ends[1], NODE_END) == NODE_END);
  close (ends[1]);
  return ends[0];
}

#define main                    duetctl_main
#define socket(domain, kind, p) node_socket ()
#define connect(fd, address, n) 0
/* clang-format off: the macros are for what stands above */
#include "duetctl-ask.c"
#include "duetctl-events.c"
#include "duetctl-resize.c"
#include "duetctl-status.c"
#include "duetctl-text.c"
#include "duetctl-verify.c"
#include "duetctl.c"
/* clang-format on */
#undef main

/* Reads a file, no answer: what it decodes is fuzz-meta's. */
int
dump_meta (const char *path, bool json)
{
  (void) path;
  (void) json;
  return EXIT_REFUSED;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  char *words[][6] = {
    { "duetctl", "-s", "x", "status", NULL },
    { "duetctl", "-sx", "status", "--json", NULL },
    { "duetctl", "-s", "x", "switchover", NULL },
    { "duetctl", "-sx", "switchover", "--json", NULL },
    { "duetctl", "-sx", "status", "--watch=1", NULL },
    { "duetctl", "-sx", "events", "--once", NULL },
    { "duetctl", "-sx", "events", "--once", "--json", NULL },
    { "duetctl", "-sx", "promote", "--force", NULL },
    { "duetctl", "-sx", "discard", "--yes", NULL },
    { "duetctl", "-sx", "verify", "--stop", NULL },
    { "duetctl", "-sx", "wait", "insync", "--timeout=0", NULL },
  };
  int status, count;
  size_t i;

  if (size > ANSWER_MAX)
    return 0;
  node_says = data;
  node_says_length = size;
  for (i = 0; i < sizeof words / sizeof words[0]; i++) {
    optind = 0; /* getopt begins anew */
    for (count = 0; words[i][count] != NULL; count++)
      continue;
    status = duetctl_main (count, words[i]);
    assert (status == EXIT_OK || status == EXIT_REFUSED ||
            status == EXIT_UNREACHABLE || status == EXIT_TIMEOUT);
  }
  return 0;
}
