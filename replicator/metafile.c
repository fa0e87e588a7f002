/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * metafile.c: the metadata file.
 *
 * Must never write a file that it does not hold the lock of, nor one
 * that holds something it does not understand, and must never overwrite
 * the slot that holds the newest superblock.
 *
 * Creation is safe against a crash at any point, because the superblock
 * comes last: a file without one is created again.  The map is written
 * before the first superblock, so an all-zero map page of a volume that
 * has a superblock was lost, and counts as all ones like any other page
 * that fails its check.
 *
 * All blocks are written once at creation, and those of a larger volume when
 * it grows.  Later writes find them allocated, so that their fdatasync has no
 * file system metadata to write and no reason to fail for lack of space.
 */
#include "metafile.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fileio.h"
#include "marks.h"

struct metafile {
  int fd;
  char *path;
  bool is_new;              /* constant after metafile_format */
  struct gen_record record; /* as read at open, or formatted */

  /* Guards what follows, and is held across the write and its fdatasync:
   * two fdatasyncs of one open file at a time would share one report of a
   * failed writeback, and one of them would believe it had succeeded.
   * Saves are rare.
   */
  pthread_mutex_t lock;
  int error;                 /* of the first failed sync, for ever */
  uint64_t sequence;         /* of the newest superblock */
  unsigned slot;             /* that holds it */
  uint8_t buffer[META_PAGE]; /* a slot or a page on its way out */
};

_Static_assert((int) META_SLOT <= (int) META_PAGE, "the buffer holds either");

/* What a user can do about a superblock that does not open. */
static const char *
advice (enum meta_reason reason)
{
  switch (reason) {
  case META_BAD_MAGIC:
    return "choose another file with meta=, or remove this one";
  case META_BAD_VERSION: return "use the version of duet that wrote it";
  default:
    return "both superblocks are unusable: restore the file, or remove it "
           "to start this node blank and resync it from its peer";
  }
}

static int
read_slots (struct metafile *meta, char *error, size_t error_size)
{
  uint8_t slots[META_SLOTS * META_SLOT] = { 0 };
  struct stat st;

  /* A superblock that the last run could not make durable must not be
   * read back from the page cache as if it were.  If this sync fails, or
   * an earlier one did, it is not there.
   */
  fileio_sync (meta->fd);
  if (fstat (meta->fd, &st) == 0)
    fileio_forget (meta->fd, 0, (uint64_t) st.st_size);
  if (fileio_read_up_to (meta->fd, slots, sizeof slots, 0) == -1) {
    snprintf (error, error_size, "%s: cannot read the superblock: %m",
              meta->path);
    return -1;
  }

  enum meta_reason reason = meta_newest (slots, &meta->record, &meta->sequence,
                                         &meta->slot);
  if (reason == META_EMPTY) {
    meta->is_new = true;
    meta->slot = META_SLOTS - 1; /* so that slot 0 comes first */
    return 0;
  }
  if (reason != META_OK) {
    snprintf (error, error_size, "%s: %s; %s", meta->path,
              meta_reason_text (reason), advice (reason));
    errno = EINVAL;
    return -1;
  }
  return 0;
}

/* Lock what was opened and see that it is a file that we may use. */
static int
check_file (struct metafile *meta, char *error, size_t error_size)
{
  struct stat st;

  if (fstat (meta->fd, &st) == -1) {
    snprintf (error, error_size, "%s: %m", meta->path);
    return -1;
  }
  if (!S_ISREG (st.st_mode)) {
    snprintf (error, error_size,
              "%s: the metadata must be a regular file; "
              "choose one with meta=",
              meta->path);
    errno = EINVAL;
    return -1;
  }
  if (fileio_lock (meta->fd, 0, 0) == -1) {
    if (errno == EBUSY)
      snprintf (error, error_size,
                "%s is in use by another process: "
                "is a node running on this file already?",
                meta->path);
    else
      snprintf (error, error_size, "%s: cannot lock the file: %m", meta->path);
    return -1;
  }
  return 0;
}

struct metafile *
metafile_open (const char *path, bool create, char *error, size_t error_size)
{
  int flags = create ? O_RDWR | O_CREAT | O_EXCL : O_RDWR;
  int fd = open (path, flags | O_CLOEXEC | O_NOCTTY, 0600);

  if (fd == -1) {
    if (errno == EEXIST)
      snprintf (error, error_size,
                "%s: another process has just created "
                "it: is a second node starting on this file?",
                path);
    else if (create || errno != ENOENT)
      snprintf (error, error_size, "%s: cannot open the metadata file: %m",
                path);
    return NULL;
  }

  struct metafile *meta = calloc (1, sizeof *meta);
  if (meta == NULL) {
    snprintf (error, error_size, "%s: %m", path);
    close (fd);
    return NULL;
  }
  meta->fd = fd;
  pthread_mutex_init (&meta->lock, NULL);
  meta->path = strdup (path);
  if (meta->path == NULL)
    snprintf (error, error_size, "%s: %m", path);
  else if (check_file (meta, error, error_size) == 0 &&
           read_slots (meta, error, error_size) == 0)
    return meta;

  int saved = errno;
  if (create && saved != EBUSY) /* then it is another process's */
    unlink (path);
  metafile_close (meta);
  errno = saved;
  return NULL;
}

void
metafile_close (struct metafile *meta)
{
  if (meta == NULL)
    return;
  close (meta->fd);
  pthread_mutex_destroy (&meta->lock);
  free (meta->path);
  free (meta);
}

bool
metafile_is_new (const struct metafile *meta)
{
  return meta->is_new;
}

bool
metafile_is (const struct metafile *meta, int fd)
{
  struct stat mine, other;

  return fd != -1 && fstat (meta->fd, &mine) == 0 && fstat (fd, &other) == 0 &&
    mine.st_dev == other.st_dev && mine.st_ino == other.st_ino;
}

const struct gen_record *
metafile_record (const struct metafile *meta)
{
  assert (!meta->is_new);
  return &meta->record;
}

static uint64_t
regions (uint64_t size, uint32_t region_size)
{
  return size / region_size + (size % region_size != 0);
}

uint32_t
metafile_pages (uint64_t size, uint32_t region_size)
{
  const uint64_t page_regions = (uint64_t) MARKS_PAGE_BYTES * 8;
  uint64_t count = regions (size, region_size);
  uint64_t pages = count / page_regions + (count % page_regions != 0);

  return pages <= METAFILE_PAGES_MAX ? (uint32_t) pages : 0;
}

static uint64_t
page_offset (uint32_t page)
{
  return META_MAP_OFFSET + (uint64_t) page * META_PAGE;
}

bool
metafile_may_format (const struct metafile *meta, uint64_t size,
                     uint32_t region_size)
{
  struct stat st;

  assert (meta->is_new);
  return fstat (meta->fd, &st) == 0 &&
    (uint64_t) st.st_size <= page_offset (metafile_pages (size, region_size));
}

/* Empty map pages from FIRST on, up to PAGES; their blocks are allocated. */
static int
write_empty_pages (struct metafile *meta, uint32_t first, uint32_t pages)
{
  static const uint8_t no_bits[MARKS_PAGE_BYTES];

  if (fallocate (meta->fd, 0, 0, (off_t) page_offset (pages)) == -1 &&
      errno != EOPNOTSUPP && errno != ENOSYS)
    return -1;
  for (uint32_t i = first; i < pages; i++) {
    meta_encode_page (i, no_bits, meta->buffer);
    if (fileio_write (meta->fd, meta->buffer, META_PAGE, page_offset (i)) == -1)
      return -1;
  }
  return 0;
}

static int
write_empty_map (struct metafile *meta, uint32_t pages)
{
  if (write_empty_pages (meta, 0, pages) == -1 ||
      fileio_write_zeros (meta->fd, META_MAP_OFFSET, 0) == -1)
    return -1;
  return fsync (meta->fd);
}

int
metafile_format (struct metafile *meta, const struct gen_record *record)
{
  uint32_t pages = metafile_pages (record->size, record->region_size);

  assert (meta->is_new);
  assert (pages > 0);
  if (write_empty_map (meta, pages) == -1 ||
      fileio_sync_folder (meta->path) == -1 ||
      metafile_save_record (meta, record) == -1)
    return -1;
  meta->record = *record;
  meta->is_new = false;
  return 0;
}

/* Bits past the last region are no regions: zeros, whatever the page
 * says (all ones after a failed check).
 */
static void
clear_tail (uint8_t *map, uint64_t map_bytes, uint64_t used)
{
  for (uint64_t i = used; i < map_bytes * 8 && i % 8 != 0; i++)
    map[i / 8] &= (uint8_t) ~(1U << i % 8);
  uint64_t first = used / 8 + (used % 8 != 0);
  memset (map + first, 0, map_bytes - first);
}

/* A page that was never written; here: one that was lost. */
static bool
is_zero_page (const uint8_t page[META_PAGE])
{
  return page[0] == 0 && memcmp (page, page + 1, META_PAGE - 1) == 0;
}

int
metafile_load_map (struct metafile *meta, uint8_t **map, uint64_t *map_bytes,
                   uint32_t *bad_pages)
{
  const struct gen_record *record = metafile_record (meta);
  uint32_t pages = metafile_pages (record->size, record->region_size);

  assert (pages > 0);
  *map_bytes = (uint64_t) pages * MARKS_PAGE_BYTES;
  *bad_pages = 0;
  *map = malloc (*map_bytes);
  if (*map == NULL)
    return -1;

  for (uint32_t i = 0; i < pages; i++) {
    uint8_t page[META_PAGE] = { 0 };
    uint8_t *bits = *map + (size_t) i * MARKS_PAGE_BYTES;
    bool was_read = fileio_read (meta->fd, page, META_PAGE, page_offset (i)) ==
      0;

    if (!was_read || !meta_decode_page (i, page, bits) || is_zero_page (page)) {
      memset (bits, 0xff, MARKS_PAGE_BYTES);
      ++*bad_pages;
    }
  }
  clear_tail (*map, *map_bytes, regions (record->size, record->region_size));
  return 0;
}

/* Lock held: the error that every save ends with, 0: none. */
static int
failed (const struct metafile *meta)
{
  if (meta->error == 0)
    return 0;
  errno = meta->error;
  return -1;
}

/* Lock held.  An interrupted fdatasync has not failed. */
static int
sync_locked (struct metafile *meta)
{
  while (fdatasync (meta->fd) == -1)
    if (errno != EINTR) {
      meta->error = errno;
      return -1;
    }
  return 0;
}

/* Lock held.  When the write fails the newest slot is still whole, and the
 * next save tries the same slot again.
 */
static int
save_record_locked (struct metafile *meta, const struct gen_record *record)
{
  unsigned slot = (meta->slot + 1) % META_SLOTS;

  meta_encode (record, meta->sequence + 1, meta->buffer);
  if (fileio_write (meta->fd, meta->buffer, META_SLOT,
                    (uint64_t) slot * META_SLOT) == -1 ||
      sync_locked (meta) == -1)
    return -1;
  meta->sequence++;
  meta->slot = slot;
  return 0;
}

int
metafile_save_record (struct metafile *meta, const struct gen_record *record)
{
  pthread_mutex_lock (&meta->lock);
  int r = failed (meta);
  if (r == 0)
    r = save_record_locked (meta, record);
  pthread_mutex_unlock (&meta->lock);
  return r;
}

static int
save_pages_locked (struct metafile *meta, uint32_t first, uint32_t count,
                   const uint8_t *bits)
{
  for (uint32_t i = 0; i < count; i++) {
    meta_encode_page (first + i, bits + (size_t) i * MARKS_PAGE_BYTES,
                      meta->buffer);
    if (fileio_write (meta->fd, meta->buffer, META_PAGE,
                      page_offset (first + i)) == -1)
      return -1;
  }
  return sync_locked (meta);
}

int
metafile_save_pages (struct metafile *meta, uint32_t first, uint32_t count,
                     const uint8_t *bits)
{
  pthread_mutex_lock (&meta->lock);
  int r = failed (meta);
  if (r == 0)
    r = save_pages_locked (meta, first, count, bits);
  pthread_mutex_unlock (&meta->lock);
  return r;
}

int
metafile_grow (struct metafile *meta, uint64_t size, uint32_t first)
{
  uint32_t pages = metafile_pages (size, meta->record.region_size);

  assert (pages > 0);
  pthread_mutex_lock (&meta->lock);
  int r = failed (meta);
  if (r == 0 && first < pages)
    r = write_empty_pages (meta, first, pages);
  if (r == 0 && first < pages)
    r = sync_locked (meta);
  pthread_mutex_unlock (&meta->lock);
  return r;
}
