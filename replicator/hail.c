/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hail.c: the first frame on a connection, in both directions.  Never
 * blocks, and never takes a byte that belongs to the second frame.
 *
 * A node without TLS recognizes TLS by its first two bytes, and answers in
 * TLS's own words that it has none, so that both sides can say what is
 * wrong.
 */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hail.h"

enum {
  TLS_ALERT = 21, /* types of TLS records */
  TLS_HANDSHAKE = 22,
  TLS_MAJOR = 3, /* of the version in a record, to this day */
  TLS_BYTES = 2,
  DISCARD_MAX = 65536,
};

bool
hail_open (struct hail *hail, int fd, const struct tls_context *context,
           bool dialler)
{
  hail->count = 0;
  return channel_open (&hail->channel, fd, context, dialler);
}

bool
hail_send (struct hail *hail, const struct wire_greeting *greeting)
{
  struct wire_frame frame = {
    .type = WIRE_GREETING_FRAME,
    .payload_length = WIRE_GREETING,
  };
  uint8_t bytes[HAIL_BYTES];
  const struct iovec iov = { bytes, sizeof bytes };

  wire_encode_greeting (greeting, bytes + WIRE_HEADER);
  frame.payload_crc = wire_crc32c (bytes + WIRE_HEADER, WIRE_GREETING);
  wire_encode (&frame, bytes);
  return channel_send (&hail->channel, &iov, 1) == sizeof bytes &&
    !channel_has_unsent (&hail->channel);
}

enum hail_progress
hail_secure (struct hail *hail, const char **why)
{
  enum channel_progress progress = channel_secure (&hail->channel, why);

  if (progress == CHANNEL_OVER)
    return HAIL_BAD;
  return progress == CHANNEL_READY ? HAIL_WHOLE : HAIL_PART;
}

/* A fatal alert: protocol_version. */
static void
refuse_tls (const struct hail *hail)
{
  static const uint8_t alert[] = { TLS_ALERT, TLS_MAJOR, 3, 0, 2, 2, 70 };

  /* What is unread when a socket is closed may take the answer with it. */
  recv (hail->channel.fd, NULL, DISCARD_MAX, MSG_TRUNC | MSG_DONTWAIT);
  send (hail->channel.fd, alert, sizeof alert, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static bool
is_tls (const struct hail *hail)
{
  return hail->channel.tls == NULL && hail->count >= TLS_BYTES &&
    (hail->bytes[0] == TLS_ALERT || hail->bytes[0] == TLS_HANDSHAKE) &&
    hail->bytes[1] == TLS_MAJOR;
}

/* All of it has come. */
static enum hail_progress
decode (const struct hail *hail, struct wire_greeting *greeting,
        const char **why)
{
  struct wire_frame frame;
  enum wire_reason reason = wire_decode (hail->bytes, &frame);

  if (reason == WIRE_BAD_VERSION)
    *why = wire_reason_text (reason);
  if (reason != WIRE_OK || frame.type != WIRE_GREETING_FRAME ||
      wire_check_payload (&frame, hail->bytes + WIRE_HEADER) != WIRE_OK ||
      wire_decode_greeting (hail->bytes + WIRE_HEADER, WIRE_GREETING,
                            greeting) != WIRE_OK)
    return HAIL_BAD;
  return HAIL_WHOLE;
}

enum hail_progress
hail_receive (struct hail *hail, struct wire_greeting *greeting,
              const char **why)
{
  ssize_t received = channel_receive (&hail->channel, hail->bytes + hail->count,
                                      HAIL_BYTES - hail->count, why);

  if (received == -1) {
    if (errno != EPROTO) /* its end is no news; what TLS says is */
      *why = NULL;
    return HAIL_BAD;
  }
  *why = NULL;
  hail->count += (size_t) received;
  if (is_tls (hail)) {
    refuse_tls (hail);
    *why = "it uses TLS, and this node has no tls- parameters";
    return HAIL_BAD;
  }
  return hail->count < HAIL_BYTES ? HAIL_PART : decode (hail, greeting, why);
}

bool
hail_is_closed (const struct hail *hail)
{
  char byte;
  ssize_t peeked = recv (hail->channel.fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

  return peeked == 0 || (peeked == -1 && errno != EAGAIN && errno != EINTR);
}

void
hail_close (struct hail *hail)
{
  channel_close (&hail->channel);
  hail->count = 0;
}
