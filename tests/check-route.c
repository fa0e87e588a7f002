/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-route.c: the proxy's next-step policy.
 *
 * Stories first: a row feeds one event and says what must come out.  Then
 * a walk over all event sequences up to a length, and a long random one,
 * with the promises that hold in every state.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>

#include "route.h"

#define COUNT(a) (sizeof (a) / sizeof (a)[0])
#define IDLE     ROUTE_NEVER

#define NONE ROUTE_ASK_NONE
#define OPEN ROUTE_ASK_OPEN
#define PING ROUTE_ASK_PING

enum { SAY = 1, ABANDON = 2, ADOPT = 4 };

struct row {
  enum route_event_type type;
  uint64_t now_ms;
  uint64_t sent_ms;
  /* expected */
  enum route_ask ask;
  uint32_t node;
  unsigned flags;
};

static struct route
new_route (uint32_t nodes)
{
  struct route_config config = { .nodes = nodes,
                                 .timeout_ms = 1000,
                                 .seed = 42 };
  struct route route;

  route_init (&route, &config);
  return route;
}

static struct route_step
feed (struct route *route, enum route_event_type type, uint64_t now_ms,
      uint64_t sent_ms)
{
  struct route_event event = { .type = type,
                               .now_ms = now_ms,
                               .attempt = route->attempt,
                               .sent_ms = sent_ms };

  return route_step (route, &event);
}

static void
tell (const struct row *rows, size_t count, uint32_t nodes)
{
  struct route route = new_route (nodes);
  struct route_step step;
  size_t i;

  for (i = 0; i < count; i++) {
    step = feed (&route, rows[i].type, rows[i].now_ms, rows[i].sent_ms);
    ck_assert_msg (step.ask == rows[i].ask, "row %zu: ask %d", i, step.ask);
    if (step.ask != ROUTE_ASK_NONE)
      ck_assert_msg (step.node == rows[i].node, "row %zu: node %u", i,
                     step.node);
    ck_assert_msg (step.unreachable == ((rows[i].flags & SAY) != 0),
                   "row %zu: unreachable", i);
    ck_assert_msg (step.abandon == ((rows[i].flags & ABANDON) != 0),
                   "row %zu: abandon", i);
    ck_assert_msg (step.adopt == ((rows[i].flags & ADOPT) != 0),
                   "row %zu: adopt", i);
  }
}

/* At the start the nodes are asked in the order given. */
START_TEST (start_and_serve)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_TICK, 1, IDLE, NONE, 0, 0 },
    { ROUTE_REFUSED, 2, IDLE, OPEN, 1, 0 },
    { ROUTE_ACCEPTED, 3, IDLE, NONE, 0, ADOPT },
    { ROUTE_TICK, 5000, IDLE, NONE, 0, 0 },
    { ROUTE_TICK, 5000, 4800, NONE, 0, 0 },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* Its process is killed: it is asked first, and costs nothing. */
START_TEST (killed_primary)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_ACCEPTED, 1, IDLE, NONE, 0, ADOPT },
    { ROUTE_LOST_EOF, 100, 99, OPEN, 0, ABANDON },
    { ROUTE_UNREACHABLE, 100, IDLE, OPEN, 1, 0 },
    { ROUTE_ACCEPTED, 130, IDLE, NONE, 0, ADOPT },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* It ends the session by itself (T1): it serves on at once. */
START_TEST (shut_down_session)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_REFUSED, 1, IDLE, OPEN, 1, 0 },
    { ROUTE_ACCEPTED, 2, IDLE, NONE, 0, ADOPT },
    { ROUTE_LOST_SHUTDOWN, 50, 49, OPEN, 1, ABANDON },
    { ROUTE_ACCEPTED, 55, IDLE, NONE, 0, ADOPT },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* Primary cut off from us, backup refuses: the second time it is told. */
START_TEST (primary_cut_off)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_UNREACHABLE, 1000, IDLE, OPEN, 1, 0 },
    { ROUTE_REFUSED, 1001, IDLE, NONE, 0, 0 },
    { ROUTE_TICK, 1001, IDLE, NONE, 0, 0 },
    /* The one that was not reached comes last now. */
    { ROUTE_TICK, 1011, IDLE, OPEN, 1, SAY },
    { ROUTE_ACCEPTED, 1020, IDLE, NONE, 0, ADOPT },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* All refuse: nobody is unreachable, nobody is told so. */
START_TEST (all_refuse)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_REFUSED, 0, IDLE, OPEN, 1, 0 },
    { ROUTE_REFUSED, 0, IDLE, NONE, 0, 0 },
    { ROUTE_TICK, 10, IDLE, OPEN, 0, 0 },
    { ROUTE_REFUSED, 10, IDLE, OPEN, 1, 0 },
    { ROUTE_REFUSED, 10, IDLE, NONE, 0, 0 },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* An answer is out for too long, the other node serves: move. */
START_TEST (stalled_and_moved)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_ACCEPTED, 0, IDLE, NONE, 0, ADOPT },
    { ROUTE_TICK, 249, 0, NONE, 0, 0 },
    { ROUTE_TICK, 250, 0, OPEN, 1, 0 },
    { ROUTE_REFUSED, 251, 0, NONE, 0, 0 },
    { ROUTE_TICK, 300, 0, NONE, 0, 0 },
    /* It has lost the primary in the meantime. */
    { ROUTE_TICK, 351, 0, OPEN, 1, 0 },
    { ROUTE_ACCEPTED, 360, 0, NONE, 0, ABANDON | ADOPT },
    { ROUTE_TICK, 361, 360, NONE, 0, 0 },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* A slow disk: the other refuses, ours answers a ping; stay, and do not
 * tell the other that we are cut off.
 */
START_TEST (slow_disk)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_ACCEPTED, 0, IDLE, NONE, 0, ADOPT },
    { ROUTE_TICK, 250, 0, OPEN, 1, 0 },
    { ROUTE_REFUSED, 251, 0, NONE, 0, 0 },
    { ROUTE_TICK, 749, 0, OPEN, 1, 0 },
    { ROUTE_REFUSED, 749, 0, NONE, 0, 0 },
    { ROUTE_TICK, 850, 0, PING, 0, 0 },
    { ROUTE_REACHED, 851, 0, OPEN, 1, 0 },
    { ROUTE_REFUSED, 852, 0, NONE, 0, 0 },
    /* The next ping only after the time limit. */
    { ROUTE_TICK, 1849, 0, OPEN, 1, 0 },
    { ROUTE_REFUSED, 1849, 0, NONE, 0, 0 },
    { ROUTE_TICK, 1950, 0, PING, 0, 0 },
    { ROUTE_REACHED, 1951, 0, OPEN, 1, 0 },
    { ROUTE_REFUSED, 1952, 0, NONE, 0, 0 },
    /* The answer came: the round is off. */
    { ROUTE_TICK, 2100, IDLE, NONE, 0, 0 },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* Our path to the primary is silently dead, the backup's link to it is
 * not: the backup is told.
 */
START_TEST (dead_path)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_ACCEPTED, 0, IDLE, NONE, 0, ADOPT },
    { ROUTE_TICK, 250, 0, OPEN, 1, 0 },
    { ROUTE_REFUSED, 251, 0, NONE, 0, 0 },
    { ROUTE_TICK, 750, 0, PING, 0, 0 },
    { ROUTE_TICK, 1000, 0, OPEN, 1, SAY },
    { ROUTE_ACCEPTED, 1020, 0, NONE, 0, ABANDON | ADOPT },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* The others cannot be reached: no ping, just wait. */
START_TEST (stalled_alone)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_ACCEPTED, 0, IDLE, NONE, 0, ADOPT },
    { ROUTE_TICK, 1000, 0, OPEN, 1, 0 },
    { ROUTE_UNREACHABLE, 1001, 0, NONE, 0, 0 },
    { ROUTE_TICK, 1102, 0, OPEN, 1, 0 },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* Lost while the probe is under way: its open goes on, a ping does not. */
START_TEST (lost_while_probing)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_ACCEPTED, 0, IDLE, NONE, 0, ADOPT },
    { ROUTE_TICK, 1000, 0, OPEN, 1, 0 },
    { ROUTE_LOST_EOF, 1001, 0, NONE, 0, ABANDON },
    { ROUTE_REFUSED, 1002, IDLE, OPEN, 0, 0 },
    { ROUTE_ACCEPTED, 1003, IDLE, NONE, 0, ADOPT },
    { ROUTE_TICK, 2100, 1100, OPEN, 1, 0 },
    { ROUTE_REFUSED, 2101, 1100, NONE, 0, 0 },
    { ROUTE_TICK, 2202, 1100, PING, 0, 0 },
    { ROUTE_LOST_SHUTDOWN, 2203, 1100, OPEN, 0, ABANDON },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* A session that has not answered yet is lost, not probed; the next one
 * gets twice the time, until one has answered.
 */
START_TEST (no_first_answer)
{
  struct route route = new_route (2);
  struct route_event event = { .type = ROUTE_TICK,
                               .now_ms = 1000,
                               .fresh = true };
  struct route_step step;

  feed (&route, ROUTE_START, 0, IDLE);
  feed (&route, ROUTE_ACCEPTED, 0, IDLE);
  step = route_step (&route, &event);
  ck_assert (step.abandon);
  ck_assert_int_eq (step.ask, ROUTE_ASK_OPEN);
  ck_assert_uint_eq (step.node, 1);
  feed (&route, ROUTE_REFUSED, 1001, IDLE);
  feed (&route, ROUTE_ACCEPTED, 1002, IDLE);
  event.sent_ms = 1002;
  event.now_ms = 1002 + 1999;
  step = route_step (&route, &event);
  ck_assert (!step.abandon);
  ck_assert_uint_eq (route_deadline (&route, 1002), 1002 + 2000);
  step = feed (&route, ROUTE_TICK, 3002, 1002);
  ck_assert (!step.abandon);
  ck_assert_int_eq (step.ask, ROUTE_ASK_OPEN);
}
END_TEST

/* Each probe that was not needed doubles the time to the next, up to the
 * limit; a long calm, or another session, brings it back.
 */
START_TEST (caution)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_ACCEPTED, 0, IDLE, NONE, 0, ADOPT },
    { ROUTE_TICK, 250, 0, OPEN, 1, 0 },
    { ROUTE_REFUSED, 251, 0, NONE, 0, 0 },
    { ROUTE_TICK, 260, IDLE, NONE, 0, 0 },
    { ROUTE_TICK, 1499, 1000, NONE, 0, 0 },
    { ROUTE_TICK, 1500, 1000, OPEN, 1, 0 },
    { ROUTE_REFUSED, 1501, IDLE, NONE, 0, 0 },
    { ROUTE_TICK, 2999, 2000, NONE, 0, 0 },
    { ROUTE_TICK, 3000, 2000, OPEN, 1, 0 },
    { ROUTE_REFUSED, 3001, IDLE, NONE, 0, 0 },
    { ROUTE_TICK, 4999, 4000, NONE, 0, 0 },
    { ROUTE_TICK, 3001 + ROUTE_CALM_MS, IDLE, NONE, 0, 0 },
    { ROUTE_TICK, 70250, 70000, OPEN, 1, 0 },
    { ROUTE_REFUSED, 70251, IDLE, NONE, 0, 0 },
    { ROUTE_LOST_EOF, 70252, IDLE, OPEN, 0, ABANDON },
    { ROUTE_ACCEPTED, 70253, IDLE, NONE, 0, ADOPT },
    { ROUTE_TICK, 71249, 71000, NONE, 0, 0 },
    { ROUTE_TICK, 71250, 71000, OPEN, 1, 0 },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* We gave it up: begin with the other one. */
START_TEST (given_up)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_ACCEPTED, 0, IDLE, NONE, 0, ADOPT },
    { ROUTE_LOST_TIMEOUT, 10, 0, OPEN, 1, ABANDON },
  };

  tell (rows, COUNT (rows), 2);
}
END_TEST

/* A single node is never probed away from. */
START_TEST (single_node)
{
  static const struct row rows[] = {
    { ROUTE_START, 0, IDLE, OPEN, 0, 0 },
    { ROUTE_ACCEPTED, 0, IDLE, NONE, 0, ADOPT },
    { ROUTE_TICK, 500, 0, NONE, 0, 0 },
    /* Pinged, so that the log can say that it is not there. */
    { ROUTE_TICK, 1000, 0, PING, 0, 0 },
    { ROUTE_UNREACHABLE, 1001, 0, NONE, 0, 0 },
    { ROUTE_TICK, 1500, 0, NONE, 0, 0 },
    { ROUTE_TICK, 2000, 0, PING, 0, 0 },
    { ROUTE_LOST_EOF, 2001, 0, OPEN, 0, ABANDON },
    { ROUTE_REFUSED, 2002, IDLE, NONE, 0, 0 },
    /* We reach no other: it is told so. */
    { ROUTE_TICK, 2012, IDLE, OPEN, 0, SAY },
  };

  tell (rows, COUNT (rows), 1);
}
END_TEST

/* An answer to an older ask is no answer. */
START_TEST (late_answers)
{
  struct route route = new_route (2);
  struct route_event late = { .type = ROUTE_ACCEPTED,
                              .now_ms = 3001,
                              .sent_ms = IDLE };
  struct route_step step;

  step = feed (&route, ROUTE_START, 0, IDLE);
  late.attempt = step.attempt;
  step = feed (&route, ROUTE_TICK, ROUTE_OPEN_MS, IDLE);
  ck_assert_int_eq (step.ask, ROUTE_ASK_OPEN);
  ck_assert_uint_eq (step.node, 1);
  step = route_step (&route, &late);
  ck_assert (!step.adopt);
  ck_assert_int_eq (step.ask, ROUTE_ASK_NONE);
}
END_TEST

START_TEST (pauses_grow_to_a_limit)
{
  struct route route = new_route (1);
  uint64_t now_ms = 0, pause_ms = 0, longest_ms = 0;
  int round;

  ck_assert_int_eq (feed (&route, ROUTE_START, 0, IDLE).ask, ROUTE_ASK_OPEN);
  for (round = 1; round < 100; round++) {
    feed (&route, ROUTE_REFUSED, now_ms, IDLE);
    pause_ms = route_deadline (&route, IDLE) - now_ms;
    ck_assert_uint_ge (pause_ms, ROUTE_PAUSE_MIN_MS / 2);
    ck_assert_uint_le (pause_ms, ROUTE_PAUSE_MAX_MS);
    if (pause_ms > longest_ms)
      longest_ms = pause_ms;
    ck_assert_int_eq (
      feed (&route, ROUTE_TICK, now_ms + pause_ms - 1, IDLE).ask,
      ROUTE_ASK_NONE);
    now_ms += pause_ms;
    ck_assert_int_eq (feed (&route, ROUTE_TICK, now_ms, IDLE).ask,
                      ROUTE_ASK_OPEN);
  }
  ck_assert_uint_ge (longest_ms, ROUTE_PAUSE_MAX_MS * 3 / 4);
}
END_TEST

/* ------------------------------------------------------ in every state */

/* A quick assertion: ck_assert tells its parent of each one that holds. */
#define HOLDS(condition)               \
  do {                                 \
    if (!(condition))                  \
      ck_abort_msg ("%s", #condition); \
  } while (0)

/* What must hold whatever happens. */
static void
check_step (const struct route *before, const struct route *after,
            const struct route_event *event, const struct route_step *step)
{
  /* Only what is live is abandoned, only what was accepted is adopted. */
  HOLDS (!step->abandon || before->live);
  HOLDS (!step->adopt || event->type == ROUTE_ACCEPTED);
  HOLDS (after->live == (step->adopt || (before->live && !step->abandon)));
  /* One ask at a time: a new one only when the old one is over. */
  if (step->ask != ROUTE_ASK_NONE) {
    HOLDS (step->attempt == before->attempt + 1);
    HOLDS (step->answer_by_ms > event->now_ms);
    HOLDS (step->greet_by_ms <= step->answer_by_ms);
    if (before->ask == ROUTE_ASK_OPEN)
      HOLDS (event->attempt == before->attempt ||
             event->now_ms >= before->ask_until_ms);
  }
  /* While there is something to do, there is a time to do it. */
  if (!after->live)
    HOLDS (route_deadline (after, event->sent_ms) != ROUTE_NEVER);
}

static uint64_t walked;

static void
walk (const struct route *route, uint64_t now_ms, int depth)
{
  enum route_event_type type;
  int sent, pass;

  route_check (route);
  if (depth == 0)
    return;
  for (type = ROUTE_TICK; type <= ROUTE_LOST_TIMEOUT; type++)
    for (sent = 0; sent < 2; sent++)
      for (pass = 0; pass < 2; pass++) {
        struct route_event event = {
          .type = type,
          .now_ms = now_ms + (pass > 0 ? 600 : 0),
          .attempt = route->attempt,
          .sent_ms = sent > 0 ? 0 : IDLE,
        };
        struct route next = *route;
        struct route_step step = route_step (&next, &event);

        walked++;
        check_step (route, &next, &event, &step);
        walk (&next, event.now_ms, depth - 1);
      }
}

START_TEST (every_short_sequence)
{
  struct route route = new_route ((uint32_t) _i + 1);
  struct route_event start = { .type = ROUTE_START, .sent_ms = IDLE };

  walked = 0;
  route_step (&route, &start);
  walk (&route, 0, 4);
  ck_assert_uint_gt (walked, 1000000);
}
END_TEST

START_TEST (a_long_random_sequence)
{
  struct route route = new_route (ROUTE_NODES_MAX);
  struct route_event event = { .type = ROUTE_START, .sent_ms = IDLE };
  struct route before;
  struct route_step step;
  int i;

  srand (7);
  for (i = 0; i < 300000; i++) {
    before = route;
    step = route_step (&route, &event);
    check_step (&before, &route, &event, &step);
    event.type = (enum route_event_type) (ROUTE_TICK + rand () % 8);
    event.now_ms += (uint64_t) (rand () % 700);
    event.attempt = route.attempt - (uint64_t) (rand () % 8 == 0);
    event.sent_ms = rand () % 3 == 0
      ? IDLE
      : event.now_ms - (uint64_t) (rand () % 1500);
    if (event.sent_ms != IDLE && event.sent_ms > event.now_ms)
      event.sent_ms = IDLE;
  }
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("route");
  TCase *tcase = tcase_create ("route");
  SRunner *runner;
  int failed;

  suite_add_tcase (suite, tcase);
  tcase_set_timeout (tcase, 60);
  tcase_add_test (tcase, start_and_serve);
  tcase_add_test (tcase, killed_primary);
  tcase_add_test (tcase, shut_down_session);
  tcase_add_test (tcase, primary_cut_off);
  tcase_add_test (tcase, all_refuse);
  tcase_add_test (tcase, stalled_and_moved);
  tcase_add_test (tcase, slow_disk);
  tcase_add_test (tcase, dead_path);
  tcase_add_test (tcase, stalled_alone);
  tcase_add_test (tcase, lost_while_probing);
  tcase_add_test (tcase, no_first_answer);
  tcase_add_test (tcase, caution);
  tcase_add_test (tcase, given_up);
  tcase_add_test (tcase, single_node);
  tcase_add_test (tcase, late_answers);
  tcase_add_test (tcase, pauses_grow_to_a_limit);
  tcase_add_loop_test (tcase, every_short_sequence, 0, 3);
  tcase_add_test (tcase, a_long_random_sequence);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
