/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * address.c: HOST:PORT and [V6]:PORT.  No sockets are opened here.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "address.h"
#include "link.h"

enum { PORT_MAX = 65535, PORT_DIGITS = 5 };

struct address {
  char host[ADDRESS_HOST_MAX + 1];
  char port[PORT_DIGITS + 1];
  int numeric; /* it was in brackets: no names there */
};

/* 1..65535 in decimal digits and nothing else. */
static int
is_port (const char *text)
{
  size_t length = strlen (text);

  if (length == 0 || length > PORT_DIGITS)
    return 0;
  for (size_t i = 0; i < length; i++)
    if (!isdigit ((unsigned char) text[i]))
      return 0;

  long port = strtol (text, NULL, 10);
  return port >= 1 && port <= PORT_MAX;
}

/* Cut TEXT in two.  NULL, or what is wrong with it. */
static const char *
split (const char *text, struct address *address)
{
  const char *host = text;
  const char *colon = strrchr (text, ':');
  size_t length;

  if (colon == NULL)
    return "a port is missing, write HOST:PORT";
  length = (size_t) (colon - text);
  address->numeric = text[0] == '[';
  if (address->numeric) {
    if (length < 2 || colon[-1] != ']')
      return "write an IPv6 address and its port as [ADDRESS]:PORT";
    host++;
    length -= 2;
    if (length > 0 && memchr (host, ':', length) == NULL)
      return "only an IPv6 address stands in brackets";
  }
  else if (memchr (text, ':', length) != NULL)
    return "write an IPv6 address and its port as [ADDRESS]:PORT";
  if (length == 0)
    return "the host is missing, write HOST:PORT";
  if (length > ADDRESS_HOST_MAX)
    return "the host name is too long";
  if (!is_port (colon + 1))
    return "the port must be a number from 1 to 65535";

  memcpy (address->host, host, length);
  address->host[length] = '\0';
  strcpy (address->port, colon + 1);
  return NULL;
}

static bool
is_number (const char *host)
{
  uint8_t bytes[sizeof (struct in6_addr)];

  return inet_pton (AF_INET, host, bytes) == 1 ||
    inet_pton (AF_INET6, host, bytes) == 1;
}

int
link_check_address (const char *text, char *error, size_t error_size)
{
  struct address address;
  const char *wrong = split (text, &address);

  if (wrong == NULL)
    return 0;
  snprintf (error, error_size, "%s: %s", text, wrong);
  return -1;
}

void
address_host (const char *text, char host[ADDRESS_HOST_MAX + 1])
{
  struct address address = { 0 };

  split (text, &address);
  memcpy (host, address.host, sizeof address.host);
}

static bool
is_loopback (const struct sockaddr *sockaddr)
{
  const struct sockaddr_in *v4 = (const struct sockaddr_in *) sockaddr;
  const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *) sockaddr;

  if (sockaddr->sa_family == AF_INET)
    return ntohl (v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
  if (IN6_IS_ADDR_V4MAPPED (&v6->sin6_addr))
    return v6->sin6_addr.s6_addr[12] == IN_LOOPBACKNET;
  return IN6_IS_ADDR_LOOPBACK (&v6->sin6_addr);
}

bool
address_is_loopback (const struct addrinfo *addresses)
{
  for (const struct addrinfo *a = addresses; a != NULL; a = a->ai_next)
    if (!is_loopback (a->ai_addr))
      return false;
  return true;
}

struct addrinfo *
address_resolve (const char *text, int listen, char *error, size_t error_size)
{
  struct addrinfo hints = {
    .ai_family = AF_UNSPEC,
    .ai_socktype = SOCK_STREAM,
    .ai_flags = AI_NUMERICSERV | (listen ? AI_PASSIVE : 0),
  };
  struct address address;
  struct addrinfo *found;

  if (link_check_address (text, error, error_size) == -1)
    return NULL;
  split (text, &address);
  if (address.numeric) {
    hints.ai_family = AF_INET6;
    hints.ai_flags |= AI_NUMERICHOST;
  }

  int failed = getaddrinfo (address.host, address.port, &hints, &found);
  if (failed != 0) {
    snprintf (error, error_size, "%s: %s", text, gai_strerror (failed));
    return NULL;
  }
  return found;
}

/* By getaddrinfo_a, whose thread is the C library's: one of ours could not
 * be ended while it waits for a name server.
 */
struct address_lookup {
  struct address address;
  struct addrinfo hints;
  struct gaicb request;
  bool asked;
};

struct address_lookup *
address_lookup_new (const char *text)
{
  struct address_lookup *lookup = calloc (1, sizeof *lookup);

  if (lookup == NULL)
    return NULL;
  split (text, &lookup->address);
  lookup->hints = (struct addrinfo){ .ai_family = AF_UNSPEC,
                                     .ai_socktype = SOCK_STREAM,
                                     .ai_flags = AI_NUMERICSERV };
  lookup->request = (struct gaicb){ .ar_name = lookup->address.host,
                                    .ar_service = lookup->address.port,
                                    .ar_request = &lookup->hints };
  return lookup;
}

void
address_lookup_free (struct address_lookup *lookup)
{
  if (lookup == NULL)
    return;
  if (lookup->asked && gai_cancel (&lookup->request) == EAI_NOTCANCELED)
    return; /* still in use: given up with the process */
  if (lookup->request.ar_result != NULL)
    freeaddrinfo (lookup->request.ar_result);
  free (lookup);
}

void
address_lookup_begin (struct address_lookup *lookup)
{
  struct gaicb *list[] = { &lookup->request };

  if (lookup->asked || is_number (lookup->address.host))
    return;
  lookup->asked = getaddrinfo_a (GAI_NOWAIT, list, 1, NULL) == 0;
}

struct addrinfo *
address_lookup_take (struct address_lookup *lookup)
{
  struct addrinfo *found = NULL;
  int error;

  if (!lookup->asked)
    return NULL;
  error = gai_error (&lookup->request);
  if (error == EAI_INPROGRESS)
    return NULL;
  lookup->asked = false;
  if (error == 0)
    found = lookup->request.ar_result;
  lookup->request.ar_result = NULL;
  return found;
}

void
address_format (const struct sockaddr *sockaddr, socklen_t length,
                char text[ADDRESS_TEXT])
{
  char host[ADDRESS_TEXT - PORT_DIGITS - 4];
  char port[PORT_DIGITS + 1];

  if (getnameinfo (sockaddr, length, host, sizeof host, port, sizeof port,
                   NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    snprintf (text, ADDRESS_TEXT, "unknown");
  else if (sockaddr->sa_family == AF_INET6)
    snprintf (text, ADDRESS_TEXT, "[%s]:%s", host, port);
  else
    snprintf (text, ADDRESS_TEXT, "%s:%s", host, port);
}
