/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * store.c: the data file or block device, when it is open.
 *
 * Must never decide anything about replication, never take a short read
 * for data, and never say "durable" of what is not.  The metadata is
 * metafile.c's job, durability commit.c's, opening store-open.c's.
 *
 * The data file holds the volume's bytes at their own offsets and nothing
 * else.  Reads and writes of any offset and length go through the page
 * cache; who may write where at a time is decided above (range locks).
 *
 * Long writes are cut at multiples of PIECE.  The page cache keeps what one
 * pwrite brings in one folio as long as that, and a later write of 4 KiB
 * into it walks all its blocks, twice: in a folio of 1 MiB it costs the
 * processor three times what it costs in one of 64 KiB.
 */
#include "store.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fileio.h"
#include "marks.h"
#include "store-internal.h"

enum {
  PIECE = 64 * 1024,
  GROW_PIECE = 256 * 1024 * 1024, /* zeroed between looks at grow_stop */
};

void
store_close (struct store *store)
{
  if (store == NULL)
    return;
  commit_free (store->commit);
  metafile_close (store->meta);
  if (store->fd != -1)
    close (store->fd);
  free (store->map);
  free (store->path);
  free (store->meta_path);
  free (store);
}

uint64_t
store_size (const struct store *store)
{
  return store->size;
}

const uint8_t *
store_map (const struct store *store, uint64_t *bytes)
{
  *bytes = store->map_bytes;
  return store->map;
}

uint32_t
store_bad_pages (const struct store *store)
{
  return store->bad_pages;
}

static bool
is_unsupported (int error)
{
  return error == EOPNOTSUPP || error == ENOSYS || error == ENODEV ||
    error == ENOTTY;
}

/* --- data -------------------------------------------------------------- */

static void
check_range (const struct store *store, uint64_t offset, uint64_t length)
{
  assert (offset <= store->size);
  assert (length <= store->size - offset);
}

/* What was read may be older than what was written and, with
 * durability=flush, answered: an fdatasync has failed.  The core will hear
 * of it from who has waited for that.
 */
static bool
may_be_old (const struct store *store)
{
  int error = commit_error (store->commit);

  if (error != 0)
    errno = error;
  return error != 0;
}

int
store_read (struct store *store, void *buffer, uint64_t offset, uint64_t length)
{
  check_range (store, offset, length);
  if (fileio_read (store->fd, buffer, length, offset) == -1)
    return -1;
  return may_be_old (store) ? -1 : 0;
}

bool
store_read_cached (struct store *store, void *buffer, uint64_t offset,
                   uint64_t length)
{
  const struct iovec iov = { buffer, length };

  check_range (store, offset, length);
  if (atomic_load_explicit (&store->lacks_nowait, memory_order_relaxed))
    return false;
  ssize_t r = preadv2 (store->fd, &iov, 1, (off_t) offset, RWF_NOWAIT);

  if (r == -1 && is_unsupported (errno))
    atomic_store_explicit (&store->lacks_nowait, true, memory_order_relaxed);
  return r >= 0 && (uint64_t) r == length && !may_be_old (store);
}

int
store_write (struct store *store, const void *buffer, uint64_t offset,
             uint64_t length)
{
  const uint8_t *from = buffer;

  check_range (store, offset, length);
  while (length > 0) {
    uint64_t piece = PIECE - offset % PIECE;

    if (piece > length)
      piece = length;
    if (fileio_write (store->fd, from, piece, offset) == -1)
      return -1;
    from += piece;
    offset += piece;
    length -= piece;
  }
  return 0;
}

void
store_begin_writeback (struct store *store, uint64_t offset, uint64_t length)
{
  check_range (store, offset, length);
  /* An error is kept for the fdatasync. */
  if (length > 0) /* 0: "all" */
    sync_file_range (store->fd, (off_t) offset, (off_t) length,
                     SYNC_FILE_RANGE_WRITE);
}

bool
store_is_whole (const struct store *store)
{
  struct stat st;

  return store->is_device || fstat (store->fd, &st) == -1 ||
    (uint64_t) st.st_size >= store->size;
}

int
store_cache (struct store *store, uint64_t offset, uint64_t length)
{
  check_range (store, offset, length);
  if (length == 0) /* the kernel would take it for "all" */
    return 0;
  int error = posix_fadvise (store->fd, (off_t) offset, (off_t) length,
                             POSIX_FADV_WILLNEED);
  if (error == 0)
    return 0;
  errno = error;
  return -1;
}

int
store_sync (struct store *store)
{
  return commit_sync (store->commit);
}

void
store_start_sync (struct store *store, struct commit_waiter *waiter)
{
  commit_start (store->commit, waiter);
}

void
store_on_synced (struct store *store,
                 void (*synced) (void *opaque, struct commit_waiter *list,
                                 int error),
                 void *opaque)
{
  commit_on_done (store->commit, synced, opaque);
}

void
store_sync_counts (struct store *store, uint64_t *syncs, uint64_t *served)
{
  commit_counts (store->commit, syncs, served);
}

void
store_sync_histograms (const struct store *store,
                       struct latency_counts *duration,
                       struct latency_counts *group)
{
  commit_histograms (store->commit, duration, group);
}

/* --- zeros ------------------------------------------------------------- */

static int
zero_by (const struct store *store, enum zero_way way, uint64_t offset,
         uint64_t length)
{
  uint64_t range[2] = { offset, length };
  int r;

  do
    switch (way) {
    case WAY_PUNCH:
      r = fallocate (store->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                     (off_t) offset, (off_t) length);
      break;
    case WAY_RANGE:
      r = fallocate (store->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE,
                     (off_t) offset, (off_t) length);
      break;
    default: r = ioctl (store->fd, BLKZEROOUT, range);
    }
  while (r == -1 && errno == EINTR);
  return r;
}

/* May WAY be tried?  On a device ZERO_RANGE and BLKZEROOUT write zeros when
 * it has no faster way, without telling; punching a hole never does.
 */
static bool
is_wanted (const struct store *store, enum zero_way way, bool punch, bool fast)
{
  switch (way) {
  case WAY_PUNCH: return punch;
  case WAY_RANGE: return !store->is_device || !fast;
  default: return store->is_device && !fast;
  }
}

bool
store_zero_is_fast (const struct store *store, bool punch)
{
  unsigned way;

  for (way = 0; way < WAY_COUNT; way++)
    if (is_wanted (store, way, punch, true) && !store->lacks[way])
      return true;
  return false;
}

/* Without writing, as far as we can tell; -1 and EOPNOTSUPP: no way. */
static int
zero_fast (struct store *store, uint64_t offset, uint64_t length, bool punch,
           bool fast)
{
  for (unsigned i = 0; i < WAY_COUNT; i++) {
    atomic_bool *lacks = &store->lacks[i];

    if (!is_wanted (store, i, punch, fast) ||
        atomic_load_explicit (lacks, memory_order_relaxed))
      continue;
    if (zero_by (store, i, offset, length) == 0)
      return 0;
    if (!is_unsupported (errno))
      return -1;
    atomic_store_explicit (lacks, true, memory_order_relaxed);
  }
  errno = EOPNOTSUPP;
  return -1;
}

/* A device zeroes whole sectors only: the ragged ends are written, after
 * the middle, so that EOPNOTSUPP means that nothing was changed.
 */
static int
zero_device (struct store *store, uint64_t offset, uint64_t length, bool punch,
             bool fast)
{
  uint64_t end = offset + length;
  uint64_t first = offset +
    (store->align - offset % store->align) % store->align;
  uint64_t last = end - end % store->align;

  if (first >= last) {
    if (!fast)
      return fileio_write_zeros (store->fd, length, offset);
    errno = EOPNOTSUPP;
    return -1;
  }
  if (zero_fast (store, first, last - first, punch, fast) == -1 ||
      fileio_write_zeros (store->fd, first - offset, offset) == -1 ||
      fileio_write_zeros (store->fd, end - last, last) == -1)
    return -1;
  return 0;
}

int
store_zero (struct store *store, uint64_t offset, uint64_t length, bool punch,
            bool fast)
{
  check_range (store, offset, length);
  if (length == 0)
    return 0;

  int r = store->is_device ? zero_device (store, offset, length, punch, fast)
                           : zero_fast (store, offset, length, punch, fast);
  if (r == -1 && errno == EOPNOTSUPP && !fast)
    r = fileio_write_zeros (store->fd, length, offset);
  return r;
}

/* --- growth ------------------------------------------------------------ */

/* Behind the volume's end a device has what it had before. */
static int
grow_device (struct store *store, uint64_t size, uint64_t *device_bytes)
{
  uint64_t offset = store->size, length, bytes;

  if (ioctl (store->fd, BLKGETSIZE64, &bytes) == -1)
    return -1;
  if (bytes < size) {
    *device_bytes = bytes;
    errno = ENOSPC;
    return -1;
  }
  for (; offset < size; offset += length) {
    length = size - offset < GROW_PIECE ? size - offset : GROW_PIECE;
    if (store->grow_stop) {
      errno = ECANCELED;
      return -1;
    }
    if (zero_device (store, offset, length, true, false) == -1)
      return -1;
  }
  return 0;
}

int
store_grow (struct store *store, uint64_t size, uint64_t *device_bytes)
{
  const struct gen_record *record = metafile_record (store->meta);
  uint32_t pages = metafile_pages (size, record->region_size);
  int r;

  *device_bytes = 0;
  if (pages == 0) {
    errno = E2BIG;
    return -1;
  }
  /* Never the longer of the two, or store_is_whole would miss something. */
  if (size < store->size)
    store->size = size;
  r = store->is_device ? grow_device (store, size, device_bytes)
                       : ftruncate (store->fd, (off_t) size);
  if (r == -1 || store_sync (store) == -1 ||
      metafile_grow (store->meta, size, store->pages) == -1)
    return -1;
  store->size = size;
  if (store->pages < pages)
    store->pages = pages;
  return 0;
}

void
store_stop_growing (struct store *store)
{
  store->grow_stop = true;
}

/* --- extents ----------------------------------------------------------- */

/* Where the next DATA (or HOLE) at or after OFFSET is, at most END. */
static int
seek (const struct store *store, uint64_t offset, uint64_t end, int whence,
      uint64_t *found)
{
  off_t r = lseek (store->fd, (off_t) offset, whence);

  if (r == -1 && errno == ENXIO)
    *found = end; /* a hole up to the end of the file */
  else if (r == -1)
    return -1;
  else
    *found = (uint64_t) r < end ? (uint64_t) r : end;
  return 0;
}

/* Writes may go on meanwhile: each answer is true of its own moment, and a
 * hole that vanishes between two calls only makes an empty step.
 */
int
store_extents (struct store *store, uint64_t offset, uint64_t length,
               int (*extent) (void *opaque, uint64_t offset, uint64_t length,
                              bool hole),
               void *opaque)
{
  uint64_t end = offset + length;

  check_range (store, offset, length);
  if (store->is_device && length > 0)
    return extent (opaque, offset, length, false);

  while (offset < end) {
    uint64_t data, hole;

    if (seek (store, offset, end, SEEK_DATA, &data) == -1) {
      if (errno != EINVAL && errno != EOPNOTSUPP)
        return -1;
      data = offset; /* no such thing here: all data */
      hole = end;
    }
    else if (data == end)
      hole = end;
    else if (seek (store, data, end, SEEK_HOLE, &hole) == -1)
      return -1;

    if (data > offset && extent (opaque, offset, data - offset, true) == -1)
      return -1;
    if (hole > data && extent (opaque, data, hole - data, false) == -1)
      return -1;
    offset = hole;
  }
  return 0;
}

/* --- metadata ---------------------------------------------------------- */

int
store_save_record (struct store *store, const struct gen_record *record)
{
  assert (record->size <= store->size);
  return metafile_save_record (store->meta, record);
}

int
store_save_pages (struct store *store, uint32_t first, uint32_t count,
                  const uint8_t *bits)
{
  assert ((uint64_t) first + count <= store->pages);
  return metafile_save_pages (store->meta, first, count, bits);
}
