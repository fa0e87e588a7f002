/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-connect.c: how a link comes to its connection, and whom it turns
 * away: dialling, crossing, replacing, and bad company on the port.
 */
#include "check-link.h"

/* --------------------------------------------------------- connecting */

START_TEST (connects_from_either_side)
{
  struct node a;
  struct node b;

  pair_start (&a, &b);
  for (int round = 0; round < 10; round++) {
    struct node *dialler = round % 2 == 0 ? &a : &b;
    struct node *other = round % 2 == 0 ? &b : &a;

    link_connect (dialler->link, PATIENCE_MS);
    WAIT (a.up != 0 && b.up != 0);
    if (round % 4 == 0)
      ck_assert_str_eq (link_peer_address (dialler->link), other->address);

    node_send (&a, 100);
    node_send (&b, 0);
    WAIT (a.frames == (uint64_t) round + 1 && b.frames == (uint64_t) round + 1);

    link_drop (other->link, other->up + 1); /* somebody else's id */
    link_drop (other->link, other->up);
    WAIT (a.up == 0 && b.up == 0);
    ck_assert_str_eq (other->why, "dropped");
    ck_assert_str_eq (dialler->why, "closed by the peer");
  }
  ck_assert_int_eq (a.fails + b.fails, 0);
  ck_assert_int_eq (a.ups, 10);
  ck_assert_int_eq (b.ups, 10);
  pair_stop (&a, &b);
}
END_TEST

START_TEST (refused_fails_at_once)
{
  struct node a;

  node_start (&a, 1, 0, free_port ());
  for (int round = 0; round < 20; round++) {
    uint64_t begin = now_ms ();

    link_connect (a.link, PATIENCE_MS);
    WAIT (a.fails == round + 1);
    ck_assert_uint_lt (now_ms () - begin, SOON_MS);
  }
  node_stop (&a);
}
END_TEST

START_TEST (no_peer_fails_at_once)
{
  struct node a;

  node_start (&a, 1, free_port (), 0);
  ck_assert_str_eq (link_peer_address (a.link), "");
  link_connect (a.link, PATIENCE_MS);
  WAIT (a.fails == 1);
  node_stop (&a);
}
END_TEST

/* A stopped peer: its kernel accepts, but it never greets. */
START_TEST (silent_peer_fails_in_time)
{
  int listener = raw_listen ();
  struct node a;

  node_start (&a, 1, 0, bound_port (listener));
  for (int round = 0; round < 3; round++) {
    uint64_t begin = now_ms ();

    link_connect (a.link, 50);
    WAIT (a.fails == round + 1);
    ck_assert_uint_ge (now_ms () - begin, 49);
    ck_assert_uint_lt (now_ms () - begin, 50 + SOON_MS);
  }

  /* A second call joins: one attempt, one result, the earlier time. */
  link_connect (a.link, PATIENCE_MS);
  int fd = accept (listener, NULL, NULL);
  for (int rounds = 0; rounds < 3; rounds++) {
    close (fd);
    fd = accept (listener, NULL, NULL);
  }
  struct wire_greeting greeting;
  ck_assert (raw_greeting (fd, &greeting));
  ck_assert_uint_eq (greeting.dials, 4);
  link_connect (a.link, 20);
  WAIT (a.fails == 4);
  ck_assert (raw_closed (fd));
  close (fd);

  /* A peer that dies before it greets: at once. */
  uint64_t begin = now_ms ();
  link_connect (a.link, PATIENCE_MS);
  fd = accept (listener, NULL, NULL);
  ck_assert (raw_greeting (fd, &greeting));
  close (fd);
  WAIT (a.fails == 5);
  ck_assert_uint_lt (now_ms () - begin, SOON_MS);
  ck_assert_int_eq (a.ups, 0);
  close (listener);
  node_stop (&a);
}
END_TEST

/* Both dial at the same time: one connection, no failure, no flap. */
START_TEST (crossing_dials_leave_one_connection)
{
  struct node a;
  struct node b;

  pair_start (&a, &b);
  for (int round = 1; round <= 200; round++) {
    struct node *first = round % 2 == 0 ? &a : &b;
    struct node *second = round % 2 == 0 ? &b : &a;

    link_connect (first->link, PATIENCE_MS);
    if (round % 3 == 0)
      pause_us (round % 40 * 5);
    link_connect (second->link, PATIENCE_MS);
    WAIT (a.up != 0 && b.up != 0);

    node_send (&a, 8);
    node_send (&b, 8);
    WAIT (a.frames == (uint64_t) round && b.frames == (uint64_t) round);
    ck_assert_int_eq (a.ups, round);
    ck_assert_int_eq (b.ups, round);
    ck_assert_int_eq (a.downs, round - 1);
    ck_assert_int_eq (b.downs, round - 1);

    link_drop (first->link, first->up);
    if (round % 5 == 0)
      link_drop (second->link, second->up);
    WAIT (a.up == 0 && b.up == 0);
  }
  ck_assert_int_eq (a.fails, 0);
  ck_assert_int_eq (b.fails, 0);
  pair_stop (&a, &b);
}
END_TEST

/* The rule itself, seen from both sides. */
START_TEST (higher_id_keeps_its_own_dial)
{
  int listener = raw_listen ();
  struct wire_greeting greeting;
  struct node a;

  node_start (&a, 5, free_port (), bound_port (listener));

  /* I am 4, the lower: refused, my place is behind its own attempt */
  link_connect (a.link, PATIENCE_MS);
  int accepted = accept (listener, NULL, NULL);
  ck_assert (raw_greeting (accepted, &greeting));
  int dialled = raw_dial (a.port);
  raw_greet (dialled, 4, 44, 1, WIRE_TAKEN);
  ck_assert (raw_greeting (dialled, &greeting));
  ck_assert_uint_eq (greeting.answer, WIRE_CROSSING);
  ck_assert (raw_closed (dialled));
  close (dialled);
  ck_assert_int_eq (a.ups, 0);
  raw_greet (accepted, 4, 44, 1, WIRE_TAKEN);
  WAIT (a.ups == 1);

  /* What I dialled before that is late, what I dial now is not. */
  dialled = raw_dial (a.port);
  raw_greet (dialled, 4, 44, 1, WIRE_TAKEN);
  ck_assert (!raw_greeting (dialled, &greeting));
  close (dialled);
  ck_assert_int_eq (a.ups, 1);
  dialled = raw_connect (&a, 4, 44, 2);
  ck_assert (raw_closed (accepted));
  close (accepted);
  WAIT (a.ups == 2 && a.up != 0);
  ck_assert_str_eq (a.why, "replaced by a new connection");
  close (dialled);
  WAIT (a.up == 0);

  /* I am 6, the higher: taken, and its own attempt is given up */
  link_connect (a.link, PATIENCE_MS);
  accepted = accept (listener, NULL, NULL);
  ck_assert (raw_greeting (accepted, &greeting));
  dialled = raw_connect (&a, 6, 66, 1);
  ck_assert (raw_closed (accepted));
  WAIT (a.ups == 3 && a.up != 0);
  close (accepted);
  close (dialled);
  WAIT (a.up == 0);

  /* Told that we cross: it waits for me to dial. */
  link_connect (a.link, PATIENCE_MS);
  accepted = accept (listener, NULL, NULL);
  ck_assert (raw_greeting (accepted, &greeting));
  raw_greet (accepted, 6, 66, 2, WIRE_CROSSING);
  ck_assert (raw_closed (accepted));
  close (accepted);
  dialled = raw_connect (&a, 6, 66, 2);
  WAIT (a.ups == 4 && a.up != 0);
  close (dialled);
  WAIT (a.up == 0);

  /* ... but not for ever */
  link_connect (a.link, 100);
  accepted = accept (listener, NULL, NULL);
  ck_assert (raw_greeting (accepted, &greeting));
  ck_assert_int_eq (a.fails, 0);
  raw_greet (accepted, 6, 66, 3, WIRE_CROSSING);
  WAIT (a.fails == 1);
  close (accepted);
  close (listener);
  node_stop (&a);
}
END_TEST

START_TEST (only_its_peer_replaces_a_connection)
{
  struct wire_greeting greeting;
  struct node a;

  node_start (&a, 5, free_port (), 0);
  int first = raw_connect (&a, 7, 70, 3);
  WAIT (a.ups == 1);

  int stranger = raw_dial (a.port);
  raw_greet (stranger, 8, 80, 1, WIRE_TAKEN);
  ck_assert (raw_greeting (stranger, &greeting));
  ck_assert_uint_eq (greeting.answer, WIRE_REFUSED);
  ck_assert (raw_closed (stranger));
  close (stranger);
  WAIT (a.refusals == 1);
  ck_assert_ptr_nonnull (strstr (a.refusal, "another node"));

  int self = raw_dial (a.port);
  raw_greet (self, 5, 50, 1, WIRE_TAKEN);
  ck_assert (raw_greeting (self, &greeting));
  ck_assert_uint_eq (greeting.answer, WIRE_REFUSED);
  ck_assert (raw_closed (self));
  close (self);
  WAIT (a.refusals == 2);
  ck_assert_ptr_nonnull (strstr (a.refusal, "own id"));
  ck_assert_int_eq (a.downs, 0);

  int second = raw_connect (&a, 7, 71, 1); /* restarted */
  ck_assert (raw_closed (first));
  close (first);
  WAIT (a.ups == 2);
  close (second);
  WAIT (a.downs == 2);

  stranger = raw_connect (&a, 8, 80, 2); /* nobody is there */
  WAIT (a.ups == 3);
  close (stranger);
  node_stop (&a);
}
END_TEST

/* The dialler is told why, and so is one whose peer= leads to itself. */
START_TEST (refusals_are_told_to_the_dialler)
{
  struct node a, b, c, me;
  uint16_t port = free_port ();

  pair_start (&a, &b);
  link_connect (a.link, PATIENCE_MS);
  WAIT (a.up != 0 && b.up != 0);
  node_start (&c, 77, 0, b.port);
  link_connect (c.link, PATIENCE_MS);
  WAIT (c.fails == 1);
  ck_assert_int_eq (c.refusals, 1);
  ck_assert_ptr_nonnull (strstr (c.refusal, "linked to another node"));
  WAIT (b.refusals == 1);
  ck_assert_int_eq (b.downs, 0);
  node_stop (&c);
  pair_stop (&a, &b);

  node_start (&me, 78, port, port);
  link_connect (me.link, PATIENCE_MS);
  WAIT (me.fails == 1);
  ck_assert_int_ge (me.refusals, 1);
  ck_assert_ptr_nonnull (strstr (me.refusal, "own id"));
  ck_assert_int_eq (me.ups, 0);
  node_stop (&me);
}
END_TEST

/* A new connection waits until the old one's down has returned. */
START_TEST (successor_waits_for_its_predecessor)
{
  const struct wire_frame ping = { .type = WIRE_PING };
  struct node a;

  node_start (&a, 5, free_port (), 0);
  a.gate = true;
  int first = raw_connect (&a, 7, 70, 1);
  raw_frame (first, ping, NULL);
  raw_frame (first, ping, NULL);
  WAIT (a.at_gate == 1);
  int second = raw_connect (&a, 7, 70, 2);
  int third = raw_connect (&a, 7, 70, 3);
  ck_assert (raw_closed (first));
  ck_assert (raw_closed (second));
  ck_assert_int_eq (a.ups, 1);
  ck_assert_int_eq (a.downs, 0);
  a.gate = false;
  WAIT (a.ups == 2 && a.up != 0);
  ck_assert_uint_eq (a.frames, 1); /* the other one was dropped */
  close (first);
  close (second);
  close (third);
  node_stop (&a);
}
END_TEST

START_TEST (addresses_are_checked)
{
  static const char *const good[] = {
    "127.0.0.1:1",
    "[::1]:65535",
    "node-b.example:10809",
    "[fe80::1%1]:9",
  };
  static const char *const bad[] = {
    "",
    ":",
    "host",
    "host:",
    ":1",
    "host:0",
    "host:65536",
    "host:99999999",
    "host:-1",
    "host:+1",
    "host: 1",
    "host:1x",
    "::1",
    "::1:1",
    "[::1]",
    "[::1]:",
    "[]:1",
    "[::1:1",
    "::1]:1",
    "[::1]x:1",
    "[127.0.0.1]:1",
  };
  char error[100];
  char name[400];

  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
    ck_assert_msg (link_check_address (good[i], error, sizeof error) == 0, "%s",
                   good[i]);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    error[0] = '\0';
    ck_assert_msg (link_check_address (bad[i], error, sizeof error) == -1, "%s",
                   bad[i]);
    ck_assert_uint_gt (strlen (error), 0);
  }
  memset (name, 'a', sizeof name);
  strcpy (name + 256, ":1");
  ck_assert_int_eq (link_check_address (name, error, sizeof error), -1);
}
END_TEST

START_TEST (bad_configuration_is_told)
{
  int listener = raw_listen ();
  char taken[32];
  char error[256] = "";
  struct link_config config = { .listen = taken, .node = 1, .boot = 1 };

  snprintf (taken, sizeof taken, "127.0.0.1:%d", bound_port (listener));
  ck_assert_ptr_null (
    link_new (&config, &callbacks, NULL, error, sizeof error));
  ck_assert_ptr_nonnull (strstr (error, taken));

  config.listen = NULL;
  config.peer = "[nonsense]:1";
  ck_assert_ptr_null (
    link_new (&config, &callbacks, NULL, error, sizeof error));
  ck_assert_ptr_nonnull (strstr (error, "[nonsense]:1"));
  close (listener);
}
END_TEST

/* -------------------------------------------------------- bad company */

START_TEST (garbage_before_the_greeting_does_no_harm)
{
  enum { RUDE = 40 };
  const struct wire_frame ping = { .type = WIRE_PING };
  static const uint8_t zeros[4096];
  uint8_t noise[4096];
  int rude[RUDE];
  struct node a;
  struct node b;

  for (size_t i = 0; i < sizeof noise; i++)
    noise[i] = (uint8_t) (i * 131 + i / 256);
  pair_start (&a, &b);
  pair_connect (&a, &b);

  for (int i = 0; i < RUDE; i++) {
    rude[i] = raw_dial (a.port);
    switch (i % 5) {
    case 0: break; /* says nothing */
    case 1: raw_send (rude[i], noise, 4096); break;
    case 2: raw_send (rude[i], "DUET", 4); break; /* half a greeting */
    case 3: raw_send (rude[i], zeros, 97); break;
    case 4:
      raw_frame (rude[i], ping, NULL); /* no greeting at all */
      raw_send (rude[i], zeros, 32);
      break;
    }
  }
  node_send (&b, 1000);
  WAIT (a.frames == 1);
  ck_assert_int_eq (a.downs, 0);

  /* A good one comes through while the silent ones still sit there. */
  link_drop (b.link, b.up);
  WAIT (a.up == 0 && b.up == 0);
  link_connect (b.link, PATIENCE_MS);
  WAIT (a.up != 0 && b.up != 0);
  ck_assert_int_eq (b.fails, 0);
  for (int i = 0; i < RUDE; i++) {
    ck_assert (raw_closed (rude[i]));
    close (rude[i]);
  }
  ck_assert_int_eq (a.downs, 1);
  pair_stop (&a, &b);
}
END_TEST

/* A byte at a time is not enough to stay for ever. */
START_TEST (slow_greeting_runs_into_its_deadline)
{
  struct node a;
  uint64_t begin = now_ms ();

  node_start (&a, 1, free_port (), 0);
  int fd = raw_dial (a.port);
  struct pollfd closed = { .fd = fd, .events = POLLIN };
  for (int i = 0; i < 90; i++) {
    if (poll (&closed, 1, 10) == 1)
      break;
    send (fd, "D", 1, MSG_NOSIGNAL);
  }
  ck_assert (raw_closed (fd));
  ck_assert_uint_ge (now_ms () - begin, GREETING_MS - 1);
  ck_assert_uint_lt (now_ms () - begin, GREETING_MS + 2 * SOON_MS);
  close (fd);
  node_stop (&a);
}
END_TEST

/* ---------------------------------------------------------------- main */

int
main (void)
{
  Suite *suite = suite_create ("connect");
  TCase *tests = tcase_create ("connect");

  tcase_add_test (tests, connects_from_either_side);
  tcase_add_test (tests, refused_fails_at_once);
  tcase_add_test (tests, refusals_are_told_to_the_dialler);
  tcase_add_test (tests, no_peer_fails_at_once);
  tcase_add_test (tests, silent_peer_fails_in_time);
  tcase_add_test (tests, crossing_dials_leave_one_connection);
  tcase_add_test (tests, higher_id_keeps_its_own_dial);
  tcase_add_test (tests, only_its_peer_replaces_a_connection);
  tcase_add_test (tests, successor_waits_for_its_predecessor);
  tcase_add_test (tests, addresses_are_checked);
  tcase_add_test (tests, bad_configuration_is_told);
  tcase_add_test (tests, garbage_before_the_greeting_does_no_harm);
  tcase_add_test (tests, slow_greeting_runs_into_its_deadline);
  tcase_set_timeout (tests, 30);
  suite_add_tcase (suite, tests);

  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
