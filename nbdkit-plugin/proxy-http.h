/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy-http.h: what a proxy tells over HTTP: metrics, status and health
 * (docs/metrics.md).
 */
#ifndef DUET_PROXY_HTTP_H
#define DUET_PROXY_HTTP_H

#include <stdbool.h>
#include <stddef.h>

struct http;
struct proxy;

/* A server for PROXY at ADDRESS (HOST:PORT), to be started, stopped before
 * the proxy, and freed, as in http.h; EXPOSE: other than loopback is
 * allowed.  NULL with a message in ERROR.
 */
struct http *proxy_http_new (struct proxy *proxy, const char *address,
                             bool expose, char *error, size_t error_size);

#endif /* DUET_PROXY_HTTP_H */
