/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-store.h: what the two test programs of the store share: a folder
 * for each test, an open store, and words about files.
 */
#ifndef DUET_CHECK_STORE_H
#define DUET_CHECK_STORE_H

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store.h"

enum {
  KIB = 1024,
  MIB = 1024 * KIB,
  PATH_BYTES = 256,
  MESSAGE_BYTES = 512,
};

static char folder[PATH_BYTES - 32];
static char file[PATH_BYTES];
static char meta[PATH_BYTES];
static char message[MESSAGE_BYTES];
static struct gen_record record;
static struct store *store;

static inline void
make_folder (const char *parent)
{
  snprintf (folder, sizeof folder, "%s/check-store-XXXXXX", parent);
  ck_assert_ptr_nonnull (mkdtemp (folder));
  snprintf (file, sizeof file, "%s/disk.img", folder);
  snprintf (meta, sizeof meta, "%s/disk.img.duet", folder);
}

static inline void
setup (void)
{
  const char *parent = getenv ("TMPDIR");

  make_folder (parent != NULL ? parent : "/tmp");
}

static inline void
teardown (void)
{
  char other[PATH_BYTES];

  store_close (store);
  store = NULL;
  snprintf (other, sizeof other, "%s/other", folder);
  unlink (other);
  unlink (meta);
  unlink (file);
  ck_assert_int_eq (rmdir (folder), 0);
}

static inline struct store *
try_open (uint64_t size, uint32_t region_size)
{
  struct store_config config = {
    .file = file,
    .size = size,
    .region_size = region_size,
  };

  return store_open (&config, &record, message, sizeof message);
}

static inline void
must_open (uint64_t size)
{
  ck_assert_ptr_null (store);
  store = try_open (size, 0);
  ck_assert_msg (store != NULL, "%s", message);
}

static inline void
reopen (void)
{
  store_close (store);
  store = NULL;
  must_open (0);
}

/* It is refused, with each of these words. */
static inline void
refused (uint64_t size, uint32_t region_size, const char *word,
         const char *other_word)
{
  ck_assert_ptr_null (try_open (size, region_size));
  ck_assert_msg (strstr (message, word) != NULL, "%s", message);
  ck_assert_msg (strstr (message, other_word) != NULL, "%s", message);
}

static inline void
write_file (const char *path, uint64_t offset, const void *bytes, size_t length)
{
  int fd = open (path, O_RDWR | O_CREAT, 0600);

  ck_assert_int_ne (fd, -1);
  ck_assert_int_eq (pwrite (fd, bytes, length, (off_t) offset),
                    (ssize_t) length);
  close (fd);
}

static inline uint64_t
file_bytes (const char *path)
{
  struct stat st;

  ck_assert_int_eq (stat (path, &st), 0);
  return (uint64_t) st.st_size;
}

static inline uint64_t
allocated_bytes (void)
{
  struct stat st;

  ck_assert_int_eq (stat (file, &st), 0);
  return (uint64_t) st.st_blocks * 512;
}

static inline bool
exists (const char *path)
{
  return access (path, F_OK) == 0;
}

static inline bool
all (const uint8_t *bytes, uint64_t length, uint8_t value)
{
  for (uint64_t i = 0; i < length; i++)
    if (bytes[i] != value)
      return false;
  return true;
}

/* Every byte of the range is VALUE. */
static inline void
assert_bytes (uint64_t offset, uint64_t length, uint8_t value)
{
  uint8_t *buffer = malloc (length);

  ck_assert_ptr_nonnull (buffer);
  ck_assert_int_eq (store_read (store, buffer, offset, length), 0);
  ck_assert (all (buffer, length, value));
  free (buffer);
}

static inline void
fill (uint64_t offset, uint64_t length, uint8_t value)
{
  uint8_t *buffer = malloc (length);

  ck_assert_ptr_nonnull (buffer);
  memset (buffer, value, length);
  ck_assert_int_eq (store_write (store, buffer, offset, length), 0);
  free (buffer);
}

#endif /* DUET_CHECK_STORE_H */
