/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * listener.c: the sockets on which a node waits for its peer, or for who
 * wants to look at it.  It opens them, all or none, and never waits.
 */
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "listener.h"

enum { BACKLOG = 64 };

/* A listening socket on ADDRESS, or -1 with errno. */
static int
listen_on (const struct addrinfo *address)
{
  int one = 1;
  int fd = socket (address->ai_family,
                   SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

  if (fd == -1)
    return -1;
  setsockopt (fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind (fd, address->ai_addr, address->ai_addrlen) == -1 ||
      listen (fd, BACKLOG) == -1) {
    int error = errno;

    close (fd);
    errno = error;
    return -1;
  }
  return fd;
}

/* An address of a family that this machine does not have is no error if
 * there is another.
 */
static bool
is_foreign (int error)
{
  return error == EAFNOSUPPORT || error == EADDRNOTAVAIL;
}

int
listener_open_all (const struct addrinfo *addresses, const char *key,
                   const char *name, int fds[], size_t max, char *error,
                   size_t error_size)
{
  const struct addrinfo *a;
  size_t count = 0;
  int failed = 0;

  for (a = addresses; a != NULL && count < max; a = a->ai_next) {
    int fd = listen_on (a);

    if (fd != -1)
      fds[count++] = fd;
    else if (failed == 0 || !is_foreign (errno))
      failed = errno;
  }
  if (count > 0 && (failed == 0 || is_foreign (failed)))
    return (int) count;
  while (count > 0)
    close (fds[--count]);
  snprintf (error, error_size, "%s=%s: cannot listen there: %s", key, name,
            strerrordesc_np (failed));
  return -1;
}
