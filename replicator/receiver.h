/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * receiver.h: frames in, in order, given out where they have arrived.
 */
#ifndef DUET_RECEIVER_H
#define DUET_RECEIVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "channel.h"
#include "link.h"

enum { RECEIVER_BUFFER = 2 * (WIRE_HEADER + WIRE_PAYLOAD_MAX) };

/* Only the functions below look into it.  "The turn" is explained at the
 * head of receiver.c.
 */
struct receiver {
  _Atomic uint64_t bytes, frames, receives;

  pthread_mutex_t mutex;  /* a leaf */
  pthread_cond_t changed; /* CLOCK_MONOTONIC; wanted, or the visitor left */
  bool aside;             /* mutex: the thread of receiver_run is */
  bool visited;           /* mutex: a visitor has the turn */
  /* The thread shall come back, or not step aside at its present frame;
   * set under the mutex, taken back by the thread.
   */
  atomic_bool wanted;
  uint64_t visits; /* mutex */
  const char *why; /* mutex; what a visitor has met: the end */

  /* The turn. */
  uint8_t *buffer;   /* RECEIVER_BUFFER bytes, by malloc so that only the
                        pages in use cost memory */
  size_t start, end; /* of what has come and was not given out */
  struct channel *channel;
  uint32_t link;
  const struct link_callbacks *callbacks;
  void *opaque;
  const atomic_bool *stop;
};

/* -1 with errno: no memory; receiver_free is to be called all the same. */
int receiver_init (struct receiver *receiver);
void receiver_free (struct receiver *receiver);

/* Take frames off CHANNEL, whose socket blocks, and give them to FRAME
 * until the connection ends, a frame is wrong or refused, or *STOP: then
 * no further frame is given out.  Returns why, as static text.
 */
const char *receiver_run (struct receiver *receiver, struct channel *channel,
                          uint32_t link, const struct link_callbacks *callbacks,
                          void *opaque, const atomic_bool *stop);

/* See link_visit and link_recall. */
bool receiver_visit (struct receiver *receiver, bool (*enough) (void *opaque),
                     void *opaque);
void receiver_recall (struct receiver *receiver);

#endif /* DUET_RECEIVER_H */
