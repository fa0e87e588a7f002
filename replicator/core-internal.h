/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-internal.h: the core's state, shared by its files and nobody else.
 *
 *   core.c           the step, generations, service, what follows from
 *                    what (core_advance)
 *   core-link.c      link phases, heartbeats, frames
 *   core-agree.c     what the two nodes agree on: handshake, generations
 *   core-open.c      who may open: the rules of arbiter=client
 *   core-etcd.c      arbiter=etcd: who may make a generation
 *   core-lease.c     arbiter=etcd: who may serve, by whose word, how long
 *   core-client.c    connections that are open, requests
 *   core-sync.c      resync and reconcile: the source
 *   core-target.c    and the target, or backup
 *   core-pace.c      how many chunks may be on their way
 *   core-pause.c     a link that the operator has paused
 *   core-resize.c    the volume grows
 *   core-flush.c     durability=flush: what is written and not durable
 *   core-disk.c      a disk that does not answer
 *   core-admin.c     the administrator's commands
 *   core-news.c      is there anything to tell?
 *   core-verify.c    comparison of both copies, when asked for
 *   core-check.c     the executable twin of what is written below
 *
 * Link phases:
 *
 *   NONE --up--> DRAINING --drained, hello sent--> HELLO
 *     ^                                              | peer's hello
 *     |                                              v
 *     +--down-- DROPPING <--drop, silence, refusal-- DECIDED
 *
 * DRAINING, HELLO  no request starts, no generation changes (rule: from
 *                  hello to decision no T1/T2 and no write)
 * DECIDED          the relation says what the two nodes are to each other
 * DROPPING         the link counts as lost, but its store operations may
 *                  still run: nothing new begins until EV_LINK_DOWN
 *
 * Relations while DECIDED:
 *
 *   CREATE    T0 under way
 *   SYNC      same generation, both members; record.primary says who
 *   SOURCE    the peer is stale and I bring it up to date
 *   TARGET    the reverse
 *   DIVERGED  nothing flows
 */
#ifndef DUET_CORE_INTERNAL_H
#define DUET_CORE_INTERNAL_H

#include <assert.h>

#include "core-pace.h"
#include "core.h"
#include "marks.h"
#include "ranges.h"

enum link_phase {
  LINK_NONE,
  LINK_DRAINING,
  LINK_HELLO,
  LINK_DECIDED,
  LINK_DROPPING,
};

enum relation {
  REL_NONE,
  REL_CREATE,
  REL_SYNC,
  REL_SOURCE,
  REL_TARGET,
  REL_DIVERGED,
};

/* Resync at the source; with REL_SYNC the same machine reconciles. */
enum sync_phase {
  SYNC_OFF,
  SYNC_MARKS, /* waiting for the peer's marks */
  SYNC_COPY,  /* sending marked chunks; every client write is
                           sent too, but not waited for (SOURCE) */
  SYNC_DRAIN, /* no marks left, writes wait for acks; when all
                           sent before is acked: T3 */
  SYNC_JOIN,  /* T3 being persisted */
};

enum switch_phase {
  SWITCH_NONE,
  SWITCH_ASKED,    /* I want to be primary, request sent */
  SWITCH_GRANTING, /* the peer wants to: my requests drain */
  SWITCH_GRANTED,  /* grant sent, its generation awaited */
};

/* A backup gives up being chosen (core-pause.c). */
enum yield_phase {
  YIELD_NONE,
  YIELD_WANTED, /* as soon as nothing else is under way */
  YIELD_SAVING, /* its word is being made durable */
  YIELD_TOLD,   /* the peer will drop the link */
};

enum conn_state { CONN_FREE, CONN_OPENING, CONN_OPEN, CONN_ENDED };

struct conn {
  enum conn_state state;
  struct core_open open;
  uint32_t requests;    /* in the core */
  uint64_t deadline_ms; /* OPENING: refuse then */
  uint64_t attempt;     /* fresh attempt that must fail, 0: none */
  uint64_t ping;        /* round trip that must succeed, 0: none */
  uint64_t read;        /* of etcd's key that must succeed, 0: none */
  bool asked_switch;
};

/*
 * Life of a request.  It stands in exactly one place:
 *
 *   HELD       waits until this node may serve
 *   LOCKING    waits for its range
 *   MARKING    holds its range; a region bit is not durable yet
 *   READY      holds its range; waits for room in the link's window, or
 *              for the node to serve again
 *   RUNNING    local part and peer's ack outstanding, or both there and
 *              the reply waits until the node may serve
 *   RECONCILE  touches a block that is not known to be equal on both
 *              copies: waits, without its range, then starts again
 *
 *   HELD -> LOCKING -> [MARKING ->] READY -> RUNNING -> ACT_COMPLETE
 *              ^                      | |^      |
 *              +----- RECONCILE <-----+ |+------+ its link was lost: redo
 */
enum request_state {
  R_FREE,
  R_HELD,
  R_LOCKING,
  R_MARKING,
  R_READY,
  R_RUNNING,
  R_RECONCILE,
  R_STATES,
};

#define NO_SLOT UINT32_MAX

struct request {
  enum request_state state;
  enum core_request_kind kind;
  bool punch;
  bool local_out;   /* ACT_LOCAL not answered yet */
  bool peer_needed; /* reply waits for the peer's ack */
  bool redo;        /* carried out once, link lost: again */
  bool used;        /* marks_use without marks_unuse */
  bool doomed;      /* ends with doom once local_out is over */
  int doom;
  int error;         /* of the local part */
  uint64_t local_ms; /* when it began */
  uint32_t conn;
  uint64_t offset;
  uint64_t length;
  uint64_t last_seq;   /* of its frames, when sent */
  uint64_t flush;      /* FLUSH: number that the peer must answer; 0: none */
  uint64_t mark;       /* FLUSH: bytes written when it began */
  uint32_t prev, next; /* in the list of its state */
};

struct request_list {
  uint32_t head, tail;
};

/* A data frame sent and not acked. */
struct sent {
  uint64_t seq;
  uint64_t offset;
  uint64_t length;
  uint64_t cost;    /* payload bytes, for the window */
  uint32_t request; /* NO_SLOT: resync, or answered already */
  uint32_t chunk;   /* NO_SLOT: a client's */
};

/* FREE -> [HASHING -> HASHED ->] LOCKING -> READING -> SENT -> FREE; the
 * window is for those from LOCKING on.
 */
enum chunk_state {
  CHUNK_FREE,
  CHUNK_HASHING,
  CHUNK_HASHED,
  CHUNK_LOCKING,
  CHUNK_READING,
  CHUNK_SENT,
};

struct chunk {
  enum chunk_state state;
  bool compare;
  bool verify;      /* its range is held while it is hashed, too */
  bool stale;       /* its link is gone: drop the result */
  bool buffer_busy; /* until EV_CHUNK_FREE */
  uint64_t number;
  uint64_t offset, length; /* bytes */
  uint32_t unacked;        /* frames */
  uint64_t sent_ms;        /* or when the reading began */
  uint64_t ahead_bytes;    /* of clients, not acked when it was sent */
};

/* Newest session seen of each client, so that older ones are refused. */
struct client {
  uint64_t id; /* 0: free */
  uint64_t session;
  uint64_t used_ms;
};

/* The administrator's command under way. */
struct admin {
  bool busy;
  uint32_t slot;
  struct core_wish wish;
  bool to_me;         /* SWITCH: this node shall be primary */
  bool asked;         /* the peer was asked, or offered the role */
  const char *denied; /* its answer, when it was no */
  uint64_t attempt;   /* FORCE: to reach the peer, must fail; 0: none yet */
  uint64_t read;      /* PAUSE, RESYNC: of etcd's key; 0: not asked for */
  bool marked;        /* RESYNC: all of the peer's copy is marked */
  uint64_t deadline_ms;
};

/* The comparison under way, or the last one. */
struct verify {
  struct core_verify view;
  bool stop;
  uint32_t slot;    /* chunk under way, NO_SLOT: none */
  uint64_t next;    /* number of the next chunk */
  uint64_t rate;    /* bytes per second */
  uint64_t wait_ms; /* no chunk before */
};

/* Where a growth is (core-resize.c). */
enum grow_phase {
  GROW_OFF,
  GROW_NOTING,  /* that it was begun is being made durable */
  GROW_MAKING,  /* ACT_GROW is out */
  GROW_MADE,    /* for the operator: the peer is to be asked */
  GROW_ASKED,   /* and was */
  GROW_SAVING,  /* the new size is being made durable */
  GROW_UNDOING, /* ACT_GROW with the old size is out */
};

enum grow_cause {
  GROW_BY_OPERATOR, /* of this node, the primary */
  GROW_BY_PEER,     /* the primary's word */
  GROW_TO_MEET,     /* the peer's copy is larger */
  GROW_FOR_NOTHING, /* the operator's, given up */
};

struct grow {
  enum grow_phase phase;
  enum grow_cause cause;
  uint64_t to;        /* bytes */
  uint64_t version;   /* of the superblock that is waited for */
  uint64_t begun_ms;  /* ACT_GROW */
  uint32_t link;      /* on which it began */
  struct marks *room; /* for the new size, until it is the node's */
  struct core_resize view;
  uint64_t wanted; /* by the primary, bytes; 0: nothing */
  /* Copies that met and differ in size. */
  uint64_t met;       /* the peer's, the last time; 0: equal */
  uint64_t retry_ms;  /* no growth to meet it before */
  const char *failed; /* why the last one came to nothing */
};

/* What was told last (core-news.c). */
struct news {
  enum core_state state;
  const char *reason;
  bool linked, resyncing;
  struct gen_id gen;
  uint64_t size;
};

enum {
  CORE_CLIENTS = 256,
  CORE_CHUNK_FRAMES = 64, /* at most, one for each block */
  CORE_CHUNKS_HASHED = 4, /* compared ahead of the window */
};

/* What the volume's key holds, as this node sees its own generation. */
enum key_state {
  KEY_UNREAD,
  KEY_MINE,
  KEY_ABSENT,
  KEY_PAST,        /* one of my past generations: etcd was set back */
  KEY_OWN_CHILD,   /* made by me, and I do not remember */
  KEY_PEER_SWITCH, /* a switch by the peer, which it did not tell */
  KEY_AHEAD,       /* one that I do not know: the peer went on */
  KEY_FOREIGN,     /* nothing of this volume */
};

/* Which compare-and-swap is out. */
enum etcd_swap {
  SWAP_NONE, /* it is a read */
  SWAP_ATTEMPT,
  SWAP_BACK,    /* what the key held before an attempt */
  SWAP_PUBLISH, /* the present generation, for a key without it */
};

/* core-etcd.c */
struct etcd {
  uint64_t ticket; /* of the newest question */
  bool out;        /* it has no answer yet */
  enum etcd_swap swap;
  bool known, reached; /* it has answered; and the last time */
  uint64_t next_ms, wait_ms, probe_ms;
  uint64_t read_done; /* ticket of the newest read that ended */
  enum key_state key;
  uint64_t revision; /* by the newest answer */
  enum gen_kind wish;
  bool judged;      /* etcd was asked for its sake, and answered or not */
  bool allowed;     /* the key lets it come true */
  uint64_t attempt; /* to reach the peer, which must fail */
  uint64_t version; /* of the superblock with the attempt's name */
  bool sent;        /* perhaps etcd was asked for it */
  bool by_word;     /* the peer cannot be chosen, by its own word */
  struct arbiter_value value; /* scratch for ACT_KEY_CAS */
};

/* core-flush.c: with durability=flush.  Bytes are counted since the start,
 * when the write is answered.
 */
struct flush {
  /* As primary or alone. */
  uint64_t wrote;     /* bytes */
  uint64_t safe;      /* of these, durable on all members */
  uint64_t oldest_ms; /* since then some may not be; 0: none */
  uint64_t newest_ms; /* when the last was written */
  bool running;       /* a flush of the node's own */
  bool local_done;
  bool mutual; /* the peer flushes, too */
  uint64_t mark, began_ms, number, local_version;
  /* Of both members, since the link was decided: */
  uint64_t asked, done; /* numbers of WIRE_FLUSH */
  bool fresh;           /* data went out since the newest, or before it */
  bool whole;           /* one has ended */
  uint64_t whole_mark, whole_ms; /* when the newest of these began */
  /* As backup. */
  uint64_t wanted, wanted_seq, begun;
  uint64_t target_version, target_ms; /* 0: none runs */
  /* Either. */
  uint64_t version; /* of the newest ACT_FLUSH_STORE */
  bool soft;        /* the link was lost and the store not synced since */
};

struct core {
  struct core_config config;
  struct gen_record record; /* as wanted on disk */
  uint64_t size;            /* of the volume, durable: what counts */
  struct wire_hello hello;  /* scratch for HELLO and ADOPT */
  uint64_t now_ms;
  uint64_t wall_s;
  uint64_t awake_ms; /* the last time that this node had been stopped */
  uint64_t random;   /* splitmix state, fed by each event */
  bool started, stopping;
  bool failed_now; /* the store failed in this process */
  const char *failed_reason;
  int failed_errno;

  /* superblock and store durability */
  uint64_t sb_version, sb_flight, sb_durable;
  uint64_t gen_version; /* sb_durable must reach it to go on */
  uint64_t sync_version, sync_durable;
  bool map_flight;

  /* when the oldest that is out began (core-disk.c); requests: or before */
  uint64_t sb_ms, map_ms, sync_ms, apply_ms, local_ms;
  bool disk_late;

  /* the generation change under way: GEN_NONE when none */
  enum gen_kind change;
  bool change_adopts;         /* told by the peer: answer ADOPTED */
  struct gen_record previous; /* before it, when it is my own */
  bool gen_proxied;           /* a proxied session was accepted in it */
  bool was_serving;           /* at the end of the last step */

  /* arbiter=etcd */
  struct etcd etcd;
  uint64_t start_ms;
  uint64_t lease_ends_ms;         /* this node's right as primary of two */
  bool lease_closing;             /* this link grants nothing any more */
  uint64_t first_ping;            /* of this link */
  uint64_t pinged_ms[CORE_PINGS]; /* by token, when it was sent */
  uint64_t granted_ms;            /* newest ping answered, or start */
  bool peer_yielded;              /* since then: it has no right any more */
  bool switch_granted;            /* by the peer, on this link */

  /* link */
  enum link_phase phase;
  uint32_t link;
  enum relation relation;
  const char *refusal;     /* why the last link was refused */
  const char *link_reason; /* why it was lost */
  bool hello_got;
  bool was_decided;     /* this link, or the last one */
  uint64_t progress_ms; /* last ack, or first frame unacked */
  bool peer_late;       /* and that was longer than dead_ms ago */
  struct wire_hello peer_hello;
  uint64_t hello_deadline_ms;
  uint64_t last_rx_ms, last_tx_ms;
  uint64_t ping_token, pong_token, ping_ms, rtt_ms;
  bool peer_joined;    /* peer adopted the present generation */
  bool notice_pending; /* NACK or HANDOVER when FAILED is durable */
  uint8_t notice_type;
  enum switch_phase switching;
  uint64_t switch_deadline_ms, switch_after_ms;
  uint64_t switch_client, switch_session;
  /* Attempts to reach the peer are numbered; flight: one runs.  Whoever
   * needs a fresh one waits until failed reaches its number.
   */
  uint64_t attempt, attempt_wanted, attempt_failed;
  uint64_t attempt_held; /* as failed; but the peer is there, paused and
                            newer, so that it must not be passed over */
  bool attempt_flight;
  bool attempt_patient; /* it may take longer than a fresh one */
  uint64_t reconnect_ms, reconnect_wait_ms;
  bool paused;      /* by this node's operator: no link */
  bool peer_paused; /* by the peer's, when it was last heard of */
  enum yield_phase yield;
  bool yield_asked; /* primary: the peer, on this link */
  bool t1_plain;    /* plain clients wait for an immediate T1 */
  uint64_t t1_attempt;
  bool consent;         /* the peer declared itself unfit on the
                                   link just lost: T1 or T2 by its word */
  uint32_t change_link; /* link on which the change was agreed */
  bool marks_sent;      /* TARGET, and at a switch told again: on
                                   this link */
  bool marks_due;       /* SYNC, backup: when the store is synced */

  /* sending side */
  uint64_t tx_seq, acked_seq;
  struct sent sent[CORE_SENT_MAX];
  uint32_t sent_head, sent_count;
  uint32_t sent_seen; /* of these, oldest first, the peer has received */
  uint64_t sent_bytes;
  uint64_t sent_chunk_bytes; /* those of chunks */

  /* receiving side */
  uint64_t rx_seq;    /* newest data frame accepted */
  uint64_t named_seq; /* newest named by ACT_APPLY */
  uint64_t applied_seq, reply_seq;
  uint64_t hard_seq, ack_seq; /* durability=flush: durable, and acked */
  struct gen_id source_gen;   /* generation of the source's frames */
  struct {
    uint64_t offset, length;
    bool durable;
  } apply[CORE_SENT_MAX];

  /* resync */
  enum sync_phase sync;
  uint32_t marks_page; /* pages of the peer's map received */
  uint64_t drain_seq;
  uint64_t cursor;
  struct chunk chunks[CORE_CHUNKS_MAX];
  struct pace pace;
  int64_t rate_tokens; /* bytes; below 0: wait */
  uint64_t rate_ms;
  uint64_t resync_done_bytes, resync_total_bytes, resync_started_ms;
  uint64_t clear_ms;
  uint64_t clear[WIRE_REGIONS_MAX];

  /* clients */
  struct conn conns[CORE_CONNS_MAX];
  uint32_t conns_used, opening;
  struct client clients[CORE_CLIENTS];
  struct request requests[CORE_REQUESTS_MAX];
  struct request_list lists[R_STATES];
  uint32_t requests_used, writes_used, local_out;

  struct admin admin;
  struct verify verify;
  struct flush flush;
  struct grow grow;

  struct ranges *ranges; /* tags: requests, then chunks */
  struct marks *marks;

  enum core_state shown_state;
  const char *shown_reason;
  struct news told;
  uint64_t news;
  struct core_actions out;
};

/* Reasons of core_fail that several events have. */
#define CORE_DATA_ERROR \
  "the data file gave an error: mend its disk and restart this node"
#define CORE_SYNC_ERROR                                           \
  "cannot make the data file durable: mend its disk and restart " \
  "this node"
#define CORE_MAY_LACK                                                   \
  "restarted while both were members, so it may lack what was "         \
  "answered and not flushed: waits for the peer; if the peer is lost, " \
  "say duetctl promote --force"
#define CORE_METADATA_ERROR \
  "cannot write the metadata file: mend its disk and restart this node"

/* Reasons for there being no link (core-pause.c). */
#define PAUSED_HERE \
  "the link is paused by this node's operator: say duetctl resume"
#define PAUSED_THERE \
  "the link is paused by the peer's operator: say duetctl resume there"

/* Reasons of copies that differ in size (core-resize.c). */
#define RESIZE_GROWING \
  "the peer's copy is larger: this one grows to its size before they link"
#define RESIZE_PEER_SMALLER                                                 \
  "the peer's copy is smaller, and grows before they link: if that lasts, " \
  "its status says why it cannot"
#define RESIZE_SMALL_HERE                                                   \
  "this node's disk is too small for the volume's new size: make the disk " \
  "larger"
#define RESIZE_SMALL_THERE                                                  \
  "the peer's disk is too small for the volume's new size: make that disk " \
  "larger, then ask again"

/* core.c */
uint64_t core_random (struct core *core);
struct core_action *core_emit (struct core *core, enum core_action_type type);
bool core_room (struct core *core);
void core_save (struct core *core, bool binding);
void core_want_sync (struct core *core);
bool core_settled (const struct core *core);
bool core_synced (const struct core *core);
bool core_may_serve (const struct core *core);
bool core_is_primary (const struct core *core);
bool core_drained (const struct core *core);
void core_begin_change (struct core *core, enum gen_kind kind, uint64_t client,
                        uint64_t session);
void core_enter_change (struct core *core, enum gen_kind kind);
void core_fail (struct core *core, int error, const char *reason);
enum core_state core_state_of (const struct core *core, const char **reason);
void core_late_reason (const struct core *core, enum core_state state,
                       const char **reason);

/* core-link.c */
struct core_action *link_send (struct core *core, enum wire_type type);
void link_lose (struct core *core, const char *reason);
void link_drop_now (struct core *core, const char *reason);
void link_deadline_in (struct core *core);
void link_bye (struct core *core, uint64_t why, const char *reason);
void on_link_up (struct core *core, const struct core_event *event);
void on_link_down (struct core *core, const struct core_event *event);
void on_connect_failed (struct core *core);
void on_frame (struct core *core, const struct core_event *event);
void link_tick (struct core *core);
void link_advance (struct core *core);
uint64_t link_deadline (const struct core *core);
uint64_t link_attempt (struct core *core);
uint64_t link_ping (struct core *core);
void link_error (struct core *core, const char *reason);
void link_fill_hello (struct core *core);

/* core-agree.c */
void link_decide (struct core *core);
void link_changed (struct core *core, enum gen_kind kind);
void link_ask_switch (struct core *core, const struct conn *conn, uint64_t how);
void on_hello (struct core *core, const struct wire_hello *hello);
void on_adopt (struct core *core, const struct core_event *event);
void on_adopted (struct core *core);
void on_switch_request (struct core *core, uint64_t how);
void on_switch_grant (struct core *core);
void on_switch_deny (struct core *core, uint64_t why);
void on_unfit (struct core *core);

/* core-open.c */
void on_open (struct core *core, const struct core_event *event);
void open_refuse (struct core *core, uint32_t slot, const char *reason);
void open_advance (struct core *core);
uint64_t open_deadline (const struct core *core);

/* core-etcd.c */
void on_arbiter (struct core *core, const struct core_event *event);
void etcd_advance (struct core *core);
uint64_t etcd_deadline (const struct core *core);
bool etcd_undecided (const struct core *core);
uint64_t etcd_read_soon (struct core *core);
bool etcd_read_done (const struct core *core, uint64_t number);
bool etcd_lets_switch (const struct core *core);
bool etcd_bars (const struct core *core);
const char *etcd_reason (const struct core *core);
void etcd_check (const struct core *core);

/* core-lease.c */
bool core_by_etcd (const struct core *core);
void on_link_closing (struct core *core, const struct core_event *event);
void lease_reset (struct core *core);
void lease_pinged (struct core *core);
void lease_answered (struct core *core, uint64_t token);
void lease_grant (struct core *core);
void lease_yielded (struct core *core);
uint64_t lease_free_ms (const struct core *core);
bool lease_holds (const struct core *core);
uint64_t lease_left_ms (const struct core *core);
uint64_t lease_wait_ms (const struct core *core);
uint64_t lease_deadline (const struct core *core);
void lease_check (const struct core *core);

/* core-pause.c */
void on_yield (struct core *core);
void on_yielded (struct core *core, uint64_t paused);
void pause_yield (struct core *core);
void pause_take_back (struct core *core);
void pause_advance (struct core *core);
bool pause_fits (const struct core *core);
void pause_end (struct core *core);
bool pause_holds (struct core *core, enum gen_verdict verdict);
const char *pause_reason (const struct core *core);

/* core-resize.c */
void resize_keep (struct gen_record *record, const struct gen_record *now);
bool resize_runs (const struct core *core);
const char *resize_begin (struct core *core, const struct core_wish *wish);
void on_resize (struct core *core, uint64_t to);
void on_resized (struct core *core, uint64_t result, uint64_t bytes);
bool resize_meet (struct core *core, enum gen_verdict verdict);
bool resize_is_long (const struct core *core);
void resize_link_lost (struct core *core);
void on_grown (struct core *core, const struct core_event *event);
void resize_advance (struct core *core);
void resize_check (const struct core *core);

/* core-flush.c */
bool core_by_flush (const struct core *core);
void flush_start (struct core *core);
void flush_link_up (struct core *core);
void flush_link_lost (struct core *core);
void flush_wrote (struct core *core, uint64_t bytes);
bool flush_holds_back (const struct core *core);
void flush_begin_request (struct core *core, struct request *r);
void flush_end_request (struct core *core, const struct request *r);
bool flush_hardened (const struct core *core);
bool flush_whole (const struct core *core);
uint64_t flush_clear_before (const struct core *core, uint64_t idle_before_ms);
uint64_t flush_patience_ms (const struct core *core);
void on_flush (struct core *core, uint64_t number);
void on_flushed (struct core *core, uint64_t number);
void on_store_flushed (struct core *core, const struct core_event *event);
void flush_advance (struct core *core);
uint64_t flush_deadline (const struct core *core);

/* core-disk.c */
void disk_note_time (struct core *core, uint64_t now_ms);
void disk_advance (struct core *core);
uint64_t disk_late_ms (const struct core *core);
uint64_t disk_deadline (const struct core *core);

/* core-admin.c */
void on_admin (struct core *core, const struct core_event *event);
void on_switch_offer (struct core *core, uint64_t how);
const char *admin_out_of_sync (const struct core *core);
bool admin_changes (const struct core *core);
uint64_t admin_why_denied (const struct core *core);
void admin_denied (struct core *core, uint64_t why);
bool admin_pauses (const struct core *core);
void admin_yielded (struct core *core);
void admin_advance (struct core *core);
uint64_t admin_deadline (const struct core *core);

/* core-news.c */
void news_advance (struct core *core);

/* core-verify.c */
const char *verify_begin (struct core *core, const struct core_wish *wish);
const char *verify_stop (struct core *core);
bool verify_runs (const struct core *core);
void verify_advance (struct core *core);
void verify_locked (struct core *core, uint32_t slot);
void verify_compared (struct core *core, uint32_t slot, uint64_t blocks);
uint64_t verify_deadline (const struct core *core);

/* core-client.c */
void client_init (struct core *core);
void client_fence (struct core *core, const struct core_open *open);
void on_close (struct core *core, uint32_t slot);
void on_hangup (struct core *core, uint32_t slot);
void on_request (struct core *core, const struct core_event *event);
void on_local_done (struct core *core, const struct core_event *event);
void client_advance (struct core *core);
void client_end (struct core *core, bool plain_too, int error);
void client_link_lost (struct core *core);
void client_acked (struct core *core, uint32_t slot, uint64_t seq);
void client_flushed (struct core *core, uint64_t number);
void client_locked (struct core *core, uint32_t slot);
void client_unlock (struct core *core, uint32_t tag);
void client_solo (struct core *core);
bool client_any_plain (const struct core *core);
bool client_running (const struct core *core);

/* core-sync.c */
void sync_start (struct core *core);
void sync_reset (struct core *core);
void sync_advance (struct core *core);
void sync_tick (struct core *core);
void sync_joined (struct core *core);
void sync_switched (struct core *core);
void sync_lock_chunk (struct core *core, uint32_t slot);
void sync_locked (struct core *core, uint32_t slot);
bool sync_sends_writes (const struct core *core);
bool sync_waits_for_peer (const struct core *core);
bool sync_room_for_write (const struct core *core, uint64_t cost);
void sync_send_request (struct core *core, uint32_t slot);
void sync_send_marks (struct core *core);
void on_chunk_done (struct core *core, const struct core_event *event);
void on_chunk_free (struct core *core, uint32_t slot);
void on_ack (struct core *core, uint64_t seq);
void on_received (struct core *core, uint64_t seq);
void on_marks (struct core *core, const struct wire_frame *frame,
               const uint8_t *payload);
void on_hash_reply (struct core *core, const struct wire_frame *frame);
uint64_t sync_deadline (const struct core *core);

/* core-target.c */
void on_clear (struct core *core, const struct wire_frame *frame,
               const uint8_t *payload);
void on_data (struct core *core, const struct wire_frame *frame);
void on_applied (struct core *core, const struct core_event *event);
void target_advance (struct core *core);

#endif /* DUET_CORE_INTERNAL_H */
