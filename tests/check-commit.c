/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-commit.c: group commit, with an fdatasync of our own that can be
 * held up, can fail, and knows what it made durable.
 *
 * commit.c is included, not linked: the tests wait until callers have got
 * into a round by looking at its fields.  fileio.c too, for its calls.
 */
#include <fcntl.h>

#define fdatasync     fake_fdatasync
#define posix_fadvise fake_fadvise
int fake_fdatasync (int fd);
int fake_fadvise (int fd, off_t offset, off_t length, int advice);
#include "../replicator/commit.c"
#include "../replicator/fileio.c"
#undef fdatasync
#undef posix_fadvise

#include <check.h>
#include <time.h>

enum {
  FD = 77, /* never used as one */
  CALLERS = 8,
  ROUNDS = 400,
  DEADLINE_MS = 10000,
};

/* The fake: what it was asked for and what it shall do. */
static atomic_int calls;   /* begun */
static atomic_int tickets; /* with GATED: how many may end */
static atomic_bool gated;
static atomic_int fail_call; /* this call fails, from 1; 0: none */
static atomic_int fail_errno;
static atomic_bool inside; /* there is only ever one at a time */
static atomic_int written[CALLERS];
static atomic_int durable[CALLERS];

static atomic_int forgotten; /* how often all was dropped from the cache */

int
fake_fadvise (int fd, off_t offset, off_t length, int advice)
{
  ck_assert_int_eq (fd, FD);
  ck_assert_int_eq (offset, 0);
  ck_assert (length == INT64_MAX);
  ck_assert_int_eq (advice, POSIX_FADV_DONTNEED);
  atomic_fetch_add (&forgotten, 1);
  return 0;
}

int
fake_fdatasync (int fd)
{
  int call = atomic_fetch_add (&calls, 1) + 1;
  int snapshot[CALLERS];

  ck_assert_int_eq (fd, FD);
  ck_assert (!atomic_exchange (&inside, true));
  for (unsigned i = 0; i < CALLERS; i++)
    snapshot[i] = atomic_load (&written[i]);
  if (atomic_load (&gated)) {
    while (atomic_load (&tickets) < call)
      sched_yield ();
  }
  else
    sched_yield ();
  ck_assert (atomic_exchange (&inside, false));
  if (call == atomic_load (&fail_call)) {
    errno = atomic_load (&fail_errno);
    return -1;
  }
  for (unsigned i = 0; i < CALLERS; i++)
    atomic_store (&durable[i], snapshot[i]);
  return 0;
}

static struct commit *commit;

/* One that comes by commit_start, and what it was told. */
struct starter {
  struct commit_waiter waiter; /* first */
  atomic_int told;             /* how often */
  int error;
  int order; /* of being told, from 1 */
};

static atomic_int told_count;

static void
on_done (void *opaque, struct commit_waiter *list, int error)
{
  ck_assert_ptr_eq (opaque, &commit);
  while (list != NULL) {
    struct starter *starter = (struct starter *) list;

    list = list->next;
    starter->error = error;
    starter->order = atomic_fetch_add (&told_count, 1) + 1;
    atomic_fetch_add (&starter->told, 1);
  }
}

static void
setup (void)
{
  commit = commit_new (FD);
  ck_assert_ptr_nonnull (commit);
  commit_on_done (commit, on_done, &commit);
}

static void
teardown (void)
{
  commit_free (commit);
}

struct caller {
  pthread_t thread;
  unsigned number;
  int result;
  int error;
};

static void *
call (void *opaque)
{
  struct caller *caller = opaque;

  caller->result = commit_sync (commit);
  caller->error = caller->result == 0 ? 0 : errno;
  return NULL;
}

static void
start (struct caller *callers, unsigned count)
{
  for (unsigned i = 0; i < count; i++)
    ck_assert_int_eq (
      pthread_create (&callers[i].thread, NULL, call, &callers[i]), 0);
}

static void
join (struct caller *callers, unsigned count, int error)
{
  for (unsigned i = 0; i < count; i++) {
    ck_assert_int_eq (pthread_join (callers[i].thread, NULL), 0);
    ck_assert_int_eq (callers[i].error, error);
  }
}

/* Wait until fdatasync CALL has begun and WAITING callers wait for the
 * round after it.
 */
static void
wait_until (int call_number, uint32_t waiting)
{
  struct timespec pause = { .tv_nsec = 1000000 };

  for (unsigned ms = 0; ms < DEADLINE_MS; ms++) {
    lock (commit);
    uint32_t next = commit->followers[(commit->begun + 1) % 2] +
      commit->elected;
    unlock (commit);
    if (atomic_load (&calls) == call_number && next == waiting)
      return;
    nanosleep (&pause, NULL);
  }
  ck_abort_msg ("call %d with %u waiting did not come", call_number,
                (unsigned) waiting);
}

static void
assert_counts (uint64_t syncs, uint64_t served)
{
  uint64_t s, n;

  commit_counts (commit, &s, &n);
  ck_assert_uint_eq (s, syncs);
  ck_assert_uint_eq (n, served);
}

START_TEST (alone_each_call_is_one_sync)
{
  for (unsigned i = 1; i <= 3; i++) {
    ck_assert_int_eq (commit_sync (commit), 0);
    ck_assert_int_eq (atomic_load (&calls), i);
    assert_counts (i, i);
  }
}
END_TEST

/* One runs; those that come meanwhile share exactly one more, and those
 * that come during that one the next.
 */
START_TEST (latecomers_share_the_next_one)
{
  struct caller first, second[5], third[3];

  atomic_store (&gated, true);
  start (&first, 1);
  wait_until (1, 0);
  start (second, 5);
  wait_until (1, 5);
  atomic_store (&tickets, 1);
  join (&first, 1, 0);

  wait_until (2, 0);
  start (third, 3);
  wait_until (2, 3);
  atomic_store (&tickets, 2);
  join (second, 5, 0);

  wait_until (3, 0);
  atomic_store (&tickets, 3);
  join (third, 3, 0);
  assert_counts (3, 9);
}
END_TEST

START_TEST (a_failure_is_for_ever)
{
  struct caller first, waiting[4];

  atomic_store (&gated, true);
  atomic_store (&fail_call, 1);
  atomic_store (&fail_errno, ENOSPC);
  start (&first, 1);
  wait_until (1, 0);
  start (waiting, 4);
  wait_until (1, 4);
  ck_assert_int_eq (commit_error (commit), 0);
  atomic_store (&tickets, 1);
  join (&first, 1, ENOSPC);
  join (waiting, 4, ENOSPC);
  ck_assert_int_eq (commit_error (commit), ENOSPC);
  ck_assert_int_eq (commit_sync (commit), -1);
  ck_assert_int_eq (errno, ENOSPC);
  ck_assert_int_eq (atomic_load (&calls), 1);
  ck_assert_int_eq (atomic_load (&forgotten), 1);
  assert_counts (1, 6);
}
END_TEST

/* Who starts a sync leads if nobody does, and is told by itself. */
START_TEST (a_lonely_starter_is_told_at_once)
{
  struct starter starter = { .error = -1 };

  commit_start (commit, &starter.waiter);
  ck_assert_int_eq (starter.told, 1);
  ck_assert_int_eq (starter.error, 0);
  assert_counts (1, 1);
}
END_TEST

static void *
start_in_thread (void *opaque)
{
  struct starter *starter = opaque;

  commit_start (commit, &starter->waiter);
  return NULL;
}

/* A leader works, the next one is elected; those that start a sync then go
 * on at once, and are told at the end of the next round, not of this one.
 */
static void
check_starters (bool elected_starts, int error)
{
  struct starter starters[4] = { { .told = 0 } };
  struct caller first, second = { .error = error };
  pthread_t thread;

  atomic_store (&gated, true);
  atomic_store (&fail_errno, error);
  atomic_store (&fail_call, error != 0 ? 2 : 0);
  start (&first, 1);
  wait_until (1, 0);
  if (elected_starts)
    ck_assert_int_eq (
      pthread_create (&thread, NULL, start_in_thread, &starters[0]), 0);
  else
    start (&second, 1);
  wait_until (1, 1);
  for (unsigned i = elected_starts; i < 4; i++)
    commit_start (commit, &starters[i].waiter);
  atomic_store (&tickets, 1);
  join (&first, 1, 0);
  wait_until (2, 0);
  for (unsigned i = 0; i < 4; i++)
    ck_assert_int_eq (starters[i].told, 0);
  atomic_store (&tickets, 2);
  if (elected_starts)
    ck_assert_int_eq (pthread_join (thread, NULL), 0);
  else
    join (&second, 1, error);
  for (unsigned i = 0; i < 4; i++) {
    ck_assert_int_eq (starters[i].told, 1);
    ck_assert_int_eq (starters[i].error, error);
    ck_assert_int_eq (starters[i].order, (int) i + 1);
  }
  assert_counts (2, elected_starts ? 5 : 6);
}

START_TEST (starters_do_not_sleep)
{
  check_starters (_i != 0, 0);
}
END_TEST

START_TEST (starters_are_told_of_a_failure)
{
  struct starter late = { .error = 0 };

  check_starters (_i != 0, EIO);
  commit_start (commit, &late.waiter);
  ck_assert_int_eq (late.told, 1);
  ck_assert_int_eq (late.error, EIO);
  ck_assert_int_eq (atomic_load (&calls), 2);
}
END_TEST

START_TEST (an_interruption_is_no_failure)
{
  atomic_store (&fail_call, 1);
  atomic_store (&fail_errno, EINTR);
  ck_assert_int_eq (commit_sync (commit), 0);
  ck_assert_int_eq (atomic_load (&calls), 2);
  ck_assert_int_eq (atomic_load (&forgotten), 0);
  assert_counts (1, 1);
}
END_TEST

/* Round numbers are 32 bits wide and wrap. */
START_TEST (numbers_wrap)
{
  struct caller first, second[3];

  commit->begun = UINT32_MAX - 1;
  atomic_store (&commit->done[0], UINT32_MAX - 1);
  atomic_store (&commit->done[1], UINT32_MAX - 2);
  atomic_store (&commit->go, UINT32_MAX);
  atomic_store (&gated, true);
  for (int i = 1; i < 8; i += 2) {
    start (&first, 1);
    wait_until (i, 0);
    start (second, 3);
    wait_until (i, 3);
    atomic_store (&tickets, i);
    join (&first, 1, 0);
    wait_until (i + 1, 0);
    atomic_store (&tickets, i + 1);
    join (second, 3, 0);
  }
  ck_assert_uint_eq (commit->begun, 6);
}
END_TEST

static void *
write_and_sync (void *opaque)
{
  struct caller *caller = opaque;

  for (int i = 1; i <= ROUNDS; i++) {
    struct starter starter = { .error = -1 };

    atomic_store (&written[caller->number], i);
    if (caller->number % 2 == 0)
      ck_assert_int_eq (commit_sync (commit), 0);
    else {
      commit_start (commit, &starter.waiter);
      while (atomic_load (&starter.told) == 0)
        sched_yield ();
      ck_assert_int_eq (starter.error, 0);
    }
    ck_assert_int_ge (atomic_load (&durable[caller->number]), i);
  }
  return NULL;
}

START_TEST (what_was_written_before_is_durable_after)
{
  struct caller callers[CALLERS];
  static struct latency_counts duration, group;
  uint64_t syncs, served;

  for (unsigned i = 0; i < CALLERS; i++) {
    callers[i].number = i;
    ck_assert_int_eq (
      pthread_create (&callers[i].thread, NULL, write_and_sync, &callers[i]),
      0);
  }
  for (unsigned i = 0; i < CALLERS; i++)
    ck_assert_int_eq (pthread_join (callers[i].thread, NULL), 0);
  commit_counts (commit, &syncs, &served);
  ck_assert_uint_eq (syncs, (uint64_t) atomic_load (&calls));
  ck_assert_uint_eq (served, CALLERS * ROUNDS);
  ck_assert_uint_lt (syncs, served);
  commit_histograms (commit, &duration, &group);
  ck_assert_uint_eq (duration.count, syncs);
  ck_assert_uint_eq (group.count, syncs);
  ck_assert_uint_eq (group.sum_us, served);
  ck_assert_uint_le (group.max_us, CALLERS);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("commit");
  TCase *tcase = tcase_create ("commit");

  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_add_test (tcase, alone_each_call_is_one_sync);
  tcase_add_test (tcase, latecomers_share_the_next_one);
  tcase_add_test (tcase, a_failure_is_for_ever);
  tcase_add_test (tcase, a_lonely_starter_is_told_at_once);
  tcase_add_loop_test (tcase, starters_do_not_sleep, 0, 2);
  tcase_add_loop_test (tcase, starters_are_told_of_a_failure, 0, 2);
  tcase_add_test (tcase, an_interruption_is_no_failure);
  tcase_add_test (tcase, numbers_wrap);
  tcase_add_test (tcase, what_was_written_before_is_durable_after);
  tcase_set_timeout (tcase, 30);
  suite_add_tcase (suite, tcase);

  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
