/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-stream.c: the bytes of a connection between two nodes, cut anywhere:
 * the greeting (hail.c), then frames (receiver.c).  What comes out must be
 * what the same bytes say when they are looked at in one piece: the same
 * frames, the same payloads, the same end.
 *
 *   0  u8  how it is cut; with SIGN: checksums are made right first
 *   1  the bytes
 */
#include <sys/socket.h>

#include "fuzz.h"
#include "hail.h"
#include "receiver.h"

enum {
  INPUT_MAX = 65536,
  PIECES = 64, /* the socket holds as many */
  SIGN = 0x80,
  LENGTH_AT = 8,
  PAYLOAD_CRC_AT = 56,
  HEADER_CRC_AT = 60,
};

/* What was seen, in order. */
struct story {
  uint64_t frames, hash;
};

/* FNV-1a (Fowler, Noll, Vo). */
static void
tell (struct story *story, const void *bytes, size_t length)
{
  const uint8_t *at = bytes;

  while (length-- > 0)
    story->hash = (story->hash ^ *at++) * UINT64_C (1099511628211);
}

static void
tell_frame (struct story *story, const struct wire_frame *frame,
            const uint8_t *payload)
{
  uint8_t header[WIRE_HEADER];

  wire_encode (frame, header);
  tell (story, header, WIRE_HEADER);
  tell (story, payload, frame->payload_length);
  story->frames++;
}

/* ----------------------------------------------------------- in one piece */

static void
put_le32 (uint8_t *to, uint32_t value)
{
  unsigned i;

  for (i = 0; i < 4; i++)
    to[i] = (uint8_t) (value >> (8 * i));
}

static void
sign (uint8_t *bytes, size_t length)
{
  while (length >= WIRE_HEADER) {
    struct fuzz_input input = { bytes + LENGTH_AT, 4 };
    uint64_t payload = fuzz_take (&input, 4);

    put_le32 (bytes, WIRE_MAGIC);
    bytes[4] = WIRE_VERSION;
    bytes[5] = 0;
    if (payload > length - WIRE_HEADER)
      payload = 0;
    put_le32 (bytes + LENGTH_AT, (uint32_t) payload);
    put_le32 (bytes + PAYLOAD_CRC_AT,
              payload > 0 ? wire_crc32c (bytes + WIRE_HEADER, payload) : 0);
    put_le32 (bytes + HEADER_CRC_AT, wire_crc32c (bytes, HEADER_CRC_AT));
    bytes += WIRE_HEADER + payload;
    length -= WIRE_HEADER + payload;
  }
}

static const char *
expect_frames (const uint8_t *bytes, size_t length, struct story *story)
{
  struct wire_frame frame;
  enum wire_reason reason;

  while (length >= WIRE_HEADER) {
    reason = wire_decode (bytes, &frame);
    if (reason == WIRE_OK && frame.type == WIRE_GREETING_FRAME)
      reason = WIRE_BAD_TYPE;
    if (reason != WIRE_OK)
      return wire_reason_text (reason);
    if (frame.payload_length > length - WIRE_HEADER)
      break;
    reason = wire_check_payload (&frame, bytes + WIRE_HEADER);
    if (reason != WIRE_OK)
      return wire_reason_text (reason);
    tell_frame (story, &frame, bytes + WIRE_HEADER);
    bytes += WIRE_HEADER + frame.payload_length;
    length -= WIRE_HEADER + frame.payload_length;
  }
  return "closed by the peer";
}

static enum hail_progress
expect_hail (const uint8_t *bytes, size_t length, const char **why)
{
  struct wire_greeting greeting;
  struct wire_frame frame;
  enum wire_reason reason;

  *why = NULL;
  if (length >= 2 && (bytes[0] == 21 || bytes[0] == 22) && bytes[1] == 3) {
    *why = "it uses TLS, and this node has no tls- parameters";
    return HAIL_BAD;
  }
  if (length < HAIL_BYTES)
    return HAIL_BAD;
  reason = wire_decode (bytes, &frame);
  if (reason == WIRE_BAD_VERSION)
    *why = wire_reason_text (reason);
  if (reason != WIRE_OK || frame.type != WIRE_GREETING_FRAME ||
      wire_check_payload (&frame, bytes + WIRE_HEADER) != WIRE_OK ||
      wire_decode_greeting (bytes + WIRE_HEADER, WIRE_GREETING, &greeting) !=
        WIRE_OK)
    return HAIL_BAD;
  return HAIL_WHOLE;
}

/* -------------------------------------------------------------- in pieces */

/* Packets: what is sent at once is received at once, and nothing else. */
static void
send_pieces (int fd, const uint8_t *bytes, size_t length, unsigned how)
{
  size_t least = length / PIECES + 1, at = 0;

  while (at < length) {
    size_t piece = least + how % 128 * (least > 1 ? 1 : how & 1);

    /* The greeting is received for itself. */
    if (at < HAIL_BYTES && piece > HAIL_BYTES - at)
      piece = HAIL_BYTES - at;
    if (piece > length - at)
      piece = length - at;
    assert (send (fd, bytes + at, piece, MSG_NOSIGNAL | MSG_DONTWAIT) ==
            (ssize_t) piece);
    at += piece;
    how = how * 5 + 17;
  }
  shutdown (fd, SHUT_WR);
}

static int
on_frame (void *opaque, uint32_t link, const struct wire_frame *frame,
          const uint8_t *payload, bool last)
{
  (void) last;
  assert (link == 1);
  tell_frame (opaque, frame, payload);
  return 0;
}

static void
try_pieces (int fd, const uint8_t *bytes, size_t length)
{
  static const struct link_callbacks callbacks = { .frame = on_frame };
  static struct receiver receiver;
  static const atomic_bool stop;
  struct hail hail = { .channel = { .fd = fd } };
  struct wire_greeting greeting;
  enum hail_progress progress;
  struct story expected = { 0 }, seen = { 0 };
  const char *why, *end;

  do
    progress = hail_receive (&hail, &greeting, &end);
  while (progress == HAIL_PART);
  assert (progress == expect_hail (bytes, length, &why));
  assert (progress == HAIL_WHOLE || why == end ||
          (why != NULL && end != NULL && strcmp (why, end) == 0));
  if (progress != HAIL_WHOLE)
    return;
  if (receiver.buffer == NULL && receiver_init (&receiver) == -1)
    abort ();
  why = expect_frames (bytes + HAIL_BYTES, length - HAIL_BYTES, &expected);
  end = receiver_run (&receiver, &hail.channel, 1, &callbacks, &seen, &stop);
  assert (seen.frames == expected.frames);
  assert (seen.hash == expected.hash);
  assert (strcmp (why, end) == 0);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static uint8_t bytes[INPUT_MAX];
  int ends[2];

  if (size < 1 || size - 1 > INPUT_MAX)
    return 0;
  memcpy (bytes, data + 1, size - 1);
  if (data[0] & SIGN)
    sign (bytes, size - 1);
  assert (socketpair (AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
  send_pieces (ends[1], bytes, size - 1, data[0]);
  close (ends[1]);
  try_pieces (ends[0], bytes, size - 1);
  close (ends[0]);
  return 0;
}
