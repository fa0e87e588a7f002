/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-wire.c: unit tests of wire.c: known bytes, round trips, each
 * reason for refusal, and decoders fed with noise.  Touches no socket.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "marks.h"
#include "wire.h"

/* A small generator, so that a failure is the same at each run. */
static uint64_t noise_state = 88172645463325252u;

static uint64_t
noise (void)
{
  noise_state ^= noise_state << 13;
  noise_state ^= noise_state >> 7;
  noise_state ^= noise_state << 17;
  return noise_state;
}

/* A frame of TYPE that decodes. */
static struct wire_frame
sample (uint8_t type)
{
  struct wire_frame frame = {
    .type = type,
    .seq = 7,
    .offset = 8192,
    .gen = { 3, 99 },
    .arg = 5,
  };

  switch (type) {
  case WIRE_GREETING_FRAME: frame.payload_length = WIRE_GREETING; break;
  case WIRE_HELLO_FRAME:
  case WIRE_ADOPT: frame.payload_length = WIRE_HELLO; break;
  case WIRE_WRITE:
    frame.length = frame.payload_length = 513;
    frame.flags = WIRE_RESYNC;
    break;
  case WIRE_ZERO:
    frame.length = UINT32_MAX;
    frame.flags = WIRE_RESYNC | WIRE_PUNCH;
    break;
  case WIRE_MARKS: frame.payload_length = MARKS_PAGE_BYTES; break;
  case WIRE_HASH_REQUEST: frame.length = MARKS_CHUNK; break;
  case WIRE_HASH_REPLY:
    frame.length = 2 * MARKS_BLOCK + 1;
    frame.payload_length = 3 * WIRE_HASH;
    break;
  case WIRE_CLEAR: frame.payload_length = WIRE_REGIONS_MAX * 8; break;
  default: break;
  }
  if (frame.payload_length > 0)
    frame.payload_crc = 0x12345678;
  return frame;
}

static enum wire_reason
decoded (const struct wire_frame *frame)
{
  uint8_t header[WIRE_HEADER];
  struct wire_frame again;

  wire_encode (frame, header);
  return wire_decode (header, &again);
}

/* Put VALUE at AT and make the header checksum right again. */
static void
patch (uint8_t *header, size_t at, uint8_t value)
{
  header[at] = value;

  uint32_t crc = wire_crc32c (header, 60);
  for (size_t i = 0; i < 4; i++)
    header[60 + i] = (uint8_t) (crc >> (8 * i));
}

START_TEST (crc_is_castagnoli)
{
  uint8_t zeros[32] = { 0 };
  uint8_t ones[32];

  memset (ones, 0xff, sizeof ones);
  ck_assert_uint_eq (wire_crc32c ("", 0), 0);
  ck_assert_uint_eq (wire_crc32c ("123456789", 9), 0xe3069283);
  /* RFC 3720, B.4 */
  ck_assert_uint_eq (wire_crc32c (zeros, 32), 0x8a9136aa);
  ck_assert_uint_eq (wire_crc32c (ones, 32), 0x62a8ab43);
}
END_TEST

START_TEST (header_has_the_documented_bytes)
{
  const struct wire_frame frame = {
    .type = WIRE_WRITE,
    .flags = WIRE_RESYNC,
    .payload_length = 0x1234,
    .length = 0x1234,
    .seq = 0x0102030405060708,
    .offset = 0x1112131415161718,
    .gen = { 0x2122232425262728, 0x3132333435363738 },
    .arg = 0x4142434445464748,
    .payload_crc = 0x51525354,
  };
  static const uint8_t expected[60] = {
    'D',  'U',  'E',  'T',  1,    0,    WIRE_WRITE, WIRE_RESYNC, 0x34, 0x12,
    0,    0,    0x34, 0x12, 0,    0,    8,          7,           6,    5,
    4,    3,    2,    1,    0x18, 0x17, 0x16,       0x15,        0x14, 0x13,
    0x12, 0x11, 0x28, 0x27, 0x26, 0x25, 0x24,       0x23,        0x22, 0x21,
    0x38, 0x37, 0x36, 0x35, 0x34, 0x33, 0x32,       0x31,        0x48, 0x47,
    0x46, 0x45, 0x44, 0x43, 0x42, 0x41, 0x54,       0x53,        0x52, 0x51,
  };
  uint8_t header[WIRE_HEADER];

  wire_encode (&frame, header);
  ck_assert_mem_eq (header, expected, sizeof expected);
}
END_TEST

START_TEST (every_type_survives_the_round_trip)
{
  for (uint8_t type = 0; type < WIRE_TYPE_COUNT; type++) {
    struct wire_frame frame = sample (type);
    struct wire_frame again;
    uint8_t header[WIRE_HEADER];

    wire_encode (&frame, header);
    ck_assert_uint_eq (wire_decode (header, &again), WIRE_OK);
    ck_assert_uint_eq (again.type, frame.type);
    ck_assert_uint_eq (again.flags, frame.flags);
    ck_assert_uint_eq (again.payload_length, frame.payload_length);
    ck_assert_uint_eq (again.length, frame.length);
    ck_assert_uint_eq (again.seq, frame.seq);
    ck_assert_uint_eq (again.offset, frame.offset);
    ck_assert (gen_id_equal (again.gen, frame.gen));
    ck_assert_uint_eq (again.arg, frame.arg);
    ck_assert_uint_eq (again.payload_crc, frame.payload_crc);
  }
}
END_TEST

START_TEST (each_flipped_bit_is_noticed)
{
  struct wire_frame frame = sample (WIRE_WRITE);
  struct wire_frame again;
  uint8_t header[WIRE_HEADER];

  wire_encode (&frame, header);
  for (size_t bit = 0; bit < WIRE_HEADER * 8; bit++) {
    header[bit / 8] ^= (uint8_t) (1u << bit % 8);

    enum wire_reason expected = bit < 32 ? WIRE_BAD_MAGIC
      : bit < 48                         ? WIRE_BAD_VERSION
                                         : WIRE_BAD_HEADER_CRC;
    ck_assert_uint_eq (wire_decode (header, &again), expected);
    header[bit / 8] ^= (uint8_t) (1u << bit % 8);
  }
}
END_TEST

START_TEST (types_and_flags_are_checked)
{
  struct wire_frame again;
  uint8_t header[WIRE_HEADER];

  for (unsigned type = 0; type <= UINT8_MAX; type++) {
    struct wire_frame frame = sample (
      (uint8_t) (type < WIRE_TYPE_COUNT ? type : WIRE_PING));

    wire_encode (&frame, header);
    patch (header, 6, (uint8_t) type);
    ck_assert_uint_eq (wire_decode (header, &again),
                       type < WIRE_TYPE_COUNT ? WIRE_OK : WIRE_BAD_TYPE);

    unsigned allowed = type == WIRE_WRITE ? WIRE_RESYNC
      : type == WIRE_ZERO                 ? WIRE_RESYNC | WIRE_PUNCH
                                          : 0;
    for (unsigned flags = 0; flags <= UINT8_MAX; flags++) {
      patch (header, 7, (uint8_t) flags);

      enum wire_reason expected = type >= WIRE_TYPE_COUNT ? WIRE_BAD_TYPE
        : (flags & ~allowed) != 0                         ? WIRE_BAD_FLAGS
                                                          : WIRE_OK;
      ck_assert_uint_eq (wire_decode (header, &again), expected);
    }
  }
}
END_TEST

/* Which payload_length the types accept, by brute force. */
START_TEST (payload_lengths_are_checked)
{
  for (uint8_t type = 0; type < WIRE_TYPE_COUNT; type++) {
    struct wire_frame frame = sample (type);

    for (uint32_t length = 0; length <= 8192; length++) {
      bool good = length == frame.payload_length;
      struct wire_frame tried = frame;

      tried.payload_length = length;
      tried.payload_crc = 0;
      if (type == WIRE_CLEAR)
        good = length > 0 && length % 8 == 0 && length <= 4096;
      ck_assert_uint_eq (decoded (&tried), good ? WIRE_OK : WIRE_BAD_LENGTH);
    }
  }
}
END_TEST

START_TEST (extents_are_checked)
{
  static const uint8_t types[] = {
    WIRE_WRITE,
    WIRE_ZERO,
    WIRE_HASH_REQUEST,
    WIRE_HASH_REPLY,
  };
  struct wire_frame frame;

  for (size_t i = 0; i < sizeof types; i++) {
    frame = sample (types[i]);
    frame.offset = (uint64_t) INT64_MAX - frame.length;
    ck_assert_uint_eq (decoded (&frame), WIRE_OK);
    frame.offset++;
    ck_assert_uint_eq (decoded (&frame), WIRE_BAD_LENGTH);
    frame.offset = UINT64_MAX;
    ck_assert_uint_eq (decoded (&frame), WIRE_BAD_LENGTH);
    frame = sample (types[i]);
    frame.length = 0;
    frame.payload_length = 0;
    frame.payload_crc = 0;
    ck_assert_uint_eq (decoded (&frame), WIRE_BAD_LENGTH);
  }

  frame = sample (WIRE_WRITE);
  frame.length = frame.payload_length = WIRE_PAYLOAD_MAX;
  ck_assert_uint_eq (decoded (&frame), WIRE_OK);

  /* the encoder refuses more than that, so write it by hand */
  uint8_t header[WIRE_HEADER];
  wire_encode (&frame, header);
  header[12] = 1;
  patch (header, 8, 1);
  ck_assert_uint_eq (wire_decode (header, &frame), WIRE_BAD_LENGTH);
}
END_TEST

START_TEST (payload_checksum_is_checked)
{
  uint8_t payload[513];
  struct wire_frame frame = sample (WIRE_WRITE);

  memset (payload, 0x55, sizeof payload);
  frame.payload_crc = wire_crc32c (payload, sizeof payload);
  ck_assert_uint_eq (wire_check_payload (&frame, payload), WIRE_OK);
  payload[512] ^= 1;
  ck_assert_uint_eq (wire_check_payload (&frame, payload),
                     WIRE_BAD_PAYLOAD_CRC);

  frame = sample (WIRE_PING);
  ck_assert_uint_eq (wire_check_payload (&frame, NULL), WIRE_OK);
  frame.payload_crc = 1;
  ck_assert_uint_eq (decoded (&frame), WIRE_BAD_PAYLOAD_CRC);
}
END_TEST

static struct wire_hello
sample_hello (uint32_t history_count)
{
  struct wire_hello hello = { .boot = 77, .resyncable = 1 };
  struct gen_record *record = &hello.record;

  record->volume = 1;
  record->node = UINT64_MAX;
  record->peer = 3;
  record->size = (uint64_t) 256 << 30;
  record->region_size = 4 << 20;
  record->data = DATA_FAILED;
  record->primary = 3;
  record->both = record->discard = true;
  record->history_count = history_count;
  for (uint32_t i = 0; i < history_count; i++)
    record->history[i] = (struct generation){
      .gen = { history_count - i, noise () },
      .client = i,
      .session = i * 2,
      .kind = i % GEN_KIND_COUNT,
    };
  return hello;
}

START_TEST (hello_survives_the_round_trip)
{
  for (uint32_t count = 0; count <= GEN_HISTORY; count++) {
    struct wire_hello hello = sample_hello (count);
    struct wire_hello again;
    uint8_t payload[WIRE_HELLO];

    wire_encode_hello (&hello, payload);
    ck_assert_uint_eq (wire_decode_hello (payload, WIRE_HELLO, &again),
                       WIRE_OK);
    ck_assert_uint_eq (again.boot, hello.boot);
    ck_assert_uint_eq (again.features, 0);
    ck_assert_uint_eq (again.resyncable, 1);
    ck_assert_uint_eq (again.record.volume, hello.record.volume);
    ck_assert_uint_eq (again.record.node, hello.record.node);
    ck_assert_uint_eq (again.record.peer, hello.record.peer);
    ck_assert_uint_eq (again.record.size, hello.record.size);
    ck_assert_uint_eq (again.record.region_size, hello.record.region_size);
    ck_assert_uint_eq (again.record.data, hello.record.data);
    ck_assert_uint_eq (again.record.primary, hello.record.primary);
    ck_assert (again.record.both && again.record.discard);
    ck_assert (!again.record.answered && !again.record.has_data);
    ck_assert_uint_eq (again.record.history_count, count);
    for (uint32_t i = 0; i < count; i++) {
      const struct generation *a = &hello.record.history[i];
      const struct generation *b = &again.record.history[i];

      ck_assert (gen_id_equal (a->gen, b->gen));
      ck_assert_uint_eq (a->client, b->client);
      ck_assert_uint_eq (a->session, b->session);
      ck_assert_uint_eq (a->kind, b->kind);
    }
  }
}
END_TEST

START_TEST (hello_tells_of_the_durability)
{
  struct wire_hello hello = sample_hello (1), again;
  uint8_t payload[WIRE_HELLO];

  hello.features = WIRE_CACHED;
  hello.record.may_lack = true;
  wire_encode_hello (&hello, payload);
  ck_assert_uint_eq (wire_decode_hello (payload, WIRE_HELLO, &again), WIRE_OK);
  ck_assert_uint_eq (again.features, WIRE_CACHED);
  ck_assert (again.record.may_lack);
}
END_TEST

START_TEST (hello_tells_of_the_arbiter)
{
  struct wire_hello hello = sample_hello (1), again;
  uint8_t payload[WIRE_HELLO];

  hello.features = WIRE_ETCD;
  hello.lease_ms = 1000;
  hello.grace_ms = 1001;
  wire_encode_hello (&hello, payload);
  ck_assert_uint_eq (wire_decode_hello (payload, WIRE_HELLO, &again), WIRE_OK);
  ck_assert_uint_eq (again.features, WIRE_ETCD);
  ck_assert_uint_eq (again.lease_ms, 1000);
  ck_assert_uint_eq (again.grace_ms, 1001);
  hello.features |= WIRE_PAUSED;
  wire_encode_hello (&hello, payload);
  ck_assert_uint_eq (wire_decode_hello (payload, WIRE_HELLO, &again), WIRE_OK);
  ck_assert_uint_eq (again.features, WIRE_ETCD | WIRE_PAUSED);

  hello.grace_ms = 1000; /* no longer than the lease */
  wire_encode_hello (&hello, payload);
  ck_assert_uint_eq (wire_decode_hello (payload, WIRE_HELLO, &again),
                     WIRE_BAD_HELLO);
  hello.lease_ms = 0;
  wire_encode_hello (&hello, payload);
  ck_assert_uint_eq (wire_decode_hello (payload, WIRE_HELLO, &again),
                     WIRE_BAD_HELLO);
}
END_TEST

START_TEST (hello_out_of_range_is_refused)
{
  /* where, how many bytes, and a value that must not pass there */
  static const struct {
    size_t at, bytes;
    uint64_t value;
  } bad[] = {
    { 8, 8, 0 },  /* no node id */
    { 24, 8, 0 }, /* no size */
    { 24, 8, UINT64_MAX },
    { 32, 4, 0 }, /* region size */
    { 32, 4, 128 * 1024 },
    { 32, 4, 3 * 1024 * 1024 },
    { 32, 4, 1u << 31 },
    { 36, 4, DATA_STATE_COUNT },
    { 48, 4, 32 }, /* unknown bit */
    { 52, 4, GEN_HISTORY + 1 },
    { 52, 4, UINT32_MAX },
    { 52, 4, 1 }, /* an entry beyond the count */
    { 52, 4, 3 }, /* an entry of zeros within it */
    { 64, 8, 8 }, /* unknown feature */
    { 64, 8, 3 }, /* arbiter=etcd and paused, without lease and grace */
    { 64, 8, 5 }, /* arbiter=etcd and durability=flush, the same */
    { 64, 8, 1 }, /* arbiter=etcd without lease and grace */
    { 72, 4, 2 }, /* resyncable */
    { 76, 4, 1 }, /* a lease without arbiter=etcd */
    { 80, 4, 1 }, /* a grace */
    { 84, 4, 1 }, /* padding */
    { 127, 1, 1 },
    { 128, 8, GEN_EPOCH_MAX + 1 },
    { 128, 8, UINT64_MAX },
    { 128 + 32, 4, GEN_KIND_COUNT },
    { 128 + 36, 4, 1 },
    { WIRE_HELLO - 1, 1, 1 },
  };
  struct wire_hello hello = sample_hello (2);
  struct wire_hello again;
  uint8_t good[WIRE_HELLO];
  uint8_t payload[WIRE_HELLO];

  wire_encode_hello (&hello, good);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    memcpy (payload, good, sizeof good);
    for (size_t byte = 0; byte < bad[i].bytes; byte++)
      payload[bad[i].at + byte] = (uint8_t) (bad[i].value >> (8 * byte));
    ck_assert_msg (wire_decode_hello (payload, WIRE_HELLO, &again) ==
                     WIRE_BAD_HELLO,
                   "case %zu", i);
    ck_assert_uint_eq (again.record.history_count, 0);
  }
  for (size_t length = 0; length < WIRE_HELLO; length++)
    ck_assert_uint_eq (wire_decode_hello (good, length, &again),
                       WIRE_BAD_HELLO);
}
END_TEST

START_TEST (greeting_round_trip_and_refusals)
{
  struct wire_greeting greeting = {
    .node = 5,
    .boot = UINT64_MAX,
    .dials = 9,
    .answer = WIRE_CROSSING,
  };
  struct wire_greeting again;
  uint8_t payload[WIRE_GREETING];

  wire_encode_greeting (&greeting, payload);
  ck_assert_uint_eq (wire_decode_greeting (payload, WIRE_GREETING, &again),
                     WIRE_OK);
  ck_assert_mem_eq (&again, &greeting, sizeof again);
  ck_assert_uint_eq (wire_decode_greeting (payload, 31, &again),
                     WIRE_BAD_GREETING);
  greeting.answer = WIRE_REFUSED + 1;
  wire_encode_greeting (&greeting, payload);
  ck_assert_uint_eq (wire_decode_greeting (payload, WIRE_GREETING, &again),
                     WIRE_BAD_GREETING);
  greeting = (struct wire_greeting){ .boot = 1 };
  wire_encode_greeting (&greeting, payload);
  ck_assert_uint_eq (wire_decode_greeting (payload, WIRE_GREETING, &again),
                     WIRE_BAD_GREETING);
}
END_TEST

/* Random bytes with a right magic, version and checksum: whatever comes
 * out is within the limits.
 */
START_TEST (noise_never_passes_the_limits)
{
  struct wire_frame frame;
  struct wire_hello hello;
  struct wire_greeting greeting;
  uint8_t bytes[WIRE_HELLO];

  for (int round = 0; round < 20000; round++) {
    struct wire_frame start = sample ((uint8_t) (noise () % WIRE_TYPE_COUNT));

    wire_encode (&start, bytes);
    for (int changes = (int) (noise () % 6); changes > 0; changes--)
      bytes[6 + noise () % 54] = (uint8_t) noise ();
    patch (bytes, 6, (uint8_t) (noise () % 24));
    if (wire_decode (bytes, &frame) == WIRE_OK) {
      ck_assert_uint_lt (frame.type, WIRE_TYPE_COUNT);
      ck_assert_uint_le (frame.payload_length, WIRE_PAYLOAD_MAX);
      ck_assert_uint_le (frame.offset + frame.length, INT64_MAX);
    }

    for (size_t i = 0; i < sizeof bytes; i++)
      bytes[i] = (uint8_t) noise ();
    wire_decode (bytes, &frame);
    wire_decode_hello (bytes, noise () % (WIRE_HELLO + 1), &hello);
    wire_decode_hello (bytes, WIRE_HELLO, &hello);
    ck_assert_uint_le (hello.record.history_count, GEN_HISTORY);
    wire_decode_greeting (bytes, WIRE_GREETING, &greeting);
  }
}
END_TEST

START_TEST (names_exist_for_all_numbers)
{
  for (unsigned type = 0; type <= UINT8_MAX; type++)
    ck_assert_ptr_nonnull (wire_type_name ((uint8_t) type));
  ck_assert_str_eq (wire_type_name (WIRE_HASH_REQUEST), "hash-request");
  ck_assert_str_eq (wire_type_name (WIRE_TYPE_COUNT), "unknown");
  ck_assert_str_eq (wire_reason_text (WIRE_OK), "ok");
  ck_assert_str_eq (wire_reason_text (WIRE_REASON_COUNT), "unknown");
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("wire");
  TCase *tests = tcase_create ("wire");

  tcase_add_test (tests, crc_is_castagnoli);
  tcase_add_test (tests, header_has_the_documented_bytes);
  tcase_add_test (tests, every_type_survives_the_round_trip);
  tcase_add_test (tests, each_flipped_bit_is_noticed);
  tcase_add_test (tests, types_and_flags_are_checked);
  tcase_add_test (tests, payload_lengths_are_checked);
  tcase_add_test (tests, extents_are_checked);
  tcase_add_test (tests, payload_checksum_is_checked);
  tcase_add_test (tests, hello_survives_the_round_trip);
  tcase_add_test (tests, hello_out_of_range_is_refused);
  tcase_add_test (tests, hello_tells_of_the_arbiter);
  tcase_add_test (tests, hello_tells_of_the_durability);
  tcase_add_test (tests, greeting_round_trip_and_refusals);
  tcase_add_test (tests, noise_never_passes_the_limits);
  tcase_add_test (tests, names_exist_for_all_numbers);
  tcase_set_timeout (tests, 60);
  suite_add_tcase (suite, tests);

  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
