/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * story.c: runs stories and compares what happened with what they tell.
 *
 *   story [--update] [--trace] [FILE...]
 *
 * Without a FILE: all of tests/stories.  --update writes what happened
 * into the files instead, for review.  --trace prints the simulator's own
 * trace, with times and numbers, and compares nothing.
 *
 * Each story runs in a child, so that an assertion is a failure like any
 * other.  The last line has the form that tests/run.sh counts.
 */
#include <assert.h>
#include <glob.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "story.h"

enum { STORY_SECONDS = 60 };

struct sim_report *sim_report;

static bool update, follow;

static void *
share (size_t size)
{
  void *memory = mmap (NULL, size, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

  assert (memory != MAP_FAILED);
  return memory;
}

static void
run_here (const char *path)
{
  struct sim_options options = {
    .seed = 1,
    .mode = MODE_ONE,
    .max_events = 10000000,
    .trace = follow,
    .follow = follow,
    .check_every = 1,
    .script = &story_script,
  };

  alarm (STORY_SECONDS);
  script_load (path);
  sim_run (&options);
  fflush (stdout);
  _exit (0);
}

/* False: it did not come to its end, and it has been said why. */
static bool
run (const char *path)
{
  int status;
  pid_t child;
  char step[sizeof sim_report->rule];

  memset (sim_report, 0, sizeof *sim_report);
  story_text->length = 0;
  fflush (NULL);
  child = fork ();
  assert (child != -1);
  if (child == 0)
    run_here (path);
  if (waitpid (child, &status, 0) != child)
    abort ();
  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return true;
  memcpy (step, sim_report->rule, sizeof step);
  if (WIFSIGNALED (status))
    printf ("FAIL %s: after \"%s\": %s\n", path, step,
            strsignal (WTERMSIG (status)));
  else
    printf ("FAIL %s: %s\n", path, step);
  return false;
}

/* What came, with the differences from the file: diff(1) tells them. */
static bool
same (const char *path)
{
  FILE *came = tmpfile ();
  int status;
  pid_t child;

  assert (came != NULL);
  if (fwrite (story_text->bytes, 1, story_text->length, came) !=
        story_text->length ||
      fflush (came) != 0 || fseek (came, 0, SEEK_SET) != 0)
    abort ();
  fflush (NULL);
  child = fork ();
  assert (child != -1);
  if (child == 0) {
    dup2 (fileno (came), STDIN_FILENO);
    execlp ("diff", "diff", "-u", "--label", path, "--label", "what happened",
            path, "-", (char *) NULL);
    _exit (2);
  }
  if (waitpid (child, &status, 0) != child)
    abort ();
  fclose (came);
  return WIFEXITED (status) && WEXITSTATUS (status) == 0;
}

static void
rewrite (const char *path)
{
  FILE *file = fopen (path, "w");

  if (file == NULL ||
      fwrite (story_text->bytes, 1, story_text->length, file) !=
        story_text->length ||
      fclose (file) != 0) {
    perror (path);
    exit (2);
  }
}

static bool
tell (const char *path)
{
  if (!run (path)) {
    printf ("--- it went so far:\n%.*s", (int) story_text->length,
            story_text->bytes);
    return false;
  }
  if (follow)
    return true;
  if (update) {
    rewrite (path);
    printf ("written %s\n", path);
    return true;
  }
  if (!same (path)) {
    printf ("FAIL %s: it went another way; `make stories-update` if that is"
            " right\n",
            path);
    return false;
  }
  printf ("ok   %s\n", path);
  return true;
}

static void
usage (void)
{
  fprintf (stderr, "usage: story [--update] [--trace] [--help] [FILE...]\n");
  exit (2);
}

int
main (int argc, char **argv)
{
  glob_t found = { .gl_pathc = 0 };
  int i, first = 1, bad = 0, all = 0;
  char **paths = argv;

  for (; first < argc && strncmp (argv[first], "--", 2) == 0; first++) {
    if (strcmp (argv[first], "--update") == 0)
      update = true;
    else if (strcmp (argv[first], "--trace") == 0)
      follow = true;
    else if (strcmp (argv[first], "--help") == 0) {
      printf ("steps of a story:\n");
      step_help ();
      return 0;
    }
    else
      usage ();
  }
  sim_report = share (sizeof *sim_report);
  story_text = share (sizeof *story_text);
  if (first == argc) {
    if (glob ("tests/stories/*.txt", 0, NULL, &found) != 0) {
      fprintf (stderr, "story: no stories here\n");
      return 2;
    }
    paths = found.gl_pathv;
    first = 0;
    argc = (int) found.gl_pathc;
  }
  for (i = first; i < argc; i++, all++)
    bad += !tell (paths[i]);
  printf ("%d%%: Checks: %d, Failures: %d, Errors: 0\n",
          (all - bad) * 100 / all, all, bad);
  globfree (&found);
  return bad == 0 ? 0 : 1;
}
