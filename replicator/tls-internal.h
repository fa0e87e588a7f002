/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls-internal.h: what a connection's TLS asks of the context.
 */
#ifndef DUET_TLS_INTERNAL_H
#define DUET_TLS_INTERNAL_H

#include <gnutls/gnutls.h>

#include "tls.h"

/* The keys, and what is asked of the peer.  A GnuTLS error. */
int tls_context_apply (const struct tls_context *context,
                       gnutls_session_t session, bool dialler);

/* Is it the peer?  After the handshake, or when it has failed with
 * GNUTLS_E_CERTIFICATE_VERIFICATION_ERROR.  NULL, or why not, with the
 * alert for the other side.
 */
const char *tls_context_judge (const struct tls_context *context,
                               gnutls_session_t session,
                               gnutls_alert_description_t *alert);

#endif /* DUET_TLS_INTERNAL_H */
