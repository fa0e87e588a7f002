/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notice.c: lines for the log that are no errors.  Never blocks for longer
 * than writing a line takes.
 */
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <syslog.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "notice.h"

static pid_t before_fork;

/* nbdkit without -f forks, and unless it is verbose connects standard
 * error to /dev/null.
 */
static bool
is_stderr_gone (void)
{
  struct stat st;

  if (getpid () == before_fork)
    return false;
  return fstat (STDERR_FILENO, &st) == -1 ||
    (S_ISCHR (st.st_mode) && major (st.st_rdev) == 1 &&
     minor (st.st_rdev) == 3);
}

void
notice_ready (void)
{
  before_fork = getpid ();
}

void
notice (const char *who, const char *line)
{
  if (is_stderr_gone ())
    syslog (LOG_DAEMON | LOG_NOTICE, "%s: %s", who, line);
  else
    fprintf (stderr, "%s: %s\n", who, line);
  nbdkit_debug ("%s", line);
}
