/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.c: the unix socket for the administrator.
 *
 * A client sends one line, a JSON object with "command", and gets one
 * line back: the answer, or {"error": SENTENCE} (commands.c).  One thread
 * serves one client after the other; nobody gets more than CLIENT_MS for a
 * request and as much for taking the answer, or more than LINE_BYTES of
 * memory, so that a bad client can delay the others but not shut them out.
 * A command itself may take as long as engine_admin does.
 *
 * The socket is the administrator's: only its owner may connect.  Two
 * processes that replace the same stale socket at the same moment can
 * take it away from each other; the lock on the metadata keeps two of
 * one node apart long before.
 */
#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "commands.h"
#include "control.h"
#include "thread.h"

enum {
  LINE_BYTES = 4096,     /* longest request, with its newline */
  CLIENT_MS = 1000,      /* for a request to come, for an answer to go */
  ACCEPT_AGAIN_MS = 100, /* after accept failed for want of something */
  BACKLOG = 16,
};

#define NEVER UINT64_MAX

struct control {
  struct engine *engine;
  int listener;
  int wake; /* readable from control_stop on */
  pthread_t thread;
  bool running;
  bool bound;
  struct sockaddr_un address;
  struct stat made; /* the socket file that we made */
};

/* -------------------------------------------------------------- clients */

static json_t *
on_line (struct control *control, const char *line, size_t length)
{
  json_t *request = json_loadb (line, length, JSON_REJECT_DUPLICATES, NULL);
  json_t *answer = commands_answer (control->engine, request);

  json_decref (request);
  return answer != NULL ? answer : commands_refusal ("out of memory");
}

static uint64_t
now_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

enum waited { WAIT_READY, WAIT_LATE, WAIT_STOPPED };

/* Until FD (-1: nothing) has EVENTS, DEADLINE has come, or control_stop
 * was called.
 */
static enum waited
wait_for (const struct control *control, int fd, short events,
          uint64_t deadline_ms)
{
  struct pollfd polled[] = {
    { .fd = control->wake, .events = POLLIN },
    { .fd = fd, .events = events },
  };

  for (;;) {
    uint64_t now = now_ms ();
    int timeout_ms = -1;

    if (deadline_ms != NEVER)
      timeout_ms = now < deadline_ms ? (int) (deadline_ms - now) : 0;
    poll (polled, 2, timeout_ms);
    if (polled[0].revents != 0)
      return WAIT_STOPPED;
    if (polled[1].revents != 0)
      return WAIT_READY;
    if (timeout_ms == 0)
      return WAIT_LATE;
  }
}

/* NULL and the line's LENGTH, or what to tell the client.  The client may
 * end the line with a newline or by sending no more.
 */
static const char *
receive_line (const struct control *control, int fd, char line[LINE_BYTES],
              size_t *length)
{
  uint64_t deadline_ms = now_ms () + CLIENT_MS;

  *length = 0;
  while (*length < LINE_BYTES) {
    switch (wait_for (control, fd, POLLIN, deadline_ms)) {
    case WAIT_LATE: return "the request did not come in time";
    case WAIT_STOPPED: return "the node is shutting down";
    case WAIT_READY: break;
    }

    ssize_t got = recv (fd, line + *length, LINE_BYTES - *length, 0);
    if (got == -1 && (errno == EAGAIN || errno == EINTR))
      continue;
    if (got <= 0)
      return NULL;

    const char *end = memchr (line + *length, '\n', (size_t) got);
    if (end != NULL) {
      *length = (size_t) (end - line);
      return NULL;
    }
    *length += (size_t) got;
  }
  return "the request is longer than 4096 bytes";
}

/* A client that does not take it by the deadline gets what went so far. */
static void
send_text (const struct control *control, int fd, const char *text,
           size_t length, uint64_t deadline_ms)
{
  while (length > 0) {
    ssize_t sent = send (fd, text, length, MSG_NOSIGNAL);

    if (sent >= 0) {
      text += sent;
      length -= (size_t) sent;
    }
    else if (errno == EAGAIN) {
      if (wait_for (control, fd, POLLOUT, deadline_ms) != WAIT_READY)
        return;
    }
    else if (errno != EINTR)
      return;
  }
}

static void
serve (struct control *control, int fd)
{
  char line[LINE_BYTES];
  size_t length;
  const char *fault = receive_line (control, fd, line, &length);
  json_t *answer;

  if (fault == NULL && length == 0)
    return; /* somebody looked whether we are alive */
  if (fault != NULL)
    answer = commands_refusal (fault);
  else
    answer = on_line (control, line, length);

  char *text = json_dumps (answer, JSON_COMPACT);
  uint64_t deadline_ms = now_ms () + CLIENT_MS;

  json_decref (answer);
  if (text == NULL)
    return;
  send_text (control, fd, text, strlen (text), deadline_ms);
  send_text (control, fd, "\n", 1, deadline_ms);
  free (text);
}

static void *
run (void *argument)
{
  struct control *control = argument;

  while (wait_for (control, control->listener, POLLIN, NEVER) == WAIT_READY) {
    int fd = accept4 (control->listener, NULL, NULL,
                      SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd != -1) {
      serve (control, fd);
      close (fd);
    }
    else if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
      /* No descriptor, no memory: it stays readable. */
      wait_for (control, -1, 0, now_ms () + ACCEPT_AGAIN_MS);
  }
  return NULL;
}

/* ----------------------------------------------------------- the socket */

/* May the file in our way be removed?  If not, ERROR says why. */
static bool
is_stale (const struct control *control, char *error, size_t error_size)
{
  const char *path = control->address.sun_path;
  struct stat found;

  /* Connecting to a plain file is refused just as by a dead socket. */
  if (lstat (path, &found) == 0 && !S_ISSOCK (found.st_mode)) {
    snprintf (error, error_size,
              "%s: this is not a socket: remove it, or choose another "
              "control=",
              path);
    return false;
  }

  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd == -1) {
    snprintf (error, error_size, "%s: %s", path, strerror (errno));
    return false;
  }
  int failed = 0;
  if (connect (fd, (const struct sockaddr *) &control->address,
               sizeof control->address) == -1)
    failed = errno;
  close (fd);
  if (failed == ECONNREFUSED || failed == ENOENT)
    return true;
  if (failed == 0 || failed == EAGAIN)
    snprintf (error, error_size,
              "%s: a running process listens there: stop it, or choose "
              "another control=",
              path);
  else
    snprintf (error, error_size, "%s: %s", path, strerror (failed));
  return false;
}

static int
bind_socket (struct control *control, char *error, size_t error_size)
{
  const struct sockaddr *address = (const struct sockaddr *) &control->address;
  const char *path = control->address.sun_path;
  int failed;

  /* The file gets the mode that the socket has at bind. */
  if (fchmod (control->listener, S_IRUSR | S_IWUSR) == -1)
    goto fail;
  failed = bind (control->listener, address, sizeof control->address);
  if (failed == -1 && errno == EADDRINUSE) {
    if (!is_stale (control, error, error_size))
      return -1;
    unlink (path);
    failed = bind (control->listener, address, sizeof control->address);
  }
  if (failed == -1)
    goto fail;
  control->bound = lstat (path, &control->made) == 0;
  /* Nobody can connect before this. */
  if (listen (control->listener, BACKLOG) == -1)
    goto fail;
  return 0;

fail:
  snprintf (error, error_size, "%s: %s", path, strerror (errno));
  return -1;
}

struct control *
control_new (const char *path, struct engine *engine, char *error,
             size_t error_size)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };

  if (path[0] == '\0' || strlen (path) >= sizeof address.sun_path) {
    snprintf (error, error_size,
              "control=%s: the path of a socket has 1 to %zu bytes", path,
              sizeof address.sun_path - 1);
    return NULL;
  }
  strcpy (address.sun_path, path);

  struct control *control = calloc (1, sizeof *control);
  if (control == NULL) {
    snprintf (error, error_size, "control=%s: out of memory", path);
    return NULL;
  }
  control->engine = engine;
  control->address = address;
  control->wake = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  control->listener = socket (AF_UNIX,
                              SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (control->wake == -1 || control->listener == -1)
    snprintf (error, error_size, "control=%s: %s", path, strerror (errno));
  else if (bind_socket (control, error, error_size) == 0)
    return control;
  control_free (control);
  return NULL;
}

int
control_start (struct control *control)
{
  int failed = thread_start (&control->thread, "duet-control", run, control);

  if (failed != 0) {
    errno = failed;
    return -1;
  }
  control->running = true;
  return 0;
}

void
control_stop (struct control *control)
{
  struct stat found;

  if (control->running) {
    eventfd_write (control->wake, 1);
    pthread_join (control->thread, NULL);
    control->running = false;
  }
  /* Only if it is still ours: it may have been removed and made anew. */
  if (control->bound && lstat (control->address.sun_path, &found) == 0 &&
      found.st_dev == control->made.st_dev &&
      found.st_ino == control->made.st_ino)
    unlink (control->address.sun_path);
  control->bound = false;
}

void
control_free (struct control *control)
{
  if (control == NULL)
    return;
  control_stop (control);
  if (control->listener != -1)
    close (control->listener);
  if (control->wake != -1)
    close (control->wake);
  free (control);
}
