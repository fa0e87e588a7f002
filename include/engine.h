/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine.h: a node as its users call it: the plugin, the control socket,
 * the tests.  The engine owns the mutex, the threads, the store and the
 * link, and carries out what the core says.
 *
 * Calls return 0, or -1 with errno set, and may block: a request waits
 * while the link is being settled (bounded by dead_ms) or while a plain
 * client's node waits to be chosen (no bound; the status gives the
 * reason; engine_stop ends it).
 */
#ifndef DUET_ENGINE_H
#define DUET_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arbiter.h"
#include "core.h"
#include "latency.h"
#include "tls.h"

struct engine;
struct engine_conn;

struct engine_config {
  const char *file; /* see struct store_config */
  const char *meta;
  uint64_t size;
  uint32_t region_size;
  const char *listen; /* see struct link_config */
  const char *peer;
  struct tls_config tls;         /* of the link */
  bool insecure;                 /* see struct link_config */
  const char *control;           /* unix socket path, NULL: none */
  struct core_config core;       /* boot is filled in */
  struct arbiter_config arbiter; /* with core.arbiter ARBITER_ETCD */
  /* A line for the log. */
  void (*log) (const char *line);
  /* True when the client of the calling thread has hung up, or the server
   * is shutting down; called when a request has waited long.  NULL: never.
   */
  bool (*gone) (void);
};

/* Opens store, link and control socket; no threads yet.  NULL with a
 * message for the user in ERROR.
 */
struct engine *engine_new (const struct engine_config *config, char *error,
                           size_t error_size);
/* Starts the threads (after the server has forked). */
int engine_start (struct engine *engine, char *error, size_t error_size);
/* Says goodbye to the peer and ends all that waits; from then on every
 * request and every open is refused.  From any thread, before engine_stop.
 */
void engine_end_requests (struct engine *engine);
/* That, if it was not done; closes the link, joins the threads. */
void engine_stop (struct engine *engine);
void engine_free (struct engine *engine);

/* Bytes that the volume has now, for who opens it now; never less than
 * before.
 */
uint64_t engine_size (const struct engine *engine);

/* A client connection.  NULL with errno when this node does not serve it
 * now, and why not, with the node's state and the primary's address, in
 * ERROR.  NAME is the export name (see exportname.h).
 */
struct engine_conn *engine_open (struct engine *engine, const char *name,
                                 char *error, size_t error_size);
void engine_close (struct engine_conn *conn);

/* ESHUTDOWN: this connection was ended, reopen elsewhere or here. */
int engine_read (struct engine_conn *conn, void *buffer, uint64_t length,
                 uint64_t offset);
int engine_write (struct engine_conn *conn, const void *buffer, uint64_t length,
                  uint64_t offset);
/* Both leave zeros.  PUNCH: the space may be freed, as a trim does.  FAST:
 * EOPNOTSUPP rather than be as slow as a write.
 */
int engine_trim (struct engine_conn *conn, uint64_t length, uint64_t offset);
int engine_zero (struct engine_conn *conn, uint64_t length, uint64_t offset,
                 bool punch, bool fast);
int engine_flush (struct engine_conn *conn);
int engine_extents (struct engine_conn *conn, uint64_t length, uint64_t offset,
                    int (*extent) (void *opaque, uint64_t offset,
                                   uint64_t length, bool hole),
                    void *opaque);
int engine_cache (struct engine_conn *conn, uint64_t length, uint64_t offset);

/* The export description of this node now (exportname.h), at most
 * EXPORTNAME_DESCRIPTION_MAX bytes.
 */
void engine_describe (struct engine *engine, char *text);

/* ------------------------------------------------------- administration */

/* Carries out what the administrator asks for.  Waits until it is done or
 * cannot be, at most twice dead_ms and a second.  0, or -1 with errno and a
 * sentence that says why, and what to do, in ERROR.  Several threads may
 * ask, but only one at a time is heard; the others are refused.
 */
int engine_admin (struct engine *engine, const struct core_wish *wish,
                  char *error, size_t error_size);

/* ------------------------------------------------------------- figures */

enum engine_kind {
  ENGINE_READ,
  ENGINE_WRITE,
  ENGINE_TRIM,
  ENGINE_ZERO,
  ENGINE_FLUSH,
  ENGINE_EXTENTS,
  ENGINE_CACHE,
  ENGINE_KINDS,
};

struct engine_figures {
  uint64_t count; /* requests answered without an error */
  uint64_t errors;
  uint64_t bytes;
  uint64_t p50_us, p99_us, max_us; /* upper edge of the bucket */
};

enum { ENGINE_REASON = 640 }; /* longest reason, with its zero byte */

struct engine_status {
  struct core_view view;
  char reason[ENGINE_REASON]; /* as in view, with more */
  bool healthy; /* nothing has to be done about this node (docs/metrics.md) */
  char resize_ended[ENGINE_REASON]; /* why a growth came to nothing, or "" */
  char peer_address[256];
  enum core_arbiter arbiter;
  enum core_durability durability;
  char arbiter_reason[ETCD_REASON_MAX]; /* why etcd does not answer, "" */
  struct engine_figures requests[ENGINE_KINDS];
  uint64_t resync_bytes_per_second; /* in the last five seconds */
  uint64_t verify_bytes_per_second; /* since it began */
  uint64_t fdatasyncs;              /* of the data file, by this process */
  uint64_t sync_callers;            /* requests and frames they made durable */
  struct engine_figures sync;       /* how long each took; COUNT, the times */
  struct engine_figures sync_group; /* callers of each, in place of us */
  uint64_t rtt_us;                  /* of the last ping; 0: none */
  uint64_t events;                  /* number of the newest */
  const char *tls;                  /* of the link: "psk", "x509"; NULL: none */
  uint64_t bytes_sent, bytes_received; /* link */
  uint64_t frames_sent, frames_received;
  uint64_t link_sends, link_receives; /* sendmsg and recv calls */
};
void engine_status (struct engine *engine, struct engine_status *status);

/* Since the start; sync_group counts callers of an fdatasync, the others us.
 * Some 26 KB: not for the stack.
 */
struct engine_histograms {
  struct latency_counts requests[ENGINE_KINDS];
  struct latency_counts sync, sync_group, rtt;
};
void engine_histograms (struct engine *engine,
                        struct engine_histograms *histograms);

const char *engine_kind_name (enum engine_kind kind);

/* -------------------------------------------------------------- events */

enum { ENGINE_EVENTS = 256 }; /* remembered */

enum engine_event_kind {
  EVENT_START,
  EVENT_STATE, /* or its reason */
  EVENT_LINK,
  EVENT_RESYNC,
  EVENT_GENERATION,
  EVENT_SIZE,
};

struct engine_event {
  uint64_t number;  /* from 1, without a gap */
  uint64_t time_ms; /* since 1970 */
  enum engine_event_kind kind;
  enum core_state state; /* afterwards */
  struct gen_id gen;
  char text[ENGINE_REASON]; /* one sentence */
};

const char *engine_event_name (enum engine_event_kind kind);

/* The events after AFTER that are still remembered, oldest first; all of
 * them if AFTER is 0 or from the future, that is from another process.
 * LIST has room for ENGINE_EVENTS.  BOOT differs from process to process.
 * Returns the newest number.
 */
uint64_t engine_events (struct engine *engine, uint64_t after,
                        struct engine_event *list, uint32_t *count,
                        uint64_t *boot);

#endif /* DUET_ENGINE_H */
