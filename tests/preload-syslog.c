/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * preload-syslog.c: a syslog of a test's own.
 *
 * Preloaded into nbdkit: what is sent to syslog is appended to the file
 * $SYSLOG_FILE, one line each, with its priority in front.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <syslog.h>
#include <unistd.h>

#define EXPORT __attribute__ ((visibility ("default")))

/* The C library's names when _FORTIFY_SOURCE is on. */
EXPORT void __syslog_chk (int priority, int flag, const char *format, ...);
EXPORT void __vsyslog_chk (int priority, int flag, const char *format,
                           va_list args);

EXPORT void
vsyslog (int priority, const char *format, va_list args)
{
  const char *path = getenv ("SYSLOG_FILE");
  char line[2048], all[2100];
  int fd, length;

  if (path == NULL)
    return;
  vsnprintf (line, sizeof line, format, args);
  length = snprintf (all, sizeof all, "%d %s\n", priority, line);
  fd = open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd == -1)
    return;
  if (write (fd, all, (size_t) length) != length)
    abort ();
  close (fd);
}

EXPORT void
syslog (int priority, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vsyslog (priority, format, args);
  va_end (args);
}

void
__syslog_chk (int priority, int flag, const char *format, ...)
{
  va_list args;

  (void) flag;
  va_start (args, format);
  vsyslog (priority, format, args);
  va_end (args);
}

void
__vsyslog_chk (int priority, int flag, const char *format, va_list args)
{
  (void) flag;
  vsyslog (priority, format, args);
}
