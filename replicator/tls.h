/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls.h: TLS for the link, by GnuTLS.  A context has the keys and says who
 * the peer must be (tls-context.c); a tls is one connection's (tls.c).
 * Both nodes have both parts: whoever dials is TLS's client, and each asks
 * the other who it is.  TLS 1.3 only, and no session is resumed.
 */
#ifndef DUET_TLS_H
#define DUET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "channel.h"

enum { TLS_KEY_MIN = 16 }; /* bytes of a pre-shared key */

/* Names of files; all NULL: no TLS. */
struct tls_config {
  const char *psk;  /* pre-shared keys; or these three: */
  const char *ca;   /* who may sign the peer's certificate */
  const char *cert; /* this node's */
  const char *key;  /* this node's */
  const char *name; /* what the peer's certificate must be for;
                                   NULL: the host of the peer's address */
};

/* Do these parameters go together?  -1 with a message. */
int tls_check (const struct tls_config *config, char *error, size_t error_size);
bool tls_is_wanted (const struct tls_config *config);

/* Reads the files.  PEER is HOST:PORT.  NULL with a message in ERROR. */
struct tls_context *tls_context_new (const struct tls_config *config,
                                     const char *peer, char *error,
                                     size_t error_size);
void tls_context_free (struct tls_context *context);

/* CONTEXT must live longer.  NULL: no memory. */
struct tls *tls_new (const struct tls_context *context, bool dialler);
void tls_free (struct tls *tls);

/* As channel.h has them. */
enum channel_progress tls_handshake (struct tls *tls, int fd, const char **why);
ssize_t tls_send (struct tls *tls, int fd, const struct iovec *iov, int count);
bool tls_has_unsent (struct tls *tls);
ssize_t tls_receive (struct tls *tls, int fd, void *buffer, size_t size,
                     const char **why, uint64_t *receives);

#endif /* DUET_TLS_H */
