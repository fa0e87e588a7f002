/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine-internal.h: the engine's state, shared by its files.
 *
 *   engine.c          life cycle, the step under the mutex, the actions
 *   engine-client.c   clients' calls: one request is carried out by the
 *                     thread that brought it
 *   engine-status.c   what the node says of itself
 *   engine-admin.c    what the administrator asks for
 *   engine-events.c   what has changed lately
 *   engine-key.c      the volume's key in etcd, for arbiter=etcd
 *   engine-peer.c     link callbacks (the receiver carries out what the
 *                     peer sent), chunks and hashes
 *   jobs.c            threads for what the step may not wait for
 *
 * Locks: there is one, engine->lock.  It guards the core and every field
 * below that says so, and is never held across a system call that may
 * block.  The link's, the store's and the jobs' locks are inside them and
 * are taken after it, never around it.
 */
#ifndef DUET_ENGINE_INTERNAL_H
#define DUET_ENGINE_INTERNAL_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "control.h"
#include "engine.h"
#include "jobs.h"
#include "latency.h"
#include "link.h"
#include "marks.h"
#include "store.h"

enum {
  ENGINE_SYNC_FRAMES = 512, /* applied before one fdatasync */
  ENGINE_SYNC_BYTES = 8 * 1024 * 1024,
  /* A piece of a resync that is as long as this begins on its way to the
   * disk when it is written, not when the fdatasync comes.  Shorter ones
   * are better gathered.
   */
  ENGINE_WRITEBACK_BYTES = 128 * 1024,
  ENGINE_LINE = 768,     /* longest line for the log */
  ENGINE_REFUSED = 256,  /* an address and why */
  ENGINE_SAID = 8,       /* lines remembered */
  ENGINE_HASHES = 64,    /* blocks in a chunk */
  ENGINE_WAIT_MS = 500,  /* between looks at stopping () */
  ENGINE_LONE_US = 4000, /* between acks of one who asks again and again */
  ENGINE_SAMPLES = 10,   /* of a resync's progress */
  ENGINE_SAMPLE_MS = 500,
  ENGINE_FRAMES_AWAITED = 1 << 16,   /* in frames_out: its thread sleeps */
  ENGINE_GATHERED_BYTES = 16 * 1024, /* frames that are longer leave at once */
  ENGINE_UNREAD_MAX = 8192,          /* answers that the peer does not read; one
                                that does never has a hundredth of them */
};

/* A frame under way to the link, with what its end means. */
struct out_frame {
  struct link_frame link; /* first */
  struct engine *engine;
  uint32_t request; /* NO_SLOT: none */
  uint32_t chunk;
  bool embedded; /* else malloc'd, payload behind */
  bool counted;  /* in unread */
};

/* A request, and how its thread sleeps: under LOCK it sets asleep, and then
 * waits for WAKE.  Who has news for it clears asleep, and posts WAKE once
 * when LOCK is released.  At the end the same with FRAMES_AWAITED in
 * frames_out instead of asleep: who takes the last frame off posts.
 */
struct engine_request {
  sem_t wake;
  struct commit_waiter synced; /* its write's, on its way to EV_LOCAL_DONE */
  /* lock: */
  bool local_go, done, asleep;
  bool local_sync; /* the local part ends with an fdatasync */
  int error;
  struct core_event event; /* as it began */
  void *buffer;            /* data of a read or write */
  atomic_uint frames_out;  /* frames that refer to buffer */
  struct out_frame frame;
};

struct engine_conn {
  struct engine *engine;
  uint32_t slot;
  sem_t wake;
  atomic_bool open;   /* written under LOCK */
  bool done;          /* lock */
  int error;          /* lock */
  const char *reason; /* lock */
};

/* A resync chunk's buffers. */
struct engine_chunk {
  uint8_t *data;                             /* MARKS_CHUNK bytes */
  uint8_t hashes[ENGINE_HASHES * WIRE_HASH]; /* the peer's */
  atomic_uint frames_out;
};

/* How far a resync had come, newest last; its speed is taken from them. */
struct engine_samples {
  uint64_t started_ms; /* which resync */
  uint32_t count;
  struct {
    uint64_t ms, left_bytes;
  } list[ENGINE_SAMPLES];
};

/* The administrator's wish that is being carried out. */
struct engine_wish {
  pthread_cond_t wake; /* done */
  bool busy, done;
  int error;
  const char *reason;
};

/* The last events, number N at N - 1 modulo their count. */
struct engine_events {
  uint64_t count; /* since the start */
  uint64_t news;  /* of the core, when they were looked at */
  struct core_view shown;
  struct gen_id gen; /* durable */
  struct engine_event list[ENGINE_EVENTS];
};

struct engine {
  struct engine_config config;
  struct store *store;
  struct tls_context *tls; /* NULL: the link has none */
  struct link *link;
  struct control *control;
  struct jobs *jobs;       /* metadata, syncs */
  struct jobs *log_jobs;   /* the log, also when the disk hangs */
  struct jobs *chunk_jobs; /* resync reads */
  struct arbiter *arbiter; /* NULL: arbiter=client */
  struct jobs *key_jobs;   /* calls to it, one thread */
  _Atomic uint64_t size;   /* that clients get, written under LOCK */

  pthread_mutex_t lock;
  /* lock: */
  struct core *core;
  /* The number of this time of free reads (core_reads_freely), or 0; written
   * under LOCK, 0 before anything that the step leads to has begun.
   */
  _Atomic uint64_t free_reads;
  uint64_t free_reads_count;
  _Atomic uint64_t deadline_ms; /* of the core, after its last step */
  bool stopping;
  pthread_cond_t timer_wake; /* CLOCK_MONOTONIC */
  uint64_t timer_target;     /* ms, when the timer looks next */
  pthread_cond_t slot_free;
  uint32_t free_requests[CORE_REQUESTS_MAX], free_request_count;
  uint32_t free_conns[CORE_CONNS_MAX], free_conn_count;
  struct engine_conn conns[CORE_CONNS_MAX];
  struct engine_request requests[CORE_REQUESTS_MAX];
  struct engine_chunk chunks[CORE_CHUNKS_MAX];
  uint64_t random;
  pthread_cond_t applied; /* apply_seq, dead_link or the
                                           state changed */
  uint32_t apply_link, dead_link;
  const char *dead_reason; /* why dead_link was dropped */
  uint64_t apply_seq;
  bool apply_sync;  /* that frame shall be durable */
  bool hash_wanted; /* set and used by the frame callback */
  bool looking;     /* run_look is queued or runs */
  struct wire_frame hash_frame;
  /* Lines logged since the pair was last at one, so that what a refused
   * peer causes at each of its attempts is said once.
   */
  char said[ENGINE_SAID][ENGINE_LINE];
  uint32_t said_count;
  enum core_state said_state;
  /* The connection that was refused last, and why; empty when the last
   * attempt failed otherwise.
   */
  char refused[ENGINE_REFUSED];
  bool refused_again;                   /* since the last attempt ended */
  char arbiter_reason[ETCD_REASON_MAX]; /* "": etcd answers */
  bool keys_ended;                      /* etcd is asked nothing any more */
  struct engine_samples samples;
  struct engine_wish wish;
  struct engine_events events;
  /* The newest ping, until its answer has come (else ping_us is 0), and
   * how long the last answer took.
   */
  uint64_t ping_token, ping_us, rtt_us;
  /* What engine_unlock_and_send does. */
  bool need_flush;
  uint32_t gathered; /* frames that need no flush while core_gathers */
  uint32_t woken[CORE_REQUESTS_MAX], woken_count; /* requests */
  uint32_t drop_link;                             /* 0: none */

  /* the link's frame callback only: */
  uint64_t lone_ack_us; /* when the last one came that settled the only
                           request there was */
  uint64_t rx_seq, rx_bytes;
  uint32_t rx_frames;
  bool rx_sync; /* one of these frames shall be durable */
  int rx_error;
  uint8_t *hash_buffer; /* MARKS_CHUNK bytes */

  /* Control frames that are queued and not sent, but for the marks. */
  atomic_uint unread;

  pthread_t timer;
  bool running;

  /* figures, atomics: */
  struct latency latency[ENGINE_KINDS], rtt;
  atomic_uint_fast64_t count[ENGINE_KINDS], bytes[ENGINE_KINDS],
    errors[ENGINE_KINDS];
};

#define NO_SLOT UINT32_MAX

/* engine.c */
uint64_t engine_now_ms (void);
/* One step and its actions; LOCK is held.  Sets need_flush. */
void engine_step_locked (struct engine *engine, struct core_event *event);
/* Take the lock, step, release, send what was queued. */
void engine_step (struct engine *engine, struct core_event *event);
/* Release the lock, then send what steps under it have queued, and wake
 * whom they had news for.
 */
void engine_unlock_and_send (struct engine *engine);
void engine_log (struct engine *engine, const char *format, ...)
  __attribute__ ((format (printf, 2, 3)));
/* Unless the same was said since the link last did its work; LOCK is
 * held.
 */
void engine_log_once_locked (struct engine *engine, const char *format, ...)
  __attribute__ ((format (printf, 2, 3)));

/* engine-client.c */
uint64_t engine_now_us (void);
/* Clients' writes are durable, or ERROR has happened (commit_on_done). */
void engine_on_synced (void *engine, struct commit_waiter *list, int error);

/* engine-status.c */
/* The reason that VIEW gives, with what the engine knows beyond it; LOCK
 * is held.
 */
void engine_reason_locked (const struct engine *engine,
                           const struct core_view *view,
                           char text[ENGINE_REASON]);
/* Now and then, so that the speed of a resync is known; LOCK is held. */
void engine_sample_locked (struct engine *engine, uint64_t now_ms);

/* engine-events.c: both with LOCK held; the second after each step. */
void engine_started_locked (struct engine *engine);
void engine_news_locked (struct engine *engine);

/* engine-key.c */
/* Carry out ACT_KEY_READ or ACT_KEY_CAS, in a thread that may wait; LOCK
 * is held.
 */
void engine_ask_arbiter_locked (struct engine *engine,
                                const struct core_action *action);

/* engine-peer.c */
extern const struct link_callbacks engine_link_callbacks;
void engine_queue_locked (struct engine *engine,
                          const struct core_action *action);
void engine_read_chunk (struct engine *engine,
                        const struct core_action *action);

#endif /* DUET_ENGINE_INTERNAL_H */
