/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-control.c: the control socket: what is answered to good and bad
 * requests, and whose socket is replaced.
 */
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>
#include <time.h>

#include "check-control.h"

static int
connect_control (void)
{
  struct timeval patience = { .tv_sec = PATIENCE_S };
  struct sockaddr_un address;
  int fd = make_socket (&address);

  setsockopt (fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  ck_assert_int_eq (connect (fd, (struct sockaddr *) &address, sizeof address),
                    0);
  return fd;
}

/* The one line that comes back, then the end; NULL: no line.  Closes FD. */
static json_t *
receive_answer (int fd)
{
  static char answer[ANSWER_BYTES];
  size_t length = 0;
  ssize_t got;

  while ((got = recv (fd, answer + length, sizeof answer - length, 0)) > 0)
    length += (size_t) got;
  /* A reset is an end too: it had not read all that we sent. */
  ck_assert_msg (got == 0 || errno == ECONNRESET, "%s", strerror (errno));
  close (fd);
  if (length == 0)
    return NULL;
  ck_assert_int_eq (answer[length - 1], '\n');
  ck_assert_ptr_eq (memchr (answer, '\n', length), answer + length - 1);

  json_t *json = json_loadb (answer, length, JSON_REJECT_DUPLICATES, NULL);
  ck_assert_ptr_nonnull (json);
  return json;
}

static json_t *
ask (const char *request, size_t length)
{
  int fd = connect_control ();

  send_bytes (fd, request, length);
  return receive_answer (fd);
}

static const char status_request[] = "{\"command\": \"status\"}\n";

static json_t *
ask_status (void)
{
  return ask (status_request, sizeof status_request - 1);
}

static void
check_serves (void)
{
  json_t *answer = ask_status ();

  ck_assert_ptr_null (json_object_get (answer, "error"));
  ck_assert_str_eq (json_string_value (json_object_get (answer, "state")),
                    "primary");
  json_decref (answer);
}

static void
check_error (json_t *answer, const char *part)
{
  const char *text = json_string_value (json_object_get (answer, "error"));

  ck_assert_ptr_nonnull (text);
  ck_assert_msg (strstr (text, part) != NULL, "\"%s\" lacks \"%s\"", text,
                 part);
  json_decref (answer);
}

/* -------------------------------------------------------------- answers */

START_TEST (status_has_the_keys_and_values)
{
  json_t *answer;
  json_t *expected;

  fake.view.paused = true;
  start_control ();
  answer = ask_status ();
  ck_assert_int_gt (json_integer_value (json_object_get (answer, "rss_bytes")),
                    4096);
  json_object_set_new (answer, "rss_bytes", json_null ());
  expected = json_loads (
    "{\"volume\": \"0000000000000abc\", \"node\": \"0000000000001111\","
    " \"state\": \"primary\", \"reason\": \"the peer is in sync\","
    " \"serving\": true,"
    " \"generation\": {\"epoch\": 7, \"id\": \"0000000000000077\"},"
    " \"members\": [\"0000000000001111\", \"fedcba9876543210\"],"
    " \"peer\": {\"node\": \"fedcba9876543210\","
    "  \"address\": \"127.0.0.1:7001\", \"connected\": true,"
    "  \"state\": \"backup\"},"
    " \"dirty_bytes\": 2048,"
    " \"resync\": {\"active\": true, \"done_bytes\": 1024,"
    "  \"total_bytes\": 3072, \"bytes_per_second\": 512},"
    " \"diverged\": null, \"verify\": null,"
    " \"requests\": {"
    "  \"read\": {\"count\": 0, \"bytes\": 0, \"errors\": 0,"
    "   \"p50_us\": 0, \"p99_us\": 0, \"max_us\": 0},"
    "  \"write\": {\"count\": 5, \"bytes\": 20480, \"errors\": 1,"
    "   \"p50_us\": 100, \"p99_us\": 1500, \"max_us\": 2000000},"
    "  \"trim\": {\"count\": 0, \"bytes\": 0, \"errors\": 0,"
    "   \"p50_us\": 0, \"p99_us\": 0, \"max_us\": 0},"
    "  \"zero\": {\"count\": 0, \"bytes\": 0, \"errors\": 0,"
    "   \"p50_us\": 0, \"p99_us\": 0, \"max_us\": 0},"
    "  \"flush\": {\"count\": 0, \"bytes\": 0, \"errors\": 0,"
    "   \"p50_us\": 0, \"p99_us\": 0, \"max_us\": 0},"
    "  \"extents\": {\"count\": 0, \"bytes\": 0, \"errors\": 0,"
    "   \"p50_us\": 0, \"p99_us\": 0, \"max_us\": 0},"
    "  \"cache\": {\"count\": 0, \"bytes\": 0, \"errors\": 0,"
    "   \"p50_us\": 0, \"p99_us\": 0, \"max_us\": 0}},"
    " \"size_bytes\": 274877906944, \"rss_bytes\": null,"
    " \"fdatasyncs\": 2, \"sync_callers\": 5,"
    " \"fdatasync\": {\"p50_us\": 300, \"p99_us\": 4000, \"max_us\": 5000,"
    "  \"group_p50\": 2, \"group_p99\": 3, \"group_max\": 4},"
    " \"healthy\": true, \"connections\": 16, \"in_flight\": 3,"
    " \"link\": {\"tls\": null, \"rtt_us\": 250,"
    "  \"bytes_sent\": 1, \"bytes_received\": 2,"
    "  \"frames_sent\": 3, \"frames_received\": 4, \"sends\": 5,"
    "  \"receives\": 6},"
    " \"arbiter\": {\"kind\": \"etcd\", \"reached\": false,"
    "  \"reason\": \"http://x: no answer in time\", \"attempt\": \"join\","
    "  \"lease_left_ms\": 500, \"grace_left_ms\": 0},"
    " \"paused\": \"this\","
    " \"durability\": \"write\", \"unflushed_bytes\": 0,"
    " \"resize\": null, \"growing_to_bytes\": null}",
    0, NULL);
  ck_assert_ptr_nonnull (expected);
  ck_assert_int_eq (json_equal (answer, expected), 1);
  json_decref (expected);
  json_decref (answer);
}
END_TEST

/* A node that has met nobody, with nothing that could be told. */
START_TEST (status_of_a_blank_node)
{
  json_t *answer;
  json_t *peer;

  memset (&fake, 0, sizeof fake);
  fake.view.record.node = 1;
  fake.view.record.volume = 0;
  memcpy (fake.peer_address, "\xff\xfe", 3);
  start_control ();
  answer = ask_status ();
  ck_assert (json_is_null (json_object_get (answer, "volume")));
  ck_assert (json_is_null (json_object_get (answer, "resync")));
  ck_assert (json_is_false (json_object_get (answer, "serving")));
  ck_assert (json_is_array (json_object_get (answer, "members")));
  ck_assert_uint_eq (json_array_size (json_object_get (answer, "members")), 0);
  peer = json_object_get (answer, "peer");
  ck_assert (json_is_null (json_object_get (peer, "node")));
  ck_assert (json_is_null (json_object_get (peer, "address")));
  ck_assert (json_is_false (json_object_get (peer, "connected")));
  ck_assert (json_is_null (json_object_get (peer, "state")));
  ck_assert (json_is_null (json_object_get (answer, "paused")));
  ck_assert_uint_eq (json_object_size (json_object_get (answer, "arbiter")), 1);
  json_decref (answer);
}
END_TEST

START_TEST (figures_too_large_for_json_are_cut)
{
  json_t *answer;
  json_t *resync;

  /* More than there is to do: nothing is done. */
  fake.view.dirty_bytes = UINT64_MAX;
  fake.view.record.both = false;
  start_control ();
  answer = ask_status ();
  ck_assert_int_eq (
    json_integer_value (json_object_get (answer, "dirty_bytes")), INT64_MAX);
  resync = json_object_get (answer, "resync");
  ck_assert_int_eq (json_integer_value (json_object_get (resync, "done_bytes")),
                    0);
  ck_assert_uint_eq (json_array_size (json_object_get (answer, "members")), 1);
  json_decref (answer);
}
END_TEST

static const struct {
  const char *after;
  size_t first, count;
} follow_ups[] = { { "0", 1, 2 }, { "1", 2, 1 }, { "2", 3, 0 }, { "7", 1, 2 } };

START_TEST (events_are_told_from_where_one_is)
{
  char line[128];
  json_t *answer, *events, *event;
  int length;

  start_control ();
  length = snprintf (line, sizeof line,
                     "{\"command\": \"events\", \"after\": %s}\n",
                     follow_ups[_i].after);
  answer = ask (line, (size_t) length);
  ck_assert_str_eq (json_string_value (json_object_get (answer, "boot")),
                    "000000000000b007");
  events = json_object_get (answer, "events");
  ck_assert_uint_eq (json_array_size (events), follow_ups[_i].count);
  if (follow_ups[_i].count > 0) {
    event = json_array_get (events, follow_ups[_i].count - 1);
    ck_assert_int_eq (json_integer_value (json_object_get (event, "number")),
                      2);
    ck_assert_str_eq (json_string_value (json_object_get (event, "state")),
                      "solo");
    ck_assert_str_eq (json_string_value (json_object_get (event, "text")),
                      "alone");
  }
  json_decref (answer);
}
END_TEST

static const struct {
  const char *line;
  const char *error;
} bad_lines[] = {
  { "\x01\xff\x80 garbage\n", "not a JSON object" },
  { "status\n", "not a JSON object" },
  { "\"status\"\n", "not a JSON object" },
  { "[]\n", "not a JSON object" },
  { "{\"command\": \"status\"\n", "not a JSON object" },
  { "{\"command\": \"status\"} {}\n", "not a JSON object" },
  { "{\"command\": \"status\", \"command\": \"status\"}\n",
    "not a JSON object" },
  { "{}\n", "no \"command\"" },
  { "{\"command\": 1}\n", "no \"command\"" },
  { "{\"command\": \"nonsense\"}\n", "no command \"nonsense\"" },
  { "{\"command\": \"\"}\n", "no command \"\"" },
  { "{\"command\": \"status\", \"force\": true}\n", "no arguments" },
  { "{\"command\": \"events\", \"after\": -1}\n", "\"after\", a number" },
  { "{\"command\": \"events\", \"after\": \"1\"}\n", "\"after\", a number" },
  { "{\"command\": \"verify\", \"rate\": -1}\n", "bytes per second" },
  { "{\"command\": \"promote\"}\n", "must be true" },
  { "{\"command\": \"promote\", \"force\": false}\n", "must be true" },
  { "{\"command\": \"discard\", \"yes\": true}\n", "discard takes no" },
  { "{\"command\": \"pause\", \"yes\": true}\n", "pause takes no" },
  { "{\"command\": \"resume\", \"yes\": true}\n", "resume takes no" },
  { "{\"command\": \"resync\"}\n", "must be true" },
  { "{\"command\": \"resync\", \"full\": false}\n", "must be true" },
  { "{\"command\": \"switchover\", \"to\": 1}\n", "\"to\", a string" },
  { "{\"command\": \"switchover\", \"now\": true}\n", "\"to\", a string" },
  { "{\"command\": \"switchover\", \"to\": \"me\"}\n", "\"this\" node" },
};

START_TEST (bad_lines_are_answered)
{
  start_control ();
  check_error (ask (bad_lines[_i].line, strlen (bad_lines[_i].line)),
               bad_lines[_i].error);
  check_serves ();
}
END_TEST

START_TEST (zero_bytes_are_answered)
{
  static const char line[] = "{\"command\": \0\"status\"}\n";

  start_control ();
  check_error (ask (line, sizeof line - 1), "not a JSON object");
  check_serves ();
}
END_TEST

/* The newline may be missing at the end of what is sent, and a line may
 * come in pieces; what comes after it is nobody's.
 */
START_TEST (lines_end_in_several_ways)
{
  int fd;
  json_t *answer;

  start_control ();
  fd = connect_control ();
  send_bytes (fd, status_request, sizeof status_request - 2);
  ck_assert_int_eq (shutdown (fd, SHUT_WR), 0);
  answer = receive_answer (fd);
  ck_assert_ptr_null (json_object_get (answer, "error"));
  json_decref (answer);

  fd = connect_control ();
  for (size_t i = 0; i < sizeof status_request - 1; i++)
    send_bytes (fd, &status_request[i], 1);
  answer = receive_answer (fd);
  ck_assert_ptr_null (json_object_get (answer, "error"));
  json_decref (answer);

  answer = ask ("{\"command\": \"status\"}\r\n{}\n", 26);
  ck_assert_ptr_null (json_object_get (answer, "error"));
  json_decref (answer);
}
END_TEST

START_TEST (lines_have_a_limit)
{
  static char line[2 * LINE_BYTES];
  json_t *answer;

  start_control ();
  memset (line, ' ', sizeof line);
  check_error (ask (line, LINE_BYTES), "longer than 4096 bytes");
  check_error (ask (line, sizeof line), "longer than 4096 bytes");

  /* The longest that is still taken, newline and all. */
  memcpy (line, status_request, sizeof status_request - 2);
  line[LINE_BYTES - 1] = '\n';
  answer = ask (line, LINE_BYTES);
  ck_assert_ptr_null (json_object_get (answer, "error"));
  json_decref (answer);
}
END_TEST

START_TEST (clients_that_hang_up_do_no_harm)
{
  start_control ();
  for (int i = 0; i < 50; i++) {
    int fd = connect_control ();

    if (i % 2 == 0)
      send_bytes (fd, status_request, sizeof status_request - 1);
    close (fd);
  }
  check_serves ();
}
END_TEST

/* Two clients that say nothing: the third waits, but is served, and they
 * are told why they are sent away.
 */
START_TEST (slow_clients_do_not_block_others)
{
  int silent, slow;

  start_control ();
  silent = connect_control ();
  slow = connect_control ();
  send_bytes (slow, status_request, 5);
  check_serves ();
  check_error (receive_answer (silent), "in time");
  check_error (receive_answer (slow), "in time");
}
END_TEST

START_TEST (stop_does_not_wait_for_clients)
{
  struct timespec before, after;
  int silent;

  start_control ();
  silent = connect_control ();
  check_serves ();
  close (silent);
  silent = connect_control ();
  clock_gettime (CLOCK_MONOTONIC, &before);
  control_stop (control);
  clock_gettime (CLOCK_MONOTONIC, &after);
  ck_assert_int_le (after.tv_sec - before.tv_sec, PATIENCE_S);
  ck_assert_int_eq (access (path, F_OK), -1);
  close (silent);
}
END_TEST

/* ----------------------------------------------------------- the socket */

START_TEST (only_the_owner_may_connect)
{
  mode_t mask = umask (0);
  struct stat found;

  start_control ();
  ck_assert_int_eq (umask (mask), 0);
  ck_assert_int_eq (lstat (path, &found), 0);
  ck_assert (S_ISSOCK (found.st_mode));
  ck_assert_uint_eq (found.st_mode & 07777, 0600);
}
END_TEST

START_TEST (a_stale_socket_is_replaced)
{
  struct sockaddr_un address;
  int fd = make_socket (&address);

  ck_assert_int_eq (bind (fd, (struct sockaddr *) &address, sizeof address), 0);
  ck_assert_int_eq (listen (fd, 1), 0);
  close (fd);
  ck_assert_int_eq (access (path, F_OK), 0);
  start_control ();
  check_serves ();
}
END_TEST

START_TEST (a_live_socket_is_left_alone)
{
  start_control ();
  ck_assert_ptr_null (control_new (path, NULL, message, sizeof message));
  ck_assert_msg (strstr (message, path) != NULL, "%s", message);
  ck_assert_msg (strstr (message, "running") != NULL, "%s", message);
  check_serves ();
}
END_TEST

START_TEST (a_file_is_left_alone)
{
  int fd = open (path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

  ck_assert_int_ne (fd, -1);
  close (fd);
  ck_assert_ptr_null (control_new (path, NULL, message, sizeof message));
  ck_assert_msg (strstr (message, "not a socket") != NULL, "%s", message);
  ck_assert_int_eq (unlink (path), 0);
}
END_TEST

START_TEST (another_socket_is_not_unlinked)
{
  struct control *other;

  start_control ();
  ck_assert_int_eq (unlink (path), 0);
  other = control_new (path, NULL, message, sizeof message);
  ck_assert_msg (other != NULL, "%s", message);
  control_free (control);
  control = other;
  ck_assert_int_eq (control_start (control), 0);
  check_serves ();
}
END_TEST

START_TEST (bad_paths_are_refused)
{
  char long_path[200];

  memset (long_path, 'x', sizeof long_path);
  long_path[sizeof long_path - 1] = '\0';
  ck_assert_ptr_null (control_new (long_path, NULL, message, sizeof message));
  ck_assert_msg (strstr (message, "107 bytes") != NULL, "%s", message);
  ck_assert_ptr_null (control_new ("", NULL, message, sizeof message));
  ck_assert_ptr_null (
    control_new ("/nonexistent/control", NULL, message, sizeof message));
  ck_assert_msg (strstr (message, strerror (ENOENT)) != NULL, "%s", message);
}
END_TEST

START_TEST (never_started_leaves_nothing)
{
  control = control_new (path, NULL, message, sizeof message);
  ck_assert_msg (control != NULL, "%s", message);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("control");
  TCase *tcase = tcase_create ("control");
  SRunner *runner;
  int failed;

  suite_add_tcase (suite, tcase);
  tcase_set_timeout (tcase, 2 * PATIENCE_S);
  tcase_add_checked_fixture (tcase, make_folder, remove_folder);
  tcase_add_test (tcase, status_has_the_keys_and_values);
  tcase_add_test (tcase, status_of_a_blank_node);
  tcase_add_test (tcase, figures_too_large_for_json_are_cut);
  tcase_add_loop_test (tcase, events_are_told_from_where_one_is, 0,
                       COUNT (follow_ups));
  tcase_add_loop_test (tcase, bad_lines_are_answered, 0, COUNT (bad_lines));
  tcase_add_test (tcase, zero_bytes_are_answered);
  tcase_add_test (tcase, lines_end_in_several_ways);
  tcase_add_test (tcase, lines_have_a_limit);
  tcase_add_test (tcase, clients_that_hang_up_do_no_harm);
  tcase_add_test (tcase, slow_clients_do_not_block_others);
  tcase_add_test (tcase, stop_does_not_wait_for_clients);
  tcase_add_test (tcase, only_the_owner_may_connect);
  tcase_add_test (tcase, a_stale_socket_is_replaced);
  tcase_add_test (tcase, a_live_socket_is_left_alone);
  tcase_add_test (tcase, a_file_is_left_alone);
  tcase_add_test (tcase, another_socket_is_not_unlinked);
  tcase_add_test (tcase, bad_paths_are_refused);
  tcase_add_test (tcase, never_started_leaves_nothing);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
