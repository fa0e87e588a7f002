/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * http.h: a small HTTP server that only tells: GET and HEAD, one answer
 * for each connection, one thread, for both plugins.
 *
 * No bad or slow client holds up anything but its own connection for
 * longer than HTTP_LIFE_MS, and all together have HTTP_CONNECTIONS of
 * them and HTTP_MEMORY bytes each for what they ask.
 */
#ifndef DUET_HTTP_H
#define DUET_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  HTTP_CONNECTIONS = 32,
  HTTP_LIFE_MS = 10000, /* from accept to the end of the answer */
  HTTP_MEMORY = 16 * 1024,
  HTTP_TICK_MS = 1000,
};

struct http;

struct http_request {
  const char *path;
  bool openmetrics; /* Accept: names application/openmetrics-text */
  uint64_t after;   /* ?after=N; 0 without */
};

/* As it is handed in: 404 and nothing. */
struct http_answer {
  unsigned status;
  const char *type;   /* Content-Type; constant */
  const char *policy; /* Content-Security-Policy, constant; NULL: allow
                         nothing */
  char *text;         /* freed by the server; or */
  const char *constant;
  size_t length; /* of either */
};

struct http_config {
  const char *address; /* HOST:PORT, [V6]:PORT */
  bool expose;         /* it need not be loopback */
  uint32_t life_ms;    /* 0: HTTP_LIFE_MS */
  /* Both from the server's thread.  Fill in the answer. */
  void (*answer) (void *opaque, const struct http_request *request,
                  struct http_answer *answer);
  /* Every HTTP_TICK_MS; NULL: not. */
  void (*tick) (void *opaque);
  void *opaque;
};

/* Binds and listens; serves nobody yet.  NULL with a message in ERROR. */
struct http *http_new (const struct http_config *config, char *error,
                       size_t error_size);
/* One thread, after fork.  -1 with errno. */
int http_start (struct http *http);
void http_stop (struct http *http); /* joins it, ends all connections */
void http_free (struct http *http);

/* Answer with TEXT of LENGTH, malloc'd; NULL: out of memory, 500. */
void http_say (struct http_answer *answer, const char *type, char *text,
               size_t length);
/* Answer with a line of text that a printf makes. */
void http_line (struct http_answer *answer, unsigned status, const char *format,
                ...) __attribute__ ((format (printf, 3, 4)));

#endif /* DUET_HTTP_H */
