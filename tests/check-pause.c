/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-pause.c: a backup that steps back and a link that is paused, one
 * step at a time: what is durable when, who goes on alone, and what becomes
 * of it when etcd, which decides here, does not let it.  The rules are the
 * same with arbiter=client; there the simulator and test-pause look at them.
 */
#include "check-etcd.h"

static void
wish (enum core_admin admin_kind)
{
  forget_actions ();
  step (
    (struct core_event){ .type = EV_ADMIN, .wish = { .kind = admin_kind } });
}

/* One that etcd is asked for first, whether it would let it come true. */
static void
wish_asked (enum core_admin admin_kind)
{
  struct arbiter_value value = present ();

  wish (admin_kind);
  ck_assert (!sent (WIRE_YIELD));
  ck_assert (!sent (WIRE_YIELDED));
  pass (BEAT + 1);
  ck_assert (w.read);
  answer (ARBITER_DONE, 30, &value);
}

/* --------------------------------------------------------------- backup */

START_TEST (its_word_is_durable_before_it_is_given)
{
  pair (PEER);
  w.hold_disk = true;
  frame (WIRE_YIELD, 0);
  ck_assert (!sent (WIRE_YIELDED));
  ck_assert (w.record.discard);
  w.hold_disk = false;
  forget_actions ();
  step ((struct core_event){ .type = EV_SB_DURABLE, .version = w.held });
  ck_assert (sent (WIRE_YIELDED));
  ck_assert (!view ().paused);
  ck_assert_str_eq (reason (), "stepping back: the peer goes on alone");
  end ();
}
END_TEST

START_TEST (its_own_operator_pauses)
{
  pair (PEER);
  wish_asked (ADMIN_PAUSE);
  ck_assert (sent (WIRE_YIELDED));
  ck_assert (!w.told);
  link_down (true);
  ck_assert (w.told);
  ck_assert_int_eq (w.error, 0);
  ck_assert (view ().paused);
  /* It looks for nobody, and takes over from nobody. */
  pass (20 * GRACE);
  ck_assert (!w.connect);
  ck_assert (!w.swap);
  wish (ADMIN_PAUSE);
  ck_assert_int_eq (w.error, EPERM);
  wish (ADMIN_RESUME);
  ck_assert_int_eq (w.error, 0);
  ck_assert (!view ().paused);
  pass (1);
  ck_assert (w.connect);
  end ();
}
END_TEST

/* The peer that asked it to step back has a while to go on alone, whatever
 * was said of its lease; if it is dead the key decides, as always.
 */
START_TEST (it_takes_over_if_the_key_lets_it)
{
  struct arbiter_value value;

  pair (PEER);
  frame (WIRE_PING, 77);
  frame (WIRE_YIELD, 0);
  ck_assert (sent (WIRE_YIELDED));
  link_down (true);
  pass (GRACE - 1);
  ck_assert_uint_eq (core_record (w.core)->attempt.kind, GEN_NONE);
  ck_assert (!w.swap);
  pass (2);
  ck_assert (w.read);
  value = present ();
  answer (ARBITER_DONE, 30, &value);
  no_peer ();
  no_peer ();
  ck_assert (w.swap);
  ck_assert_uint_eq (w.asked.kind, GEN_TAKEOVER);
  answer (ARBITER_DONE, 31, NULL);
  ck_assert (!w.record.discard);
  ck_assert (serving ());
  end ();
}
END_TEST

START_TEST (who_takes_over_too_long_is_left)
{
  pair (PEER);
  frame (WIRE_YIELD, 0);
  ck_assert (sent (WIRE_YIELDED));
  for (int i = 0; i < 20 && !w.bye; i++) {
    frame (WIRE_PING, 77);
    pass (DEAD / 10);
  }
  ck_assert (w.bye);
  end ();
}
END_TEST

/* -------------------------------------------------------------- primary */

/* Until the key has the new generation; its name is not told here. */
static void
go_on_alone (void)
{
  struct arbiter_value value = present ();

  ck_assert (w.read);
  ck_assert (!w.connect);
  answer (ARBITER_DONE, 30, &value);
  ck_assert (w.swap);
  ck_assert_uint_eq (w.asked.kind, GEN_SOLO);
}

START_TEST (primary_goes_on_alone_by_its_word)
{
  pair (ME);
  wish_asked (ADMIN_PAUSE);
  ck_assert (sent (WIRE_YIELD));
  frame (WIRE_YIELDED, 0);
  ck_assert (!w.told);
  go_on_alone ();
  ck_assert (!w.told);
  answer (ARBITER_DONE, 31, NULL);
  ck_assert (w.told);
  ck_assert_int_eq (w.error, 0);
  ck_assert (serving ());
  ck_assert (!core_record (w.core)->both);
  pass (20 * DEAD);
  ck_assert (!w.connect);
  ck_assert_str_eq (reason (),
                    "serving alone; the link is paused by this "
                    "node's operator: say duetctl resume");
  end ();
}
END_TEST

/* The backup's operator has paused: it is looked for now and then. */
START_TEST (primary_hears_of_a_pause)
{
  pair (ME);
  frame (WIRE_YIELDED, 1);
  go_on_alone ();
  answer (ARBITER_DONE, 31, NULL);
  ck_assert (view ().peer_paused);
  ck_assert (serving ());
  pass (CORE_PAUSED_MS / 2);
  ck_assert (!w.connect);
  pass (CORE_PAUSED_MS);
  ck_assert (w.connect);
  end ();
}
END_TEST

/* Who is paused exchanges hellos, so that both know, and parts again. */
START_TEST (paused_nodes_meet_and_part)
{
  struct wire_hello hello;

  pair (ME);
  hello = peer_hello ();
  hello.record.discard = true;
  wish_asked (ADMIN_PAUSE);
  frame (WIRE_YIELDED, 0);
  go_on_alone ();
  answer (ARBITER_DONE, 31, NULL);
  link_up ();
  ck_assert (w.hello);
  ck_assert_uint_eq (core_hello (w.core)->features, WIRE_ETCD | WIRE_PAUSED);
  say_hello (hello);
  ck_assert (!view ().linked);
  ck_assert (serving ());
  wish (ADMIN_RESUME);
  pass (1);
  ck_assert (w.connect);
  link_up ();
  ck_assert_uint_eq (core_hello (w.core)->features, WIRE_ETCD);
  say_hello (hello);
  ck_assert (view ().linked);
  end ();
}
END_TEST

/* Both copies are members until etcd says otherwise: the pause is taken
 * back, so that the nodes can meet.
 */
START_TEST (pause_is_taken_back_without_etcd)
{
  pair (ME);
  wish_asked (ADMIN_PAUSE);
  frame (WIRE_YIELDED, 0);
  ck_assert (w.read);
  answer (ARBITER_UNREACHABLE, 0, NULL);
  ck_assert (view ().paused);
  pass (2 * DEAD + CORE_RETRY_MS + 1);
  ck_assert (w.told);
  ck_assert_int_eq (w.error, ETIMEDOUT);
  ck_assert (!view ().paused);
  ck_assert (w.connect);
  end ();
}
END_TEST

START_TEST (full_resync_marks_all)
{
  static const uint8_t all[] = { 0x0f };

  pair (ME);
  wish_asked (ADMIN_RESYNC);
  ck_assert (sent (WIRE_YIELD));
  ck_assert_uint_eq (view ().dirty_bytes, 0);
  frame (WIRE_YIELDED, 0);
  go_on_alone ();
  ck_assert (!w.told);
  answer (ARBITER_DONE, 31, NULL);
  ck_assert (w.told);
  ck_assert_int_eq (w.error, 0);
  ck_assert (!view ().paused);
  ck_assert_uint_eq (view ().dirty_bytes, 1 << 20);
  ck_assert_mem_eq (core_map_page (w.core, 0), all, sizeof all);
  end ();
}
END_TEST

/* A role that moves meanwhile would make a primary of who steps back. */
START_TEST (nothing_moves_while_it_is_asked)
{
  pair (ME);
  wish_asked (ADMIN_PAUSE);
  frame (WIRE_SWITCH_REQUEST, WIRE_SWITCH_END_PLAIN);
  ck_assert (sent (WIRE_SWITCH_DENY));
  end ();
}
END_TEST

/* What was read before may be of a generation that is past. */
START_TEST (etcd_is_asked_first)
{
  struct arbiter_value value;

  pair (ME);
  value = present ();
  wish (_i == 0 ? ADMIN_PAUSE : ADMIN_RESYNC);
  pass (BEAT + 1);
  ck_assert (w.read);
  ck_assert (!w.told);
  value.gen.epoch += 3;
  if (_i == 0)
    answer (ARBITER_UNREACHABLE, 0, NULL);
  else
    answer (ARBITER_DONE, 40, &value);
  ck_assert (w.told);
  ck_assert_int_eq (w.error, EPERM);
  ck_assert (!sent (WIRE_YIELD));
  end ();
}
END_TEST

/* ------------------------------------------------------------- refusals */

static const struct {
  enum core_admin kind;
  uint64_t primary;
  bool linked;
} refused[] = {
  { ADMIN_PAUSE, ME, false },  { ADMIN_PAUSE, PEER, false },
  { ADMIN_PAUSE, 0, true },    { ADMIN_RESUME, ME, true },
  { ADMIN_RESUME, ME, false }, { ADMIN_RESYNC, PEER, true },
  { ADMIN_RESYNC, 0, true },   { ADMIN_RESYNC, ME, false },
};

START_TEST (what_makes_no_sense_is_refused)
{
  struct arbiter_value value;

  begin (refused[_i].primary);
  value = present ();
  answer (ARBITER_DONE, 30, &value);
  if (refused[_i].linked)
    join_up ();
  wish (refused[_i].kind);
  ck_assert (w.told);
  ck_assert_int_eq (w.error, EPERM);
  ck_assert (!view ().paused);
  ck_assert (!core_record (w.core)->discard);
  end ();
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("pause");
  TCase *tcase = tcase_create ("pause");
  SRunner *runner;
  int failed;

  tcase_add_test (tcase, its_word_is_durable_before_it_is_given);
  tcase_add_test (tcase, its_own_operator_pauses);
  tcase_add_test (tcase, it_takes_over_if_the_key_lets_it);
  tcase_add_test (tcase, who_takes_over_too_long_is_left);
  tcase_add_test (tcase, primary_goes_on_alone_by_its_word);
  tcase_add_test (tcase, primary_hears_of_a_pause);
  tcase_add_test (tcase, paused_nodes_meet_and_part);
  tcase_add_test (tcase, pause_is_taken_back_without_etcd);
  tcase_add_test (tcase, full_resync_marks_all);
  tcase_add_test (tcase, nothing_moves_while_it_is_asked);
  tcase_add_loop_test (tcase, etcd_is_asked_first, 0, 2);
  tcase_add_loop_test (tcase, what_makes_no_sense_is_refused, 0,
                       sizeof refused / sizeof refused[0]);
  suite_add_tcase (suite, tcase);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_ENV);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
