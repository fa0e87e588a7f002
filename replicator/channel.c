/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * channel.c: bytes to and from the other end of a connection.  Without TLS
 * these are sendmsg and recv; with it, tls.c.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"
#include "tls.h"

bool
channel_open (struct channel *channel, int fd,
              const struct tls_context *context, bool dialler)
{
  *channel = (struct channel){ .fd = fd };
  if (context == NULL)
    return true;
  channel->tls = tls_new (context, dialler);
  if (channel->tls != NULL)
    return true;
  channel_close (channel);
  return false;
}

void
channel_shutdown (const struct channel *channel)
{
  shutdown (channel->fd, SHUT_RDWR);
}

void
channel_deafen (const struct channel *channel)
{
  shutdown (channel->fd, SHUT_RD);
}

void
channel_close (struct channel *channel)
{
  if (channel->fd != -1)
    close (channel->fd);
  tls_free (channel->tls);
  *channel = CHANNEL_NONE;
}

enum channel_progress
channel_secure (struct channel *channel, const char **why)
{
  *why = NULL;
  if (channel->tls == NULL)
    return CHANNEL_READY;
  return tls_handshake (channel->tls, channel->fd, why);
}

ssize_t
channel_send (struct channel *channel, const struct iovec *iov, int count)
{
  struct msghdr message = {
    .msg_iov = (struct iovec *) (uintptr_t) iov,
    .msg_iovlen = (size_t) count,
  };

  if (channel->tls != NULL)
    return tls_send (channel->tls, channel->fd, iov, count);
  return sendmsg (channel->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

bool
channel_has_unsent (const struct channel *channel)
{
  return channel->tls != NULL && tls_has_unsent (channel->tls);
}

ssize_t
channel_receive (struct channel *channel, void *buffer, size_t size,
                 const char **why)
{
  ssize_t received;

  if (channel->tls != NULL)
    return tls_receive (channel->tls, channel->fd, buffer, size, why,
                        &channel->receives);
  received = recv (channel->fd, buffer, size, 0);
  channel->receives++;
  if (received > 0)
    return received;
  if (received == -1 && (errno == EAGAIN || errno == EINTR))
    return 0;
  if (received == 0)
    errno = 0;
  *why = received == 0 ? "closed by the peer" : strerrordesc_np (errno);
  return -1;
}
