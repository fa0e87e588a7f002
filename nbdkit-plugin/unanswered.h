/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * unanswered.h: the requests that the client still waits for.
 *
 * Every request is kept here from the moment the client brings it until
 * its answer has been given, over as many sessions as that takes.  The
 * table says which may be sent: a request that overlaps an unanswered
 * write, or a write that overlaps any unanswered request, is not sent
 * until that one is answered (else a replayed write could undo a newer
 * one), in order of arrival; and after a session was lost, requests that
 * were sent already come before new ones.
 *
 * Each sending has a tag of its own, so that an answer from an abandoned
 * session finds nothing.
 *
 * No clock, no threads, no I/O, no allocation after unanswered_new: the
 * caller serialises.  The simulator runs the same code.
 */
#ifndef DUET_UNANSWERED_H
#define DUET_UNANSWERED_H

#include <stdbool.h>
#include <stdint.h>

enum { UNANSWERED_MAX = 4096 }; /* largest capacity */

enum unanswered_kind {
  UNANSWERED_READ,  /* reads, extents, cache */
  UNANSWERED_WRITE, /* writes, trims, zeroes */
  UNANSWERED_FLUSH, /* conflicts with nothing */
};

struct unanswered;

/* NULL when out of memory.  CAPACITY is 1 .. UNANSWERED_MAX. */
struct unanswered *unanswered_new (uint32_t capacity);
void unanswered_free (struct unanswered *table);

/* A request arrives.  False when the table is full. */
bool unanswered_begin (struct unanswered *table, enum unanswered_kind kind,
                       uint64_t offset, uint64_t length, uint32_t *slot);

/* It is not sent, nothing is in its way, and it is a replay or there is
 * no replay left to send.
 */
bool unanswered_may_send (const struct unanswered *table, uint32_t slot);

/* It is being sent.  Returns the tag of this sending, never 0. */
uint64_t unanswered_sent (struct unanswered *table, uint32_t slot,
                          uint64_t now_ms);

/* An answer came.  False when the tag is of an abandoned sending.  The
 * request stays in the table; it may be sent again (a request in parts)
 * or ended.
 */
bool unanswered_answered (struct unanswered *table, uint64_t tag,
                          uint32_t *slot);

/* The session is lost: what was sent and not answered must be replayed. */
void unanswered_lost (struct unanswered *table);

/* Requests that must be replayed before new ones are sent. */
uint32_t unanswered_replays (const struct unanswered *table);

/* The next request after *SLOT, in order of arrival, that may be sent;
 * *SLOT == UINT32_MAX begins.  False at the end.
 */
bool unanswered_next (const struct unanswered *table, uint32_t *slot);

/* The request's answer has been given, or it was given up. */
void unanswered_end (struct unanswered *table, uint32_t slot);

/* When the oldest one that waits for its answer was sent; UINT64_MAX when
 * there is none.
 */
uint64_t unanswered_sent_ms (const struct unanswered *table);

uint32_t unanswered_count (const struct unanswered *table);

/* Invariants, by brute force.  Aborts when broken. */
void unanswered_check (const struct unanswered *table);

#endif /* DUET_UNANSWERED_H */
