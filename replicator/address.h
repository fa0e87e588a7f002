/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * address.h: HOST:PORT and [V6]:PORT, from text to socket addresses and
 * back.
 */
#ifndef DUET_ADDRESS_H
#define DUET_ADDRESS_H

#include <netdb.h>
#include <stddef.h>
#include <sys/socket.h>

enum {
  ADDRESS_HOST_MAX = 255, /* bytes of a host name */
  ADDRESS_TEXT = 80,      /* room for a numeric HOST:PORT and NUL */
};

/* The addresses TEXT stands for, in getaddrinfo's order, to be freed by
 * freeaddrinfo.  LISTEN: for bind, else for connect.  May ask a name
 * server and block as long as that takes.  NULL with a message in ERROR.
 */
struct addrinfo *address_resolve (const char *text, int listen, char *error,
                                  size_t error_size);

/* Numeric HOST:PORT of what is in SOCKADDR. */
void address_format (const struct sockaddr *sockaddr, socklen_t length,
                     char text[ADDRESS_TEXT]);

#endif /* DUET_ADDRESS_H */
