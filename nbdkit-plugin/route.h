/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * route.h: where the proxy turns next.
 *
 * A pure step function: what happened goes in with the time, what to do
 * comes out.  At most one node is asked at a time, because opening a
 * session has effects there (it fences older sessions and may make a new
 * generation): two opens side by side would be two attempts to choose a
 * primary.
 *
 *            .-----------------------------------------------.
 *            v                                               | lost
 *   down: rounds of OPEN over all nodes --accepted--> live --+
 *         (at once, then backing off)                  ^  |
 *                                                      |  | an answer is
 *                                             accepted |  v out too long
 *                                live, probing: rounds of OPEN over the
 *                                others, the session stays as it is
 *
 * Probing leaves the live session alone until another node accepts, so
 * that a slow disk costs a refused open now and then and nothing else.
 * Therefore it begins early, at a quarter of the time limit: the backup
 * may have lost the primary already and wait to be asked.  Each probe that
 * was not needed, because the answer came, doubles that, up to the limit.
 * Before the limit the serving node is pinged, so that at the limit
 * the others can be told if it cannot be reached.
 *
 * A session that has not answered yet is not probed but lost: what it
 * answered after the probe was sent would be under a generation that the
 * probe does not show, and the other node could take over without it.
 *
 * No clock, no threads, no allocation, no I/O; random numbers come from
 * the seed.  The simulator runs the same code.
 */
#ifndef DUET_ROUTE_H
#define DUET_ROUTE_H

#include <stdbool.h>
#include <stdint.h>

enum {
  ROUTE_NODES_MAX = 16,
  ROUTE_OPEN_MS = 3000,       /* a node may take so long to open */
  ROUTE_PING_MIN_MS = 250,    /* a busy node greets within this time */
  ROUTE_PAUSE_MIN_MS = 10,    /* pause after the first failed round */
  ROUTE_PAUSE_MAX_MS = 1000,  /* longest pause, before jitter */
  ROUTE_PROBE_PAUSE_MS = 100, /* between probes, before jitter, for */
  ROUTE_PROBES_QUICK = 16,    /* so many of them; then it doubles */
  ROUTE_CAUTION_MAX = 2,      /* doublings of the time to a probe, one for
                                 each that was not needed */
  ROUTE_CALM_MS = 60000,      /* without one: caution is forgotten */
  ROUTE_PATIENCE_MAX = 6,     /* doublings of the time limit for a first
                                answer, one per session lost */
};

#define ROUTE_NEVER UINT64_MAX

struct route_config {
  uint32_t nodes;      /* 1 .. ROUTE_NODES_MAX */
  uint64_t timeout_ms; /* an answer out for so long: trouble; also
                                   the longest wait for a greeting */
  uint64_t seed;
};

enum route_event_type {
  ROUTE_START,         /* once, first */
  ROUTE_TICK,          /* route_deadline has come */
  ROUTE_ACCEPTED,      /* OPEN: the node serves this session */
  ROUTE_REFUSED,       /* OPEN: the node is there, not serving */
  ROUTE_REACHED,       /* PING: the node is there */
  ROUTE_UNREACHABLE,   /* OPEN, PING: no word from the node */
  ROUTE_LOST_EOF,      /* the live session: connection gone */
  ROUTE_LOST_SHUTDOWN, /* the live session: ended by the node */
  ROUTE_LOST_TIMEOUT,  /* the live session: given up by us */
};

struct route_event {
  enum route_event_type type;
  uint64_t now_ms;  /* never goes back */
  uint64_t attempt; /* answers: the attempt they belong to */
  uint64_t sent_ms; /* when the oldest request that waits for
                                   its answer was sent; ROUTE_NEVER */
  bool fresh;       /* the live session's generation is not the newest
                       that was noted: it has not answered yet */
};

enum route_ask { ROUTE_ASK_NONE, ROUTE_ASK_OPEN, ROUTE_ASK_PING };

/* What to do, in this order. */
struct route_step {
  bool abandon;       /* drop the live session; nothing that
                                   still comes from it counts */
  bool adopt;         /* the session that was just accepted is
                                   live: replay, then send new requests */
  enum route_ask ask; /* ask this node; what was asked before is
                                   off, an answer to it is ignored */
  uint32_t node;
  uint64_t attempt;
  bool unreachable;      /* OPEN: say that the primary cannot be
                                   reached */
  uint64_t greet_by_ms;  /* time limit for its greeting */
  uint64_t answer_by_ms; /* time limit for the whole */
};

enum route_result {
  ROUTE_UNKNOWN,
  ROUTE_WAS_REFUSED,
  ROUTE_WAS_UNREACHABLE,
  ROUTE_WAS_REACHED,
};

struct route {
  struct route_config config;
  bool live;
  uint32_t node;      /* that serves, or served last, or where
                                   to begin */
  enum route_ask ask; /* asked and not answered */
  uint32_t ask_node;
  uint64_t ask_until_ms;
  uint64_t attempt; /* of the newest ask */
  bool in_round;
  uint32_t round[ROUTE_NODES_MAX];
  uint32_t round_count;
  uint32_t round_next;
  uint32_t failed_rounds;
  uint64_t round_at_ms; /* the next round begins */
  enum route_result last[ROUTE_NODES_MAX];
  bool fresh;        /* as in the last event */
  uint32_t patience; /* sessions lost without an answer */
  uint32_t caution;  /* probes that were not needed */
  uint64_t alarm_ms; /* the last of them */
  bool pinged;       /* in this stall, at: */
  uint64_t ping_ms;
  uint64_t random;
};

void route_init (struct route *route, const struct route_config *config);

struct route_step route_step (struct route *route,
                              const struct route_event *event);

/* When ROUTE_TICK is due, given SENT_MS as in the event; ROUTE_NEVER:
 * not before something happens.
 */
uint64_t route_deadline (const struct route *route, uint64_t sent_ms);

/* Invariants.  Aborts when broken. */
void route_check (const struct route *route);

#endif /* DUET_ROUTE_H */
