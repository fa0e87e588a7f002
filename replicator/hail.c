/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hail.c: the first frame on a connection, in both directions.  Never
 * blocks, and never takes a byte that belongs to the second frame.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hail.h"

bool
hail_send (int fd, const struct wire_greeting *greeting)
{
  struct wire_frame frame = {
    .type = WIRE_GREETING_FRAME,
    .payload_length = WIRE_GREETING,
  };
  uint8_t bytes[HAIL_BYTES];

  wire_encode_greeting (greeting, bytes + WIRE_HEADER);
  frame.payload_crc = wire_crc32c (bytes + WIRE_HEADER, WIRE_GREETING);
  wire_encode (&frame, bytes);
  return send (fd, bytes, sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL) ==
    sizeof bytes;
}

enum hail_progress
hail_receive (struct hail *hail, struct wire_greeting *greeting)
{
  enum wire_reason reason;
  struct wire_frame frame;
  ssize_t received = recv (hail->fd, hail->bytes + hail->count,
                           HAIL_BYTES - hail->count, MSG_DONTWAIT);

  if (received == -1 && (errno == EAGAIN || errno == EINTR))
    return HAIL_PART;
  if (received <= 0)
    return HAIL_BAD;
  hail->count += (size_t) received;
  if (hail->count < HAIL_BYTES)
    return HAIL_PART;

  reason = wire_decode (hail->bytes, &frame);
  if (reason == WIRE_BAD_VERSION)
    return HAIL_VERSION;
  if (reason != WIRE_OK || frame.type != WIRE_GREETING_FRAME ||
      wire_check_payload (&frame, hail->bytes + WIRE_HEADER) != WIRE_OK ||
      wire_decode_greeting (hail->bytes + WIRE_HEADER, WIRE_GREETING,
                            greeting) != WIRE_OK)
    return HAIL_BAD;
  return HAIL_WHOLE;
}

bool
hail_is_closed (const struct hail *hail)
{
  char byte;
  ssize_t peeked = recv (hail->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

  return peeked == 0 || (peeked == -1 && errno != EAGAIN && errno != EINTR);
}

void
hail_close (struct hail *hail)
{
  if (hail->fd != -1)
    close (hail->fd);
  hail->fd = -1;
  hail->count = 0;
}
