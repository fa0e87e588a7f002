/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * listener.h: the sockets on which a node waits for its peer, or for who
 * wants to look at it.
 */
#ifndef DUET_LISTENER_H
#define DUET_LISTENER_H

#include <stddef.h>

struct addrinfo;

/* Listen on all ADDRESSES, which NAME (HOST:PORT), the value of the
 * parameter KEY, stands for: up to MAX sockets into FDS.  Their number, or
 * -1 with a message in ERROR and none open.
 */
int listener_open_all (const struct addrinfo *addresses, const char *key,
                       const char *name, int fds[], size_t max, char *error,
                       size_t error_size);

#endif /* DUET_LISTENER_H */
