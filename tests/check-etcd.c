/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-etcd.c: arbiter=etcd at one node: what it asks of etcd and when,
 * and what each answer makes of it.
 */
#include "check-etcd.h"

/* ---------------------------------------------------------- going alone */

START_TEST (name_is_durable_before_it_is_sent)
{
  struct arbiter_value value;

  begin (ME);
  value = present ();
  answer (ARBITER_DONE, 30, &value);
  join_up ();
  link_down (true);
  no_peer ();
  w.hold_disk = true;
  answer (ARBITER_DONE, 30, &value);
  ck_assert (!w.swap);
  ck_assert_uint_eq (w.record.attempt.kind, GEN_SOLO);
  w.hold_disk = false;
  step ((struct core_event){ .type = EV_SB_DURABLE, .version = w.held });
  ck_assert (w.swap);
  ck_assert_uint_eq (w.revision, 30);
  ck_assert (gen_id_equal (w.asked.gen, w.record.attempt.gen));
  ck_assert_uint_eq (w.asked.maker, ME);
  ck_assert_uint_eq (w.asked.primary, ME);
  ck_assert_uint_eq (w.asked.members[1], 0);
  ck_assert (!serving ());
  end ();
}
END_TEST

START_TEST (nothing_is_asked_before_the_peer_was_tried)
{
  struct arbiter_value value;

  begin (ME);
  value = present ();
  answer (ARBITER_DONE, 30, &value);
  join_up ();
  link_down (true);
  answer (ARBITER_DONE, 30, &value);
  ck_assert (!w.swap);
  no_peer ();
  ck_assert (w.swap);
  end ();
}
END_TEST

START_TEST (key_then_disk_then_service)
{
  primary_asks ();
  w.hold_disk = true;
  answer (ARBITER_DONE, 31, NULL);
  ck_assert_uint_eq (kind (), GEN_SOLO);
  ck_assert (!serving ());
  w.hold_disk = false;
  step ((struct core_event){ .type = EV_SB_DURABLE, .version = w.held });
  ck_assert (serving ());
  ck_assert_uint_eq (w.record.attempt.kind, GEN_NONE);
  end ();
}
END_TEST

/* The answer was lost; asked again, etcd says that it took place. */
START_TEST (unknown_is_asked_again_under_its_name)
{
  struct gen_id name;
  struct arbiter_value mine;

  primary_asks ();
  mine = w.asked;
  name = w.asked.gen;
  answer (ARBITER_UNKNOWN, 0, NULL);
  ck_assert (!w.swap);
  link_up (); /* meanwhile no hello is said */
  ck_assert (!w.hello);
  pass (100);
  ck_assert (w.swap);
  ck_assert (!w.hello);
  ck_assert (gen_id_equal (w.asked.gen, name));
  ck_assert_uint_eq (w.revision, 30);
  answer (ARBITER_UNREACHABLE, 0, NULL); /* says nothing of the first time */
  ck_assert_uint_eq (core_record (w.core)->attempt.kind, GEN_SOLO);
  pass (200);
  ck_assert (w.swap);
  answer (ARBITER_CONFLICT, 31, &mine);
  ck_assert_uint_eq (kind (), GEN_SOLO);
  ck_assert (w.hello);
  end ();
}
END_TEST

START_TEST (conflict_ends_an_attempt)
{
  struct arbiter_value taken;

  primary_asks ();
  taken = present ();
  taken.parent = taken.gen;
  taken.gen = (struct gen_id){ 6, 999 };
  taken.kind = GEN_TAKEOVER;
  answer (ARBITER_CONFLICT, 31, &taken);
  ck_assert_uint_eq (core_record (w.core)->attempt.kind, GEN_NONE);
  ck_assert_uint_eq (kind (), GEN_JOIN);
  ck_assert (!serving ());
  pass (300);
  answer (ARBITER_DONE, 31, &taken);
  ck_assert (!w.swap);
  ck_assert_str_eq (reason (),
                    "etcd says that the peer went on without this "
                    "copy; waits for it");
  end ();
}
END_TEST

/* Nobody was asked: the node is free to talk to its peer. */
START_TEST (unreachable_at_first_is_nothing)
{
  primary_asks ();
  answer (ARBITER_UNREACHABLE, 0, NULL);
  ck_assert_uint_eq (core_record (w.core)->attempt.kind, GEN_NONE);
  link_up ();
  ck_assert (w.hello);
  end ();
}
END_TEST

START_TEST (attempt_outlives_the_process)
{
  struct gen_record record;
  struct gen_id name;

  primary_asks ();
  name = w.asked.gen;
  record = w.record;
  boot (&record, TAKEOVER_PROXY);
  ck_assert (w.swap);
  ck_assert (!w.read);
  ck_assert (gen_id_equal (w.asked.gen, name));
  ck_assert_uint_eq (w.revision, 30);
  answer (ARBITER_UNREACHABLE, 0, NULL); /* the process before may have */
  link_up ();
  ck_assert (!w.hello);
  pass (60);
  ck_assert (w.swap);
  answer (ARBITER_DONE, 31, NULL);
  ck_assert_uint_eq (kind (), GEN_SOLO);
  end ();
}
END_TEST

/* Made by this node, which has forgotten its name. */
START_TEST (own_child_is_adopted)
{
  struct arbiter_value child;

  begin (ME);
  pass (GRACE + 1);
  child = present ();
  child.parent = child.gen;
  child.gen = (struct gen_id){ 6, 666 };
  child.kind = GEN_SOLO;
  child.maker = ME;
  no_peer ();
  answer (ARBITER_DONE, 40, &child); /* the probe of the start */
  pass (10);
  if (w.read)
    answer (ARBITER_DONE, 40, &child);
  ck_assert_uint_eq (kind (), GEN_SOLO);
  ck_assert_uint_eq (gen_current (core_record (w.core)).id, 666);
  ck_assert (serving ());
  end ();
}
END_TEST

/* A disk that fails before etcd has answered: the node asks for what the
 * key held, so that the peer can take over from there.
 */
START_TEST (failed_copy_takes_its_attempt_back)
{
  struct arbiter_value again;

  primary_asks ();
  step ((struct core_event){ .type = EV_STORE_SHORT });
  answer (ARBITER_UNKNOWN, 0, NULL);
  pass (100);
  ck_assert (w.swap);
  ck_assert_uint_eq (w.revision, 30);
  ck_assert (gen_id_equal (w.asked.gen, gen_current (core_record (w.core))));
  again = w.asked;
  answer (ARBITER_DONE, 32, &again);
  ck_assert_uint_eq (core_record (w.core)->attempt.kind, GEN_NONE);
  ck_assert_uint_eq (kind (), GEN_JOIN);
  end ();
}
END_TEST

START_TEST (late_and_repeated_answers_count_for_nothing)
{
  struct arbiter_value value;
  uint64_t old;

  begin (ME);
  value = present ();
  old = w.ticket;
  answer (ARBITER_DONE, 30, &value);
  join_up ();
  link_down (true);
  no_peer ();
  w.ticket = old;
  answer (ARBITER_DONE, 30, &value); /* of the question before */
  ck_assert (!w.swap);
  end ();
}
END_TEST

/* -------------------------------------------------------- taking over */

/* A backup that has answered a ping and lost its primary. */
static void
backup_alone (bool closed)
{
  struct arbiter_value value;

  begin (PEER);
  value = present ();
  answer (ARBITER_DONE, 30, &value);
  join_up ();
  pass (GRACE); /* its start does not matter any more */
  frame (WIRE_PING, 77);
  ck_assert (w.pong);
  link_down (closed);
}

START_TEST (backup_waits_for_the_lease)
{
  struct arbiter_value value;

  backup_alone (false);
  ck_assert (!w.read);
  pass (GRACE - 1);
  ck_assert (!w.read);
  pass (1);
  ck_assert (w.read);
  value = present ();
  answer (ARBITER_DONE, 30, &value);
  no_peer (); /* an attempt that began before */
  ck_assert (!w.swap);
  no_peer ();
  ck_assert (w.swap);
  ck_assert_uint_eq (w.asked.kind, GEN_TAKEOVER);
  answer (ARBITER_DONE, 31, NULL);
  ck_assert (serving ());
  end ();
}
END_TEST

START_TEST (backup_need_not_wait_for_the_dead)
{
  struct arbiter_value value;

  backup_alone (true);
  ck_assert (w.read);
  value = present ();
  no_peer ();
  answer (ARBITER_DONE, 30, &value);
  answer (ARBITER_DONE, 31, NULL);
  ck_assert (serving ());
  end ();
}
END_TEST

START_TEST (goodbye_ends_the_lease)
{
  begin (PEER);
  join_up ();
  frame (WIRE_PING, 77);
  frame (WIRE_BYE, WIRE_BYE_STOP);
  pass (1);
  ck_assert_uint_eq (core_record (w.core)->attempt.kind, GEN_NONE);
  {
    struct core_view view;

    core_view (w.core, &view);
    ck_assert_uint_eq (view.grace_left_ms, 0);
  }
  end ();
}
END_TEST

/* It took over, was killed before it could serve, and is back at once. */
START_TEST (new_process_waits_again)
{
  struct gen_record record;
  struct arbiter_value value;

  backup_alone (true);
  value = present ();
  no_peer ();
  answer (ARBITER_DONE, 30, &value);
  answer (ARBITER_DONE, 31, NULL);
  record = w.record;
  ck_assert_uint_eq (record.history[0].kind, GEN_TAKEOVER);
  boot (&record, TAKEOVER_PROXY);
  ck_assert (!serving ());
  pass (GRACE - 1);
  ck_assert (!serving ());
  pass (2);
  step ((struct core_event){ .type = EV_TICK });
  ck_assert (serving ());
  end ();
}
END_TEST

START_TEST (manual_takeover_asks_nothing)
{
  struct gen_record record = member (PEER);

  w.now = 1000000;
  boot (&record, TAKEOVER_MANUAL);
  pass (3 * GRACE);
  ck_assert (!w.swap);
  step ((struct core_event){ .type = EV_OPEN, .slot = 1 });
  ck_assert (w.opened);
  ck_assert_int_eq (w.open_error, ESHUTDOWN);
  end ();
}
END_TEST

/* The peer made a switch, by this node's grant, and died before it could
 * say so: nobody has served in it.
 */
START_TEST (switch_is_adopted_from_the_key)
{
  struct arbiter_value value;

  begin (ME);
  value = present ();
  answer (ARBITER_DONE, 30, &value);
  join_up ();
  link_down (true);
  value.parent = value.gen;
  value.gen = (struct gen_id){ 6, 700 };
  value.kind = GEN_SWITCH;
  value.maker = value.primary = PEER;
  no_peer ();
  answer (ARBITER_DONE, 31, &value);
  ck_assert_uint_eq (kind (), GEN_SWITCH);
  ck_assert_uint_eq (core_record (w.core)->primary, PEER);
  ck_assert (!w.swap);
  pass (GRACE + 1);
  no_peer ();
  value = present ();
  answer (ARBITER_DONE, 31, &value);
  ck_assert (w.swap);
  ck_assert_uint_eq (w.asked.kind, GEN_TAKEOVER);
  end ();
}
END_TEST

/* ---------------------------------------------------- the administrator */

/* No word of a person's stands in for the key's, linked or not. */
START_TEST (nobody_promotes_by_force)
{
  static const enum core_admin kinds[] = { ADMIN_FORCE, ADMIN_DISCARD };

  begin (ME);
  for (int i = 0; i < 4; i++) {
    if (i == 2)
      join_up ();
    forget_actions ();
    step ((struct core_event){ .type = EV_ADMIN,
                               .wish = { .kind = kinds[i % 2] } });
    ck_assert (w.told);
    ck_assert_int_eq (w.error, EPERM);
    ck_assert_uint_eq (kind (), GEN_JOIN);
    ck_assert (!core_record (w.core)->discard);
  }
  end ();
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("etcd");
  TCase *alone = tcase_create ("alone");
  TCase *takes = tcase_create ("takeover");
  SRunner *runner;
  int failed;

  tcase_add_test (alone, name_is_durable_before_it_is_sent);
  tcase_add_test (alone, nothing_is_asked_before_the_peer_was_tried);
  tcase_add_test (alone, key_then_disk_then_service);
  tcase_add_test (alone, unknown_is_asked_again_under_its_name);
  tcase_add_test (alone, conflict_ends_an_attempt);
  tcase_add_test (alone, unreachable_at_first_is_nothing);
  tcase_add_test (alone, attempt_outlives_the_process);
  tcase_add_test (alone, own_child_is_adopted);
  tcase_add_test (alone, failed_copy_takes_its_attempt_back);
  tcase_add_test (alone, late_and_repeated_answers_count_for_nothing);
  tcase_add_test (alone, nobody_promotes_by_force);
  tcase_add_test (takes, backup_waits_for_the_lease);
  tcase_add_test (takes, backup_need_not_wait_for_the_dead);
  tcase_add_test (takes, goodbye_ends_the_lease);
  tcase_add_test (takes, new_process_waits_again);
  tcase_add_test (takes, manual_takeover_asks_nothing);
  tcase_add_test (takes, switch_is_adopted_from_the_key);
  suite_add_tcase (suite, alone);
  suite_add_tcase (suite, takes);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_ENV);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
