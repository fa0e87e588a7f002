/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * store-internal.h: what store.c and store-open.c share, and nobody else.
 */
#ifndef DUET_STORE_INTERNAL_H
#define DUET_STORE_INTERNAL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "commit.h"
#include "metafile.h"

/* Ways to make zeros without sending them. */
enum zero_way { WAY_PUNCH, WAY_RANGE, WAY_ZEROOUT, WAY_COUNT };

struct store {
  /* Constant after store_open. */
  int fd;
  char *path;
  bool is_device;
  bool created;      /* by this store_open */
  bool meta_created; /* likewise */
  uint64_t old_size; /* of the file, as store_open found it */
  char *meta_path;
  uint64_t file_size; /* of the file or device, as found or made */
  uint64_t align;     /* of fallocate on a device */
  struct metafile *meta;
  struct commit *commit;
  uint8_t *map;       /* as it was read */
  uint64_t map_bytes; /* of map */
  uint32_t bad_pages;

  /* What both files are ready for (store_grow). */
  _Atomic uint64_t size;  /* bytes of the volume */
  _Atomic uint32_t pages; /* of the region map */
  atomic_bool grow_stop;

  /* What the file system or device has said it cannot do.  Each goes from
   * false to true once; being late to see it costs one system call.
   */
  atomic_bool lacks[WAY_COUNT];
  atomic_bool lacks_nowait;
};

#endif /* DUET_STORE_INTERNAL_H */
