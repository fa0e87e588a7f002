/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * store.h: the data file (or block device) and the metadata file.
 *
 * All calls may block; all are safe from any thread unless said.  They
 * return 0, or -1 with errno.  Messages for users are made at open only;
 * later errors are the caller's to explain.
 */
#ifndef DUET_STORE_H
#define DUET_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "commit.h"
#include "generation.h"
#include "latency.h"

struct store;

struct store_config {
  const char *file; /* data: regular file or block device */
  const char *meta; /* NULL: FILE.duet; a block device needs one */
  uint64_t size;    /* 0: that of an existing file or device, else 256 GiB */
  uint32_t region_size; /* 0: that of an existing volume, else 4 MiB */
};

/* Opens or creates both files, locks them (OFD write lock, or O_EXCL on a
 * device; a second process is refused), reads superblock and map.  *RECORD
 * is what the superblock says, or a blank record with a fresh random node
 * id.  has_data of a blank record is found anew at each open by looking
 * for data in FILE (SEEK_DATA; a block device: any non-zero byte in its
 * first or last MiB), unless the operator has told it to discard.  A new
 * record is made durable before this returns, so that the node id stays.
 * On error NULL and a message for the user in ERROR (what happened, to
 * what, what to do).  Size or region size that differ from the
 * superblock's: an error, but for a size that the volume had before it has
 * grown.  The volume on a device may be smaller than the device; a file has
 * exactly the volume's size: what a growth that was not finished has added
 * is cut off (and RECORD says no more that one was begun).
 */
struct store *store_open (const struct store_config *config,
                          struct gen_record *record, char *error,
                          size_t error_size);
void store_close (struct store *store);

/* Before store_close, when the start is refused for another reason: remove
 * the files that this store_open has created, and take back the growth of
 * one that was there.  Not once anything was written.
 */
void store_undo (struct store *store);

/* Bytes that the files are ready for; at first the volume's size. */
uint64_t store_size (const struct store *store);
/* The region map as read at open, marks_map layout; bytes in *BYTES. */
const uint8_t *store_map (const struct store *store, uint64_t *bytes);
/* How many map pages failed their check at open (they count as all ones). */
uint32_t store_bad_pages (const struct store *store);

/* -1 with errno: it cannot be read, or an fdatasync has failed, after which
 * the page cache may lack what was written.
 */
int store_read (struct store *store, void *buffer, uint64_t offset,
                uint64_t length);
/* The same if it need not wait for the disk; false: it would have to, or
 * cannot be known, or an error stands in the way: ask store_read.
 */
bool store_read_cached (struct store *store, void *buffer, uint64_t offset,
                        uint64_t length);
int store_write (struct store *store, const void *buffer, uint64_t offset,
                 uint64_t length);
/* The disk may begin to write what store_write has written there; only to
 * save time in the store_sync that follows.
 */
void store_begin_writeback (struct store *store, uint64_t offset,
                            uint64_t length);
/* Zeros; PUNCH frees the space where the file system can, else they stay
 * allocated if possible; falls back to writing zeros.  FAST: fail with
 * EOPNOTSUPP rather than write zeros.
 */
int store_zero (struct store *store, uint64_t offset, uint64_t length,
                bool punch, bool fast);

/* As far as is known by now, would store_zero do without writing zeros? */
bool store_zero_is_fast (const struct store *store, bool punch);

/* Is the data file still as long as the volume?  Nobody but us should
 * change it; what a shorter one is extended by at the next write behind
 * its end is not what it held.
 */
bool store_is_whole (const struct store *store);

/* Make both files ready for a volume of SIZE bytes, which is no less than the
 * volume has now: the data file gets that length (an unfinished growth to
 * more is cut off), what is added reads as zeros, and so do the new pages of
 * the region map; durable at return.  On a device that may take as long as
 * writing so much.  -1 with errno; ENOSPC with *DEVICE_BYTES above 0: the
 * device is too small; E2BIG: the region map would be too large; ECANCELED:
 * store_stop_growing was called.  One caller at a time.
 */
int store_grow (struct store *store, uint64_t size, uint64_t *device_bytes);
void store_stop_growing (struct store *store);

/* Group commit: everything written before the call is durable at the
 * return.  One fdatasync serves all that wrote before it began; a caller
 * whose write came too late for the running one waits for exactly one
 * more.  Once an fdatasync has failed every later call fails with the
 * same errno: never retry an fsync and believe it.
 */
int store_sync (struct store *store);
/* The same without sleeping for an fdatasync that another caller does: see
 * commit_start, commit_on_done.
 */
void store_start_sync (struct store *store, struct commit_waiter *waiter);
void store_on_synced (struct store *store,
                      void (*synced) (void *opaque, struct commit_waiter *list,
                                      int error),
                      void *opaque);
/* For counters: fdatasyncs begun, and callers served by them. */
void store_sync_counts (struct store *store, uint64_t *syncs, uint64_t *served);
/* As commit_histograms. */
void store_sync_histograms (const struct store *store,
                            struct latency_counts *duration,
                            struct latency_counts *group);

/* Calls EXTENT for each extent in the range, in order, without gaps. */
int store_extents (struct store *store, uint64_t offset, uint64_t length,
                   int (*extent) (void *opaque, uint64_t offset,
                                  uint64_t length, bool hole),
                   void *opaque);
/* Ask the kernel to read ahead (posix_fadvise). */
int store_cache (struct store *store, uint64_t offset, uint64_t length);

/* Write RECORD into the older slot and make it durable.  One caller at a
 * time (guarded inside).
 */
int store_save_record (struct store *store, const struct gen_record *record);
/* Write COUNT map pages from FIRST on; BITS are their bits one after the
 * other; durable at return.
 */
int store_save_pages (struct store *store, uint32_t first, uint32_t count,
                      const uint8_t *bits);

#endif /* DUET_STORE_H */
