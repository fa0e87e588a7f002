/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-resize.c: the volume grows, one step at a time: what is durable before
 * what is said or shown, who is asked when, what refuses it and what takes it
 * back, and how two copies meet that differ in size.  The rules are the same
 * with arbiter=client; there the simulator and test-resize look at them.
 */
#include "check-etcd.h"

enum { SIZE = 1 << 20, MORE = 3 << 20 };

static void
wish (uint64_t size)
{
  forget_actions ();
  step ((struct core_event){ .type = EV_ADMIN,
                             .wish = { .kind = ADMIN_RESIZE, .size = size } });
  ck_assert (w.told);
}

/* A pair in sync whose primary is PRIMARY, and has a lease. */
static void
leased_pair (uint64_t primary)
{
  pair (primary);
  frame (WIRE_PONG, w.ping);
  forget_actions ();
}

/* The shell has done what ACT_GROW asks for. */
static void
grown (uint64_t size)
{
  ck_assert_uint_eq (w.grow, size);
  forget_actions ();
  step ((struct core_event){ .type = EV_GROWN,
                             .room = size > core_record (w.core)->size
                               ? marks_new (size, MARKS_CHUNK)
                               : NULL });
}

static void
not_grown (int error, uint64_t bytes)
{
  ck_assert_uint_ne (w.grow, 0);
  forget_actions ();
  step (
    (struct core_event){ .type = EV_GROWN, .error = error, .bytes = bytes });
}

static void
resized (enum wire_resized result, uint64_t bytes)
{
  struct wire_frame in = { .type = WIRE_RESIZED,
                           .arg = result,
                           .offset = bytes };

  in.gen = gen_current (core_record (w.core));
  forget_actions ();
  step ((struct core_event){ .type = EV_FRAME, .link = w.link, .frame = &in });
}

static void
let_disk (void)
{
  uint64_t version = w.held;

  ck_assert_uint_ne (version, 0);
  w.hold_disk = false;
  w.held = 0;
  forget_actions ();
  step ((struct core_event){ .type = EV_SB_DURABLE, .version = version });
}

/* ---------------------------------------------------------------- primary */

START_TEST (primary_is_ready_then_asks_then_grows)
{
  leased_pair (ME);
  w.hold_disk = true;
  wish (MORE);
  ck_assert_int_eq (w.error, 0);
  ck_assert_uint_eq (w.record.grow_to, MORE);
  ck_assert_uint_eq (w.grow, 0);
  let_disk ();
  ck_assert (!sent (WIRE_RESIZE));
  grown (MORE);
  ck_assert (sent (WIRE_RESIZE));
  ck_assert_uint_eq (w.word_arg, MORE);
  ck_assert_uint_eq (w.record.size, SIZE);
  ck_assert_uint_eq (core_size (w.core), SIZE);
  w.hold_disk = true;
  resized (WIRE_RESIZED_DONE, MORE);
  ck_assert_uint_eq (w.record.size, MORE);
  ck_assert_uint_eq (w.record.made_size, SIZE);
  ck_assert_uint_eq (w.record.grow_to, 0);
  ck_assert_uint_eq (core_size (w.core), SIZE);
  ck_assert (view ().resize.active);
  ck_assert (serving ());
  let_disk ();
  ck_assert_uint_eq (core_size (w.core), MORE);
  ck_assert (!view ().resize.active);
  ck_assert_ptr_null (view ().resize.ended);
  ck_assert_uint_eq (view ().resize.from_bytes, SIZE);
  /* The peer is told, so that it may become primary. */
  ck_assert (sent (WIRE_RESIZED));
  ck_assert (serving ());

  wish (MORE + 1);
  ck_assert_int_eq (w.error, 0);
  ck_assert_uint_eq (w.record.made_size, SIZE);
  end ();
}
END_TEST

START_TEST (own_disk_is_looked_at_first)
{
  leased_pair (ME);
  wish (MORE);
  not_grown (ENOSPC, SIZE + 4096);
  ck_assert (!sent (WIRE_RESIZE));
  ck_assert (!view ().resize.active);
  ck_assert_ptr_nonnull (strstr (view ().resize.ended, "this node's disk"));
  ck_assert_uint_eq (view ().resize.disk_bytes, SIZE + 4096);
  /* What there is of it is cleared away; then it may be asked for again. */
  ck_assert_uint_eq (w.record.grow_to, MORE);
  wish (MORE);
  ck_assert_int_eq (w.error, EPERM);
  w.grow = SIZE;
  grown (SIZE);
  ck_assert_uint_eq (w.record.grow_to, 0);
  ck_assert_uint_eq (w.record.size, SIZE);
  wish (MORE);
  ck_assert_int_eq (w.error, 0);
  end ();
}
END_TEST

static const struct {
  enum wire_resized result;
  const char *says;
} excuses[] = {
  { WIRE_RESIZED_SMALL, "the peer's disk is too small" },
  { WIRE_RESIZED_SPACE, "file system of the peer's" },
  { WIRE_RESIZED_MAP, "region map" },
  { WIRE_RESIZED_ERROR, "the peer's disk gave an error" },
  { 77, "the peer's disk gave an error" },
};

START_TEST (peer_cannot)
{
  leased_pair (ME);
  wish (MORE);
  grown (MORE);
  resized (excuses[_i].result, 2 << 20);
  ck_assert_ptr_nonnull (strstr (view ().resize.ended, excuses[_i].says));
  ck_assert_uint_eq (view ().resize.disk_bytes,
                     excuses[_i].result == WIRE_RESIZED_SMALL ? 2 << 20 : 0);
  grown (SIZE);
  ck_assert_uint_eq (w.record.size, SIZE);
  ck_assert_uint_eq (w.record.grow_to, 0);
  ck_assert_uint_eq (core_size (w.core), SIZE);
  ck_assert (serving ());
  ck_assert (view ().linked);
  end ();
}
END_TEST

/* Wherever it was, the link's end is the end of it, but for the last step. */
START_TEST (link_is_lost)
{
  leased_pair (ME);
  w.hold_disk = _i == 0;
  wish (MORE);
  if (_i >= 2)
    grown (MORE);
  if (_i == 3) {
    w.hold_disk = true;
    resized (WIRE_RESIZED_DONE, MORE);
  }
  forget_actions ();
  step ((struct core_event){ .type = EV_LINK_DOWN, .link = w.link });
  if (_i == 3) {
    let_disk ();
    ck_assert_uint_eq (core_size (w.core), MORE);
    ck_assert_ptr_null (view ().resize.ended);
    end ();
    return;
  }
  ck_assert (!view ().resize.active);
  ck_assert_ptr_nonnull (strstr (view ().resize.ended, "link was lost"));
  if (_i == 0)
    w.hold_disk = false;
  if (_i == 1) {
    w.grow = MORE;
    grown (MORE);
  }
  grown (SIZE);
  ck_assert_uint_eq (w.record.size, SIZE);
  ck_assert_uint_eq (core_size (w.core), SIZE);
  end ();
}
END_TEST

START_TEST (no_role_moves_meanwhile)
{
  leased_pair (ME);
  wish (MORE);
  grown (MORE);
  frame (WIRE_SWITCH_REQUEST, WIRE_SWITCH_END_PLAIN);
  ck_assert (sent (WIRE_SWITCH_DENY));
  forget_actions ();
  step (
    (struct core_event){ .type = EV_ADMIN, .wish = { .kind = ADMIN_VERIFY } });
  ck_assert_int_eq (w.error, EPERM);
  end ();
}
END_TEST

static const struct {
  uint64_t primary, size;
  bool linked;
} refused[] = {
  { ME, SIZE, true },  { ME, SIZE - 1, true }, { ME, UINT64_C (1) << 63, true },
  { ME, MORE, false }, { PEER, MORE, true },   { PEER, MORE, false },
  { 0, MORE, true },
};

START_TEST (what_makes_no_sense_is_refused)
{
  struct arbiter_value value;

  begin (refused[_i].primary);
  value = present ();
  answer (ARBITER_DONE, 30, &value);
  if (refused[_i].linked)
    join_up ();
  wish (refused[_i].size);
  ck_assert_int_eq (w.error, EPERM);
  ck_assert_uint_eq (w.record.grow_to, 0);
  ck_assert_uint_eq (view ().resize.started_ms, 0);
  end ();
}
END_TEST

/* ----------------------------------------------------------------- backup */

START_TEST (backup_says_so_when_it_is_durable)
{
  leased_pair (PEER);
  w.hold_disk = true;
  frame (WIRE_RESIZE, MORE);
  ck_assert_uint_eq (w.record.grow_to, MORE);
  ck_assert_uint_eq (w.grow, 0);
  let_disk ();
  w.hold_disk = true;
  grown (MORE);
  ck_assert (!sent (WIRE_RESIZED));
  ck_assert_uint_eq (w.record.size, MORE);
  let_disk ();
  ck_assert (sent (WIRE_RESIZED));
  ck_assert_uint_eq (w.word_arg, WIRE_RESIZED_DONE);
  ck_assert_uint_eq (w.word, MORE);
  ck_assert_uint_eq (core_size (w.core), MORE);
  end ();
}
END_TEST

START_TEST (backup_whose_disk_is_too_small)
{
  leased_pair (PEER);
  frame (WIRE_RESIZE, MORE);
  not_grown (ENOSPC, 2 << 20);
  ck_assert (sent (WIRE_RESIZED));
  ck_assert_uint_eq (w.word_arg, WIRE_RESIZED_SMALL);
  ck_assert_uint_eq (w.word, 2 << 20);
  /* It is asked again before it has cleared the first one away. */
  uint64_t grow = w.grow;
  frame (WIRE_RESIZE, MORE);
  ck_assert_uint_eq (w.grow, 0);
  w.grow = grow;
  grown (SIZE);
  grown (MORE);
  ck_assert_uint_eq (w.word_arg, WIRE_RESIZED_DONE);
  end ();
}
END_TEST

/* It carries on without the link, and then it is the larger one. */
START_TEST (backup_goes_on_alone)
{
  leased_pair (PEER);
  frame (WIRE_RESIZE, MORE);
  uint64_t grow = w.grow;
  link_down (false);
  w.grow = grow;
  grown (MORE);
  ck_assert_uint_eq (w.record.size, MORE);
  ck_assert_uint_eq (core_size (w.core), MORE);
  ck_assert (!sent (WIRE_RESIZED));
  end ();
}
END_TEST

/* Until the primary has said that it has grown, the backup may not take its
 * role: it would serve what the other one has no room for.
 */
START_TEST (no_grant_before_the_primary_has_grown)
{
  leased_pair (PEER);
  frame (WIRE_RESIZE, MORE);
  grown (MORE);
  if (_i == 1) {
    resized (WIRE_RESIZED_DONE, MORE);
    ck_assert (view ().linked);
  }
  step (
    (struct core_event){ .type = EV_ADMIN, .wish = { .kind = ADMIN_SWITCH } });
  ck_assert (sent (WIRE_SWITCH_REQUEST));
  frame (WIRE_SWITCH_GRANT, 0);
  ck_assert (view ().linked == (_i == 1));
  end ();
}
END_TEST

START_TEST (what_a_peer_may_not_say)
{
  leased_pair (_i < 2 ? PEER : ME);
  if (_i == 0)
    frame (WIRE_RESIZE, SIZE);
  else if (_i == 1)
    resized (WIRE_RESIZED_DONE, MORE); /* larger than it was asked for */
  else if (_i == 2)
    frame (WIRE_RESIZE, MORE);
  else if (_i == 3)
    resized (WIRE_RESIZED_DONE, MORE);
  else {
    wish (MORE);
    grown (MORE);
    resized (WIRE_RESIZED_DONE, MORE - 1);
  }
  ck_assert (w.bye);
  ck_assert (!view ().linked);
  ck_assert_uint_eq (core_size (w.core), SIZE);
  end ();
}
END_TEST

/* ---------------------------------------------------------------- meeting */

static void
meet (uint64_t size)
{
  struct wire_hello hello = peer_hello ();

  link_up ();
  ck_assert (w.hello);
  hello.record.size = size;
  say_hello (hello);
}

START_TEST (smaller_one_grows_first)
{
  begin (ME);
  meet (MORE);
  ck_assert (!view ().linked);
  w.hold_disk = true;
  grown (MORE);
  ck_assert_uint_eq (w.record.size, MORE);
  /* No hello with a size that is not durable. */
  link_up ();
  ck_assert (!w.hello);
  let_disk ();
  ck_assert (w.hello);
  ck_assert_uint_eq (core_hello (w.core)->record.size, MORE);
  say_hello (peer_hello ());
  ck_assert (view ().linked);
  end ();
}
END_TEST

START_TEST (larger_one_waits)
{
  begin (ME);
  meet (SIZE / 2);
  ck_assert (!view ().linked);
  ck_assert_uint_eq (w.grow, 0);
  ck_assert (!view ().refused);
  /* If that does not help, it is told why. */
  meet (SIZE / 2);
  ck_assert (view ().refused);
  ck_assert_ptr_nonnull (strstr (view ().reason, "the peer's copy is smaller"));
  ck_assert_uint_eq (view ().peer_size_bytes, SIZE / 2);
  meet (SIZE);
  ck_assert (view ().linked);
  ck_assert (!view ().refused);
  end ();
}
END_TEST

START_TEST (smaller_one_cannot)
{
  begin (ME);
  meet (MORE);
  not_grown (ENOSPC, 2 << 20);
  ck_assert (view ().refused);
  ck_assert_ptr_nonnull (strstr (view ().reason, "this node's disk"));
  grown (SIZE);
  meet (MORE);
  ck_assert (view ().refused);
  ck_assert_uint_eq (w.grow, 0);
  /* Somebody may have made room since. */
  w.now += 20000;
  meet (MORE);
  grown (MORE);
  ck_assert_uint_eq (core_size (w.core), MORE);
  ck_assert (!view ().refused);
  end ();
}
END_TEST

/* A device that must be zeroed takes its time: no peer waits for it. */
START_TEST (long_growth_keeps_nobody)
{
  begin (PEER);
  meet (MORE);
  uint64_t grow = w.grow;
  w.now += DEAD;
  link_up ();
  ck_assert (!w.hello);
  ck_assert (!view ().linked);
  w.grow = grow;
  grown (MORE);
  link_up ();
  ck_assert (w.hello);
  end ();
}
END_TEST

/* ------------------------------------------------------------------ failure */

START_TEST (failed_metadata_is_no_growth)
{
  leased_pair (PEER);
  frame (WIRE_RESIZE, MORE);
  w.hold_disk = true;
  grown (MORE);
  uint64_t version = w.held;
  w.held = 0;
  forget_actions ();
  step ((struct core_event){
    .type = EV_SB_DURABLE, .version = version, .error = EIO });
  ck_assert (!sent (WIRE_RESIZED));
  ck_assert_uint_eq (core_size (w.core), SIZE);
  end ();
}
END_TEST

START_TEST (failed_store_ends_it)
{
  leased_pair (ME);
  wish (MORE);
  grown (MORE);
  step ((struct core_event){ .type = EV_STORE_SHORT });
  ck_assert (!view ().resize.active);
  ck_assert_ptr_nonnull (strstr (view ().resize.ended, "store has failed"));
  resized (WIRE_RESIZED_DONE, MORE);
  ck_assert_uint_eq (core_size (w.core), SIZE);
  end ();
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("resize");
  TCase *tcase = tcase_create ("resize");
  SRunner *runner;
  int failed;

  tcase_add_test (tcase, primary_is_ready_then_asks_then_grows);
  tcase_add_test (tcase, own_disk_is_looked_at_first);
  tcase_add_loop_test (tcase, peer_cannot, 0,
                       sizeof excuses / sizeof excuses[0]);
  tcase_add_loop_test (tcase, link_is_lost, 0, 4);
  tcase_add_test (tcase, no_role_moves_meanwhile);
  tcase_add_loop_test (tcase, what_makes_no_sense_is_refused, 0,
                       sizeof refused / sizeof refused[0]);
  tcase_add_test (tcase, backup_says_so_when_it_is_durable);
  tcase_add_test (tcase, backup_whose_disk_is_too_small);
  tcase_add_test (tcase, backup_goes_on_alone);
  tcase_add_loop_test (tcase, no_grant_before_the_primary_has_grown, 0, 2);
  tcase_add_loop_test (tcase, what_a_peer_may_not_say, 0, 5);
  tcase_add_test (tcase, smaller_one_grows_first);
  tcase_add_test (tcase, larger_one_waits);
  tcase_add_test (tcase, smaller_one_cannot);
  tcase_add_test (tcase, long_growth_keeps_nobody);
  tcase_add_test (tcase, failed_metadata_is_no_growth);
  tcase_add_test (tcase, failed_store_ends_it);
  suite_add_tcase (suite, tcase);

  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
