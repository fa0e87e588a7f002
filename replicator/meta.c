/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meta.c: encoding of the metadata file.
 *
 * Pure: bytes in, bytes out.  Must never do I/O, and must never accept a
 * superblock that it does not fully understand: a wrong guess about
 * which copy is newer loses data.
 *
 * The file, all numbers little endian:
 *
 *       0  superblock slot 0, 4096 bytes
 *    4096  superblock slot 1
 *    8192  zeros
 *   16384  region map: page n is at 16384 + n * 4096
 *
 * A superblock slot:
 *
 *       0  8 bytes  "DUETMETA"
 *       8  u32  version         META_VERSION
 *      12  u32  features        1 attempt, 2 cached, 4 growing, 8 grown; an
 *                               unknown bit is as a newer version
 *      16  u64  sequence        one more at each write, from 1, at most
 *                               INT64_MAX
 *      24  u64  volume          volume id; 0: blank
 *      32  u64  node            my node id, not 0
 *      40  u64  peer            the peer's node id; 0: not known
 *      48  u64  size            of the volume in bytes, 1 .. 2^63 - 1
 *      56  u32  region_size     power of two, 256 KiB .. 1 GiB
 *      60  u32  data            enum data_state
 *      64  u64  primary         node id of the primary; 0: none yet
 *      72  u32  flags           1 both, 2 answered, 4 discard, 8 has_data
 *      76  u32  history_count   0 .. 32; 0 if data is blank, not 0 if it
 *                               is current
 *      80  u64  attempt_epoch   with feature 1, else zeros: the generation
 *      88  u64  attempt_id      that etcd was asked for, one epoch after
 *      96  u64  attempt_from    the present one, from which revision of
 *     104  u32  attempt_kind    the key, and its kind (2 .. 5)
 *     108  u32  0
 *     112  u64  grow_to         with feature 4, else 0: the volume is being
 *                               made so large (more than size), and the data
 *                               file may have any length in between
 *     120  u64  made_size       with feature 8, else 0: the size that the
 *                               volume had at first, less than size
 *     128  32 generations of 40 bytes, the present one first:
 *              0  u64 epoch (1 to 2 * GEN_EPOCH_MAX), 8 u64 id, 16 u64 client,
 *             24  u64 session, 32 u32 kind (enum gen_kind), 36 u32 when
 *             it was made, in seconds since 1970, 0: not known
 *          those from history_count on are zeros
 *    1408  zeros
 *    4092  u32  crc             CRC32C of bytes 0 .. 4091
 *
 * Magic, version and crc stay where they are in all versions, so that a
 * newer superblock can be told from a broken one.
 *
 * The slots are written in turn, each write durable before anything
 * depends on it.  A crash can tear only the slot that was being written,
 * which nothing depended on yet: so when one slot fails its check the
 * other one is right.  A slot that passes its check and yet makes no
 * sense was not torn; then there is no safe answer but to refuse.
 *
 * A map page:
 *
 *       0  4080 bytes of bits: bit r % 8 of byte r / 8 is region
 *          page * 32640 + r
 *    4080  u32  magic           "DMAP"
 *    4084  u32  page            its own number: misplaced writes show
 *    4088  u32  0
 *    4092  u32  crc             CRC32C of bytes 0 .. 4091
 */
#include "meta.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "wire.h"

enum {
  SLOT_VERSION = 8,
  SLOT_FEATURES = 12,
  SLOT_SEQUENCE = 16,
  SLOT_VOLUME = 24,
  SLOT_NODE = 32,
  SLOT_PEER = 40,
  SLOT_SIZE = 48,
  SLOT_REGION_SIZE = 56,
  SLOT_DATA = 60,
  SLOT_PRIMARY = 64,
  SLOT_FLAGS = 72,
  SLOT_COUNT = 76,
  SLOT_ATTEMPT_EPOCH = 80,
  SLOT_ATTEMPT_ID = 88,
  SLOT_ATTEMPT_FROM = 96,
  SLOT_ATTEMPT_KIND = 104,
  SLOT_ZERO = 108,
  SLOT_GROW_TO = 112,
  SLOT_MADE_SIZE = 120,
  SLOT_HISTORY = 128,
  SLOT_ENTRY = 40,
  SLOT_END = SLOT_HISTORY + GEN_HISTORY * SLOT_ENTRY,
  SLOT_CRC = META_SLOT - 4,

  FLAG_BOTH = 1,
  FLAG_ANSWERED = 2,
  FLAG_DISCARD = 4,
  FLAG_HAS_DATA = 8,
  FLAG_ALL = 15,

  FEATURE_ATTEMPT = 1,
  FEATURE_CACHED = 2,
  FEATURE_GROWING = 4,
  FEATURE_GROWN = 8,
  FEATURE_ALL = 15,

  PAGE_MAGIC = MARKS_PAGE_BYTES,
  PAGE_NUMBER = PAGE_MAGIC + 4,
  PAGE_RESERVED = PAGE_MAGIC + 8,
  PAGE_CRC = PAGE_MAGIC + 12,
};

_Static_assert(SLOT_MADE_SIZE + 8 == SLOT_HISTORY, "no byte is unread");
_Static_assert(SLOT_END <= SLOT_CRC, "the history fits into a slot");
_Static_assert(PAGE_CRC + 4 == META_PAGE, "a page is full");
_Static_assert(META_MAP_OFFSET >= META_SLOTS * META_SLOT,
               "the map begins after the slots");
_Static_assert(META_MAP_OFFSET % META_PAGE == 0, "map pages are aligned");

static const char slot_magic[8] = "DUETMETA";
static const uint32_t page_magic = UINT32_C (0x50414d44); /* "DMAP" */

static const char *const reason_texts[] = {
#define META_REASON_TEXT(name, text) [name] = text,
  META_REASONS (META_REASON_TEXT)
};

const char *
meta_reason_text (enum meta_reason reason)
{
  assert ((unsigned) reason < META_REASON_COUNT);
  return reason_texts[reason];
}

static void
put32 (uint8_t *at, uint32_t value)
{
  for (unsigned i = 0; i < 4; i++)
    at[i] = (uint8_t) (value >> (8 * i));
}

static void
put64 (uint8_t *at, uint64_t value)
{
  for (unsigned i = 0; i < 8; i++)
    at[i] = (uint8_t) (value >> (8 * i));
}

static uint32_t
get32 (const uint8_t *at)
{
  uint32_t value = 0;

  for (unsigned i = 4; i-- > 0;)
    value = value << 8 | at[i];
  return value;
}

static uint64_t
get64 (const uint8_t *at)
{
  return (uint64_t) get32 (at + 4) << 32 | get32 (at);
}

static bool
all_bytes (const uint8_t *bytes, size_t length, uint8_t value)
{
  for (size_t i = 0; i < length; i++)
    if (bytes[i] != value)
      return false;
  return true;
}

void
meta_encode (const struct gen_record *record, uint64_t sequence,
             uint8_t slot[META_SLOT])
{
  assert (sequence > 0);
  assert (record->history_count <= GEN_HISTORY);

  uint32_t flags = 0, features = 0;
  if (record->attempt.kind != GEN_NONE)
    features |= FEATURE_ATTEMPT;
  if (record->cached)
    features |= FEATURE_CACHED;
  if (record->grow_to != 0)
    features |= FEATURE_GROWING;
  if (record->made_size != 0)
    features |= FEATURE_GROWN;
  if (record->both)
    flags |= FLAG_BOTH;
  if (record->answered)
    flags |= FLAG_ANSWERED;
  if (record->discard)
    flags |= FLAG_DISCARD;
  if (record->has_data)
    flags |= FLAG_HAS_DATA;

  memset (slot, 0, META_SLOT);
  memcpy (slot, slot_magic, sizeof slot_magic);
  put32 (slot + SLOT_VERSION, META_VERSION);
  put64 (slot + SLOT_SEQUENCE, sequence);
  put64 (slot + SLOT_VOLUME, record->volume);
  put64 (slot + SLOT_NODE, record->node);
  put64 (slot + SLOT_PEER, record->peer);
  put64 (slot + SLOT_SIZE, record->size);
  put32 (slot + SLOT_REGION_SIZE, record->region_size);
  put32 (slot + SLOT_DATA, record->data);
  put64 (slot + SLOT_PRIMARY, record->primary);
  put32 (slot + SLOT_FLAGS, flags);
  put32 (slot + SLOT_COUNT, record->history_count);
  put32 (slot + SLOT_FEATURES, features);
  put64 (slot + SLOT_GROW_TO, record->grow_to);
  put64 (slot + SLOT_MADE_SIZE, record->made_size);
  if (record->attempt.kind != GEN_NONE) {
    put64 (slot + SLOT_ATTEMPT_EPOCH, record->attempt.gen.epoch);
    put64 (slot + SLOT_ATTEMPT_ID, record->attempt.gen.id);
    put64 (slot + SLOT_ATTEMPT_FROM, record->attempt_revision);
    put32 (slot + SLOT_ATTEMPT_KIND, record->attempt.kind);
  }
  for (uint32_t i = 0; i < record->history_count; i++) {
    const struct generation *entry = &record->history[i];
    uint8_t *at = slot + SLOT_HISTORY + i * SLOT_ENTRY;

    put64 (at, entry->gen.epoch);
    put64 (at + 8, entry->gen.id);
    put64 (at + 16, entry->client);
    put64 (at + 24, entry->session);
    put32 (at + 32, entry->kind);
    put32 (at + 36, entry->made_s);
  }
  put32 (slot + SLOT_CRC, wire_crc32c (slot, SLOT_CRC));

  struct gen_record check;
  uint64_t check_sequence;
  assert (meta_decode (slot, &check, &check_sequence) == META_OK);
}

/* The history of an intact slot; false: a value out of range. */
static bool
decode_history (const uint8_t *slot, struct gen_record *record)
{
  record->history_count = get32 (slot + SLOT_COUNT);
  if (record->history_count > GEN_HISTORY)
    return false;
  for (uint32_t i = 0; i < record->history_count; i++) {
    struct generation *entry = &record->history[i];
    const uint8_t *at = slot + SLOT_HISTORY + i * SLOT_ENTRY;

    entry->gen.epoch = get64 (at);
    entry->gen.id = get64 (at + 8);
    entry->client = get64 (at + 16);
    entry->session = get64 (at + 24);
    entry->kind = get32 (at + 32);
    entry->made_s = get32 (at + 36);
    if (entry->gen.epoch == 0 || entry->gen.epoch > 2 * GEN_EPOCH_MAX ||
        entry->kind >= GEN_KIND_COUNT)
      return false;
  }

  size_t used = SLOT_HISTORY + (size_t) record->history_count * SLOT_ENTRY;
  return all_bytes (slot + used, SLOT_CRC - used, 0);
}

/* The attempt of an intact slot; false: a value out of range. */
static bool
decode_attempt (const uint8_t *slot, struct gen_record *record)
{
  uint32_t kind = get32 (slot + SLOT_ATTEMPT_KIND);

  if ((get32 (slot + SLOT_FEATURES) & FEATURE_ATTEMPT) == 0)
    return all_bytes (slot + SLOT_ATTEMPT_EPOCH, SLOT_ZERO - SLOT_ATTEMPT_EPOCH,
                      0);
  record->attempt.gen.epoch = get64 (slot + SLOT_ATTEMPT_EPOCH);
  record->attempt.gen.id = get64 (slot + SLOT_ATTEMPT_ID);
  record->attempt.kind = kind;
  record->attempt_revision = get64 (slot + SLOT_ATTEMPT_FROM);
  return kind >= GEN_SOLO && kind <= GEN_SWITCH && record->history_count > 0 &&
    record->attempt.gen.epoch == record->history[0].gen.epoch + 1;
}

/* The growth of an intact slot; false: a value out of range. */
static bool
decode_growth (const uint8_t *slot, struct gen_record *record)
{
  bool growing = (get32 (slot + SLOT_FEATURES) & FEATURE_GROWING) != 0;
  bool grown = (get32 (slot + SLOT_FEATURES) & FEATURE_GROWN) != 0;

  record->grow_to = get64 (slot + SLOT_GROW_TO);
  record->made_size = get64 (slot + SLOT_MADE_SIZE);
  if (growing ? record->grow_to <= record->size || record->grow_to > INT64_MAX
              : record->grow_to != 0)
    return false;
  return grown ? record->made_size != 0 && record->made_size < record->size
               : record->made_size == 0;
}

/* A copy that was never part of a volume has no generations; one that
 * holds all that its generation acknowledged has at least that one.
 */
static bool
history_suits (uint32_t data, uint32_t count)
{
  return (data != DATA_BLANK || count == 0) &&
    (data != DATA_CURRENT || count > 0);
}

bool
meta_is_region_size (uint32_t size)
{
  return size >= MARKS_CHUNK && size <= UINT32_C (1) << 30 &&
    (size & (size - 1)) == 0;
}

enum meta_reason
meta_decode (const uint8_t slot[META_SLOT], struct gen_record *record,
             uint64_t *sequence)
{
  memset (record, 0, sizeof *record);
  *sequence = 0;

  if (all_bytes (slot, META_SLOT, 0))
    return META_EMPTY;
  if (memcmp (slot, slot_magic, sizeof slot_magic) != 0)
    return META_BAD_MAGIC;
  if (get32 (slot + SLOT_CRC) != wire_crc32c (slot, SLOT_CRC))
    return META_BAD_CRC;
  if (get32 (slot + SLOT_VERSION) > META_VERSION ||
      (get32 (slot + SLOT_FEATURES) & ~(uint32_t) FEATURE_ALL) != 0)
    return META_BAD_VERSION;

  uint32_t flags = get32 (slot + SLOT_FLAGS);
  struct gen_record found = {
    .volume = get64 (slot + SLOT_VOLUME),
    .node = get64 (slot + SLOT_NODE),
    .peer = get64 (slot + SLOT_PEER),
    .size = get64 (slot + SLOT_SIZE),
    .region_size = get32 (slot + SLOT_REGION_SIZE),
    .data = get32 (slot + SLOT_DATA),
    .primary = get64 (slot + SLOT_PRIMARY),
    .both = (flags & FLAG_BOTH) != 0,
    .answered = (flags & FLAG_ANSWERED) != 0,
    .discard = (flags & FLAG_DISCARD) != 0,
    .has_data = (flags & FLAG_HAS_DATA) != 0,
    .cached = (get32 (slot + SLOT_FEATURES) & FEATURE_CACHED) != 0,
  };
  uint64_t number = get64 (slot + SLOT_SEQUENCE);

  /* A higher number than disks live to see could not be counted on from. */
  if (get32 (slot + SLOT_VERSION) != META_VERSION || number == 0 ||
      number > INT64_MAX || found.node == 0 || found.size == 0 ||
      found.size > INT64_MAX || !meta_is_region_size (found.region_size) ||
      found.data >= DATA_STATE_COUNT ||
      !history_suits (found.data, get32 (slot + SLOT_COUNT)) ||
      (flags & ~(uint32_t) FLAG_ALL) != 0 || get32 (slot + SLOT_ZERO) != 0 ||
      !decode_history (slot, &found) || !decode_attempt (slot, &found) ||
      !decode_growth (slot, &found))
    return META_BAD_VALUE;

  *record = found;
  *sequence = number;
  return META_OK;
}

/* Did a slot with this result pass its check and yet make no sense? */
static bool
is_strange (enum meta_reason reason)
{
  return reason == META_BAD_VERSION || reason == META_BAD_VALUE;
}

enum meta_reason
meta_newest (const uint8_t slots[META_SLOTS * META_SLOT],
             struct gen_record *record, uint64_t *sequence, unsigned *slot)
{
  struct gen_record records[META_SLOTS];
  uint64_t sequences[META_SLOTS];
  enum meta_reason reasons[META_SLOTS];

  for (unsigned i = 0; i < META_SLOTS; i++)
    reasons[i] = meta_decode (slots + i * META_SLOT, &records[i],
                              &sequences[i]);

  *slot = reasons[1] == META_OK &&
    (reasons[0] != META_OK || sequences[1] > sequences[0]);
  *record = records[*slot];
  *sequence = sequences[*slot];

  if (reasons[*slot] == META_OK && !is_strange (reasons[!*slot]))
    return META_OK;
  return reasons[0] > reasons[1] ? reasons[0] : reasons[1];
}

void
meta_encode_page (uint32_t page, const uint8_t *bits, uint8_t out[META_PAGE])
{
  memcpy (out, bits, MARKS_PAGE_BYTES);
  put32 (out + PAGE_MAGIC, page_magic);
  put32 (out + PAGE_NUMBER, page);
  put32 (out + PAGE_RESERVED, 0);
  put32 (out + PAGE_CRC, wire_crc32c (out, PAGE_CRC));
}

bool
meta_decode_page (uint32_t page, const uint8_t in[META_PAGE], uint8_t *bits)
{
  if (all_bytes (in, META_PAGE, 0)) {
    memset (bits, 0, MARKS_PAGE_BYTES);
    return true;
  }
  if (get32 (in + PAGE_MAGIC) != page_magic ||
      get32 (in + PAGE_NUMBER) != page ||
      get32 (in + PAGE_CRC) != wire_crc32c (in, PAGE_CRC)) {
    memset (bits, 0xff, MARKS_PAGE_BYTES);
    return false;
  }
  memcpy (bits, in, MARKS_PAGE_BYTES);
  return true;
}
