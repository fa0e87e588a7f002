/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl-ask.c: one question to a node on its control socket, and what
 * to tell people when there is no answer.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "duetctl.h"

enum {
  ANSWER_BYTES = 1024 * 1024, /* longest answer */
  ANSWER_S = 10,              /* silence that ends the wait for it */
};

static bool silent;

void
complain (const char *format, ...)
{
  va_list arguments;

  if (silent)
    return;
  fflush (stdout);
  fprintf (stderr, "duetctl: ");
  va_start (arguments, format);
  vfprintf (stderr, format, arguments);
  va_end (arguments);
  fprintf (stderr, "\n");
}

/* ------------------------------------------------------ asking the node */

static void
complain_connect (const char *path, int failed)
{
  switch (failed) {
  case ENOENT:
    complain ("%s: there is no such socket.\n"
              "Is the node running, and was it started with control=%s?",
              path, path);
    break;
  case ECONNREFUSED:
    complain ("%s: nobody listens there.\n"
              "The node that made this socket has died: start it again.",
              path);
    break;
  case EACCES:
  case EPERM:
    complain ("%s: permission denied.\n"
              "Run duetctl as the user that runs the node, or as root.",
              path);
    break;
  case EAGAIN:
    complain ("%s: the node takes no more connections.\n"
              "Is it stopped, or are others asking all the time?",
              path);
    break;
  default: complain ("%s: %s", path, strerror (failed));
  }
}

/* A descriptor, or -1 after a message. */
static int
connect_node (const char *path)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  struct timeval wait = { .tv_sec = ANSWER_S };

  if (strlen (path) >= sizeof address.sun_path) {
    complain ("%s: the path of a socket has at most %zu bytes.", path,
              sizeof address.sun_path - 1);
    return -1;
  }
  strcpy (address.sun_path, path);

  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd == -1) {
    complain ("socket: %s", strerror (errno));
    return -1;
  }
  setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
  setsockopt (fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
  if (connect (fd, (const struct sockaddr *) &address, sizeof address) == -1) {
    complain_connect (path, errno);
    close (fd);
    return -1;
  }
  return fd;
}

/* The request is short: it fits into the socket's buffer as a whole. */
static bool
send_request (int fd, json_t *request)
{
  char *line = json_dumps (request, JSON_COMPACT);

  if (line == NULL)
    return false;

  struct iovec parts[] = {
    { .iov_base = line, .iov_len = strlen (line) },
    { .iov_base = (char[]){ '\n' }, .iov_len = 1 },
  };
  struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 };
  ssize_t sent = sendmsg (fd, &message, MSG_NOSIGNAL);
  bool whole = sent == (ssize_t) (parts[0].iov_len + 1);

  free (line);
  return whole;
}

/* One line, without its newline, in BUFFER.  False: errno, 0 for an end
 * without a line.
 */
static bool
receive_line (int fd, char *buffer, size_t *length)
{
  *length = 0;
  errno = 0;
  while (*length < ANSWER_BYTES) {
    ssize_t got = recv (fd, buffer + *length, ANSWER_BYTES - *length, 0);

    if (got == -1 && errno == EINTR)
      continue;
    if (got == -1)
      return false;
    if (got == 0) {
      errno = 0;
      return false;
    }
    char *end = memchr (buffer + *length, '\n', (size_t) got);
    if (end != NULL) {
      *length = (size_t) (end - buffer);
      return true;
    }
    *length += (size_t) got;
  }
  errno = EMSGSIZE;
  return false;
}

static void
complain_answer (const char *path, int failed)
{
  if (failed == EAGAIN)
    complain ("%s: no answer in %d s.\n"
              "Is the node stopped, or its disk hanging?",
              path, ANSWER_S);
  else if (failed == 0 || failed == ECONNRESET || failed == EPIPE)
    complain ("%s: the node hung up without an answer.\n"
              "It may be shutting down: try again, then look at its log.",
              path);
  else
    complain ("%s: %s", path, strerror (failed));
}

json_t *
ask (const char *path, json_t *request)
{
  char *buffer = malloc (ANSWER_BYTES);
  json_t *answer = NULL;
  size_t length;
  int fd = -1;

  if (buffer == NULL || request == NULL) {
    complain ("out of memory");
    goto out;
  }
  fd = connect_node (path);
  if (fd == -1)
    goto out;
  if (!send_request (fd, request) || !receive_line (fd, buffer, &length)) {
    complain_answer (path, errno);
    goto out;
  }
  answer = json_loadb (buffer, length, 0, NULL);
  if (!json_is_object (answer)) {
    complain ("%s: the answer makes no sense.\n"
              "Is this the control socket of a duet node?",
              path);
    json_decref (answer);
    answer = NULL;
  }

out:
  if (fd != -1)
    close (fd);
  free (buffer);
  json_decref (request);
  return answer;
}

json_t *
ask_quietly (const char *path, json_t *request)
{
  json_t *answer;

  silent = true;
  answer = ask (path, request);
  silent = false;
  return answer;
}

json_t *
ask_and_check (const char *path, json_t *request, int *status)
{
  json_t *answer = ask (path, request);

  *status = EXIT_UNREACHABLE;
  if (answer == NULL)
    return NULL;

  const char *refused = json_string_value (json_object_get (answer, "error"));
  *status = EXIT_OK;
  if (refused == NULL)
    return answer;
  complain ("the node says: %s", refused);
  *status = EXIT_REFUSED;
  json_decref (answer);
  return NULL;
}
