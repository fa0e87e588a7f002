/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * metafile.h: the metadata file: lock, superblock slots, region map.
 *
 * A small part of store.c's job, for store.c only.  Bytes are meta.c's.
 */
#ifndef DUET_METAFILE_H
#define DUET_METAFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "generation.h"
#include "meta.h"

enum {
  METAFILE_PAGES_MAX = 16384, /* map pages: 64 MiB of metadata */
};

struct metafile;

/* Opens PATH, locks it, then reads the superblock slots.  CREATE: PATH
 * must not be there yet.  NULL with errno ENOENT and no message: not
 * there, and not CREATE.  NULL with any other errno: ERROR says why;
 * EBUSY: another process has the lock.  A file whose superblock is there
 * but not usable is an error; one that was never written is not: see
 * metafile_is_new.
 */
struct metafile *metafile_open (const char *path, bool create, char *error,
                                size_t error_size);
void metafile_close (struct metafile *meta);

/* No superblock yet: metafile_format must be next. */
bool metafile_is_new (const struct metafile *meta);

/* Is it the file that FD (or -1) is open on? */
bool metafile_is (const struct metafile *meta, int fd);

/* What the superblock says; not for a new file. */
const struct gen_record *metafile_record (const struct metafile *meta);

/* Map pages of a volume; 0: more than METAFILE_PAGES_MAX. */
uint32_t metafile_pages (uint64_t size, uint32_t region_size);

/* A new file that is larger than what a creation of this volume leaves
 * when it is interrupted is something else, and must not be formatted.
 */
bool metafile_may_format (const struct metafile *meta, uint64_t size,
                          uint32_t region_size);

/* Allocates the file, writes an empty map and then RECORD; all durable at
 * return.  0, or -1 with errno.
 */
int metafile_format (struct metafile *meta, const struct gen_record *record);

/* The volume grows to SIZE bytes: pages from FIRST on are written, empty, and
 * durable at return; no superblock counts them yet.  0, or -1 with errno.
 */
int metafile_grow (struct metafile *meta, uint64_t size, uint32_t first);

/* Reads the map of a file that is not new, all its pages; those that fail
 * their check count as all ones and are counted in *BAD_PAGES.  *MAP is
 * the caller's to free.  0, or -1 with errno.
 */
int metafile_load_map (struct metafile *meta, uint8_t **map,
                       uint64_t *map_bytes, uint32_t *bad_pages);

/* Durable at return.  0, or -1 with errno; once a sync has failed every
 * later call fails with the same errno.  Any thread.
 */
int metafile_save_record (struct metafile *meta,
                          const struct gen_record *record);
int metafile_save_pages (struct metafile *meta, uint32_t first, uint32_t count,
                         const uint8_t *bits);

#endif /* DUET_METAFILE_H */
