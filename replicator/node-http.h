/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * node-http.h: what a node tells over HTTP: its page, metrics, status and
 * health (docs/metrics.md).
 */
#ifndef DUET_NODE_HTTP_H
#define DUET_NODE_HTTP_H

#include <stdbool.h>
#include <stddef.h>

struct engine;
struct node_http;

/* Listens at ADDRESS (HOST:PORT); EXPOSE: which may be other than
 * loopback.  NULL with a message in ERROR.
 */
struct node_http *node_http_new (const char *address, bool expose, char *error,
                                 size_t error_size);
/* One thread, which tells of ENGINE, when that has started.  -1 with errno. */
int node_http_start (struct node_http *node, struct engine *engine);
/* Before engine_stop. */
void node_http_stop (struct node_http *node);
void node_http_free (struct node_http *node);

#endif /* DUET_NODE_HTTP_H */
