/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-metrics.c: the text of figures, byte for byte in both formats, and
 * labels that would break out of it.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "metrics.h"

/* The text of METRICS; valid until the next call. */
static const char *
end (struct metrics *metrics)
{
  static char *text;
  size_t length;

  free (text);
  text = metrics_end (metrics, &length);
  ck_assert_ptr_nonnull (text);
  ck_assert_uint_eq (strlen (text), length);
  return text;
}

static struct metrics *
begin (bool openmetrics)
{
  struct metrics *metrics = metrics_new (openmetrics);

  ck_assert_ptr_nonnull (metrics);
  return metrics;
}

static void
write_each_type (struct metrics *m)
{
  metrics_family (m, METRICS_INFO, "x_build_info", "Always 1.");
  metrics_number (m, 1, "version", "1.2", NULL);
  metrics_family (m, METRICS_GAUGE, "x_size_bytes", "Size.");
  metrics_number (m, UINT64_MAX, NULL);
  metrics_family (m, METRICS_GAUGE, "x_up", "Is it?");
  metrics_number (m, 0, NULL);
  metrics_family (m, METRICS_COUNTER, "x_sent_bytes_total", "Sent.");
  metrics_number (m, 7, "kind", "a", "way", "b", NULL);
  metrics_number (m, 8, "kind", "c", NULL);
  metrics_family (m, METRICS_GAUGE, "x_age_seconds", "Age.");
  metrics_seconds (m, 61000002, NULL);
}

START_TEST (openmetrics_is_exact)
{
  struct metrics *m = begin (true);

  write_each_type (m);
  ck_assert_str_eq (end (m),
                    "# HELP x_build Always 1.\n"
                    "# TYPE x_build info\n"
                    "x_build_info{version=\"1.2\"} 1\n"
                    "# HELP x_size_bytes Size.\n"
                    "# TYPE x_size_bytes gauge\n"
                    "# UNIT x_size_bytes bytes\n"
                    "x_size_bytes 18446744073709551615\n"
                    "# HELP x_up Is it?\n"
                    "# TYPE x_up gauge\n"
                    "x_up 0\n"
                    "# HELP x_sent_bytes Sent.\n"
                    "# TYPE x_sent_bytes counter\n"
                    "# UNIT x_sent_bytes bytes\n"
                    "x_sent_bytes_total{kind=\"a\",way=\"b\"} 7\n"
                    "x_sent_bytes_total{kind=\"c\"} 8\n"
                    "# HELP x_age_seconds Age.\n"
                    "# TYPE x_age_seconds gauge\n"
                    "# UNIT x_age_seconds seconds\n"
                    "x_age_seconds 61.000002\n"
                    "# EOF\n");
}
END_TEST

START_TEST (the_older_format_is_exact)
{
  struct metrics *m = begin (false);

  write_each_type (m);
  ck_assert_str_eq (end (m),
                    "# HELP x_build_info Always 1.\n"
                    "# TYPE x_build_info gauge\n"
                    "x_build_info{version=\"1.2\"} 1\n"
                    "# HELP x_size_bytes Size.\n"
                    "# TYPE x_size_bytes gauge\n"
                    "x_size_bytes 18446744073709551615\n"
                    "# HELP x_up Is it?\n"
                    "# TYPE x_up gauge\n"
                    "x_up 0\n"
                    "# HELP x_sent_bytes_total Sent.\n"
                    "# TYPE x_sent_bytes_total counter\n"
                    "x_sent_bytes_total{kind=\"a\",way=\"b\"} 7\n"
                    "x_sent_bytes_total{kind=\"c\"} 8\n"
                    "# HELP x_age_seconds Age.\n"
                    "# TYPE x_age_seconds gauge\n"
                    "x_age_seconds 61.000002\n");
}
END_TEST

START_TEST (labels_stay_inside)
{
  struct metrics *m = begin (false);

  metrics_family (m, METRICS_GAUGE, "x", "X.");
  metrics_number (m, 1, "a", "q\"b\\n\nz", NULL);
  /* UTF-8 passes; what is none, or cut off, does not. */
  metrics_number (m, 2, "a", "gr\xc3\xbc\xc3\x9f", NULL);
  metrics_number (m, 3, "a", "\xff\xc3(\x80\xe2\x82", NULL);
  metrics_number (m, 4, "a", "", NULL);
  ck_assert_str_eq (end (m),
                    "# HELP x X.\n# TYPE x gauge\n"
                    "x{a=\"q\\\"b\\\\n\\nz\"} 1\n"
                    "x{a=\"gr\xc3\xbc\xc3\x9f\"} 2\n"
                    "x{a=\"\?\?(\?\?\?\"} 3\n"
                    "x{a=\"\"} 4\n");
}
END_TEST

START_TEST (labels_that_are_too_long_are_left_out)
{
  struct metrics *m = begin (false);
  char text[1200];

  memset (text, 'x', sizeof text);
  text[sizeof text - 1] = '\0';
  metrics_family (m, METRICS_GAUGE, "x", "X.");
  metrics_number (m, 1, "a", "1", "b", text, NULL);
  metrics_number (m, 2, "b", text, NULL);
  ck_assert_str_eq (end (m),
                    "# HELP x X.\n# TYPE x gauge\n"
                    "x{a=\"1\"} 1\nx 2\n");
}
END_TEST

/* The number at the end of the line that begins with NAME. */
static uint64_t
value_of (const char *text, const char *name)
{
  size_t length = strlen (name);

  for (const char *line = text; line != NULL; line = strchr (line, '\n')) {
    if (*line == '\n')
      line++;
    if (strncmp (line, name, length) == 0 && line[length] == ' ')
      return strtoull (line + length, NULL, 10);
  }
  ck_abort_msg ("no %s in %s", name, text);
}

START_TEST (histograms_add_up)
{
  static struct latency latency;
  static struct latency_counts counts;
  struct metrics *m = begin (true);
  const char *text;

  memset (&latency, 0, sizeof latency);
  latency_add (&latency, 3);
  latency_add (&latency, 16);
  latency_add (&latency, 31);
  latency_add (&latency, 32);
  latency_add (&latency, 40000000);
  latency_read (&latency, &counts);
  metrics_family (m, METRICS_HISTOGRAM, "x_seconds", "X.");
  metrics_durations (m, &counts, "kind", "read", NULL);
  text = end (m);
  ck_assert_uint_eq (
    value_of (text, "x_seconds_bucket{kind=\"read\",le=\"0.000016\"}"), 1);
  ck_assert_uint_eq (
    value_of (text, "x_seconds_bucket{kind=\"read\",le=\"0.000032\"}"), 3);
  ck_assert_uint_eq (
    value_of (text, "x_seconds_bucket{kind=\"read\",le=\"0.000064\"}"), 4);
  ck_assert_uint_eq (
    value_of (text, "x_seconds_bucket{kind=\"read\",le=\"16.777216\"}"), 4);
  ck_assert_uint_eq (
    value_of (text, "x_seconds_bucket{kind=\"read\",le=\"+Inf\"}"), 5);
  ck_assert_uint_eq (value_of (text, "x_seconds_count{kind=\"read\"}"), 5);
  ck_assert_ptr_nonnull (strstr (text,
                                 "\nx_seconds_sum{kind=\"read\"} "
                                 "40.000082\n"));
}
END_TEST

START_TEST (numbers_have_whole_buckets)
{
  static struct latency latency;
  static struct latency_counts counts;
  struct metrics *m = begin (false);
  const char *text;

  memset (&latency, 0, sizeof latency);
  for (uint64_t n = 1; n <= 2000; n++)
    latency_add (&latency, n);
  latency_read (&latency, &counts);
  metrics_family (m, METRICS_HISTOGRAM, "x", "X.");
  metrics_numbers (m, &counts, NULL);
  text = end (m);
  ck_assert_uint_eq (value_of (text, "x_bucket{le=\"1\"}"), 1);
  ck_assert_uint_eq (value_of (text, "x_bucket{le=\"8\"}"), 8);
  ck_assert_uint_eq (value_of (text, "x_bucket{le=\"15\"}"), 15);
  ck_assert_uint_eq (value_of (text, "x_bucket{le=\"1023\"}"), 1023);
  ck_assert_uint_eq (value_of (text, "x_bucket{le=\"+Inf\"}"), 2000);
  ck_assert_uint_eq (value_of (text, "x_sum"), 2001000);
  ck_assert_uint_eq (value_of (text, "x_count"), 2000);
}
END_TEST

START_TEST (the_process_is_this_one)
{
  struct metrics *m = begin (true);
  const char *text;
  uint64_t began;

  metrics_process (m);
  text = end (m);
  ck_assert_uint_gt (value_of (text, "process_resident_memory_bytes"), 100000);
  began = value_of (text, "process_start_time_seconds");
  ck_assert_uint_le (began, (uint64_t) time (NULL) + 1);
  ck_assert_uint_ge (began, (uint64_t) time (NULL) - 600);
  ck_assert_ptr_nonnull (strstr (text, "\nprocess_cpu_seconds_total "));
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("metrics");
  TCase *tcase = tcase_create ("metrics");
  SRunner *runner;
  int failed;

  suite_add_tcase (suite, tcase);
  tcase_add_test (tcase, openmetrics_is_exact);
  tcase_add_test (tcase, the_older_format_is_exact);
  tcase_add_test (tcase, labels_stay_inside);
  tcase_add_test (tcase, labels_that_are_too_long_are_left_out);
  tcase_add_test (tcase, histograms_add_up);
  tcase_add_test (tcase, numbers_have_whole_buckets);
  tcase_add_test (tcase, the_process_is_this_one);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
