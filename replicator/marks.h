/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * marks.h: which parts of the two copies may differ.
 *
 * Three layers over the same volume:
 *
 *   region map   one bit per region (4 MiB by default), persistent; set
 *                before the first write into the region, so that after a
 *                crash every difference lies inside a set region (I5);
 *   coarse map   one bit per chunk (256 KiB): something in it may differ,
 *                which blocks is not known; to be compared by hash;
 *   block map    one bit per 4 KiB block: this block differs for certain
 *                or nearly so; one 64-bit word is one chunk.
 *
 * The block and coarse maps live in memory only.  No I/O: functions that
 * change the region map note the map pages to be persisted; the core
 * asks for them with marks_take_pages.
 */
#ifndef DUET_MARKS_H
#define DUET_MARKS_H

#include <stdbool.h>
#include <stdint.h>

enum {
  MARKS_BLOCK = 4096,             /* bytes */
  MARKS_CHUNK = 64 * MARKS_BLOCK, /* bytes: 256 KiB */
  MARKS_PAGE_BYTES = 4080,        /* region bits per map page / 8 */
};

struct marks;

/* REGION_SIZE is a power of two, at least MARKS_CHUNK.  NULL: no memory. */
struct marks *marks_new (uint64_t size, uint32_t region_size);
void marks_free (struct marks *marks);

/* The volume grows: MARKS becomes as large as ROOM, which is new, at least as
 * large, of the same region size, and gone afterwards.  What is added is
 * clear: the bytes there are zeros on both nodes.
 */
void marks_grow (struct marks *marks, struct marks *room);

/* Bytes of the volume. */
uint64_t marks_size (const struct marks *marks);

/* The region map as bytes, bit r%8 of byte r/8 is region r, padded with
 * zeros to whole pages.  For loading at start, for persisting, and for
 * sending to the peer.
 */
uint8_t *marks_map (struct marks *marks);
uint64_t marks_map_bytes (const struct marks *marks);
uint64_t marks_regions (const struct marks *marks);
uint64_t marks_chunks (const struct marks *marks);
uint32_t marks_pages (const struct marks *marks);

/* After a start: the map was filled by the caller; everything in a set
 * region becomes coarse, and the set bits count as durable.
 */
void marks_loaded (struct marks *marks);

/* All that is known of the peer's copy is the region map (a takeover):
 * everything in a set region becomes coarse.
 */
void marks_suspect (struct marks *marks);

/* --- regions ---------------------------------------------------------- */

/* A write to [offset, +length) begins / has ended everywhere.  Regions
 * with a write under way are never cleared.
 */
void marks_use (struct marks *marks, uint64_t offset, uint64_t length,
                uint64_t now_ms);
void marks_unuse (struct marks *marks, uint64_t offset, uint64_t length,
                  uint64_t now_ms);

/* Set the region bits of the range.  True when all were durable already;
 * false when the map must be persisted first.
 */
bool marks_set_regions (struct marks *marks, uint64_t offset, uint64_t length);
bool marks_durable (const struct marks *marks, uint64_t offset,
                    uint64_t length);

/* Clear up to COUNT regions that are set, idle since before IDLE_BEFORE_MS,
 * not in use, and hold no coarse or block mark.  Their numbers go to
 * REGIONS; returns how many.  Starts where the last call ended.
 */
uint32_t marks_clear_idle (struct marks *marks, uint64_t idle_before_ms,
                           uint64_t *regions, uint32_t count);

/* The primary says REGION is clean on both: clear its bit, whatever its
 * age, unless it is in use here or holds a coarse or block mark.
 */
void marks_clear_region (struct marks *marks, uint64_t region);

/* Map pages changed since the last call: true with *FIRST and *LAST, all
 * of them and what lies between, and from then on counts them as under
 * way.  Call marks_pages_durable when that write is durable: bits that
 * were set at the time of the take, and all the time since, are durable
 * then.  One take at a time: false while one is under way.
 */
bool marks_take_pages (struct marks *marks, uint32_t *first, uint32_t *last);
void marks_pages_durable (struct marks *marks);
bool marks_pages_taken (const struct marks *marks);
bool marks_pages_wanted (const struct marks *marks);

/* Is a set bit neither durable nor under way?  A cleared bit makes its
 * page wanted too, but can wait.
 */
bool marks_pages_urgent (const struct marks *marks);

/* --- what the peer lacks ---------------------------------------------- */

/* Mark blocks touched by the range as lacking on the peer.  Their regions
 * are set too if they were not (I5: no mark outside a set region).
 */
void marks_dirty (struct marks *marks, uint64_t offset, uint64_t length);

/* Blocks that lie wholly in the range are durable on the peer now.  The
 * volume's last block counts as whole when the range reaches the end.
 */
void marks_clean (struct marks *marks, uint64_t offset, uint64_t length);

/* Merge one page of the peer's region map: its set regions become set
 * and coarse here.
 */
void marks_merge_page (struct marks *marks, uint32_t page, const uint8_t *bits);

/* Every region set and coarse: nothing is known of the peer's copy. */
void marks_dirty_all (struct marks *marks);

/* Forget block and coarse marks (a target at its join).  The region map
 * stays as it is.
 */
void marks_forget (struct marks *marks);

/* Does any coarse or block mark touch the range? */
bool marks_overlap (const struct marks *marks, uint64_t offset,
                    uint64_t length);

/* The first marked chunk at or after CHUNK, wrapping round; true with
 * *FOUND.
 */
bool marks_next_chunk (const struct marks *marks, uint64_t chunk,
                       uint64_t *found);
uint64_t marks_chunk_blocks (const struct marks *marks, uint64_t chunk);
bool marks_chunk_coarse (const struct marks *marks, uint64_t chunk);

/* A coarse chunk was compared: exactly BLOCKS of it differ. */
void marks_chunk_compared (struct marks *marks, uint64_t chunk,
                           uint64_t blocks);

/* Bytes under block marks plus whole coarse chunks: an upper bound. */
uint64_t marks_dirty_bytes (const struct marks *marks);

/* Invariants by brute force (test builds).  Aborts when broken. */
void marks_check (const struct marks *marks);

#endif /* DUET_MARKS_H */
