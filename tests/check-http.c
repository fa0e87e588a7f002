/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-http.c: the HTTP server as bad clients see it: who may ask for
 * what, how long, and what becomes of the others meanwhile (I9).
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "http.h"

enum { LIFE_MS = 700, ANSWER = 65536, PATIENCE_S = 20 };

static struct http *http;
static int port;
static atomic_uint ticks;

static void
answer (void *opaque, const struct http_request *request,
        struct http_answer *to)
{
  (void) opaque;
  if (strcmp (request->path, "/after") == 0)
    http_line (to, 200, "%llu %d", (unsigned long long) request->after,
               (int) request->openmetrics);
  else if (strcmp (request->path, "/constant") == 0)
    *to = (struct http_answer){
      .status = 200,
      .type = "text/html",
      .constant = "abc",
      .length = 3,
      .policy = "default-src 'self'",
    };
  else if (strcmp (request->path, "/big") == 0)
    http_say (to, "text/plain", calloc (1, 64 << 20), 64 << 20);
}

static void
tick (void *opaque)
{
  (void) opaque;
  atomic_fetch_add (&ticks, 1);
}

/* A port that nobody listens on. */
static int
free_port (void)
{
  struct sockaddr_in address = { .sin_family = AF_INET };
  socklen_t length = sizeof address;
  int fd = socket (AF_INET, SOCK_STREAM, 0);

  address.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
  ck_assert_int_eq (bind (fd, (struct sockaddr *) &address, length), 0);
  ck_assert_int_eq (getsockname (fd, (struct sockaddr *) &address, &length), 0);
  close (fd);
  return ntohs (address.sin_port);
}

static void
start (bool expose)
{
  struct http_config config = {
    .expose = expose, .life_ms = LIFE_MS, .answer = answer, .tick = tick
  };
  char address[64], error[256];

  port = free_port ();
  snprintf (address, sizeof address, "127.0.0.1:%d", port);
  config.address = address;
  http = http_new (&config, error, sizeof error);
  ck_assert_msg (http != NULL, "%s", error);
  ck_assert_int_eq (http_start (http), 0);
}

static void
setup (void)
{
  start (false);
}

static void
teardown (void)
{
  http_stop (http);
  http_free (http);
}

static int
socket_for (void)
{
  struct timeval patience = { .tv_sec = PATIENCE_S };
  int fd = socket (AF_INET, SOCK_STREAM, 0);

  setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  return fd;
}

static void
connect_to (int fd)
{
  struct sockaddr_in address = { .sin_family = AF_INET };

  address.sin_addr.s_addr = htonl (INADDR_LOOPBACK);
  address.sin_port = htons ((uint16_t) port);
  ck_assert_int_eq (connect (fd, (struct sockaddr *) &address, sizeof address),
                    0);
}

static int
dial (void)
{
  int fd = socket_for ();

  connect_to (fd);
  return fd;
}

/* All that comes until the server hangs up. */
static const char *
receive (int fd)
{
  static char text[ANSWER + 1];
  size_t length = 0;
  ssize_t got;

  while ((got = recv (fd, text + length, ANSWER - length, 0)) > 0)
    length += (size_t) got;
  ck_assert_msg (got == 0 || errno == ECONNRESET,
                 "the server does not end: %m");
  close (fd);
  text[length] = '\0';
  return text;
}

static const char *
ask (const char *request)
{
  int fd = dial ();

  ck_assert_int_eq (send (fd, request, strlen (request), MSG_NOSIGNAL),
                    (ssize_t) strlen (request));
  return receive (fd);
}

static void
check_status (const char *request, int status)
{
  const char *text = ask (request);
  char begin[32];

  snprintf (begin, sizeof begin, "HTTP/1.1 %d ", status);
  ck_assert_msg (strncmp (text, begin, strlen (begin)) == 0, "%s: %s", request,
                 text);
}

/* ------------------------------------------------------------ who may */

START_TEST (answers_have_their_headers)
{
  const char *text = ask ("GET /constant HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");

  ck_assert_ptr_nonnull (strstr (text, "\r\nContent-Type: text/html\r\n"));
  ck_assert_ptr_nonnull (
    strstr (text, "\r\nContent-Security-Policy: default-src 'self'\r\n"));
  ck_assert_ptr_nonnull (strstr (text, "\r\nCache-Control: no-store\r\n"));
  ck_assert_ptr_nonnull (
    strstr (text, "\r\nX-Content-Type-Options: nosniff\r\n"));
  ck_assert_ptr_nonnull (strstr (text, "\r\n\r\nabc"));
  text = ask ("HEAD /constant HTTP/1.1\r\nHost: x.localhost\r\n\r\n");
  ck_assert_ptr_nonnull (strstr (text, "HTTP/1.1 421 "));
  text = ask ("HEAD /constant HTTP/1.1\r\nHost: localhost:1\r\n\r\n");
  ck_assert_ptr_nonnull (strstr (text, "HTTP/1.1 200 "));
  ck_assert_ptr_nonnull (strstr (text, "\r\nContent-Length: 3\r\n"));
  ck_assert_ptr_null (strstr (text, "abc"));
  text = ask ("GET /other HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
  ck_assert_ptr_nonnull (strstr (text, "HTTP/1.1 404 "));
  ck_assert_ptr_nonnull (
    strstr (text, "Content-Security-Policy: default-src 'none'"));
}
END_TEST

START_TEST (only_get_and_head)
{
  static const char *const methods[] = { "POST",  "PUT", "DELETE", "OPTIONS",
                                         "PATCH", "get", "X" };
  char request[128];

  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
    snprintf (request, sizeof request,
              "%s /constant HTTP/1.1\r\nHost: localhost\r\n"
              "Content-Length: 3\r\n\r\nabc",
              methods[i]);
    check_status (request, 405);
  }
  ck_assert_ptr_nonnull (strstr (ask ("POST / HTTP/1.1\r\nHost: localhost\r\n"
                                      "Content-Length: 0\r\n\r\n"),
                                 "\r\nAllow: GET, HEAD\r\n"));
}
END_TEST

START_TEST (names_of_others_are_not_ours)
{
  check_status ("GET /constant HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421);
  check_status ("GET /constant HTTP/1.1\r\nHost: 127.0.0.1.evil\r\n\r\n", 421);
  check_status ("GET /constant HTTP/1.1\r\nHost: [x\r\n\r\n", 421);
  check_status ("GET /constant HTTP/1.1\r\nHost: 127.0.0.1:80\r\n\r\n", 200);
  check_status ("GET /constant HTTP/1.1\r\nHost: LOCALHOST\r\n\r\n", 200);
  teardown ();
  start (true);
  check_status ("GET /constant HTTP/1.1\r\nHost: evil.example\r\n\r\n", 200);
}
END_TEST

START_TEST (loopback_unless_told)
{
  struct http_config config = { .address = "0.0.0.0:1", .answer = answer };
  char error[256] = "", taken[64];

  ck_assert_ptr_null (http_new (&config, error, sizeof error));
  ck_assert_ptr_nonnull (strstr (error, "http=0.0.0.0:1: "));
  ck_assert_ptr_nonnull (strstr (error, "http-expose=yes"));
  snprintf (taken, sizeof taken, "127.0.0.1:%d", port);
  config.address = taken;
  ck_assert_ptr_null (http_new (&config, error, sizeof error));
  ck_assert_ptr_nonnull (strstr (error, "cannot listen there"));
  config.address = "localhost";
  ck_assert_ptr_null (http_new (&config, error, sizeof error));
  ck_assert_ptr_nonnull (strstr (error, "a port is missing"));
}
END_TEST

/* -------------------------------------------------------- bad requests */

START_TEST (arguments_are_checked)
{
  static const char get[] = " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  static const char *const bad[] = {
    "-1", "x", "", "1x", " 1", "9223372036854775808", "99999999999999999999"
  };
  char request[128];

  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    snprintf (request, sizeof request, "GET /after?after=%s%s",
              bad[i][0] == ' ' ? "%201" : bad[i], get);
    check_status (request, 400);
  }
  snprintf (request, sizeof request, "GET /after?after=12&x=y%s", get);
  ck_assert_ptr_nonnull (strstr (ask (request), "\r\n\r\n12 0\n"));
  ck_assert_ptr_nonnull (
    strstr (ask ("GET /after HTTP/1.1\r\nHost: localhost\r\n"
                 "Accept: application/openmetrics-text;version=1.0.0\r\n\r\n"),
            "\r\n\r\n0 1\n"));
}
END_TEST

START_TEST (garbage_ends_its_connection_only)
{
  static char text[3 * HTTP_MEMORY];

  memset (text, 'x', sizeof text - 1);
  ask ("\r\n\r\n\r\n");
  ask ("GET\r\n\r\n");
  ask ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n");
  ask ("GET / HTTP/9.9\r\n\r\n");
  ask ("GET /%zz%00%ff HTTP/1.1\r\nHost: localhost\r\n\r\n");

  /* Longer than there is memory for. */
  int fd = dial ();
  for (size_t sent = 0; sent < sizeof text;) {
    ssize_t n = send (fd, text + sent, sizeof text - 1 - sent, MSG_NOSIGNAL);

    if (n <= 0)
      break;
    sent += (size_t) n;
  }
  receive (fd);
  check_status ("GET /constant HTTP/1.1\r\nHost: localhost\r\n\r\n", 200);
}
END_TEST

/* ---------------------------------------------------------- slow ones */

/* More connections than there may be, none of which asks to its end: each
 * is ended, and who asks is answered in between.
 */
START_TEST (the_slow_do_not_shut_others_out)
{
  enum { SLOW = 2 * HTTP_CONNECTIONS };
  int slow[SLOW];

  for (unsigned i = 0; i < SLOW; i++) {
    slow[i] = dial ();
    ck_assert_int_eq (send (slow[i], "GET /con", 8, MSG_NOSIGNAL), 8);
  }
  check_status ("GET /constant HTTP/1.1\r\nHost: localhost\r\n\r\n", 200);
  for (unsigned i = 0; i < SLOW; i++)
    receive (slow[i]);
}
END_TEST

static void
wait_ticks (unsigned count)
{
  time_t until = time (NULL) + PATIENCE_S;
  unsigned before = atomic_load (&ticks);

  while (atomic_load (&ticks) < before + count) {
    ck_assert_int_lt (time (NULL), until);
    poll (NULL, 0, 20);
  }
}

/* Asked, and not read: 64 MiB do not fit into the sockets. */
START_TEST (who_does_not_read_is_ended)
{
  const char *request = "GET /big HTTP/1.1\r\nHost: localhost\r\n\r\n";
  static char part[1 << 20];
  size_t length = 0;
  ssize_t got;
  int fd = dial ();

  ck_assert_int_eq (send (fd, request, strlen (request), MSG_NOSIGNAL),
                    (ssize_t) strlen (request));
  /* Its life is over at the third. */
  wait_ticks (3);
  while ((got = recv (fd, part, sizeof part, 0)) > 0)
    length += (size_t) got;
  ck_assert (got == 0 || errno == ECONNRESET);
  ck_assert_uint_lt (length, 64 << 20);
  close (fd);
  check_status ("GET /constant HTTP/1.1\r\nHost: localhost\r\n\r\n", 200);
}
END_TEST

static double
cpu_seconds (void)
{
  struct timespec spent;

  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &spent);
  return (double) spent.tv_sec + (double) spent.tv_nsec / 1e9;
}

/* Who cannot be accepted waits, and keeps nobody busy. */
START_TEST (without_descriptors_it_rests)
{
  static const char request[] =
    "GET /constant HTTP/1.1\r\nHost: localhost\r\n\r\n";
  int fd = dial ();
  struct rlimit old, none;
  double before;

  close (fd);
  /* Between two of them the server has closed its end, too. */
  wait_ticks (2);
  ck_assert_int_eq (getrlimit (RLIMIT_NOFILE, &old), 0);
  fd = socket_for ();
  none = (struct rlimit){ (rlim_t) fd + 1, old.rlim_max };
  /* No gap below it. */
  for (int other = dup (fd); other != -1 && other < fd; other = dup (fd))
    ;
  ck_assert_int_eq (setrlimit (RLIMIT_NOFILE, &none), 0);
  connect_to (fd);
  before = cpu_seconds ();
  wait_ticks (3);
  ck_assert_double_lt (cpu_seconds () - before, 0.1);
  ck_assert_int_eq (setrlimit (RLIMIT_NOFILE, &old), 0);
  ck_assert_int_eq (send (fd, request, sizeof request - 1, MSG_NOSIGNAL),
                    sizeof request - 1);
  ck_assert_ptr_nonnull (strstr (receive (fd), "HTTP/1.1 200 "));
}
END_TEST

START_TEST (an_end_waits_for_nobody)
{
  int fd = dial ();

  ck_assert_int_eq (send (fd, "GET", 3, MSG_NOSIGNAL), 3);
  http_stop (http);
  receive (fd);
}
END_TEST

START_TEST (it_ticks)
{
  wait_ticks (2);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("http");
  TCase *tcase = tcase_create ("http");
  SRunner *runner;
  int failed;

  suite_add_tcase (suite, tcase);
  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_set_timeout (tcase, 4);
  tcase_add_test (tcase, answers_have_their_headers);
  tcase_add_test (tcase, only_get_and_head);
  tcase_add_test (tcase, names_of_others_are_not_ours);
  tcase_add_test (tcase, loopback_unless_told);
  tcase_add_test (tcase, arguments_are_checked);
  tcase_add_test (tcase, garbage_ends_its_connection_only);
  tcase_add_test (tcase, the_slow_do_not_shut_others_out);
  tcase_add_test (tcase, who_does_not_read_is_ended);
  tcase_add_test (tcase, without_descriptors_it_rests);
  tcase_add_test (tcase, an_end_waits_for_nobody);
  tcase_add_test (tcase, it_ticks);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
