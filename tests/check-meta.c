/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-meta.c: the metadata codec: layout, every damaged byte, every
 * torn write, every pair of slots.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "meta.h"
#include "wire.h"

enum { SECTOR = 512, CRC_AT = META_SLOT - 4 };

static struct gen_record
full_record (void)
{
  struct gen_record record = {
    .volume = UINT64_C (0x1122334455667788),
    .node = 2,
    .peer = 3,
    .size = UINT64_C (256) << 30,
    .region_size = 4 << 20,
    .data = DATA_SYNCING,
    .primary = 3,
    .both = true,
    .discard = true,
    .history_count = GEN_HISTORY,
  };

  for (uint32_t i = 0; i < GEN_HISTORY; i++)
    record.history[i] = (struct generation){
      .gen = { .epoch = 100 - i, .id = UINT64_MAX - i },
      .client = 1000 + i,
      .session = 2000 + i,
      .kind = i % GEN_KIND_COUNT,
      .made_s = UINT32_MAX - i,
    };
  return record;
}

static struct gen_record
blank_record (void)
{
  return (struct gen_record){
    .node = 7,
    .size = 1,
    .region_size = MARKS_CHUNK,
    .data = DATA_BLANK,
    .has_data = true,
  };
}

static void
assert_same (const struct gen_record *a, const struct gen_record *b)
{
  ck_assert_uint_eq (a->volume, b->volume);
  ck_assert_uint_eq (a->node, b->node);
  ck_assert_uint_eq (a->peer, b->peer);
  ck_assert_uint_eq (a->size, b->size);
  ck_assert_uint_eq (a->region_size, b->region_size);
  ck_assert_uint_eq (a->data, b->data);
  ck_assert_uint_eq (a->primary, b->primary);
  ck_assert_int_eq (a->both, b->both);
  ck_assert_int_eq (a->answered, b->answered);
  ck_assert_int_eq (a->discard, b->discard);
  ck_assert_int_eq (a->has_data, b->has_data);
  ck_assert_int_eq (a->cached, b->cached);
  ck_assert_uint_eq (a->grow_to, b->grow_to);
  ck_assert_uint_eq (a->made_size, b->made_size);
  ck_assert_uint_eq (a->history_count, b->history_count);
  for (uint32_t i = 0; i < a->history_count; i++) {
    ck_assert (gen_id_equal (a->history[i].gen, b->history[i].gen));
    ck_assert_uint_eq (a->history[i].client, b->history[i].client);
    ck_assert_uint_eq (a->history[i].session, b->history[i].session);
    ck_assert_uint_eq (a->history[i].kind, b->history[i].kind);
    ck_assert_uint_eq (a->history[i].made_s, b->history[i].made_s);
  }
}

/* Make the checksum right again after a change. */
static void
seal (uint8_t *slot)
{
  uint32_t crc = wire_crc32c (slot, CRC_AT);

  for (unsigned i = 0; i < 4; i++)
    slot[CRC_AT + i] = (uint8_t) (crc >> (8 * i));
}

static enum meta_reason
decode (const uint8_t *slot)
{
  struct gen_record record;
  uint64_t sequence;

  return meta_decode (slot, &record, &sequence);
}

START_TEST (every_reason_has_a_text)
{
  for (unsigned i = 0; i < META_REASON_COUNT; i++)
    ck_assert_uint_gt (strlen (meta_reason_text (i)), 1);
}
END_TEST

START_TEST (what_is_written_is_read)
{
  uint8_t slot[META_SLOT];

  for (unsigned flags = 0; flags < 32; flags++)
    for (unsigned full = 0; full < 2; full++) {
      struct gen_record record = full ? full_record () : blank_record ();
      struct gen_record read;
      uint64_t sequence;

      record.both = flags & 1;
      record.answered = flags & 2;
      record.discard = flags & 4;
      record.has_data = flags & 8;
      record.cached = flags & 16;
      meta_encode (&record, 1 + flags, slot);
      ck_assert_int_eq (meta_decode (slot, &read, &sequence), META_OK);
      ck_assert_uint_eq (sequence, 1 + flags);
      assert_same (&record, &read);
    }
}
END_TEST

/* The numbers of docs/disk-format.md. */
START_TEST (layout_is_as_documented)
{
  static const uint8_t start[] = {
    'D',  'U',  'E',  'T',  'M',  'E',  'T',  'A',  /* magic */
    1,    0,    0,    0,    0,    0,    0,    0,    /* version, features */
    9,    0,    0,    0,    0,    0,    0,    0,    /* sequence */
    0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, /* volume */
    2,    0,    0,    0,    0,    0,    0,    0,    /* node */
    3,    0,    0,    0,    0,    0,    0,    0,    /* peer */
    0,    0,    0,    0,    0x40, 0,    0,    0,    /* size */
    0,    0,    0x40, 0,    2,    0,    0,    0,    /* region, data */
    3,    0,    0,    0,    0,    0,    0,    0,    /* primary */
    5,    0,    0,    0,    32,   0,    0,    0,    /* flags, count */
  };
  uint8_t slot[META_SLOT], page[META_PAGE], bits[MARKS_PAGE_BYTES] = { 5 };
  struct gen_record record = full_record ();

  meta_encode (&record, 9, slot);
  ck_assert_mem_eq (slot, start, sizeof start);
  ck_assert_uint_eq (slot[128], 100);
  ck_assert_uint_eq (slot[128 + 8], 0xff);
  ck_assert_uint_eq (slot[128 + 40], 99);
  ck_assert_uint_eq (slot[128 + 40 + 32], 1);
  ck_assert_uint_eq (slot[1408], 0);

  meta_encode_page (0x0102, bits, page);
  ck_assert_uint_eq (page[0], 5);
  ck_assert_mem_eq (page + 4080, "DMAP\2\1\0\0\0\0\0\0", 12);
}
END_TEST

START_TEST (any_changed_byte_is_found)
{
  uint8_t slot[META_SLOT];
  struct gen_record record = full_record ();

  meta_encode (&record, 1, slot);
  for (unsigned i = 0; i < META_SLOT; i++) {
    uint8_t old = slot[i];

    slot[i] ^= (uint8_t) (1U << i % 8);
    ck_assert_int_eq (decode (slot), i < 8 ? META_BAD_MAGIC : META_BAD_CRC);
    slot[i] = old;
  }
  ck_assert_int_eq (decode (slot), META_OK);
}
END_TEST

/* An intact slot with one field that cannot be. */
START_TEST (strange_values_are_refused)
{
  static const struct {
    unsigned offset;
    uint8_t value;
    enum meta_reason reason;
  } cases[] = {
    { 8, 2, META_BAD_VERSION },   /* version */
    { 8, 0, META_BAD_VALUE },     /* version 0 never was */
    { 12, 16, META_BAD_VERSION }, /* features */
    { 12, 1, META_BAD_VALUE },    /* an attempt, but none is there */
    { 12, 4, META_BAD_VALUE },    /* growing, but to no size */
    { 12, 8, META_BAD_VALUE },    /* grown, but from no size */
    { 16, 0, META_BAD_VALUE },    /* sequence 0 */
    { 23, 0x80, META_BAD_VALUE }, /* a sequence past the last */
    { 32, 0, META_BAD_VALUE },    /* node 0 */
    { 52, 0, META_BAD_VALUE },    /* size 0 */
    { 55, 0x80, META_BAD_VALUE }, /* size 2^63 */
    { 56, 1, META_BAD_VALUE },    /* region size: no power of two */
    { 58, 0x02, META_BAD_VALUE }, /* region size: 128 KiB */
    { 60, DATA_STATE_COUNT, META_BAD_VALUE },
    { 72, 16, META_BAD_VALUE },    /* unknown flag */
    { 75, 1, META_BAD_VALUE },     /* unknown flag */
    { 76, 33, META_BAD_VALUE },    /* history_count */
    { 76, 31, META_BAD_VALUE },    /* something behind the history */
    { 80, 1, META_BAD_VALUE },     /* an attempt without its feature */
    { 107, 1, META_BAD_VALUE },    /* the same */
    { 108, 1, META_BAD_VALUE },    /* reserved */
    { 112, 1, META_BAD_VALUE },    /* a growth without its feature */
    { 119, 1, META_BAD_VALUE },    /* the same */
    { 120, 1, META_BAD_VALUE },    /* grown without its feature */
    { 127, 1, META_BAD_VALUE },    /* the same */
    { 128, 0, META_BAD_VALUE },    /* epoch 0 */
    { 135, 0x80, META_BAD_VALUE }, /* an epoch past the last */
    { 160, GEN_KIND_COUNT, META_BAD_VALUE },
    { 1408, 1, META_BAD_VALUE }, /* reserved */
    { 4091, 1, META_BAD_VALUE }, /* reserved */
  };
  struct gen_record record = full_record ();
  uint8_t slot[META_SLOT];

  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    meta_encode (&record, 1, slot);
    slot[cases[i].offset] = cases[i].value;
    seal (slot);
    ck_assert_msg (decode (slot) == cases[i].reason, "byte %u = %u: %s",
                   cases[i].offset, cases[i].value,
                   meta_reason_text (decode (slot)));
  }
}
END_TEST

/* A growth that was begun, and the size that was at first. */
START_TEST (growth_is_kept)
{
  static const struct {
    unsigned offset;
    uint8_t value;
  } bad[] = {
    { 116, 0x40 }, /* grow_to: 256 GiB, the size */
    { 119, 0x80 }, /* 2^63 and more */
    { 124, 0x40 }, /* made_size: no less than the size */
  };
  struct gen_record record = full_record ();
  uint8_t slot[META_SLOT];
  struct gen_record read;
  uint64_t sequence;

  record.grow_to = record.size + (UINT64_C (256) << 30);
  record.made_size = record.size / 2;
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    meta_encode (&record, 1, slot);
    ck_assert_int_eq (meta_decode (slot, &read, &sequence), META_OK);
    assert_same (&read, &record);
    slot[bad[i].offset] = bad[i].value;
    seal (slot);
    ck_assert_msg (decode (slot) == META_BAD_VALUE, "byte %u", bad[i].offset);
  }
}
END_TEST

/* The name of a generation that etcd was asked for. */
START_TEST (attempt_is_kept)
{
  static const struct {
    unsigned offset;
    uint8_t value;
  } bad[] = {
    { 80, 100 },             /* the present epoch */
    { 80, 102 },             /* not the next one */
    { 104, GEN_NONE },       /* no kind */
    { 104, GEN_CREATE },     /* one that needs no etcd */
    { 104, GEN_SWITCH + 1 }, /* another */
    { 105, 1 },              /* none at all */
    { 108, 1 },              /* reserved */
    { 76, 0 },               /* without a generation before it */
  };
  struct gen_record record = full_record (), read;
  uint8_t slot[META_SLOT];
  uint64_t sequence;

  for (uint32_t kind = GEN_SOLO; kind <= GEN_SWITCH; kind++) {
    record.attempt.kind = kind;
    record.attempt.gen = (struct gen_id){ 101, UINT64_MAX - kind };
    record.attempt_revision = kind == GEN_SOLO ? 0 : UINT64_MAX;
    meta_encode (&record, 9, slot);
    ck_assert_uint_eq (slot[12], 1);
    ck_assert_int_eq (meta_decode (slot, &read, &sequence), META_OK);
    assert_same (&record, &read);
    ck_assert_uint_eq (read.attempt.kind, kind);
    ck_assert (gen_id_equal (read.attempt.gen, record.attempt.gen));
    ck_assert_uint_eq (read.attempt_revision, record.attempt_revision);
  }
  for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++) {
    meta_encode (&record, 9, slot);
    slot[bad[i].offset] = bad[i].value;
    seal (slot);
    ck_assert_msg (decode (slot) == META_BAD_VALUE, "case %u", i);
  }
}
END_TEST

/* What a slot can look like; worse ones later, as in META_REASONS. */
enum look { OLD, NEW, ZERO, MAGIC, VERSION, CRC, VALUE, LOOKS };

static void
make_slot (enum look look, uint8_t *slot)
{
  struct gen_record record = full_record ();

  meta_encode (&record, look == NEW ? 6 : 5, slot);
  switch (look) {
  case ZERO: memset (slot, 0, META_SLOT); break;
  case MAGIC: slot[0] = 'X'; break;
  case VERSION:
    slot[8] = 2;
    seal (slot);
    break;
  case CRC: slot[1000] ^= 1; break;
  case VALUE:
    slot[80] = 1;
    seal (slot);
    break;
  default: break;
  }
}

START_TEST (every_pair_of_slots)
{
  static const enum meta_reason reasons[] = {
    META_OK,          META_OK,      META_EMPTY,     META_BAD_MAGIC,
    META_BAD_VERSION, META_BAD_CRC, META_BAD_VALUE,
  };
  uint8_t slots[META_SLOTS * META_SLOT];

  for (enum look a = 0; a < LOOKS; a++)
    for (enum look b = 0; b < LOOKS; b++) {
      struct gen_record record;
      uint64_t sequence;
      unsigned slot;

      make_slot (a, slots);
      make_slot (b, slots + META_SLOT);
      enum meta_reason found = meta_newest (slots, &record, &sequence, &slot);

      bool a_ok = a <= NEW, b_ok = b <= NEW;
      bool refused = a == VERSION || a == VALUE || b == VERSION || b == VALUE;
      if ((a_ok || b_ok) && !refused) {
        unsigned right = !a_ok || (b_ok && b == NEW && a == OLD);
        ck_assert_int_eq (found, META_OK);
        ck_assert_uint_eq (slot, right);
        ck_assert_uint_eq (sequence, (right ? b : a) == NEW ? 6 : 5);
      }
      else
        ck_assert_int_eq (found,
                          reasons[a] > reasons[b] ? reasons[a] : reasons[b]);
    }
}
END_TEST

/* A crash in the middle of a slot's write leaves any of its sectors old or
 * new: the result is the old or the new record, nothing else.
 */
START_TEST (every_torn_write)
{
  uint8_t slots[META_SLOTS * META_SLOT], next[META_SLOT];
  struct gen_record old = full_record (), new = full_record ();

  old.history_count = 3;
  new.answered = true;
  meta_encode (&old, 7, next);
  for (unsigned sectors = 0; sectors < 256; sectors++) {
    struct gen_record record;
    uint64_t sequence;
    unsigned slot;

    meta_encode (&old, 5, slots);
    meta_encode (&old, 6, slots + META_SLOT);
    meta_encode (&new, 7, next);
    for (unsigned i = 0; i < 8; i++)
      if (sectors >> i & 1)
        memcpy (slots + i * SECTOR, next + i * SECTOR, SECTOR);

    ck_assert_int_eq (meta_newest (slots, &record, &sequence, &slot), META_OK);
    if (sequence == 7) {
      ck_assert_uint_eq (slot, 0);
      assert_same (&record, &new);
    }
    else {
      ck_assert_uint_eq (sequence, 6);
      ck_assert_uint_eq (slot, 1);
      assert_same (&record, &old);
    }
  }
}
END_TEST

START_TEST (map_pages)
{
  uint8_t bits[MARKS_PAGE_BYTES], read[MARKS_PAGE_BYTES];
  uint8_t ones[MARKS_PAGE_BYTES], none[MARKS_PAGE_BYTES] = { 0 };
  uint8_t page[META_PAGE];

  memset (ones, 0xff, sizeof ones);
  for (unsigned i = 0; i < sizeof bits; i++)
    bits[i] = (uint8_t) (i * 7);
  meta_encode_page (41, bits, page);
  ck_assert (meta_decode_page (41, page, read));
  ck_assert_mem_eq (read, bits, sizeof bits);

  ck_assert (!meta_decode_page (42, page, read));
  ck_assert_mem_eq (read, ones, sizeof ones);
  for (unsigned i = 0; i < META_PAGE; i++) {
    page[i] ^= 0x10;
    memset (read, 0, sizeof read);
    ck_assert (!meta_decode_page (41, page, read));
    ck_assert_mem_eq (read, ones, sizeof ones);
    page[i] ^= 0x10;
  }

  memset (page, 0, sizeof page);
  ck_assert (meta_decode_page (41, page, read));
  ck_assert_mem_eq (read, none, sizeof none);

  meta_encode_page (0, none, page);
  ck_assert (meta_decode_page (0, page, read));
  ck_assert_mem_eq (read, none, sizeof none);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("meta");
  TCase *tcase = tcase_create ("meta");

  tcase_add_test (tcase, every_reason_has_a_text);
  tcase_add_test (tcase, what_is_written_is_read);
  tcase_add_test (tcase, layout_is_as_documented);
  tcase_add_test (tcase, any_changed_byte_is_found);
  tcase_add_test (tcase, strange_values_are_refused);
  tcase_add_test (tcase, attempt_is_kept);
  tcase_add_test (tcase, growth_is_kept);
  tcase_add_test (tcase, every_pair_of_slots);
  tcase_add_test (tcase, every_torn_write);
  tcase_add_test (tcase, map_pages);
  suite_add_tcase (suite, tcase);

  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
