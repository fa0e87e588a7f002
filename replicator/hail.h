/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hail.h: a new connection until it is secured, if it is to be, and the
 * other side's greeting has come: it may bring nothing, half a greeting,
 * or garbage, and may take its time.
 */
#ifndef DUET_HAIL_H
#define DUET_HAIL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "channel.h"
#include "wire.h"

enum { HAIL_BYTES = WIRE_HEADER + WIRE_GREETING };

struct hail {
  struct channel channel;        /* non-blocking; CHANNEL_NONE: unused */
  struct sockaddr_storage other; /* the user's: address of the other end */
  socklen_t other_length;        /* the user's */
  uint64_t since_ns;             /* the user's */
  uint64_t deadline_ns;          /* the user's */
  bool heard;                    /* the user's */
  size_t count;                  /* bytes received of the greeting */
  uint8_t bytes[HAIL_BYTES];
};

enum hail_progress {
  HAIL_PART,
  HAIL_WHOLE,
  HAIL_BAD,
};

/* Make HAIL of FD, as channel_open does. */
bool hail_open (struct hail *hail, int fd, const struct tls_context *context,
                bool dialler);

/* Go on with securing the connection.  HAIL_WHOLE: it is.  When it is bad,
 * WHY is NULL or what the user should know of it, here and below; the text
 * lives as long as the context.
 */
enum hail_progress hail_secure (struct hail *hail, const char **why);

/* Receive what there is of the greeting, and nothing beyond it. */
enum hail_progress hail_receive (struct hail *hail,
                                 struct wire_greeting *greeting,
                                 const char **why);

/* Send GREETING on a connection so new that its socket cannot be full.
 * False: the connection is gone.
 */
bool hail_send (struct hail *hail, const struct wire_greeting *greeting);

/* Has the other side closed it already? */
bool hail_is_closed (const struct hail *hail);

/* Close the socket, if there is one; HAIL is unused then. */
void hail_close (struct hail *hail);

#endif /* DUET_HAIL_H */
