/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-pace.h: how many chunks of a resync may be on their way.
 *
 * The way to the peer's disk is a queue, and a client's write that waits
 * for its ack stands behind the chunks in it.  So few chunks when they
 * make the queue long; but never none, and more when the queue is the
 * clients' own making, or a busy client would keep the resync from ending:
 *
 *   - A chunk is slow when its ack takes longer, by more than is allowed,
 *     than the least that any chunk took lately.  The least is what the
 *     link and the disks need in any case, on a slow machine or a distant
 *     peer as well; what is above it is the queue.
 *   - Allowed are PACE_SLOW_MS; while clients write (the last of their
 *     writes was less than PACE_CLIENT_MS ago) no more than the least
 *     itself, so that the queue at most doubles what they wait in any case.
 *   - The share: half of the bytes that clients had in the queue.  Up to
 *     there a slow chunk is not the resync's fault.
 *   - A slow chunk above the share halves the window, down to the share
 *     or 1.  Any other lets it grow by one after as many acks as it is
 *     wide (Chiu and Jain 1989), up to PACE_MAX, if slow up to the share.
 *
 * What this promises.  Least progress: one chunk at least is always under
 * way, and in a queue that clients keep full at least every fifth byte is
 * the resync's (1 chunk with what is less than 4; half, rounded down, of
 * more).  Most delay, once the window has settled: a write waits for one
 * chunk, or as long as the way takes in any case, or half as long again as
 * it would without a resync, whichever is most; one that comes after a
 * pause, for PACE_SLOW_MS at most.
 *
 * 20 ms are two turns and some of a disk of 7200 a minute: about what one
 * fdatasync with its journal costs there, which varies by as much.  10 s
 * are long enough for a window that is too wide to have come down to 1
 * meanwhile and to have seen the least, and short enough to forget a
 * machine's better days.
 */
#ifndef DUET_CORE_PACE_H
#define DUET_CORE_PACE_H

#include <stdint.h>

enum {
  PACE_MAX = 16,          /* chunks */
  PACE_SLOW_MS = 20,      /* above the least */
  PACE_CLIENT_MS = 1000,  /* clients write: that long after one of them did */
  PACE_PERIOD_MS = 10000, /* the least of this one and the last counts */
};

struct pace {
  uint32_t window;           /* chunks that may be on their way, 1..PACE_MAX */
  uint32_t acks;             /* good ones since the window was changed */
  uint64_t least_ms;         /* in this period */
  uint64_t least_before_ms;  /* in the one before; UINT64_MAX: none */
  uint64_t period_ms;        /* when this one began */
  uint64_t clients_until_ms; /* until then clients write */
};

/* A resync begins. */
void pace_start (struct pace *pace, uint64_t now_ms);

/* A client's write is sent. */
void pace_client (struct pace *pace, uint64_t now_ms);

/* The last ack of a chunk is here, TOOK_MS after the chunk was sent behind
 * AHEAD_BYTES of clients' writes that were not acked yet.
 */
void pace_acked (struct pace *pace, uint64_t now_ms, uint64_t took_ms,
                 uint64_t ahead_bytes);

#endif /* DUET_CORE_PACE_H */
