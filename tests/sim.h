/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim.h: the deterministic simulator: one world of two nodes (the real
 * core, a simulated shell), one link, and a few clients, driven by one
 * event queue and one seed.
 *
 *   sim.c         options and output
 *   sim-runner.c  many seeds in several processes, shrinking
 *   sim-world.c   clock, event queue, random numbers, trace, one run
 *   sim-model.c   fault models
 *   sim-plan.c, sim-fault.c    which faults a run has; how they strike
 *   sim-past.c    what a run begins with, and a copy that was mended
 *   sim-disk.c    what a sector holds in the page cache and on the disk
 *   sim-link.c    connections between the nodes
 *   sim-node.c    a node's process: events into the core
 *   sim-shell.c   the core's actions carried out
 *   sim-etcd.c    etcd, and the rules that come with it
 *   sim-flush.c, sim-flush.h   the rules of durability=flush
 *   sim-calls.h   what clients' and checking files are called for
 *   sim-nbd.c     connections between clients and nodes
 *   sim-client.c  proxies, driven by the real route.c and unanswered.c
 *   sim-plain.c   clients without a proxy
 *   sim-load.c    what clients read and write, and what they were told
 *   sim-admin.c   the administrator
 *   sim-resize.c  the volume grows
 *   sim-check.c, sim-check-sync.c   invariants looked at while it runs
 *   sim-history.c linearizability of what the clients saw
 *
 * Nothing here may read a clock, use an address as a number, or take
 * randomness from anywhere but the seed.
 */
#ifndef DUET_SIM_H
#define DUET_SIM_H

#include <assert.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core.h"
#include "marks.h"
#include "route.h"
#include "sim-cell.h"
#include "sim-flush.h"
#include "unanswered.h"

enum {
  SIM_NODES = 2,
  SIM_CLIENTS = 3,
  SIM_REGIONS = 8,
  SIM_OPS = 1536,       /* client requests in a run */
  SIM_SLOTS = 256,      /* requests in a node */
  SIM_CONNS = 64,       /* client connections of a node */
  SIM_OUTSTANDING = 12, /* unanswered requests of a client */
  SIM_SESSION_CONNS = 2,
  SIM_FAULTS = 12,
  SIM_GENERATIONS = 1024,
  SIM_TRACE_LINES = 200,
  SIM_TRACE_WIDTH = 160,
  SIM_WAITERS = SIM_SLOTS + 64,
};

#define TAG_ZERO       UINT32_C (0x80000000)
#define SIM_MS         UINT64_C (1000)
#define SIM_NEVER      UINT64_MAX
/* A node's clock may go wrong by one in a hundred. */
#define SIM_DRIFT_UNIT INT64_C (100000)
#define SIM_DRIFT_MAX  (SIM_DRIFT_UNIT / 100)

/* What a tag reads as: all zeros are the same. */
static inline uint32_t
tag_value (uint32_t tag)
{
  return tag & TAG_ZERO ? 0 : tag;
}

struct sim;
struct sim_event;
typedef void sim_handler (struct sim *sim, const struct sim_event *event);

struct sim_event {
  uint64_t time_us;
  uint64_t tie;
  sim_handler *run;
  int node;      /* the process it belongs to, -1: none */
  uint32_t life; /* and which life of it */
  uint32_t a, b;
  uint64_t c;
  void *data;
};

/* --- disk --------------------------------------------------------------- */

struct disk {
  uint32_t cache[SIM_CELLS];
  uint32_t durable[SIM_CELLS];
  uint32_t written[SIM_CELLS]; /* writes so far */
  uint32_t kept[SIM_CELLS];    /* which of them is durable */
  uint64_t dirty[SIM_CELLS / 64];
  struct gen_record record; /* the superblock */
  uint8_t map[MARKS_PAGE_BYTES];
  bool fail_read, fail_write, fail_space, fail_sync, fail_meta;
  bool sync_failed; /* once failed, for this process: for good */
  uint64_t slow_us; /* added to each operation */
  bool cached;      /* a node with durability=flush has used it */
  uint32_t cells;   /* length of the data file */
  uint32_t room;    /* and the most that it can have */
};

/* Dirty cells as they are when a sync begins. */
struct disk_snapshot {
  uint32_t count;
  struct {
    uint32_t cell, tag, written;
  } * list;
};

/* --- link --------------------------------------------------------------- */

/* A frame on its way: a header and a payload as wire.c makes them.  Only
 * the payloads of data frames and hashes stand for more bytes than they
 * have: they are tags.
 */
struct packet {
  struct packet *next;
  struct wire_frame frame; /* what is sent; decoded: what came */
  bool eof, reset;         /* reset: by the network, not by the other end */
  uint64_t ready_us;
  uint32_t *tags; /* data: contents; HASH_REPLY: hashes */
  struct wire_hello *hello;
  uint8_t *payload; /* of the others */
  uint8_t header[WIRE_HEADER];
  uint64_t size, arrives; /* bytes, and how many of them get through */
  bool noise;             /* a bit was changed on the way */
};

enum pipe_state { PIPE_WAIT, PIPE_UP, PIPE_CLOSING, PIPE_DOWN };

/* One end of a connection, with the frames on their way to it. */
struct pipe_end {
  enum pipe_state state;
  bool muted; /* nothing more gets in */
  struct packet *head, *tail;
  uint64_t last_us; /* no delivery before this */
};

struct pipe {
  uint32_t id;
  struct pipe_end end[SIM_NODES];
};

/* --- node --------------------------------------------------------------- */

struct nbd;

struct slot {
  bool used;
  struct nbd *nbd;
  uint32_t op;
  uint32_t nbd_life;
  bool local, durable; /* ACT_LOCAL under way; it ends with a sync */
  uint32_t *tags;      /* what a read found */
  uint32_t peer_life;
  uint32_t *written[SIM_NODES]; /* disk.written when a flush came */
};

struct chunk_buffer {
  bool done;             /* read, since the last ACT_CHUNK */
  uint32_t first, count; /* cells */
  uint64_t blocks;
  bool compare;
  uint32_t queued; /* frames in the queue */
  uint32_t *tags;
  uint32_t *hashes; /* of the last HASH_REPLY */
  uint64_t hashes_offset;
};

enum waiter_type { WAIT_LOCAL, WAIT_APPLIED, WAIT_STORE, WAIT_FLUSH };

struct waiter {
  enum waiter_type type;
  uint32_t number; /* slot or link */
  uint64_t value;  /* seq or version */
};

/* What a target does with frames that may touch the store, in order. */
struct job {
  struct job *next;
  bool durable;
  struct packet *packet;
};

/* The newest session of a client that a process let in. */
struct accepted {
  uint64_t client, session;
};

struct node {
  int index;
  bool alive;
  uint32_t life;
  uint64_t pause_until; /* stopped (SIGSTOP) */
  uint64_t base_ms;     /* where its clock began */
  int64_t drift;        /* in SIM_DRIFT_UNIT: it goes so much faster */
  struct core *core;
  struct disk disk;
  uint64_t boot;
  bool stopping;

  uint64_t tick_us; /* the tick that is in the queue */

  struct slot slots[SIM_SLOTS];
  struct nbd *conns[SIM_CONNS];
  struct accepted newest[SIM_CLIENTS];
  struct chunk_buffer chunks[CORE_CHUNKS_MAX];
  uint32_t local_writes;
  struct gen_id proxied; /* newest generation that a proxied session opened */
  bool asked;            /* by a proxied client, since the link was lost */
  bool tried;            /* an attempt to reach the peer has failed since */

  /* group commit */
  bool syncing;
  struct disk_snapshot snapshot;
  struct waiter waiting[SIM_WAITERS], served[SIM_WAITERS];
  uint32_t waiting_count, served_count;

  /* metadata writes under way */
  bool record_busy, map_busy, grow_busy;
  uint32_t grow_cells;
  struct gen_record record_next;
  uint8_t map_next[MARKS_PAGE_BYTES];

  /* link */
  struct pipe *pipe;
  uint64_t link_up_us;
  bool link_closed; /* by the peer */
  bool dialing;
  uint64_t dial_deadline;
  uint32_t dial_number;
  uint32_t data_before; /* the record's, before this step */
  struct gen_id gen_before;
  uint64_t size;       /* that counted after the last step */
  bool hello_out;      /* sent, decision not seen yet */
  bool accuses;        /* its last BYE: the peer breaks the protocol */
  struct packet *held; /* data frames not named yet */
  struct job *jobs, *jobs_tail;
  bool job_busy;            /* the worker is at it */
  uint64_t written_seq;     /* applied, not synced yet */
  bool written_sync, lacks; /* it shall be; sim-flush.c */

  /* the administrator's */
  bool wishing;
  uint32_t wish_number;
  struct core_wish wish;
  uint64_t etcd_cut_until; /* partition from etcd */
  uint64_t deaf_until;     /* hears nothing of its peer */
  uint64_t etcd_ticket;    /* the question that is out; 0: none */
  struct gen_id etcd_name; /* of the newest attempt written down */
};

/* --- clients ------------------------------------------------------------ */

struct message {
  struct message *next;
  enum { MSG_OPEN, MSG_REQUEST, MSG_EOF, MSG_OPENED, MSG_REPLY } type;
  uint32_t op;
  int error;
  struct gen_id gen;
  uint32_t *tags;
};

/* A client's connection to a node: TCP, both directions in order. */
struct nbd {
  uint32_t id;
  int node;
  uint32_t node_life;
  int client;
  uint32_t client_life;
  struct core_open open;
  uint32_t slot; /* in the node */
  enum { NBD_NEW, NBD_OPENING, NBD_OPEN, NBD_DONE } server;
  bool server_eof;   /* the client hung up */
  bool server_muted; /* nothing more gets in here */
  bool ended;        /* ACT_CONN_ENDED */
  bool client_open, client_gone;
  bool cut;            /* by the network, and the client knows */
  struct gen_id gen;   /* as told at the open */
  struct gen_id bound; /* the node's, when it said yes */
  uint32_t cells;      /* the size, then */
  uint32_t requests;   /* at the server */
  struct message *to_server, *to_server_tail;
  struct message *to_client, *to_client_tail;
  uint64_t server_last, client_last;
};

enum op_kind { OP_READ, OP_WRITE, OP_ZERO, OP_TRIM, OP_FLUSH };

struct op {
  enum op_kind kind;
  int client;
  uint32_t client_life;
  uint32_t first, count;      /* cells */
  uint32_t invoked, answered; /* order numbers, 0: never; invoked: sent for
                                 the first time */
  uint32_t sends;
  int error;                    /* of the answer */
  uint32_t *values;             /* of a read */
  uint64_t *durable[SIM_NODES]; /* cells that were durable there once */
};

/* An answer that is passed on when the state file is written. */
struct late {
  struct late *next;
  uint32_t op;
  int node;
  struct gen_id gen;
  int error;
  uint32_t *tags;
};

struct client {
  int index;
  bool proxied;
  bool alive;
  uint32_t life;
  uint32_t depth;                /* requests at once */
  uint64_t cut_until[SIM_NODES]; /* partition from a node */
  uint32_t flaps;                /* sessions that break when they begin */
  uint32_t wanders;              /* of these, the node is out of reach */
  uint64_t late_us;              /* its next connection is so slow */
  uint32_t ops[SIM_OUTSTANDING]; /* unanswered, NO_OP: free */
  uint32_t op_count;
  uint32_t doubts[SIM_OUTSTANDING]; /* writes that it was never told of */
  uint32_t doubt_count;

  /* state file of a proxy */
  uint64_t id, session;
  struct gen_id saved;
  struct gen_id shown; /* in memory, not yet in the file perhaps */

  /* proxy */
  struct route route;
  uint64_t tick_us;
  struct unanswered *table; /* slots are those of ops */
  uint64_t tags[SIM_OUTSTANDING];
  bool answered[SIM_OUTSTANDING]; /* not passed on yet */
  struct keeper keeper;           /* with durability=flush */
  enum route_ask ask;
  uint64_t attempt;
  struct nbd *asking, *accepted;
  bool noting;
  struct late *late, *late_tail;

  /* session, or a plain client's connection */
  bool live;
  int node;
  uint32_t cells;       /* the size that it counts on */
  bool bound;           /* because it was answered */
  uint32_t shown_cells; /* by the session's first connection */
  struct gen_id served;
  uint32_t want; /* connections in a session */
  struct nbd *nbd[SIM_SESSION_CONNS];
  uint32_t nbd_count;
};

#define NO_OP UINT32_MAX

/* --- the run ------------------------------------------------------------ */

enum sim_mode {
  MODE_ONE,
  MODE_STORE,
  MODE_MANY,
  MODE_PLAIN,
  MODE_ANY,
  MODE_FORCE,
  MODE_APART,
  MODE_ETCD,
  MODE_FLUSH,
  MODE_FSTORE,
  MODE_FPLAIN,
  MODE_FFORCE,
  MODE_COUNT,
};

/* What the fault model of a mode allows. */
struct model {
  const char *name;
  const char *text;
  uint32_t proxied_min, proxied_max;
  uint32_t plain_min, plain_max;
  enum core_takeover takeover;
  enum core_arbiter arbiter;
  enum core_durability durability;
  bool partition; /* links and pauses, any number at once */
  bool store;     /* store errors */
  bool split;     /* two nodes may acknowledge apart from each other */
  bool manual;    /* now and then with takeover=manual */
  bool force;     /* the operator promotes and gives up */
};

enum fault_kind {
  FAULT_CRASH,
  FAULT_POWER,
  FAULT_STOP,
  FAULT_BOTH,
  FAULT_CUT,
  FAULT_PARTITION,
  FAULT_PAUSE,
  FAULT_CLIENT_CUT,
  FAULT_CLIENT_PARTITION,
  FAULT_CLIENT_CRASH,
  FAULT_CLIENT_AMNESIA,
  FAULT_SLOW,
  FAULT_IDLE,
  FAULT_READ,
  FAULT_WRITE,
  FAULT_SPACE,
  FAULT_SYNC,
  FAULT_TOGETHER,
  FAULT_REFUSE,
  FAULT_NOISE,
  FAULT_FLAP,
  FAULT_WANDER,
  FAULT_DEAF,
  FAULT_META,
  FAULT_SWITCH,
  FAULT_CLIENT_STALL,
  FAULT_CLIENT_LATE,
  FAULT_FORCE,
  FAULT_DISCARD,
  FAULT_VERIFY,
  FAULT_HOLD, /* the link is paused; or a full resync is asked for */
  FAULT_RESIZE,
  FAULT_ETCD_CUT, /* from here on: with arbiter=etcd only */
  FAULT_ETCD_DOWN,
  FAULT_ISOLATE,
  FAULT_ONE_WAY,
  FAULT_KINDS,
};

struct fault {
  enum fault_kind kind;
  int node, client;
  uint64_t wait_us; /* armed so long after the last fired */
  int action;       /* fires at this action, -1: at once */
  int at;           /* of this node */
  uint8_t frame;    /* and ACT_SEND: of this frame, 0: any */
  uint32_t nth;
  uint32_t dice;      /* for what its kind leaves to chance */
  uint64_t delay_us;  /* from the action to the fault */
  uint64_t length_us; /* until it is repaired */
  bool busy;          /* a client that is cut off: requests do not wait for the
                      next fault */
};

/* What takes the place of random faults and requests (a story).  With a
 * script every delay is the typical one, nothing happens by chance, and
 * events keep their order.
 */
struct sim_script {
  void (*begin) (struct sim *sim);
  void (*after) (struct sim *sim); /* each event of the world */
  void (*on_event) (struct sim *sim, struct node *node,
                    const struct core_event *event);
  void (*on_action) (struct sim *sim, struct node *node,
                     const struct core_action *action);
};

struct sim_options {
  const struct sim_script *script; /* NULL: random faults and requests */
  uint64_t seed;
  enum sim_mode mode;
  uint32_t faults;   /* at most: the first of the plan */
  uint32_t skip;     /* bits of those that are left out */
  uint32_t requests; /* at most; 0: as the seed says */
  uint64_t max_events;
  bool trace;           /* keep the last lines */
  bool follow;          /* and print all of them at once */
  uint32_t check_every; /* core_check at every so many steps, 0: never */
};
#define SIM_CHECK_BY_SEED UINT32_MAX /* at each step of every 8th seed */

/* sim-etcd.c */
struct etcd_key {
  uint64_t clock;    /* etcd's revision */
  uint64_t revision; /* of the key, 0: it is not there */
  struct arbiter_value value;
  struct gen_id past[SIM_GENERATIONS]; /* all that it ever held */
  uint32_t past_count;
  uint64_t served[SIM_NODES]; /* newest epoch in which it answered */
};

enum phase { PHASE_RUN, PHASE_HEAL, PHASE_QUIET, PHASE_READ, PHASE_DONE };

struct arena;

struct sim {
  struct sim_options options;
  const struct model *model;
  uint64_t random, plan_random;
  uint64_t now_us;
  uint32_t order; /* counts invocations and answers */
  uint64_t events, steps;
  uint64_t hash; /* of the whole trace */
  struct arena *arena;

  struct sim_event *queue;
  uint32_t queue_count, queue_room;
  uint64_t ties; /* events queued, with a script */

  uint32_t cells; /* of the volume, at most */
  uint32_t first_cells, region_cells, regions;
  uint64_t beat_ms, dead_ms, resync_rate;
  enum core_takeover takeover;
  uint64_t past_client; /* the pair has a past, made for it; 0: it has none */
  uint32_t lease_ms, grace_ms;
  struct flush_run flush; /* sim-flush.c */
  struct etcd_key etcd;

  struct node nodes[SIM_NODES];
  uint32_t pipes;
  uint64_t partition_until;
  uint64_t refuse_until; /* the peer's port is closed */

  struct client clients[SIM_CLIENTS];
  int client_count;
  uint32_t nbds;
  struct op ops[SIM_OPS];
  uint32_t op_count, op_limit;
  uint32_t hot[4];    /* cells around which requests gather */
  uint32_t hot_width; /* how far they spread there */
  uint32_t reads_percent;
  uint64_t think_us; /* a client's pause between requests */

  enum phase phase;
  uint64_t phase_us;
  uint32_t read_next;
  struct fault faults[SIM_FAULTS];
  uint32_t fault_count, fault_next;
  uint32_t fault_planned; /* before some were left out */
  uint64_t fault_kinds;   /* bits of those that this run may have */
  bool fault_burst;       /* they come close together */
  bool fault_armed;
  uint64_t idle_until; /* no new requests before */
  uint64_t busy_until; /* they do not wait for the next fault before */
  uint32_t repairs;    /* scheduled and not done yet */
  bool store_fault;    /* a store error has been injected */
  bool disk_hung;      /* a disk was so slow that its node may give up */
  bool may_split;      /* its client forgot what nobody can prove */
  int cut_for_good;    /* clients cannot reach this node in the end; -1 */
  uint32_t wishes_granted;
  bool spoilt; /* a copy was changed behind its node's back */

  /* sim-check.c */
  uint32_t differing[SIM_REGIONS]; /* cells that differ */
  uint8_t differs[SIM_CELLS];
  struct seen_gen {
    struct gen_id gen;
    uint32_t kind; /* enum gen_kind */
    struct seen_gen *parent;
    int acked_by; /* node, -1: nobody */
  } gens[SIM_GENERATIONS];
  uint32_t gen_count;
};

/* Shared with the parent process: what happened, even after an abort.
 * The sums are those of all runs of the child that have ended; in a run
 * that failed they are its own up to there.
 */
struct sim_report {
  uint64_t seed;
  bool failed;
  char rule[512];
  char lines[SIM_TRACE_LINES][SIM_TRACE_WIDTH];
  uint64_t line_count;
  uint64_t events, requests, runs, hash, virtual_us;
};
extern struct sim_report *sim_report;

/* sim-runner.c */
enum run_policy {
  RUN_EXPLAIN, /* stop at the lowest seed that fails, say nothing */
  RUN_BRIEF,   /* the same, and say one line */
  RUN_ALL,     /* all seeds, a line for each failure */
};
struct run_totals {
  uint64_t runs, requests, events, hash;
  uint64_t failed, first_failed;
  char rule[512]; /* of first_failed */
};
void runner_run (const struct sim_options *options, uint64_t seeds,
                 uint32_t jobs, enum run_policy policy,
                 struct run_totals *totals);
/* One run, its trace to stdout. */
bool runner_follow (const struct sim_options *options);
/* Make a failed run smaller; RESULT has its trace.  False: it does not
 * fail again.
 */
bool runner_shrink (const struct sim_options *failed, struct sim_options *small,
                    struct sim_report *result);

/* sim-world.c */
void sim_run (const struct sim_options *options);
void *sim_alloc (struct sim *sim, size_t bytes); /* zeroed */
uint64_t sim_random (struct sim *sim);
uint64_t sim_below (struct sim *sim, uint64_t bound);
bool sim_chance (struct sim *sim, uint32_t one_in);
/* Most often near TYPICAL, now and then much longer. */
uint64_t sim_delay (struct sim *sim, uint64_t typical_us);
void sim_at (struct sim *sim, uint64_t time_us, struct sim_event event);
void sim_after (struct sim *sim, uint64_t delay_us, struct sim_event event);
void sim_trace (struct sim *sim, const char *format, ...)
  __attribute__ ((format (printf, 2, 3)));
void sim_mix (struct sim *sim, uint64_t value);
_Noreturn void sim_fail (struct sim *sim, const char *format, ...)
  __attribute__ ((format (printf, 2, 3)));
bool sim_tracing (const struct sim *sim);

/* sim-model.c, sim-plan.c */
extern const struct model sim_models[MODE_COUNT];
void fault_plan (struct sim *sim);

/* sim-fault.c */
void fault_begin (struct sim *sim);
void fault_on_action (struct sim *sim, int node,
                      const struct core_action *action);
void fault_heal (struct sim *sim);

/* sim-past.c */
void past_make (struct sim *sim);
void past_mend (struct sim *sim, struct node *node);

/* sim-disk.c */
void disk_write (struct sim *sim, int node, uint32_t first, uint32_t count,
                 const uint32_t *tags);
void disk_sync_begin (struct sim *sim, int node, struct disk_snapshot *snap);
void disk_sync_end (struct sim *sim, int node,
                    const struct disk_snapshot *snap);
void disk_sync_fail (struct sim *sim, int node);
void disk_open (struct sim *sim, int node);
void disk_power_cut (struct sim *sim, int node);
void disk_zero (struct sim *sim, int node, uint32_t first, uint32_t count);

/* sim-link.c */
void link_dial (struct sim *sim, struct node *node, uint64_t timeout_ms);
void link_put (struct sim *sim, struct node *node, uint32_t link,
               struct packet *packet);
void link_close (struct sim *sim, struct node *node, bool silent);
void link_cut (struct sim *sim);
void link_noise (struct sim *sim, int to);
void link_deafen (struct sim *sim, int deaf);
void link_drained (struct sim *sim, struct node *node);

/* sim-etcd.c */
void etcd_ask (struct sim *sim, struct node *node,
               const struct core_action *action);
void etcd_check_action (struct sim *sim, struct node *node,
                        const struct core_action *action);
void etcd_check_record (struct sim *sim, int node,
                        const struct gen_record *record);
void etcd_check_served (struct sim *sim, int node, struct gen_id gen);

/* sim-node.c */
void node_init (struct sim *sim, int index);
void node_start (struct sim *sim, struct node *node);
void node_crash (struct sim *sim, struct node *node, bool power);
uint64_t node_clock_ms (const struct sim *sim, const struct node *node);
void node_step (struct sim *sim, struct node *node, struct core_event *event);
void node_link_up (struct sim *sim, struct node *node, uint32_t link);
void node_frame (struct sim *sim, struct node *node, struct packet *packet);
/* CLOSED: by the other end, not by a fault of the network. */
void node_link_lost (struct sim *sim, struct node *node, bool closed);
void node_worker (struct sim *sim, struct node *node);
void node_worker_idle (struct sim *sim, struct node *node);
void node_wait_sync (struct sim *sim, struct node *node, struct waiter waiter);
struct sim_event node_event (const struct node *node, sim_handler *run);

/* sim-shell.c */
/* The read of slot NUMBER goes past the core (core_reads_freely). */
void shell_read_freely (struct sim *sim, struct node *node, uint32_t number);
void shell_act (struct sim *sim, struct node *node,
                const struct core_action *action);
void shell_trace_event (struct sim *sim, const struct node *node,
                        const struct core_event *event);
bool store_read_fails (const struct node *node);
void shell_hash (struct sim *sim, struct node *node,
                 const struct wire_frame *frame);

#include "sim-calls.h"

#endif /* DUET_SIM_H */
