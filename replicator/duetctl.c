/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl.c: the administrator's tool: asks a node on its control socket
 * and shows the answer to people, or to programs as JSON.  It knows
 * nothing that the node did not say, and never touches its files, but for
 * reading the one that it is told to show.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core.h"
#include "duetctl.h"
#include "version.h"

/* Options that only some commands take. */
enum {
  TAKES_JSON = 1,
  TAKES_TO = 2,
  TAKES_END_PLAIN = 4,
  TAKES_TIMEOUT = 8,
  TAKES_ONCE = 16,
  TAKES_WATCH = 32,
  TAKES_FORCE = 64,
  TAKES_YES = 128,
  TAKES_REPAIR = 256,
  TAKES_STOP = 512,
  TAKES_RATE = 1024,
  ASKS_NOBODY = 2048, /* and needs no socket */
  TAKES_FULL = 4096,
};

enum { WAIT_POLL_MS = 100 };

struct options {
  const char *socket;
  const char *word; /* after the command */
  unsigned given;   /* TAKES_* */
  const char *to;
  uint64_t timeout_ms;
  uint64_t rate;  /* bytes per second */
  uint64_t times; /* to draw; 0: until interrupted */
};

void
show_json (const json_t *answer)
{
  json_dumpf (answer, stdout, JSON_INDENT (2) | JSON_PRESERVE_ORDER);
  printf ("\n");
}

static int
run_status (const struct options *options)
{
  int status;
  json_t *answer = ask_and_check (
    options->socket, json_pack ("{s:s}", "command", "status"), &status);

  if (answer == NULL)
    return status;
  if ((options->given & TAKES_WATCH) && !(options->given & TAKES_JSON)) {
    json_decref (answer);
    return watch_status (options->socket, options->times);
  }
  if (options->given & TAKES_JSON)
    show_json (answer);
  else
    show_status (stdout, answer);
  json_decref (answer);
  return status;
}

static int
run_switchover (const struct options *options)
{
  const char *to = options->to != NULL ? options->to : "other";
  char took[SIZE_TEXT];
  int status;

  if (strcmp (to, "other") != 0 && strcmp (to, "this") != 0 &&
      strcmp (to, "peer") != 0) {
    complain ("--to=%s: say --to=this, --to=peer or --to=other.", to);
    return EXIT_USAGE;
  }

  json_t *answer = ask_and_check (
    options->socket,
    json_pack ("{s:s, s:s, s:b}", "command", "switchover", "to", to,
               "end_plain", (options->given & TAKES_END_PLAIN) != 0),
    &status);
  if (answer == NULL)
    return status;
  if (options->given & TAKES_JSON)
    show_json (answer);
  else
    printf ("this node is %s now; it took %s\n",
            text (json_object_get (answer, "status"), "state"),
            duration_text (number (answer, "took_us"), took));
  json_decref (answer);
  return status;
}

/* ---------------------------------------------------- promote, discard */

/* Ask for COMMAND and tell what the node is then. */
static int
tell_node (const struct options *options, json_t *request)
{
  int status;
  json_t *answer = ask_and_check (options->socket, request, &status);
  const json_t *node = json_object_get (answer, "status");

  if (answer == NULL)
    return status;
  if (options->given & TAKES_JSON)
    show_json (answer);
  else
    printf ("this node is %s now: %s\n", text (node, "state"),
            text (node, "reason"));
  json_decref (answer);
  return status;
}

static int
run_promote (const struct options *options)
{
  if (!(options->given & TAKES_FORCE)) {
    complain (
      "promote makes a node serve that cannot know whether its copy is the\n"
      "newest.  Make sure that the peer does not serve, then say --force.\n"
      "If both nodes are well, use duetctl switchover.");
    return EXIT_USAGE;
  }
  return tell_node (options,
                    json_pack ("{s:s, s:b}", "command", "promote", "force", 1));
}

static void
show_loss (const json_t *status)
{
  const json_t *diverged = json_object_get (status, "diverged");
  time_t since = (time_t) number (diverged, "since");
  char size[SIZE_TEXT], when[SIZE_TEXT] = "a time that is not known";
  struct tm local;

  if (since != 0 && localtime_r (&since, &local) != NULL)
    strftime (when, sizeof when, "%Y-%m-%d %H:%M:%S", &local);
  printf ("Both copies were written apart from each other.\n"
          "This one, at node %s, was, since %s,\n"
          "in at most %" PRIu64 " blocks, %s.  These writes would be lost,\n"
          "and the volume would be as the peer has it.\n",
          text (status, "node"), when, number (diverged, "dirty_blocks"),
          size_text (number (diverged, "dirty_bytes"), size));
}

/* Does the operator, having seen what will happen, say yes? */
static bool
is_sure (const char *question)
{
  char line[16];

  printf ("%s  Type yes: ", question);
  fflush (stdout);
  return fgets (line, sizeof line, stdin) != NULL &&
    strcmp (line, "yes\n") == 0;
}

static int
run_discard (const struct options *options)
{
  int status;
  json_t *answer = ask_and_check (
    options->socket, json_pack ("{s:s}", "command", "status"), &status);

  if (answer == NULL)
    return status;
  if (!json_is_object (json_object_get (answer, "diverged"))) {
    complain ("this node is %s, not diverged: there is nothing to give up.",
              text (answer, "state"));
    json_decref (answer);
    return EXIT_REFUSED;
  }
  if (!(options->given & TAKES_JSON))
    show_loss (answer);
  json_decref (answer);
  if (!(options->given & TAKES_YES) && !is_sure ("Give this copy up?")) {
    complain ("nothing was changed.");
    return EXIT_REFUSED;
  }
  return tell_node (options, json_pack ("{s:s}", "command", "discard"));
}

static int
run_pause (const struct options *options)
{
  return tell_node (options, json_pack ("{s:s}", "command", "pause"));
}

static int
run_resume (const struct options *options)
{
  return tell_node (options, json_pack ("{s:s}", "command", "resume"));
}

static void
show_resync_plan (const json_t *status)
{
  char size[SIZE_TEXT];
  const json_t *peer = json_object_get (status, "peer");

  printf ("All of the peer's copy, at node %s,\n"
          "would be compared with this one, %s by hash, and what differs is\n"
          "sent.  Until that is over the peer is no member: it cannot take\n"
          "over, and this node serves alone.\n",
          text (peer, "node"), size_text (number (status, "size_bytes"), size));
}

static int
run_resync (const struct options *options)
{
  int status;
  json_t *answer;

  if (!(options->given & TAKES_FULL)) {
    complain ("what the peer is known to lack is sent without being asked "
              "for.\n"
              "To have all of its copy compared and made equal, say --full.");
    return EXIT_USAGE;
  }
  if (!(options->given & TAKES_YES)) {
    answer = ask_and_check (options->socket,
                            json_pack ("{s:s}", "command", "status"), &status);
    if (answer == NULL)
      return status;
    show_resync_plan (answer);
    json_decref (answer);
    if (!is_sure ("Go on?")) {
      complain ("nothing was changed.");
      return EXIT_REFUSED;
    }
  }
  return tell_node (options,
                    json_pack ("{s:s, s:b}", "command", "resync", "full", 1));
}

static int
verify_node (const struct options *options)
{
  json_t *request = json_pack ("{s:s, s:b, s:b, s:I}", "command", "verify",
                               "repair", (options->given & TAKES_REPAIR) != 0,
                               "stop", (options->given & TAKES_STOP) != 0,
                               "rate", (json_int_t) options->rate);

  if (options->given & TAKES_STOP)
    return tell_node (options, request);
  return run_verify (options->socket, request,
                     (options->given & TAKES_JSON) != 0);
}

static int
resize_volume (const struct options *options)
{
  return run_resize (options->socket, options->word,
                     (options->given & TAKES_JSON) != 0);
}

/* ----------------------------------------------------------------- wait */

static uint64_t
now_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

void
sleep_ms (uint64_t ms)
{
  struct timespec pause = { .tv_sec = (time_t) (ms / 1000),
                            .tv_nsec = (long) (ms % 1000) * 1000000 };

  nanosleep (&pause, NULL);
}

/* States that the node knows, and two words for what people wait for. */
#define STATE_WORD(name, word) word,
static const char *const awaited_words[] = { CORE_STATES (STATE_WORD) "insync",
                                             "serving" };

static bool
is_awaited_word (const char *word)
{
  for (size_t i = 0; i < sizeof awaited_words / sizeof awaited_words[0]; i++)
    if (strcmp (word, awaited_words[i]) == 0)
      return true;
  return false;
}

/* Is WORD what a node with this STATUS is? */
static bool
is_so (const json_t *status, const char *word)
{
  const char *state = text (status, "state");
  const json_t *peer = json_object_get (status, "peer");
  bool member = strcmp (state, "primary") == 0 || strcmp (state, "backup") == 0;

  if (strcmp (word, "serving") == 0)
    return json_is_true (json_object_get (status, "serving"));
  if (strcmp (word, "insync") == 0)
    return member && json_is_true (json_object_get (peer, "connected")) &&
      !json_is_object (json_object_get (status, "resync"));
  return strcmp (state, word) == 0;
}

static int
run_wait (const struct options *options)
{
  uint64_t began_ms = now_ms (), passed_ms;

  if (!is_awaited_word (options->word)) {
    complain (
      "wait %s: there is no such state.\n"
      "It is one of those that duetctl(1) lists, or insync, or serving.",
      options->word);
    return EXIT_USAGE;
  }
  for (;;) {
    json_t *status = ask_quietly (options->socket,
                                  json_pack ("{s:s}", "command", "status"));
    bool so = status != NULL && is_so (status, options->word);

    passed_ms = now_ms () - began_ms;
    if (!so && (options->given & TAKES_TIMEOUT) &&
        passed_ms >= options->timeout_ms) {
      if (status == NULL)
        complain ("waited in vain for %s: the node cannot be reached.",
                  options->word);
      else
        complain ("waited in vain for %s: the node is %s: %s.", options->word,
                  text (status, "state"), text (status, "reason"));
      json_decref (status);
      return EXIT_TIMEOUT;
    }
    json_decref (status);
    if (so)
      return EXIT_OK;
    sleep_ms (WAIT_POLL_MS);
  }
}

static int
run_events (const struct options *options)
{
  return follow_events (options->socket, (options->given & TAKES_JSON) != 0,
                        (options->given & TAKES_ONCE) != 0);
}

static int
run_dump_meta (const struct options *options)
{
  return dump_meta (options->word, (options->given & TAKES_JSON) != 0);
}

/* ------------------------------------------------------------- commands */

static const struct {
  const char *name;
  const char *word; /* what must follow; NULL: nothing */
  const char *summary;
  unsigned takes;
  int (*run) (const struct options *options);
} commands[] = {
  { "status", NULL, "what the node is doing, and why", TAKES_JSON | TAKES_WATCH,
    run_status },
  { "wait", "STATE", "until the node is in a state, or insync, or serving",
    TAKES_TIMEOUT, run_wait },
  { "events", NULL, "what changes at the node, a line each, as it happens",
    TAKES_JSON | TAKES_ONCE, run_events },
  { "switchover", NULL, "make the other node primary; both stay in sync",
    TAKES_JSON | TAKES_TO | TAKES_END_PLAIN, run_switchover },
  { "promote", NULL, "make a node serve that has lost its peer: --force",
    TAKES_JSON | TAKES_FORCE, run_promote },
  { "discard", NULL, "diverged: give this copy up for the peer's",
    TAKES_JSON | TAKES_YES, run_discard },
  { "verify", NULL, "compare both copies, while they are in use",
    TAKES_JSON | TAKES_REPAIR | TAKES_STOP | TAKES_RATE, verify_node },
  { "resync", NULL, "compare and send all of the peer's copy: --full",
    TAKES_JSON | TAKES_FULL | TAKES_YES, run_resync },
  { "resize", "SIZE", "make the volume larger, while it is in use", TAKES_JSON,
    resize_volume },
  { "pause", NULL, "drop the link and make none; the primary goes on alone",
    TAKES_JSON, run_pause },
  { "resume", NULL, "let the link come about again", TAKES_JSON, run_resume },
  { "dump-meta", "FILE", "what a metadata file says; asks no node",
    TAKES_JSON | ASKS_NOBODY, run_dump_meta },
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void
show_help (void)
{
  printf ("Usage: duetctl -s SOCKET COMMAND [OPTION...]\n"
          "       duetctl -s SOCKET resize SIZE\n"
          "       duetctl dump-meta FILE [--json]\n"
          "\n"
          "Ask a duet node, or tell it what to do.  SOCKET is what the node\n"
          "was started with as control=SOCKET.\n"
          "\n"
          "Commands:\n");
  for (size_t i = 0; i < COMMANDS; i++)
    printf ("  %-12s %s\n", commands[i].name, commands[i].summary);
  printf (
    "\n"
    "Options:\n"
    "  -s, --socket=SOCKET  the node's control socket\n"
    "      --json           print JSON, for programs\n"
    "      --to=WHICH       switchover: to this, peer, or the other\n"
    "      --end-plain      switchover: cut off clients without proxy\n"
    "      --timeout=S      wait: give up after so many seconds\n"
    "      --force          promote: the peer may have newer data\n"
    "      --yes            discard, resync: do not ask\n"
    "      --full           resync: all of it, not just what is known\n"
    "      --repair         verify: send what differs to the peer\n"
    "      --rate=BYTES     verify: at most so many in a second; K, M, G\n"
    "      --stop           verify: end the one that is under way\n"
    "      --watch[=TIMES]  status: draw it anew twice a second\n"
    "      --once           events: end after those that there are\n"
    "  -h, --help           print this and exit\n"
    "  -V, --version        print the version and exit\n"
    "\n"
    "Exit status: 0 done; 1 the node refused; 2 wrong usage;\n"
    "3 the node cannot be reached; 4 waited in vain; 5 differences\n"
    "found.\n");
}

static int
wrong_usage (void)
{
  fprintf (stderr, "Try: duetctl --help\n");
  return EXIT_USAGE;
}

static int
run_command (struct options *options, int count, char **words)
{
  int most;

  if (count == 0) {
    complain ("a command is missing.");
    return wrong_usage ();
  }
  for (size_t i = 0; i < COMMANDS; i++) {
    if (strcmp (words[0], commands[i].name) != 0)
      continue;
    most = commands[i].word != NULL ? 2 : 1;
    if (count > most)
      complain ("\"%s\": one word too many.", words[most]);
    else if (count < most)
      complain ("%s: say which %s.", words[0], commands[i].word);
    else if (options->given & ~commands[i].takes)
      complain ("%s: one of the options is not for this command.", words[0]);
    else if (options->socket == NULL && !(commands[i].takes & ASKS_NOBODY))
      complain ("which node?  Give its control socket with -s SOCKET.");
    else {
      options->word = words[most - 1];
      return commands[i].run (options);
    }
    return wrong_usage ();
  }
  complain ("\"%s\": no such command.", words[0]);
  return wrong_usage ();
}

/* SECONDS, with a fraction or not; false: it is no such number. */
static bool
read_timeout (struct options *options, const char *seconds)
{
  char *end;
  double value = strtod (seconds, &end);

  if (end == seconds || *end != '\0' || !(value >= 0 && value <= 1e9)) {
    complain ("--timeout=%s: this is not a number of seconds.", seconds);
    return false;
  }
  options->given |= TAKES_TIMEOUT;
  options->timeout_ms = (uint64_t) (value * 1000);
  return true;
}

/* A number of bytes, with K, M or G behind it or not. */
static bool
read_rate (struct options *options, const char *text)
{
  static const char units[] = "KMG";
  char *end;
  unsigned long long value = strtoull (text, &end, 10);
  const char *unit = *end != '\0' ? strchr (units, *end) : NULL;
  unsigned shift = unit != NULL ? 10 * (unsigned) (unit - units + 1) : 0;

  if (end == text || *text == '-' || value == 0 || value > UINT32_MAX ||
      end[unit != NULL] != '\0') {
    complain ("--rate=%s: this is not a number of bytes, as 500K or 20M.",
              text);
    return false;
  }
  options->given |= TAKES_RATE;
  options->rate = (uint64_t) value << shift;
  return true;
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
  enum {
    OPTION_JSON = 256,
    OPTION_TO,
    OPTION_END_PLAIN,
    OPTION_TIMEOUT,
    OPTION_ONCE,
    OPTION_WATCH,
    OPTION_FORCE,
    OPTION_YES,
    OPTION_FULL,
    OPTION_REPAIR,
    OPTION_STOP,
    OPTION_RATE
  };
  static const struct option names[] = {
    { "socket", required_argument, NULL, 's' },
    { "json", no_argument, NULL, OPTION_JSON },
    { "to", required_argument, NULL, OPTION_TO },
    { "end-plain", no_argument, NULL, OPTION_END_PLAIN },
    { "timeout", required_argument, NULL, OPTION_TIMEOUT },
    { "force", no_argument, NULL, OPTION_FORCE },
    { "yes", no_argument, NULL, OPTION_YES },
    { "full", no_argument, NULL, OPTION_FULL },
    { "repair", no_argument, NULL, OPTION_REPAIR },
    { "stop", no_argument, NULL, OPTION_STOP },
    { "rate", required_argument, NULL, OPTION_RATE },
    { "watch", optional_argument, NULL, OPTION_WATCH },
    { "once", no_argument, NULL, OPTION_ONCE },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { NULL, 0, NULL, 0 },
  };
  struct options options = { .socket = NULL };
  int option;

  while ((option = getopt_long (argc, argv, "s:hV", names, NULL)) != -1)
    switch (option) {
    case 's': options.socket = optarg; break;
    case OPTION_JSON: options.given |= TAKES_JSON; break;
    case OPTION_TO:
      options.given |= TAKES_TO;
      options.to = optarg;
      break;
    case OPTION_END_PLAIN: options.given |= TAKES_END_PLAIN; break;
    case OPTION_TIMEOUT:
      if (!read_timeout (&options, optarg))
        return wrong_usage ();
      break;
    case OPTION_FORCE: options.given |= TAKES_FORCE; break;
    case OPTION_YES: options.given |= TAKES_YES; break;
    case OPTION_FULL: options.given |= TAKES_FULL; break;
    case OPTION_REPAIR: options.given |= TAKES_REPAIR; break;
    case OPTION_STOP: options.given |= TAKES_STOP; break;
    case OPTION_RATE:
      if (!read_rate (&options, optarg))
        return wrong_usage ();
      break;
    case OPTION_WATCH:
      options.given |= TAKES_WATCH;
      options.times = optarg != NULL ? strtoul (optarg, NULL, 10) : 0;
      break;
    case OPTION_ONCE: options.given |= TAKES_ONCE; break;
    case 'h': show_help (); return finish (EXIT_OK);
    case 'V': printf ("duetctl %s\n", DUET_VERSION); return finish (EXIT_OK);
    default: return wrong_usage ();
    }
  return finish (run_command (&options, argc - optind, argv + optind));
}
