/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * upstream.h: one NBD connection from the proxy to a node, over libnbd.
 *
 * Opening is a small state machine driven by poll, so that several
 * connections open side by side and any of it can be called off.  What
 * the connections of a session mean together is not known here.
 */
#ifndef DUET_UPSTREAM_H
#define DUET_UPSTREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libnbd.h>

#include "exportname.h"

enum {
  UPSTREAM_MESSAGE_MAX = 256,
  UPSTREAM_PAYLOAD_MAX = 32 << 20, /* when the server names no limit */
};

/* What a server can do, as one set. */
enum {
  UPSTREAM_CAN_WRITE = 1 << 0,
  UPSTREAM_CAN_FLUSH = 1 << 1,
  UPSTREAM_CAN_FUA = 1 << 2,
  UPSTREAM_CAN_TRIM = 1 << 3,
  UPSTREAM_CAN_ZERO = 1 << 4,
  UPSTREAM_CAN_FAST_ZERO = 1 << 5,
  UPSTREAM_CAN_CACHE = 1 << 6,
  UPSTREAM_CAN_EXTENTS = 1 << 7,
  UPSTREAM_IS_DUET = 1 << 8, /* a duet node, not just any server */
};

struct upstream_facts {
  uint64_t size_bytes;
  uint32_t can; /* set of the above */
  bool is_rotational;
  bool is_multi_conn;
  uint32_t block_min_bytes;
  uint32_t payload_max_bytes;            /* of one read or write */
  struct export_description description; /* of a duet node */
};

enum upstream_stage {
  UPSTREAM_CONNECTING,
  UPSTREAM_GREETED, /* waits for upstream_go */
  UPSTREAM_OPENING, /* the node decides */
  UPSTREAM_READY,   /* requests may be sent */
  UPSTREAM_REFUSED, /* it is there, but does not serve us */
  UPSTREAM_UNREACHABLE,
};

struct opening {
  struct nbd_handle *nbd; /* belongs to the opening until taken */
  enum upstream_stage stage;
  bool was_greeted;
  bool go_done;
  int go_error;
  char message[UPSTREAM_MESSAGE_MAX]; /* why it was refused, unreachable */
};

/* Check a URI without connecting.  NULL, or why it is no good. */
const char *upstream_check_uri (const char *uri);

/* Begin to connect.  Failures show in the stage.  May block while the
 * resolver looks up a host name, so never call it with a lock held.
 */
void upstream_start (struct opening *opening, const char *uri);

/* Stage GREETED: ask for the export NAME. */
void upstream_go (struct opening *opening, const char *name);

/* Wait until something happens to one of COUNT openings, CANCEL_FD is
 * readable, or the time (upstream_now_ms) is UNTIL_MS; then bring all
 * stages up to date.  False when called off or out of time.
 */
bool upstream_wait (struct opening *openings, size_t count, int cancel_fd,
                    uint64_t until_ms);

/* Stage REFUSED: ask the node, on the same connection, what it is.  False
 * when it does not say so before UNTIL_MS, CANCEL_FD is readable, or it is
 * no duet node.
 */
bool upstream_describe (struct opening *opening, int cancel_fd,
                        uint64_t until_ms,
                        struct export_description *description);

/* Stage READY: what the server says of itself.  False when it calls
 * itself a duet node in words that this version does not understand.
 */
bool upstream_facts (struct opening *opening, struct upstream_facts *facts);

/* Free what the opening still owns, without waiting for the server. */
void upstream_drop (struct opening *opening);

/* Give a TCP connection up by itself when nothing of what we send is
 * acknowledged by the other side's kernel for LIMIT_MS, whether we send
 * requests or not: a path may die without a word.  Without effect on
 * other sockets.
 */
void upstream_watch_path (int fd, uint64_t limit_ms);

/* One run of blocks as the server reported it. */
struct upstream_extents {
  struct {
    uint32_t length, type;
  } * list;
  size_t count;
  size_t room;
};

enum upstream_kind {
  UPSTREAM_PREAD,
  UPSTREAM_PWRITE,
  UPSTREAM_FLUSH,
  UPSTREAM_TRIM,
  UPSTREAM_ZERO,
  UPSTREAM_CACHE,
  UPSTREAM_EXTENTS,
};
enum { UPSTREAM_KINDS = UPSTREAM_EXTENTS + 1 };

struct upstream_call {
  enum upstream_kind kind;
  uint32_t flags; /* LIBNBD_CMD_FLAG_* */
  uint64_t offset;
  uint32_t length;
  union {
    void *in;        /* PREAD */
    const void *out; /* PWRITE */
    struct upstream_extents *extents;
  };
};

/* Send a request; DONE is called once with its result, by any thread that
 * is in upstream_send or upstream_poll for this connection, unless the
 * handle is closed first.  The buffers belong to libnbd until then.
 * 0, or -1 with errno set: not sent, DONE will not be called.
 */
int upstream_send (struct nbd_handle *nbd, const struct upstream_call *call,
                   nbd_completion_callback done);

/* Wait for up to TIMEOUT_MS until FD (the connection's socket) has
 * something or KICK_FD is written, and process what came.  One thread at
 * a time.  -1 when the connection is dead.
 */
int upstream_poll (struct nbd_handle *nbd, int fd, int kick_fd, int timeout_ms);

bool upstream_is_dead (struct nbd_handle *nbd);

/* There is output that only a wait for writability can move on. */
bool upstream_wants_write (struct nbd_handle *nbd);

/* CLOCK_MONOTONIC in milliseconds. */
uint64_t upstream_now_ms (void);

#endif /* DUET_UPSTREAM_H */
