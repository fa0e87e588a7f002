/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * store-open.c: opens or creates a volume's two files.
 *
 * Must never change a file before it is sure that the file is meant and
 * that no other process uses it, and must never leave the user without a
 * sentence that says what to do.
 *
 * A second process is kept out twice: by the metadata file's lock, and
 * (should somebody give the same data another metadata file) by a lock of
 * one byte far behind the end of a data file, or O_EXCL on a device.
 *
 * What the last run left in the page cache need not be on the disk: see
 * forget_doubtful.
 *
 * A start that is refused leaves no files behind (store_undo).
 *
 * A growth that was begun and not finished is taken back (cut_back): nothing
 * was ever written behind the end that the superblock tells.
 *
 * A volume is new until its first superblock is durable, and that is
 * written last: whatever a crash leaves of a creation is created again.
 */
#include "store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fileio.h"
#include "store-internal.h"

#define DEFAULT_SIZE        (UINT64_C (256) << 30)
#define DEFAULT_REGION_SIZE (UINT32_C (4) << 20)
#define LOCK_BYTE           ((uint64_t) INT64_MAX - 1)

enum {
  PROBE = 1024 * 1024, /* bytes of a device's ends looked at */
  DEVICE_ALIGN = 4096, /* least alignment for zeroing a device */
};

/* Where to put a message for the user. */
struct message {
  char *text;
  size_t size;
};

static int refuse (const struct message *message, int error, const char *format,
                   ...) __attribute__ ((format (printf, 3, 4)));

/* Puts the message and errno; always -1. */
static int
refuse (const struct message *message, int error, const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vsnprintf (message->text, message->size, format, args);
  va_end (args);
  errno = error;
  return -1;
}

/* A file could not be opened. */
static int
refuse_access (const struct message *message, const char *path)
{
  if (errno == EACCES || errno == EPERM || errno == EROFS)
    return refuse (message, errno,
                   "%s: %m: the node needs read and write access to it", path);
  return refuse (message, errno, "%s: %m", path);
}

static int
probe_device (struct store *store, const struct message *message)
{
  int sector;

  if (ioctl (store->fd, BLKGETSIZE64, &store->file_size) == -1 ||
      ioctl (store->fd, BLKSSZGET, &sector) == -1)
    return refuse (message, errno, "%s: cannot ask the device for its size: %m",
                   store->path);
  store->is_device = true;
  store->align = sector > DEVICE_ALIGN ? (uint64_t) sector : DEVICE_ALIGN;
  return 0;
}

/* Opens the data if it is there; FD stays -1 if it is not. */
static int
open_data (struct store *store, const struct message *message)
{
  struct stat st;

  if (stat (store->path, &st) == -1) {
    if (errno == ENOENT)
      return 0;
    return refuse_access (message, store->path);
  }
  if (!S_ISREG (st.st_mode) && !S_ISBLK (st.st_mode))
    return refuse (message, EINVAL,
                   "%s: file= must be a regular file or a block device",
                   store->path);

  /* Without O_CREAT, O_EXCL on a device refuses one that is mounted, or
   * that somebody else has opened so.
   */
  int flags = S_ISBLK (st.st_mode) ? O_RDWR | O_EXCL : O_RDWR;
  store->fd = open (store->path, flags | O_CLOEXEC | O_NOCTTY);
  if (store->fd == -1 && errno == EBUSY)
    return refuse (message, EBUSY,
                   "%s is in use by another process, or mounted", store->path);
  if (store->fd == -1 || fstat (store->fd, &st) == -1)
    return refuse_access (message, store->path);
  if (S_ISBLK (st.st_mode))
    return probe_device (store, message);
  store->file_size = store->old_size = (uint64_t) st.st_size;
  return 0;
}

static int
lock_data (struct store *store, const struct message *message)
{
  if (store->is_device || fileio_lock (store->fd, LOCK_BYTE, 1) == 0)
    return 0;
  if (errno == EBUSY)
    return refuse (message, EBUSY,
                   "%s is in use by another process: is a node running "
                   "on it already, with other metadata?",
                   store->path);
  return refuse (message, errno, "%s: cannot lock the file: %m", store->path);
}

/* A volume that has metadata: does all fit together? */
static int
check_known (const struct store *store, const struct store_config *config,
             const struct gen_record *record, const struct message *message)
{
  if (store->fd == -1)
    return refuse (message, ENOENT,
                   "%s is not there, but its metadata is: restore it, or "
                   "remove the metadata to start this node blank and "
                   "resync it from its peer",
                   store->path);
  if (config->size > record->size)
    return refuse (message, EINVAL,
                   "size=%" PRIu64 ", but %s has size %" PRIu64
                   "; leave out size=; when both nodes run, duetctl resize "
                   "makes the volume larger",
                   config->size, store->path, record->size);
  if (config->size != 0 && config->size != record->size &&
      (record->made_size == 0 || config->size < record->made_size))
    return refuse (message, EINVAL,
                   "size=%" PRIu64 ", but %s was made with size %" PRIu64
                   "; leave out size=",
                   config->size, store->path,
                   record->made_size != 0 ? record->made_size : record->size);
  if (config->region_size != 0 && config->region_size != record->region_size)
    return refuse (message, EINVAL,
                   "region=%" PRIu32 ", but %s was made with region %" PRIu32
                   "; leave out region=",
                   config->region_size, store->path, record->region_size);
  if (store->file_size < record->size ||
      (!store->is_device && store->file_size > record->size &&
       store->file_size > record->grow_to))
    return refuse (message, EINVAL,
                   "%s has %" PRIu64 " bytes, but its metadata says %" PRIu64
                   ": it was changed from outside; restore it, or remove "
                   "the metadata to start this node blank",
                   store->path, store->file_size, record->size);
  if (metafile_pages (record->size, record->region_size) == 0)
    return refuse (message, EFBIG,
                   "%s: the metadata describes too large a region map",
                   store->path);
  return 0;
}

/* The size of a volume that is new. */
static int
choose_size (const struct store *store, const struct store_config *config,
             uint64_t *size, const struct message *message)
{
  *size = config->size != 0 ? config->size
    : store->file_size != 0 ? store->file_size
                            : DEFAULT_SIZE;

  if (store->is_device && *size > store->file_size)
    return refuse (message, EINVAL,
                   "size=%" PRIu64 ", but the device %s has only %" PRIu64
                   " bytes",
                   *size, store->path, store->file_size);
  if (!store->is_device && *size < store->file_size)
    return refuse (message, EINVAL,
                   "size=%" PRIu64 ", but %s has %" PRIu64
                   " bytes already; leave out size=, or make the file "
                   "smaller yourself",
                   *size, store->path, store->file_size);
  if (*size > INT64_MAX)
    return refuse (message, EFBIG, "size=%" PRIu64 " is too large", *size);
  return 0;
}

/* Creates a data file, or extends one, sparse; durable at return. */
static int
make_data (struct store *store, uint64_t size, const struct message *message)
{
  bool missing = store->fd == -1;

  if (missing) {
    store->fd = open (store->path,
                      O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0600);
    if (store->fd == -1)
      return refuse (message, errno, "%s: cannot create the file: %m",
                     store->path);
  }
  if (lock_data (store, message) == -1)
    return -1;
  store->created = missing;
  if (store->is_device || size == store->file_size)
    return 0;
  if (ftruncate (store->fd, (off_t) size) == -1)
    return refuse (message, errno,
                   "%s: cannot make a file of %" PRIu64 " bytes: %m",
                   store->path, size);
  store->file_size = size;
  if (fsync (store->fd) == -1 || fileio_sync_folder (store->path) == -1)
    return refuse (message, errno, "%s: %m", store->path);
  return 0;
}

static bool
is_zero (const uint8_t *bytes, uint64_t length)
{
  return length == 0 ||
    (bytes[0] == 0 && memcmp (bytes, bytes + 1, length - 1) == 0);
}

/* Is anything in the data already?  1, 0, or -1 with errno. */
static int
has_data (const struct store *store, uint64_t size)
{
  if (store->created)
    return 0;
  if (!store->is_device) {
    off_t data = lseek (store->fd, 0, SEEK_DATA);
    if (data == -1 && errno == ENXIO)
      return 0;
    return data == -1 || (uint64_t) data < size;
  }

  uint64_t length = size < PROBE ? size : PROBE;
  uint8_t *buffer = malloc (length);
  if (buffer == NULL)
    return -1;
  int r = -1;
  if (fileio_read (store->fd, buffer, length, 0) == 0)
    r = !is_zero (buffer, length);
  if (r == 0) {
    r = -1;
    if (fileio_read (store->fd, buffer, length, size - length) == 0)
      r = !is_zero (buffer, length);
  }
  free (buffer);
  return r;
}

static int
new_node_id (uint64_t *id)
{
  do
    if (getrandom (id, sizeof *id, 0) != (ssize_t) sizeof *id && errno != EINTR)
      return -1;
  while (*id == 0);
  return 0;
}

/* First start: create what is missing, then the metadata. */
static int
make_volume (struct store *store, const struct store_config *config,
             const char *meta_path, struct gen_record *record,
             const struct message *message)
{
  uint64_t size;

  *record = (struct gen_record){
    .region_size = config->region_size != 0 ? config->region_size
                                            : DEFAULT_REGION_SIZE,
    .data = DATA_BLANK,
  };
  if (!meta_is_region_size (record->region_size))
    return refuse (message, EINVAL,
                   "region=%" PRIu32 " is not a power of two from 256K to 1G",
                   record->region_size);
  if (choose_size (store, config, &size, message) == -1)
    return -1;
  record->size = size;
  if (metafile_pages (size, record->region_size) == 0)
    return refuse (message, EFBIG,
                   "size=%" PRIu64
                   " needs too large a region map; choose a larger region=",
                   size);

  if (store->meta == NULL) {
    store->meta = metafile_open (meta_path, true, message->text, message->size);
    if (store->meta == NULL)
      return -1;
    if (!metafile_is_new (store->meta))
      return refuse (message, EBUSY, "%s: another process has just created it",
                     meta_path);
    store->meta_created = true;
  }
  if (!metafile_may_format (store->meta, size, record->region_size))
    return refuse (message, EINVAL,
                   "%s has no superblock, but is too large for metadata that "
                   "was never finished: choose another file with meta=, or "
                   "remove this one",
                   meta_path);
  if (make_data (store, size, message) == -1)
    return -1;

  int found = has_data (store, size);
  if (found == -1)
    return refuse (message, errno, "%s: %m", store->path);
  record->has_data = found == 1;
  if (new_node_id (&record->node) == -1)
    return refuse (message, errno, "cannot get random numbers: %m");
  if (metafile_format (store->meta, record) == -1)
    return refuse (message, errno, "%s: cannot create the metadata: %m",
                   meta_path);
  return 0;
}

/* A growth was begun, and its size not recorded: the file is as long as that
 * crash has left it.
 */
static int
cut_back (struct store *store, struct gen_record *record,
          const struct message *message)
{
  record->grow_to = 0;
  if (store->is_device || store->file_size == record->size)
    return 0;
  if (ftruncate (store->fd, (off_t) record->size) == -1 ||
      fsync (store->fd) == -1)
    return refuse (message, errno,
                   "%s: cannot take back a growth that was not finished: %m",
                   store->path);
  store->file_size = record->size;
  return 0;
}

/* Later starts. */
static int
load_volume (struct store *store, const struct store_config *config,
             struct gen_record *record, const struct message *message)
{
  *record = *metafile_record (store->meta);
  if (check_known (store, config, record, message) == -1 ||
      lock_data (store, message) == -1 ||
      cut_back (store, record, message) == -1)
    return -1;

  /* A blank node's file may have been filled or emptied since. */
  if (record->data == DATA_BLANK && !record->discard) {
    int found = has_data (store, record->size);
    if (found == -1)
      return refuse (message, errno, "%s: %m", store->path);
    record->has_data = found == 1;
  }
  return 0;
}

/* After a failed fdatasync the page cache holds what the disk does not,
 * and calls it clean.  If that were read, a comparison with the peer would
 * find copies equal that differ (I4).  The last run has forgotten what it
 * could when it saw the failure (commit.c), and noted it if it could; one
 * that came after, or that nobody saw, is told to the first fdatasync of
 * the next who opens the file: to ours.  Either way only those regions are
 * in doubt whose bit is set (I5): everywhere else the data was durable
 * before the bit was cleared.  So this costs what is cached of them,
 * whatever the volume's size, and nothing after an ordinary end or crash.
 */
static void
forget_doubtful (const struct store *store, const struct gen_record *record)
{
  uint64_t regions = store->map_bytes * 8, i = 0, first, end;

  if (fileio_sync (store->fd) == 0 && record->data != DATA_FAILED)
    return;
  while (i < regions) {
    if (store->map[i / 8] >> (i % 8) == 0) {
      i += 8 - i % 8;
      continue;
    }
    while (!(store->map[i / 8] >> (i % 8) & 1))
      i++;
    first = i * record->region_size;
    while (i < regions && store->map[i / 8] >> (i % 8) & 1)
      i++;
    end = i * record->region_size;
    if (first >= store->size)
      return;
    fileio_forget (store->fd, first,
                   (end < store->size ? end : store->size) - first);
  }
}

/* Both files are locked by us, or were made by us a moment ago.  Whatever
 * remains is no volume, and would be created again.
 */
void
store_undo (struct store *store)
{
  int saved = errno, r = 0;

  if (store->meta_created)
    unlink (store->meta_path);
  if (store->created)
    unlink (store->path);
  else if (store->meta_created && !store->is_device &&
           store->file_size > store->old_size)
    r = ftruncate (store->fd, (off_t) store->old_size);
  (void) r; /* if it stays longer, then by zeros */
  errno = saved;
}

static int
open_volume (struct store *store, const struct store_config *config,
             struct gen_record *record, const struct message *message)
{
  const char *meta_path = store->meta_path;

  if (open_data (store, message) == -1)
    return -1;
  if (store->is_device && config->meta == NULL)
    return refuse (message, EINVAL,
                   "%s is a block device: say with meta= where its metadata "
                   "goes, on a disk that stays",
                   store->path);

  store->meta = metafile_open (meta_path, false, message->text, message->size);
  if (store->meta == NULL && errno != ENOENT)
    return -1;
  if (strcmp (meta_path, store->path) == 0 ||
      (store->meta != NULL && metafile_is (store->meta, store->fd)))
    return refuse (message, EINVAL,
                   "%s: file= and meta= must not be the same file",
                   store->path);
  int r = store->meta == NULL || metafile_is_new (store->meta)
    ? make_volume (store, config, meta_path, record, message)
    : load_volume (store, config, record, message);
  if (r == -1)
    return -1;

  store->size = record->size;
  store->commit = commit_new (store->fd);
  if (store->commit == NULL ||
      metafile_load_map (store->meta, &store->map, &store->map_bytes,
                         &store->bad_pages) == -1)
    return refuse (message, errno, "%s: %m", store->path);
  store->pages = (uint32_t) (store->map_bytes / MARKS_PAGE_BYTES);
  forget_doubtful (store, record);
  return 0;
}

struct store *
store_open (const struct store_config *config, struct gen_record *record,
            char *error, size_t error_size)
{
  const struct message message = { error, error_size };
  struct store *store = calloc (1, sizeof *store);
  int r = -1;

  if (error_size > 0)
    error[0] = '\0';
  if (store == NULL) {
    refuse (&message, ENOMEM, "out of memory");
    return NULL;
  }
  store->fd = -1;
  store->path = strdup (config->file);
  if (asprintf (&store->meta_path, "%s%s",
                config->meta != NULL ? config->meta : config->file,
                config->meta != NULL ? "" : ".duet") == -1)
    store->meta_path = NULL;
  if (store->path == NULL || store->meta_path == NULL)
    refuse (&message, ENOMEM, "out of memory");
  else
    r = open_volume (store, config, record, &message);
  if (r == 0)
    return store;

  int saved = errno;
  store_undo (store);
  store_close (store);
  errno = saved;
  return NULL;
}
