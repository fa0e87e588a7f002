/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-runner.c: many seeds, in several processes at a time, and a failed
 * one again and again until it is small.
 *
 * Seeds are run in child processes that share a report with their parent,
 * so that an assertion in the core, a crash or an endless step is a
 * failure with a seed like any other.  What is reported does not depend on
 * the number of processes: the failure with the lowest seed counts.
 */
#include <assert.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sim.h"

enum {
  RUN_SECONDS = 60, /* of processor time: a child that hangs is killed */
  BATCH_SEEDS = 50, /* seeds of one child */
  JOBS_MAX = 64,
};

struct sim_report *sim_report;

/* A child at work on COUNT seeds from FIRST on. */
struct batch {
  pid_t pid; /* 0: free */
  uint64_t first, count;
  struct sim_report *report;
};

struct runner {
  struct sim_options options;
  enum run_policy policy;
  uint64_t next, end; /* seeds that nobody has begun */
  uint32_t jobs, running;
  struct batch batch[JOBS_MAX];
  struct run_totals *totals;
};

/* --- one child ---------------------------------------------------------- */

static struct sim_report *
report_new (void)
{
  struct sim_report *report = mmap (NULL, sizeof *report,
                                    PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS, -1, 0);

  assert (report != MAP_FAILED);
  return report;
}

/* SIGPROF after so much processor time; 0: never. */
static void
limit_time (long seconds)
{
  struct itimerval limit = { .it_value = { .tv_sec = seconds } };

  setitimer (ITIMER_PROF, &limit, NULL);
}

static void
run_seeds (const struct sim_options *options, uint64_t count)
{
  struct sim_options one = *options;
  uint64_t i;

  for (i = 0; i < count; i++) {
    one.seed = options->seed + i;
    sim_report->seed = one.seed;
    limit_time (RUN_SECONDS);
    sim_run (&one);
  }
  limit_time (0);
}

static pid_t
start_child (const struct sim_options *options, uint64_t count,
             struct sim_report *report)
{
  pid_t child;

  memset (report, 0, sizeof *report);
  fflush (NULL);
  child = fork ();
  assert (child != -1);
  if (child != 0)
    return child;
  /* Assertions are told by the parent. */
  if (!options->follow && freopen ("/dev/null", "w", stderr) == NULL)
    _exit (2);
  sim_report = report;
  run_seeds (options, count);
  exit (0); /* a coverage build writes its counters then */
}

/* The child has ended: true when all its seeds were good. */
static bool
judge (int status, struct sim_report *report)
{
  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return true;
  if (!report->failed && WIFSIGNALED (status))
    snprintf (report->rule, sizeof report->rule,
              WTERMSIG (status) == SIGPROF ? "a step does not end (%s)"
                                           : "an assertion failed (%s)",
              strsignal (WTERMSIG (status)));
  else if (!report->failed)
    snprintf (report->rule, sizeof report->rule, "exit status %d",
              WEXITSTATUS (status));
  report->failed = true;
  return false;
}

static bool
run_one (const struct sim_options *options, struct sim_report *report)
{
  pid_t child = start_child (options, 1, report);
  int status;

  if (waitpid (child, &status, 0) != child)
    abort ();
  return judge (status, report);
}

/* --- many --------------------------------------------------------------- */

static void
start_batch (struct runner *runner, struct batch *batch)
{
  struct sim_options options = runner->options;

  options.seed = batch->first;
  batch->pid = start_child (&options, batch->count, batch->report);
  runner->running++;
}

static void
note_failure (struct runner *runner, const struct sim_report *report)
{
  struct run_totals *totals = runner->totals;

  totals->failed++;
  if (runner->policy == RUN_ALL)
    printf ("FAILED seed %" PRIu64 " mode %s: %s\n", report->seed,
            sim_models[runner->options.mode].name, report->rule);
  if (totals->failed > 1 && report->seed > totals->first_failed)
    return;
  totals->first_failed = report->seed;
  memcpy (totals->rule, report->rule, sizeof totals->rule);
}

static void
add (struct run_totals *totals, const struct sim_report *report)
{
  totals->runs += report->runs;
  totals->requests += report->requests;
  totals->events += report->events;
  totals->hash ^= report->hash;
}

/* Wait for any child and take its results. */
static void
end_batch (struct runner *runner)
{
  int status;
  pid_t pid = waitpid (-1, &status, 0);
  struct batch *batch = runner->batch;

  while (batch->pid != pid) {
    batch++;
    assert (batch < runner->batch + runner->jobs);
  }
  batch->pid = 0;
  runner->running--;
  add (runner->totals, batch->report);
  if (judge (status, batch->report))
    return;
  note_failure (runner, batch->report);
  if (runner->policy != RUN_ALL) {
    /* Only lower seeds are of interest now. */
    if (runner->end > batch->report->seed)
      runner->end = batch->report->seed;
    return;
  }
  batch->count = batch->first + batch->count - batch->report->seed - 1;
  batch->first = batch->report->seed + 1;
  if (batch->count > 0)
    start_batch (runner, batch);
}

void
runner_run (const struct sim_options *options, uint64_t seeds, uint32_t jobs,
            enum run_policy policy, struct run_totals *totals)
{
  struct runner runner = {
    .options = *options,
    .policy = policy,
    .next = options->seed,
    .end = options->seed + seeds,
    .jobs = jobs < JOBS_MAX ? jobs : JOBS_MAX,
    .totals = totals,
  };
  uint32_t i;

  memset (totals, 0, sizeof *totals);
  for (i = 0; i < runner.jobs; i++)
    runner.batch[i].report = report_new ();
  while (runner.next < runner.end || runner.running > 0) {
    for (i = 0; i < runner.jobs && runner.next < runner.end; i++) {
      struct batch *batch = &runner.batch[i];

      if (batch->pid != 0)
        continue;
      batch->first = runner.next;
      batch->count = runner.end - runner.next;
      if (batch->count > BATCH_SEEDS)
        batch->count = BATCH_SEEDS;
      runner.next += batch->count;
      start_batch (&runner, batch);
    }
    if (runner.running > 0)
      end_batch (&runner);
  }
  for (i = 0; i < runner.jobs; i++)
    munmap (runner.batch[i].report, sizeof *runner.batch[i].report);
  if (policy == RUN_BRIEF && totals->failed > 0)
    printf ("FAILED seed %" PRIu64 " mode %s: %s\n", totals->first_failed,
            sim_models[options->mode].name, totals->rule);
}

bool
runner_follow (const struct sim_options *options)
{
  struct sim_report *report = report_new ();
  bool good = run_one (options, report);

  if (!good)
    printf ("FAILED %s\n", report->rule);
  munmap (report, sizeof *report);
  return good;
}

/* --- smaller ------------------------------------------------------------ */

static bool
still_fails (const struct sim_options *attempt, struct sim_options *best,
             struct sim_report *report)
{
  if (run_one (attempt, report))
    return false;
  *best = *attempt;
  return true;
}

/* First the shortest prefix of the faults, then without single ones of
 * these, then with fewer requests.
 */
bool
runner_shrink (const struct sim_options *failed, struct sim_options *small,
               struct sim_report *result)
{
  struct sim_report *report = report_new ();
  struct sim_options attempt;
  bool again;
  uint32_t n;

  *small = *failed;
  again = still_fails (failed, small, report);
  for (n = 0; again && n < failed->faults; n++) {
    attempt = *small;
    attempt.faults = n;
    if (still_fails (&attempt, small, report))
      break;
  }
  for (n = 0; again && n + 1 < small->faults; n++) {
    attempt = *small;
    attempt.skip |= 1u << n;
    still_fails (&attempt, small, report);
  }
  for (n = 1; again && n < 400; n = n * 3 / 2 + 1) {
    attempt = *small;
    attempt.requests = n;
    if (still_fails (&attempt, small, report))
      break;
  }
  small->trace = true;
  if (again)
    again = !run_one (small, report);
  memcpy (result, report, sizeof *result);
  munmap (report, sizeof *report);
  return again;
}
