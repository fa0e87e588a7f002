/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-proxystate.c: the proxy's state file.  The input is the file.  What
 * is accepted must be, to the byte, what the proxy would write itself: a
 * wrong memory could choose a stale node.
 */
#include <fcntl.h>

#include "fuzz.h"
#include "proxystate.h"

enum { TEXT_MAX = 512 };

static char path[FUZZ_PATH], copy[FUZZ_PATH];

static size_t
read_file (const char *name, char text[TEXT_MAX])
{
  int fd = open (name, O_RDONLY | O_CLOEXEC);
  ssize_t length;

  assert (fd != -1);
  length = read (fd, text, TEXT_MAX);
  assert (length >= 0);
  close (fd);
  return (size_t) length;
}

static void
write_file (const uint8_t *data, size_t size)
{
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  assert (fd != -1);
  assert (write (fd, data, size) == (ssize_t) size);
  close (fd);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct proxystate state;
  const char *why = NULL;
  char text[TEXT_MAX];
  int fd;

  fuzz_make_folder ();
  fuzz_put_path (path, "state");
  fuzz_put_path (copy, "copy");
  write_file (data, size);
  fd = proxystate_load (path, &state, &why);
  if (fd == -1) {
    assert (why != NULL);
    return 0;
  }
  close (fd);
  assert (state.client != 0);
  assert (proxystate_save (copy, &state) == 0);
  assert (read_file (copy, text) == size);
  assert (memcmp (text, data, size) == 0);
  return 0;
}
