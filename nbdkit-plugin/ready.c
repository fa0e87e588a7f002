/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ready.c: one datagram to the service manager, without its library.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ready.h"

void
ready_tell (void)
{
  static const char word[] = "READY=1";
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  const char *path = getenv ("NOTIFY_SOCKET");
  size_t length = path != NULL ? strlen (path) : 0;
  int fd;

  if (length == 0 || length >= sizeof address.sun_path)
    return;
  memcpy (address.sun_path, path, length);
  if (path[0] == '@') /* an abstract name */
    address.sun_path[0] = '\0';
  fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd == -1)
    return;
  sendto (fd, word, sizeof word - 1, MSG_DONTWAIT | MSG_NOSIGNAL,
          (struct sockaddr *) &address,
          (socklen_t) (offsetof (struct sockaddr_un, sun_path) + length));
  close (fd);
}
