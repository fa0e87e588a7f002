/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-tls.c: TLS on one connection, with a pre-shared key: handshakes cut
 * and spoiled anywhere, records of all sizes through small sockets, key
 * updates while two threads use a session, changed bytes, and what may
 * stand in a file of keys; then a pair of links.  Certificates are a matter
 * of test-link-tls-x509.sh and test-link-tls-refused.sh.
 */
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <sys/stat.h>

#include "check-link.h"
#include "tls.h"

#define KEY   "duet:000102030405060708090a0b0c0d0e0f"
#define OTHER "other:ff0102030405060708090a0b0c0d0e0f"

/* ----------------------------------------------------------------- keys */

/* A context of a file with TEXT in it and MODE. */
static struct tls_context *
context_of_mode (const char *text, mode_t mode, char *error, size_t error_size)
{
  char path[] = "/tmp/check-tls.XXXXXX";
  const struct tls_config config = { .psk = path };
  int fd = mkstemp (path);
  struct tls_context *context;

  ck_assert_int_ne (fd, -1);
  ck_assert_int_eq (write (fd, text, strlen (text)), (ssize_t) strlen (text));
  ck_assert_int_eq (fchmod (fd, mode), 0);
  close (fd);
  context = tls_context_new (&config, "127.0.0.1:1", error, error_size);
  unlink (path);
  return context;
}

static struct tls_context *
context_of (const char *text)
{
  char error[256] = "";
  struct tls_context *context = context_of_mode (text, 0600, error,
                                                 sizeof error);

  ck_assert_msg (context != NULL, "%s", error);
  return context;
}

START_TEST (bad_key_files_are_named)
{
  static const struct {
    const char *text, *wrong;
    mode_t mode;
  } cases[] = {
    { "", "there is no key in it", 0600 },
    { "\n\n", "there is no key in it", 0600 },
    { KEY, "everybody may read", 0604 },
    { KEY, "everybody may read or write", 0602 },
    { "duet", "line 1: write NAME:KEY", 0600 },
    { ":00112233445566778899aabbccddeeff", "line 1: write NAME:KEY", 0600 },
    { KEY "\nduet:0011", "line 2: the key is shorter than 16 bytes", 0600 },
    { KEY "\n\n" KEY "0\n", "line 3: the key must be hex", 0600 },
    { KEY "gg\n", "line 1: the key must be hex", 0600 },
    { KEY " \n", "line 1: the key must be hex", 0600 },
    { KEY "000102030405060708090a0b0c0d0e0f"
          "000102030405060708090a0b0c0d0e0f"
          "000102030405060708090a0b0c0d0e0f00",
      "line 1: the key is longer than 64 bytes", 0600 },
    { KEY "\n" OTHER "\n" KEY, "line 3: a key of this name", 0600 },
  };
  char text[2048], error[256];
  size_t length = 0;

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    ck_assert_ptr_null (
      context_of_mode (cases[i].text, cases[i].mode, error, sizeof error));
    ck_assert_msg (strncmp (error, "tls-psk=/tmp/check-tls.", 23) == 0 &&
                     strstr (error, cases[i].wrong) != NULL,
                   "%s", error);
  }
  for (int i = 0; i < 17; i++)
    length += (size_t) snprintf (text + length, sizeof text - length,
                                 "n%d:000102030405060708090a0b0c0d0e0f\n", i);
  ck_assert_ptr_null (context_of_mode (text, 0600, error, sizeof error));
  ck_assert_msg (strstr (error, "line 17: more than 16 keys") != NULL, "%s",
                 error);
  tls_context_free (context_of ("\n" KEY "\r\n\r\n" OTHER));
}
END_TEST

/* ---------------------------------------------------- two ends, in hand */

/* A and B are the two ends of a TLS connection; what each sends comes out
 * of its wire and is carried to the other one's by the test.
 */
struct two {
  struct tls_context *context_a, *context_b;
  struct channel a, b;
  int wire_a, wire_b;
};

static void
set_nonblocking (int fd)
{
  ck_assert_int_eq (fcntl (fd, F_SETFL, O_NONBLOCK), 0);
}

static void
open_end (struct channel *channel, int *wire, struct tls_context *context,
          bool dialler)
{
  int ends[2];

  ck_assert_int_eq (socketpair (AF_UNIX, SOCK_STREAM, 0, ends), 0);
  set_nonblocking (ends[0]);
  set_nonblocking (ends[1]);
  *wire = ends[1];
  ck_assert (channel_open (channel, ends[0], context, dialler));
}

static void
two_open (struct two *two, const char *key_a, const char *key_b)
{
  two->context_a = context_of (key_a);
  two->context_b = context_of (key_b);
  open_end (&two->a, &two->wire_a, two->context_a, true);
  open_end (&two->b, &two->wire_b, two->context_b, false);
}

static void
two_close (struct two *two)
{
  channel_close (&two->a);
  channel_close (&two->b);
  close (two->wire_a);
  close (two->wire_b);
  tls_context_free (two->context_a);
  tls_context_free (two->context_b);
}

/* Carry at most LENGTH bytes; byte number SPOILED is changed, counting
 * down.  How many there were.
 */
static size_t
carry (int from, int to, size_t length, long *spoiled)
{
  uint8_t bytes[4096];
  ssize_t count = recv (from, bytes, length < 4096 ? length : 4096, 0);

  if (count <= 0)
    return 0;
  if (*spoiled >= 0 && *spoiled < count)
    bytes[*spoiled] ^= 0x21;
  *spoiled -= count;
  /* an end that is over has closed nothing yet */
  ck_assert_int_eq (send (to, bytes, (size_t) count, MSG_NOSIGNAL), count);
  return (size_t) count;
}

struct outcome {
  enum channel_progress a, b;
  const char *why_a, *why_b;
  size_t bytes;
};

/* Shake hands, STEP bytes at a time, until nothing moves. */
static struct outcome
shake (struct two *two, size_t step, long spoiled)
{
  struct outcome o = { CHANNEL_PART, CHANNEL_PART, NULL, NULL, 0 };
  size_t moved;

  do {
    if (o.a == CHANNEL_PART)
      o.a = channel_secure (&two->a, &o.why_a);
    moved = carry (two->wire_a, two->wire_b, step, &spoiled);
    if (o.b == CHANNEL_PART)
      o.b = channel_secure (&two->b, &o.why_b);
    moved += carry (two->wire_b, two->wire_a, step, &spoiled);
    o.bytes += moved;
  } while (moved > 0);
  return o;
}

START_TEST (handshakes_survive_any_cut)
{
  struct two two;

  for (size_t step = 1; step < 2000; step = step * 2 + 1) {
    two_open (&two, KEY, OTHER "\n" KEY); /* it takes any of its keys */
    struct outcome o = shake (&two, step, -1);
    ck_assert_int_eq (o.a, CHANNEL_READY);
    ck_assert_int_eq (o.b, CHANNEL_READY);
    two_close (&two);
  }
}
END_TEST

/* One byte of it changed: never agreed on both sides unless that byte says
 * nothing (the version in a record's head), no crash, and a reason.
 */
START_TEST (spoiled_handshakes_fail)
{
  struct two two;
  size_t length;
  int harmless = 0;

  two_open (&two, KEY, KEY);
  length = shake (&two, 4096, -1).bytes;
  two_close (&two);
  for (size_t at = 0; at < length; at++) {
    two_open (&two, KEY, KEY);
    struct outcome o = shake (&two, 4096, (long) at);
    if (o.a == CHANNEL_READY && o.b == CHANNEL_READY)
      harmless++;
    ck_assert (o.a != CHANNEL_OVER || o.why_a != NULL);
    ck_assert (o.b != CHANNEL_OVER || o.why_b != NULL);
    two_close (&two);
  }
  ck_assert_int_lt (harmless, 32);
}
END_TEST

START_TEST (wrong_keys_are_refused_by_name)
{
  static const struct {
    const char *a, *b;
  } cases[] = {
    { KEY, OTHER },
    { KEY, "duet:ff0102030405060708090a0b0c0d0e0f" },
  };
  struct two two;

  for (size_t i = 0; i < 2; i++) {
    two_open (&two, cases[i].a, cases[i].b);
    struct outcome o = shake (&two, 4096, -1);
    ck_assert_int_eq (o.a, CHANNEL_OVER);
    ck_assert_int_eq (o.b, CHANNEL_OVER);
    ck_assert_msg (strstr (o.why_b, "it has another key") != NULL, "%s",
                   o.why_b);
    ck_assert_msg (strstr (o.why_a, "it refuses this node's key") != NULL, "%s",
                   o.why_a);
    two_close (&two);
  }
}
END_TEST

/* What SENT, of LENGTH bytes, makes the acceptor say. */
static void
expect_words (const void *sent, size_t length, const char *why)
{
  struct two two;
  const char *said;
  char answer[16];

  two_open (&two, KEY, KEY);
  raw_send (two.wire_b, sent, length);
  ck_assert_int_eq (channel_secure (&two.b, &said), CHANNEL_OVER);
  ck_assert_str_eq (said, why);
  /* in TLS's words: an alert, fatal */
  ck_assert_int_eq (recv (two.wire_b, answer, sizeof answer, 0), 7);
  ck_assert_int_eq (answer[0], 21);
  ck_assert_int_eq (answer[5], 2);
  two_close (&two);
}

START_TEST (what_is_not_tls_is_named)
{
  expect_words ("DUET\1\0", 6,
                "it does not use TLS, and this node has tls- parameters");
  expect_words ("DU", 2,
                "it does not use TLS, and this node has tls- parameters");
  expect_words ("DUDU", 4, "what it sent is not TLS");
  expect_words ("GET / HTTP/1.1\r\n\r\n", 18, "what it sent is not TLS");
}
END_TEST

/* A record that was changed on its way ends it, and gives out nothing. */
START_TEST (changed_records_end_it)
{
  static const char text[] = "a frame, or so";
  const struct iovec iov = { (void *) (uintptr_t) text, sizeof text };
  char got[64];
  const char *why;
  struct two two;

  for (long at = 5; at < 30; at++) {
    long spoiled = at;
    long none = -1;

    two_open (&two, KEY, KEY);
    ck_assert_int_eq (shake (&two, 4096, -1).b, CHANNEL_READY);
    ck_assert_int_eq (channel_send (&two.a, &iov, 1), sizeof text);
    carry (two.wire_a, two.wire_b, 4096, &none);
    ck_assert_int_eq (channel_receive (&two.b, got, sizeof got, &why),
                      sizeof text);
    ck_assert_int_eq (memcmp (got, text, sizeof text), 0);
    ck_assert_int_eq (channel_send (&two.a, &iov, 1), sizeof text);
    carry (two.wire_a, two.wire_b, 4096, &spoiled);
    ck_assert_int_eq (channel_receive (&two.b, got, sizeof got, &why), -1);
    ck_assert_int_eq (errno, EPROTO);
    ck_assert_int_eq (channel_receive (&two.b, got, sizeof got, &why), -1);
    two_close (&two);
  }
}
END_TEST

/* ------------------------------------------------------------- in bulk */

enum { BULK = 48 * 1024 * 1024, PIECES = 128 };

/* Byte number AT of what is sent. */
static uint8_t
byte_at (size_t at)
{
  return (uint8_t) (at * 31 + (at >> 8) + (at >> 16));
}

/* Send BULK bytes in pieces of many sizes. */
static void *
send_main (void *argument)
{
  static uint8_t all[BULK];
  struct channel *channel = argument;
  size_t sent = 0;
  uint32_t random = 1;

  for (size_t i = 0; i < BULK; i++)
    all[i] = byte_at (i);
  while (sent < BULK || channel_has_unsent (channel)) {
    struct iovec iov[PIECES];
    size_t at = sent;
    int count = 0;

    while (count < PIECES && at < BULK) {
      random = random * 1664525u + 1013904223u;
      size_t length = (random >> 8) % (count % 8 == 7 ? 200000 : 5000);
      if (length > BULK - at)
        length = BULK - at;
      iov[count++] = (struct iovec){ all + at, length };
      at += length;
    }
    ssize_t taken = channel_send (channel, iov, count);
    if (taken == -1) {
      struct pollfd full = { .fd = channel->fd, .events = POLLOUT };

      ck_assert_int_eq (errno, EAGAIN);
      poll (&full, 1, PATIENCE_MS);
      continue;
    }
    sent += (size_t) taken;
  }
  return NULL;
}

/* Receive BULK bytes and look at each. */
static void *
receive_main (void *argument)
{
  static uint8_t buffer[300000];
  struct channel *channel = argument;
  size_t seen = 0;

  while (seen < BULK) {
    const char *why = "";
    ssize_t count = channel_receive (channel, buffer, 1 + seen % sizeof buffer,
                                     &why);

    ck_assert_msg (count >= 0, "%s after %zu", why, seen);
    for (ssize_t i = 0; i < count; i++)
      if (buffer[i] != byte_at (seen + (size_t) i))
        ck_abort_msg ("another byte at %zu", seen + (size_t) i);
    seen += (size_t) count;
  }
  return NULL;
}

static void
wait_for_room (int fd)
{
  struct pollfd polled = { .fd = fd, .events = POLLOUT };

  poll (&polled, 1, 1000);
}

/* The other side: GnuTLS itself, one thread, which sends back what it gets
 * and updates the keys of both sides as often as GnuTLS allows.
 */
static unsigned
echo_with_updates (int fd)
{
  static uint8_t kept[1 << 20];
  size_t start = 0, end = 0, echoed = 0;
  unsigned updates = 0;
  uint64_t next_ms;
  const gnutls_datum_t key = { (unsigned char[]){ 0, 1, 2, 3, 4, 5, 6, 7, 8, 9,
                                                  10, 11, 12, 13, 14, 15 },
                               16 };
  gnutls_psk_client_credentials_t credentials;
  gnutls_session_t session;
  int r;

  gnutls_psk_allocate_client_credentials (&credentials);
  gnutls_psk_set_client_credentials (credentials, "duet", &key,
                                     GNUTLS_PSK_KEY_RAW);
  gnutls_init (&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK);
  gnutls_priority_set_direct (
    session, "NORMAL:-VERS-ALL:+VERS-TLS1.3:-KX-ALL:+ECDHE-PSK", NULL);
  gnutls_credentials_set (session, GNUTLS_CRD_PSK, credentials);
  gnutls_transport_set_int (session, fd);
  while ((r = gnutls_handshake (session)) != 0)
    ck_assert_msg (!gnutls_error_is_fatal (r), "%s", gnutls_strerror (r));

  next_ms = now_ms () + 150;
  while (echoed < BULK) {
    ssize_t count = 0;
    bool moved = false;

    if (start == end)
      start = end = 0;
    if (end < sizeof kept) {
      count = gnutls_record_recv (session, kept + end, sizeof kept - end);
      ck_assert_msg (count > 0 || count == GNUTLS_E_AGAIN, "%s",
                     gnutls_strerror ((int) count));
      end += count > 0 ? (size_t) count : 0;
      moved = count > 0;
    }
    if (end > start) {
      /* What is half sent must be sent before anything else is done. */
      count = gnutls_record_send (session, kept + start, end - start);
      while (count == GNUTLS_E_AGAIN) {
        wait_for_room (fd);
        count = gnutls_record_send (session, NULL, 0);
      }
      ck_assert_msg (count > 0, "%s", gnutls_strerror ((int) count));
      start += (size_t) count;
      echoed += (size_t) count;
      moved = true;
    }
    if (count > 0 && now_ms () >= next_ms) {
      while ((r = gnutls_session_key_update (session, GNUTLS_KU_PEER)) ==
             GNUTLS_E_AGAIN)
        wait_for_room (fd);
      updates += r == 0;
      next_ms = now_ms () + 150;
    }
    if (!moved) {
      struct pollfd news = { .fd = fd, .events = POLLIN | POLLOUT };

      poll (&news, 1, 1);
    }
  }
  gnutls_deinit (session);
  gnutls_psk_free_client_credentials (credentials);
  return updates;
}

struct raw_end {
  int fd;
  unsigned updates;
};

static void *
echo_main (void *argument)
{
  struct raw_end *end = argument;

  end->updates = echo_with_updates (end->fd);
  return NULL;
}

START_TEST (two_threads_and_key_updates)
{
  struct tls_context *context = context_of (KEY);
  struct raw_end raw;
  struct channel channel;
  pthread_t echo, sender, receiver;
  enum channel_progress progress;
  const char *why;
  int ends[2];

  ck_assert_int_eq (socketpair (AF_UNIX, SOCK_STREAM, 0, ends), 0);
  set_nonblocking (ends[0]);
  set_nonblocking (ends[1]);
  ck_assert (channel_open (&channel, ends[0], context, false));
  raw.fd = ends[1];
  pthread_create (&echo, NULL, echo_main, &raw);
  while ((progress = channel_secure (&channel, &why)) == CHANNEL_PART)
    raw_wait (ends[0]);
  ck_assert_msg (progress == CHANNEL_READY, "%s", why);
  fcntl (ends[0], F_SETFL, 0);

  pthread_create (&sender, NULL, send_main, &channel);
  pthread_create (&receiver, NULL, receive_main, &channel);
  pthread_join (sender, NULL);
  pthread_join (receiver, NULL);
  pthread_join (echo, NULL);
  ck_assert_uint_ge (raw.updates, 1);
  ck_assert_uint_gt (channel.receives, 0);
  channel_close (&channel);
  close (ends[1]);
  tls_context_free (context);
}
END_TEST

/* ------------------------------------------------------------ two links */

START_TEST (links_connect_with_tls)
{
  struct tls_context *context = context_of (KEY);
  struct node a, b;

  node_tls = context;
  for (int round = 0; round < 6; round++) {
    pair_start (&a, &b);
    a.in_order = b.in_order = true;
    /* both at once, or one of them */
    if (round % 3 != 0)
      link_connect (a.link, PATIENCE_MS);
    if (round % 3 != 1)
      link_connect (b.link, PATIENCE_MS);
    WAIT (a.up != 0 && b.up != 0);
    for (int i = 0; i < 200; i++) {
      node_send (&a, 8 + (uint32_t) i * 100);
      node_send (&b, i % 10 == 0 ? WIRE_PAYLOAD_MAX : 64);
    }
    WAIT (a.frames == 200 && b.frames == 200);
    WAIT (a.done == 200 && b.done == 200);
    link_drop (a.link, a.up);
    WAIT (a.up == 0 && b.up == 0);
    ck_assert_str_eq (b.why, "closed by the peer");
    ck_assert_int_eq (a.refusals + b.refusals, 0);
    pair_stop (&a, &b);
  }
  node_tls = NULL;
  tls_context_free (context);
}
END_TEST

/* One with TLS, one without, and who only speaks TLS's first byte. */
START_TEST (links_name_the_difference)
{
  struct tls_context *context = context_of (KEY);
  uint16_t port_a = free_port ();
  uint16_t port_b = free_port ();
  struct node a, b;
  int fd;

  node_tls = context;
  node_start (&a, 1, port_a, port_b);
  node_tls = NULL;
  node_start (&b, 2, port_b, port_a);

  link_connect (a.link, PATIENCE_MS);
  WAIT (a.refusals == 1 && b.refusals == 1 && a.fails == 1);
  ck_assert_str_eq (a.refusal, "it does not use TLS 1.3");
  ck_assert_str_eq (b.refusal,
                    "it uses TLS, and this node has no tls- parameters");
  link_connect (b.link, PATIENCE_MS);
  WAIT (a.refusals == 2 && b.refusals == 2 && b.fails == 1);
  ck_assert_str_eq (a.refusal,
                    "it does not use TLS, and this node has tls- parameters");
  ck_assert_str_eq (b.refusal,
                    "it uses TLS, and this node has no tls- parameters");

  fd = raw_dial (port_a);
  raw_send (fd, "\26", 1);
  ck_assert (raw_closed (fd)); /* after GREETING_MS */
  close (fd);
  ck_assert_int_eq (a.ups + b.ups, 0);
  pair_stop (&a, &b);
  tls_context_free (context);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("tls");
  TCase *one = tcase_create ("connection");
  TCase *links = tcase_create ("links");
  SRunner *runner;
  int failed;

  tcase_set_timeout (one, 60);
  tcase_add_test (one, bad_key_files_are_named);
  tcase_add_test (one, handshakes_survive_any_cut);
  tcase_add_test (one, spoiled_handshakes_fail);
  tcase_add_test (one, wrong_keys_are_refused_by_name);
  tcase_add_test (one, what_is_not_tls_is_named);
  tcase_add_test (one, changed_records_end_it);
  tcase_add_test (one, two_threads_and_key_updates);
  suite_add_tcase (suite, one);
  tcase_set_timeout (links, 60);
  tcase_add_test (links, links_connect_with_tls);
  tcase_add_test (links, links_name_the_difference);
  suite_add_tcase (suite, links);

  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? 0 : 1;
}
