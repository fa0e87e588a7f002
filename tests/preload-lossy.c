/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * preload-lossy.c: a disk that forgets, at a power cut, what was not
 * synced.
 *
 * Preloaded into nbdkit.  Before a pwrite or fallocate changes the file
 * $LOSSY_FILE, what is there goes to the end of $LOSSY_FILE.undo; an
 * fdatasync drops what was there when it began.  After the process was
 * killed, tests/power-cut.py takes back some of the changes that are left.
 * All other calls are libc's.
 *
 * The log: u64 start, u64 end, then from byte 16 on, between start and end,
 * entries of u64 offset, u64 length and the old bytes.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define EXPORT __attribute__ ((visibility ("default")))

enum { HEAD = 16 };

/* libc's own, whose type is that of TO. */
#define FIND(to, name) (*(void **) &(to) = dlsym (RTLD_NEXT, name))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int undo = -1;
static uint64_t *head; /* start, end */
static ssize_t (*real_pwrite) (int, const void *, size_t, off_t);
static ssize_t (*real_pread) (int, void *, size_t, off_t);

static void
die (const char *what)
{
  perror (what);
  abort ();
}

static bool
is_lossy (int fd)
{
  const char *file = getenv ("LOSSY_FILE");
  struct stat its, ours;

  return file != NULL && stat (file, &ours) == 0 && fstat (fd, &its) == 0 &&
    its.st_dev == ours.st_dev && its.st_ino == ours.st_ino;
}

static void
open_locked (void)
{
  char path[4096];

  if (undo != -1)
    return;
  FIND (real_pwrite, "pwrite");
  FIND (real_pread, "pread");
  snprintf (path, sizeof path, "%s.undo", getenv ("LOSSY_FILE"));
  undo = open (path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (undo == -1 || ftruncate (undo, HEAD) == -1)
    die (path);
  head = mmap (NULL, HEAD, PROT_READ | PROT_WRITE, MAP_SHARED, undo, 0);
  if (head == MAP_FAILED)
    die (path);
  head[0] = head[1] = HEAD;
}

/* LENGTH bytes at OFFSET are about to change. */
static void
note_locked (int fd, uint64_t length, uint64_t offset)
{
  uint64_t entry[2] = { offset, length }, at = head[1] + sizeof entry;
  uint8_t *old = calloc (1, length + 1);
  uint64_t done = 0;
  ssize_t n = 1;

  if (old == NULL)
    die ("calloc");
  for (; done < length && n > 0; done += (uint64_t) (n > 0 ? n : 0))
    n = real_pread (fd, old + done, length - done, (off_t) (offset + done));
  if (n == -1 ||
      real_pwrite (undo, entry, sizeof entry, (off_t) head[1]) == -1 ||
      real_pwrite (undo, old, length, (off_t) at) != (ssize_t) length)
    die ("undo log");
  free (old);
  head[1] = at + length;
}

EXPORT ssize_t
pwrite (int fd, const void *buffer, size_t length, off_t offset)
{
  ssize_t (*real) (int, const void *, size_t, off_t);
  bool lossy = is_lossy (fd);
  ssize_t n;

  FIND (real, "pwrite");
  if (!lossy)
    return real (fd, buffer, length, offset);
  pthread_mutex_lock (&lock);
  open_locked ();
  note_locked (fd, length, (uint64_t) offset);
  n = real (fd, buffer, length, offset);
  pthread_mutex_unlock (&lock);
  return n;
}

EXPORT int
fallocate (int fd, int mode, off_t offset, off_t length)
{
  int (*real) (int, int, off_t, off_t);
  bool lossy = is_lossy (fd);
  int r;

  FIND (real, "fallocate");
  if (!lossy)
    return real (fd, mode, offset, length);
  pthread_mutex_lock (&lock);
  open_locked ();
  note_locked (fd, (uint64_t) length, (uint64_t) offset);
  r = real (fd, mode, offset, length);
  pthread_mutex_unlock (&lock);
  return r;
}

EXPORT int
fdatasync (int fd)
{
  int (*real) (int);
  bool lossy = is_lossy (fd);
  uint64_t end = 0;
  int r, saved;

  FIND (real, "fdatasync");
  if (lossy) {
    pthread_mutex_lock (&lock);
    open_locked ();
    end = head[1];
    pthread_mutex_unlock (&lock);
  }
  r = real (fd);
  saved = errno;
  if (lossy && r == 0) {
    pthread_mutex_lock (&lock);
    if (end > head[0])
      head[0] = end;
    if (head[0] == head[1])
      head[0] = head[1] = HEAD;
    pthread_mutex_unlock (&lock);
  }
  errno = saved;
  return r;
}
