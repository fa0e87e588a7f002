/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy-internal.h: what the parts of the proxy share.
 *
 *   proxy.c          life cycle, the control thread, log, state file
 *   proxy-session.c  the live session: adopt, abandon, its connections
 *   proxy-node.c     one thread per node: opens sessions, pings
 *   proxy-request.c  requests: send, wait, replay
 *   proxy-status.c   what the proxy says of itself
 *   proxy-kept.c     writes that were answered and not flushed
 *
 * One mutex guards every field that does not say otherwise.  It is never
 * held across libnbd, a file or the log.  Functions that need it held say
 * so by "_locked"; those marked "may unlock" release it on the way, so
 * their caller looks at everything anew.
 *
 * libnbd's own lock (one per handle) is taken outside of ours: completion
 * callbacks run under it and take the mutex.
 */
#ifndef DUET_PROXY_INTERNAL_H
#define DUET_PROXY_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>

#include "exportname.h"
#include "kept.h"
#include "latency.h"
#include "proxy.h"
#include "proxystate.h"
#include "unanswered.h"

enum {
  PROXY_THREADS = 5, /* besides one per node */
  PROXY_LOG_LINES = 64,
  PROXY_LOG_MAX = 512,
  PROXY_PATH_LIMITS = 3,       /* a path silent for so many limits is dead */
  PROXY_CHECK_MS = 1000,       /* waiting threads look at their client */
  PROXY_LOOK_MS = 500,         /* a client that connects may wait for one */
  PROXY_SESSIONS_AHEAD = 1000, /* session numbers reserved per save */
};

struct request;
TAILQ_HEAD (request_list, request);

/* One connection of a session. */
struct conn {
  struct proxy *proxy;
  struct nbd_handle *nbd; /* set before it is shared; closed when
                                   abandoned and busy == 0 */
  int fd;                 /* dup of the socket, so that it names this
                                   socket until the conn is freed */
  int kick;               /* eventfd: wakes who polls */
  uint64_t session;
  struct request_list requests; /* sent here, thread not yet gone on */
  uint32_t load;                /* sent here and not answered */
  uint32_t busy;                /* threads inside libnbd with nbd */
  uint32_t refs;                /* the list of conns, and requests */
  bool polled;                  /* some thread waits on it */
  enum conn_fault {
    CONN_GOOD,
    CONN_EOF,
    CONN_SHUTDOWN,
  } fault;
  bool abandoned; /* nothing that still comes counts */
  bool polite;    /* idle at the end: say goodbye */
  bool closing;   /* some thread closes nbd */
  bool closed;    /* nbd is gone: buffers are free */
  TAILQ_ENTRY (conn) all;
};
TAILQ_HEAD (conn_list, conn);

/* The shell's part of a request; as many as the table has slots. */
struct request {
  struct proxy *proxy; /* constant */
  pthread_cond_t wake;
  struct conn *conn; /* sent there; NULL: not sent */
  TAILQ_ENTRY (request) on_conn;
  uint64_t tag; /* of the newest sending */
  bool answered;
  int error;      /* when answered */
  uint64_t noted; /* must be saved before the answer goes */
  /* proxy-kept.c: */
  struct kept_data *kept;  /* its copy, until it is answered; or NULL */
  enum upstream_kind kind; /* of what was sent last */
  uint64_t flush_mark;     /* a flush sent then covers so much */
  uint64_t boot;           /* process that answered the first part */
  bool begun;              /* which there is */
  bool last;               /* what was sent last ends it */
  bool torn;               /* another process answered another part */
  bool unkept;             /* answered, may be lost, and is not kept */
};

/* A session as its node thread opened it. */
struct session {
  uint64_t number;
  uint32_t node;
  char name[EXPORTNAME_MAX]; /* all its connections ask with this */
  struct upstream_facts facts;
};

/* What a node's thread shall do. */
struct node_task {
  enum route_ask ask;
  uint64_t attempt;
  bool unreachable;
  uint64_t greet_by_ms;
  uint64_t answer_by_ms;
};

struct node {
  struct proxy *proxy; /* constant */
  uint32_t index;      /* constant */
  const char *uri;     /* constant */
  pthread_cond_t wake;
  int cancel; /* eventfd: call off what is under way */
  bool has_task;
  struct node_task task;
  char logged[UPSTREAM_MESSAGE_MAX]; /* not said twice in a row */
};

enum proxy_level { PROXY_NEWS, PROXY_ERROR };

struct log_line {
  enum proxy_level level;
  char text[PROXY_LOG_MAX];
};

struct proxy {
  struct proxy_config config; /* constant */
  int state_lock;             /* constant; -1 without a state file */
  pthread_mutex_t mutex;

  struct route route;
  struct unanswered *table;
  struct request requests[PROXY_REQUESTS_MAX];
  uint32_t waiting;    /* threads that cannot send yet */
  pthread_cond_t room; /* the table has a free slot again */

  bool live; /* session and conns are in use */
  struct session session;
  struct conn *conns[PROXY_CONNECTIONS_MAX];
  uint32_t conn_count;
  bool joining;         /* more connections are being opened */
  struct conn_list all; /* with those that were abandoned */

  const struct session *accepted; /* during ROUTE_ACCEPTED, and */
  struct conn *accepted_conn;     /* NULL once adopted */

  bool facts_known;
  struct upstream_facts facts;       /* promised to clients; then constant, but
                                  that the size may grow */
  bool witness;                      /* a node has answered, or none need: the
                                  generation is noted (proxy.c) */
  uint64_t looks_wanted, looks_done; /* whether the session still stands */
  pthread_cond_t facts_wake;         /* of any of these */

  struct proxystate state; /* generation: the newest noted */
  uint64_t next_session;
  uint64_t noted; /* counts changes of state.generation */
  uint64_t saved; /* the last of them that is durable */
  bool saving;
  pthread_cond_t saved_wake;

  bool stopping;
  struct kept *kept;
  bool keeps;                /* the session's node is durability=flush */
  pthread_cond_t kept_room;  /* something was flushed */
  pthread_cond_t kept_wake;  /* something is to be sent again */
  pthread_cond_t kept_flush; /* a flush is due, perhaps */
  uint32_t again_out;        /* sent again, not answered */
  uint64_t again_ms;         /* when there was progress; UINT64_MAX: none */
  uint64_t again_round;      /* counts lost sessions */
  int kept_error;            /* for the client's next flush */

  bool troubled; /* the log told of trouble since the last
                                   session began */
  pthread_t threads[ROUTE_NODES_MAX + PROXY_THREADS];
  uint32_t thread_count; /* started; not guarded */
  pthread_cond_t saver_wake;
  int control_kick; /* eventfd */
  int epoll;        /* control_kick and hang-ups of conns */
  struct node nodes[ROUTE_NODES_MAX];

  /* Figures.  Clients wait without an answer since quiet_us, if any do. */
  uint64_t sessions, replays, quiet_us, longest_pause_us;
  struct proxy_figures {
    struct latency latency; /* atomics, as all here */
    atomic_uint_fast64_t bytes, errors;
  } figures[UPSTREAM_KINDS];

  struct log_line log[PROXY_LOG_LINES];
  uint32_t log_first, log_count;
};

/* ------------------------------------------------------------- proxy.c */

/* Queue a line for the log; the control thread writes it.  Nodes that go
 * and come are news, not errors.
 */
void proxy_log_locked (struct proxy *proxy, enum proxy_level level,
                       const char *format, ...)
  __attribute__ ((format (printf, 3, 4)));

/* Tell the route what happened and do what it says. */
void proxy_event_locked (struct proxy *proxy, enum route_event_type type,
                         uint64_t attempt);

/* A number for a new session, durable as used.  May unlock.  0: the
 * state file cannot be written.
 */
uint64_t proxy_take_session_locked (struct proxy *proxy);

/* Make the state durable up to NOTED.  May unlock.  False when the file
 * cannot be written.
 */
bool proxy_save_locked (struct proxy *proxy, uint64_t noted);

/* Wait on COND until UNTIL_MS (upstream_now_ms).  False when that has
 * come.  Unlocks.
 */
bool proxy_wait_locked (struct proxy *proxy, pthread_cond_t *cond,
                        uint64_t until_ms);

/* nbdkit says that this thread's connection or all of it is ending.
 * Unlocks.
 */
bool proxy_is_client_gone_locked (struct proxy *proxy);

void proxy_kick (int eventfd);

/* ------------------------------------------------------ proxy-request.c */

/* As proxy_call, of nobody's and not counted. */
int proxy_carry (struct proxy *proxy, const struct upstream_call *call);

/* ------------------------------------------------------ proxy-session.c */

/* A connection that is ready, as part of session NUMBER; takes the handle
 * out of OPENING.  NULL: no memory or descriptors, OPENING keeps it.
 */
struct conn *session_new_conn (struct proxy *proxy, struct opening *opening,
                               uint64_t number);

/* SESSION becomes the live one, with its first connection. */
void session_adopt_locked (struct proxy *proxy, const struct session *session,
                           struct conn *conn);
void session_add_conn_locked (struct proxy *proxy, struct conn *conn);

/* No more connections will be added. */
void session_joined_locked (struct proxy *proxy);

/* The live session counts no more: replay what it did not answer. */
void session_abandon_locked (struct proxy *proxy);

/* The live session is number NUMBER (else nothing happens) and is lost
 * because of WHY.
 */
void session_lost_locked (struct proxy *proxy, uint64_t number,
                          enum route_event_type type, const char *why);

/* Wake the threads whose requests may be sent now. */
void session_wake_senders_locked (struct proxy *proxy);

/* The least loaded connection that may take one more; NULL: wait. */
struct conn *session_pick_conn_locked (struct proxy *proxy);

/* Close the connection if that is due.  May unlock. */
void session_reap_locked (struct proxy *proxy, struct conn *conn);
void session_reap_all_locked (struct proxy *proxy);
void session_unref_locked (struct proxy *proxy, struct conn *conn);

/* ------------------------------------------------------ proxy-request.c */

/* The live session has answered: note its generation. */
void request_note_generation_locked (struct proxy *proxy);

/* Wait on the connection, once, until UNTIL_MS.  Unlocks. */
void request_lead_locked (struct proxy *proxy, struct conn *conn,
                          uint64_t until_ms);

/* Is the connection abandoned, or did it break?  Then its session is lost. */
bool request_conn_lost_locked (struct proxy *proxy, struct conn *conn);

/* --------------------------------------------------------- proxy-kept.c */

/* False: no memory. */
bool kept_init (struct proxy *proxy);
void kept_end (struct proxy *proxy);

/* CALL is about to enter the table: *DATA is its copy, with room for it, if
 * one is needed.  Unlocks.  0, or the errno to fail with.
 */
int kept_begin_locked (struct proxy *proxy, const struct upstream_call *call,
                       uint64_t end_ms, struct kept_data **data);
/* It has ended: give up the copy if no answer has taken it. */
void kept_discard_locked (struct proxy *proxy, struct kept_data *data);

/* A call of KIND is sent for REQUEST; it is answered with ERROR. */
void kept_sending_locked (struct proxy *proxy, struct request *request,
                          enum upstream_kind kind);
void kept_answer_locked (struct proxy *proxy, struct request *request,
                         int error);

/* A session becomes the live one; the live one counts no more. */
void kept_adopted_locked (struct proxy *proxy);
void kept_abandoned_locked (struct proxy *proxy);

/* Threads; the argument is the proxy. */
void *kept_again_main (void *argument);
void *kept_flush_main (void *argument);

/* --------------------------------------------------------- proxy-node.c */

/* The thread of a node, which is its argument. */
void *node_main (void *argument);

/* Say why the node does not serve, unless that was the last thing said. */
void node_log_locked (struct node *node, const char *verb, const char *message);

/* Replace the node's task; what it does for an older one is called off. */
void node_ask_locked (struct node *node, const struct node_task *task);

#endif /* DUET_PROXY_INTERNAL_H */
