/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hail.h: a new connection until the other side's greeting has come: it
 * may bring nothing, half a greeting, or garbage, and may take its time.
 */
#ifndef DUET_HAIL_H
#define DUET_HAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "wire.h"

enum { HAIL_BYTES = WIRE_HEADER + WIRE_GREETING };

struct hail {
  int fd;               /* non-blocking; -1: unused */
  uint64_t since_ns;    /* the user's */
  uint64_t deadline_ns; /* the user's */
  size_t count;         /* bytes received */
  uint8_t bytes[HAIL_BYTES];
};

enum hail_progress {
  HAIL_PART,
  HAIL_WHOLE,
  HAIL_BAD,
  HAIL_VERSION, /* a greeting, but of another protocol version */
};

/* Receive what there is of the greeting, and nothing beyond it. */
enum hail_progress hail_receive (struct hail *hail,
                                 struct wire_greeting *greeting);

/* Put GREETING on FD, so new that its socket cannot be full.  False: the
 * connection is gone.
 */
bool hail_send (int fd, const struct wire_greeting *greeting);

/* Has the other side closed it already? */
bool hail_is_closed (const struct hail *hail);

/* Close the socket, if there is one; HAIL is unused then. */
void hail_close (struct hail *hail);

#endif /* DUET_HAIL_H */
