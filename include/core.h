/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core.h: the node's state machine, as a pure step function.
 *
 * Events go in, a list of actions comes out.  The core makes no system
 * call, reads no clock, starts no thread, writes no log, and allocates
 * nothing after core_new.  It sees offset, length, sequence and result,
 * never the data.  One mutex of the caller guards it; any thread may
 * step it.  The simulator steps the same code.
 *
 * The contract on order is stronger than "what must be durable stands
 * first in the list": an action that depends on something durable is not
 * in any list until the event that reports the durability has come in
 * (EV_SB_DURABLE, EV_MAP_DURABLE, EV_STORE_SYNCED, EV_LOCAL_DONE,
 * EV_APPLIED).  The actions of one list may therefore be carried out by
 * different threads, with one rule: ACT_SEND frames enter the link's
 * queue in the order in which the core emitted them, over all lists.
 */
#ifndef DUET_CORE_H
#define DUET_CORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "generation.h"
#include "wire.h"

struct marks;

enum {
  CORE_REQUESTS_MAX = 1024, /* client requests in the core at once */
  CORE_CONNS_MAX = 1024,    /* client connections */
  CORE_CHUNKS_MAX = 16,     /* resync chunks under way */
  CORE_SENT_MAX = 8192,     /* data frames sent and not acked */
  CORE_SENT_BYTES_MAX = 64 * 1024 * 1024,
  CORE_ACTIONS_MAX = 4096,     /* in one list */
  CORE_REGION_IDLE_MS = 10000, /* a region bit outlives its last write */
  CORE_ATTEMPT_MS = 50,        /* fresh attempt to reach the peer */
  CORE_RECONNECT_MS = 250,     /* longest time between attempts */
  CORE_PAUSED_MS = 10000,      /* between looks at a peer that is paused */
  CORE_RETRY_MS = 1000,        /* least time between switches by request,
                                   and between refused handshakes */
  CORE_ZERO_RATE = 10 * 1024,  /* bytes in a ms that a disk may need for a
                                  trim or zero: 10 MB/s, less than any disk
                                  writes */
  CORE_DIFFERENCES = 64,       /* ranges that a comparison remembers */
  CORE_STALL_FACTOR = 10,      /* times dead_ms: an ack must come, and
                                   the own disk answer */
  CORE_ARBITER_MS = 1000,      /* an ACT_KEY_* is answered by then */
  CORE_ARBITER_WAIT_MS = 50,   /* before etcd is asked again; doubles */
  CORE_PROBE_MS = 5000,        /* how often etcd is asked for nothing */
  CORE_PINGS = 32,             /* pings whose answer may grant a lease */
};

/* arbiter= */
enum core_arbiter {
  ARBITER_CLIENT, /* a proxied client is the witness (the default) */
  ARBITER_ETCD,   /* a key in etcd holds the generation */
};

/* takeover= */
enum core_takeover {
  TAKEOVER_PROXY,  /* proxied clients decide (the default) */
  TAKEOVER_ANY,    /* whoever asks */
  TAKEOVER_MANUAL, /* a backup takes over only by the operator */
};

/* Node states as users see them. */
#define CORE_STATES(X)                                                   \
  X (STATE_WAITING, "waiting") /* started, no word from the peer */      \
  X (STATE_BACKUP, "backup")                                             \
  X (STATE_SYNCING, "syncing")     /* target of a resync */              \
  X (STATE_PRIMARY, "primary")     /* peer in sync */                    \
  X (STATE_SOLO, "solo")           /* members is me alone */             \
  X (STATE_CANDIDATE, "candidate") /* link lost, waiting to be chosen */ \
  X (STATE_DIVERGED, "diverged")                                         \
  X (STATE_FAILED, "failed")
#define CORE_STATE_ENUM(name, word) name,
enum core_state { CORE_STATES (CORE_STATE_ENUM) CORE_STATE_COUNT };

/* durability= */
enum core_durability {
  DURABILITY_WRITE, /* a write is durable before its answer (the default) */
  DURABILITY_FLUSH, /* it is written before; durable at the next flush */
};

struct core_config {
  uint64_t beat_ms;     /* heartbeat interval, >= 1 */
  uint64_t dead_ms;     /* silence that ends a link, > beat_ms */
  uint64_t resync_rate; /* bytes per second, 0: no cap */
  enum core_takeover takeover;
  enum core_arbiter arbiter;
  /* With ARBITER_ETCD, else 0: a primary of two members serves for so
   * long after it sent a ping that was answered; a backup that takes over
   * serves no sooner than so long after it answered one.  core_grace_min
   * (lease_ms) <= grace_ms, beat_ms < lease_ms.
   */
  uint32_t lease_ms, grace_ms;
  uint64_t boot; /* random, different at each start */
  enum core_durability durability;
  /* With DURABILITY_FLUSH, else 0: when so many bytes, or the oldest for
   * so long, were answered and not flushed, the node flushes by itself.
   * Both >= 1.
   */
  uint64_t flush_bytes, flush_ms;
};

/* The least grace= for a lease=: the clocks of the two nodes may each be
 * wrong by two in a hundred, and count whole milliseconds.
 */
static inline uint32_t
core_grace_min (uint32_t lease_ms)
{
  return lease_ms + lease_ms / 20 + 2;
}

/* -------------------------------------------------------- arbiter=etcd */

/*
 * What the volume's key in etcd holds: the newest generation.  Its name,
 * with a random id, is also the name of the attempt to make it: whoever
 * reads its own attempt there knows that it took place.
 */
struct arbiter_value {
  uint64_t volume;
  struct gen_id gen;
  struct gen_id parent; /* the generation it was made from; epoch 0: the
                           key is written for the first time, maybe */
  uint32_t kind;        /* enum gen_kind */
  uint64_t maker;       /* node id of who made it */
  uint64_t primary;     /* node id; 0: none yet */
  uint64_t members[2];  /* node ids; {primary, 0}: one member */
};

enum arbiter_result {
  ARBITER_DONE,        /* READ: the answer says what the key holds now
                           (linearizable); CAS: it took place */
  ARBITER_CONFLICT,    /* CAS: it did not and never will: the key has
                           another revision, the answer says what it holds */
  ARBITER_UNKNOWN,     /* CAS: it may have taken place, or may still do so;
                           READ: no answer */
  ARBITER_UNREACHABLE, /* for certain it was not carried out and will not
                           be: no connection to send it on, refused before
                           it was looked at (authentication) */
};

struct arbiter_answer {
  enum arbiter_result result;
  uint64_t revision; /* the key's mod revision now; 0: there is no key */
  bool understood;   /* value is what the key holds; false with a
                           revision: it holds something else */
  struct arbiter_value value;
};

/* ------------------------------------------------------------ events */

enum core_event_type {
  EV_START,          /* once, first */
  EV_TICK,           /* core_deadline has come; harmless at any time */
  EV_OPEN,           /* slot = connection, open */
  EV_CLOSE,          /* slot = connection; its requests have ended */
  EV_REQUEST,        /* slot = request, request */
  EV_LOCAL_DONE,     /* slot = request, error: ACT_LOCAL ended; when
                           error is 0 a write is durable, or written, as
                           was asked for */
  EV_LINK_UP,        /* link: a connection after its greeting; only
                           while there is no other */
  EV_LINK_DOWN,      /* link: gone; every frame taken off it has been
                           applied or dropped, nothing of it will touch
                           the store any more.  peer_closed: see below */
  EV_CONNECT_FAILED, /* an ACT_CONNECT ended without EV_LINK_UP */
  EV_FRAME,          /* link, frame, and for HELLO and ADOPT hello,
                           for MARKS and CLEAR payload.  A data frame's
                           payload is kept until ACT_APPLY names its seq */
  EV_APPLIED,        /* link, seq, error: all frames up to seq that
                           ACT_APPLY named are written, and those up to
                           the last that shall be durable are; or one
                           failed */
  EV_SB_DURABLE,     /* version, error */
  EV_MAP_DURABLE,    /* error: the pages of the last ACT_PERSIST_MAP */
  EV_STORE_SYNCED,   /* version of ACT_SYNC_STORE, error */
  EV_CHUNK_DONE,     /* slot = chunk, error, blocks = differing blocks
                           that were read, zeros = those that are zero
                           (a subset of blocks) */
  EV_CHUNK_FREE,     /* slot = chunk: all its WRITE frames (if it had
                           any) have left the queue; the buffer may be
                           used again */
  EV_HANGUP,         /* slot = connection: its client has gone while
                           something waits: end that, then EV_CLOSE */
  EV_STOP,           /* the process ends: finish what waits */
  EV_STORE_SHORT,    /* the data file is shorter than the volume */
  EV_ADMIN,          /* slot = caller, wish */
  EV_LINK_CLOSING,   /* link: the shell is about to shut it down of its
                           own accord (an error, a bad frame, another
                           connection), and will when this step is over.
                           Not needed after ACT_DROP_LINK, nor when the
                           peer closed it */
  EV_ARBITER,        /* version of ACT_KEY_*, arbiter: its answer */
  EV_STORE_FLUSHED,  /* version of ACT_FLUSH_STORE, error */
  EV_GROWN,          /* of ACT_GROW: error, and bytes: of a block device
                        that is too small (ENOSPC), else 0.  Without an
                        error room: new marks of that size, the core's
                        from now on; NULL if the volume has that size */
};

/* What the administrator asks for. */
enum core_admin {
  ADMIN_SWITCH,  /* another node shall be primary, both stay members */
  ADMIN_FORCE,   /* this node shall serve alone, whatever the peer has */
  ADMIN_DISCARD, /* diverged: this copy is given up for the peer's */
  ADMIN_VERIFY,  /* compare both copies; it goes on by itself */
  ADMIN_VERIFY_STOP,
  ADMIN_PAUSE,  /* no link until ADMIN_RESUME; a backup steps back first */
  ADMIN_RESUME, /* the link may come about again */
  ADMIN_RESYNC, /* the peer's whole copy is compared and made equal */
  ADMIN_RESIZE, /* the volume shall have size bytes; it goes on by itself */
  ADMIN_KINDS,
};

struct core_wish {
  enum core_admin kind;
  /* SWITCH: who shall be primary? */
  enum { ADMIN_TO_OTHER, ADMIN_TO_ME, ADMIN_TO_PEER } to;
  bool end_plain; /* SWITCH: clients without a proxy may be cut off */
  bool repair;    /* VERIFY: send what differs */
  uint64_t rate;  /* VERIFY: bytes per second; 0: no limit */
  uint64_t size;  /* RESIZE: bytes */
};

enum core_request_kind {
  REQ_READ,
  REQ_WRITE,
  REQ_TRIM,
  REQ_ZERO,
  REQ_FLUSH,
};

struct core_open {
  bool proxied;
  uint64_t client;     /* proxied: client id, not 0 */
  uint64_t session;    /* proxied: session number, from 1 */
  struct gen_id shown; /* newest generation the client was
                                   served under; epoch 0: none */
  bool unreachable;    /* it says it cannot reach the primary */
};

struct core_event {
  enum core_event_type type;
  uint64_t now_ms; /* every event; never goes back */
  uint64_t random; /* every event: 64 fresh random bits */
  uint64_t wall_s; /* every event: since 1970, for people; 0: not known */
  uint32_t slot;
  uint32_t link;
  int error;  /* errno or 0 */
  bool fatal; /* with error: an fdatasync failed, the
                                   store cannot be trusted any more */
  uint64_t seq;
  uint64_t version;
  uint64_t blocks;
  uint64_t zeros;
  uint64_t bytes;
  struct marks *room;
  /* LINK_DOWN: the peer's end was closed while this one was open: recv
   * gave 0 or ECONNRESET.  Not so after any other error, a timeout of
   * this machine's TCP among them.
   */
  bool peer_closed;
  struct core_open open;
  struct {
    enum core_request_kind kind;
    uint32_t conn;
    uint64_t offset;
    uint64_t length;
    bool punch; /* ZERO: may free the space */
  } request;
  struct core_wish wish;
  const struct wire_frame *frame;
  const struct wire_hello *hello;
  const uint8_t *payload;
  const struct arbiter_answer *arbiter;
};

/* ----------------------------------------------------------- actions */

enum core_action_type {
  ACT_LOCAL,       /* slot = request: carry out its local part: read,
                           or write, or nothing (a flush); if durable,
                           then fdatasync; then EV_LOCAL_DONE */
  ACT_COMPLETE,    /* slot = request, error: answer the client; the
                           slot is free again */
  ACT_OPEN_DONE,   /* slot = connection, error (0, or why not with
                           reason); after an error the slot is free */
  ACT_CONN_ENDED,  /* slot = connection: it will only get ESHUTDOWN
                           from now on; hang up if you can */
  ACT_SEND,        /* link, frame: queue it.  Payload: WRITE of a
                           request: slot = request, bytes [frame.offset -
                           request.offset); with WIRE_RESYNC: slot =
                           chunk, bytes [frame.offset % MARKS_CHUNK);
                           HELLO, ADOPT: core_hello; MARKS: page
                           frame.offset of core_map; CLEAR: core_clear */
  ACT_APPLY,       /* link, seq: the data frame may touch the store;
                           durable: it shall be durable before
                           EV_APPLIED */
  ACT_HASH,        /* link, frame (a HASH_REQUEST): after all frames
                           named before are written (not synced), hash and
                           send HASH_REPLY with the same offset, length
                           and arg */
  ACT_PERSIST_SB,  /* version: write core_record now, then
                           EV_SB_DURABLE; one at a time */
  ACT_PERSIST_MAP, /* first, last: write these map pages (as they are
                           now), then EV_MAP_DURABLE; one at a time */
  ACT_SYNC_STORE,  /* version: fdatasync, then EV_STORE_SYNCED */
  ACT_CHUNK,       /* slot = chunk: offset, length, blocks: read these
                           blocks; compare: the peer's hashes of the last
                           HASH_REPLY with arg = slot say which differ.
                           Then EV_CHUNK_DONE */
  ACT_CONNECT,     /* try once to reach the peer, at most version ms
                           to the greeting; while an attempt is under
                           way: that one must end by then, too */
  ACT_DROP_LINK,   /* link: close it; EV_LINK_DOWN follows */
  ACT_STATE,       /* the state or its reason changed: log it */
  ACT_ADMIN_DONE,  /* slot of the EV_ADMIN, error (0, or why not with
                           reason).  A command is answered once, at the
                           latest twice dead_ms and a second after it
                           came */
  ACT_KEY_READ,    /* version: read the key of core_record's volume,
                           linearizably.  Both: one at a time, never without
                           ARBITER_ETCD; answered by exactly one EV_ARBITER
                           within CORE_ARBITER_MS, after which the shell
                           does not send it again */
  ACT_KEY_CAS,     /* version; seq: if the key's mod revision is this (0:
                           if there is no key), set it to
                           core_arbiter_value, and in any case tell what it
                           holds then */
  ACT_FLUSH_STORE, /* version: fdatasync beside all else that goes on,
                           then EV_STORE_FLUSHED; never without
                           DURABILITY_FLUSH */
  ACT_GROW,        /* length: make both files ready for a volume of so
                           many bytes: the data file has that length, what
                           was added reads as zeros, the region map has its
                           pages, clear; all of it durable.  Not less than
                           the record's size: what is longer is cut off.
                           Then EV_GROWN; one at a time */
};

struct core_action {
  enum core_action_type type;
  uint32_t slot;
  uint32_t link;
  int error;
  uint32_t first, last;
  bool compare;
  bool durable;
  uint64_t seq;
  uint64_t version;
  uint64_t offset;
  uint64_t length;
  uint64_t blocks;
  const char *reason; /* static text */
  struct wire_frame frame;
};

struct core_actions {
  uint32_t count;
  /* More is ready than fits: step EV_TICK again at once. */
  bool more;
  struct core_action list[CORE_ACTIONS_MAX];
};

/* ---------------------------------------------------------- functions */

struct core;

/* RECORD and MAP (marks_map layout, MAP_BYTES long; NULL: all clear) are
 * what the metadata says; for a blank node the record has data ==
 * DATA_BLANK, node, size, region_size and has_data set.  NULL: no memory.
 */
struct core *core_new (const struct core_config *config,
                       const struct gen_record *record, const uint8_t *map,
                       uint64_t map_bytes);
void core_free (struct core *core);

/* One step.  The list belongs to the core and is valid until the next. */
const struct core_actions *core_step (struct core *core,
                                      const struct core_event *event);

/* When EV_TICK is due; UINT64_MAX: not at all. */
uint64_t core_deadline (const struct core *core);

/* The volume's size in bytes that counts for clients now: durable on this
 * node, and on every other one that must hold what is answered.  Never less
 * than before.
 */
uint64_t core_size (const struct core *core);

/* For ACT_PERSIST_SB, ACT_SEND, ACT_PERSIST_MAP. */
const struct gen_record *core_record (const struct core *core);
const struct wire_hello *core_hello (const struct core *core);
const uint8_t *core_map_page (const struct core *core, uint32_t page);
const uint64_t *core_clear (const struct core *core);
/* For ACT_KEY_CAS; valid until the next step. */
const struct arbiter_value *core_arbiter_value (const struct core *core);
/* Is this HASH_REPLY one that the core waits for?  Asked before the step,
 * so that nothing else can overwrite hashes that are in use.
 */
bool core_hash_wanted (const struct core *core, const struct wire_frame *frame);

/* False: the store failed, and a data frame that waits for ACT_APPLY will
 * never be named: throw it away, so that the link's end is seen.
 */
bool core_takes_data (const struct core *core);
/* Does nothing but the peer's ack, or the loss of the link, stand between
 * the request in SLOT and its answer?
 */
bool core_waits_for_ack (const struct core *core, uint32_t slot);
/* May the newest QUEUED frames of clients' writes wait for more, to be sent
 * with them?  Only while others are on their way to the peer, whose word of
 * them is an event after which this is to be asked again.
 */
bool core_gathers (const struct core *core, uint32_t queued);
/* May reads of open connections be answered without asking, until a step
 * after which this is false?  Only while there is no write whatever, so
 * that a read sees what is durable on all members (I3), and this node
 * serves, and nothing but a step can end that: with arbiter=etcd time can.
 */
bool core_reads_freely (const struct core *core);

/* How far the last comparison has come. */
struct core_verify {
  bool active, repair;
  const char *ended;   /* why before its end; NULL: it came there */
  uint64_t started_ms; /* 0: there was none since the start */
  uint64_t checked_bytes;
  uint64_t different_bytes, different_blocks;
  uint32_t count; /* ranges; of very many just the first */
  struct core_difference {
    uint64_t offset, length;
  } list[CORE_DIFFERENCES];
};

/* The last growth that this node's administrator has asked for. */
struct core_resize {
  bool active;
  const char *ended;   /* why it came to nothing; NULL: it came true */
  uint64_t started_ms; /* 0: there was none since the start */
  uint64_t from_bytes, to_bytes;
  uint64_t disk_bytes; /* of the block device that is too small; 0: none */
};

/* A copy of what status shows. */
struct core_view {
  enum core_state state;
  const char *reason;         /* one sentence, static text */
  const char *link_reason;    /* why the last link was lost; NULL: none */
  bool settled;               /* the generation in the record is durable */
  bool diverged;              /* from the peer that is connected */
  uint32_t fork;              /* then: generations that only this node has */
  bool refused;               /* reason: why the last link was refused */
  uint64_t peer_size_bytes;   /* then: of the peer's volume */
  bool paused;                /* the link, by this node's operator */
  bool peer_paused;           /* by the peer's, as far as known */
  bool serving;               /* client requests are carried out */
  bool linked;                /* a link is up and decided */
  bool resyncing;             /* source of a resync or reconcile */
  enum core_state peer_state; /* as far as known; waiting: unknown */
  struct gen_record record;   /* its size: the one that counts now */
  uint64_t dirty_bytes;
  uint64_t resync_done_bytes;
  uint64_t resync_total_bytes;
  uint64_t resync_started_ms;
  uint32_t requests; /* in the core now */
  uint32_t conns;
  uint64_t rtt_ms; /* of the last answered ping */
  struct core_verify verify;
  struct core_resize resize;
  uint64_t growing_to; /* this copy is being made so large; 0: it is not */
  /* With ARBITER_ETCD: */
  bool arbiter_known;       /* etcd has answered since the start */
  bool arbiter_reached;     /* and the last time it was asked */
  enum gen_kind attempt;    /* generation asked for, not decided yet */
  uint64_t lease_left_ms;   /* as primary of two: right to serve */
  uint64_t grace_left_ms;   /* as backup: the peer's may last so long */
  uint64_t disk_late_ms;    /* an operation on this node's files has
                                   been out so long; 0: not too long */
  uint64_t unflushed_bytes; /* answered by this node, not flushed since */
};
void core_view (const struct core *core, struct core_view *view);

/* Counts the steps that changed state or reason, the link, the durable
 * generation, the size, or whether a resync is under way.
 */
uint64_t core_news (const struct core *core);

const char *core_state_name (enum core_state state);

/* The invariants that one node alone can show, by brute force.  Aborts
 * when broken.  Run after each step in test builds.
 */
void core_check (const struct core *core);

#endif /* DUET_CORE_H */
