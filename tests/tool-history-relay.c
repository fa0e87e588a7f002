/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool-history-relay.c: the cable between two nodes, which a test can cut.
 *
 *   tool-history-relay CONTROL PORT TARGET PORT TARGET
 *
 * What connects to a PORT of 127.0.0.1 is passed on to its TARGET port.
 * The first pair is the way to node b, the second the way to node a.
 * CONTROL is a file that a test replaces; it is read 100 times a second:
 *
 *   pass      everything goes through (also when there is no file)
 *   stall     nothing moves, nothing is lost: it goes on after "pass"
 *   stall-ab  the same for bytes from a to b only, whoever connected
 *   stall-ba  the other way
 *   cut       connections are reset and new ones refused
 *   lose      as stall, but after it connections are reset
 *
 * Accepted connections that cannot move bytes stay open and silent, as
 * with a firewall that drops packets.
 */
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAYS = 2, CABLES_MAX = 64, BUFFER = 65536, TURN_MS = 10 };

/* Bytes on their way from one socket to the other. */
struct flow {
  int from, to;
  bool to_b; /* in the direction from a to b */
  size_t start, end;
  char bytes[BUFFER];
};

struct cable {
  bool used;
  struct flow flows[2];
};

static const char *const modes[] = { "pass",     "stall", "stall-ab",
                                     "stall-ba", "cut",   "lose" };
enum mode { PASS, STALL, STALL_AB, STALL_BA, CUT, LOSE, MODES };

static struct cable cables[CABLES_MAX];
static int listeners[WAYS];
static in_port_t ports[WAYS], targets[WAYS];
static enum mode mode;

static struct sockaddr_in
address_of (in_port_t port)
{
  struct sockaddr_in address = { .sin_family = AF_INET,
                                 .sin_port = htons (port) };

  address.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
  return address;
}

static void
listen_on (unsigned way)
{
  struct sockaddr_in address = address_of (ports[way]);
  int on = 1, fd = socket (AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

  if (fd == -1 ||
      setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1 ||
      bind (fd, (struct sockaddr *) &address, sizeof address) == -1 ||
      listen (fd, 16) == -1)
    err (1, "port %u", ports[way]);
  listeners[way] = fd;
}

static void
reset (struct cable *cable)
{
  struct linger hard = { .l_onoff = 1, .l_linger = 0 };
  unsigned i;

  for (i = 0; i < 2; i++) {
    setsockopt (cable->flows[i].from, SOL_SOCKET, SO_LINGER, &hard,
                sizeof hard);
    close (cable->flows[i].from);
  }
  cable->used = false;
}

/* Both ends exist; a connect that is still under way only makes the first
 * write wait.
 */
static void
join (unsigned way, int client)
{
  struct sockaddr_in address = address_of (targets[way]);
  int server = socket (AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1;
  unsigned i = 0;

  while (i < CABLES_MAX && cables[i].used)
    i++;
  if (i == CABLES_MAX || server == -1 ||
      (connect (server, (struct sockaddr *) &address, sizeof address) == -1 &&
       errno != EINPROGRESS)) {
    close (client);
    if (server != -1)
      close (server);
    return;
  }
  setsockopt (client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  setsockopt (server, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl (client, F_SETFL, O_NONBLOCK);
  cables[i].used = true;
  cables[i].flows[0].from = cables[i].flows[1].to = client;
  cables[i].flows[0].to = cables[i].flows[1].from = server;
  cables[i].flows[0].to_b = way == 0;
  cables[i].flows[1].to_b = way != 0;
  cables[i].flows[0].start = cables[i].flows[0].end = 0;
  cables[i].flows[1].start = cables[i].flows[1].end = 0;
}

static bool
may_move (const struct flow *flow)
{
  return mode == PASS || (mode == STALL_AB && !flow->to_b) ||
    (mode == STALL_BA && flow->to_b);
}

/* Read what is there, write what can be; false: the connection is over. */
static bool
move_bytes (struct flow *flow)
{
  ssize_t n = 1;

  if (!may_move (flow))
    return true;
  if (flow->start == flow->end) {
    flow->start = flow->end = 0;
    n = read (flow->from, flow->bytes, BUFFER);
    if (n > 0)
      flow->end = (size_t) n;
  }
  if (n > 0) {
    n = send (flow->to, flow->bytes + flow->start, flow->end - flow->start,
              MSG_NOSIGNAL);
    if (n > 0)
      flow->start += (size_t) n;
  }
  return n > 0 || (n == -1 && (errno == EAGAIN || errno == ENOTCONN));
}

static void
obey (const char *control)
{
  FILE *file = fopen (control, "r");
  char word[16] = "pass";
  enum mode before = mode, next = PASS;
  unsigned i;

  if (file != NULL && fscanf (file, "%15s", word) != 1)
    errx (1, "%s: no word", control);
  if (file != NULL)
    fclose (file);
  while (strcmp (word, modes[next]) != 0)
    if (++next == MODES)
      errx (1, "%s: what is %s?", control, word);
  mode = next;
  if (mode == before)
    return;
  for (i = 0; i < CABLES_MAX; i++)
    if (cables[i].used && (mode == CUT || before == LOSE))
      reset (&cables[i]);
  for (i = 0; i < WAYS; i++)
    if (mode == CUT)
      close (listeners[i]);
    else if (before == CUT)
      listen_on (i);
}

/* Wait for something that can be done, at most a turn. */
static void
wait_for_work (void)
{
  struct pollfd fds[WAYS + CABLES_MAX * 2];
  nfds_t count = 0;
  unsigned i, k;

  for (i = 0; i < WAYS && mode != CUT; i++)
    fds[count++] = (struct pollfd){ .fd = listeners[i], .events = POLLIN };
  for (i = 0; i < CABLES_MAX; i++)
    for (k = 0; cables[i].used && k < 2; k++) {
      const struct flow *flow = &cables[i].flows[k];

      if (!may_move (flow))
        continue;
      fds[count].fd = flow->start == flow->end ? flow->from : flow->to;
      fds[count++].events = flow->start == flow->end ? POLLIN : POLLOUT;
    }
  poll (fds, count, TURN_MS);
}

static in_port_t
port_of (const char *text)
{
  int port = atoi (text);

  if (port <= 0 || port > 65535)
    errx (1, "bad port %s", text);
  return (in_port_t) port;
}

int
main (int argc, char **argv)
{
  unsigned i, k;
  int fd;

  if (argc != 6)
    errx (1, "usage: tool-history-relay CONTROL PORT TARGET PORT TARGET");
  for (i = 0; i < WAYS; i++) {
    ports[i] = port_of (argv[2 + i * 2]);
    targets[i] = port_of (argv[3 + i * 2]);
    listen_on (i);
  }
  for (;;) {
    obey (argv[1]);
    for (i = 0; i < WAYS && mode != CUT; i++)
      while ((fd = accept (listeners[i], NULL, NULL)) != -1)
        join (i, fd);
    for (i = 0; i < CABLES_MAX; i++)
      for (k = 0; cables[i].used && k < 2; k++)
        if (!move_bytes (&cables[i].flows[k]))
          reset (&cables[i]);
    wait_for_work ();
  }
}
