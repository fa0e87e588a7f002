/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-arbiter.c: the value of the volume's key in etcd as text, and what
 * is refused as not being one.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arbiter.h"

/* As docs/protocol.md shows it. */
static const char sample[] =
  "{\"duet\":1,\"volume\":\"00000000000000aa\","
  "\"generation\":{\"epoch\":7,\"id\":\"0123456789abcdef\"},"
  "\"parent\":{\"epoch\":6,\"id\":\"fedcba9876543210\"},"
  "\"kind\":\"solo\",\"maker\":\"0000000000000001\","
  "\"primary\":\"0000000000000001\",\"members\":[\"0000000000000001\"]}";

static const struct arbiter_value sample_value = {
  .volume = 0xaa,
  .gen = { 7, 0x0123456789abcdef },
  .parent = { 6, 0xfedcba9876543210 },
  .kind = GEN_SOLO,
  .maker = 1,
  .primary = 1,
  .members = { 1, 0 },
};

static struct etcd_value
text_of (const char *string)
{
  struct etcd_value text = { .revision = 1, .size = strlen (string) };

  memcpy (text.bytes, string, text.size);
  return text;
}

static void
assert_equal (const struct arbiter_value *a, const struct arbiter_value *b)
{
  ck_assert_uint_eq (a->volume, b->volume);
  ck_assert (gen_id_equal (a->gen, b->gen));
  ck_assert (gen_id_equal (a->parent, b->parent));
  ck_assert_uint_eq (a->kind, b->kind);
  ck_assert_uint_eq (a->maker, b->maker);
  ck_assert_uint_eq (a->primary, b->primary);
  ck_assert_uint_eq (a->members[0], b->members[0]);
  ck_assert_uint_eq (a->members[1], b->members[1]);
}

START_TEST (is_as_documented)
{
  struct etcd_value text;
  struct arbiter_value value;

  ck_assert (arbiter_format (&sample_value, &text));
  ck_assert_uint_eq (text.size, strlen (sample));
  ck_assert_mem_eq (text.bytes, sample, text.size);
  ck_assert (arbiter_parse (&text, &value));
  assert_equal (&value, &sample_value);
}
END_TEST

/* Every kind, with and without what may be missing, and the largest
 * numbers.
 */
START_TEST (all_values_survive)
{
  for (uint32_t kind = GEN_NONE + 1; kind < GEN_KIND_COUNT; kind++)
    for (unsigned bits = 0; bits < 16; bits++) {
      struct arbiter_value value = {
        .volume = bits & 1 ? UINT64_MAX : 1,
        .gen = { bits & 2 ? INT64_MAX : 2, bits & 4 ? UINT64_MAX : 0 },
        .parent = { bits & 8 ? 1 : 0, 0 },
        .kind = kind,
        .maker = UINT64_MAX,
        .primary = bits & 4 ? UINT64_MAX : 0,
        .members = { UINT64_MAX, bits & 2 ? 5 : 0 },
      };
      struct arbiter_value again;
      struct etcd_value text;

      ck_assert (arbiter_format (&value, &text));
      ck_assert (arbiter_parse (&text, &again));
      assert_equal (&value, &again);
    }
}
END_TEST

/* FROM in the sample becomes TO. */
static const struct {
  const char *from, *to;
} changes[] = {
  { "{\"duet\":1", "{\"duet\":2" },
  { "{\"duet\":1", "{\"duet\":\"1\"" },
  { "{\"duet\":1,", "{" },
  { "{\"duet\":1", "{\"duet\":1,\"more\":1" },
  { "\"solo\",", "\"solo\",\"kind\":\"solo\"," },
  { "00000000000000aa", "0000000000000000" },
  { "00000000000000aa", "00000000000000AA" },
  { "00000000000000aa", "0000000000000aa" },
  { "00000000000000aa", "+0000000000000aa" },
  { "\"00000000000000aa\"", "170" },
  { "\"00000000000000aa\"", "null" },
  { "\"epoch\":7", "\"epoch\":0" },
  { "\"epoch\":7", "\"epoch\":-7" },
  { "\"epoch\":7", "\"epoch\":7.0" },
  { "\"epoch\":7", "\"epoch\":\"7\"" },
  { "\"epoch\":7", "\"epoch\":7,\"x\":0" },
  { "\"0123456789abcdef\"", "null" },
  { "\"solo\"", "\"none\"" },
  { "\"solo\"", "\"Solo\"" },
  { "\"solo\"", "null" },
  { "\"maker\":\"0000000000000001\"", "\"maker\":null" },
  { "\"primary\":\"0000000000000001\"", "\"primary\":\"0000000000000002\"" },
  { "[\"0000000000000001\"]", "[]" },
  { "[\"0000000000000001\"]", "\"0000000000000001\"" },
  { "[\"0000000000000001\"]", "[null]" },
  { "[\"0000000000000001\"]", "[\"0000000000000001\",\"0000000000000001\"]" },
  { "[\"0000000000000001\"]", "[\"0000000000000001\",null]" },
  { "[\"0000000000000001\"]",
    "[\"0000000000000001\",\"0000000000000002\","
    "\"0000000000000003\"]" },
  { "1\"]}", "1\"]}}" },
  { "1\"]}", "1\"]" },
  { "{\"duet\"", "[{\"duet\"" },
};

START_TEST (strangers_are_refused)
{
  const char *from = changes[_i].from;
  const char *at = strstr (sample, from);
  struct arbiter_value value;
  char string[1024];

  ck_assert_ptr_nonnull (at);
  snprintf (string, sizeof string, "%.*s%s%s", (int) (at - sample), sample,
            changes[_i].to, at + strlen (from));
  struct etcd_value text = text_of (string);
  ck_assert_msg (!arbiter_parse (&text, &value), "%s", string);
}
END_TEST

START_TEST (cut_ones_are_refused)
{
  struct arbiter_value value;

  for (size_t size = 0; size < strlen (sample); size++) {
    struct etcd_value text = text_of (sample);

    text.size = size;
    ck_assert (!arbiter_parse (&text, &value));
  }
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("arbiter");
  TCase *tests = tcase_create ("value");
  SRunner *runner = srunner_create (suite);
  int failed;

  tcase_add_test (tests, is_as_documented);
  tcase_add_test (tests, all_values_survive);
  tcase_add_loop_test (tests, strangers_are_refused, 0,
                       sizeof changes / sizeof changes[0]);
  tcase_add_test (tests, cut_ones_are_refused);
  suite_add_tcase (suite, tests);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed > 0;
}
