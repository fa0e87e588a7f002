/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * link.h: the TCP connection to the peer, with TLS or without.  Listens
 * and dials, exchanges greetings, keeps exactly one connection, frames and
 * unframes.  It knows no node state: everything it learns goes to the
 * callbacks.
 *
 * Threads: one acceptor/dialler, one receiver, which may let others do its
 * work (link_visit), one that sends when the socket was full.  Else whoever
 * calls link_flush sends (combining: one sender at a time, it takes what
 * the others queued).
 */
#ifndef DUET_LINK_H
#define DUET_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <urcu/wfcqueue.h>

#include "wire.h"

struct link;
struct tls_context;

/* A frame to be sent.  Belongs to the link from link_queue until DONE is
 * called (from any thread, never from inside link_queue, exactly once):
 * sent, or dropped with its connection.  PAYLOAD must stay readable until
 * then.  DONE must not call the link.
 */
struct link_frame {
  struct cds_wfcq_node node;
  struct wire_frame frame; /* payload_crc is filled in by the sender */
  const void *payload;
  uint32_t link; /* connection it belongs to; on another it
                                   is dropped */
  void (*done) (struct link_frame *frame);
};

enum {
  LINK_ASIDE = 1,
  LINK_VISIT_MS = 500,
};

struct link_callbacks {
  /* A connection is up, greeting done.  Never two at once: a new one
   * comes only after down of the last has returned.
   */
  void (*up) (void *opaque, uint32_t link);
  /* LINK is about to be shut down for a reason that is neither link_drop
   * nor the peer's doing: what this node must not do without it, it must
   * not do from now on, because the peer will see the end.  From any of
   * the link's threads, perhaps more than once; may be NULL.
   */
  void (*closing) (void *opaque, uint32_t link);
  /* From the receiver thread, its last call for LINK.  PEER_CLOSED: the
   * peer, or the kernel of a peer that died, closed it while this end was
   * open; not so when this machine's TCP gave up.
   */
  void (*down) (void *opaque, uint32_t link, const char *why, bool peer_closed);
  /* A connection attempt asked for by link_connect has failed. */
  void (*connect_failed) (void *opaque);
  /* A connection with ADDRESS (without its port) was not taken, for a
   * reason that the user should know.  Again for each one, from either
   * side; before the connect_failed that it leads to.  May be NULL.
   */
  void (*refused) (void *opaque, const char *address, const char *why);
  /* From the receiver thread, as up and down are, or from one that visits;
   * never two at once.  While it is busy, nothing is received, and the peer
   * has to wait.  After link_drop no
   * further frame comes.
   * A frame, checked by wire_decode and wire_check_payload.  PAYLOAD is
   * the receiver's and valid until the call returns.  LAST: no further
   * complete frame has been received yet (a good time to fdatasync).
   * Return -1 to have the connection dropped, LINK_ASIDE if those who wait
   * for the next frame may come and receive it themselves (link_visit).
   */
  int (*frame) (void *opaque, uint32_t link, const struct wire_frame *frame,
                const uint8_t *payload, bool last);
};

struct link_config {
  const char *listen;            /* HOST:PORT, [V6]:PORT; NULL: none */
  const char *peer;              /* HOST:PORT; NULL: none */
  const struct tls_context *tls; /* for each connection; NULL: no TLS */
  bool insecure; /* without TLS, addresses may be other than loopback */
  uint64_t node; /* my id: breaks ties */
  uint64_t boot;
  uint32_t greeting_ms; /* how long a greeting may take */
};

/* Parses, resolves and listens; host names are resolved here, once, and
 * never again.  NULL with a message in ERROR.
 */
struct link *link_new (const struct link_config *config,
                       const struct link_callbacks *callbacks, void *opaque,
                       char *error, size_t error_size);

/* The threads; after fork.  -1 with errno.  Stop joins them: down comes
 * for a connection that is up, and nothing after that.  A link is not
 * started twice.
 */
int link_start (struct link *link);
void link_stop (struct link *link);
/* Frames that are still queued get their done(). */
void link_free (struct link *link);

/* Dial once; up or connect_failed follows within TIMEOUT_MS, twice that
 * with TLS.  An attempt
 * under way is joined, not doubled.  While a connection is there that
 * neither side is known to have given up, nothing happens.  Never blocks.
 */
void link_connect (struct link *link, uint32_t timeout_ms);
/* Shut the connection down if it still is LINK.  Never blocks; down
 * follows.
 */
void link_drop (struct link *link, uint32_t id);

/* Put FRAME behind what is queued.  Callers serialise (the engine's
 * mutex).  Never blocks.
 */
void link_queue (struct link *link, struct link_frame *frame);
/* Send what is queued, unless another thread is at it and will.  Never
 * waits for the peer, so the receiver and control threads may call it;
 * what a full socket does not take is sent by a thread of the link.  Must
 * follow link_queue before long.  Not under a lock that a done() takes.
 */
void link_flush (struct link *link);

/* Receive in this thread: acks (wire_is_ack), pings and pongs go to the
 * frame callback, and all else makes the receiver thread go on with it.
 * Until ENOUGH, asked after frames, is true, that, the end of the connection,
 * or LINK_VISIT_MS without anything.  False, and nothing done: the receiver
 * thread receives, as it does unless its last frame was answered by
 * LINK_ASIDE, or another thread visits.
 */
bool link_visit (struct link *link, bool (*enough) (void *opaque),
                 void *opaque);
/* Somebody waits for a frame who does not visit: let the receiver thread
 * receive again, if it does not.
 */
void link_recall (struct link *link);

/* Bytes and frames sent and received (as they are without TLS), system
 * calls that sent and received.
 */
struct link_counts {
  uint64_t bytes_sent, bytes_received, frames_sent, frames_received;
  uint64_t sends, receives;
};
void link_counts (struct link *link, struct link_counts *counts);
/* Address of the peer's end of the present connection, or as configured,
 * or "".  Valid until the same thread's next call.
 */
const char *link_peer_address (struct link *link);

/* HOST:PORT checked; 0, or -1 with a message. */
int link_check_address (const char *address, char *error, size_t error_size);

#endif /* DUET_LINK_H */
