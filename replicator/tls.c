/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tls.c: TLS on one connection.  GnuTLS turns plain bytes into sealed ones
 * in memory and back, and does no system call: those are made here, never
 * under the mutex, so that a thread that waits for the socket stops nobody.
 *
 * Two threads, one session.  GnuTLS's manual ("Thread safety") lets one
 * thread send while another one receives, but not during a key update; and
 * in TLS 1.3 either side may update its keys at any time, GnuTLS does it by
 * itself after some 2^24 records (a few hundred GiB), and a received update
 * may ask for one of ours.  GnuTLS's issue 1717 (found by QEMU, its issue
 * 1937) says that sessions break this way.  So "mutex" is held across each
 * call into GnuTLS, which is computing only: a record takes microseconds.
 * It is a leaf.
 *
 * Sending.  Records are filled up to 16 KiB from as many pieces as that
 * takes (a frame's header and its payload, the next frame), so small
 * pieces are copied once; a piece that fills a record is not.  GnuTLS seals
 * into memory of its own and hands that over: the second copy, to "sealed",
 * from which one send takes up to SEALED_MAX.
 *
 * Receiving.  One recv takes up to OPENED_MAX, GnuTLS copies it, opens each
 * record, and copies what was in it to where the caller wants it.
 *
 * The end of a connection is not authenticated, as without TLS: whoever
 * can cut the network can end it.  Nothing is taken for whole because a
 * connection has ended.
 */
#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "tls-internal.h"
#include "wire.h"

enum {
  RECORD_MAX = 16384,             /* plain bytes in a record */
  RECORD_ROOM = RECORD_MAX + 512, /* sealed, with a key update before it */
  SEALED_MAX = 8 * RECORD_ROOM,
  OPENED_MAX = 128 * 1024,
  HANDSHAKE_MAX = 32 * 1024, /* one message of it */
};

/* [start, end) of bytes */
struct span {
  uint8_t *bytes;
  size_t start, end;
};

struct tls {
  const struct tls_context *context;
  pthread_mutex_t mutex;
  gnutls_session_t session; /* mutex */
  struct span sealed;       /* mutex; start and bytes before end: the
                                   sending thread's too */
  bool agreed;              /* the handshake is done */
  uint8_t *record;          /* the sending thread's: pieces of a record */
  struct span arrived;      /* the receiving thread's: not yet GnuTLS's */
  const char *over;         /* the receiving thread's: why no more comes */
};

/* ------------------------------------------------- called by GnuTLS */

static ssize_t
on_push (gnutls_transport_ptr_t opaque, const void *bytes, size_t length)
{
  struct tls *tls = opaque;

  if (length > SEALED_MAX - tls->sealed.end) {
    gnutls_transport_set_errno (tls->session, EAGAIN);
    return -1;
  }
  memcpy (tls->sealed.bytes + tls->sealed.end, bytes, length);
  tls->sealed.end += length;
  return (ssize_t) length;
}

static ssize_t
on_pull (gnutls_transport_ptr_t opaque, void *bytes, size_t length)
{
  struct tls *tls = opaque;
  size_t left = tls->arrived.end - tls->arrived.start;

  if (left == 0) {
    gnutls_transport_set_errno (tls->session, EAGAIN);
    return -1;
  }
  if (length > left)
    length = left;
  memcpy (bytes, tls->arrived.bytes + tls->arrived.start, length);
  tls->arrived.start += length;
  return (ssize_t) length;
}

static int
on_pull_timeout (gnutls_transport_ptr_t opaque, unsigned ms)
{
  const struct tls *tls = opaque;

  (void) ms;
  return tls->arrived.end > tls->arrived.start;
}

/* ---------------------------------------------------------- life cycle */

struct tls *
tls_new (const struct tls_context *context, bool dialler)
{
  unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_TICKETS |
    (dialler ? GNUTLS_CLIENT | GNUTLS_FORCE_CLIENT_CERT : GNUTLS_SERVER);
  struct tls *tls = calloc (1, sizeof *tls);

  if (tls == NULL)
    return NULL;
  tls->context = context;
  pthread_mutex_init (&tls->mutex, NULL);
  tls->sealed.bytes = malloc (SEALED_MAX);
  tls->arrived.bytes = malloc (OPENED_MAX);
  tls->record = malloc (RECORD_MAX);
  if (tls->sealed.bytes == NULL || tls->arrived.bytes == NULL ||
      tls->record == NULL || gnutls_init (&tls->session, flags) != 0) {
    tls->session = NULL;
    tls_free (tls);
    return NULL;
  }
  gnutls_transport_set_ptr (tls->session, tls);
  gnutls_transport_set_push_function (tls->session, on_push);
  gnutls_transport_set_pull_function (tls->session, on_pull);
  gnutls_transport_set_pull_timeout_function (tls->session, on_pull_timeout);
  gnutls_handshake_set_timeout (tls->session, 0); /* the connector's matter */
  gnutls_handshake_set_max_packet_length (tls->session, HANDSHAKE_MAX);
  if (tls_context_apply (context, tls->session, dialler) != 0) {
    tls_free (tls);
    return NULL;
  }
  return tls;
}

void
tls_free (struct tls *tls)
{
  if (tls == NULL)
    return;
  if (tls->session != NULL)
    gnutls_deinit (tls->session);
  pthread_mutex_destroy (&tls->mutex);
  free (tls->sealed.bytes);
  free (tls->arrived.bytes);
  free (tls->record);
  free (tls);
}

/* ------------------------------------------------------------ handshake */

/* What an alert of the other side means here. */
static const char *
alert_text (gnutls_alert_description_t alert)
{
  switch (alert) {
  case GNUTLS_A_CERTIFICATE_EXPIRED:
    return "it refuses this node's certificate: expired or not valid yet";
  case GNUTLS_A_UNKNOWN_CA:
    return "it refuses this node's certificate: not signed by its tls-ca=";
  case GNUTLS_A_CERTIFICATE_UNKNOWN:
    return "it refuses this node's certificate: not for the name that it "
           "expects (its peer= or tls-name=)";
  case GNUTLS_A_BAD_CERTIFICATE:
  case GNUTLS_A_UNSUPPORTED_CERTIFICATE:
  case GNUTLS_A_CERTIFICATE_REQUIRED:
    return "it refuses this node's certificate";
  case GNUTLS_A_PROTOCOL_VERSION: return "it does not use TLS 1.3";
  case GNUTLS_A_DECRYPT_ERROR:
  case GNUTLS_A_HANDSHAKE_FAILURE:
  case GNUTLS_A_ILLEGAL_PARAMETER:
  case GNUTLS_A_INSUFFICIENT_SECURITY:
  case GNUTLS_A_UNKNOWN_PSK_IDENTITY:
    return "it refuses this node's key: is tls-psk= the same on both, or "
           "has one a key and the other a certificate?";
  default: return gnutls_alert_get_name (alert);
  }
}

/* What has failed, as far as the user can do something about it. */
static const char *
error_text (struct tls *tls, int error)
{
  if (error == GNUTLS_E_FATAL_ALERT_RECEIVED)
    return alert_text (gnutls_alert_get (tls->session));
  if (tls->agreed)
    return gnutls_strerror (error);
  switch (error) {
  case GNUTLS_E_NO_CIPHER_SUITES:
  case GNUTLS_E_INSUFFICIENT_CREDENTIALS:
  case GNUTLS_E_RECEIVED_ILLEGAL_PARAMETER:
  case GNUTLS_E_DECRYPTION_FAILED:
  case GNUTLS_E_MISSING_EXTENSION:
    return "it has another key: is tls-psk= the same on both, or has one a "
           "key and the other a certificate?";
  case GNUTLS_E_UNSUPPORTED_VERSION_PACKET: return "it does not use TLS 1.3";
  default: return gnutls_strerror (error);
  }
}

/* Nobody reads what follows; it need not arrive. */
static void
send_alert (struct tls *tls, int fd, gnutls_alert_description_t alert)
{
  if (gnutls_alert_send (tls->session, GNUTLS_AL_FATAL, alert) == 0)
    tls_send (tls, fd, NULL, 0);
}

/* The first byte of a record is its type, from 20 to 24.  NULL, or what
 * else this is.
 */
static const char *
not_tls (const struct span *arrived)
{
  if (arrived->bytes[0] >= 20 && arrived->bytes[0] <= 24)
    return NULL;
  for (size_t i = 0; i < sizeof WIRE_MAGIC && i < arrived->end; i++)
    if (arrived->bytes[i] != (uint8_t) (WIRE_MAGIC >> (8 * i)))
      return "what it sent is not TLS";
  return "it does not use TLS, and this node has tls- parameters";
}

/* Receive the next part of it. */
static enum channel_progress
receive_part (struct tls *tls, int fd, const char **why)
{
  struct span *arrived = &tls->arrived;
  bool first = arrived->end == 0;
  ssize_t received;

  assert (arrived->start == arrived->end);
  received = recv (fd, arrived->bytes, OPENED_MAX, MSG_DONTWAIT);
  if (received == -1 && (errno == EAGAIN || errno == EINTR))
    return CHANNEL_PART;
  if (received <= 0)
    return CHANNEL_OVER;
  arrived->start = 0;
  arrived->end = (size_t) received;
  if (first)
    *why = not_tls (arrived);
  if (*why == NULL)
    return CHANNEL_READY;
  send_alert (tls, fd, GNUTLS_A_UNEXPECTED_MESSAGE);
  return CHANNEL_OVER;
}

/* The handshake has ended with RESULT. */
static enum channel_progress
conclude (struct tls *tls, int fd, int result, const char **why)
{
  gnutls_alert_description_t alert;

  if (result == 0) {
    *why = tls_context_judge (tls->context, tls->session, &alert);
    if (*why != NULL) {
      send_alert (tls, fd, alert);
      return CHANNEL_OVER;
    }
    tls->agreed = true;
    return CHANNEL_READY;
  }
  *why = error_text (tls, result);
  if (result != GNUTLS_E_FATAL_ALERT_RECEIVED)
    send_alert (
      tls, fd,
      (gnutls_alert_description_t) gnutls_error_to_alert (result, NULL));
  return CHANNEL_OVER;
}

/* One recv at most, so that nobody keeps the caller busy. */
enum channel_progress
tls_handshake (struct tls *tls, int fd, const char **why)
{
  bool received = false;

  *why = NULL;
  while (!tls->agreed) {
    int result = gnutls_handshake (tls->session);

    if (result == GNUTLS_E_AGAIN || result == GNUTLS_E_INTERRUPTED) {
      enum channel_progress progress = CHANNEL_PART;

      if (tls_has_unsent (tls) && tls_send (tls, fd, NULL, 0) == -1 &&
          errno != EAGAIN)
        return CHANNEL_OVER;
      if (!received)
        progress = receive_part (tls, fd, why);
      if (progress != CHANNEL_READY)
        return progress;
      received = true;
    }
    else if (result == 0 || gnutls_error_is_fatal (result)) {
      if (conclude (tls, fd, result, why) == CHANNEL_OVER)
        return CHANNEL_OVER;
    }
  }
  if (tls_has_unsent (tls) && tls_send (tls, fd, NULL, 0) == -1 &&
      errno != EAGAIN)
    return CHANNEL_OVER;
  return tls_has_unsent (tls) ? CHANNEL_PART : CHANNEL_READY;
}

/* -------------------------------------------------------------- sending */

/* Where the next plain byte is. */
struct position {
  const struct iovec *iov;
  int count; /* iovs from there on */
  size_t at; /* bytes of iov that are gone */
};

static void
advance (struct position *position, size_t length)
{
  while (position->count > 0 &&
         length >= position->iov->iov_len - position->at) {
    length -= position->iov->iov_len - position->at;
    position->iov++;
    position->count--;
    position->at = 0;
  }
  position->at += length;
}

/* The plain bytes of the next record: where they lie if they fill it, else
 * gathered in RECORD.
 */
static const uint8_t *
next_record (struct position position, uint8_t *record, size_t *length)
{
  const uint8_t *bytes = (const uint8_t *) position.iov->iov_base + position.at;

  *length = position.iov->iov_len - position.at;
  if (*length >= RECORD_MAX) {
    *length = RECORD_MAX;
    return bytes;
  }
  *length = 0;
  while (position.count > 0 && *length < RECORD_MAX) {
    size_t part = position.iov->iov_len - position.at;

    if (part > RECORD_MAX - *length)
      part = RECORD_MAX - *length;
    memcpy (record + *length,
            (const uint8_t *) position.iov->iov_base + position.at, part);
    *length += part;
    advance (&position, part);
  }
  return record;
}

/* Seal what there is room for; the number of bytes, or -1 with errno. */
static ssize_t
seal (struct tls *tls, const struct iovec *iov, int count)
{
  struct position position = { iov, count, 0 };
  ssize_t taken = 0;

  advance (&position, 0); /* over empty ones */
  while (position.count > 0 && SEALED_MAX - tls->sealed.end >= RECORD_ROOM) {
    size_t length;
    const uint8_t *bytes = next_record (position, tls->record, &length);
    ssize_t sealed;

    pthread_mutex_lock (&tls->mutex);
    sealed = gnutls_record_send (tls->session, bytes, length);
    pthread_mutex_unlock (&tls->mutex);
    if (sealed <= 0) {
      errno = EPROTO;
      return -1;
    }
    taken += sealed;
    advance (&position, (size_t) sealed);
  }
  return taken;
}

ssize_t
tls_send (struct tls *tls, int fd, const struct iovec *iov, int count)
{
  struct span *sealed = &tls->sealed;
  size_t start, end;
  ssize_t taken = 0;
  ssize_t sent;

  if (!tls_has_unsent (tls)) {
    taken = seal (tls, iov, count);
    if (taken == -1)
      return -1;
  }
  pthread_mutex_lock (&tls->mutex);
  start = sealed->start;
  end = sealed->end;
  pthread_mutex_unlock (&tls->mutex);

  sent = send (fd, sealed->bytes + start, end - start,
               MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == -1)
    return taken > 0 && errno == EAGAIN ? taken : -1;

  pthread_mutex_lock (&tls->mutex);
  sealed->start += (size_t) sent;
  if (sealed->start == sealed->end)
    sealed->start = sealed->end = 0;
  pthread_mutex_unlock (&tls->mutex);
  return taken;
}

bool
tls_has_unsent (struct tls *tls)
{
  bool unsent;

  pthread_mutex_lock (&tls->mutex);
  unsent = tls->sealed.end > tls->sealed.start;
  pthread_mutex_unlock (&tls->mutex);
  return unsent;
}

/* ------------------------------------------------------------ receiving */

/* Open what has arrived; the number of bytes that came of it. */
static size_t
open_records (struct tls *tls, uint8_t *buffer, size_t size)
{
  size_t count = 0;

  while (count < size && tls->over == NULL) {
    ssize_t opened;

    pthread_mutex_lock (&tls->mutex);
    opened = gnutls_record_recv (tls->session, buffer + count, size - count);
    if (opened < 0 && gnutls_error_is_fatal ((int) opened))
      tls->over = error_text (tls, (int) opened);
    pthread_mutex_unlock (&tls->mutex);

    if (opened > 0)
      count += (size_t) opened;
    else if (opened == GNUTLS_E_AGAIN || opened == GNUTLS_E_INTERRUPTED)
      break;
    else if (opened == 0)
      tls->over = "closed by the peer";
  }
  return count;
}

ssize_t
tls_receive (struct tls *tls, int fd, void *buffer, size_t size,
             const char **why, uint64_t *receives)
{
  struct span *arrived = &tls->arrived;
  size_t count = open_records (tls, buffer, size);
  ssize_t received;

  if (count == 0 && tls->over == NULL) {
    assert (arrived->start == arrived->end);
    received = recv (fd, arrived->bytes, OPENED_MAX, 0);
    ++*receives;
    if (received == -1 && (errno == EAGAIN || errno == EINTR))
      return 0;
    if (received <= 0) {
      errno = received == 0 ? 0 : errno;
      *why = received == 0 ? "closed by the peer" : strerrordesc_np (errno);
      return -1;
    }
    arrived->start = 0;
    arrived->end = (size_t) received;
    count = open_records (tls, buffer, size);
  }
  if (count > 0)
    return (ssize_t) count;
  *why = tls->over;
  errno = EPROTO;
  return tls->over != NULL ? -1 : 0;
}
