/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-store.c: an open store: data, durability, zeros, extents, on a
 * file and on a block device.
 */
#include <linux/loop.h>
#include <linux/magic.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/vfs.h>

#include "check-store.h"

/* --- data ------------------------------------------------------------- */

START_TEST (any_offset_and_length)
{
  const uint64_t size = MIB + 13;

  must_open (size);
  assert_bytes (0, size, 0);
  fill (1, 1, 1);
  fill (4095, 4098, 2);
  fill (size - 7, 7, 3);
  assert_bytes (0, 1, 0);
  assert_bytes (1, 1, 1);
  assert_bytes (2, 4093, 0);
  assert_bytes (4095, 4098, 2);
  assert_bytes (8193, size - 8193 - 7, 0);
  assert_bytes (size - 7, 7, 3);
  /* Over several ends of what is written at once. */
  fill (65535, 3 * 65536 + 2, 4);
  assert_bytes (8193, 65535 - 8193, 0);
  assert_bytes (65535, 3 * 65536 + 2, 4);
  assert_bytes (4 * 65536 + 1, size - 4 * 65536 - 1 - 7, 0);
  ck_assert_int_eq (store_read (store, NULL, size, 0), 0);
  ck_assert_int_eq (store_write (store, NULL, size, 0), 0);
  ck_assert_int_eq (store_cache (store, 1, 4097), 0);
  ck_assert_int_eq (store_cache (store, size, 0), 0);
  ck_assert_uint_eq (file_bytes (file), size);
}
END_TEST

START_TEST (read_past_the_end_is_an_error)
{
  uint8_t buffer[4096];

  must_open (MIB);
  ck_assert_int_eq (truncate (file, MIB - 1), 0);
  ck_assert_int_eq (store_read (store, buffer, MIB - 4096, 4096), -1);
  ck_assert_int_eq (errno, EIO);
}
END_TEST

/* What is in the page cache is read without waiting, if the file system
 * can tell; what is not, or not whole, never is.
 */
START_TEST (read_what_is_cached)
{
  static uint8_t buffer[70000], expected[70000];

  must_open (MIB);
  fill (1000, sizeof buffer, 5);
  memset (expected, 5, sizeof expected);
  bool cached = store_read_cached (store, buffer, 1000, sizeof buffer);

  if (cached)
    ck_assert_mem_eq (buffer, expected, sizeof buffer);
  else
    printf ("this file system does not know\n");
  ck_assert_int_eq (truncate (file, 50000), 0);
  ck_assert (!store_read_cached (store, buffer, 1000, sizeof buffer));
  ck_assert (!store_read_cached (store, buffer, 60000, 512));
  ck_assert_int_eq (store_read_cached (store, buffer, 1000, 512), cached);
}
END_TEST

static void *
write_and_sync (void *opaque)
{
  uint64_t number = *(uint64_t *) opaque;

  for (unsigned i = 0; i < 20; i++) {
    fill (number * 4096, 4096, (uint8_t) (i + number));
    ck_assert_int_eq (store_sync (store), 0);
  }
  return NULL;
}

START_TEST (syncs_are_shared)
{
  enum { THREADS = 4 };
  pthread_t threads[THREADS];
  uint64_t numbers[THREADS], syncs, served;

  must_open (MIB);
  for (unsigned i = 0; i < THREADS; i++) {
    numbers[i] = i;
    ck_assert_int_eq (
      pthread_create (&threads[i], NULL, write_and_sync, &numbers[i]), 0);
  }
  for (unsigned i = 0; i < THREADS; i++)
    ck_assert_int_eq (pthread_join (threads[i], NULL), 0);
  store_sync_counts (store, &syncs, &served);
  ck_assert_uint_eq (served, THREADS * 20);
  ck_assert_uint_ge (syncs, 20);
  ck_assert_uint_le (syncs, served);
}
END_TEST

/* --- zeros and extents ------------------------------------------------ */

START_TEST (zeros_read_back_as_zeros)
{
  must_open (2 * MIB);
  for (unsigned punch = 0; punch < 2; punch++) {
    fill (0, 2 * MIB, 7);
    ck_assert_int_eq (store_zero (store, 4095, MIB + 2, punch, false), 0);
    assert_bytes (0, 4095, 7);
    assert_bytes (4095, MIB + 2, 0);
    assert_bytes (4097 + MIB, MIB - 4097, 7);
    ck_assert_int_eq (store_zero (store, 10, 1, punch, false), 0);
    assert_bytes (9, 1, 7);
    assert_bytes (10, 1, 0);
    assert_bytes (11, 1, 7);
    ck_assert_int_eq (store_zero (store, 0, 0, punch, true), 0);
  }
  ck_assert_uint_eq (file_bytes (file), 2 * MIB);
}
END_TEST

START_TEST (punching_frees_space_and_zeroing_keeps_it)
{
  must_open (8 * MIB);
  fill (0, 8 * MIB, 7);
  ck_assert_int_eq (store_sync (store), 0);
  uint64_t before = allocated_bytes ();
  ck_assert_uint_ge (before, 8 * MIB);
  ck_assert_int_eq (store_zero (store, 0, 4 * MIB, false, false), 0);
  ck_assert_int_eq (store_sync (store), 0);
  ck_assert_uint_ge (allocated_bytes (), 8 * MIB);
  ck_assert_int_eq (store_zero (store, 0, 4 * MIB, true, true), 0);
  ck_assert_int_eq (store_sync (store), 0);
  ck_assert_uint_lt (allocated_bytes (), 5 * MIB);
}
END_TEST

struct extents {
  unsigned count;
  uint64_t end;
  bool last_hole;
  uint64_t changes[8]; /* offsets where data and hole change */
  unsigned stop_after;
};

static int
note_extent (void *opaque, uint64_t offset, uint64_t length, bool hole)
{
  struct extents *extents = opaque;

  ck_assert_uint_eq (offset, extents->end);
  ck_assert_uint_gt (length, 0);
  if (extents->count == 0 || hole != extents->last_hole) {
    ck_assert_uint_lt (extents->count, 8);
    extents->changes[extents->count++] = offset;
  }
  extents->last_hole = hole;
  extents->end = offset + length;
  return extents->stop_after != 0 && extents->count == extents->stop_after ? -1
                                                                           : 0;
}

START_TEST (extents_have_no_gaps)
{
  struct extents extents = { .end = 0 };

  must_open (8 * MIB);
  ck_assert_int_eq (store_extents (store, 0, 8 * MIB, note_extent, &extents),
                    0);
  ck_assert_uint_eq (extents.count, 1);
  ck_assert_uint_eq (extents.end, 8 * MIB);
  ck_assert (extents.last_hole);

  fill (MIB, MIB, 1);
  fill (4 * MIB, MIB, 1);
  extents = (struct extents){ .end = 0 };
  ck_assert_int_eq (store_extents (store, 0, 8 * MIB, note_extent, &extents),
                    0);
  ck_assert_uint_eq (extents.count, 5);
  ck_assert_uint_eq (extents.changes[1], MIB);
  ck_assert_uint_eq (extents.changes[2], 2 * MIB);
  ck_assert_uint_eq (extents.changes[3], 4 * MIB);
  ck_assert_uint_eq (extents.changes[4], 5 * MIB);
  ck_assert_uint_eq (extents.end, 8 * MIB);
  ck_assert (extents.last_hole);

  /* From the middle of one into the middle of another. */
  extents = (struct extents){ .end = MIB + 5 };
  ck_assert_int_eq (store_extents (store, MIB + 5, MIB, note_extent, &extents),
                    0);
  ck_assert_uint_eq (extents.count, 2);
  ck_assert_uint_eq (extents.changes[1], 2 * MIB);
  ck_assert_uint_eq (extents.end, 2 * MIB + 5);

  extents = (struct extents){ .stop_after = 2 };
  ck_assert_int_eq (store_extents (store, 0, 8 * MIB, note_extent, &extents),
                    -1);
  ck_assert_uint_eq (extents.end, 2 * MIB);
}
END_TEST

/* tmpfs can punch, but not zero a range: the fallbacks. */
START_TEST (fast_means_no_writing)
{
  struct statfs fs;

  if (statfs ("/dev/shm", &fs) == -1 || fs.f_type != TMPFS_MAGIC ||
      access ("/dev/shm", W_OK) == -1)
    return;
  ck_assert_int_eq (rmdir (folder), 0);
  make_folder ("/dev/shm");
  must_open (MIB);
  fill (0, MIB, 9);
  for (unsigned i = 0; i < 2; i++) { /* the second time from memory */
    ck_assert_int_eq (store_zero (store, 0, MIB, false, true), -1);
    ck_assert_int_eq (errno, EOPNOTSUPP);
    assert_bytes (0, MIB, 9);
  }
  ck_assert_int_eq (store_zero (store, 1, MIB / 2, false, false), 0);
  assert_bytes (1, MIB / 2, 0);
  assert_bytes (MIB / 2 + 1, MIB / 2 - 1, 9);
  ck_assert_uint_ge (allocated_bytes (), MIB);
  ck_assert_int_eq (store_zero (store, 0, MIB, true, true), 0);
  assert_bytes (0, MIB, 0);
  ck_assert_uint_lt (allocated_bytes (), MIB / 2);
}
END_TEST

/* --- block devices ---------------------------------------------------- */

/* A loop device over FILE that ends with its last user; -1: not here. */
static int
make_loop (char *path, size_t path_size)
{
  int control = open ("/dev/loop-control", O_RDWR | O_CLOEXEC);
  int number = control == -1 ? -1 : ioctl (control, LOOP_CTL_GET_FREE);
  int backing = open (file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  struct loop_config config = {
    .fd = (uint32_t) backing,
    .info.lo_flags = LO_FLAGS_AUTOCLEAR,
  };

  if (control != -1)
    close (control);
  snprintf (path, path_size, "/dev/loop%d", number);
  ck_assert_int_eq (ftruncate (backing, 16 * MIB), 0);
  int loop = number == -1 ? -1 : open (path, O_RDWR | O_CLOEXEC);
  if (loop != -1 && ioctl (loop, LOOP_CONFIGURE, &config) == -1) {
    close (loop);
    loop = -1;
  }
  close (backing);
  return loop;
}

START_TEST (block_device)
{
  char device[PATH_BYTES];
  struct store_config config = { .file = device };
  struct extents extents = { .end = 0 };
  int loop = make_loop (device, sizeof device);

  if (loop == -1) /* no loop devices, or not root */
    return;
  ck_assert_ptr_null (store_open (&config, &record, message, sizeof message));
  ck_assert_ptr_nonnull (strstr (message, "meta="));
  config.meta = meta;
  config.size = 32 * MIB;
  ck_assert_ptr_null (store_open (&config, &record, message, sizeof message));
  ck_assert_ptr_nonnull (strstr (message, "has only 16777216 bytes"));
  ck_assert (!exists (meta));

  config.size = 0;
  store = store_open (&config, &record, message, sizeof message);
  ck_assert_msg (store != NULL, "%s", message);
  ck_assert_uint_eq (store_size (store), 16 * MIB);
  ck_assert (!record.has_data);
  ck_assert_ptr_null (store_open (&config, &record, message, sizeof message));
  ck_assert_ptr_nonnull (strstr (message, "in use"));

  for (unsigned punch = 0; punch < 2; punch++) {
    fill (0, 16 * MIB, 5);
    ck_assert_int_eq (store_zero (store, 1000, MIB, punch, false), 0);
    assert_bytes (0, 1000, 5);
    assert_bytes (1000, MIB, 0);
    assert_bytes (1000 + MIB, 15 * MIB - 1000, 5);
    ck_assert_int_eq (store_zero (store, 2 * MIB + 5, 100, punch, false), 0);
    assert_bytes (2 * MIB + 4, 1, 5);
    assert_bytes (2 * MIB + 5, 100, 0);
    assert_bytes (2 * MIB + 105, 1, 5);
  }
  ck_assert_int_eq (store_sync (store), 0);
  ck_assert_int_eq (store_extents (store, 512, MIB, note_extent,
                                   &(struct extents){ .end = 512 }),
                    0);
  ck_assert_int_eq (store_extents (store, 0, MIB, note_extent, &extents), 0);
  ck_assert_uint_eq (extents.count, 1);
  ck_assert (!extents.last_hole);

  ck_assert_int_eq (store_zero (store, 0, 16 * MIB - 1, true, false), 0);
  store_close (store);
  store = store_open (&config, &record, message, sizeof message);
  ck_assert_msg (store != NULL, "%s", message);
  ck_assert (record.has_data); /* the last byte */
  store_close (store);
  store = NULL;
  close (loop);
}
END_TEST

/* A volume may leave a part of its device unused, and what is there is not
 * the volume's.
 */
START_TEST (growth_on_a_device)
{
  char device[PATH_BYTES];
  struct store_config config = { .file = device, .meta = meta };
  int loop = make_loop (device, sizeof device);
  uint64_t bytes;

  if (loop == -1)
    return;
  store = store_open (&config, &record, message, sizeof message);
  ck_assert_msg (store != NULL, "%s", message);
  fill (0, 16 * MIB, 5);
  store_close (store);
  unlink (meta);

  config.size = 3 * MIB + 100;
  store = store_open (&config, &record, message, sizeof message);
  ck_assert_msg (store != NULL, "%s", message);
  ck_assert_int_eq (store_grow (store, 16 * MIB + 1, &bytes), -1);
  ck_assert_int_eq (errno, ENOSPC);
  ck_assert_uint_eq (bytes, 16 * MIB);
  ck_assert_int_eq (store_grow (store, 9 * MIB + 7, &bytes), 0);
  ck_assert_uint_eq (store_size (store), 9 * MIB + 7);
  assert_bytes (0, 3 * MIB + 100, 5);
  assert_bytes (3 * MIB + 100, 6 * MIB - 93, 0);
  ck_assert_int_eq (store_grow (store, 16 * MIB, &bytes), 0);
  assert_bytes (9 * MIB, 7 * MIB, 0);

  store_stop_growing (store);
  record.size = 3 * MIB + 100;
  ck_assert_int_eq (store_grow (store, record.size, &bytes), 0);
  ck_assert_int_eq (store_grow (store, 4 * MIB, &bytes), -1);
  ck_assert_int_eq (errno, ECANCELED);
  store_close (store);
  store = NULL;
  close (loop);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("store");
  TCase *tcase = tcase_create ("store");

  tcase_add_checked_fixture (tcase, setup, teardown);
  tcase_add_test (tcase, any_offset_and_length);
  tcase_add_test (tcase, read_past_the_end_is_an_error);
  tcase_add_test (tcase, read_what_is_cached);
  tcase_add_test (tcase, syncs_are_shared);
  tcase_add_test (tcase, zeros_read_back_as_zeros);
  tcase_add_test (tcase, punching_frees_space_and_zeroing_keeps_it);
  tcase_add_test (tcase, extents_have_no_gaps);
  tcase_add_test (tcase, fast_means_no_writing);
  tcase_add_test (tcase, block_device);
  tcase_add_test (tcase, growth_on_a_device);
  tcase_set_timeout (tcase, 30);
  suite_add_tcase (suite, tcase);

  SRunner *runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  int failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
