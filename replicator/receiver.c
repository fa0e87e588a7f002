/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * receiver.c: frames in.  One thread, one buffer that holds two of the
 * largest frames: receive as much as there is, hand out all that is complete
 * with the payload where it lies, and move an incomplete rest to the front
 * only when it would not fit behind.  While the callback is busy nothing
 * is received: TCP tells the peer.
 */
#include <assert.h>
#include <string.h>

#include "receiver.h"

/* What has been received and not handed out: [start, end) of buffer. */
struct inbox {
  uint8_t *buffer;
  size_t start, end;
};

enum arrival { ARRIVAL_PART, ARRIVAL_WHOLE, ARRIVAL_BAD };

/* Look at the frame at START. */
static enum arrival
look (const struct inbox *inbox, size_t start, struct wire_frame *frame,
      enum wire_reason *reason)
{
  size_t length = inbox->end - start;

  if (length < WIRE_HEADER)
    return ARRIVAL_PART;
  *reason = wire_decode (inbox->buffer + start, frame);
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
make_room (struct inbox *inbox)
{
  size_t length = inbox->end - inbox->start;
  size_t need = WIRE_HEADER;
  enum wire_reason reason;
  struct wire_frame frame;

  if (length >= WIRE_HEADER) {
    enum arrival arrival = look (inbox, inbox->start, &frame, &reason);

    assert (arrival == ARRIVAL_PART);
    need += frame.payload_length;
  }
  if (length == 0 || RECEIVER_BUFFER - inbox->start < need) {
    memmove (inbox->buffer, inbox->buffer + inbox->start, length);
    inbox->start = 0;
    inbox->end = length;
  }
  assert (inbox->end < RECEIVER_BUFFER);
}

/* NULL, or why there will be no more. */
static const char *
receive (struct receiver *receiver, struct inbox *inbox,
         struct channel *channel)
{
  uint64_t before = channel->receives;
  const char *why;
  ssize_t received;

  do
    received = channel_receive (channel, inbox->buffer + inbox->end,
                                RECEIVER_BUFFER - inbox->end, &why);
  while (received == 0);
  if (received == -1)
    return why;

  inbox->end += (size_t) received;
  atomic_fetch_add_explicit (&receiver->receives, channel->receives - before,
                             memory_order_relaxed);
  atomic_fetch_add_explicit (&receiver->bytes, (uint64_t) received,
                             memory_order_relaxed);
  return NULL;
}

const char *
receiver_run (struct receiver *receiver, struct channel *channel, uint32_t link,
              const struct link_callbacks *callbacks, void *opaque,
              const atomic_bool *stop)
{
  struct inbox inbox = { .buffer = receiver->buffer };

  for (;;) {
    enum wire_reason reason = WIRE_OK;
    struct wire_frame frame;
    struct wire_frame next;
    enum arrival arrival = look (&inbox, inbox.start, &frame, &reason);

    while (arrival == ARRIVAL_WHOLE) {
      const uint8_t *payload = inbox.buffer + inbox.start + WIRE_HEADER;

      reason = wire_check_payload (&frame, payload);
      if (reason != WIRE_OK)
        return wire_reason_text (reason);
      inbox.start += WIRE_HEADER + (size_t) frame.payload_length;
      arrival = look (&inbox, inbox.start, &next, &reason);

      if (atomic_load_explicit (stop, memory_order_acquire))
        return "dropped";
      atomic_fetch_add_explicit (&receiver->frames, 1, memory_order_relaxed);
      if (callbacks->frame (opaque, link, &frame, payload,
                            arrival != ARRIVAL_WHOLE) == -1)
        return "frame refused";
      frame = next;
    }
    if (arrival == ARRIVAL_BAD)
      return wire_reason_text (reason);

    make_room (&inbox);
    const char *why = receive (receiver, &inbox, channel);
    if (why != NULL)
      return why;
  }
}
