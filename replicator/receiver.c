/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * receiver.c: frames in.  One buffer that holds two of the largest frames:
 * receive as much as there is, hand out all that is complete with the
 * payload where it lies, and move an incomplete rest to the front only when
 * it would not fit behind.  While the callback is busy nothing is received:
 * TCP tells the peer.
 *
 * Who receives has the turn: that is the thread of receiver_run, but for
 * the times in which it has stepped aside.  A thread that waits for an
 * answer then comes as a visitor and receives that itself, which saves
 * waking it by the other one.
 *
 *   - The thread steps aside when FRAME says so (LINK_ASIDE), and comes
 *     back when it is recalled, when a visitor meets what it must not
 *     handle (a frame that is no ack, ping or pong) or the end, and at the
 *     latest when for ASIDE_MS no visitor came.  Nobody receives as long as
 *     that, at most.
 *   - One visitor at a time; none once the thread is wanted back.  The
 *     thread waits for one that is there.
 *   - What a visitor leaves, in the buffer or of an end, the next one to
 *     have the turn finds: it passes under the mutex.
 *
 * A visitor sleeps in the same recv as the thread would, so what ends that,
 * a shutdown of the socket, ends a visit, too.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "receiver.h"

enum { ASIDE_MS = 5 };

enum arrival { ARRIVAL_PART, ARRIVAL_WHOLE, ARRIVAL_BAD };

/* What is next for who has the turn. */
enum next {
  NEXT_RECEIVE, /* more */
  NEXT_NOTHING, /* the same, but there was nothing for a long time */
  NEXT_ASIDE,   /* let others receive */
  NEXT_THREAD,  /* not a visitor's business */
  NEXT_END,
};

int
receiver_init (struct receiver *receiver)
{
  pthread_condattr_t attr;

  pthread_mutex_init (&receiver->mutex, NULL);
  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (&receiver->changed, &attr);
  pthread_condattr_destroy (&attr);
  receiver->buffer = malloc (RECEIVER_BUFFER);
  return receiver->buffer != NULL ? 0 : -1;
}

void
receiver_free (struct receiver *receiver)
{
  assert (!receiver->aside);
  free (receiver->buffer);
  pthread_cond_destroy (&receiver->changed);
  pthread_mutex_destroy (&receiver->mutex);
}

/* ------------------------------------------------------- with the turn */

/* Look at the frame at START. */
static enum arrival
look (const struct receiver *receiver, struct wire_frame *frame,
      enum wire_reason *reason)
{
  const uint8_t *bytes = receiver->buffer + receiver->start;
  size_t length = receiver->end - receiver->start;

  if (length < WIRE_HEADER)
    return ARRIVAL_PART;
  *reason = wire_decode (bytes, frame);
  if (*reason == WIRE_OK && frame->type == WIRE_GREETING_FRAME)
    *reason = WIRE_BAD_TYPE; /* only the first frame may be one */
  if (*reason != WIRE_OK)
    return ARRIVAL_BAD;
  if (length < WIRE_HEADER + (size_t) frame->payload_length)
    return ARRIVAL_PART;
  return ARRIVAL_WHOLE;
}

/* Make room for the frame at start, of which a part is there. */
static void
make_room (struct receiver *receiver)
{
  size_t length = receiver->end - receiver->start;
  size_t need = WIRE_HEADER;
  enum wire_reason reason;
  struct wire_frame frame;

  if (length >= WIRE_HEADER) {
    enum arrival arrival = look (receiver, &frame, &reason);

    assert (arrival == ARRIVAL_PART);
    need += frame.payload_length;
  }
  if (length == 0 || RECEIVER_BUFFER - receiver->start < need) {
    memmove (receiver->buffer, receiver->buffer + receiver->start, length);
    receiver->start = 0;
    receiver->end = length;
  }
  assert (receiver->end < RECEIVER_BUFFER);
}

static enum next
receive (struct receiver *receiver, const char **why)
{
  struct channel *channel = receiver->channel;
  uint64_t before = channel->receives;
  ssize_t received;

  make_room (receiver);
  received = channel_receive (channel, receiver->buffer + receiver->end,
                              RECEIVER_BUFFER - receiver->end, why);
  atomic_fetch_add_explicit (&receiver->receives, channel->receives - before,
                             memory_order_relaxed);
  if (received == -1)
    return NEXT_END;
  if (received == 0)
    return NEXT_NOTHING;
  receiver->end += (size_t) received;
  atomic_fetch_add_explicit (&receiver->bytes, (uint64_t) received,
                             memory_order_relaxed);
  return NEXT_RECEIVE;
}

static bool
is_for_visitors (const struct wire_frame *frame)
{
  return wire_is_ack (frame->type) || frame->type == WIRE_PING ||
    frame->type == WIRE_PONG;
}

/* Give out what is complete. */
static enum next
hand_out (struct receiver *receiver, bool visitor, const char **why)
{
  const struct link_callbacks *callbacks = receiver->callbacks;
  enum wire_reason reason = WIRE_OK;
  struct wire_frame frame, following;
  enum next next = NEXT_RECEIVE;
  enum arrival arrival = look (receiver, &frame, &reason);

  while (arrival == ARRIVAL_WHOLE) {
    const uint8_t *payload = receiver->buffer + receiver->start + WIRE_HEADER;

    if (visitor && !is_for_visitors (&frame))
      return NEXT_THREAD;
    reason = wire_check_payload (&frame, payload);
    if (reason != WIRE_OK)
      break;
    receiver->start += WIRE_HEADER + (size_t) frame.payload_length;
    arrival = look (receiver, &following, &reason);

    *why = "dropped";
    if (atomic_load_explicit (receiver->stop, memory_order_acquire))
      return NEXT_END;
    atomic_fetch_add_explicit (&receiver->frames, 1, memory_order_relaxed);
    *why = "frame refused";
    /* Who begins to wait from here on, and is not seen by FRAME, must not
     * be left alone.
     */
    if (!visitor)
      atomic_store (&receiver->wanted, false);
    switch (callbacks->frame (receiver->opaque, receiver->link, &frame, payload,
                              arrival != ARRIVAL_WHOLE)) {
    case -1: return NEXT_END;
    case LINK_ASIDE: next = NEXT_ASIDE; break;
    default: next = NEXT_RECEIVE;
    }
    frame = following;
  }
  *why = wire_reason_text (reason);
  return reason == WIRE_OK ? next : NEXT_END;
}

/* ------------------------------------------------- passing the turn on */

static struct timespec
aside_until (void)
{
  struct timespec until;

  clock_gettime (CLOCK_MONOTONIC, &until);
  until.tv_nsec += ASIDE_MS * 1000000L;
  until.tv_sec += until.tv_nsec / 1000000000;
  until.tv_nsec %= 1000000000;
  return until;
}

/* Let others receive until this thread is needed.  What they left: the
 * end, or frames.
 */
static enum next
step_aside (struct receiver *receiver, const char **why)
{
  struct timespec until = aside_until ();

  pthread_mutex_lock (&receiver->mutex);
  uint64_t seen = receiver->visits;

  receiver->aside = true;
  while (receiver->visited || !receiver->wanted) {
    int error = pthread_cond_timedwait (&receiver->changed, &receiver->mutex,
                                        &until);

    if (error == 0)
      continue;
    if (seen == receiver->visits && !receiver->visited)
      break;
    seen = receiver->visits;
    until = aside_until ();
  }
  receiver->aside = false;
  atomic_store (&receiver->wanted, false);
  *why = receiver->why;
  pthread_mutex_unlock (&receiver->mutex);
  return *why != NULL ? NEXT_END : NEXT_ASIDE;
}

bool
receiver_visit (struct receiver *receiver, bool (*enough) (void *opaque),
                void *opaque)
{
  const char *why = NULL;
  enum next next;

  pthread_mutex_lock (&receiver->mutex);
  bool may = receiver->aside && !receiver->visited && !receiver->wanted;

  if (may) {
    receiver->visited = true;
    receiver->visits++;
  }
  pthread_mutex_unlock (&receiver->mutex);
  if (!may)
    return false;

  do {
    next = receive (receiver, &why);
    if (next == NEXT_RECEIVE)
      next = hand_out (receiver, true, &why);
  } while ((next == NEXT_RECEIVE || next == NEXT_ASIDE) && !enough (opaque));

  pthread_mutex_lock (&receiver->mutex);
  receiver->visited = false;
  if (next == NEXT_END)
    receiver->why = why;
  if (next == NEXT_END || next == NEXT_THREAD)
    receiver->wanted = true;
  if (receiver->wanted)
    pthread_cond_signal (&receiver->changed);
  pthread_mutex_unlock (&receiver->mutex);
  return true;
}

void
receiver_recall (struct receiver *receiver)
{
  pthread_mutex_lock (&receiver->mutex);
  receiver->wanted = true;
  if (receiver->aside && !receiver->visited)
    pthread_cond_signal (&receiver->changed);
  pthread_mutex_unlock (&receiver->mutex);
}

const char *
receiver_run (struct receiver *receiver, struct channel *channel, uint32_t link,
              const struct link_callbacks *callbacks, void *opaque,
              const atomic_bool *stop)
{
  enum next next = NEXT_RECEIVE;
  const char *why;

  receiver->start = receiver->end = 0;
  receiver->channel = channel;
  receiver->link = link;
  receiver->callbacks = callbacks;
  receiver->opaque = opaque;
  receiver->stop = stop;
  receiver->why = NULL;
  do {
    if (next == NEXT_ASIDE)
      next = step_aside (receiver, &why);
    else
      next = receive (receiver, &why);
    if (next == NEXT_RECEIVE || next == NEXT_ASIDE)
      next = hand_out (receiver, false, &why);
  } while (next != NEXT_END);
  return why;
}
