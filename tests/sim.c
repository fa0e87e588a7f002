/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim.c: the simulator's front: which modes and seeds to run, and what to
 * say about them.  `sim --help` has the options.
 *
 * For each mode one line: seeds run, requests of clients, events, events
 * in a second, violations, and a hash over all that happened, which is
 * the same for the same seeds on any machine and with any number of jobs.
 * For a violation: the seed, what was broken, the smallest run that still
 * shows it, the end of its trace, and the command that shows all of it.
 */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

enum { SEEDS_PER_MODE = 100 };

struct settings {
  struct sim_options options;
  uint64_t seeds; /* over all modes, 0: as the program thinks fit */
  uint32_t jobs;
  int mode; /* -1: all */
  enum run_policy policy;
};

static double
seconds (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

/* --- a failure ---------------------------------------------------------- */

static void
show_trace (const struct sim_report *report)
{
  uint64_t count = report->line_count, i = 0;

  if (count > SIM_TRACE_LINES) {
    i = count - SIM_TRACE_LINES;
    printf ("  (%" PRIu64 " lines before)\n", i);
  }
  for (; i < count; i++)
    printf ("%s\n", report->lines[i % SIM_TRACE_LINES]);
}

static void
show_failure (const struct sim_options *options, const char *rule)
{
  struct sim_options small;
  struct sim_report report;

  printf ("FAILED seed %" PRIu64 " mode %s: %s\n", options->seed,
          sim_models[options->mode].name, rule);
  fflush (stdout);
  if (!runner_shrink (options, &small, &report)) {
    printf ("  but not when it was run again: the simulator looked at "
            "something outside its world\n");
    return;
  }
  show_trace (&report);
  printf ("%s\n"
          "  after %" PRIu64 " events, at %" PRIu64 ".%03" PRIu64 " ms,"
          " with %u faults and at most %u requests\n"
          "  the fault model: %s\n"
          "  again: sim --seed %" PRIu64 " --mode %s --faults %u --skip 0x%x"
          " --requests %u --trace\n",
          report.rule, report.events, report.virtual_us / 1000,
          report.virtual_us % 1000,
          small.faults - (uint32_t) __builtin_popcount (small.skip),
          small.requests, sim_models[small.mode].text, small.seed,
          sim_models[small.mode].name, small.faults, small.skip,
          small.requests);
}

/* --- one mode ----------------------------------------------------------- */

static bool
run_mode (const struct settings *settings, enum sim_mode mode, uint64_t seeds)
{
  struct sim_options options = settings->options;
  struct run_totals totals;
  double begin = seconds (), took;

  options.mode = mode;
  if (options.follow)
    return runner_follow (&options);
  runner_run (&options, seeds, settings->jobs, settings->policy, &totals);
  took = seconds () - begin;
  printf ("%-6s %8" PRIu64 " %10" PRIu64 " %12" PRIu64 " %9.0f %10" PRIu64
          "  %016" PRIx64 "\n",
          sim_models[mode].name, totals.runs + totals.failed, totals.requests,
          totals.events, (double) totals.events / took, totals.failed,
          totals.hash);
  if (totals.failed > 0 && settings->policy == RUN_EXPLAIN) {
    options.seed = totals.first_failed;
    show_failure (&options, totals.rule);
  }
  fflush (stdout);
  return totals.failed == 0;
}

/* --- options ------------------------------------------------------------ */

static void
help (FILE *to)
{
  int m;

  fprintf (to,
           "usage: sim [OPTION...]\n"
           "  --seeds N       runs in all, shared evenly by the modes"
           " (%d for each mode)\n"
           "  --seed S        the first seed (1); alone: only this one\n"
           "  --mode M        one mode only\n"
           "  --jobs N        processes at a time (as many as processors)\n"
           "  --all           go on after a failure, one line for each\n"
           "  --brief         one line for the first failure, no trace\n"
           "  --trace         one run, with all that happens\n"
           "  --faults N      the first N faults of the plan only\n"
           "  --skip MASK     without the faults of these bits\n"
           "  --requests N    at most N requests of clients\n"
           "  --check N       core_check after every Nth step (as the seed"
           " says)\n"
           "  --max-events N  a run that takes more does not end (2000000)\n"
           "exit status: 0 all well, 1 a violation, 2 wrong usage\n",
           SEEDS_PER_MODE);
  for (m = 0; m < MODE_COUNT; m++)
    fprintf (to, "mode %-6s %s\n", sim_models[m].name, sim_models[m].text);
}

_Noreturn static void
usage (void)
{
  help (stderr);
  exit (2);
}

static int
mode_of (const char *name)
{
  int m;

  for (m = 0; m < MODE_COUNT; m++)
    if (strcmp (sim_models[m].name, name) == 0)
      return m;
  usage ();
}

/* An option without a value. */
static bool
set_flag (struct settings *settings, const char *name)
{
  if (strcmp (name, "--trace") == 0)
    settings->options.trace = settings->options.follow = true;
  else if (strcmp (name, "--all") == 0)
    settings->policy = RUN_ALL;
  else if (strcmp (name, "--brief") == 0)
    settings->policy = RUN_BRIEF;
  else
    return false;
  return true;
}

static void
set (struct settings *settings, const char *name, const char *value)
{
  char *end;
  uint64_t number = strtoull (value, &end, 0);

  if (strcmp (name, "--mode") == 0) {
    settings->mode = mode_of (value);
    return;
  }
  if (*value == '\0' || *end != '\0')
    usage ();
  if (strcmp (name, "--seeds") == 0 && number > 0)
    settings->seeds = number;
  else if (strcmp (name, "--seed") == 0)
    settings->options.seed = number;
  else if (strcmp (name, "--jobs") == 0 && number > 0)
    settings->jobs = (uint32_t) number;
  else if (strcmp (name, "--max-events") == 0)
    settings->options.max_events = number;
  else if (strcmp (name, "--check") == 0)
    settings->options.check_every = (uint32_t) number;
  else if (strcmp (name, "--faults") == 0)
    settings->options.faults = (uint32_t) number;
  else if (strcmp (name, "--skip") == 0)
    settings->options.skip = (uint32_t) number;
  else if (strcmp (name, "--requests") == 0)
    settings->options.requests = (uint32_t) number;
  else
    usage ();
}

static void
read_options (struct settings *settings, int argc, char **argv)
{
  bool seed = false;
  int i;

  for (i = 1; i < argc; i++) {
    if (strcmp (argv[i], "--help") == 0) {
      help (stdout);
      exit (0);
    }
    if (set_flag (settings, argv[i]))
      continue;
    if (i + 1 == argc)
      usage ();
    seed = seed || strcmp (argv[i], "--seed") == 0;
    set (settings, argv[i], argv[i + 1]);
    i++;
  }
  if (settings->options.follow && settings->mode == -1)
    usage ();
  if (settings->seeds == 0)
    settings->seeds = (seed ? 1 : SEEDS_PER_MODE) *
      (uint64_t) (settings->mode == -1 ? MODE_COUNT : 1);
}

int
main (int argc, char **argv)
{
  long processors = sysconf (_SC_NPROCESSORS_ONLN);
  struct settings settings = {
    .options = { .seed = 1,
                 .faults = SIM_FAULTS,
                 .max_events = 2000000,
                 .check_every = SIM_CHECK_BY_SEED },
    .jobs = processors > 0 ? (uint32_t) processors : 1,
    .mode = -1,
  };
  uint64_t share;
  int m;
  bool good = true;

  read_options (&settings, argc, argv);
  share = settings.seeds;
  if (settings.mode == -1)
    share = (settings.seeds + MODE_COUNT - 1) / MODE_COUNT;
  if (!settings.options.follow)
    printf ("%-6s %8s %10s %12s %9s %10s  %s\n", "mode", "seeds", "requests",
            "events", "events/s", "violations", "trace");
  for (m = 0; m < MODE_COUNT; m++)
    if (settings.mode == -1 || settings.mode == m)
      good = run_mode (&settings, (enum sim_mode) m, share) && good;
  return good ? 0 : 1;
}
