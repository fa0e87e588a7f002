/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy.h: the failover proxy behind the plugin's callbacks.
 *
 * A request enters by proxy_call in the thread that brought it; that
 * thread sends it on a connection of the live session and, as long as
 * nobody else does, waits on that connection itself.  With one request
 * per connection there is therefore no hand-over between threads.  When
 * the session is lost, each thread sends its request again on the next.
 *
 * The policy is route.h, the rules of replay are unanswered.h; both are
 * guarded by the one mutex here.
 */
#ifndef DUET_PROXY_H
#define DUET_PROXY_H

#include <stdbool.h>
#include <stdint.h>

#include "route.h"
#include "upstream.h"

enum {
  PROXY_CONNECTIONS_MAX = 16,
  PROXY_REQUESTS_MAX = 1024, /* unanswered at once; others wait */
};

struct proxy_config {
  const char *uris[ROUTE_NODES_MAX];
  uint32_t nodes;         /* 1 .. ROUTE_NODES_MAX */
  uint32_t connections;   /* 1 .. PROXY_CONNECTIONS_MAX */
  uint64_t timeout_ms;    /* an answer out for so long: look round */
  uint64_t give_up_ms;    /* 0: never */
  const char *state_path; /* absolute; NULL: no memory */
};

struct proxy;

/* Read (and write) the state file.  NULL after an error was reported with
 * nbdkit_error.
 */
struct proxy *proxy_new (const struct proxy_config *config);
void proxy_free (struct proxy *proxy);

/* Start the threads (after nbdkit has forked).  0 or -1. */
int proxy_start (struct proxy *proxy);

/* End all requests; those to come are refused.  From any thread, before
 * proxy_stop.
 */
void proxy_end_requests (struct proxy *proxy);

/* That, if it was not done, and end all threads. */
void proxy_stop (struct proxy *proxy);

/* Wait until the first session has shown what the volume is, and copy it.
 * What is promised to one client holds as long as the proxy lives; but the
 * size may grow, and then who asks anew is told the new one.  0, or an errno
 * when given up or when the client or nbdkit is going.
 */
int proxy_wait_facts (struct proxy *proxy, struct upstream_facts *facts);

/* Carry out one request of any length, over as many sessions as it
 * takes.  0 or the server's errno; EIO when given up; ESHUTDOWN when the
 * client or nbdkit is going.
 */
int proxy_call (struct proxy *proxy, const struct upstream_call *call);

#endif /* DUET_PROXY_H */
