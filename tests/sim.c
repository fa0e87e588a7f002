/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim.c: the simulator's front: which seeds and modes to run, and what
 * to say about them.
 *
 *   sim [--seeds N] [--seed S] [--mode M] [--trace] [--max-events N]
 *       [--check N] [--faults N] [--requests N] [--all]
 *
 * Runs happen in a child process that shares one page with its parent,
 * so that an assertion in the core is a failure with a seed like any
 * other.  A failed seed is run again with fewer and fewer faults and
 * requests; the smallest that still fails is shown with the end of its
 * trace.
 */
#include <assert.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "sim.h"

enum { RUN_SECONDS = 60 }; /* a child that hangs is killed */

struct sim_report *sim_report;

struct settings {
  struct sim_options options;
  uint64_t seeds;
  int mode; /* -1: all */
  bool all; /* go on after a failure, one line each */
};

/* --- children ----------------------------------------------------------- */

static void
run_seeds (const struct sim_options *options, uint64_t count)
{
  struct sim_options one = *options;
  uint64_t i;

  for (i = 0; i < count; i++) {
    one.seed = options->seed + i;
    sim_report->seed = one.seed;
    alarm (RUN_SECONDS);
    sim_run (&one);
  }
  alarm (0);
}

/* Run COUNT seeds from OPTIONS on in a child; false when one failed. */
static bool
run_child (const struct sim_options *options, uint64_t count, bool quiet)
{
  int status;
  pid_t child;

  sim_report->failed = false;
  sim_report->line_count = 0;
  sim_report->rule[0] = '\0';
  fflush (NULL);
  child = fork ();
  assert (child != -1);
  if (child == 0) {
    if (quiet && freopen ("/dev/null", "w", stderr) == NULL)
      _exit (2);
    run_seeds (options, count);
    fflush (stdout);
    _exit (0);
  }
  if (waitpid (child, &status, 0) != child)
    abort ();
  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return true;
  if (WIFSIGNALED (status)) {
    snprintf (sim_report->rule, sizeof sim_report->rule,
              WTERMSIG (status) == SIGALRM ? "a step does not end (%s)"
                                           : "an assertion failed (%s)",
              strsignal (WTERMSIG (status)));
    sim_report->failed = true;
  }
  return false;
}

/* --- a failure ---------------------------------------------------------- */

/* Smaller and smaller, as long as it fails. */
static struct sim_options
shrink (const struct sim_options *failed)
{
  struct sim_options best = *failed, attempt;
  uint32_t n;

  for (n = 0; n < SIM_FAULTS && n < best.faults; n++) {
    attempt = best;
    attempt.faults = n;
    if (!run_child (&attempt, 1, true)) {
      best = attempt;
      break;
    }
  }
  for (n = 1; n < 400; n = n * 3 / 2 + 1) {
    attempt = best;
    attempt.requests = n;
    if (!run_child (&attempt, 1, true)) {
      best = attempt;
      break;
    }
  }
  return best;
}

static void
show_trace (void)
{
  uint64_t count = sim_report->line_count, i = 0;

  if (count > SIM_TRACE_LINES)
    i = count - SIM_TRACE_LINES;
  for (; i < count; i++)
    printf ("%s\n", sim_report->lines[i % SIM_TRACE_LINES]);
}

static void
show_failure (const struct sim_options *options)
{
  struct sim_options failed = *options, small;

  failed.seed = sim_report->seed;
  printf ("FAILED seed %llu mode %s: %s\n", (unsigned long long) failed.seed,
          sim_models[failed.mode].name, sim_report->rule);
  small = shrink (&failed);
  small.trace = true;
  run_child (&small, 1, false);
  show_trace ();
  printf ("%s\n  the fault model: %s\n  again: sim --seed %llu --mode %s"
          " --faults %u --requests %u --trace\n",
          sim_report->rule, sim_models[small.mode].text,
          (unsigned long long) small.seed, sim_models[small.mode].name,
          small.faults, small.requests);
}

/* --- all of it ---------------------------------------------------------- */

static double
seconds (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

/* Run all seeds, whatever happens; how many failed? */
static uint64_t
run_all (const struct settings *settings, struct sim_options options)
{
  uint64_t end = options.seed + settings->seeds, failed = 0;

  while (!run_child (&options, end - options.seed, true)) {
    printf ("FAILED seed %llu mode %s: %s\n",
            (unsigned long long) sim_report->seed,
            sim_models[options.mode].name, sim_report->rule);
    failed++;
    options.seed = sim_report->seed + 1;
    if (options.seed == end)
      break;
  }
  return failed;
}

static bool
run_mode (const struct settings *settings, enum sim_mode mode)
{
  struct sim_options options = settings->options;
  double begin = seconds (), took;
  bool good = true;

  options.mode = mode;
  memset (sim_report, 0, sizeof *sim_report);
  if (settings->all)
    good = run_all (settings, options) == 0;
  else if (!run_child (&options, settings->seeds, false)) {
    if (options.follow) {
      printf ("FAILED %s\n", sim_report->rule);
      return false;
    }
    show_failure (&options);
    return false;
  }
  took = seconds () - begin;
  printf ("%-6s %llu runs, %llu requests, %llu steps, %llu events,"
          " %.1f s, %.0f runs/s, trace %016llx\n",
          sim_models[mode].name, (unsigned long long) sim_report->runs,
          (unsigned long long) sim_report->requests,
          (unsigned long long) sim_report->steps,
          (unsigned long long) sim_report->events, took,
          (double) sim_report->runs / took,
          (unsigned long long) sim_report->hash);
  return good;
}

static void
usage (void)
{
  int m;

  fprintf (stderr,
           "usage: sim [--seeds N] [--seed S] [--mode M] [--trace]"
           " [--max-events N] [--check N] [--faults N] [--requests N]"
           " [--all]\n");
  for (m = 0; m < MODE_COUNT; m++)
    fprintf (stderr, "  mode %-6s %s\n", sim_models[m].name,
             sim_models[m].text);
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
  return -1;
}

static void
set (struct settings *settings, const char *name, const char *value)
{
  uint64_t number = strtoull (value, NULL, 0);

  if (strcmp (name, "--seeds") == 0)
    settings->seeds = number;
  else if (strcmp (name, "--seed") == 0)
    settings->options.seed = number;
  else if (strcmp (name, "--mode") == 0)
    settings->mode = mode_of (value);
  else if (strcmp (name, "--max-events") == 0)
    settings->options.max_events = number;
  else if (strcmp (name, "--check") == 0)
    settings->options.check_every = (uint32_t) number;
  else if (strcmp (name, "--faults") == 0)
    settings->options.faults = (uint32_t) number;
  else if (strcmp (name, "--requests") == 0)
    settings->options.requests = (uint32_t) number;
  else
    usage ();
}

int
main (int argc, char **argv)
{
  struct settings settings = {
    .options = { .seed = 1,
                 .faults = SIM_FAULTS,
                 .max_events = 2000000,
                 .check_every = 16 },
    .mode = -1,
  };
  int i, m;
  bool good = true, seeds = false;

  for (i = 1; i < argc; i++) {
    if (strcmp (argv[i], "--trace") == 0) {
      settings.options.trace = settings.options.follow = true;
      continue;
    }
    if (strcmp (argv[i], "--all") == 0) {
      settings.all = true;
      continue;
    }
    if (i + 1 == argc)
      usage ();
    seeds = seeds || strcmp (argv[i], "--seeds") == 0;
    set (&settings, argv[i], argv[i + 1]);
    i++;
  }
  if (!seeds)
    settings.seeds = settings.options.seed != 1 ? 1 : 200;
  sim_report = mmap (NULL, sizeof *sim_report, PROT_READ | PROT_WRITE,
                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  assert (sim_report != MAP_FAILED);
  for (m = 0; m < MODE_COUNT; m++)
    if (settings.mode == -1 || settings.mode == m)
      good = run_mode (&settings, (enum sim_mode) m) && good;
  return good ? 0 : 1;
}
