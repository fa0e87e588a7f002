/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-exportname.c: names and descriptions survive a round trip, and
 * everything that was not written by us is told apart from what was.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "exportname.h"

static const struct {
  const char *name;
  struct export_ask ask;
} good_names[] = {
  { "duet/1:0123456789abcdef:1:0.0000000000000000",
    { 0x0123456789abcdef, 1, { 0, 0 }, false } },
  { "duet/1:ffffffffffffffff:18446744073709551615:"
    "18446744073709551615.ffffffffffffffff",
    { UINT64_MAX, UINT64_MAX, { UINT64_MAX, UINT64_MAX }, false } },
  { "duet/1:0000000000000001:10:7.00000000000000a0:unreachable",
    { 1, 10, { 7, 0xa0 }, true } },
};

START_TEST (names_round_trip)
{
  struct export_ask ask;
  char text[EXPORTNAME_MAX];

  exportname_format (&good_names[_i].ask, text);
  ck_assert_str_eq (text, good_names[_i].name);
  ck_assert_int_eq (exportname_parse (text, &ask), EXPORTNAME_PROXY);
  ck_assert_uint_eq (ask.client, good_names[_i].ask.client);
  ck_assert_uint_eq (ask.session, good_names[_i].ask.session);
  ck_assert_uint_eq (ask.shown.epoch, good_names[_i].ask.shown.epoch);
  ck_assert_uint_eq (ask.shown.id, good_names[_i].ask.shown.id);
  ck_assert_int_eq (ask.unreachable, good_names[_i].ask.unreachable);
}
END_TEST

static const char *const plain_names[] = {
  "", "disk", "duet", "Duet/1:", " duet/1:", "x/duet/1",
};

START_TEST (other_names_are_plain)
{
  struct export_ask ask;

  ck_assert_int_eq (exportname_parse (plain_names[_i], &ask), EXPORTNAME_PLAIN);
}
END_TEST

static const char *const bad_names[] = {
  "duet/",
  "duet/1",
  "duet/1:",
  "duet/2:0123456789abcdef:1:0.0000000000000000",
  "duet/1:0123456789abcde:1:0.0000000000000000",
  "duet/1:0123456789ABCDEF:1:0.0000000000000000",
  "duet/1:0123456789abcdef0:1:0.0000000000000000",
  "duet/1:0000000000000000:1:0.0000000000000000",
  "duet/1:0123456789abcdef:0:0.0000000000000000",
  "duet/1:0123456789abcdef:01:0.0000000000000000",
  "duet/1:0123456789abcdef:-1:0.0000000000000000",
  "duet/1:0123456789abcdef:+1:0.0000000000000000",
  "duet/1:0123456789abcdef: 1:0.0000000000000000",
  "duet/1:0123456789abcdef::0.0000000000000000",
  "duet/1:0123456789abcdef:18446744073709551616:0.0000000000000000",
  "duet/1:0123456789abcdef:99999999999999999999:0.0000000000000000",
  "duet/1:0123456789abcdef:1",
  "duet/1:0123456789abcdef:1:",
  "duet/1:0123456789abcdef:1:0",
  "duet/1:0123456789abcdef:1:0.",
  "duet/1:0123456789abcdef:1:0.000000000000000",
  "duet/1:0123456789abcdef:1:0.0000000000000001",
  "duet/1:0123456789abcdef:1:00.0000000000000000",
  "duet/1:0123456789abcdef:1:0.0000000000000000 ",
  "duet/1:0123456789abcdef:1:0.0000000000000000:",
  "duet/1:0123456789abcdef:1:0.0000000000000000:unreach",
  "duet/1:0123456789abcdef:1:0.0000000000000000:unreachable!",
  "duet/1:0123456789abcdef:1:0.0000000000000000:unreachable:unreachable",
};

START_TEST (malformed_names_are_bad)
{
  struct export_ask ask = { .client = 77 };

  ck_assert_int_eq (exportname_parse (bad_names[_i], &ask), EXPORTNAME_BAD);
  ck_assert_uint_eq (ask.client, 77);
}
END_TEST

START_TEST (every_cut_of_a_name_is_bad)
{
  size_t length;
  struct export_ask ask;

  for (length = strlen ("duet/"); length < strlen (good_names[0].name);
       length++) {
    char *cut = strndup (good_names[0].name, length);

    ck_assert_int_eq (exportname_parse (cut, &ask), EXPORTNAME_BAD);
    free (cut);
  }
}
END_TEST

START_TEST (descriptions_round_trip)
{
  struct export_description in = {
    .state = "primary",
    .generation = { 12, 0xfedcba9876543210 },
    .node = 0xa5,
    .size_bytes = 274877906944,
    .primary = "10.0.0.1:10809",
  };
  struct export_description out;
  char text[EXPORTNAME_DESCRIPTION_MAX];

  exportname_describe (&in, text);
  ck_assert_str_eq (text,
                    "duet/1 state=primary "
                    "generation=12.fedcba9876543210 "
                    "node=00000000000000a5 size=274877906944 "
                    "primary=10.0.0.1:10809");
  ck_assert (exportname_parse_description (text, &out));
  ck_assert_str_eq (out.state, in.state);
  ck_assert_uint_eq (out.generation.epoch, in.generation.epoch);
  ck_assert_uint_eq (out.generation.id, in.generation.id);
  ck_assert_uint_eq (out.node, in.node);
  ck_assert_uint_eq (out.size_bytes, in.size_bytes);
  ck_assert_str_eq (out.primary, in.primary);

  in.primary[0] = '\0';
  exportname_describe (&in, text);
  ck_assert_ptr_nonnull (strstr (text, " primary=-"));
  ck_assert (exportname_parse_description (text, &out));
  ck_assert_str_eq (out.primary, "");
  ck_assert (!out.cached);
  ck_assert_uint_eq (out.boot, 0);

  in.cached = true;
  in.boot = 0xb0;
  exportname_describe (&in, text);
  ck_assert_ptr_nonnull (
    strstr (text, " durability=flush boot=00000000000000b0"));
  ck_assert (exportname_parse_description (text, &out));
  ck_assert (out.cached);
  ck_assert_uint_eq (out.boot, 0xb0);
}
END_TEST

#define G "generation=1.0000000000000001"
#define N "node=0000000000000001"

static const struct {
  const char *text;
  bool good;
} descriptions[] = {
  { "duet/1 state=solo " G " " N " size=1", true },
  { "duet/1 size=1 " N " " G " state=solo", true },
  { "duet/1 state=solo " G " " N " size=1 colour=blue primary=-", true },
  { "", false },
  { "a disk", false },
  { "duet/1", false },
  { "duet/1 ", false },
  { "duet/2 state=solo " G " " N " size=1", false },
  { "duet/1 " G " " N " size=1", false },
  { "duet/1 state=solo " N " size=1", false },
  { "duet/1 state=solo " G " size=1", false },
  { "duet/1 state=solo " G " " N, false },
  { "duet/1 state= " G " " N " size=1", false },
  { "duet/1 state=solosolosolosolo " G " " N " size=1", false },
  { "duet/1 state=solo " G "x " N " size=1", false },
  { "duet/1 state=solo " G " node=1 size=1", false },
  { "duet/1 state=solo " G " " N " size=1k", false },
  { "duet/1 state=solo " G " " N " size=", false },
  { "duet/1 state=solo " G " " N " size=1 primary=", false },
};

START_TEST (descriptions_are_told_apart)
{
  struct export_description out;

  ck_assert_int_eq (exportname_parse_description (descriptions[_i].text, &out),
                    descriptions[_i].good);
}
END_TEST

#define COUNT(a) ((int) (sizeof (a) / sizeof (a)[0]))

int
main (void)
{
  Suite *suite = suite_create ("exportname");
  TCase *tcase = tcase_create ("exportname");
  SRunner *runner;
  int failed;

  suite_add_tcase (suite, tcase);
  tcase_add_loop_test (tcase, names_round_trip, 0, COUNT (good_names));
  tcase_add_loop_test (tcase, other_names_are_plain, 0, COUNT (plain_names));
  tcase_add_loop_test (tcase, malformed_names_are_bad, 0, COUNT (bad_names));
  tcase_add_test (tcase, every_cut_of_a_name_is_bad);
  tcase_add_test (tcase, descriptions_round_trip);
  tcase_add_loop_test (tcase, descriptions_are_told_apart, 0,
                       COUNT (descriptions));
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
