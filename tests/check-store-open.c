/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-store-open.c: a volume's two files: how they come to be, what is
 * refused, what the metadata survives.
 */
#include <limits.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/vfs.h>

#include "check-store.h"
#include "marks.h"
#include "meta.h"

enum { PAGE_0 = META_MAP_OFFSET };

/* --- creation --------------------------------------------------------- */

START_TEST (new_volume_is_256_gib_and_sparse)
{
  uint64_t bytes;

  must_open (0);
  ck_assert_uint_eq (store_size (store), UINT64_C (256) << 30);
  ck_assert_uint_eq (file_bytes (file), UINT64_C (256) << 30);
  ck_assert_uint_lt (allocated_bytes (), MIB);
  ck_assert_uint_eq (file_bytes (meta), META_MAP_OFFSET + 3 * META_PAGE);
  ck_assert_ptr_nonnull (store_map (store, &bytes));
  ck_assert_uint_eq (bytes, 3 * MARKS_PAGE_BYTES);
  ck_assert (all (store_map (store, &bytes), bytes, 0));
  ck_assert_uint_eq (store_bad_pages (store), 0);

  ck_assert_uint_eq (record.size, store_size (store));
  ck_assert_uint_eq (record.region_size, 4 * MIB);
  ck_assert_uint_eq (record.data, DATA_BLANK);
  ck_assert_uint_eq (record.volume, 0);
  ck_assert_uint_ne (record.node, 0);
  ck_assert_uint_eq (record.history_count, 0);
  ck_assert (!record.has_data);
}
END_TEST

START_TEST (node_id_stays)
{
  must_open (MIB);
  uint64_t node = record.node;
  reopen ();
  ck_assert_uint_eq (record.node, node);
  ck_assert_uint_eq (record.data, DATA_BLANK);
  ck_assert (!record.has_data);
}
END_TEST

START_TEST (existing_file_is_taken_as_it_is)
{
  write_file (file, 3 * MIB - 1, "x", 1);
  must_open (0);
  ck_assert_uint_eq (store_size (store), 3 * MIB);
  ck_assert (record.has_data);
  assert_bytes (3 * MIB - 1, 1, 'x');
}
END_TEST

START_TEST (existing_file_is_extended_when_new)
{
  write_file (file, 0, "x", 1);
  must_open (5 * MIB + 1);
  ck_assert_uint_eq (file_bytes (file), 5 * MIB + 1);
  ck_assert (record.has_data);
}
END_TEST

START_TEST (existing_file_is_never_cut)
{
  write_file (file, 3 * MIB - 1, "x", 1);
  refused (2 * MIB, 0, "size=2097152", "3145728");
  ck_assert_uint_eq (file_bytes (file), 3 * MIB);
  ck_assert (!exists (meta));
}
END_TEST

START_TEST (empty_file_counts_as_none)
{
  write_file (file, 0, "", 0);
  must_open (0);
  ck_assert_uint_eq (store_size (store), UINT64_C (256) << 30);
  ck_assert (!record.has_data);
}
END_TEST

/* Blank nodes look again: the file may have been filled meanwhile. */
START_TEST (blank_node_sees_new_data)
{
  must_open (MIB);
  fill (4096, 4096, 1);
  reopen ();
  ck_assert (record.has_data);
  ck_assert_int_eq (store_zero (store, 0, MIB, true, false), 0);
  reopen ();
  ck_assert (!record.has_data);
}
END_TEST

START_TEST (interrupted_creation_is_begun_again)
{
  static const uint8_t zeros[META_MAP_OFFSET];
  uint64_t bytes;

  write_file (meta, 0, "", 0);
  must_open (MIB);
  store_close (store);
  store = NULL;

  /* All but the superblock. */
  write_file (meta, 0, zeros, sizeof zeros);
  must_open (0);
  ck_assert_uint_eq (record.data, DATA_BLANK);
  ck_assert (all (store_map (store, &bytes), MARKS_PAGE_BYTES, 0));
}
END_TEST

START_TEST (relative_path_and_other_metadata)
{
  char other[PATH_BYTES], old[PATH_MAX];
  struct store_config config = {
    .file = "disk.img",
    .meta = "other",
    .size = MIB,
  };

  snprintf (other, sizeof other, "%s/other", folder);
  ck_assert_ptr_nonnull (getcwd (old, sizeof old));
  ck_assert_int_eq (chdir (folder), 0);
  store = store_open (&config, &record, message, sizeof message);
  ck_assert_int_eq (chdir (old), 0);
  ck_assert_msg (store != NULL, "%s", message);
  ck_assert (exists (other));
  ck_assert (!exists (meta));
}
END_TEST

/* --- what is refused -------------------------------------------------- */

START_TEST (other_size_or_region_is_refused)
{
  must_open (MIB);
  store_close (store);
  store = NULL;
  refused (2 * MIB, 0, "size=2097152", "duetctl resize");
  refused (MIB / 2, 0, "size=524288", "made with size 1048576");
  refused (0, MIB, "region=1048576", "made with region 4194304");
  store = try_open (MIB, 4 * MIB);
  ck_assert_msg (store != NULL, "%s", message);
}
END_TEST

/* RECORD, as the core changes it, becomes durable. */
static void
save (void)
{
  ck_assert_int_eq (store_save_record (store, &record), 0);
}

static uint64_t
length_of (const char *path)
{
  struct stat st;

  ck_assert_int_eq (stat (path, &st), 0);
  return (uint64_t) st.st_size;
}

/* Pages of the region map that can be read, up to the first that cannot. */
static uint32_t
whole_pages (void)
{
  uint8_t page[META_PAGE], bits[MARKS_PAGE_BYTES];
  int fd = open (meta, O_RDONLY);
  uint32_t n = 0;

  while (pread (fd, page, sizeof page, META_MAP_OFFSET + n * META_PAGE) ==
           META_PAGE &&
         page[META_PAGE - 1] + page[META_PAGE - 2] != 0 &&
         meta_decode_page (n, page, bits))
    n++;
  close (fd);
  return n;
}

START_TEST (volume_grows)
{
  const uint64_t more = UINT64_C (64) << 30;
  uint64_t bytes, device_bytes;
  uint8_t tail[100];

  store = try_open (MIB + 1, 256 * KIB);
  ck_assert_uint_eq (whole_pages (), 1);
  record.grow_to = more;
  save ();
  ck_assert_int_eq (store_grow (store, more, &device_bytes), 0);
  ck_assert_uint_eq (device_bytes, 0);
  ck_assert_uint_eq (length_of (file), more);
  ck_assert_uint_eq (whole_pages (), 9);
  ck_assert_uint_eq (store_size (store), more);
  ck_assert (store_is_whole (store));
  ck_assert_int_eq (store_read (store, tail, more - 100, 100), 0);
  ck_assert_mem_eq (tail, (uint8_t[100]){ 0 }, 100);
  record.made_size = record.size;
  record.size = more;
  record.grow_to = 0;
  save ();
  ck_assert_int_eq (
    store_save_pages (store, 8, 1, (const uint8_t[MARKS_PAGE_BYTES]){ 1 }), 0);
  reopen ();
  ck_assert_uint_eq (record.size, more);
  ck_assert_uint_eq (store_bad_pages (store), 0);
  ck_assert_uint_eq (store_map (store, &bytes)[8 * MARKS_PAGE_BYTES], 1);
  ck_assert_uint_eq (bytes, 9 * MARKS_PAGE_BYTES);

  /* What size= was before will do, and what lies between; nothing else. */
  store_close (store);
  store = NULL;
  refused (MIB, 0, "size=1048576", "made with size 1048577");
  refused (more + 1, 0, "size=", "duetctl resize");
  must_open (MIB + 1);
  store_close (store);
  store = NULL;
  must_open (MIB + 2);
}
END_TEST

/* Whatever a crash leaves of a growth is taken back by the next start. */
START_TEST (unfinished_growth_is_taken_back)
{
  static const uint64_t left[] = { MIB, MIB + 1, 2 * MIB };
  uint64_t device_bytes;
  uint64_t node;

  must_open (MIB);
  node = record.node;
  for (size_t i = 0; i < sizeof left / sizeof left[0]; i++) {
    record.grow_to = 2 * MIB;
    save ();
    ck_assert_int_eq (store_grow (store, 2 * MIB, &device_bytes), 0);
    ck_assert_int_eq (truncate (file, (off_t) left[i]), 0);
    reopen ();
    ck_assert_uint_eq (record.node, node);
    ck_assert_uint_eq (record.size, MIB);
    ck_assert_uint_eq (record.grow_to, 0);
    ck_assert_uint_eq (length_of (file), MIB);
  }
  /* So does who gives it up; and it can be begun anew, to another size. */
  record.grow_to = 4 * MIB;
  save ();
  ck_assert_int_eq (store_grow (store, 4 * MIB, &device_bytes), 0);
  ck_assert_int_eq (store_grow (store, 3 * MIB, &device_bytes), 0);
  ck_assert_uint_eq (length_of (file), 3 * MIB);
  ck_assert_int_eq (store_grow (store, MIB, &device_bytes), 0);
  ck_assert_uint_eq (length_of (file), MIB);
  ck_assert_uint_eq (store_size (store), MIB);

  /* Longer than that somebody else has made it. */
  store_close (store);
  store = NULL;
  ck_assert_int_eq (truncate (file, 4 * MIB + 1), 0);
  refused (0, 0, "has 4194305 bytes", "changed from outside");
}
END_TEST

START_TEST (too_large_a_map_is_refused)
{
  uint64_t device_bytes;

  store = try_open (MIB, 256 * KIB);
  ck_assert_int_eq (store_grow (store, UINT64_C (1) << 50, &device_bytes), -1);
  ck_assert_int_eq (errno, E2BIG);
  ck_assert_uint_eq (length_of (file), MIB);
  ck_assert_uint_eq (store_size (store), MIB);
}
END_TEST

START_TEST (bad_numbers_are_refused)
{
  refused (MIB, 3 * MIB, "region=3145728", "power of two");
  refused (MIB, 128 * KIB, "region=131072", "power of two");
  refused (UINT64_MAX, 1 << 30, "size=", "large");
  refused (INT64_MAX, 256 * KIB, "size=", "larger region=");
  ck_assert (!exists (file));
  ck_assert (!exists (meta));
}
END_TEST

START_TEST (second_process_is_refused)
{
  char other[PATH_BYTES];
  struct store_config config = { .file = file, .meta = other };

  must_open (MIB);
  refused (0, 0, "disk.img.duet", "in use by another process");

  snprintf (other, sizeof other, "%s/other", folder);
  ck_assert_ptr_null (store_open (&config, &record, message, sizeof message));
  ck_assert_ptr_nonnull (strstr (message, "in use by another process"));
}
END_TEST

START_TEST (missing_or_changed_data_is_refused)
{
  must_open (MIB);
  store_close (store);
  store = NULL;
  ck_assert_int_eq (truncate (file, MIB - 1), 0);
  refused (0, 0, "has 1048575 bytes", "1048576");
  ck_assert_int_eq (truncate (file, MIB + 1), 0);
  refused (0, 0, "has 1048577 bytes", "1048576");
  ck_assert_int_eq (unlink (file), 0);
  refused (0, 0, "is not there", "resync");
  ck_assert (!exists (file));
}
END_TEST

START_TEST (foreign_metadata_is_not_touched)
{
  static const char text[] = "a letter to my aunt";
  char read[sizeof text];

  write_file (meta, 0, text, sizeof text);
  refused (MIB, 0, "not duet metadata", "meta=");
  int fd = open (meta, O_RDONLY);
  ck_assert_int_eq (pread (fd, read, sizeof read, 0), sizeof read);
  close (fd);
  ck_assert_mem_eq (read, text, sizeof text);
  ck_assert_uint_eq (file_bytes (meta), sizeof text);
  ck_assert (!exists (file));
}
END_TEST

START_TEST (data_and_metadata_must_differ)
{
  struct store_config config = { .file = file, .meta = file, .size = MIB };

  ck_assert_ptr_null (store_open (&config, &record, message, sizeof message));
  ck_assert_ptr_nonnull (strstr (message, "same file"));
  ck_assert (!exists (file));

  write_file (file, MIB - 1, "", 1);
  ck_assert_int_eq (link (file, meta), 0);
  refused (0, 0, "same file", "meta=");
}
END_TEST

START_TEST (neither_file_nor_device_is_refused)
{
  struct store_config config = { .file = folder };

  ck_assert_ptr_null (store_open (&config, &record, message, sizeof message));
  ck_assert_ptr_nonnull (strstr (message, "regular file or a block device"));

  config.file = "/dev/null";
  ck_assert_ptr_null (store_open (&config, &record, message, sizeof message));
  ck_assert_ptr_nonnull (strstr (message, "regular file or a block device"));

  config.file = "/nonexistent/disk.img";
  ck_assert_ptr_null (store_open (&config, &record, message, sizeof message));
  ck_assert_ptr_nonnull (strstr (message, "No such file"));
}
END_TEST

START_TEST (large_file_without_superblock_is_not_taken)
{
  write_file (meta, MIB, "x", 1);
  refused (MIB, 0, "no superblock", "meta=");
  ck_assert_uint_eq (file_bytes (meta), MIB + 1);
  ck_assert (!exists (file));
}
END_TEST

/* --- metadata --------------------------------------------------------- */

static void
save_epoch (uint64_t epoch)
{
  struct gen_record saved = {
    .volume = 1,
    .node = record.node,
    .size = store_size (store),
    .region_size = record.region_size,
    .data = DATA_CURRENT,
    .history_count = 1,
    .history[0] = { .gen = { .epoch = epoch, .id = 1 }, .kind = GEN_CREATE },
  };

  ck_assert_int_eq (store_save_record (store, &saved), 0);
}

START_TEST (torn_superblock_falls_back)
{
  must_open (MIB);
  for (uint64_t epoch = 1; epoch <= 6; epoch++) {
    save_epoch (epoch);
    reopen ();
    ck_assert_uint_eq (record.data, DATA_CURRENT);
    ck_assert_uint_eq (record.history[0].gen.epoch, epoch);
  }

  /* The seventh record: creation wrote slot 0. */
  store_close (store);
  store = NULL;
  write_file (meta, 1000, "torn", 4);
  must_open (0);
  ck_assert_uint_eq (record.history[0].gen.epoch, 5);

  /* The torn slot is the next to be written, not the good one. */
  save_epoch (100);
  reopen ();
  ck_assert_uint_eq (record.history[0].gen.epoch, 100);

  store_close (store);
  store = NULL;
  write_file (meta, 1000, "torn", 4);
  write_file (meta, META_SLOT + 1000, "torn", 4);
  refused (0, 0, "checksum mismatch", "restore");
}
END_TEST

START_TEST (map_is_kept)
{
  uint8_t bits[2 * MARKS_PAGE_BYTES] = { 0 };
  uint64_t bytes;

  store = try_open (UINT64_C (32640) * 256 * KIB * 3, 256 * KIB);
  ck_assert_msg (store != NULL, "%s", message);
  bits[17] = 0x81;
  bits[MARKS_PAGE_BYTES + 5] = 0x42;
  ck_assert_int_eq (store_save_pages (store, 1, 2, bits), 0);
  reopen ();
  const uint8_t *map = store_map (store, &bytes);
  ck_assert_uint_eq (bytes, 3 * MARKS_PAGE_BYTES);
  ck_assert (all (map, MARKS_PAGE_BYTES, 0));
  ck_assert_mem_eq (map + MARKS_PAGE_BYTES, bits, sizeof bits);
  ck_assert_uint_eq (store_bad_pages (store), 0);
}
END_TEST

/* Bad, lost, or cut off: all ones, but no more bits than regions. */
START_TEST (damaged_map_page_counts_as_all_ones)
{
  static const uint8_t zeros[META_PAGE];
  uint64_t bytes;
  const uint8_t *map;

  store = try_open (UINT64_C (11) * MIB + 1, MIB); /* 12 regions */
  ck_assert_msg (store != NULL, "%s", message);
  for (unsigned damage = 0; damage < 3; damage++) {
    store_close (store);
    store = NULL;
    if (damage == 0)
      write_file (meta, PAGE_0 + 77, "x", 1);
    else if (damage == 1)
      write_file (meta, PAGE_0, zeros, sizeof zeros);
    else
      ck_assert_int_eq (truncate (meta, PAGE_0 + 100), 0);
    must_open (0);
    map = store_map (store, &bytes);
    ck_assert_uint_eq (store_bad_pages (store), 1);
    ck_assert_uint_eq (map[0], 0xff);
    ck_assert_uint_eq (map[1], 0x0f);
    ck_assert (all (map + 2, bytes - 2, 0));
  }

  uint8_t bits[MARKS_PAGE_BYTES] = { 0 };
  ck_assert_int_eq (store_save_pages (store, 0, 1, bits), 0);
  reopen ();
  ck_assert_uint_eq (store_bad_pages (store), 0);
}
END_TEST

/* --- the page cache ---------------------------------------------------- */

/* Pages of the range that the kernel holds in memory. */
static uint64_t
cached_pages (const char *path, uint64_t offset, uint64_t length)
{
  static unsigned char pages[4 * MIB / 4096];
  int fd = open (path, O_RDONLY);
  void *map = mmap (NULL, length, PROT_NONE, MAP_SHARED, fd, (off_t) offset);
  uint64_t count = 0, i;

  ck_assert_uint_le (length / 4096, sizeof pages);
  ck_assert_ptr_ne (map, MAP_FAILED);
  ck_assert_int_eq (mincore (map, length, pages), 0);
  for (i = 0; i < length / 4096; i++)
    count += pages[i] & 1;
  munmap (map, length);
  close (fd);
  return count;
}

/* When the last run's disk has failed, the cache is not believed of those
 * regions where writes may have been under way.
 */
START_TEST (doubtful_cache_is_forgotten)
{
  static const uint8_t page[MARKS_PAGE_BYTES] = { 0x0a };
  const uint64_t region = 4 * MIB, pages = region / 4096;
  struct statfs fs;

  must_open (6 * region - 5000);
  ck_assert_int_eq (statfs (file, &fs), 0);
  if (fs.f_type == TMPFS_MAGIC) /* whose disk the page cache is */
    return;
  fill (0, 6 * region - 5000, 1);
  ck_assert_int_eq (store_save_pages (store, 0, 1, page), 0);
  reopen ();
  ck_assert_uint_eq (cached_pages (file, region, region), pages);
  record.data = DATA_FAILED;
  ck_assert_int_eq (store_save_record (store, &record), 0);
  reopen ();
  ck_assert_uint_eq (cached_pages (file, 0, region), pages);
  ck_assert_uint_eq (cached_pages (file, region, region), 0);
  ck_assert_uint_eq (cached_pages (file, 2 * region, region), pages);
  ck_assert_uint_eq (cached_pages (file, 3 * region, region), 0);
  ck_assert_uint_eq (cached_pages (file, 4 * region, region), pages);
  assert_bytes (region, region, 1);

  /* Up to the ragged end. */
  ck_assert_int_eq (
    store_save_pages (store, 0, 1, (const uint8_t[MARKS_PAGE_BYTES]){ 0x3f }),
    0);
  reopen ();
  ck_assert_uint_eq (cached_pages (file, 4 * region, region), 0);
  ck_assert_uint_eq (cached_pages (file, 5 * region, region - 8192), 0);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("store-open");
  TCase *tcase = tcase_create ("store-open");

  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_add_test (tcase, new_volume_is_256_gib_and_sparse);
  tcase_add_test (tcase, node_id_stays);
  tcase_add_test (tcase, existing_file_is_taken_as_it_is);
  tcase_add_test (tcase, existing_file_is_extended_when_new);
  tcase_add_test (tcase, existing_file_is_never_cut);
  tcase_add_test (tcase, empty_file_counts_as_none);
  tcase_add_test (tcase, blank_node_sees_new_data);
  tcase_add_test (tcase, interrupted_creation_is_begun_again);
  tcase_add_test (tcase, relative_path_and_other_metadata);
  tcase_add_test (tcase, other_size_or_region_is_refused);
  tcase_add_test (tcase, volume_grows);
  tcase_add_test (tcase, unfinished_growth_is_taken_back);
  tcase_add_test (tcase, too_large_a_map_is_refused);
  tcase_add_test (tcase, bad_numbers_are_refused);
  tcase_add_test (tcase, second_process_is_refused);
  tcase_add_test (tcase, missing_or_changed_data_is_refused);
  tcase_add_test (tcase, foreign_metadata_is_not_touched);
  tcase_add_test (tcase, data_and_metadata_must_differ);
  tcase_add_test (tcase, neither_file_nor_device_is_refused);
  tcase_add_test (tcase, large_file_without_superblock_is_not_taken);
  tcase_add_test (tcase, torn_superblock_falls_back);
  tcase_add_test (tcase, map_is_kept);
  tcase_add_test (tcase, damaged_map_page_counts_as_all_ones);
  tcase_add_test (tcase, doubtful_cache_is_forgotten);
  tcase_set_timeout (tcase, 30);
  suite_add_tcase (suite, tcase);

  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
