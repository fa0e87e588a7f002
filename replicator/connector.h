/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * connector.h: gets connections to the peer: listens, dials, exchanges
 * greetings and keeps one of two crossing connections.
 */
#ifndef DUET_CONNECTOR_H
#define DUET_CONNECTOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "address.h"
#include "channel.h"

struct connector;
struct link_config;

/* All from the connector's thread, without a lock held. */
struct connector_callbacks {
  /* CHANNEL, secured and greeted both ways, is the connection now, in the
   * place of any other.  It is non-blocking and the callee's to close.
   */
  void (*taken) (void *opaque, struct channel channel, const char *address);
  /* What connector_dial asked for has failed. */
  void (*failed) (void *opaque);
  /* A connection with ADDRESS (without its port) was not taken, by
   * either side, for a reason that the user should know.
   */
  void (*refused) (void *opaque, const char *address, const char *why);
  /* Is there a connection that nobody has given up yet? */
  bool (*connected) (void *opaque);
};

/* Resolves both addresses and listens.  NULL with a message in ERROR. */
struct connector *connector_new (const struct link_config *config,
                                 const struct connector_callbacks *callbacks,
                                 void *opaque, char *error, size_t error_size);
void connector_free (struct connector *connector);

/* The thread.  0 or an errno.  After stop no callback is called. */
int connector_start (struct connector *connector);
void connector_stop (struct connector *connector);

/* As link_connect. */
void connector_dial (struct connector *connector, uint32_t timeout_ms);

#endif /* DUET_CONNECTOR_H */
