/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * http.c: the HTTP server, on libmicrohttpd.
 *
 * libmicrohttpd parses and writes, and is driven from one thread here, so
 * that a connection's whole life can have a bound: a list has all of them
 * and when they were accepted, and those that are too old are shut down.
 * There is no keep-alive, hence no connection that only waits.
 *
 * A page of somebody else's, in a browser on this machine, may send
 * requests to loopback by a name of its own that suddenly stands for it
 * (DNS rebinding), and could read the answers.  So a server on loopback
 * answers only who calls it by a number or localhost.
 *
 * Must never change anything for a client that asks.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "http.h"
#include "listener.h"
#include "thread.h"

enum {
  HOST_MAX = 64, /* no number is longer */
  LINE = 1024,
  ACCEPT_AGAIN_MS = 100, /* after accept failed for want of something */
};

/* A connection, known to libmicrohttpd as its socket context. */
struct visitor {
  LIST_ENTRY (visitor) entry;
  struct http *http;
  int fd;
  uint64_t began_ms;
  bool shut;
};

struct http {
  struct http_config config;
  int listener; /* libmicrohttpd's once there is a daemon */
  int wake;     /* readable from http_stop on */
  pthread_t thread;
  bool running;
  /* The thread's: */
  struct MHD_Daemon *daemon;
  uint64_t accepted;
  LIST_HEAD (, visitor) visitors;
};

static uint64_t
now_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* -------------------------------------------------------------- answers */

void
http_say (struct http_answer *answer, const char *type, char *text,
          size_t length)
{
  if (text == NULL) {
    http_line (answer, MHD_HTTP_INTERNAL_SERVER_ERROR, "out of memory");
    return;
  }
  answer->status = MHD_HTTP_OK;
  answer->type = type;
  answer->text = text;
  answer->length = length;
}

void
http_line (struct http_answer *answer, unsigned status, const char *format, ...)
{
  char line[LINE];
  va_list args;

  va_start (args, format);
  vsnprintf (line, sizeof line - 1, format, args);
  va_end (args);
  strcat (line, "\n");
  answer->status = status;
  answer->type = "text/plain; charset=utf-8";
  answer->text = strdup (line);
  answer->length = answer->text != NULL ? strlen (line) : 0;
}

static struct MHD_Response *
response_of (struct http_answer *answer)
{
  /* libmicrohttpd takes a buffer that may be changed, and does not. */
  if (answer->text == NULL)
    return MHD_create_response_from_buffer (
      answer->length, (void *) answer->constant, MHD_RESPMEM_PERSISTENT);

  struct MHD_Response *response = MHD_create_response_from_buffer (
    answer->length, answer->text, MHD_RESPMEM_MUST_FREE);
  if (response == NULL)
    free (answer->text);
  return response;
}

static enum MHD_Result
send_answer (struct MHD_Connection *connection, struct http_answer *answer)
{
  const char *policy = answer->policy != NULL
    ? answer->policy
    : "default-src 'none'; frame-ancestors 'none'";
  const char *headers[][2] = {
    { "Content-Type", answer->type },
    { "Content-Security-Policy", policy },
    { "X-Content-Type-Options", "nosniff" },
    { "Referrer-Policy", "no-referrer" },
    { "Cross-Origin-Resource-Policy", "same-origin" },
    { "Cache-Control", "no-store" },
    { "Connection", "close" },
  };
  struct MHD_Response *response = response_of (answer);
  enum MHD_Result result = MHD_YES;

  if (response == NULL)
    return MHD_NO;
  for (size_t i = 0; i < sizeof headers / sizeof headers[0]; i++)
    if (result == MHD_YES && headers[i][1] != NULL)
      result = MHD_add_response_header (response, headers[i][0], headers[i][1]);
  if (result == MHD_YES && answer->status == MHD_HTTP_METHOD_NOT_ALLOWED)
    result = MHD_add_response_header (response, "Allow", "GET, HEAD");
  if (result == MHD_YES)
    result = MHD_queue_response (connection, answer->status, response);
  MHD_destroy_response (response);
  return result;
}

/* ------------------------------------------------------------- requests */

/* Is HOST, of a request's header, a number or localhost? */
static bool
is_of_here (const char *host)
{
  uint8_t bytes[sizeof (struct in6_addr)];
  size_t length = strcspn (host, host[0] == '[' ? "]" : ":");
  char text[HOST_MAX + 1];

  if (host[0] == '[') {
    host++;
    length--;
  }
  if (length > HOST_MAX)
    return false;
  memcpy (text, host, length);
  text[length] = '\0';
  return strcasecmp (text, "localhost") == 0 ||
    inet_pton (AF_INET, text, bytes) == 1 ||
    inet_pton (AF_INET6, text, bytes) == 1;
}

/* 0 without; false when it is no number. */
static bool
read_after (struct MHD_Connection *connection, uint64_t *after)
{
  const char *text = MHD_lookup_connection_value (
    connection, MHD_GET_ARGUMENT_KIND, "after");
  char *end;

  *after = 0;
  if (text == NULL)
    return true;
  if (text[0] < '0' || text[0] > '9')
    return false;
  errno = 0;
  *after = strtoull (text, &end, 10);
  return *end == '\0' && errno == 0 && *after <= INT64_MAX;
}

static const char *
header (struct MHD_Connection *connection, const char *name)
{
  const char *value = MHD_lookup_connection_value (connection, MHD_HEADER_KIND,
                                                   name);
  return value != NULL ? value : "";
}

static enum MHD_Result
on_request (void *opaque, struct MHD_Connection *connection, const char *path,
            const char *method, const char *version, const char *data,
            size_t *size, void **context)
{
  struct http *http = opaque;
  struct http_request request = { .path = path };
  struct http_answer answer = { .status = MHD_HTTP_NOT_FOUND };
  const char *host = header (connection, "Host");

  (void) version;
  (void) data;
  (void) size;
  (void) context;
  if (strcmp (method, "GET") != 0 && strcmp (method, "HEAD") != 0)
    http_line (&answer, MHD_HTTP_METHOD_NOT_ALLOWED,
               "nothing can be changed here: GET or HEAD only");
  else if (!http->config.expose && host[0] != '\0' && !is_of_here (host))
    http_line (&answer, MHD_HTTP_MISDIRECTED_REQUEST,
               "this server is on loopback: call it localhost, or by its "
               "number (or give the plugin http-expose=yes)");
  else if (!read_after (connection, &request.after))
    http_line (&answer, MHD_HTTP_BAD_REQUEST, "after= is a number");
  else {
    request.openmetrics = strstr (header (connection, "Accept"),
                                  "application/openmetrics-text") != NULL;
    http->config.answer (http->config.opaque, &request, &answer);
    if (answer.type == NULL)
      http_line (&answer, MHD_HTTP_NOT_FOUND, "there is no such page here");
  }
  return send_answer (connection, &answer);
}

/* ---------------------------------------------------------- connections */

static void
on_connection (void *opaque, struct MHD_Connection *connection, void **context,
               enum MHD_ConnectionNotificationCode code)
{
  struct http *http = opaque;
  struct visitor *visitor = *context;
  const union MHD_ConnectionInfo *info;

  if (code == MHD_CONNECTION_NOTIFY_CLOSED) {
    if (visitor != NULL) {
      LIST_REMOVE (visitor, entry);
      free (visitor);
    }
    return;
  }
  http->accepted++;
  info = MHD_get_connection_info (connection,
                                  MHD_CONNECTION_INFO_CONNECTION_FD);
  visitor = calloc (1, sizeof *visitor);
  *context = visitor;
  if (visitor == NULL) {
    /* Without a bound it must not live. */
    shutdown (info->connect_fd, SHUT_RDWR);
    return;
  }
  visitor->http = http;
  visitor->fd = info->connect_fd;
  visitor->began_ms = now_ms ();
  LIST_INSERT_HEAD (&http->visitors, visitor, entry);
}

/* libmicrohttpd sees the end of the socket and closes it; what is still to
 * be sent is thrown away then, or the kernel would keep it for a client
 * that does not read.
 */
static void
shut_old (struct http *http, uint64_t now)
{
  const struct linger none = { .l_onoff = 1 };
  struct visitor *visitor;

  LIST_FOREACH (visitor, &http->visitors, entry)
  if (!visitor->shut && now >= visitor->began_ms + http->config.life_ms) {
    visitor->shut = true;
    setsockopt (visitor->fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    shutdown (visitor->fd, SHUT_RDWR);
  }
}

/* Let libmicrohttpd work.  When nobody was connected and nobody came, what
 * woke us is a client that could not be accepted (no descriptor, no memory),
 * and would go on waking us.
 */
static void
work (struct http *http, struct pollfd *wake, bool woken)
{
  bool was_empty = LIST_EMPTY (&http->visitors);
  uint64_t accepted = http->accepted;

  MHD_run (http->daemon);
  if (woken && was_empty && http->accepted == accepted)
    poll (wake, 1, ACCEPT_AGAIN_MS);
}

static void *
run (void *opaque)
{
  struct http *http = opaque;
  const union MHD_DaemonInfo *info = MHD_get_daemon_info (
    http->daemon, MHD_DAEMON_INFO_EPOLL_FD);
  struct pollfd polled[] = {
    { .fd = http->wake, .events = POLLIN },
    { .fd = info->epoll_fd, .events = POLLIN },
  };
  uint64_t tick_ms = now_ms ();

  for (;;) {
    uint64_t now = now_ms ();
    MHD_UNSIGNED_LONG_LONG wait_ms = HTTP_TICK_MS, wanted_ms;

    if (now >= tick_ms) {
      if (http->config.tick != NULL)
        http->config.tick (http->config.opaque);
      shut_old (http, now);
      tick_ms += HTTP_TICK_MS;
      if (tick_ms <= now) /* it was stopped for a while */
        tick_ms = now + HTTP_TICK_MS;
    }
    if (tick_ms - now < wait_ms)
      wait_ms = tick_ms - now;
    if (MHD_get_timeout (http->daemon, &wanted_ms) == MHD_YES &&
        wanted_ms < wait_ms)
      wait_ms = wanted_ms;
    poll (polled, 2, (int) wait_ms);
    if (polled[0].revents != 0)
      return NULL;
    work (http, &polled[0], polled[1].revents != 0);
    if (polled[0].revents != 0)
      return NULL;
  }
}

/* ----------------------------------------------------------- life cycle */

/* The listening socket, or -1 with a message. */
static int
listen_at (const struct http_config *config, char *error, size_t error_size)
{
  struct addrinfo *addresses = address_resolve (config->address, 1, error,
                                                error_size);
  int fd = -1;

  if (addresses == NULL)
    return -1;
  if (!config->expose && !address_is_loopback (addresses))
    snprintf (error, error_size,
              "http=%s: that leads out of this machine, and there is neither "
              "a password nor TLS: use a loopback address, or say "
              "http-expose=yes",
              config->address);
  else if (listener_open_all (addresses, "http", config->address, &fd, 1, error,
                              error_size) == -1)
    fd = -1;
  freeaddrinfo (addresses);
  return fd;
}

struct http *
http_new (const struct http_config *config, char *error, size_t error_size)
{
  struct http *http = calloc (1, sizeof *http);

  snprintf (error, error_size, "http=%s: out of memory", config->address);
  if (http == NULL)
    return NULL;
  http->config = *config;
  if (config->life_ms == 0)
    http->config.life_ms = HTTP_LIFE_MS;
  http->listener = http->wake = -1;
  LIST_INIT (&http->visitors);
  http->listener = listen_at (config, error, error_size);
  if (http->listener != -1) {
    http->wake = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (http->wake != -1)
      return http;
    snprintf (error, error_size, "http=%s: %m", config->address);
  }
  http_free (http);
  return NULL;
}

int
http_start (struct http *http)
{
  errno = 0;
  http->daemon = MHD_start_daemon (
    MHD_USE_EPOLL, 0, NULL, NULL, on_request, http, MHD_OPTION_LISTEN_SOCKET,
    http->listener, MHD_OPTION_CONNECTION_LIMIT, (unsigned) HTTP_CONNECTIONS,
    MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t) HTTP_MEMORY,
    MHD_OPTION_NOTIFY_CONNECTION, on_connection, http, MHD_OPTION_END);
  if (http->daemon == NULL) {
    if (errno == 0)
      errno = ENOMEM;
    return -1;
  }
  http->listener = -1;

  int failed = thread_start (&http->thread, "duet-http", run, http);
  errno = failed;
  http->running = failed == 0;
  return failed == 0 ? 0 : -1;
}

void
http_stop (struct http *http)
{
  if (http->running) {
    eventfd_write (http->wake, 1);
    pthread_join (http->thread, NULL);
    http->running = false;
  }
  if (http->daemon != NULL)
    MHD_stop_daemon (http->daemon);
  http->daemon = NULL;
}

void
http_free (struct http *http)
{
  if (http == NULL)
    return;
  http_stop (http);
  if (http->listener != -1)
    close (http->listener);
  if (http->wake != -1)
    close (http->wake);
  free (http);
}
