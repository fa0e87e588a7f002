/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * commit.c: group commit.
 *
 * Must never answer a caller out of an fdatasync that began before the
 * caller came, and must never believe an fdatasync after one has failed.
 *
 * fdatasyncs happen in numbered rounds, one at a time.  A caller belongs
 * to the next round to begin.
 *
 *   nobody syncs         the caller leads: it begins the round at once, in
 *                        its own thread; no wake-up at all;
 *   a round is running   the first caller to come is elected to lead the
 *                        next round and sleeps on GO; those that come
 *                        after it follow: they sleep on DONE until the
 *                        elected leader's round has ended.
 *
 * A follower that came by commit_start does not sleep: it leaves a waiter
 * with the round, and the leader tells of it.
 *
 * A leader ends its round by (1) publishing the result, (2) waking the
 * elected leader, (3) waking its followers, (4) telling of the waiters.
 * The elected leader takes the lock to begin its round only when it is
 * awake, so that whoever comes in between still gets into that round.  The
 * followers do not take the lock again: they do not stand in the new
 * leader's way.  An fdatasync costs at most one futex call to hand over
 * and one for all followers.
 *
 * Why a caller's data is durable when it returns: the caller's write had
 * returned before it took the lock and read BEGUN; its round is BEGUN + 1,
 * so the leader of that round raised BEGUN, under the same lock, later;
 * and only then called fdatasync.  The caller returns after that round's
 * DONE, which is stored after fdatasync returned.  A caller sleeps through
 * the rest of the running round and the whole of its own, never through a
 * third: its round is led by the elected leader, which begins when the
 * running one ends.
 *
 * Why nobody sleeps for ever: ELECTED, FOLLOWERS and RUNNING change under
 * the lock only.  A leader that ends sees either an elected leader, and
 * sets GO and wakes it, or none, and then clears RUNNING in the same
 * section, so that the next caller leads.  Followers exist only together
 * with an elected leader of their round.  GO and DONE are set before the
 * wake-up, and FUTEX_WAIT compares them again inside the kernel.  They are
 * set under the lock, so they only go forward: a leader that is slow to
 * leave cannot put back what a later one has set.  Its late wake-up is
 * harmless.
 *
 * Why two DONE words are enough: followers of round n + 2 can come only
 * when n + 1 has begun, that is after n has ended, its followers were
 * counted off and its waiters taken. A follower of n that still sleeps then
 * is woken by n or finds DONE at n + 2, which is past n. Numbers are
 * compared as a difference and may wrap.
 *
 * Why errors stick: the kernel reports a failed writeback once, to one
 * fdatasync of that open file, and may have thrown the dirty pages away;
 * the next one would report success.  So rounds never overlap, nobody else
 * syncs this open file, and after the first error no round calls fdatasync
 * any more.
 */
#include "commit.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fileio.h"

struct commit {
  int fd;           /* constant */
  atomic_int error; /* first error, for ever; set by a leader */
  /* Futex words; stored under the lock, read without it. */
  _Atomic uint32_t done[2]; /* [n % 2]: last round n that has ended */
  _Atomic uint32_t go;      /* the round that may begin */

  pthread_mutex_t lock;  /* guards what follows; never held across
                                   fdatasync or futex calls */
  bool running;          /* a leader is at work or was told to go */
  bool elected;          /* somebody waits to lead round begun + 1 */
  uint32_t begun;        /* last round begun */
  uint32_t followers[2]; /* [n % 2]: those asleep for round n */
  /* [n % 2]: those that wait awake for round n, oldest first. */
  struct commit_waiter *waiters[2], **waiters_end[2];
  uint64_t syncs;
  uint64_t served;

  /* Of rounds that called fdatasync; no lock. */
  struct latency duration, group;

  /* Constant after commit_on_done. */
  void (*tell) (void *opaque, struct commit_waiter *list, int error);
  void *opaque;
};

struct commit *
commit_new (int fd)
{
  struct commit *commit = calloc (1, sizeof *commit);

  if (commit == NULL)
    return NULL;
  commit->fd = fd;
  for (unsigned side = 0; side < 2; side++)
    commit->waiters_end[side] = &commit->waiters[side];
  int error = pthread_mutex_init (&commit->lock, NULL);
  if (error != 0) {
    free (commit);
    errno = error;
    return NULL;
  }
  return commit;
}

void
commit_free (struct commit *commit)
{
  if (commit == NULL)
    return;
  assert (!commit->running);
  pthread_mutex_destroy (&commit->lock);
  free (commit);
}

static void
lock (struct commit *commit)
{
  int error = pthread_mutex_lock (&commit->lock);
  assert (error == 0);
}

static void
unlock (struct commit *commit)
{
  int error = pthread_mutex_unlock (&commit->lock);
  assert (error == 0);
}

/* Sleep until WORD has come to ROUND. */
static void
wait_for (_Atomic uint32_t *word, uint32_t round)
{
  for (;;) {
    uint32_t value = atomic_load_explicit (word, memory_order_acquire);

    if (value - round <= INT32_MAX)
      return;
    syscall (SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
  }
}

static void
wake (_Atomic uint32_t *word, int count)
{
  syscall (SYS_futex, word, FUTEX_WAKE_PRIVATE, count, NULL, NULL, 0);
}

int
commit_error (const struct commit *commit)
{
  return atomic_load (&commit->error);
}

/* 0 or -1 with errno: what the last round found. */
static int
result (struct commit *commit)
{
  int error = atomic_load_explicit (&commit->error, memory_order_relaxed);

  if (error == 0)
    return 0;
  errno = error;
  return -1;
}

/* Take the list of those that wait awake for the round of SIDE; their
 * number is added to COUNT.
 */
static struct commit_waiter *
take_waiters_locked (struct commit *commit, unsigned side, uint32_t *count)
{
  struct commit_waiter *list = commit->waiters[side], *waiter;

  for (waiter = list; waiter != NULL; waiter = waiter->next)
    (*count)++;
  commit->waiters[side] = NULL;
  commit->waiters_end[side] = &commit->waiters[side];
  return list;
}

/* By the leader of ROUND, after it has begun; lock not held.  SELF: 1 when
 * the leader waits for it, 0 when it is among the waiters.
 */
static int
run_round (struct commit *commit, uint32_t round, bool failed, uint32_t self)
{
  unsigned side = round % 2;
  uint64_t began_us = latency_now_us ();

  if (!failed && fileio_sync (commit->fd) == -1) {
    atomic_store (&commit->error, errno); /* before commit_error's read */
    /* At once, because who opens the file next may not be told. */
    fileio_forget (commit->fd, 0, INT64_MAX);
  }
  if (!failed)
    latency_add (&commit->duration, latency_now_us () - began_us);
  int r = result (commit);

  int saved = errno;
  lock (commit);
  assert (commit->running && commit->begun == round);
  bool elected = commit->elected;
  uint32_t followers = commit->followers[side];
  commit->running = elected;
  commit->followers[side] = 0;
  uint32_t served = self + followers;
  struct commit_waiter *waiters = take_waiters_locked (commit, side, &served);
  commit->served += served;
  /* Release ERROR; wait_for acquires it. */
  atomic_store_explicit (&commit->done[side], round, memory_order_release);
  atomic_store_explicit (&commit->go, round + 1, memory_order_release);
  unlock (commit);

  if (elected)
    wake (&commit->go, 1);
  if (followers > 0)
    wake (&commit->done[side], INT_MAX);
  if (!failed)
    latency_add (&commit->group, served);
  if (waiters != NULL)
    commit->tell (commit->opaque, waiters, r == 0 ? 0 : saved);
  errno = saved;
  return r;
}

/* Lead the next round, ROUND, which nobody leads yet; SELF as in run_round.
 * The lock is held before, not after.
 */
static int
lead (struct commit *commit, uint32_t round, uint32_t self)
{
  if (commit->running) {
    commit->elected = true;
    unlock (commit);
    wait_for (&commit->go, round);
    lock (commit);
    assert (commit->running && commit->elected);
    commit->elected = false;
  }
  assert (commit->begun + 1 == round);
  commit->running = true;
  commit->begun = round;
  bool failed = result (commit) == -1;
  if (!failed)
    commit->syncs++;
  unlock (commit);
  return run_round (commit, round, failed, self);
}

int
commit_sync (struct commit *commit)
{
  lock (commit);
  uint32_t round = commit->begun + 1;

  if (commit->running && commit->elected) {
    commit->followers[round % 2]++;
    unlock (commit);
    wait_for (&commit->done[round % 2], round);
    return result (commit);
  }
  return lead (commit, round, 1);
}

void
commit_on_done (struct commit *commit,
                void (*done) (void *opaque, struct commit_waiter *list,
                              int error),
                void *opaque)
{
  commit->tell = done;
  commit->opaque = opaque;
}

void
commit_start (struct commit *commit, struct commit_waiter *waiter)
{
  lock (commit);
  uint32_t round = commit->begun + 1;

  waiter->next = NULL;
  *commit->waiters_end[round % 2] = waiter;
  commit->waiters_end[round % 2] = &waiter->next;
  if (commit->running && commit->elected)
    unlock (commit);
  else
    lead (commit, round, 0);
}

void
commit_counts (struct commit *commit, uint64_t *syncs, uint64_t *served)
{
  lock (commit);
  *syncs = commit->syncs;
  *served = commit->served;
  unlock (commit);
}

void
commit_histograms (const struct commit *commit, struct latency_counts *duration,
                   struct latency_counts *group)
{
  latency_read (&commit->duration, duration);
  latency_read (&commit->group, group);
}
