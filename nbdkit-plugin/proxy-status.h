/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy-status.h: what a proxy says of itself.
 */
#ifndef DUET_PROXY_STATUS_H
#define DUET_PROXY_STATUS_H

#include <jansson.h>

#include "latency.h"
#include "proxy.h"

/* Some 20 KB: not for the stack. */
struct proxy_status {
  struct {
    const char *uri;                    /* lives as long as the proxy */
    char problem[UPSTREAM_MESSAGE_MAX]; /* why it does not serve; "" */
  } nodes[ROUTE_NODES_MAX];
  uint32_t node_count;
  bool live;
  uint32_t node;            /* of the live session */
  uint64_t session;         /* the newest that was begun; 0: none yet */
  uint32_t connections;     /* of the live session */
  uint64_t client;          /* client id */
  struct gen_id generation; /* that answered last */
  uint64_t size_bytes;      /* of the volume; 0: not known yet */
  uint64_t reconnects, replays;
  uint32_t unanswered;
  uint64_t pause_us, longest_pause_us;
  bool healthy; /* docs/metrics.md */
  struct {
    struct latency_counts latency;
    uint64_t bytes, errors;
  } requests[UPSTREAM_KINDS];
};

void proxy_status (struct proxy *proxy, struct proxy_status *status);

/* "read", "write" ... */
const char *proxy_kind_name (enum upstream_kind kind);

/* The keys are an interface, listed in nbdkit-duetproxy-plugin(1).  NULL:
 * no memory.
 */
json_t *proxy_status_json (const struct proxy_status *status);

#endif /* DUET_PROXY_STATUS_H */
