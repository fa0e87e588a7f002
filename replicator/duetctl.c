/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl.c: the administrator's tool: asks a node on its control socket
 * and shows the answer to people, or to programs as JSON.  It knows
 * nothing that the node did not say, and never touches its files.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "duetctl.h"
#include "version.h"

/* Options that only some commands take. */
enum {
  TAKES_JSON = 1,
  TAKES_TO = 2,
  TAKES_END_PLAIN = 4,
};

struct options {
  const char *socket;
  unsigned given; /* TAKES_* */
  const char *to;
};

static void
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
  if (options->given & TAKES_JSON)
    show_json (answer);
  else
    show_status (answer);
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

/* ------------------------------------------------------------- commands */

static const struct {
  const char *name;
  const char *summary;
  unsigned takes;
  int (*run) (const struct options *options);
} commands[] = {
  { "status", "what the node is doing, and why", TAKES_JSON, run_status },
  { "switchover", "make the other node primary; both stay in sync",
    TAKES_JSON | TAKES_TO | TAKES_END_PLAIN, run_switchover },
};

enum { COMMANDS = sizeof commands / sizeof commands[0] };

static void
show_help (void)
{
  printf ("Usage: duetctl -s SOCKET COMMAND [OPTION...]\n"
          "\n"
          "Ask a duet node, or tell it what to do.  SOCKET is what the node\n"
          "was started with as control=SOCKET.\n"
          "\n"
          "Commands:\n");
  for (size_t i = 0; i < COMMANDS; i++)
    printf ("  %-12s %s\n", commands[i].name, commands[i].summary);
  printf ("\n"
          "Options:\n"
          "  -s, --socket=SOCKET  the node's control socket\n"
          "      --json           print JSON, for programs\n"
          "      --to=WHICH       switchover: to this, peer, or the other\n"
          "      --end-plain      switchover: cut off clients without proxy\n"
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
  for (size_t i = 0; i < COMMANDS; i++) {
    if (strcmp (words[0], commands[i].name) != 0)
      continue;
    if (count > 1)
      complain ("\"%s\": one word too many.", words[1]);
    else if (options->given & ~commands[i].takes)
      complain ("%s: one of the options is not for this command.", words[0]);
    else if (options->socket == NULL)
      complain ("which node?  Give its control socket with -s SOCKET.");
    else
      return commands[i].run (options);
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
  enum { OPTION_JSON = 256, OPTION_TO, OPTION_END_PLAIN };
  static const struct option names[] = {
    { "socket", required_argument, NULL, 's' },
    { "json", no_argument, NULL, OPTION_JSON },
    { "to", required_argument, NULL, OPTION_TO },
    { "end-plain", no_argument, NULL, OPTION_END_PLAIN },
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
    case 'h': show_help (); return finish (EXIT_OK);
    case 'V': printf ("duetctl %s\n", DUET_VERSION); return finish (EXIT_OK);
    default: return wrong_usage ();
    }
  return finish (run_command (&options, argc - optind, argv + optind));
}
