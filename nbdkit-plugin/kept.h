/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kept.h: writes that were answered and that a crash may still take back:
 * with durability=flush a node answers a write before it is durable.  The
 * proxy keeps a copy until a flush was answered.  A node tells the boot id
 * of its process; when a session begins at another process than the one
 * before, all that is kept is sent again, in order, before anything else
 * (as NFS clients do when a server's write verifier has changed).
 *
 * Pure: no data, no time, no I/O; the caller's word per write (a pointer)
 * comes back as it was given.  Not safe for use by two threads at once.
 */
#ifndef DUET_KEPT_H
#define DUET_KEPT_H

#include <stdbool.h>
#include <stdint.h>

struct kept;

/* One write, trim or zeroes. */
struct kept_write {
  uint64_t offset, length;
  void *data; /* the caller's */
};

/* Room for CAPACITY writes of BYTES together, as kept_reserve counts them;
 * both above 0.  NULL when out of memory.
 */
struct kept *kept_new (uint32_t capacity, uint64_t bytes);
void kept_free (struct kept *kept);

/* Make room for a write with BYTES of payload that is about to be sent for
 * the first time.  False: a flush must be answered first.  One write has
 * room in an empty store whatever its size.
 */
bool kept_reserve (struct kept *kept, uint64_t bytes);
/* It was not carried out: give the room back. */
void kept_release (struct kept *kept, uint64_t bytes);
/* It was answered.  Its room was reserved.  Returns its number; they grow
 * by one.
 */
uint64_t kept_add (struct kept *kept, const struct kept_write *write,
                   uint64_t bytes);

/* A session begins, at the process BOOT. */
void kept_session (struct kept *kept, uint64_t boot);
/* It is lost: what was sent again and not answered must be once more. */
void kept_lost (struct kept *kept);

/* Nothing has to be sent again: other requests may be sent. */
bool kept_settled (const struct kept *kept);
/* The next write to send again, if it may be sent now: what it overlaps
 * was answered.  Then kept_sent, and kept_answered when it was.
 */
bool kept_next (const struct kept *kept, uint64_t *number);
struct kept_write kept_write (const struct kept *kept, uint64_t number);
void kept_sent (struct kept *kept, uint64_t number);
void kept_answered (struct kept *kept, uint64_t number);

/* A flush that is sent now, while kept_settled, covers what is kept up to
 * this number; 0: nothing.
 */
uint64_t kept_newest (const struct kept *kept);
/* It was answered in the session in which it was sent: take the oldest
 * write out if the flush covers it.  Call it until it returns false.
 */
bool kept_flushed (struct kept *kept, uint64_t number,
                   struct kept_write *write);

/* More than half of the room is taken: time for a flush. */
bool kept_wants_flush (const struct kept *kept);
uint32_t kept_count (const struct kept *kept);

/* Invariants, by brute force.  Aborts when broken. */
void kept_check (const struct kept *kept);

#endif /* DUET_KEPT_H */
