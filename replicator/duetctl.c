/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl.c: the administrator's tool: asks a node on its control socket
 * and shows the answer to people, or to programs as JSON.  It knows
 * nothing that the node did not say, and never touches its files.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "version.h"

/* Exit status; see duetctl(1). */
enum { EXIT_OK, EXIT_REFUSED, EXIT_USAGE, EXIT_UNREACHABLE };

enum {
  ANSWER_BYTES = 1024 * 1024, /* longest answer */
  ANSWER_S = 10,              /* silence that ends the wait for it */
  SIZE_TEXT = 32,
};

struct options {
  const char *socket;
  bool json;
};

__attribute__ ((format (printf, 1, 2))) static void
complain (const char *format, ...)
{
  va_list arguments;

  fflush (stdout);
  fprintf (stderr, "duetctl: ");
  va_start (arguments, format);
  vfprintf (stderr, format, arguments);
  va_end (arguments);
  fprintf (stderr, "\n");
}

/* ------------------------------------------------------ asking the node */

static void
complain_connect (const char *path, int failed)
{
  switch (failed) {
  case ENOENT:
    complain ("%s: there is no such socket.\n"
              "Is the node running, and was it started with control=%s?",
              path, path);
    break;
  case ECONNREFUSED:
    complain ("%s: nobody listens there.\n"
              "The node that made this socket has died: start it again.",
              path);
    break;
  case EACCES:
  case EPERM:
    complain ("%s: permission denied.\n"
              "Run duetctl as the user that runs the node, or as root.",
              path);
    break;
  case EAGAIN:
    complain ("%s: the node takes no more connections.\n"
              "Is it stopped, or are others asking all the time?",
              path);
    break;
  default: complain ("%s: %s", path, strerror (failed));
  }
}

/* A descriptor, or -1 after a message. */
static int
connect_node (const char *path)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  struct timeval wait = { .tv_sec = ANSWER_S };

  if (strlen (path) >= sizeof address.sun_path) {
    complain ("%s: the path of a socket has at most %zu bytes.", path,
              sizeof address.sun_path - 1);
    return -1;
  }
  strcpy (address.sun_path, path);

  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd == -1) {
    complain ("socket: %s", strerror (errno));
    return -1;
  }
  setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  if (connect (fd, (const struct sockaddr *) &address, sizeof address) == -1) {
    complain_connect (path, errno);
    close (fd);
    return -1;
  }
  return fd;
}

/* The request is short: it fits into the socket's buffer as a whole. */
static bool
send_request (int fd, json_t *request)
{
  char *line = json_dumps (request, JSON_COMPACT);

  if (line == NULL)
    return false;

  struct iovec parts[] = {
    { .iov_base = line, .iov_len = strlen (line) },
    { .iov_base = (char[]){ '\n' }, .iov_len = 1 },
  };
  struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
  ssize_t sent = sendmsg (fd, &message, MSG_NOSIGNAL);
  bool whole = sent == (ssize_t) (parts[0].iov_len + 1);

  free (line);
  return whole;
}

/* One line, without its newline, in BUFFER.  False: errno, 0 for an end
 * without a line.
 */
static bool
receive_line (int fd, char *buffer, size_t *length)
{
  *length = 0;
  errno = 0;
  while (*length < ANSWER_BYTES) {
    ssize_t got = recv (fd, buffer + *length, ANSWER_BYTES - *length, 0);

    if (got == -1 && errno == EINTR)
      continue;
    if (got == -1)
      return false;
    if (got == 0) {
      errno = 0;
      return false;
    }
    char *end = memchr (buffer + *length, '\n', (size_t) got);
    if (end != NULL) {
      *length = (size_t) (end - buffer);
      return true;
    }
    *length += (size_t) got;
  }
  errno = EMSGSIZE;
  return false;
}

static void
complain_answer (const char *path, int failed)
{
  if (failed == EAGAIN)
    complain ("%s: no answer in %d s.\n"
              "Is the node stopped, or its disk hanging?",
              path, ANSWER_S);
  else if (failed == 0 || failed == ECONNRESET || failed == EPIPE)
    complain ("%s: the node hung up without an answer.\n"
              "It may be shutting down: try again, then look at its log.",
              path);
  else
    complain ("%s: %s", path, strerror (failed));
}

/* The answer, or NULL after a message.  Takes REQUEST. */
static json_t *
ask (const char *path, json_t *request)
{
  char *buffer = malloc (ANSWER_BYTES);
  json_t *answer = NULL;
  size_t length;
  int fd = -1;

  if (buffer == NULL || request == NULL) {
    complain ("out of memory");
    goto out;
  }
  fd = connect_node (path);
  if (fd == -1)
    goto out;
  if (!send_request (fd, request) || !receive_line (fd, buffer, &length)) {
    complain_answer (path, errno);
    goto out;
  }
  answer = json_loadb (buffer, length, 0, NULL);
  if (!json_is_object (answer)) {
    complain ("%s: the answer makes no sense.\n"
              "Is this the control socket of a duet node?",
              path);
    json_decref (answer);
    answer = NULL;
  }

out:
  if (fd != -1)
    close (fd);
  free (buffer);
  json_decref (request);
  return answer;
}

/* ------------------------------------------------------ figures as text */

/* What an answer lacks reads as zero or "-", so that nodes of other
 * versions can be shown.
 */
static uint64_t
number (const json_t *object, const char *key)
{
  json_int_t value = json_integer_value (json_object_get (object, key));

  return value > 0 ? (uint64_t) value : 0;
}

static const char *
text (const json_t *object, const char *key)
{
  const char *value = json_string_value (json_object_get (object, key));

  return value != NULL ? value : "-";
}

/* In powers of 1024, exact ones without a fraction. */
static const char *
size_text (uint64_t bytes, char buffer[SIZE_TEXT])
{
  static const char *const units[] = { "B",   "KiB", "MiB", "GiB",
                                       "TiB", "PiB", "EiB" };
  unsigned unit = 0;
  uint64_t one = 1;

  while (bytes / one >= 1024) {
    one *= 1024;
    unit++;
  }
  if (bytes % one == 0)
    snprintf (buffer, SIZE_TEXT, "%" PRIu64 " %s", bytes / one, units[unit]);
  else
    snprintf (buffer, SIZE_TEXT, "%.1f %s", (double) bytes / (double) one,
              units[unit]);
  return buffer;
}

static const char *
duration_text (uint64_t us, char buffer[SIZE_TEXT])
{
  if (us < 1000)
    snprintf (buffer, SIZE_TEXT, "%" PRIu64 " us", us);
  else if (us < 1000000)
    snprintf (buffer, SIZE_TEXT, "%.1f ms", (double) us / 1e3);
  else
    snprintf (buffer, SIZE_TEXT, "%.1f s", (double) us / 1e6);
  return buffer;
}

static const char *
clock_text (uint64_t seconds, char buffer[SIZE_TEXT])
{
  if (seconds < 3600)
    snprintf (buffer, SIZE_TEXT, "%" PRIu64 ":%02" PRIu64, seconds / 60,
              seconds % 60);
  else
    snprintf (buffer, SIZE_TEXT, "%" PRIu64 ":%02" PRIu64 ":%02" PRIu64,
              seconds / 3600, seconds / 60 % 60, seconds % 60);
  return buffer;
}

/* --------------------------------------------------------------- status */

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

static void
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

static void
show_json (const json_t *answer)
{
  json_dumpf (answer, stdout, JSON_INDENT (2) | JSON_PRESERVE_ORDER);
  printf ("\n");
}

static int
run_status (const struct options *options)
{
  json_t *answer = ask (options->socket,
                        json_pack ("{s:s}", "command", "status"));

  if (answer == NULL)
    return EXIT_UNREACHABLE;

  const char *refused = json_string_value (json_object_get (answer, "error"));
  if (refused != NULL)
    complain ("the node says: %s", refused);
  else if (options->json)
    show_json (answer);
  else
    show_status (answer);
  json_decref (answer);
  return refused != NULL ? EXIT_REFUSED : EXIT_OK;
}

/* ------------------------------------------------------------- commands */

static const struct {
  const char *name;
  const char *summary;
  int (*run) (const struct options *options);
} commands[] = {
  { "status", "what the node is doing, and why", run_status },
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void
show_help (void)
{
  printf ("Usage: duetctl -s SOCKET COMMAND [--json]\n"
          "\n"
          "Ask a duet node.  SOCKET is what the node was started with as\n"
          "control=SOCKET.\n"
          "\n"
          "Commands:\n");
  for (size_t i = 0; i < COMMANDS; i++)
    printf ("  %-12s %s\n", commands[i].name, commands[i].summary);
  printf ("\n"
          "Options:\n"
          "  -s, --socket=SOCKET  the node's control socket\n"
          "      --json           print JSON, for programs\n"
          "  -h, --help           print this and exit\n"
          "  -V, --version        print the version and exit\n"
          "\n"
          "Exit status: 0 done; 1 the node refused; 2 wrong usage;\n"
          "3 the node cannot be reached.\n");
}

static int
wrong_usage (void)
{
  fprintf (stderr, "Try: duetctl --help\n");
  return EXIT_USAGE;
}

static int
run_command (const struct options *options, int count, char **words)
{
  if (count == 0) {
    complain ("a command is missing.");
    return wrong_usage ();
  }
  if (count > 1) {
    complain ("\"%s\": one word too many.", words[1]);
    return wrong_usage ();
  }
  for (size_t i = 0; i < COMMANDS; i++)
    if (strcmp (words[0], commands[i].name) == 0) {
      if (options->socket != NULL)
        return commands[i].run (options);
      complain ("which node?  Give its control socket with -s SOCKET.");
      return wrong_usage ();
    }
  complain ("\"%s\": no such command.", words[0]);
  return wrong_usage ();
}

/* A full disk or a closed pipe must not look like success. */
static int
finish (int status)
{
  if (fflush (stdout) == 0 && !ferror (stdout))
    return status;
  complain ("cannot write the answer: %s", strerror (errno));
  return status == EXIT_OK ? EXIT_REFUSED : status;
}

int
main (int argc, char **argv)
{
  enum { OPTION_JSON = 256 };
  static const struct option names[] = {
    { "socket", required_argument, NULL, 's' },
    { "json", no_argument, NULL, OPTION_JSON },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 },
  };
  struct options options = { NULL, false };
  int option;

  while ((option = getopt_long (argc, argv, "s:hV", names, NULL)) != -1)
    switch (option) {
    case 's': options.socket = optarg; break;
    case OPTION_JSON: options.json = true; break;
    case 'h': show_help (); return finish (EXIT_OK);
    case 'V': printf ("duetctl %s\n", DUET_VERSION); return finish (EXIT_OK);
    default: return wrong_usage ();
    }
  return finish (run_command (&options, argc - optind, argv + optind));
}
