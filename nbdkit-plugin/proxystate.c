/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxystate.c: the proxy's memory, a small text file.
 *
 *   duetproxy-state 1
 *   client 0123456789abcdef
 *   session 12345
 *   generation 7.fedcba9876543210
 *   end
 *
 * Exactly these lines.  Written to PATH.new, synced, renamed over PATH,
 * and the folder synced.  A file that reads otherwise is refused, never
 * repaired: a proxy with a wrong memory could choose a stale node.
 */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proxystate.h"

enum { TEXT_MAX = 256 };

static int
format (const struct proxystate *state, char *text)
{
  return snprintf (text, TEXT_MAX,
                   "duetproxy-state 1\n"
                   "client %016" PRIx64 "\n"
                   "session %" PRIu64 "\n"
                   "generation %" PRIu64 ".%016" PRIx64 "\n"
                   "end\n",
                   state->client, state->session, state->generation.epoch,
                   state->generation.id);
}

/* What is read must be what we would write, to the letter and no further:
 * TEXT may have zero bytes in it.
 */
static int
parse (const char *text, ssize_t length, struct proxystate *state)
{
  char again[TEXT_MAX];

  if (sscanf (text,
              "duetproxy-state 1 client %16" SCNx64 " session %" SCNu64
              " generation %" SCNu64 ".%16" SCNx64,
              &state->client, &state->session, &state->generation.epoch,
              &state->generation.id) != 4)
    return -1;
  return format (state, again) == length && strcmp (text, again) == 0 &&
      state->client != 0
    ? 0
    : -1;
}

/* The whole file into TEXT.  Its length, or -1. */
static ssize_t
read_text (const char *path, char *text)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC);
  ssize_t length;

  if (fd == -1)
    return -1;
  length = read (fd, text, TEXT_MAX - 1);
  if (length >= 0)
    text[length] = '\0';
  close (fd);
  return length;
}

static int
take_lock (const char *path)
{
  struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
  char *name;
  int fd;

  if (asprintf (&name, "%s.lock", path) == -1)
    return -1;
  fd = open (name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  free (name);
  if (fd != -1 && fcntl (fd, F_OFD_SETLK, &lock) == -1) {
    close (fd);
    return -1;
  }
  return fd;
}

int
proxystate_load (const char *path, struct proxystate *state, const char **why)
{
  char text[TEXT_MAX];
  ssize_t length;
  int fd = take_lock (path);

  if (fd == -1) {
    *why = errno == EAGAIN || errno == EACCES
      ? "another proxy is using it, or the folder is not writable"
      : "cannot take its lock file";
    return -1;
  }
  memset (state, 0, sizeof *state);
  length = read_text (path, text);
  if (length == -1) {
    if (errno == ENOENT)
      return fd;
    *why = "cannot read it";
  }
  else if (parse (text, length, state) == 0)
    return fd;
  else {
    errno = EINVAL;
    *why = "it is not a state file of this program";
  }
  close (fd);
  return -1;
}

static int
write_synced (const char *path, const char *text, size_t length)
{
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  ssize_t written;
  int error = 0;

  if (fd == -1)
    return -1;
  written = write (fd, text, length);
  if (written != (ssize_t) length)
    error = written == -1 ? errno : ENOSPC;
  else if (fdatasync (fd) == -1)
    error = errno;
  if (close (fd) == -1 && error == 0)
    error = errno;
  errno = error;
  return error == 0 ? 0 : -1;
}

static int
sync_folder_of (const char *path)
{
  char *copy = strdup (path);
  int fd, result = -1;

  if (copy == NULL)
    return -1;
  fd = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free (copy);
  if (fd != -1) {
    result = fsync (fd);
    close (fd);
  }
  return result;
}

int
proxystate_save (const char *path, const struct proxystate *state)
{
  char text[TEXT_MAX], *name;
  int length, result = -1;

  assert (state->client != 0);
  length = format (state, text);
  assert (length > 0 && length < TEXT_MAX);
  if (asprintf (&name, "%s.new", path) == -1)
    return -1;
  if (write_synced (name, text, (size_t) length) == 0 &&
      rename (name, path) == 0)
    result = sync_folder_of (path);
  free (name);
  return result;
}
