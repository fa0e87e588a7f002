/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hangup.c: makes a server with idle clients end when it is told to.
 *
 * nbdkit ends when all its connections have.  A worker that waits for a
 * client's next request sits in recv and sees no signal, so a client that
 * is connected and asks for nothing would keep the server for ever.  A
 * plugin cannot hang up on a client that asks for nothing either, and is
 * not told the socket.  So a thread here waits for nbdkit to quit, finds
 * the sockets of the clients among the descriptors of this process - they
 * are those whose own address is that of one of nbdkit's listening
 * sockets - and shuts them down: for receiving at first, so that requests
 * under way are answered; after a while altogether, for clients that do
 * not take their answers.
 *
 * Must never touch a socket of the plugin's own: the goodbye to the peer
 * leaves by one.  And never close a descriptor: nbdkit does.
 */
#include "hangup.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "thread.h"

enum {
  LISTENERS_MAX = 64,
  WATCH_SECONDS = 3600, /* one sleep of the watching thread */
  LOOK_MS = 10,         /* between looks at the descriptors */
  PATIENCE_MS = 300,    /* for requests under way */
};

union address {
  struct sockaddr any;
  struct sockaddr_in in;
  struct sockaddr_in6 in6;
  struct sockaddr_un un;
  struct sockaddr_storage room;
};

static struct listener {
  union address address;
  socklen_t length;
  bool server;
} listeners[LISTENERS_MAX];
static unsigned listener_count;

static void (*stop_requests) (void);
static pthread_t thread;
static bool running;
static atomic_bool done;

/* ---------------------------------------------------------- addresses */

static bool
get_address (int fd, union address *address, socklen_t *length)
{
  *length = sizeof *address;
  memset (address, 0, sizeof *address);
  return getsockname (fd, &address->any, length) == 0;
}

/* Does a connection with the address MINE come from a listener on THEIRS?
 * Or, for two listeners: is one the other?
 */
static bool
is_from (const union address *mine, socklen_t length,
         const struct listener *theirs)
{
  const union address *a = &theirs->address;

  if (mine->any.sa_family != a->any.sa_family)
    return false;
  switch (mine->any.sa_family) {
  case AF_INET:
    return mine->in.sin_port == a->in.sin_port &&
      (a->in.sin_addr.s_addr == htonl (INADDR_ANY) ||
       mine->in.sin_addr.s_addr == a->in.sin_addr.s_addr);
  case AF_INET6:
    return mine->in6.sin6_port == a->in6.sin6_port &&
      (IN6_IS_ADDR_UNSPECIFIED (&a->in6.sin6_addr) ||
       IN6_ARE_ADDR_EQUAL (&mine->in6.sin6_addr, &a->in6.sin6_addr));
  default:
    return length == theirs->length && length > sizeof (sa_family_t) &&
      memcmp (mine, a, length) == 0;
  }
}

/* The listener noted for it, or NULL. */
static const struct listener *
find (const union address *address, socklen_t length)
{
  unsigned i;

  for (i = 0; i < listener_count; i++)
    if (is_from (address, length, &listeners[i]))
      return &listeners[i];
  return NULL;
}

/* -------------------------------------------------------- descriptors */

static bool
is_listening (int fd)
{
  int listening = 0;
  socklen_t length = sizeof listening;

  return getsockopt (fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 &&
    listening != 0;
}

static void
note (int fd, int server)
{
  struct listener *listener = &listeners[listener_count];

  if (listener_count == LISTENERS_MAX || !is_listening (fd) ||
      !get_address (fd, &listener->address, &listener->length) ||
      find (&listener->address, listener->length) != NULL)
    return;
  listener->server = server != 0;
  listener_count++;
}

static void
shut (int fd, int how)
{
  const struct listener *listener;
  union address address;
  socklen_t length;

  if (!get_address (fd, &address, &length))
    return;
  listener = find (&address, length);
  if (listener != NULL && listener->server && !is_listening (fd))
    shutdown (fd, how);
}

static void
for_all_descriptors (void (*call) (int fd, int argument), int argument)
{
  DIR *folder = opendir ("/proc/self/fd");
  const struct dirent *entry;

  if (folder == NULL)
    return;
  while ((entry = readdir (folder)) != NULL)
    if (entry->d_name[0] != '.')
      call (atoi (entry->d_name), argument);
  closedir (folder);
}

void
hangup_note (bool server)
{
  for_all_descriptors (note, server);
}

/* ---------------------------------------------------------- the watch */

static void
pause_ms (unsigned ms)
{
  const struct timespec pause = { .tv_nsec = (long) ms * 1000000 };

  nanosleep (&pause, NULL);
}

static void *
watch (void *opaque)
{
  unsigned passed_ms = 0;

  (void) opaque;
  while (!atomic_load (&done) && nbdkit_nanosleep (WATCH_SECONDS, 0) == 0)
    ;
  /* Again and again: one may have been accepted just before. */
  while (!atomic_load (&done)) {
    for_all_descriptors (shut, passed_ms < PATIENCE_MS ? SHUT_RD : SHUT_RDWR);
    pause_ms (LOOK_MS);
    passed_ms += LOOK_MS;
    if (passed_ms == PATIENCE_MS)
      stop_requests ();
  }
  return NULL;
}

int
hangup_start (void (*stop) (void))
{
  int error;

  hangup_note (true);
  stop_requests = stop;
  error = thread_start (&thread, "duet-hangup", watch, NULL);
  running = error == 0;
  errno = error;
  return running ? 0 : -1;
}

void
hangup_stop (void)
{
  if (!running)
    return;
  atomic_store (&done, true);
  /* It may end for another reason than the server's quitting. */
  nbdkit_shutdown ();
  pthread_join (thread, NULL);
  running = false;
}
