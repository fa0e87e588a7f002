/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * meta.h: encoding of the metadata file: two superblock slots and the
 * pages of the region map.  Pure: bytes in, bytes out.  The layout is
 * described at the head of meta.c and in docs/disk-format.md.
 */
#ifndef DUET_META_H
#define DUET_META_H

#include <stdbool.h>
#include <stdint.h>

#include "generation.h"
#include "marks.h"

enum {
  META_SLOT = 4096, /* bytes of a superblock slot */
  META_SLOTS = 2,
  META_PAGE = 4096,        /* bytes of a map page on disk */
  META_MAP_OFFSET = 16384, /* first map page */
  META_VERSION = 1,
};

#define META_REASONS(X)                           \
  X (META_OK, "ok")                               \
  X (META_EMPTY, "never written")                 \
  X (META_BAD_MAGIC, "not duet metadata")         \
  X (META_BAD_VERSION, "written by a newer duet") \
  X (META_BAD_CRC, "checksum mismatch")           \
  X (META_BAD_VALUE, "a field is out of range")
#define META_REASON_ENUM(name, text) name,
enum meta_reason { META_REASONS (META_REASON_ENUM) META_REASON_COUNT };

const char *meta_reason_text (enum meta_reason reason);

/* A power of two, MARKS_CHUNK .. 1 GiB. */
bool meta_is_region_size (uint32_t size);

/* RECORD with SEQUENCE (counted up by one at each write) as a slot. */
void meta_encode (const struct gen_record *record, uint64_t sequence,
                  uint8_t slot[META_SLOT]);
enum meta_reason meta_decode (const uint8_t slot[META_SLOT],
                              struct gen_record *record, uint64_t *sequence);

/* Read both slots, the newer valid one wins.  META_EMPTY only when both
 * are all zeros; when neither is valid, the reason of the worse one.  A
 * slot whose checksum is right and that still makes no sense (META_BAD_
 * VERSION, META_BAD_VALUE) was not torn by a crash: then that is the
 * result, whatever the other slot says.
 * *SLOT is the slot that holds the result: write the other one next.
 */
enum meta_reason meta_newest (const uint8_t slots[META_SLOTS * META_SLOT],
                              struct gen_record *record, uint64_t *sequence,
                              unsigned *slot);

/* One page of the region map: BITS is MARKS_PAGE_BYTES long. */
void meta_encode_page (uint32_t page, const uint8_t *bits,
                       uint8_t out[META_PAGE]);
/* A page that fails its check comes out as all ones and false; one that
 * was never written (all zeros) as all zeros and true.
 */
bool meta_decode_page (uint32_t page, const uint8_t in[META_PAGE],
                       uint8_t *bits);

#endif /* DUET_META_H */
