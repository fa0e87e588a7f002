/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * address.h: HOST:PORT and [V6]:PORT, from text to socket addresses and
 * back.
 */
#ifndef DUET_ADDRESS_H
#define DUET_ADDRESS_H

#include <netdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

enum {
  ADDRESS_HOST_MAX = 255, /* bytes of a host name */
  ADDRESS_TEXT = 80,      /* room for a numeric HOST:PORT and NUL */
};

/* The host of TEXT, which has passed link_check_address, without brackets.
 */
void address_host (const char *text, char host[ADDRESS_HOST_MAX + 1]);

/* Is each of them on this machine's loopback? */
bool address_is_loopback (const struct addrinfo *addresses);

/* The addresses TEXT stands for, in getaddrinfo's order, to be freed by
 * freeaddrinfo.  LISTEN: for bind, else for connect.  May ask a name
 * server and block as long as that takes.  NULL with a message in ERROR.
 */
struct addrinfo *address_resolve (const char *text, int listen, char *error,
                                  size_t error_size);

/* A host name that is looked up again now and then, in the background, so
 * that a node that has moved is found.  TEXT as above; NULL: no memory.
 */
struct address_lookup;
struct address_lookup *address_lookup_new (const char *text);
void address_lookup_free (struct address_lookup *lookup);

/* Begin to ask, unless the answer is still awaited or the host is given
 * as a number.  Never blocks.
 */
void address_lookup_begin (struct address_lookup *lookup);

/* The addresses that were found since the last call, to be freed by
 * freeaddrinfo; NULL: none yet, or none at all.  Never blocks.
 */
struct addrinfo *address_lookup_take (struct address_lookup *lookup);

/* Numeric HOST:PORT of what is in SOCKADDR. */
void address_format (const struct sockaddr *sockaddr, socklen_t length,
                     char text[ADDRESS_TEXT]);

#endif /* DUET_ADDRESS_H */
