/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * receiver.h: frames in, in order, given out where they have arrived.
 */
#ifndef DUET_RECEIVER_H
#define DUET_RECEIVER_H

#include <stdatomic.h>

#include "channel.h"
#include "link.h"

enum { RECEIVER_BUFFER = 2 * (WIRE_HEADER + WIRE_PAYLOAD_MAX) };

struct receiver {
  uint8_t *buffer; /* RECEIVER_BUFFER bytes, by malloc so that
                                   only the pages in use cost memory */
  _Atomic uint64_t bytes, frames, receives;
};

/* Take frames off CHANNEL, whose socket blocks, and give them to FRAME
 * until the connection ends, a frame is wrong or refused, or *STOP: then
 * no further frame is given out.  Returns why, as static text.
 */
const char *receiver_run (struct receiver *receiver, struct channel *channel,
                          uint32_t link, const struct link_callbacks *callbacks,
                          void *opaque, const atomic_bool *stop);

#endif /* DUET_RECEIVER_H */
