/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * http-options.h: http= and http-expose= of both plugins.
 */
#ifndef DUET_HTTP_OPTIONS_H
#define DUET_HTTP_OPTIONS_H

#include <stdbool.h>

struct http_options {
  const char *address; /* the parameter's; NULL: no server */
  bool expose;
};

#define HTTP_OPTIONS_HELP                                                 \
  "http=HOST:PORT       Serve metrics, status and health over HTTP.\n"    \
  "http-expose=yes|no   There, an address other than loopback (default: " \
  "no).\n"

bool http_is_option (const char *key);

/* Both report what is wrong with nbdkit_error, and return -1 then. */
int http_option (struct http_options *options, const char *key,
                 const char *value);
int http_complete (const struct http_options *options);

#endif /* DUET_HTTP_OPTIONS_H */
