/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sender.c: frames out.  Any thread may queue (one at a time, the engine's
 * mutex sees to that) and any thread may flush; whoever flushes first
 * sends for all.
 *
 * The role.  "role" is a lock with three states: FREE, BUSY, and WANTED =
 * busy and the receiver thread waits for it.  Only the holder dequeues,
 * sends, calls done(), and looks at channel, link, broken and batch.  A flush
 * that finds it taken goes away: the holder will send its frames too.
 *
 * Why no frame is stranded.  All accesses to queued, taken and role are
 * sequentially consistent, so there is one order of all of them.  A
 * queuer does
 *     Q1  queued++            (after the enqueue is complete)
 *     Q2  compare-and-swap role: FREE to BUSY, fails: it goes away
 * and the holder does
 *     H1  exchange role: FREE
 *     H2  loads queued, compares with taken
 * If Q2 failed, it read a value that H1 overwrote later, so Q1 < Q2 < H1
 * < H2 in that order, and H2 sees the frame: the holder takes the role
 * again or somebody else has it, of whom the same is true.
 *
 * Q1 comes after the enqueue, and the holder dequeues at most queued -
 * taken frames, so it never meets a frame whose enqueue is not complete;
 * only the link from the last counted frame to one that is just being
 * enqueued behind it may be missing for a few instructions of another
 * thread, and then dequeue says "would block" and we yield.  Q1 and the
 * load of queued also make the contents of the frame visible.
 *
 * Nobody blocks on the socket.  A receiver that blocks in sendmsg does
 * not receive, and two of them facing each other with full sockets would
 * wait for each other for ever; a control thread that blocks there cannot
 * declare the peer dead.  So channel_send does not wait, and when the
 * socket is full, or a thread has sent enough for others, the role
 * with its half-sent batch is handed to the drain thread, which polls.
 * What can be queued is bounded by the core (CORE_SENT_BYTES_MAX), and by
 * the engine for what the peer asks for (ENGINE_UNREAD_MAX).
 */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "sender.h"
#include "thread.h"

enum {
  BATCH_FRAMES = 64,         /* frames in one batch */
  BATCH_BYTES = 1024 * 1024, /* no further frame after so many */
  BATCHES_FOR_OTHERS = 8,    /* then the drain thread goes on */
};

enum role { ROLE_FREE, ROLE_BUSY, ROLE_WANTED };

enum progress {
  PROGRESS_DONE,   /* the queue is empty */
  PROGRESS_FULL,   /* the socket is full */
  PROGRESS_ENOUGH, /* there is more, but not for this thread */
};

/* Frames being sent.  iov[at..count) is what is still to go. */
struct batch {
  uint32_t frames_count;
  int iov_count, iov_at;
  struct link_frame *frames[BATCH_FRAMES];
  struct iovec iov[2 * BATCH_FRAMES];
  uint8_t headers[BATCH_FRAMES][WIRE_HEADER];
};

struct sender {
  struct cds_wfcq_tail tail; /* queuers */
  _Atomic uint64_t queued;   /* frames enqueued, ever */

  struct __cds_wfcq_head head; /* the role */
  _Atomic uint64_t taken;      /* frames dequeued; by the role */
  _Atomic int role;            /* enum role */
  struct channel *channel;     /* the role; NULL: none */
  uint32_t link;               /* the role; 0: none */
  bool broken;                 /* the role: channel takes no more */
  atomic_bool failed;          /* and not because the peer closed it */
  struct batch batch;          /* the role */

  pthread_mutex_t mutex;
  pthread_cond_t role_free;   /* the receiver waits here */
  pthread_cond_t handed_over; /* the drain thread waits here */
  bool handed;                /* mutex: it holds the role */
  bool stopping;              /* mutex */
  bool started;               /* set by start */
  pthread_t drain;

  _Atomic uint64_t bytes_sent, frames_sent, sends;
};

struct sender *
sender_new (void)
{
  struct sender *sender = calloc (1, sizeof *sender);

  if (sender == NULL)
    return NULL;
  __cds_wfcq_init (&sender->head, &sender->tail);
  pthread_mutex_init (&sender->mutex, NULL);
  pthread_cond_init (&sender->role_free, NULL);
  pthread_cond_init (&sender->handed_over, NULL);
  return sender;
}

void
sender_free (struct sender *sender)
{
  if (sender == NULL)
    return;
  assert (!sender->started);
  assert (atomic_load (&sender->role) == ROLE_FREE);
  assert (sender->link == 0);
  assert (atomic_load (&sender->queued) == atomic_load (&sender->taken));
  pthread_cond_destroy (&sender->handed_over);
  pthread_cond_destroy (&sender->role_free);
  pthread_mutex_destroy (&sender->mutex);
  free (sender);
}

void
sender_queue (struct sender *sender, struct link_frame *frame)
{
  assert (frame->done != NULL);
  assert (frame->link != 0);
  assert ((frame->frame.payload_length > 0) == (frame->payload != NULL));

  cds_wfcq_node_init (&frame->node);
  cds_wfcq_enqueue (&sender->head, &sender->tail, &frame->node);
  atomic_fetch_add (&sender->queued, 1);
}

/* ------------------------------------------------- under the role */

static bool
is_queue_empty (struct sender *sender)
{
  return atomic_load (&sender->queued) == atomic_load (&sender->taken);
}

static struct link_frame *
dequeue (struct sender *sender)
{
  struct cds_wfcq_node *node;

  while ((node = __cds_wfcq_dequeue_nonblocking (
            &sender->head, &sender->tail)) == CDS_WFCQ_WOULDBLOCK)
    sched_yield ();
  assert (node != NULL);
  atomic_fetch_add (&sender->taken, 1);
  return caa_container_of (node, struct link_frame, node);
}

/* Append to the iovec; bytes that follow the last ones in memory, as
 * headers without payload do, make it longer instead.
 */
static void
add_bytes (struct batch *batch, const void *bytes, size_t length)
{
  if (batch->iov_count > 0) {
    struct iovec *last = &batch->iov[batch->iov_count - 1];

    if ((const uint8_t *) last->iov_base + last->iov_len == bytes) {
      last->iov_len += length;
      return;
    }
  }
  batch->iov[batch->iov_count++] = (struct iovec){
    .iov_base = (void *) (uintptr_t) bytes,
    .iov_len = length,
  };
}

/* The payload is stable from now to done(): checksum it. */
static void
add_frame (struct batch *batch, struct link_frame *frame)
{
  uint8_t *header = batch->headers[batch->frames_count];
  uint32_t length = frame->frame.payload_length;

  frame->frame.payload_crc = length > 0 ? wire_crc32c (frame->payload, length)
                                        : 0;
  wire_encode (&frame->frame, header);
  add_bytes (batch, header, WIRE_HEADER);
  if (length > 0)
    add_bytes (batch, frame->payload, length);
  batch->frames[batch->frames_count++] = frame;
}

/* Fill the batch from the queue; frames of other connections go. */
static void
take_frames (struct sender *sender)
{
  struct batch *batch = &sender->batch;
  size_t bytes = 0;

  assert (batch->frames_count == 0);
  while (batch->frames_count < BATCH_FRAMES && bytes < BATCH_BYTES &&
         !is_queue_empty (sender)) {
    struct link_frame *frame = dequeue (sender);

    if (frame->link != sender->link || sender->broken) {
      frame->done (frame);
      continue;
    }
    add_frame (batch, frame);
    bytes += WIRE_HEADER + frame->frame.payload_length;
  }
}

static void
finish_batch (struct sender *sender)
{
  struct batch *batch = &sender->batch;

  for (uint32_t i = 0; i < batch->frames_count; i++)
    batch->frames[i]->done (batch->frames[i]);
  batch->frames_count = 0;
  batch->iov_count = batch->iov_at = 0;
}

static void
count_sent (struct sender *sender, size_t bytes)
{
  struct batch *batch = &sender->batch;

  atomic_fetch_add_explicit (&sender->sends, 1, memory_order_relaxed);
  atomic_fetch_add_explicit (&sender->bytes_sent, bytes, memory_order_relaxed);
  while (batch->iov_at < batch->iov_count) {
    struct iovec *iov = &batch->iov[batch->iov_at];

    if (bytes < iov->iov_len) {
      iov->iov_base = (uint8_t *) iov->iov_base + bytes;
      iov->iov_len -= bytes;
      return;
    }
    bytes -= iov->iov_len;
    batch->iov_at++;
  }
  assert (bytes == 0);
}

/* False: the socket is full.  When it is broken, so is the batch, and the
 * receiver will notice: its side is shut, which the peer does not see
 * before the core knows of it (callbacks.closing).
 */
static bool
send_batch (struct sender *sender)
{
  struct batch *batch = &sender->batch;

  while (batch->iov_at < batch->iov_count ||
         channel_has_unsent (sender->channel)) {
    ssize_t sent = channel_send (sender->channel, batch->iov + batch->iov_at,
                                 batch->iov_count - batch->iov_at);

    if (sent >= 0)
      count_sent (sender, (size_t) sent);
    else if (errno == EAGAIN)
      return false;
    else if (errno != EINTR) {
      if (errno != ECONNRESET && errno != EPIPE)
        atomic_store (&sender->failed, true);
      sender->broken = true;
      channel_deafen (sender->channel);
      finish_batch (sender);
      return true;
    }
  }
  atomic_fetch_add_explicit (&sender->frames_sent, batch->frames_count,
                             memory_order_relaxed);
  finish_batch (sender);
  return true;
}

/* Send what is queued, at most BATCHES (0: all of it). */
static enum progress
send_queued (struct sender *sender, uint32_t batches)
{
  for (uint32_t i = 0; batches == 0 || i < batches; i++) {
    if (sender->batch.frames_count == 0)
      take_frames (sender);
    if (sender->batch.frames_count == 0)
      return PROGRESS_DONE;
    if (!send_batch (sender))
      return PROGRESS_FULL;
  }
  return PROGRESS_ENOUGH;
}

/* ------------------------------------------------------- the role */

static bool
try_role (struct sender *sender)
{
  int expected = ROLE_FREE;

  return atomic_compare_exchange_strong (&sender->role, &expected, ROLE_BUSY);
}

static void
release_role (struct sender *sender)
{
  assert (sender->batch.frames_count == 0);
  if (atomic_exchange (&sender->role, ROLE_FREE) == ROLE_WANTED) {
    pthread_mutex_lock (&sender->mutex);
    pthread_cond_signal (&sender->role_free);
    pthread_mutex_unlock (&sender->mutex);
  }
}

/* Wait for the role.  The holder that gives it up after we made it WANTED
 * takes the mutex before it signals, so the signal is not missed.
 */
static void
wait_role (struct sender *sender)
{
  pthread_mutex_lock (&sender->mutex);
  while (!try_role (sender)) {
    int expected = ROLE_BUSY;

    atomic_compare_exchange_strong (&sender->role, &expected, ROLE_WANTED);
    if (expected != ROLE_FREE)
      pthread_cond_wait (&sender->role_free, &sender->mutex);
  }
  pthread_mutex_unlock (&sender->mutex);
}

static void
hand_over (struct sender *sender)
{
  pthread_mutex_lock (&sender->mutex);
  assert (sender->started);
  assert (!sender->handed);
  sender->handed = true;
  pthread_cond_signal (&sender->handed_over);
  pthread_mutex_unlock (&sender->mutex);
}

void
sender_flush (struct sender *sender)
{
  while (!is_queue_empty (sender) && try_role (sender)) {
    if (send_queued (sender, BATCHES_FOR_OTHERS) != PROGRESS_DONE) {
      hand_over (sender);
      return;
    }
    release_role (sender);
  }
}

/* The drain thread has the role: empty the queue and give it up. */
static void
drain_queue (struct sender *sender)
{
  do {
    while (send_queued (sender, 0) == PROGRESS_FULL) {
      struct pollfd full = { .fd = sender->channel->fd, .events = POLLOUT };

      /* A shutdown of the socket ends this too. */
      poll (&full, 1, -1);
    }
    release_role (sender);
  } while (!is_queue_empty (sender) && try_role (sender));
}

static void *
drain_main (void *argument)
{
  struct sender *sender = argument;

  pthread_mutex_lock (&sender->mutex);
  while (!sender->stopping || sender->handed) {
    if (!sender->handed) {
      pthread_cond_wait (&sender->handed_over, &sender->mutex);
      continue;
    }
    sender->handed = false;
    pthread_mutex_unlock (&sender->mutex);
    drain_queue (sender);
    pthread_mutex_lock (&sender->mutex);
  }
  pthread_mutex_unlock (&sender->mutex);
  return NULL;
}

/* ---------------------------------------------------- connections */

int
sender_start (struct sender *sender)
{
  int error = thread_start (&sender->drain, "duet-send", drain_main, sender);

  sender->started = error == 0;
  return error;
}

void
sender_stop (struct sender *sender)
{
  if (!sender->started)
    return;
  pthread_mutex_lock (&sender->mutex);
  sender->stopping = true;
  pthread_cond_signal (&sender->handed_over);
  pthread_mutex_unlock (&sender->mutex);
  pthread_join (sender->drain, NULL);
  sender->started = false;
}

void
sender_open (struct sender *sender, struct channel *channel, uint32_t link)
{
  assert (link != 0);
  wait_role (sender);
  assert (sender->link == 0);
  sender->channel = channel;
  sender->link = link;
  sender->broken = false;
  atomic_store (&sender->failed, false);
  release_role (sender);
  sender_flush (sender);
}

bool
sender_failed (const struct sender *sender)
{
  return atomic_load (&sender->failed);
}

void
sender_close (struct sender *sender)
{
  wait_role (sender);
  sender->channel = NULL;
  sender->link = 0;
  /* Without a connection every frame only gets its done(). */
  take_frames (sender);
  assert (sender->batch.frames_count == 0);
  release_role (sender);
  sender_flush (sender);
}

void
sender_counts (struct sender *sender, struct link_counts *counts)
{
  counts->bytes_sent = atomic_load_explicit (&sender->bytes_sent,
                                             memory_order_relaxed);
  counts->frames_sent = atomic_load_explicit (&sender->frames_sent,
                                              memory_order_relaxed);
  counts->sends = atomic_load_explicit (&sender->sends, memory_order_relaxed);
}
