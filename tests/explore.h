/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore.h: the explorer: every order of events in a small world, on the
 * real core.
 *
 *   explore.c         options, what to explore, what to say about it
 *   explore-search.c  depth first over all choices, the states seen
 *   explore-shrink.c  a violation as the shortest story that shows it
 *   explore-core.c    a core in a fixed place: kept, restored
 *   explore-hash.c    when two worlds are the same
 *   explore-world.c   the choices of a world, and carrying one out
 *   explore-node.c    a node's shell and disk
 *   explore-link.c    the connection between the nodes
 *   explore-client.c  the client with its proxy, and its connections
 *   explore-check.c   the invariants
 *
 * The world: two nodes that run the real core, one link, one client that
 * obeys the rules of the proxy, a volume of two blocks, a few writes and
 * reads, a few faults.  It is one struct without pointers and two cores
 * whose memory lies at fixed addresses, so that a state is copied and put
 * back by memcpy.  Nothing happens by itself: whatever may happen next (a
 * frame arrives, a superblock is durable, a node dies with half its work
 * written, the client turns to the other node) is a choice, and the
 * search takes all of them in every state.
 *
 * What is taken together, and why nothing is lost by it:
 *
 *   - a local write, its fdatasync and the word to the core are one
 *     choice.  Its range is locked meanwhile, so no other step can see
 *     what lies between; a crash before it may leave the write undone, in
 *     the page cache, or durable.
 *   - a node's clock moves only when the choice "time passes" is taken,
 *     and then past all its short deadlines.  The silence of a peer and
 *     the deadlines of handshakes and switches are choices of their own,
 *     at any moment at which they are possible: no order of events that
 *     any timing allows is left out, however fast or slow a clock is.
 *   - a resync chunk's buffer is free as soon as its frames are queued.
 *
 * What is not in this world, but in the simulator: more clients, plain
 * clients, unaligned and overlapping requests, torn sectors, full disks,
 * several connections in a session, the proxy's own timing.
 */
#ifndef DUET_EXPLORE_H
#define DUET_EXPLORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core-internal.h"

enum {
  NODES = 2,
  BLOCKS = 2,
  CONNS = 6,   /* connections of the client, in all */
  SLOTS = 4,   /* requests, and connections, in one node */
  FRAMES = 32, /* on the way in one direction */
  HELLOS = 4,
  JOBS = 7,
  CHUNKS = 4,
  QUEUE = 8, /* messages in one direction of a connection */
  SESSIONS = 64,
  NONE = 255,
};

/* Lies of the environment, for the self-check: each must be found. */
#define PLANTS(X)                                                        \
  X (PLANT_NONE, "none", "")                                             \
  X (PLANT_SUPERBLOCK, "superblock",                                     \
     "the superblocks that a process has written are lost when it dies") \
  X (PLANT_SYNC, "sync", "what an fdatasync was reported for is lost")   \
  X (PLANT_MAP, "map", "a region map that was reported durable is lost") \
  X (PLANT_GHOST, "ghost",                                               \
     "frames of a lost link reach the store after the next one is up")   \
  X (PLANT_SHOWN, "shown",                                               \
     "the client forgets the generation that answered it last")
#define PLANT_ENUM(name, word, text) name,
enum plant { PLANTS (PLANT_ENUM) PLANT_COUNT };

/* What may happen next: name, words, is it a fault? */
#define CHOICES(X)                                                   \
  X (E_START, "starts", false)                                       \
  X (E_TICK, "time passes", false)                                   \
  X (E_DIALLED, "reaches its peer", false)                           \
  X (E_NOT_DIALLED, "cannot reach its peer", false)                  \
  X (E_UP, "has a link", false)                                      \
  X (E_FRAME, "takes a frame", false)                                \
  X (E_EOF, "sees the end of the link", false)                       \
  X (E_SILENCE, "hears nothing for too long", false)                 \
  X (E_DOWN, "has finished with the lost link", false)               \
  X (E_HEAL, "the network heals", false)                             \
  X (E_RESTART, "has failed and is restarted", false)                \
  X (E_JOB, "applies a frame", false)                                \
  X (E_LOCAL, "has carried out a request", false)                    \
  X (E_RECORD, "superblock durable", false)                          \
  X (E_MAP, "region map durable", false)                             \
  X (E_SYNC, "data file synced", false)                              \
  X (E_CHUNK, "has read a chunk", false)                             \
  X (E_ASK, "client opens a session", false)                         \
  X (E_TAKE, "takes a message of the client", false)                 \
  X (E_GONE, "sees that the client has gone", false)                 \
  X (E_REPLY, "client gets a message", false)                        \
  X (E_LOST, "client sees its connection end", false)                \
  X (E_WRITE, "client writes", false)                                \
  X (E_READ, "client reads", false)                                  \
  X (F_KILL, "is killed", true)                                      \
  X (F_POWER, "loses power", true)                                   \
  X (F_CUT, "the link is cut", true)                                 \
  X (F_PARTITION, "the network fails", true)                         \
  X (F_HANG_UP, "client gives up its connection", true)              \
  X (F_PROBE, "client tries the other node", true)                   \
  X (F_UNREACHABLE, "client says it cannot reach the primary", true) \
  X (F_DEADLINE, "loses patience with its peer", true)               \
  X (F_STORE, "has an error of its disk", true)
#define CHOICE_ENUM(name, words, fault) name,
enum choice_kind { CHOICES (CHOICE_ENUM) CHOICE_COUNT };

/* kind << 16 | detail << 1 | node; node is 0 where there is none. */
typedef uint32_t choice;
enum { CHOICES_MAX = 512 };

static inline choice
make_choice (enum choice_kind kind, unsigned node, unsigned detail)
{
  return (choice) kind << 16 | detail << 1 | node;
}

static inline enum choice_kind
choice_kind (choice c)
{
  return (enum choice_kind) (c >> 16);
}

static inline unsigned
choice_node (choice c)
{
  return c & 1;
}

static inline unsigned
choice_detail (choice c)
{
  return (c & 0xffff) >> 1;
}

/* --- link --------------------------------------------------------------- */

struct frame_in_flight {
  struct wire_frame frame;
  uint8_t tags[BLOCKS]; /* data, or hashes */
  uint8_t map;          /* MARKS, CLEAR */
  uint8_t hello;        /* HELLO, ADOPT: which of hellos */
};

/*
 * One end of a connection: NONE; WAIT until the core is told that it is
 * up; UP; CLOSING until the node has finished with what it had of it.
 */
enum end_state { END_NONE, END_WAIT, END_UP, END_CLOSING };

struct end {
  enum end_state state;
  uint32_t id;
  bool deaf; /* nothing more gets in, only the end of it */
  bool eof;  /* which may be seen now */
  uint32_t count;
  struct frame_in_flight inbox[FRAMES];
  bool hello_used[HELLOS];
  struct wire_hello hellos[HELLOS];
};

/* --- client ------------------------------------------------------------- */

enum message_type { M_OPENED, M_REFUSED, M_ANSWER, M_END };

struct message {
  uint8_t type;
  uint8_t block, tag; /* ANSWER */
  bool read;
  int error;
  struct gen_id gen;
};

/* At the server: not taken yet, being opened, open, over. */
enum server_state { S_NEW, S_OPENING, S_OPEN, S_OVER };

struct connection {
  bool used;
  uint8_t node;
  uint8_t server; /* enum server_state */
  uint8_t slot;   /* in the node */
  bool client_gone, hung_up;
  bool broken; /* its node died */
  struct core_open open;
  struct gen_id gen; /* told at the open */
  uint32_t to_server_count, to_client_count;
  struct request_message {
    uint8_t block, tag;
    bool read;
  } to_server[QUEUE];
  struct message to_client[QUEUE];
};

/* What the client waits for at a block. */
struct operation {
  bool waits, read;
  uint8_t tag;
};

struct client_model {
  uint64_t session;
  struct gen_id shown;
  uint8_t asking, live; /* connections, or NONE */
  uint8_t next_tag;
  uint8_t writes_left, reads_left;
  uint8_t value[BLOCKS]; /* what the last answer said is there */
  bool unknown[BLOCKS];  /* an error left it open */
  uint8_t maybe[BLOCKS]; /* which of the two: value or this */
  struct operation op[BLOCKS];
  struct gen_id acked; /* newest generation that acknowledged */
  uint8_t acked_by;
};

/* --- node --------------------------------------------------------------- */

struct slot {
  bool used, read, local;
  uint8_t connection, block, tag;
};

/* A frame that may touch the store, or a question for hashes. */
struct job {
  bool hash;
  uint32_t link;
  struct frame_in_flight in;
};

struct chunk_model {
  bool reading, compare;
  uint32_t free_due; /* frames just queued from its buffer */
  uint64_t offset, blocks;
  uint8_t tags[BLOCKS], hashes[BLOCKS];
};

struct node_model {
  bool alive;
  uint64_t now_ms;

  /* disk */
  uint8_t cache[BLOCKS], durable[BLOCKS];
  bool forgotten[BLOCKS]; /* by a failed sync: never written back */
  struct gen_record record;
  uint8_t map;
  struct gen_record record_before; /* PLANT_SUPERBLOCK */
  uint8_t durable_before[BLOCKS];  /* PLANT_SYNC */
  uint8_t map_before;              /* PLANT_MAP */

  /* under way */
  bool record_busy, map_busy, sync_busy, dialing;
  struct gen_record record_next;
  uint64_t record_version, sync_version;
  uint8_t map_next;
  struct slot slots[SLOTS];
  uint8_t connections[SLOTS]; /* by core slot; NONE */
  struct chunk_model chunks[CHUNKS];
  struct frame_in_flight held[JOBS];
  struct job jobs[JOBS];
  uint32_t held_count, job_count;
  bool hello_out; /* said, decision not seen yet */
};

struct world {
  struct node_model nodes[NODES];
  struct end ends[NODES];
  struct connection connections[CONNS];
  struct client_model client;
  uint32_t links;
  bool partition;
  uint8_t faults_left;
  uint64_t random;
};

extern struct world world;

struct bounds {
  bool fresh; /* from two blank nodes, else from a pair in service */
  bool apart; /* the blocks lie in two regions, else in one */
  uint32_t writes, reads, faults;
  uint32_t kinds; /* bits of the fault kinds that may happen, from F_KILL */
  enum plant plant;
};
extern struct bounds bounds;

static inline bool
kind_allowed (enum choice_kind kind)
{
  return bounds.kinds >> (kind - F_KILL) & 1;
}

/* Stories are told when this is set. */
extern bool telling;
void tell (const char *format, ...) __attribute__ ((format (printf, 1, 2)));
/* Ends the present choice. */
_Noreturn void violation (const char *format, ...)
  __attribute__ ((format (printf, 1, 2)));

static inline char
letter (unsigned node)
{
  return (char) ('A' + node);
}

static inline uint64_t
block_offset (unsigned block)
{
  return block * (bounds.apart ? (uint64_t) MARKS_CHUNK : MARKS_BLOCK);
}

static inline uint64_t
volume_size (void)
{
  return block_offset (BLOCKS - 1) + MARKS_BLOCK;
}

/* explore-core.c */
extern struct core *cores[NODES]; /* NULL: the node is dead */
extern bool stepped[NODES];       /* since search_look has seen them */
/* Once, when the world has its nodes' records. */
void core_place_init (void);
void core_place_start (unsigned node, const struct core_config *config);
void core_place_tidy (unsigned node);
void core_place_audit (void);
size_t core_kept_bytes (void);
/* Both cores; BYTES is core_kept_bytes long. */
void core_keep (uint8_t *bytes);
void core_put_back (const uint8_t *bytes);
/* The kept parts of a core alone; the rest of COPY is left as it is. */
void core_copy (unsigned node, struct core *copy);
/* The same of a copy, with what only ranges.c and marks.c understand. */
size_t core_flatten (unsigned node, const struct core *copy, uint8_t *bytes,
                     size_t room);

/* explore-hash.c */
uint64_t world_hash (void);

/* explore-world.c */
void world_init (void);
void world_prefix (void);
uint32_t world_choices (choice *list);
void world_choose (choice c);
bool world_is_fault (choice c);
void world_describe (choice c, char *text, size_t size);

/* explore-node.c */
void node_blank (unsigned node);
uint32_t node_choices (choice *list);
bool node_choose (choice c);
void node_step (unsigned node, struct core_event *event);
void node_end_connections (unsigned node);

/* explore-link.c */
uint32_t link_choices (choice *list);
bool link_choose (choice c);
void link_queue_frame (unsigned node, const struct core_action *action,
                       const uint8_t tags[BLOCKS]);
void link_close_end (unsigned node);
void link_node_died (unsigned node);

/* explore-client.c */
void client_begin (void);
uint32_t client_choices (choice *list);
bool client_choose (choice c);
void client_told (unsigned connection, struct message message);
void client_node_died (unsigned node);
void client_server_end (unsigned connection);

/* explore-check.c */
void check_complete (unsigned node, const struct core_action *action,
                     uint32_t data_before);
void check_open_done (unsigned node, const struct core_action *action);
void check_local (unsigned node, const struct core_action *action);
void check_hello (unsigned node);
void check_accepted (unsigned node, struct gen_id gen);
void check_read (unsigned block, uint8_t tag);
void check_world (void);
/* Both nodes serve as a pair, the copies are equal, nobody waits. */
bool check_at_rest (void);

/* explore-search.c */
struct search_result {
  bool found, complete, stuck;
  char rule[512];
  uint64_t states, transitions, depth_max, rest_states;
  double seconds; /* of the processor */
  choice *path;
  uint32_t path_length;
};
void search_run (uint64_t states_max, double seconds_max,
                 struct search_result *result);
/* Carry out one choice; false with RULE when it broke an invariant. */
bool search_try (choice c, char rule[512]);
/* What the cores themselves can show of a state. */
bool search_look (char rule[512]);
size_t search_state_bytes (void);
void search_keep (uint8_t *bytes);
void search_put_back (const uint8_t *bytes);

/* explore-shrink.c */
void shrink_path (struct search_result *result);
void story_print (const choice *path, uint32_t length);
bool story_replay (const char *codes);

#endif /* DUET_EXPLORE_H */
