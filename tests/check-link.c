/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-link.c: frames over a link: cut, wrong, in bulk from several
 * threads, to a peer that does not receive, and across drops.
 */
#include "check-link.h"

/* ----------------------------------------------------------- receiving */

/* Greet, then send BYTES: how does it end? */
static void
expect_down (struct node *node, uint64_t dials, const void *bytes,
             size_t length, const char *why)
{
  int downs = node->downs;
  int fd = raw_connect (node, 7, 70, dials);

  node->closing = false;
  raw_send (fd, bytes, length);
  if (why == NULL)
    shutdown (fd, SHUT_WR);
  else
    ck_assert (raw_closed (fd));
  WAIT (node->downs == downs + 1);
  ck_assert_str_eq (node->why, why != NULL ? why : "closed by the peer");
  ck_assert_int_eq (node->peer_closed, why == NULL);
  ck_assert_int_eq (node->closing, why != NULL);
  close (fd);
}

/* Whose doing an end is: the other side may go by it. */
START_TEST (ends_are_told_apart)
{
  const struct linger reset = { .l_onoff = 1 };
  struct node a;

  node_start (&a, 1, free_port (), 0);
  int fd = raw_connect (&a, 7, 70, 1);
  WAIT (a.up != 0);
  setsockopt (fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close (fd);
  WAIT (a.downs == 1);
  ck_assert (a.peer_closed && !a.closing);

  /* Met by a sender: until all that is sent has failed. */
  fd = raw_connect (&a, 7, 70, 2);
  WAIT (a.up != 0);
  a.gate = true;
  raw_frame (fd, (struct wire_frame){ .type = WIRE_PING }, NULL);
  WAIT (a.at_gate == 1);
  setsockopt (fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close (fd);
  for (int i = 0; i < 3; i++)
    node_send (&a, 100);
  WAIT (a.done == a.queued);
  a.gate = false;
  WAIT (a.downs == 2);
  ck_assert (a.peer_closed && !a.closing);

  fd = raw_connect (&a, 7, 70, 3);
  WAIT (a.up != 0);
  link_drop (a.link, a.up);
  ck_assert (raw_closed (fd));
  close (fd);
  WAIT (a.downs == 3);
  ck_assert (!a.peer_closed && !a.closing);

  /* Another connection takes its place. */
  fd = raw_connect (&a, 7, 70, 4);
  WAIT (a.up != 0);
  int second = raw_connect (&a, 7, 70, 5);
  WAIT (a.downs == 4);
  ck_assert (!a.peer_closed && a.closing);
  close (fd);
  WAIT (a.up != 0);
  a.closing = false;
  node_stop (&a);
  ck_assert (!a.peer_closed && a.closing);
  close (second);
}
END_TEST

START_TEST (bad_frames_end_that_connection_only)
{
  const struct wire_frame ping = { .type = WIRE_PING };
  const struct wire_frame nack = { .type = WIRE_NACK };
  struct wire_frame write = {
    .type = WIRE_WRITE,
    .length = 16,
    .payload_length = 16,
  };
  uint8_t bytes[WIRE_HEADER + 16] = { 0 };
  uint64_t dials = 0;
  struct node a;

  node_start (&a, 1, free_port (), 0);
  expect_down (&a, ++dials, bytes, WIRE_HEADER,
               wire_reason_text (WIRE_BAD_MAGIC));

  wire_encode (&ping, bytes);
  expect_down (&a, ++dials, bytes, WIRE_HEADER - 1, NULL);
  ck_assert_uint_eq (a.frames, 0);
  expect_down (&a, ++dials, bytes, WIRE_HEADER, NULL);
  ck_assert_uint_eq (a.frames, 1);
  bytes[20] ^= 1;
  expect_down (&a, ++dials, bytes, WIRE_HEADER,
               wire_reason_text (WIRE_BAD_HEADER_CRC));

  write.payload_crc = wire_crc32c (bytes + WIRE_HEADER, 16);
  wire_encode (&write, bytes);
  expect_down (&a, ++dials, bytes, sizeof bytes - 1, NULL);
  bytes[WIRE_HEADER + 3] ^= 4;
  expect_down (&a, ++dials, bytes, sizeof bytes,
               wire_reason_text (WIRE_BAD_PAYLOAD_CRC));
  ck_assert_uint_eq (a.frames, 1);

  /* a second greeting */
  write = (struct wire_frame){
    .type = WIRE_GREETING_FRAME,
    .payload_length = WIRE_GREETING,
  };
  wire_encode (&write, bytes);
  expect_down (&a, ++dials, bytes, WIRE_HEADER,
               wire_reason_text (WIRE_BAD_TYPE));

  wire_encode (&nack, bytes);
  expect_down (&a, ++dials, bytes, WIRE_HEADER, "frame refused");
  node_stop (&a);
}
END_TEST

/* Frames cut anywhere arrive whole, and LAST is said when it is true. */
START_TEST (frames_survive_any_cut)
{
  enum { COUNT = 60 };
  static uint8_t stream[COUNT * (WIRE_HEADER + 300)];
  size_t length = 0;
  struct node a;

  for (uint64_t i = 0; i < COUNT; i++) {
    uint8_t payload[300] = { 0 };
    struct wire_frame frame = {
      .type = WIRE_WRITE,
      .seq = i,
      .length = 8 + (uint32_t) i * 4,
      .payload_length = 8 + (uint32_t) i * 4,
    };

    memcpy (payload, &i, sizeof i);
    frame.payload_crc = wire_crc32c (payload, frame.payload_length);
    wire_encode (&frame, stream + length);
    memcpy (stream + length + WIRE_HEADER, payload, frame.payload_length);
    length += WIRE_HEADER + frame.payload_length;
  }

  node_start (&a, 1, free_port (), 0);
  a.in_order = true;
  for (size_t step = 1; step < length; step = step * 3 + 1) {
    int downs = a.downs;
    int fd = raw_connect (&a, 7, 70, step);

    a.frames = a.lasts = 0;
    for (size_t at = 0; at < length; at += step) {
      raw_send (fd, stream + at, at + step < length ? step : length - at);
      if (step > 50)
        pause_us (50);
    }
    WAIT (a.frames == COUNT);
    ck_assert_uint_ge (a.lasts, 1);
    close (fd);
    WAIT (a.downs == downs + 1);
  }
  node_stop (&a);
}
END_TEST

/* ------------------------------------------------------------- sending */

enum { BULK_THREADS = 4, BULK_FRAMES = 1500 };

static void *
bulk_main (void *argument)
{
  struct node *node = argument;
  uint32_t state = (uint32_t) (uintptr_t) &state | 1;

  for (int i = 0; i < BULK_FRAMES; i++) {
    state = state * 1664525u + 1013904223u;

    uint32_t length = 8 + (state >> 8) % 8192;
    if (state >> 28 == 0 && i % 16 == 0)
      length = WIRE_PAYLOAD_MAX;
    node_send (node, length);
  }
  return NULL;
}

/* Both ways at once, several threads each, with the receivers flushing
 * too: everything arrives in the order of queueing, nobody waits for
 * ever.
 */
START_TEST (bulk_keeps_the_order_of_queueing)
{
  pthread_t threads[2 * BULK_THREADS];
  struct link_counts sent;
  struct link_counts received;
  struct node a;
  struct node b;

  pair_start (&a, &b);
  a.in_order = b.in_order = true;
  pair_connect (&a, &b);
  for (int i = 0; i < 2 * BULK_THREADS; i++)
    pthread_create (&threads[i], NULL, bulk_main, i % 2 == 0 ? &a : &b);
  for (int i = 0; i < 2 * BULK_THREADS; i++)
    pthread_join (threads[i], NULL);
  WAIT (a.frames == BULK_THREADS * BULK_FRAMES);
  WAIT (b.frames == BULK_THREADS * BULK_FRAMES);
  WAIT (a.done == a.queued && b.done == b.queued);

  link_counts (a.link, &sent);
  link_counts (b.link, &received);
  ck_assert_uint_eq (sent.frames_sent, BULK_THREADS * BULK_FRAMES);
  ck_assert_uint_eq (received.frames_received, sent.frames_sent);
  ck_assert_uint_eq (received.bytes_received, sent.bytes_sent);
  ck_assert_uint_gt (sent.sends, 0);
  ck_assert_uint_gt (received.receives, 0);
  pair_stop (&a, &b);
}
END_TEST

/* Two threads in step: each sends one frame, and neither goes on before
 * both frames got their done(), so that nobody's next flush can save a
 * frame that was left behind.
 */
struct lonely {
  struct node *node;
  uint32_t link;
  uint64_t rounds;
  atomic_uint_fast64_t begun;
  atomic_uint threads;
  atomic_flag queue; /* instead of a mutex that sleeps */
};

/* Spin until *COUNTER reaches VALUE; false: it does not. */
static bool
spin (const atomic_uint_fast64_t *counter, uint64_t value)
{
  uint64_t end = 0;

  for (uint64_t spins = 1; *counter < value; spins++) {
    if (spins % 1000 != 0)
      continue;
    sched_yield ();
    end = end == 0 ? now_ms () + PATIENCE_MS : end;
    if (now_ms () > end)
      return false;
  }
  return true;
}

static void *
lonely_main (void *argument)
{
  struct lonely *lonely = argument;
  struct packet *packet = packet_new (lonely->node, 0, on_done);
  uint64_t before = lonely->node->done;
  uint64_t mine = lonely->threads++;

  packet->frame.link = lonely->link;
  for (uint64_t round = 1; round <= lonely->rounds; round++) {
    packet->done = false;
    lonely->begun++;
    ck_assert (spin (&lonely->begun, 2 * round));
    for (uint64_t delay = mine * round % 64; delay > 0; delay--)
      atomic_signal_fence (memory_order_seq_cst);
    while (atomic_flag_test_and_set (&lonely->queue))
      sched_yield ();
    link_queue (lonely->node->link, &packet->frame);
    atomic_flag_clear (&lonely->queue);
    link_flush (lonely->node->link);
    ck_assert_msg (spin (&lonely->node->done, before + 2 * round),
                   "stranded frame");
    while (!packet->done)
      sched_yield ();
  }
  free (packet);
  return NULL;
}

static void
run_lonely (struct node *node, uint64_t rounds, uint32_t link)
{
  struct lonely lonely = {
    .node = node,
    .rounds = rounds,
    .link = link,
    .queue = ATOMIC_FLAG_INIT,
  };
  pthread_t threads[2];

  for (int i = 0; i < 2; i++)
    pthread_create (&threads[i], NULL, lonely_main, &lonely);
  for (int i = 0; i < 2; i++)
    pthread_join (threads[i], NULL);
  node->queued += 2 * rounds;
}

/* Over a connection, and, since the moment in which a frame could be lost
 * is short, many more to nowhere, where a round takes no system call.
 */
START_TEST (no_frame_is_stranded)
{
  struct node a;
  struct node b;

  pair_start (&a, &b);
  pair_connect (&a, &b);
  run_lonely (&a, 2000, a.up);
  WAIT (b.frames == 4000);
  run_lonely (&a, 30000, UINT32_MAX);
  pair_stop (&a, &b);
}
END_TEST

/* The peer does not receive: flush returns all the same, and the frames
 * go when the peer is back.
 */
START_TEST (flush_never_blocks)
{
  enum { COUNT = 64 };
  struct node a;
  struct node b;

  pair_start (&a, &b);
  b.in_order = true;
  pair_connect (&a, &b);
  b.gate = true;
  for (int i = 0; i < COUNT; i++)
    node_send (&a, WIRE_PAYLOAD_MAX);
  WAIT (b.at_gate == 1);
  ck_assert_uint_lt (a.done, COUNT);
  b.gate = false;
  WAIT (b.frames == COUNT && a.done == COUNT);
  pair_stop (&a, &b);
}
END_TEST

/* The same, but the connection is dropped: everything gets its done(). */
START_TEST (drop_while_sending)
{
  enum { COUNT = 40 };
  struct node a;
  struct node b;

  pair_start (&a, &b);
  for (int round = 0; round < 6; round++) {
    pair_connect (&a, &b);
    b.gate = true;
    for (int i = 0; i < COUNT; i++)
      node_send (&a, WIRE_PAYLOAD_MAX);
    WAIT (b.at_gate == 1);

    uint32_t old = a.up;
    uint64_t begin = now_ms ();
    link_drop (a.link, old);
    ck_assert_uint_lt (now_ms () - begin, SOON_MS);
    WAIT (a.up == 0);
    ck_assert_uint_eq (a.done, a.queued);

    /* and frames that come too late for it */
    struct packet *late = packet_new (&a, 8, on_done_free);
    late->frame.link = old;
    node_queue (&a, late);
    link_flush (a.link);
    ck_assert_uint_eq (a.done, a.queued);
    b.gate = false;
    WAIT (b.up == 0);
  }
  pair_stop (&a, &b);
}
END_TEST

static void *
storm_main (void *argument)
{
  struct node *node = argument;

  for (int i = 0; i < BULK_FRAMES; i++) {
    struct packet *packet = packet_new (node, 4096, on_done_free);

    if (packet->frame.link == 0)
      packet->frame.link = UINT32_MAX; /* no such connection */
    node_queue (node, packet);
    link_flush (node->link);
    if (i % 500 == 499)
      link_drop (node->link, node->up);
    if (i % 10 == 0)
      link_connect (node->link, PATIENCE_MS);
  }
  return NULL;
}

/* Queueing, dropping and connecting all at once, from both sides. */
START_TEST (storm)
{
  enum { THREADS = 4 };
  pthread_t threads[THREADS];
  struct node a;
  struct node b;

  pair_start (&a, &b);
  pair_connect (&a, &b);
  for (int i = 0; i < THREADS; i++)
    pthread_create (&threads[i], NULL, storm_main, i % 2 == 0 ? &a : &b);
  for (int i = 0; i < THREADS; i++)
    pthread_join (threads[i], NULL);
  WAIT (a.done == a.queued && b.done == b.queued);

  /* whatever happened, they can still find each other */
  uint64_t end = now_ms () + PATIENCE_MS;
  while (a.up == 0 || b.up == 0) {
    ck_assert_uint_lt (now_ms (), end);
    link_connect (a.link, 1000);
    pause_us (1000);
  }
  pair_stop (&a, &b);
}
END_TEST

START_TEST (stop_in_the_middle)
{
  struct node a;
  struct node b;

  pair_start (&a, &b);
  pair_connect (&a, &b);
  b.gate = true;
  for (int i = 0; i < 20; i++)
    node_send (&a, WIRE_PAYLOAD_MAX);
  node_queue (&a, packet_new (&a, 0, on_done_free));
  node_stop (&a);
  ck_assert_str_eq (a.why, "stopped");
  b.gate = false;
  WAIT (b.up == 0);
  link_connect (b.link, PATIENCE_MS);
  WAIT (b.fails == 1);
  link_connect (b.link, PATIENCE_MS);
  node_stop (&b);
}
END_TEST

/* ---------------------------------------------------------------- main */

int
main (void)
{
  Suite *suite = suite_create ("link");
  TCase *tests = tcase_create ("link");

  tcase_add_test (tests, bad_frames_end_that_connection_only);
  tcase_add_test (tests, ends_are_told_apart);
  tcase_add_test (tests, frames_survive_any_cut);
  tcase_add_test (tests, bulk_keeps_the_order_of_queueing);
  tcase_add_test (tests, no_frame_is_stranded);
  tcase_add_test (tests, flush_never_blocks);
  tcase_add_test (tests, drop_while_sending);
  tcase_add_test (tests, storm);
  tcase_add_test (tests, stop_in_the_middle);
  tcase_set_timeout (tests, 30);
  suite_add_tcase (suite, tests);

  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
