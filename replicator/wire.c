/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire.c: bytes to frames and back, and the checks that need nothing but
 * the bytes themselves.  Pure: no system calls, no state.  A decoder must
 * never read past what it was given, nor trust anything in it.
 *
 * Layout of a hello's payload, little endian; the rest of the first 128
 * bytes is zero:
 *
 *   0  u64 volume      8  u64 node        16  u64 peer      24  u64 size
 *  32  u32 region_size                    36  u32 data
 *  40  u64 primary                        48  u32 bits (enum hello_bit)
 *  52  u32 history_count                  56  u64 boot
 *  64  u64 features                       72  u32 resyncable
 *  76  u32 lease_ms                       80  u32 grace_ms
 * 128  GEN_HISTORY entries of 40 bytes: u64 epoch, u64 id, u64 client,
 *      u64 session, u32 kind, u32 zero; entries from history_count on are
 *      all zero
 *
 * A greeting's payload: u64 node, u64 boot, u64 dials, u64 answer.
 */
#include <assert.h>
#include <string.h>

#include <isa-l/crc.h>

#include "marks.h"
#include "wire.h"

enum {
  HELLO_HISTORY = 128, /* where the history begins */
  HELLO_USED = 84,     /* first byte of the padding before it */
  HELLO_ENTRY = 40,    /* bytes of one entry */
  REGION_SIZE_MIN = 256 * 1024,
  REGION_SIZE_MAX = 1024 * 1024 * 1024,
};

enum hello_bit {
  HELLO_BOTH = 1,
  HELLO_ANSWERED = 2,
  HELLO_DISCARD = 4,
  HELLO_HAS_DATA = 8,
  HELLO_MAY_LACK = 16,
  HELLO_BITS = 31,
};

_Static_assert(WIRE_HELLO == HELLO_HISTORY + GEN_HISTORY * HELLO_ENTRY,
               "the hello's parts fill it exactly");
_Static_assert(WIRE_GREETING == 4 * sizeof (uint64_t),
               "the greeting is four numbers");
_Static_assert(WIRE_TYPE_COUNT <= UINT8_MAX, "a type fits its byte");
_Static_assert((size_t) MARKS_PAGE_BYTES <= WIRE_PAYLOAD_MAX,
               "a page of the map fits a frame");

static void
put_u16 (uint8_t *at, uint16_t value)
{
  at[0] = (uint8_t) value;
  at[1] = (uint8_t) (value >> 8);
}

static void
put_u32 (uint8_t *at, uint32_t value)
{
  put_u16 (at, (uint16_t) value);
  put_u16 (at + 2, (uint16_t) (value >> 16));
}

static void
put_u64 (uint8_t *at, uint64_t value)
{
  put_u32 (at, (uint32_t) value);
  put_u32 (at + 4, (uint32_t) (value >> 32));
}

static uint16_t
get_u16 (const uint8_t *at)
{
  return (uint16_t) (at[0] | at[1] << 8);
}

static uint32_t
get_u32 (const uint8_t *at)
{
  return get_u16 (at) | (uint32_t) get_u16 (at + 2) << 16;
}

static uint64_t
get_u64 (const uint8_t *at)
{
  return get_u32 (at) | (uint64_t) get_u32 (at + 4) << 32;
}

static bool
is_zero (const uint8_t *bytes, size_t length)
{
  for (size_t i = 0; i < length; i++)
    if (bytes[i] != 0)
      return false;
  return true;
}

/* ------------------------------------------------------------- names */

const char *
wire_type_name (uint8_t type)
{
#define WORD(name, word, payload) word,
  static const char *const words[] = { WIRE_TYPES (WORD) };
#undef WORD

  return type < WIRE_TYPE_COUNT ? words[type] : "unknown";
}

const char *
wire_reason_text (enum wire_reason reason)
{
#define TEXT(name, text) text,
  static const char *const texts[] = { WIRE_REASONS (TEXT) };
#undef TEXT

  return (unsigned) reason < WIRE_REASON_COUNT ? texts[reason] : "unknown";
}

/* ------------------------------------------------------------ frames */

uint32_t
wire_crc32c (const void *data, size_t length)
{
  /* The library neither inverts at the start nor at the end, does not
   * change the data, and counts in int.
   */
  uint8_t *at = (uint8_t *) (uintptr_t) data;
  uint32_t crc = UINT32_MAX;

  while (length > 0) {
    size_t part = length < 1 << 30 ? length : 1 << 30;

    crc = crc32_iscsi (at, (int) part, crc);
    at += part;
    length -= part;
  }
  return ~crc;
}

void
wire_encode (const struct wire_frame *frame, uint8_t header[WIRE_HEADER])
{
  assert (frame->type < WIRE_TYPE_COUNT);
  assert (frame->payload_length <= WIRE_PAYLOAD_MAX);

  put_u32 (header, WIRE_MAGIC);
  put_u16 (header + 4, WIRE_VERSION);
  header[6] = frame->type;
  header[7] = frame->flags;
  put_u32 (header + 8, frame->payload_length);
  put_u32 (header + 12, frame->length);
  put_u64 (header + 16, frame->seq);
  put_u64 (header + 24, frame->offset);
  put_u64 (header + 32, frame->gen.epoch);
  put_u64 (header + 40, frame->gen.id);
  put_u64 (header + 48, frame->arg);
  put_u32 (header + 56, frame->payload_crc);
  put_u32 (header + 60, wire_crc32c (header, 60));
}

static uint8_t
allowed_flags (uint8_t type)
{
  switch (type) {
  case WIRE_WRITE: return WIRE_RESYNC;
  case WIRE_ZERO: return WIRE_RESYNC | WIRE_PUNCH;
  default: return 0;
  }
}

/* Bytes of hashes that cover LENGTH bytes of volume. */
static uint64_t
hash_bytes (uint32_t length)
{
  uint64_t blocks = ((uint64_t) length + MARKS_BLOCK - 1) / MARKS_BLOCK;

  return blocks * WIRE_HASH;
}

/* Does payload_length, and the extent where there is one, suit the type? */
static bool
lengths_fit (const struct wire_frame *frame)
{
  uint32_t payload = frame->payload_length;

  if (payload > WIRE_PAYLOAD_MAX)
    return false;
  if (frame->offset > (uint64_t) INT64_MAX - frame->length)
    return false;
  switch (frame->type) {
  case WIRE_GREETING_FRAME: return payload == WIRE_GREETING;
  case WIRE_HELLO_FRAME:
  case WIRE_ADOPT: return payload == WIRE_HELLO;
  case WIRE_WRITE: return frame->length > 0 && payload == frame->length;
  case WIRE_ZERO:
  case WIRE_HASH_REQUEST: return frame->length > 0 && payload == 0;
  case WIRE_HASH_REPLY:
    return frame->length > 0 && payload == hash_bytes (frame->length);
  case WIRE_MARKS: return payload == MARKS_PAGE_BYTES;
  case WIRE_CLEAR:
    return payload > 0 && payload % sizeof (uint64_t) == 0 &&
      payload / sizeof (uint64_t) <= WIRE_REGIONS_MAX;
  default: return payload == 0;
  }
}

enum wire_reason
wire_decode (const uint8_t header[WIRE_HEADER], struct wire_frame *frame)
{
  memset (frame, 0, sizeof *frame);
  if (get_u32 (header) != WIRE_MAGIC)
    return WIRE_BAD_MAGIC;
  if (get_u16 (header + 4) != WIRE_VERSION)
    return WIRE_BAD_VERSION;
  if (get_u32 (header + 60) != wire_crc32c (header, 60))
    return WIRE_BAD_HEADER_CRC;

  frame->type = header[6];
  frame->flags = header[7];
  frame->payload_length = get_u32 (header + 8);
  frame->length = get_u32 (header + 12);
  frame->seq = get_u64 (header + 16);
  frame->offset = get_u64 (header + 24);
  frame->gen.epoch = get_u64 (header + 32);
  frame->gen.id = get_u64 (header + 40);
  frame->arg = get_u64 (header + 48);
  frame->payload_crc = get_u32 (header + 56);

  if (frame->type >= WIRE_TYPE_COUNT)
    return WIRE_BAD_TYPE;
  if ((frame->flags & ~allowed_flags (frame->type)) != 0)
    return WIRE_BAD_FLAGS;
  if (!lengths_fit (frame))
    return WIRE_BAD_LENGTH;
  if (frame->payload_length == 0 && frame->payload_crc != 0)
    return WIRE_BAD_PAYLOAD_CRC;
  return WIRE_OK;
}

enum wire_reason
wire_check_payload (const struct wire_frame *frame, const void *payload)
{
  if (frame->payload_length == 0)
    return WIRE_OK;
  if (wire_crc32c (payload, frame->payload_length) != frame->payload_crc)
    return WIRE_BAD_PAYLOAD_CRC;
  return WIRE_OK;
}

/* ------------------------------------------------------------- hello */

void
wire_encode_hello (const struct wire_hello *hello, uint8_t payload[WIRE_HELLO])
{
  const struct gen_record *record = &hello->record;
  uint32_t bits = (record->both ? HELLO_BOTH : 0u) |
    (record->answered ? HELLO_ANSWERED : 0u) |
    (record->discard ? HELLO_DISCARD : 0u) |
    (record->has_data ? HELLO_HAS_DATA : 0u) |
    (record->may_lack ? HELLO_MAY_LACK : 0u);

  assert (record->history_count <= GEN_HISTORY);
  memset (payload, 0, WIRE_HELLO);
  put_u64 (payload, record->volume);
  put_u64 (payload + 8, record->node);
  put_u64 (payload + 16, record->peer);
  put_u64 (payload + 24, record->size);
  put_u32 (payload + 32, record->region_size);
  put_u32 (payload + 36, record->data);
  put_u64 (payload + 40, record->primary);
  put_u32 (payload + 48, bits);
  put_u32 (payload + 52, record->history_count);
  put_u64 (payload + 56, hello->boot);
  put_u64 (payload + 64, hello->features);
  put_u32 (payload + 72, hello->resyncable);
  put_u32 (payload + 76, hello->lease_ms);
  put_u32 (payload + 80, hello->grace_ms);

  for (uint32_t i = 0; i < record->history_count; i++) {
    const struct generation *entry = &record->history[i];
    uint8_t *at = payload + HELLO_HISTORY + i * HELLO_ENTRY;

    put_u64 (at, entry->gen.epoch);
    put_u64 (at + 8, entry->gen.id);
    put_u64 (at + 16, entry->client);
    put_u64 (at + 24, entry->session);
    put_u32 (at + 32, entry->kind);
  }
}

static bool
decode_history (const uint8_t *payload, struct gen_record *record)
{
  if (record->history_count > GEN_HISTORY)
    return false;
  for (uint32_t i = 0; i < record->history_count; i++) {
    const uint8_t *at = payload + HELLO_HISTORY + i * HELLO_ENTRY;
    struct generation *entry = &record->history[i];

    entry->gen.epoch = get_u64 (at);
    entry->gen.id = get_u64 (at + 8);
    entry->client = get_u64 (at + 16);
    entry->session = get_u64 (at + 24);
    entry->kind = get_u32 (at + 32);
    entry->made_s = 0;
    if (entry->gen.epoch == 0 || entry->gen.epoch > GEN_EPOCH_MAX ||
        entry->kind >= GEN_KIND_COUNT || get_u32 (at + 36) != 0)
      return false;
  }

  size_t end = HELLO_HISTORY + record->history_count * HELLO_ENTRY;
  return is_zero (payload + end, WIRE_HELLO - end);
}

static bool
record_in_range (const struct gen_record *record)
{
  uint32_t region = record->region_size;

  return record->node != 0 && record->size > 0 && record->size <= INT64_MAX &&
    record->data < DATA_STATE_COUNT && region >= REGION_SIZE_MIN &&
    region <= REGION_SIZE_MAX && (region & (region - 1)) == 0;
}

static bool
features_in_range (const struct wire_hello *hello)
{
  uint64_t known = WIRE_ETCD | WIRE_PAUSED | WIRE_CACHED;

  if ((hello->features & ~known) != 0)
    return false;
  if (hello->features & WIRE_ETCD)
    return hello->lease_ms > 0 && hello->grace_ms > hello->lease_ms;
  return hello->lease_ms == 0 && hello->grace_ms == 0;
}

enum wire_reason
wire_decode_hello (const uint8_t *payload, size_t length,
                   struct wire_hello *hello)
{
  struct gen_record *record = &hello->record;

  memset (hello, 0, sizeof *hello);
  if (length != WIRE_HELLO)
    return WIRE_BAD_HELLO;

  uint32_t bits = get_u32 (payload + 48);

  record->volume = get_u64 (payload);
  record->node = get_u64 (payload + 8);
  record->peer = get_u64 (payload + 16);
  record->size = get_u64 (payload + 24);
  record->region_size = get_u32 (payload + 32);
  record->data = get_u32 (payload + 36);
  record->primary = get_u64 (payload + 40);
  record->both = (bits & HELLO_BOTH) != 0;
  record->answered = (bits & HELLO_ANSWERED) != 0;
  record->discard = (bits & HELLO_DISCARD) != 0;
  record->has_data = (bits & HELLO_HAS_DATA) != 0;
  record->may_lack = (bits & HELLO_MAY_LACK) != 0;
  record->history_count = get_u32 (payload + 52);
  hello->boot = get_u64 (payload + 56);
  hello->features = get_u64 (payload + 64);
  hello->resyncable = get_u32 (payload + 72);
  hello->lease_ms = get_u32 (payload + 76);
  hello->grace_ms = get_u32 (payload + 80);

  if ((bits & ~(uint32_t) HELLO_BITS) != 0 || !features_in_range (hello) ||
      hello->resyncable > 1 || !record_in_range (record) ||
      !is_zero (payload + HELLO_USED, HELLO_HISTORY - HELLO_USED) ||
      !decode_history (payload, record)) {
    memset (hello, 0, sizeof *hello);
    return WIRE_BAD_HELLO;
  }
  return WIRE_OK;
}

/* ---------------------------------------------------------- greeting */

void
wire_encode_greeting (const struct wire_greeting *greeting,
                      uint8_t payload[WIRE_GREETING])
{
  put_u64 (payload, greeting->node);
  put_u64 (payload + 8, greeting->boot);
  put_u64 (payload + 16, greeting->dials);
  put_u64 (payload + 24, greeting->answer);
}

enum wire_reason
wire_decode_greeting (const uint8_t *payload, size_t length,
                      struct wire_greeting *greeting)
{
  memset (greeting, 0, sizeof *greeting);
  if (length != WIRE_GREETING)
    return WIRE_BAD_GREETING;
  greeting->node = get_u64 (payload);
  greeting->boot = get_u64 (payload + 8);
  greeting->dials = get_u64 (payload + 16);
  greeting->answer = get_u64 (payload + 24);
  if (greeting->node == 0 || greeting->answer > WIRE_REFUSED) {
    memset (greeting, 0, sizeof *greeting);
    return WIRE_BAD_GREETING;
  }
  return WIRE_OK;
}
