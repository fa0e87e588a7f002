/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * channel.h: bytes to and from the other end of a connection, as they are
 * or by TLS.  The users of a connection do not ask which.
 *
 * One thread at a time sends and one at a time receives; the two may be
 * different threads, at the same time.
 */
#ifndef DUET_CHANNEL_H
#define DUET_CHANNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct tls;
struct tls_context;

struct channel {
  int fd;            /* a socket; -1: none */
  struct tls *tls;   /* NULL: bytes go as they are */
  uint64_t receives; /* recv calls; the receiving thread's */
};

/* No channel. */
#define CHANNEL_NONE ((struct channel){ .fd = -1 })

enum channel_progress {
  CHANNEL_READY,
  CHANNEL_PART, /* wait for the socket, then call again */
  CHANNEL_OVER,
};

/* Take over FD, with TLS by CONTEXT unless that is NULL.  DIALLER: it was
 * us who dialled.  False: no memory, and FD is closed.
 */
bool channel_open (struct channel *channel, int fd,
                   const struct tls_context *context, bool dialler);

/* End both directions; a thread that waits in receive wakes up.  From any
 * thread.
 */
void channel_shutdown (const struct channel *channel);

/* End receiving only, which the other end does not see; a thread that waits
 * in receive wakes up.  From any thread.
 */
void channel_deafen (const struct channel *channel);

/* Close the socket, if there is one; it is CHANNEL_NONE then. */
void channel_close (struct channel *channel);

/* Before the first send or receive, on a non-blocking socket: the next
 * step of the TLS handshake.  When it is over WHY is a reason that the
 * user should know, or NULL; the text lives as long as the context.
 */
enum channel_progress channel_secure (struct channel *channel,
                                      const char **why);

/* Send of IOV what can be sent without waiting, by one system call: the
 * number of bytes that are taken, or -1 with errno, EAGAIN when the socket
 * is full.  What is taken may be on its way only in part: while there is
 * something unsent, call again, also with nothing new.
 */
ssize_t channel_send (struct channel *channel, const struct iovec *iov,
                      int count);
bool channel_has_unsent (const struct channel *channel);

/* Receive at most SIZE bytes by at most one system call, which waits on a
 * blocking socket.  0: nothing that can be given out yet.  -1: there will
 * be no more, and WHY says why, as static text; errno is EPROTO if it is
 * TLS that says so.
 */
ssize_t channel_receive (struct channel *channel, void *buffer, size_t size,
                         const char **why);

#endif /* DUET_CHANNEL_H */
