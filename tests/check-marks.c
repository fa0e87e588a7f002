/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-marks.c: region map, coarse map and block map, by named cases.
 * check-marks-model.c has the random ones.
 */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "marks.h"

enum {
  KIB = 1024,
  MIB = 1024 * KIB,
};

/* Sanitizers keep memory of their own: no use to measure it. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif

static const uint64_t GIB = 1024 * MIB;

static bool
get_bit (const uint8_t *map, uint64_t i)
{
  return map[i / 8] >> (i % 8) & 1;
}

/* --- named cases ------------------------------------------------------ */

START_TEST (sizes)
{
  struct marks *marks = marks_new (256 * GIB, 4 * MIB);

  ck_assert_uint_eq (marks_regions (marks), 65536);
  ck_assert_uint_eq (marks_chunks (marks), 1 << 20);
  ck_assert_uint_eq (marks_pages (marks), 3);
  ck_assert_uint_eq (marks_map_bytes (marks), 3 * MARKS_PAGE_BYTES);
  marks_free (marks);

  marks = marks_new (1, MARKS_CHUNK);
  ck_assert_uint_eq (marks_regions (marks), 1);
  ck_assert_uint_eq (marks_chunks (marks), 1);
  ck_assert_uint_eq (marks_pages (marks), 1);
  marks_dirty_all (marks);
  ck_assert_uint_eq (marks_dirty_bytes (marks), 1);
  marks_clean (marks, 0, 1);
  ck_assert_uint_eq (marks_dirty_bytes (marks), 0);
  marks_check (marks);
  marks_free (marks);
  marks_free (NULL);
}
END_TEST

#ifndef SANITIZED
static long
resident_pages (void)
{
  FILE *file = fopen ("/proc/self/statm", "r");
  long total, resident;

  ck_assert_ptr_nonnull (file);
  ck_assert_int_eq (fscanf (file, "%ld %ld", &total, &resident), 2);
  fclose (file);
  return resident;
}

/* 256 GiB cost next to nothing until they are marked. */
START_TEST (memory_is_lazy)
{
  long before = resident_pages (), page = sysconf (_SC_PAGESIZE);
  struct marks *marks = marks_new (256 * GIB, 4 * MIB);
  uint64_t chunk;

  ck_assert_ptr_nonnull (marks);
  marks_loaded (marks);
  ck_assert (!marks_overlap (marks, 0, 256 * GIB));
  ck_assert (!marks_next_chunk (marks, 0, &chunk));
  marks_clean (marks, 0, 256 * GIB);
  marks_forget (marks);
  ck_assert_int_lt ((resident_pages () - before) * page, MIB);

  /* All coarse costs its bits, not the block map. */
  marks_dirty_all (marks);
  ck_assert_uint_eq (marks_dirty_bytes (marks), 256 * GIB);
  ck_assert_int_lt ((resident_pages () - before) * page, 2 * MIB);
  marks_check (marks);
  marks_free (marks);
}
END_TEST
#endif

START_TEST (set_once_then_durable)
{
  struct marks *marks = marks_new (64 * MIB, 4 * MIB);
  uint32_t first, last;

  ck_assert (!marks_take_pages (marks, &first, &last));
  ck_assert (!marks_set_regions (marks, 4 * MIB - 1, 2));
  ck_assert (get_bit (marks_map (marks), 0));
  ck_assert (get_bit (marks_map (marks), 1));
  ck_assert (!get_bit (marks_map (marks), 2));
  ck_assert (marks_pages_wanted (marks));
  ck_assert (marks_pages_urgent (marks));
  ck_assert (!marks_durable (marks, 0, 1));

  ck_assert (marks_take_pages (marks, &first, &last));
  ck_assert_uint_eq (first, 0);
  ck_assert_uint_eq (last, 0);
  ck_assert (marks_pages_taken (marks));
  ck_assert (!marks_pages_wanted (marks));
  ck_assert (!marks_pages_urgent (marks));
  ck_assert (!marks_set_regions (marks, 0, 1));
  ck_assert (!marks_pages_wanted (marks)); /* it is under way */

  /* Another one meanwhile has to wait for the next write. */
  ck_assert (!marks_set_regions (marks, 8 * MIB, 1));
  ck_assert (marks_pages_urgent (marks));
  ck_assert (!marks_take_pages (marks, &first, &last));
  marks_pages_durable (marks);
  ck_assert (!marks_pages_taken (marks));
  ck_assert (marks_durable (marks, 0, 8 * MIB));
  ck_assert (!marks_durable (marks, 0, 8 * MIB + 1));
  ck_assert (marks_set_regions (marks, 0, 8 * MIB));
  ck_assert (marks_take_pages (marks, &first, &last));
  marks_pages_durable (marks);
  ck_assert (marks_durable (marks, 8 * MIB, 1));
  ck_assert (marks_set_regions (marks, 0, 12 * MIB));
  ck_assert (!marks_pages_wanted (marks));

  /* An empty range asks for nothing. */
  ck_assert (marks_set_regions (marks, 20 * MIB, 0));
  ck_assert (marks_durable (marks, 64 * MIB, 0));
  marks_check (marks);
  marks_free (marks);
}
END_TEST

/* The clear may be on disk or not: the bit must be written again. */
START_TEST (cleared_and_set_again)
{
  struct marks *marks = marks_new (64 * MIB, 4 * MIB);
  uint32_t first, last;

  marks_set_regions (marks, 0, 1);
  ck_assert (marks_take_pages (marks, &first, &last));
  marks_pages_durable (marks);
  marks_clear_region (marks, 0);
  ck_assert (marks_pages_wanted (marks));
  ck_assert (!marks_pages_urgent (marks));
  ck_assert (!marks_durable (marks, 0, 1));
  ck_assert (!marks_set_regions (marks, 0, 1));
  ck_assert (marks_pages_urgent (marks));
  marks_check (marks);

  /* The same while the page is under way: the write may have seen the
   * clear, so its end does not make the bit durable.
   */
  ck_assert (marks_take_pages (marks, &first, &last));
  marks_clear_region (marks, 0);
  ck_assert (!marks_set_regions (marks, 0, 1));
  marks_check (marks);
  marks_pages_durable (marks);
  ck_assert (!marks_durable (marks, 0, 1));
  ck_assert (marks_pages_urgent (marks));
  ck_assert (marks_take_pages (marks, &first, &last));
  marks_pages_durable (marks);
  ck_assert (marks_durable (marks, 0, 1));

  /* Set and cleared before anything was written. */
  marks_set_regions (marks, 8 * MIB, 1);
  marks_clear_region (marks, 2);
  ck_assert (!marks_pages_urgent (marks));
  ck_assert (marks_pages_wanted (marks));
  marks_clear_region (marks, 2);
  marks_check (marks);
  marks_free (marks);
}
END_TEST

START_TEST (several_map_pages)
{
  uint64_t per_page = MARKS_PAGE_BYTES * 8;
  uint64_t size = (3 * per_page + 1) * MARKS_CHUNK;
  struct marks *marks = marks_new (size, MARKS_CHUNK);
  uint8_t bits[MARKS_PAGE_BYTES];
  uint32_t first, last;
  uint64_t chunk;

  ck_assert_uint_eq (marks_pages (marks), 4);
  marks_set_regions (marks, per_page * MARKS_CHUNK - 1, 2);
  ck_assert (marks_take_pages (marks, &first, &last));
  ck_assert_uint_eq (first, 0);
  ck_assert_uint_eq (last, 1);
  marks_set_regions (marks, 2 * per_page * MARKS_CHUNK, 1);
  marks_pages_durable (marks);
  ck_assert (marks_take_pages (marks, &first, &last));
  ck_assert_uint_eq (first, 2);
  ck_assert_uint_eq (last, 2);
  marks_pages_durable (marks);

  /* The peer's last page: what lies past the end is not believed. */
  memset (bits, 0xff, sizeof bits);
  marks_merge_page (marks, 3, bits);
  ck_assert_uint_eq (marks_dirty_bytes (marks), MARKS_CHUNK);
  ck_assert (marks_next_chunk (marks, 0, &chunk));
  ck_assert_uint_eq (chunk, 3 * per_page);
  ck_assert (marks_take_pages (marks, &first, &last));
  ck_assert_uint_eq (first, 3);
  ck_assert_uint_eq (last, 3);
  marks_check (marks);
  marks_free (marks);
}
END_TEST

START_TEST (loaded_map_is_durable_and_coarse)
{
  struct marks *marks = marks_new (10 * MIB + 1, MIB);
  uint64_t chunk;

  memset (marks_map (marks), 0xff, marks_map_bytes (marks));
  marks_loaded (marks);
  marks_check (marks);
  ck_assert_uint_eq (marks_map (marks)[0], 0xff);
  ck_assert_uint_eq (marks_map (marks)[1], 0x07);
  ck_assert_uint_eq (marks_map (marks)[2], 0x00);
  ck_assert (marks_durable (marks, 0, 10 * MIB + 1));
  ck_assert (!marks_pages_wanted (marks));
  ck_assert_uint_eq (marks_dirty_bytes (marks), 10 * MIB + 1);

  memset (marks_map (marks), 0, marks_map_bytes (marks));
  marks_forget (marks);
  marks_map (marks)[0] = 0x10;
  marks_loaded (marks);
  marks_check (marks);
  ck_assert (marks_next_chunk (marks, 0, &chunk));
  ck_assert_uint_eq (chunk, 16);
  ck_assert (marks_chunk_coarse (marks, chunk));
  ck_assert_uint_eq (marks_dirty_bytes (marks), MIB);
  ck_assert (marks_overlap (marks, 4 * MIB, 1));
  ck_assert (!marks_overlap (marks, 5 * MIB, 1));
  marks_free (marks);
}
END_TEST

START_TEST (clear_only_what_is_idle_and_clean)
{
  struct marks *marks = marks_new (40 * MIB, 4 * MIB);
  uint64_t regions[10];

  marks_use (marks, 0, 20 * MIB, 100);
  marks_set_regions (marks, 0, 20 * MIB);
  ck_assert_uint_eq (marks_clear_idle (marks, 1000, regions, 10), 0);
  marks_clear_region (marks, 0);
  ck_assert (get_bit (marks_map (marks), 0)); /* in use */
  marks_unuse (marks, 0, 20 * MIB, 200);
  ck_assert_uint_eq (marks_clear_idle (marks, 200, regions, 10), 0);
  marks_use (marks, 4 * MIB, 1, 200);
  marks_dirty (marks, 12 * MIB - 1, 1); /* region 2 */
  ck_assert_uint_eq (marks_clear_idle (marks, 201, regions, 2), 2);
  ck_assert_uint_eq (regions[0], 0);
  ck_assert_uint_eq (regions[1], 3);
  ck_assert_uint_eq (marks_clear_idle (marks, 201, regions, 2), 1);
  ck_assert_uint_eq (regions[0], 4);
  marks_clear_region (marks, 2);
  ck_assert (get_bit (marks_map (marks), 2)); /* marked */
  marks_unuse (marks, 4 * MIB, 1, 300);
  marks_clear_region (marks, 1); /* at any age */
  ck_assert (!get_bit (marks_map (marks), 1));
  marks_clean (marks, 8 * MIB, 4 * MIB);
  ck_assert_uint_eq (marks_clear_idle (marks, 201, regions, 0), 0);
  ck_assert_uint_eq (marks_clear_idle (marks, 201, regions, 2), 1);
  ck_assert_uint_eq (regions[0], 2);
  ck_assert_uint_eq (marks_clear_idle (marks, 201, regions, 2), 0);
  marks_check (marks);
  marks_free (marks);
}
END_TEST

/* Where one call ended the next begins: none is passed over for ever. */
START_TEST (clear_goes_round)
{
  struct marks *marks = marks_new (10 * MIB, MIB);
  uint64_t region, i;

  for (i = 0; i < 10; ++i) {
    marks_set_regions (marks, 0, 10 * MIB);
    ck_assert_uint_eq (marks_clear_idle (marks, 1, &region, 1), 1);
    ck_assert_uint_eq (region, i);
  }
  marks_check (marks);
  marks_free (marks);
}
END_TEST

START_TEST (dirty_outward_clean_inward)
{
  struct marks *marks = marks_new (MIB, MARKS_CHUNK);

  marks_dirty (marks, 4095, 2);
  ck_assert_uint_eq (marks_chunk_blocks (marks, 0), 3);
  ck_assert (get_bit (marks_map (marks), 0));
  ck_assert_uint_eq (marks_dirty_bytes (marks), 8192);
  marks_clean (marks, 1, 8191);
  ck_assert_uint_eq (marks_chunk_blocks (marks, 0), 1);
  marks_clean (marks, 0, 4095);
  ck_assert_uint_eq (marks_chunk_blocks (marks, 0), 1);
  ck_assert (marks_overlap (marks, 4095, 1));
  ck_assert (!marks_overlap (marks, 4096, MIB - 4096));
  ck_assert (!marks_overlap (marks, 4095, 0));
  marks_clean (marks, 0, 4096);
  ck_assert (!marks_overlap (marks, 0, MIB));

  /* Across a chunk's border. */
  marks_dirty (marks, MARKS_CHUNK - 1, 2);
  ck_assert_uint_eq (marks_chunk_blocks (marks, 0), UINT64_C (1) << 63);
  ck_assert_uint_eq (marks_chunk_blocks (marks, 1), 1);
  marks_clean (marks, 0, MIB);
  ck_assert_uint_eq (marks_dirty_bytes (marks), 0);
  marks_dirty (marks, 0, 0);
  marks_clean (marks, 0, 0);
  ck_assert_uint_eq (marks_dirty_bytes (marks), 0);
  marks_check (marks);
  marks_free (marks);
}
END_TEST

START_TEST (last_block_in_part)
{
  uint64_t size = MARKS_CHUNK + 5000;
  struct marks *marks = marks_new (size, MARKS_CHUNK);

  marks_dirty (marks, size - 1, 1);
  ck_assert_uint_eq (marks_chunk_blocks (marks, 1), 2);
  marks_clean (marks, MARKS_CHUNK + 4096, 903);
  ck_assert_uint_eq (marks_chunk_blocks (marks, 1), 2);
  marks_clean (marks, MARKS_CHUNK + 4097, 903);
  ck_assert_uint_eq (marks_chunk_blocks (marks, 1), 2);
  marks_clean (marks, MARKS_CHUNK + 4096, 904);
  ck_assert_uint_eq (marks_chunk_blocks (marks, 1), 0);

  /* A coarse chunk in part is clean when all of it is. */
  marks_dirty_all (marks);
  ck_assert_uint_eq (marks_dirty_bytes (marks), size);
  marks_clean (marks, MARKS_CHUNK, 4999);
  ck_assert (marks_chunk_coarse (marks, 1));
  marks_clean (marks, MARKS_CHUNK, 5000);
  ck_assert (!marks_chunk_coarse (marks, 1));
  ck_assert (marks_chunk_coarse (marks, 0));

  /* Blocks past the end are never marked. */
  marks_chunk_compared (marks, 1, UINT64_MAX);
  ck_assert_uint_eq (marks_chunk_blocks (marks, 1), 3);
  marks_check (marks);
  marks_free (marks);
}
END_TEST

START_TEST (coarse_until_compared)
{
  struct marks *marks = marks_new (4 * MIB, MIB);
  uint8_t bits[MARKS_PAGE_BYTES] = { 0x02 };
  uint64_t chunk;

  marks_merge_page (marks, 0, bits);
  ck_assert_uint_eq (marks_dirty_bytes (marks), MIB);
  ck_assert (marks_pages_urgent (marks));
  marks_dirty (marks, MIB, 4096);
  ck_assert_uint_eq (marks_dirty_bytes (marks), MIB);
  marks_clean (marks, MIB, 128 * KIB);
  marks_clean (marks, MIB + 128 * KIB, 128 * KIB);
  ck_assert (marks_chunk_coarse (marks, 4)); /* nobody saw it whole */
  ck_assert_uint_eq (marks_chunk_blocks (marks, 4), 0);
  marks_chunk_compared (marks, 4, 0x8001);
  ck_assert (!marks_chunk_coarse (marks, 4));
  ck_assert_uint_eq (marks_dirty_bytes (marks), 3 * MARKS_CHUNK + 8192);
  marks_chunk_compared (marks, 5, 0);
  ck_assert (marks_next_chunk (marks, 5, &chunk));
  ck_assert_uint_eq (chunk, 6);
  marks_clean (marks, MIB, MIB);
  ck_assert (!marks_next_chunk (marks, 5, &chunk));
  ck_assert (get_bit (marks_map (marks), 1));
  marks_check (marks);
  marks_free (marks);
}
END_TEST

START_TEST (next_chunk_wraps)
{
  struct marks *marks = marks_new (GIB, MIB);
  uint64_t chunk;

  marks_dirty (marks, 70 * (uint64_t) MARKS_CHUNK, 1);
  marks_dirty (marks, 4000 * (uint64_t) MARKS_CHUNK, 1);
  ck_assert (marks_next_chunk (marks, 0, &chunk));
  ck_assert_uint_eq (chunk, 70);
  ck_assert (marks_next_chunk (marks, 70, &chunk));
  ck_assert_uint_eq (chunk, 70);
  ck_assert (marks_next_chunk (marks, 71, &chunk));
  ck_assert_uint_eq (chunk, 4000);
  ck_assert (marks_next_chunk (marks, 4001, &chunk));
  ck_assert_uint_eq (chunk, 70);
  ck_assert (marks_next_chunk (marks, 4096, &chunk));
  ck_assert_uint_eq (chunk, 70);
  marks_forget (marks);
  ck_assert (!marks_next_chunk (marks, 0, &chunk));
  ck_assert (get_bit (marks_map (marks), 17));
  marks_check (marks);
  marks_free (marks);
}
END_TEST

/* What was known stays, what was under way ends, what is added is clear. */
START_TEST (grown_marks_keep_what_they_know)
{
  const uint64_t size = 10 * MIB + 100, more = 200 * GIB + 7;
  struct marks *marks = marks_new (size, 4 * MIB);
  uint64_t regions[4], chunk;
  uint32_t first, last;

  marks_use (marks, 8 * MIB, 2 * MIB, 50);
  marks_set_regions (marks, 8 * MIB, 2 * MIB);
  ck_assert (marks_take_pages (marks, &first, &last));
  marks_set_regions (marks, 0, 1);
  marks_dirty (marks, size - 1, 1);
  marks_grow (marks, marks_new (more, 4 * MIB));
  marks_check (marks);
  ck_assert_uint_eq (marks_size (marks), more);
  ck_assert_uint_eq (marks_regions (marks), 50 * KIB + 1);
  ck_assert_uint_eq (marks_pages (marks), 2);
  ck_assert_uint_eq (marks_dirty_bytes (marks), MARKS_BLOCK);
  ck_assert (!marks_overlap (marks, 11 * MIB, more - 11 * MIB));
  ck_assert (!marks_durable (marks, 8 * MIB, 1));
  marks_pages_durable (marks);
  ck_assert (marks_durable (marks, 8 * MIB, 1));
  ck_assert (!marks_durable (marks, 0, 1));
  ck_assert (marks_pages_urgent (marks));

  /* A write in the last block of old, and one in the last byte of all. */
  marks_clean (marks, 10 * MIB, 4096);
  ck_assert_uint_eq (marks_dirty_bytes (marks), 0);
  marks_dirty (marks, more - 1, 1);
  ck_assert (marks_next_chunk (marks, 0, &chunk));
  ck_assert_uint_eq (chunk, marks_chunks (marks) - 1);
  ck_assert (get_bit (marks_map (marks), 50 * KIB));
  marks_clean (marks, more - 7, 7);

  /* The region that is in use is not cleared, nor the one used last. */
  ck_assert_uint_eq (marks_clear_idle (marks, 100, regions, 4), 2);
  marks_unuse (marks, 8 * MIB, 2 * MIB, 120);
  ck_assert_uint_eq (marks_clear_idle (marks, 100, regions, 4), 0);
  ck_assert_uint_eq (marks_clear_idle (marks, 121, regions, 4), 1);
  marks_check (marks);
  marks_free (marks);
}
END_TEST

START_TEST (four_gib_at_once)
{
  struct marks *marks = marks_new (16 * GIB, 4 * MIB);

  marks_use (marks, GIB - 1, 4 * GIB, 5);
  marks_set_regions (marks, GIB - 1, 4 * GIB);
  marks_dirty (marks, GIB - 1, 4 * GIB);
  ck_assert_uint_eq (marks_dirty_bytes (marks), 4 * GIB + 4096);
  marks_clean (marks, GIB - 1, 4 * GIB);
  ck_assert_uint_eq (marks_dirty_bytes (marks), 8192);
  marks_unuse (marks, GIB - 1, 4 * GIB, 6);
  marks_check (marks);
  marks_free (marks);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("marks");
  TCase *tcase = tcase_create ("marks");
  SRunner *runner;
  int failed;

  tcase_add_test (tcase, sizes);
#ifndef SANITIZED
  tcase_add_test (tcase, memory_is_lazy);
#endif
  tcase_add_test (tcase, set_once_then_durable);
  tcase_add_test (tcase, cleared_and_set_again);
  tcase_add_test (tcase, several_map_pages);
  tcase_add_test (tcase, loaded_map_is_durable_and_coarse);
  tcase_add_test (tcase, clear_only_what_is_idle_and_clean);
  tcase_add_test (tcase, clear_goes_round);
  tcase_add_test (tcase, dirty_outward_clean_inward);
  tcase_add_test (tcase, last_block_in_part);
  tcase_add_test (tcase, coarse_until_compared);
  tcase_add_test (tcase, next_chunk_wraps);
  tcase_add_test (tcase, grown_marks_keep_what_they_know);
  tcase_add_test (tcase, four_gib_at_once);
  suite_add_tcase (suite, tcase);

  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
