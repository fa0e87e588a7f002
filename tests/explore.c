/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore.c: what is explored, and what is said about it.
 *
 *   explore [--all] [--scope NAME] [--states N] [--seconds S]
 *           [--writes N] [--reads N] [--faults N] [--plant NAME]
 *           [--replay CODES]
 *
 * A scope is a starting point with bounds: how many writes and reads the
 * client makes, how many faults happen and of which kinds.  Within them
 * every order of events is looked at.
 *
 * The bound is where it is because each fault multiplies the states by
 * thousands (a pair in service with one write has 44 states without a
 * fault and 156 thousand with one).  It is of use because a wrong rule is
 * nearly always wrong already for one block, one write and the one or two
 * faults that it is about (see the bugs in docs/testing.md).  What it
 * cannot show are full tables (32 generations, 256 clients, the window of
 * the link), which unit tests look at, and three and more faults together,
 * which the simulator tries by chance.
 *
 * Without --all the short form runs, which is for `make check`: first
 * three environments that lie, each of which must be caught, then the
 * short scopes.  Times are those of the processor.  A scope that has more
 * than 4 million states is cut off there and says so.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "explore.h"

#define KIND(name) (1 << ((name) -F_KILL))

enum {
  CRASHES = KIND (F_KILL) | KIND (F_POWER),
  LINK = KIND (F_CUT) | KIND (F_PARTITION) | KIND (F_DEADLINE),
  CLIENT = KIND (F_HANG_UP) | KIND (F_PROBE) | KIND (F_UNREACHABLE),
  STORE = KIND (F_STORE),
};

struct scope {
  const char *name, *text;
  bool quick; /* part of the short form */
  struct bounds bounds;
};

static const struct scope scopes[] = {
  { "work",
    "a pair in service, no fault, three writes and a read",
    true,
    { .writes = 3, .reads = 1 } },
  { "birth",
    "two blank nodes become a pair, no fault",
    true,
    { .fresh = true, .writes = 1, .reads = 1 } },
  { "one",
    "a pair in service, one fault of any kind but of the disk",
    true,
    { .writes = 1, .faults = 1, .kinds = CRASHES | LINK | CLIENT } },
  { "one-two",
    "the same with two writes",
    false,
    { .writes = 2, .faults = 1, .kinds = CRASHES | LINK | CLIENT } },
  { "one-read",
    "the same with a write and a read",
    false,
    { .writes = 1,
      .reads = 1,
      .faults = 1,
      .kinds = CRASHES | LINK | CLIENT } },
  { "birth-one",
    "two blank nodes become a pair, one crash or cut",
    false,
    { .fresh = true,
      .writes = 1,
      .faults = 1,
      .kinds = CRASHES | KIND (F_CUT) } },
  { "apart",
    "two writes into two regions, one crash or cut",
    false,
    { .apart = true,
      .writes = 2,
      .faults = 1,
      .kinds = CRASHES | KIND (F_CUT) } },
  { "disk",
    "one write, one error of a disk, a failed node is restarted",
    false,
    { .writes = 1, .faults = 1, .kinds = STORE } },
  { "crashes",
    "one write, two crashes",
    false,
    { .writes = 1, .faults = 2, .kinds = CRASHES } },
  { "links",
    "one write, two faults of the link",
    false,
    { .writes = 1, .faults = 2, .kinds = LINK } },
  { "leaves",
    "one write, two of: a node is killed, the client gives up a session",
    false,
    { .writes = 1, .faults = 2, .kinds = KIND (F_KILL) | KIND (F_HANG_UP) } },
  { "clients",
    "one write, a client that turns round twice",
    true,
    { .writes = 1, .faults = 2, .kinds = CLIENT } },
};

enum { SCOPES = sizeof scopes / sizeof scopes[0] };

#define PLANT_WORD(name, word, text) word,
static const char *const plant_words[] = { PLANTS (PLANT_WORD) };
#define PLANT_TEXT(name, word, text) text,
static const char *const plant_texts[] = { PLANTS (PLANT_TEXT) };

/* Where each lie is found soonest. */
static const struct bounds plant_bounds[PLANT_COUNT] = {
  [PLANT_SUPERBLOCK] = { .writes = 1,
                         .faults = 2,
                         .kinds = KIND (F_KILL),
                         .plant = PLANT_SUPERBLOCK },
  [PLANT_SYNC] = { .writes = 1,
                   .faults = 1,
                   .kinds = KIND (F_KILL),
                   .plant = PLANT_SYNC },
  [PLANT_MAP] = { .writes = 1,
                  .faults = 1,
                  .kinds = KIND (F_KILL),
                  .plant = PLANT_MAP },
  [PLANT_GHOST] = { .writes = 1,
                    .faults = 1,
                    .kinds = KIND (F_KILL) | KIND (F_CUT),
                    .plant = PLANT_GHOST },
  [PLANT_SHOWN] = { .writes = 1,
                    .faults = 2,
                    .kinds = KIND (F_KILL),
                    .plant = PLANT_SHOWN },
};

/* Unless --states says otherwise: about 300 MB. */
enum { STATES_MAX = 4 * 1000 * 1000 };

struct settings {
  bool all;
  const char *scope, *plant, *replay;
  uint64_t states;
  double seconds;
  int writes, reads, faults; /* -1: as the scope has it */
};

/* --- one search --------------------------------------------------------- */

static void
report (const struct search_result *result)
{
  printf ("  %llu states, %llu transitions, longest way %llu; %s; %.1f s\n",
          (unsigned long long) result->states,
          (unsigned long long) result->transitions,
          (unsigned long long) result->depth_max,
          result->complete  ? "all of them"
            : result->found ? "stopped"
                            : "CUT OFF, not all of them",
          result->seconds);
  if (result->complete && !result->found)
    printf ("  from each of them the pair can come to rest (%llu are at rest)"
            "\n",
            (unsigned long long) result->rest_states);
  fflush (stdout);
}

static void
report_violation (const char *scope, struct search_result *result)
{
  printf ("BROKEN: %s\n", result->rule);
  if (!result->stuck)
    shrink_path (result);
  story_print (result->path, result->path_length);
  printf ("again: explore --scope %s --writes %u --reads %u --faults %u"
          " --plant %s --replay CODES\n",
          scope, bounds.writes, bounds.reads, bounds.faults,
          plant_words[bounds.plant]);
}

static bool
run_scope (const struct settings *settings, const struct scope *scope)
{
  struct search_result result;

  printf ("%s: %s\n  writes %u, reads %u, faults %u\n", scope->name,
          scope->text, bounds.writes, bounds.reads, bounds.faults);
  fflush (stdout);
  search_run (settings->states, settings->seconds, &result);
  report (&result);
  if (result.found)
    report_violation (scope->name, &result);
  free (result.path);
  return !result.found;
}

static void
set_bounds (const struct settings *settings, const struct scope *scope)
{
  unsigned i;

  bounds = scope->bounds;
  if (settings->writes >= 0)
    bounds.writes = (uint32_t) settings->writes;
  if (settings->reads >= 0)
    bounds.reads = (uint32_t) settings->reads;
  if (settings->faults >= 0)
    bounds.faults = (uint32_t) settings->faults;
  for (i = 0; settings->plant != NULL && i < PLANT_COUNT; i++)
    if (strcmp (settings->plant, plant_words[i]) == 0)
      bounds.plant = (enum plant) i;
}

static bool
run_scopes (const struct settings *settings)
{
  bool sound = true;
  unsigned i;

  for (i = 0; i < SCOPES; i++) {
    if (settings->scope != NULL ? strcmp (settings->scope, scopes[i].name) != 0
                                : !scopes[i].quick && !settings->all)
      continue;
    set_bounds (settings, &scopes[i]);
    sound &= run_scope (settings, &scopes[i]);
  }
  return sound;
}

/* --- environments that lie ---------------------------------------------- */

static bool
run_plants (const struct settings *settings)
{
  struct search_result result;
  bool caught = true;
  unsigned i;

  for (i = PLANT_NONE + 1; i < PLANT_COUNT; i++) {
    if (plant_bounds[i].faults > 1 && !settings->all)
      continue;
    bounds = plant_bounds[i];
    search_run (settings->states, settings->seconds, &result);
    printf ("planted, %s: %s\n  %s: %s\n", plant_words[i], plant_texts[i],
            result.found ? "caught" : "NOT CAUGHT", result.rule);
    report (&result);
    caught &= result.found;
    free (result.path);
  }
  return caught;
}

/* --- options ------------------------------------------------------------ */

static bool
parse (int argc, char **argv, struct settings *settings)
{
  static const struct option options[] = {
    { "all", no_argument, NULL, 'a' },
    { "scope", required_argument, NULL, 'o' },
    { "states", required_argument, NULL, 's' },
    { "seconds", required_argument, NULL, 't' },
    { "writes", required_argument, NULL, 'w' },
    { "reads", required_argument, NULL, 'r' },
    { "faults", required_argument, NULL, 'f' },
    { "plant", required_argument, NULL, 'p' },
    { "replay", required_argument, NULL, 'R' },
    { NULL, 0, NULL, 0 }
  };
  int c;

  while ((c = getopt_long (argc, argv, "", options, NULL)) != -1)
    switch (c) {
    case 'a': settings->all = true; break;
    case 'o': settings->scope = optarg; break;
    case 's': settings->states = strtoull (optarg, NULL, 10); break;
    case 't': settings->seconds = strtod (optarg, NULL); break;
    case 'w': settings->writes = atoi (optarg); break;
    case 'r': settings->reads = atoi (optarg); break;
    case 'f': settings->faults = atoi (optarg); break;
    case 'p': settings->plant = optarg; break;
    case 'R': settings->replay = optarg; break;
    default: return false;
    }
  return optind == argc;
}

static void
usage (const char *program)
{
  unsigned i;

  fprintf (stderr,
           "usage: %s [--all] [--scope NAME] [--states N] [--seconds S]\n"
           "         [--writes N] [--reads N] [--faults N] [--plant NAME]\n"
           "         [--replay CODES]\n"
           "scopes (* in the short form):\n",
           program);
  for (i = 0; i < SCOPES; i++)
    fprintf (stderr, "%c %-10s %s\n", scopes[i].quick ? '*' : ' ',
             scopes[i].name, scopes[i].text);
  fprintf (stderr, "lies of the environment for --plant:\n");
  for (i = PLANT_NONE + 1; i < PLANT_COUNT; i++)
    fprintf (stderr, "  %-10s %s\n", plant_words[i], plant_texts[i]);
}

int
main (int argc, char **argv)
{
  struct settings settings = {
    .states = STATES_MAX,
    .seconds = 1e9,
    .writes = -1,
    .reads = -1,
    .faults = -1,
  };
  bool sound = true;
  unsigned i;

  if (!parse (argc, argv, &settings)) {
    usage (argv[0]);
    return 2;
  }
  if (settings.replay != NULL) {
    for (i = 0; i < SCOPES; i++)
      if (settings.scope == NULL ||
          strcmp (settings.scope, scopes[i].name) == 0)
        break;
    if (i == SCOPES) {
      usage (argv[0]);
      return 2;
    }
    set_bounds (&settings, &scopes[i]);
    return story_replay (settings.replay);
  }
  if (settings.scope == NULL)
    sound = run_plants (&settings);
  return run_scopes (&settings) && sound ? 0 : 1;
}
