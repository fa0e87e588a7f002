/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-lease.c: arbiter=etcd at one node of a pair: the primary's lease,
 * and what the pair does when etcd is missing.
 */
#include "check-etcd.h"

/* ------------------------------------------------------------- the lease */

START_TEST (hello_grants_no_lease)
{
  begin (ME);
  join_up ();
  ck_assert (!serving ());
  frame (WIRE_PONG, w.ping);
  ck_assert (serving ());
  end ();
}
END_TEST

START_TEST (lease_counts_from_the_sending)
{
  begin (ME);
  join_up ();
  w.now += 400; /* the answer takes its time */
  frame (WIRE_PONG, w.ping);
  ck_assert (serving ());
  w.now += LEASE - 400 - 1;
  frame (WIRE_PONG, 0); /* says nothing new */
  ck_assert (serving ());
  w.now += 1;
  frame (WIRE_PONG, 0);
  ck_assert (!serving ());
  end ();
}
END_TEST

/* An answer to a ping of the link before. */
START_TEST (lease_is_of_one_link)
{
  uint64_t old;

  begin (ME);
  join_up ();
  old = w.ping;
  link_down (false);
  ck_assert (!serving ());
  join_up ();
  frame (WIRE_PONG, old);
  ck_assert (!serving ());
  frame (WIRE_PONG, w.ping);
  ck_assert (serving ());
  end ();
}
END_TEST

START_TEST (closing_ends_the_lease_first)
{
  begin (ME);
  join_up ();
  frame (WIRE_PONG, w.ping);
  ck_assert (serving ());
  step ((struct core_event){ .type = EV_LINK_CLOSING, .link = w.link });
  ck_assert (!serving ());
  frame (WIRE_PONG, w.ping); /* it was on its way */
  ck_assert (!serving ());
  end ();
}
END_TEST

/* What was read is looked at again: the lease ended in between. */
START_TEST (view_is_checked_after_the_read)
{
  begin (ME);
  join_up ();
  frame (WIRE_PONG, w.ping);
  step ((struct core_event){ .type = EV_OPEN, .slot = 3 });
  ck_assert (w.opened);
  ck_assert_int_eq (w.open_error, 0);
  step ((struct core_event){
    .type = EV_REQUEST,
    .slot = 1,
    .request = { .kind = REQ_READ, .conn = 3, .length = 4096 } });
  ck_assert_uint_eq (w.local, 2);
  w.now += LEASE;
  forget_actions ();
  step ((struct core_event){ .type = EV_LOCAL_DONE, .slot = 1 });
  ck_assert (!w.complete);
  w.now += 10;
  step ((struct core_event){ .type = EV_TICK });
  frame (WIRE_PONG, w.ping);
  ck_assert (w.complete);
  ck_assert_int_eq (w.error, 0);
  end ();
}
END_TEST

/* ------------------------------------------------------------- the pair */

START_TEST (other_arbiter_is_refused)
{
  struct wire_hello hello;

  for (unsigned i = 0; i < 3; i++) {
    begin (ME);
    link_up ();
    hello = peer_hello ();
    if (i == 0)
      hello.features = hello.lease_ms = hello.grace_ms = 0;
    else if (i == 1)
      hello.lease_ms--;
    else
      hello.grace_ms++;
    say_hello (hello);
    ck_assert (w.bye);
    ck_assert_str_eq (reason (),
                      "the peer has another arbiter=, lease= or "
                      "grace=: give both nodes the same");
    end ();
  }
}
END_TEST

START_TEST (missing_key_is_written_by_the_pair)
{
  begin (ME);
  answer (ARBITER_DONE, 0, NULL);
  join_up ();
  ck_assert (w.swap);
  ck_assert_uint_eq (w.revision, 0);
  ck_assert (gen_id_equal (w.asked.gen, gen_current (core_record (w.core))));
  ck_assert_uint_eq (w.asked.members[1], PEER);
  end ();
}
END_TEST

START_TEST (alone_without_a_key_nothing_is_served)
{
  begin (ME);
  answer (ARBITER_DONE, 0, NULL);
  pass (GRACE + 1);
  no_peer ();
  answer (ARBITER_DONE, 0, NULL);
  ck_assert (!w.swap);
  ck_assert (!serving ());
  ck_assert_str_eq (reason (),
                    "etcd does not know this generation: start the peer, too");
  end ();
}
END_TEST

START_TEST (neither_peer_nor_etcd)
{
  begin (ME);
  answer (ARBITER_UNREACHABLE, 0, NULL);
  pass (GRACE + 1);
  no_peer ();
  answer (ARBITER_UNREACHABLE, 0, NULL);
  ck_assert_str_eq (reason (),
                    "can reach neither the peer nor etcd: serves nothing");
  step ((struct core_event){ .type = EV_OPEN, .slot = 1 });
  ck_assert (w.opened);
  ck_assert_int_eq (w.open_error, ESHUTDOWN);
  end ();
}
END_TEST

/* etcd may be down while both are up. */
START_TEST (pair_serves_without_etcd)
{
  begin (ME);
  answer (ARBITER_UNREACHABLE, 0, NULL);
  join_up ();
  frame (WIRE_PONG, w.ping);
  ck_assert (serving ());
  pass (60);
  if (w.read)
    answer (ARBITER_UNREACHABLE, 0, NULL);
  ck_assert (serving ());
  ck_assert_str_eq (reason (),
                    "in sync; etcd cannot be reached: neither "
                    "node could go on alone");
  end ();
}
END_TEST

START_TEST (newer_epoch_shown_is_refused)
{
  begin (ME);
  join_up ();
  frame (WIRE_PONG, w.ping);
  step ((struct core_event){
    .type = EV_OPEN,
    .slot = 1,
    .open = {
      .proxied = true, .client = 3, .session = 1, .shown = { 6, 1 } } });
  ck_assert (w.opened);
  ck_assert_int_eq (w.open_error, ESHUTDOWN);
  forget_actions ();
  step ((struct core_event){
    .type = EV_OPEN,
    .slot = 2,
    .open = {
      .proxied = true, .client = 3, .session = 2, .shown = { 2, 1 } } });
  ck_assert (w.opened);
  ck_assert_int_eq (w.open_error, 0);
  end ();
}
END_TEST

/* A node that took over and was killed before it answered: its peer's
 * lease is over when it says hello, and no ping of a target brings it back.
 */
START_TEST (target_has_no_lease)
{
  struct gen_record record = member (ME);
  struct wire_hello hello;

  record.both = false;
  record.history[1] = record.history[0];
  record.history[0] = (struct generation){ .gen = { 6, 66 },
                                           .kind = GEN_TAKEOVER };
  w.now = 1000000;
  boot (&record, TAKEOVER_PROXY);
  ck_assert (!serving ());
  link_up ();
  hello = peer_hello ();
  hello.record.both = true;
  hello.record.primary = PEER;
  hello.record.history[0] = hello.record.history[1];
  hello.record.history_count = 1;
  say_hello (hello);
  ck_assert (serving ());
  frame (WIRE_PING, 1);
  ck_assert (w.pong);
  ck_assert (serving ());
  end ();
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("lease");
  TCase *lease = tcase_create ("lease");
  TCase *pair = tcase_create ("pair");
  SRunner *runner;
  int failed;

  tcase_add_test (lease, hello_grants_no_lease);
  tcase_add_test (lease, lease_counts_from_the_sending);
  tcase_add_test (lease, lease_is_of_one_link);
  tcase_add_test (lease, closing_ends_the_lease_first);
  tcase_add_test (lease, view_is_checked_after_the_read);
  tcase_add_test (lease, target_has_no_lease);
  tcase_add_test (pair, other_arbiter_is_refused);
  tcase_add_test (pair, missing_key_is_written_by_the_pair);
  tcase_add_test (pair, alone_without_a_key_nothing_is_served);
  tcase_add_test (pair, neither_peer_nor_etcd);
  tcase_add_test (pair, pair_serves_without_etcd);
  tcase_add_test (pair, newer_epoch_shown_is_refused);
  suite_add_tcase (suite, lease);
  suite_add_tcase (suite, pair);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_ENV);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
