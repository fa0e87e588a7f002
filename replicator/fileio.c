/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fileio.c: the system calls for files, made whole.
 *
 * Must never take a short transfer for a complete one.
 */
#include "fileio.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
  TRANSFER_MAX = 1 << 30, /* bytes in one system call */
  ZEROS = 64 * 1024,
};

static const uint8_t zeros[ZEROS];

static size_t
at_most (uint64_t length, size_t limit)
{
  return length < limit ? (size_t) length : limit;
}

int64_t
fileio_read_up_to (int fd, void *buffer, uint64_t length, uint64_t offset)
{
  uint8_t *to = buffer;
  uint64_t done = 0;

  assert (length <= INT64_MAX && offset <= INT64_MAX - length);
  while (done < length) {
    ssize_t r = pread (fd, to + done, at_most (length - done, TRANSFER_MAX),
                       (off_t) (offset + done));
    if (r == 0)
      break;
    if (r > 0)
      done += (uint64_t) r;
    else if (errno != EINTR)
      return -1;
  }
  return (int64_t) done;
}

int
fileio_read (int fd, void *buffer, uint64_t length, uint64_t offset)
{
  int64_t got = fileio_read_up_to (fd, buffer, length, offset);

  if (got == -1)
    return -1;
  if ((uint64_t) got != length) {
    errno = EIO;
    return -1;
  }
  return 0;
}

int
fileio_write (int fd, const void *buffer, uint64_t length, uint64_t offset)
{
  const uint8_t *from = buffer;
  uint64_t done = 0;

  assert (length <= INT64_MAX && offset <= INT64_MAX - length);
  while (done < length) {
    ssize_t r = pwrite (fd, from + done, at_most (length - done, TRANSFER_MAX),
                        (off_t) (offset + done));
    if (r > 0)
      done += (uint64_t) r;
    else if (r == 0) {
      errno = EIO;
      return -1;
    }
    else if (errno != EINTR)
      return -1;
  }
  return 0;
}

int
fileio_write_zeros (int fd, uint64_t length, uint64_t offset)
{
  while (length > 0) {
    size_t piece = at_most (length, ZEROS);

    if (fileio_write (fd, zeros, piece, offset) == -1)
      return -1;
    offset += piece;
    length -= piece;
  }
  return 0;
}

int
fileio_lock (int fd, uint64_t offset, uint64_t length)
{
  struct flock lock = {
    .l_type = F_WRLCK,
    .l_whence = SEEK_SET,
    .l_start = (off_t) offset,
    .l_len = (off_t) length,
    .l_pid = 0, /* F_OFD_SETLK demands it */
  };

  if (fcntl (fd, F_OFD_SETLK, &lock) == 0)
    return 0;
  if (errno == EAGAIN || errno == EACCES)
    errno = EBUSY;
  return -1;
}

int
fileio_sync (int fd)
{
  int r;

  do
    r = fdatasync (fd);
  while (r == -1 && errno == EINTR);
  return r;
}

void
fileio_forget (int fd, uint64_t offset, uint64_t length)
{
  if (length > 0) /* the kernel would take it for "all" */
    posix_fadvise (fd, (off_t) offset, (off_t) length, POSIX_FADV_DONTNEED);
}

int
fileio_sync_folder (const char *path)
{
  const char *slash = strrchr (path, '/');
  char *folder;

  if (slash == NULL)
    folder = strdup (".");
  else if (slash == path)
    folder = strdup ("/");
  else
    folder = strndup (path, (size_t) (slash - path));
  if (folder == NULL)
    return -1;

  int fd = open (folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  free (folder);
  if (fd == -1)
    return -1;
  int r = fsync (fd);
  int error = errno;
  close (fd);
  errno = error;
  return r;
}
