/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-link-visit.c: who waits for a frame receives it itself, when the
 * receiver thread has stepped aside.
 */
#include "check-link.h"

static const struct wire_frame ack = { .type = WIRE_ACK };

/* What a visit waits for: FRAMES of NODE, by now. */
struct wish {
  struct node *node;
  uint64_t frames;
};

static bool
is_fulfilled (void *opaque)
{
  const struct wish *wish = opaque;

  return wish->node->frames >= wish->frames;
}

static bool
visit (struct node *node, uint64_t frames)
{
  struct wish wish = { node, frames };

  visiting = true;
  bool visited = link_visit (node->link, is_fulfilled, &wish);
  visiting = false;
  return visited;
}

/* Send acks until one has come to this thread as a visitor; the receiver
 * thread is aside then.
 */
static void
become_visitor (struct node *node, int fd)
{
  int before = node->visited;
  uint64_t end = now_ms () + PATIENCE_MS;

  node->aside = true;
  while (node->visited == before) {
    uint64_t frames = node->frames;

    ck_assert (now_ms () < end);
    raw_frame (fd, ack, NULL);
    while (node->frames == frames && !visit (node, frames + 1))
      ck_assert (now_ms () < end);
  }
}

START_TEST (nobody_visits_unasked)
{
  struct node a;

  node_start (&a, 1, free_port (), 0);
  ck_assert (!visit (&a, 1));
  int fd = raw_connect (&a, 7, 70, 1);

  for (uint64_t i = 1; i <= 10; i++) {
    ck_assert (!visit (&a, i));
    raw_frame (fd, ack, NULL);
    WAIT (a.frames == i);
  }
  ck_assert_int_eq (a.visited, 0);
  close (fd);
  node_stop (&a);
}
END_TEST

/* Nobody comes for a while, or somebody says that it does not come. */
START_TEST (the_thread_comes_back)
{
  struct node a;

  node_start (&a, 1, free_port (), 0);
  int fd = raw_connect (&a, 7, 70, 1);

  for (int i = 0; i < 10; i++) {
    become_visitor (&a, fd);
    uint64_t frames = a.frames;

    if (i % 2 == 0)
      link_recall (a.link);
    raw_frame (fd, ack, NULL);
    WAIT (a.frames == frames + 1);
  }
  close (fd);
  WAIT (a.downs == 1);
  node_stop (&a);
}
END_TEST

/* A visitor that gets nothing goes home, and none comes after a recall. */
START_TEST (a_visit_ends)
{
  struct node a;

  node_start (&a, 1, free_port (), 0);
  int fd = raw_connect (&a, 7, 70, 1);

  become_visitor (&a, fd);
  visit (&a, UINT64_MAX);
  become_visitor (&a, fd);
  link_recall (a.link);
  ck_assert (!visit (&a, UINT64_MAX));
  close (fd);
  node_stop (&a);
}
END_TEST

/* Received and flushed are acks, too. */
START_TEST (every_kind_of_ack)
{
  static const uint8_t types[] = { WIRE_ACK, WIRE_RECEIVED, WIRE_FLUSHED,
                                   WIRE_PING, WIRE_PONG };
  struct node a;

  node_start (&a, 1, free_port (), 0);
  int fd = raw_connect (&a, 7, 70, 1);

  become_visitor (&a, fd);
  for (unsigned i = 0; i < sizeof types; i++) {
    struct wire_frame frame = { .type = types[i] };
    int visited = a.visited;
    uint64_t frames = a.frames;

    raw_frame (fd, frame, NULL);
    if (visit (&a, frames + 1))
      ck_assert_int_eq (a.visited, visited + 1);
    WAIT (a.frames == frames + 1);
  }
  close (fd);
  node_stop (&a);
}
END_TEST

/* Data are not a visitor's business, nor what comes behind them. */
START_TEST (the_thread_gets_the_rest)
{
  uint8_t payload[16] = { 0 };
  const struct wire_frame write = {
    .type = WIRE_WRITE,
    .length = sizeof payload,
    .payload_length = sizeof payload,
  };
  struct node a;

  node_start (&a, 1, free_port (), 0);
  int fd = raw_connect (&a, 7, 70, 1);

  for (int i = 0; i < 10; i++) {
    become_visitor (&a, fd);
    int visited = a.visited;
    uint64_t frames = a.frames;

    raw_frame (fd, write, payload);
    visit (&a, UINT64_MAX);
    raw_frame (fd, write, payload);
    WAIT (a.frames == frames + 2);
    ck_assert_int_eq (a.visited, visited);
  }
  close (fd);
  node_stop (&a);
}
END_TEST

/* The end of the connection is the thread's to tell, who ever meets it. */
START_TEST (a_visitor_meets_the_end)
{
  const struct wire_frame nack = { .type = WIRE_NACK };
  const char *why[] = { "closed by the peer", "frame refused", "dropped" };
  struct node a;

  node_start (&a, 1, free_port (), 0);
  for (int i = 0; i < 12; i++) {
    int fd = raw_connect (&a, 7, 70, (uint64_t) i + 1);

    become_visitor (&a, fd);
    if (i % 3 == 0)
      close (fd);
    else if (i % 3 == 1)
      raw_frame (fd, nack, NULL);
    else
      link_drop (a.link, a.up);
    visit (&a, UINT64_MAX);
    WAIT (a.downs == i + 1);
    ck_assert_str_eq (a.why, why[i % 3]);
    ck_assert (a.peer_closed == (i % 3 == 0));
    if (i % 3 != 0)
      close (fd);
  }
  node_stop (&a);
}
END_TEST

enum { CROWD = 4, CROWD_MS = 1000 };

static void *
crowd_main (void *argument)
{
  struct node *node = argument;
  uint64_t end = now_ms () + CROWD_MS;
  uint32_t state = (uint32_t) (uintptr_t) &state | 1;

  while (now_ms () < end) {
    state = state * 1664525u + 1013904223u;
    if (state >> 30 == 0)
      link_recall (node->link);
    else
      visit (node, node->frames + 1);
    sched_yield ();
  }
  return NULL;
}

static void *
sender_main (void *argument)
{
  struct node *node = argument;
  uint64_t end = now_ms () + CROWD_MS;

  for (uint32_t i = 0; now_ms () < end; i++) {
    node_send (node, i % 16 == 0 ? 8 : 0);
    if (i % 4 == 0)
      pause_us (100);
  }
  return NULL;
}

/* Many that come and recall at once: every frame is given out once, to one
 * at a time.
 */
START_TEST (a_crowd)
{
  pthread_t threads[CROWD], sender;
  struct node a, b;

  pair_start (&a, &b);
  pair_connect (&a, &b);
  a.aside = true;
  ck_assert_int_eq (pthread_create (&sender, NULL, sender_main, &b), 0);
  for (int i = 0; i < CROWD; i++)
    ck_assert_int_eq (pthread_create (&threads[i], NULL, crowd_main, &a), 0);
  pthread_join (sender, NULL);
  for (int i = 0; i < CROWD; i++)
    pthread_join (threads[i], NULL);
  WAIT (a.frames == b.queued);
  ck_assert_int_gt (a.visited, 0);
  ck_assert_int_eq (a.downs, 0);
  pair_stop (&a, &b);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("link-visit");
  TCase *tcase = tcase_create ("link-visit");

  tcase_add_test (tcase, nobody_visits_unasked);
  tcase_add_test (tcase, the_thread_comes_back);
  tcase_add_test (tcase, a_visit_ends);
  tcase_add_test (tcase, every_kind_of_ack);
  tcase_add_test (tcase, the_thread_gets_the_rest);
  tcase_add_test (tcase, a_visitor_meets_the_end);
  tcase_add_test (tcase, a_crowd);
  tcase_set_timeout (tcase, 60);
  suite_add_tcase (suite, tcase);

  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
