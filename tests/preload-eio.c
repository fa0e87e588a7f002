/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * preload-eio.c: a disk that breaks when a test says so.
 *
 * Preloaded into nbdkit.  While the file $EIO_FILE.eio exists, calls on
 * the file $EIO_FILE whose names it contains ("pread", which is preadv2,
 * too, "pwrite", "fallocate", "fdatasync") fail with EIO and do nothing; but
 * fdatasync leaves the pages clean, as the kernel does.  All others are
 * libc's.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#define EXPORT __attribute__ ((visibility ("default")))

/* Must CALL on FD fail now? */
static bool
is_broken (int fd, const char *call)
{
  const char *file = getenv ("EIO_FILE");
  char link[64], path[PATH_MAX], words[256];
  ssize_t n;
  int trigger;

  if (file == NULL)
    return false;
  snprintf (path, sizeof path, "%s.eio", file);
  trigger = open (path, O_RDONLY | O_CLOEXEC);
  if (trigger == -1)
    return false;
  n = read (trigger, words, sizeof words - 1);
  close (trigger);
  words[n > 0 ? n : 0] = 0;
  if (strstr (words, call) == NULL)
    return false;
  snprintf (link, sizeof link, "/proc/self/fd/%d", fd);
  n = readlink (link, path, sizeof path - 1);
  path[n > 0 ? n : 0] = 0;
  return strcmp (path, file) == 0;
}

/* libc's own, whose type is that of TO. */
#define FIND(to, name) (*(void **) &(to) = dlsym (RTLD_NEXT, name))

EXPORT ssize_t
pread (int fd, void *buffer, size_t length, off_t offset)
{
  ssize_t (*real) (int, void *, size_t, off_t);
  int saved = errno;

  if (is_broken (fd, "pread")) {
    errno = EIO;
    return -1;
  }
  errno = saved;
  FIND (real, "pread");
  return real (fd, buffer, length, offset);
}

EXPORT ssize_t
preadv2 (int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
  ssize_t (*real) (int, const struct iovec *, int, off_t, int);
  int saved = errno;

  if (is_broken (fd, "pread")) {
    errno = EIO;
    return -1;
  }
  errno = saved;
  FIND (real, "preadv2");
  return real (fd, iov, count, offset, flags);
}

EXPORT ssize_t
pwrite (int fd, const void *buffer, size_t length, off_t offset)
{
  ssize_t (*real) (int, const void *, size_t, off_t);
  int saved = errno;

  if (is_broken (fd, "pwrite")) {
    errno = EIO;
    return -1;
  }
  errno = saved;
  FIND (real, "pwrite");
  return real (fd, buffer, length, offset);
}

EXPORT int
fallocate (int fd, int mode, off_t offset, off_t length)
{
  int (*real) (int, int, off_t, off_t);
  int saved = errno;

  if (is_broken (fd, "fallocate")) {
    errno = EIO;
    return -1;
  }
  errno = saved;
  FIND (real, "fallocate");
  return real (fd, mode, offset, length);
}

EXPORT int
fdatasync (int fd)
{
  int (*real) (int);
  int saved = errno;

  FIND (real, "fdatasync");
  if (is_broken (fd, "fdatasync")) {
    real (fd);
    errno = EIO;
    return -1;
  }
  errno = saved;
  return real (fd);
}
