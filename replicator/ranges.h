/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ranges.h: byte-range locks, shared for reads and exclusive for writes.
 *
 * Entries stand in order of arrival.  A new one that overlaps an older
 * one waits for it unless both are shared, whether the older one is held
 * or itself waiting, so nobody starves and overlapping writes take
 * effect in order of arrival.  Each entry counts the older entries in
 * its way; at zero it holds its range.
 *
 * No I/O, no threads: the caller serialises.
 */
#ifndef DUET_RANGES_H
#define DUET_RANGES_H

#include <stdbool.h>
#include <stdint.h>

struct ranges;

/* A set of locks with room for CAPACITY entries, tagged 0..CAPACITY-1 by
 * the caller.  NULL when out of memory.
 */
struct ranges *ranges_new (uint32_t capacity);
void ranges_free (struct ranges *ranges);

/* Enter TAG for [offset, offset+length).  Returns true when it holds the
 * range at once, false when it waits.  TAG must not be entered already.
 * A length of 0 conflicts with nothing.
 */
bool ranges_enter (struct ranges *ranges, uint32_t tag, uint64_t offset,
                   uint64_t length, bool exclusive);

/* Take TAG out, whether it holds or waits.  Then call ranges_next until
 * it returns false to learn who holds its range now.
 */
void ranges_leave (struct ranges *ranges, uint32_t tag);

/* The next entry whose last obstacle has gone since; true with *TAG. */
bool ranges_next (struct ranges *ranges, uint32_t *tag);

bool ranges_entered (const struct ranges *ranges, uint32_t tag);
bool ranges_held (const struct ranges *ranges, uint32_t tag);

/* Invariants of the structure, by brute force.  Aborts when broken. */
void ranges_check (const struct ranges *ranges);

#endif /* DUET_RANGES_H */
