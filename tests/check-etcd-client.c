/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-etcd-client.c: the client of etcd's gateway against a real etcd, and
 * against servers that answer badly, late or not at all: whatever comes,
 * a call ends in time and never takes for done what was not.
 */
#include <glob.h>

#include "check-etcd-client.h"
#include "etcd.h"

#define KEY    "/duet/0123456789abcdef"
/* KEY in base64. */
#define KEY64  "L2R1ZXQvMDEyMzQ1Njc4OWFiY2RlZg=="
#define HEADER "\"header\":{\"cluster_id\":\"7\",\"revision\":\"5\"}"
/* A key with the value "x" and mod_revision 3. */
#define KVS                                                 \
  "\"kvs\":[{\"key\":\"" KEY64 "\",\"mod_revision\":\"3\"," \
  "\"value\":\"eA==\"}],\"count\":\"1\""
#define RANGE FAKE_OK ("{" HEADER "," KVS "}")
#define PUT                                                \
  FAKE_OK ("{" HEADER ",\"succeeded\":true,\"responses\":" \
           "[{\"response_put\":{\"header\":{\"revision\":\"5\"}}}]}")

enum {
  SOON_MS = 1500, /* "at once", on a busy machine */
  SHORT_MS = 400, /* for calls that are to run out of time */
};

static struct server server;
static struct etcd_value value;
static char error[512];

static void
start_server (void)
{
  server_start (&server);
}

static void
stop_server (void)
{
  server_stop (&server);
}

static struct etcd *
client (const char *urls)
{
  const struct etcd_config config = { .urls = urls };
  struct etcd *etcd = etcd_new (&config, error, sizeof error);

  ck_assert_msg (etcd != NULL, "%s", error);
  return etcd;
}

/* One that gives up soon. */
static struct etcd *
hasty_client (const char *urls)
{
  const struct etcd_config config = { .urls = urls, .total_ms = SHORT_MS };
  struct etcd *etcd = etcd_new (&config, error, sizeof error);

  ck_assert_msg (etcd != NULL, "%s", error);
  return etcd;
}

static struct etcd_value *
wanted (uint64_t revision, const char *text)
{
  static struct etcd_value wanted_value;

  wanted_value.revision = revision;
  wanted_value.size = strlen (text);
  memcpy (wanted_value.bytes, text, wanted_value.size);
  return &wanted_value;
}

static void
assert_value (const char *text)
{
  ck_assert_uint_ne (value.revision, 0);
  ck_assert_uint_eq (value.size, strlen (text));
  ck_assert_mem_eq (value.bytes, text, value.size);
}

static void
assert_reason (const struct etcd *etcd, const char *part)
{
  ck_assert_msg (strstr (etcd_last_reason (etcd), part) != NULL, "%s, not %s",
                 etcd_last_reason (etcd), part);
}

/* ------------------------------------------------------------ a real etcd */

START_TEST (reads_and_swaps)
{
  struct etcd *etcd = client (server.url);
  uint64_t first;

  ck_assert_int_eq (etcd_read (etcd, "/a", &value), ETCD_DONE);
  ck_assert_uint_eq (value.revision, 0);
  ck_assert_int_eq (etcd_swap (etcd, "/a", wanted (0, "one"), &value),
                    ETCD_DONE);
  assert_value ("one");
  first = value.revision;
  ck_assert_int_eq (etcd_read (etcd, "/a", &value), ETCD_DONE);
  assert_value ("one");
  ck_assert_uint_eq (value.revision, first);

  /* Asked again, as after an unknown outcome: it is done. */
  ck_assert_int_eq (etcd_swap (etcd, "/a", wanted (0, "one"), &value),
                    ETCD_DONE);
  ck_assert_uint_eq (value.revision, first);
  /* The same bytes again move the revision: nothing that was asked for on
   * the old one can take place any more.
   */
  ck_assert_int_eq (etcd_swap (etcd, "/a", wanted (first, "one"), &value),
                    ETCD_DONE);
  ck_assert_uint_gt (value.revision, first);
  ck_assert_int_eq (etcd_swap (etcd, "/a", wanted (first, "two"), &value),
                    ETCD_CONFLICT);
  first = value.revision;
  /* Somebody else's, and one that comes too late. */
  ck_assert_int_eq (etcd_swap (etcd, "/a", wanted (0, "two"), &value),
                    ETCD_CONFLICT);
  assert_value ("one");
  ck_assert_int_eq (etcd_swap (etcd, "/a", wanted (first, "two"), &value),
                    ETCD_DONE);
  assert_value ("two");
  ck_assert_uint_gt (value.revision, first);
  ck_assert_int_eq (etcd_swap (etcd, "/a", wanted (first, "three"), &value),
                    ETCD_CONFLICT);
  assert_value ("two");
  ck_assert_uint_gt (value.revision, first);
  etcd_free (etcd);
}
END_TEST

/* All bytes, and as many as there may be. */
START_TEST (keeps_every_byte)
{
  struct etcd *etcd = client (server.url);
  struct etcd_value big = { .size = ETCD_VALUE_MAX };

  for (size_t i = 0; i < big.size; i++)
    big.bytes[i] = (uint8_t) (i * 7 + i / 256);
  ck_assert_int_eq (etcd_swap (etcd, "/big", &big, &value), ETCD_DONE);
  ck_assert_int_eq (etcd_read (etcd, "/big", &value), ETCD_DONE);
  ck_assert_uint_eq (value.size, big.size);
  ck_assert_mem_eq (value.bytes, big.bytes, big.size);

  /* Put there by somebody else: nothing, and too much. */
  ck_assert_int_eq (server_post (&server, "/v3/kv/put",
                                 "{\"key\":\"L2VtcHR5\",\"value\":\"\"}"),
                    200);
  ck_assert_int_eq (etcd_read (etcd, "/empty", &value), ETCD_DONE);
  ck_assert_uint_ne (value.revision, 0);
  ck_assert_uint_eq (value.size, 0);
  static char put[3 * ETCD_VALUE_MAX];
  size_t size = (size_t) sprintf (put, "{\"key\":\"L2xvbmc=\",\"value\":\"");
  memset (put + size, 'A', 2 * ETCD_VALUE_MAX);
  strcpy (put + size + 2 * ETCD_VALUE_MAX, "\"}");
  ck_assert_int_eq (server_post (&server, "/v3/kv/put", put), 200);
  ck_assert_int_eq (etcd_read (etcd, "/long", &value), ETCD_UNREACHABLE);
  assert_reason (etcd, "too long or not base64");
  etcd_free (etcd);
}
END_TEST

/* An endpoint where nobody listens costs nothing, one that says nothing
 * costs the patience, once.
 */
START_TEST (goes_to_the_next_endpoint)
{
  struct fake silent = { .range.end = FAKE_HANG };
  char urls[256];
  uint64_t begin;
  struct etcd *etcd;

  snprintf (urls, sizeof urls, "http://127.0.0.1:%u,%s/", free_port (),
            server.url);
  etcd = client (urls);
  begin = now_ms ();
  ck_assert_int_eq (etcd_read (etcd, "/none", &value), ETCD_DONE);
  ck_assert_uint_lt (now_ms () - begin, SOON_MS);
  etcd_free (etcd);

  fake_start (&silent);
  snprintf (urls, sizeof urls, "%s,%s", silent.url, server.url);
  etcd = client (urls);
  begin = now_ms ();
  ck_assert_int_eq (etcd_read (etcd, "/none", &value), ETCD_DONE);
  ck_assert_uint_ge (now_ms () - begin, ETCD_PATIENCE_MS - 1);
  ck_assert_uint_lt (now_ms () - begin, ETCD_PATIENCE_MS + SOON_MS);
  ck_assert_int_eq (silent.requests, 1);
  ck_assert_int_eq (etcd_swap (etcd, "/next", wanted (0, "x"), &value),
                    ETCD_DONE);
  ck_assert_int_eq (silent.requests, 1);
  etcd_free (etcd);
  fake_stop (&silent);
}
END_TEST

/* Have all threads of PID?  SIGSTOP reaches one after the other. */
static bool
has_stopped (pid_t pid)
{
  char pattern[64];
  glob_t stats;
  bool all = true;

  snprintf (pattern, sizeof pattern, "/proc/%d/task/*/stat", (int) pid);
  ck_assert_int_eq (glob (pattern, 0, NULL, &stats), 0);
  for (size_t i = 0; i < stats.gl_pathc; i++) {
    FILE *file = fopen (stats.gl_pathv[i], "re");
    char state = 'T';

    if (file != NULL) { /* else it has ended */
      ck_assert_int_eq (fscanf (file, "%*d (%*[^)]) %c", &state), 1);
      fclose (file);
    }
    all = all && state == 'T';
  }
  globfree (&stats);
  return all;
}

START_TEST (stopped_server_ends_in_time)
{
  struct etcd *etcd = hasty_client (server.url);
  uint64_t begin;

  ck_assert_int_eq (etcd_read (etcd, "/s", &value), ETCD_DONE);
  kill (server.pid, SIGSTOP);
  while (!has_stopped (server.pid))
    usleep (1000);
  begin = now_ms ();
  ck_assert_int_eq (etcd_swap (etcd, "/s", wanted (0, "x"), &value),
                    ETCD_UNREACHABLE);
  ck_assert_uint_ge (now_ms () - begin, SHORT_MS - 1);
  ck_assert_uint_lt (now_ms () - begin, SHORT_MS + SOON_MS);
  kill (server.pid, SIGCONT);
  etcd_free (etcd);
}
END_TEST

/* A password that is right, then one that is wrong; a token that a new
 * process of etcd does not know any more.
 */
START_TEST (logs_in)
{
  static const struct {
    const char *path, *body;
  } steps[] = {
    { "/v3/auth/user/add", "{\"name\":\"root\",\"password\":\"r\"}" },
    { "/v3/auth/role/add", "{\"name\":\"root\"}" },
    { "/v3/auth/user/grant", "{\"user\":\"root\",\"role\":\"root\"}" },
    { "/v3/auth/user/add", "{\"name\":\"idle\",\"password\":\"i\"}" },
    { "/v3/auth/enable", "{}" },
  };
  struct server own;
  struct etcd_config config = { .urls = own.url, .user = "root" };
  char path[96];
  FILE *file;

  server_start (&own);
  for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++)
    ck_assert_int_eq (server_post (&own, steps[i].path, steps[i].body), 200);
  snprintf (path, sizeof path, "%s/password", own.folder);
  config.password_file = path;

#define PASSWORD(text)          \
  file = fopen (path, "w");     \
  ck_assert_ptr_nonnull (file); \
  fputs (text, file);           \
  ck_assert_int_eq (fclose (file), 0)
  PASSWORD ("r\n");
  struct etcd *etcd = etcd_new (&config, error, sizeof error);
  ck_assert_int_eq (etcd_swap (etcd, "/l", wanted (0, "x"), &value), ETCD_DONE);
  server_kill (&own);
  server_run (&own);
  ck_assert_int_eq (
    etcd_swap (etcd, "/l", wanted (value.revision, "y"), &value), ETCD_DONE);
  assert_value ("y");
  etcd_free (etcd);

  PASSWORD ("wrong");
  etcd = etcd_new (&config, error, sizeof error);
  ck_assert_int_eq (etcd_read (etcd, "/l", &value), ETCD_UNREACHABLE);
  assert_reason (etcd, "invalid user ID or password");
  etcd_free (etcd);

  PASSWORD ("i");
  config.user = "idle";
  etcd = etcd_new (&config, error, sizeof error);
  ck_assert_int_eq (etcd_swap (etcd, "/l", wanted (0, "x"), &value),
                    ETCD_UNREACHABLE);
  assert_reason (etcd, "permission denied");
  etcd_free (etcd);

  config.user = NULL;
  config.password_file = NULL;
  etcd = etcd_new (&config, error, sizeof error);
  ck_assert_int_eq (etcd_read (etcd, "/l", &value), ETCD_UNREACHABLE);
  assert_reason (etcd, "user name is empty");
  etcd_free (etcd);
  server_stop (&own);
}
END_TEST

/* ----------------------------------------------------------- a false one */

/* Whatever is wrong with an answer: nothing is known, and the log can say
 * what it was.
 */
static const struct {
  struct fake_answer answer;
  const char *reason;
} bad_ranges[] = {
  { { NULL, FAKE_CLOSE }, "" },
  { { "rubbish\r\n\r\n", FAKE_CLOSE }, "" },
  { { FAKE_OK (""), FAKE_CLOSE }, "not a JSON object" },
  { { FAKE_OK ("[]"), FAKE_CLOSE }, "not a JSON object" },
  { { FAKE_OK ("{" HEADER "," KVS), FAKE_CLOSE }, "not a JSON object" },
  { { FAKE_OK ("{" HEADER "," KVS "}{}"), FAKE_CLOSE }, "not a JSON object" },
  { { FAKE_OK ("{" KVS "}"), FAKE_CLOSE }, "no cluster_id" },
  { { FAKE_OK ("{\"header\":{\"cluster_id\":\"7\"}," KVS "}"), FAKE_CLOSE },
    "no cluster_id" },
  { { FAKE_OK ("{\"header\":{\"cluster_id\":\"7\",\"revision\":\"-1\"}}"),
      FAKE_CLOSE },
    "no cluster_id" },
  { { FAKE_OK ("{\"header\":{\"cluster_id\":\"7\",\"revision\":"
               "\"18446744073709551616\"}}"),
      FAKE_CLOSE },
    "no cluster_id" },
  { { FAKE_OK ("{" HEADER ",\"kvs\":7}"), FAKE_CLOSE }, "not about the key" },
  { { FAKE_OK ("{" HEADER ",\"kvs\":[7]}"), FAKE_CLOSE }, "not about the key" },
  { { FAKE_OK ("{" HEADER ",\"kvs\":[{\"key\":\"L2E=\",\"mod_revision\":"
               "\"3\",\"value\":\"eA==\"}]}"),
      FAKE_CLOSE },
    "not about the key" },
  { { FAKE_OK ("{" HEADER ",\"kvs\":[{\"key\":\"" KEY64 "\","
               "\"mod_revision\":\"3\",\"value\":\"!!!!\"}]}"),
      FAKE_CLOSE },
    "not base64" },
  { { FAKE_OK ("{" HEADER ",\"kvs\":[{\"key\":\"" KEY64 "\","
               "\"mod_revision\":\"3\",\"value\":\"eA=\"}]}"),
      FAKE_CLOSE },
    "not base64" },
  { { FAKE_OK ("{" HEADER ",\"kvs\":[{\"key\":\"" KEY64 "\","
               "\"mod_revision\":\"3\",\"value\":{}}]}"),
      FAKE_CLOSE },
    "not base64" },
  { { FAKE_OK ("{" HEADER ",\"kvs\":[{\"key\":\"" KEY64 "\","
               "\"mod_revision\":\"3x\",\"value\":\"eA==\"}]}"),
      FAKE_CLOSE },
    "no mod_revision" },
  { { "HTTP/1.1 503 Busy\r\n\r\n{\"error\":\"no \\u001b[31mleader\","
      "\"code\":14}",
      FAKE_CLOSE },
    "no ?[31mleader" },
  { { "HTTP/1.1 500 No\r\n\r\n<html>", FAKE_CLOSE }, "<html>" },
  { { "HTTP/1.1 500 No\r\n\r\nline\nline", FAKE_CLOSE }, "500: line" },
  { { "HTTP/1.1 500 No\r\n\r\n", FAKE_CLOSE }, "HTTP status 500" },
  { { "HTTP/1.1 302 Go\r\nLocation: http://127.0.0.1:1/\r\n\r\n", FAKE_CLOSE },
    "HTTP status 302" },
  { { FAKE_HEAD, FAKE_FLOOD }, "" },
  { { "HTTP/1.1 200 OK\r\nX: ", FAKE_FLOOD }, "" },
  { { FAKE_HEAD "{", FAKE_DRIP }, "no answer in time" },
  { { FAKE_HEAD, FAKE_HANG }, "no answer in time" },
  { { NULL, FAKE_HANG }, "no answer in time" },
};

START_TEST (bad_answer_to_a_read)
{
  struct fake fake = { .range = bad_ranges[_i].answer };
  uint64_t begin = now_ms ();

  fake_start (&fake);
  struct etcd *etcd = hasty_client (fake.url);
  ck_assert_int_eq (etcd_read (etcd, KEY, &value), ETCD_UNREACHABLE);
  ck_assert_uint_lt (now_ms () - begin, SHORT_MS + SOON_MS);
  ck_assert_int_eq (fake.requests, 1);
  assert_reason (etcd, fake.url);
  assert_reason (etcd, bad_ranges[_i].reason);
  etcd_free (etcd);
  fake_stop (&fake);
}
END_TEST

/* It was sent, and what came back says nothing: unknown.  Only a refusal
 * is a no.
 */
static const struct {
  struct fake_answer answer;
  enum etcd_outcome outcome;
} txn_answers[] = {
  { { PUT, FAKE_CLOSE }, ETCD_DONE },
  { { NULL, FAKE_CLOSE }, ETCD_UNKNOWN },
  { { NULL, FAKE_HANG }, ETCD_UNKNOWN },
  { { FAKE_HEAD, FAKE_FLOOD }, ETCD_UNKNOWN },
  { { FAKE_OK ("rubbish"), FAKE_CLOSE }, ETCD_UNKNOWN },
  { { FAKE_OK ("{" HEADER "}"), FAKE_CLOSE }, ETCD_UNKNOWN },
  { { FAKE_OK ("{" HEADER ",\"succeeded\":true}"), FAKE_CLOSE }, ETCD_UNKNOWN },
  { { FAKE_OK ("{" HEADER ",\"succeeded\":true,\"responses\":[{}]}"),
      FAKE_CLOSE },
    ETCD_UNKNOWN },
  { { FAKE_OK ("{" HEADER ",\"succeeded\":1,\"responses\":[{\"response_put\":"
               "{}}]}"),
      FAKE_CLOSE },
    ETCD_UNKNOWN },
  { { FAKE_OK ("{\"header\":{\"cluster_id\":\"8\",\"revision\":\"6\"},"
               "\"succeeded\":true,\"responses\":[{\"response_put\":{}}]}"),
      FAKE_CLOSE },
    ETCD_UNKNOWN },
  { { FAKE_OK ("{\"header\":{\"cluster_id\":\"7\",\"revision\":\"4\"},"
               "\"succeeded\":true,\"responses\":[{\"response_put\":{}}]}"),
      FAKE_CLOSE },
    ETCD_UNKNOWN },
  { { "HTTP/1.1 503 Busy\r\n\r\n{\"error\":\"timed out\",\"code\":14}",
      FAKE_CLOSE },
    ETCD_UNKNOWN },
  { { "HTTP/1.1 403 No\r\n\r\n{\"error\":\"permission denied\",\"code\":7}",
      FAKE_CLOSE },
    ETCD_UNREACHABLE },
  { { FAKE_OK ("{" HEADER ",\"responses\":[{\"response_range\":{" KVS "}}]}"),
      FAKE_CLOSE },
    ETCD_CONFLICT },
  /* It lost against another one, and the key was removed since. */
  { { FAKE_OK ("{" HEADER ",\"responses\":[{\"response_range\":{}}]}"),
      FAKE_CLOSE },
    ETCD_CONFLICT },
};

START_TEST (answer_to_a_swap)
{
  struct fake fake = { .range.text = RANGE, .txn = txn_answers[_i].answer };
  uint64_t begin = now_ms ();

  fake_start (&fake);
  struct etcd *etcd = hasty_client (fake.url);
  ck_assert_int_eq (etcd_swap (etcd, KEY, wanted (3, "new"), &value),
                    txn_answers[_i].outcome);
  ck_assert_uint_lt (now_ms () - begin, SHORT_MS + SOON_MS);
  ck_assert_int_eq (fake.requests, 2);
  if (txn_answers[_i].outcome == ETCD_DONE)
    assert_value ("new");
  etcd_free (etcd);
  fake_stop (&fake);
}
END_TEST

/* One endpoint takes it and dies, the other does not know of it yet, then
 * says that it was done: by this attempt, since the bytes are its own.
 */
START_TEST (unknown_becomes_known)
{
  struct fake fake = { .range.text = RANGE, .txn.end = FAKE_CLOSE };
  static const char later[] = FAKE_OK ("{" HEADER ",\"kvs\":[{\"key\":\"" KEY64
                                       "\",\"mod_revision\":\"4\","
                                       "\"value\":\"bmV3\"}]}");

  fake_start (&fake);
  struct etcd *etcd = hasty_client (fake.url);
  ck_assert_int_eq (etcd_swap (etcd, KEY, wanted (3, "new"), &value),
                    ETCD_UNKNOWN);
  fake.range.text = later;
  ck_assert_int_eq (etcd_swap (etcd, KEY, wanted (3, "new"), &value),
                    ETCD_DONE);
  assert_value ("new");
  ck_assert_uint_eq (value.revision, 4);
  ck_assert_int_eq (etcd_swap (etcd, KEY, wanted (3, "other"), &value),
                    ETCD_CONFLICT);
  assert_value ("new");
  etcd_free (etcd);
  fake_stop (&fake);

  /* The next endpoint is asked within one call. */
  struct fake second = { .range.text = RANGE, .txn.text = PUT };
  char urls[160];
  fake.range.text = RANGE;
  fake_start (&fake);
  fake_start (&second);
  snprintf (urls, sizeof urls, "%s,%s", fake.url, second.url);
  etcd = hasty_client (urls);
  ck_assert_int_eq (etcd_swap (etcd, KEY, wanted (3, "new"), &value),
                    ETCD_DONE);
  ck_assert_int_eq (second.requests, 1);
  etcd_free (etcd);
  fake_stop (&second);
  fake_stop (&fake);
}
END_TEST

/* A cluster that is another one, or that was taken back in time. */
START_TEST (another_cluster_is_refused)
{
  struct fake fake = { .range.text = RANGE };

  fake_start (&fake);
  struct etcd *etcd = hasty_client (fake.url);
  ck_assert_int_eq (etcd_read (etcd, KEY, &value), ETCD_DONE);
  assert_value ("x");
  fake.range.text = FAKE_OK (
    "{\"header\":{\"cluster_id\":\"8\",\"revision\":\"5\"}}");
  ck_assert_int_eq (etcd_read (etcd, KEY, &value), ETCD_UNREACHABLE);
  assert_reason (etcd, "another etcd cluster");
  fake.range.text = FAKE_OK (
    "{\"header\":{\"cluster_id\":\"7\",\"revision\":\"4\"}}");
  ck_assert_int_eq (etcd_read (etcd, KEY, &value), ETCD_UNREACHABLE);
  assert_reason (etcd, "has lost what it had said");
  fake.range.text = RANGE;
  ck_assert_int_eq (etcd_read (etcd, KEY, &value), ETCD_DONE);
  etcd_free (etcd);
  fake_stop (&fake);
}
END_TEST

START_TEST (bad_token)
{
  static const char *const bad[] = {
    FAKE_OK ("{" HEADER "}"),
    FAKE_OK ("{" HEADER ",\"token\":\"\"}"),
    FAKE_OK ("{" HEADER ",\"token\":\"a\\r\\nX: b\"}"),
    FAKE_OK ("{" HEADER ",\"token\":7}"),
  };
  struct fake fake = { .range.text = RANGE, .login.text = bad[_i] };
  struct etcd_config config = { .urls = fake.url, .user = "u" };

  fake_start (&fake);
  struct etcd *etcd = etcd_new (&config, error, sizeof error);
  ck_assert_int_eq (etcd_read (etcd, KEY, &value), ETCD_UNREACHABLE);
  assert_reason (etcd, "no token");
  ck_assert_int_eq (fake.requests, 1);
  etcd_free (etcd);
  fake_stop (&fake);
}
END_TEST

static void *
stop_when_asked (void *opaque)
{
  struct {
    struct fake *fake;
    struct etcd *etcd;
  } *both = opaque;
  uint64_t end_ms = now_ms () + PATIENCE_MS;

  while (both->fake->requests == 0 && now_ms () < end_ms)
    pause_ms (1);
  etcd_stop (both->etcd);
  return NULL;
}

START_TEST (stop_ends_a_call)
{
  struct fake fake = { .range.end = FAKE_HANG };
  uint64_t begin = now_ms ();
  pthread_t thread;

  fake_start (&fake);
  struct etcd_config config = { .urls = fake.url, .total_ms = PATIENCE_MS };
  struct {
    struct fake *fake;
    struct etcd *etcd;
  } both = { &fake, etcd_new (&config, error, sizeof error) };
  pthread_create (&thread, NULL, stop_when_asked, &both);
  ck_assert_int_eq (etcd_read (both.etcd, KEY, &value), ETCD_UNREACHABLE);
  pthread_join (thread, NULL);
  ck_assert_int_eq (etcd_read (both.etcd, KEY, &value), ETCD_UNREACHABLE);
  ck_assert_uint_lt (now_ms () - begin, SOON_MS);
  etcd_free (both.etcd);
  fake_stop (&fake);
}
END_TEST

/* ---------------------------------------------------------- parameters */

#define NINE                                                        \
  "http://1,http://2,http://3,http://4,http://5,http://6,http://7," \
  "http://8,http://9"

START_TEST (urls)
{
  static const char *const good[] = {
    "http://a",
    "https://a.b:1/",
    "http://[::1]:2379,https://10.0.0.1:2379",
  };
  static const char *const bad[] = {
    "",           ",",          "http://a,",   ",http://a",      "a:2379",
    "ftp://a",    "http://",    "http://a/x",  "http://u@a",     "http://u:p@a",
    "http://a?x", "http://a#x", "http://a:0x", "http://a:99999", "http://a b",
    "unix:///x",  NINE,
  };

  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
    ck_assert_msg (etcd_check_urls (good[i], error, sizeof error) == 0,
                   "%s: %s", good[i], error);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    error[0] = '\0';
    ck_assert_msg (etcd_check_urls (bad[i], error, sizeof error) == -1, "%s",
                   bad[i]);
    ck_assert_str_ne (error, "");
  }
}
END_TEST

START_TEST (missing_files)
{
  struct etcd_config config = { .urls = "http://127.0.0.1:1" };
  const char **const files[] = { &config.ca, &config.cert, &config.cert_key,
                                 &config.password_file };

  for (size_t i = 0; i < 4; i++) {
    *files[i] = "/nowhere/at/all";
    ck_assert_ptr_null (etcd_new (&config, error, sizeof error));
    ck_assert_str_eq (error, "/nowhere/at/all: No such file or directory");
    *files[i] = NULL;
  }
  config.password_file = "/dev/null";
  ck_assert_ptr_null (etcd_new (&config, error, sizeof error));
  ck_assert_str_eq (error, "/dev/null: is empty");
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("etcd-client");
  TCase *real = tcase_create ("real");
  TCase *false_one = tcase_create ("false");
  SRunner *runner = srunner_create (suite);
  int failed;

  signal (SIGPIPE, SIG_IGN);
  tcase_add_unchecked_fixture (real, start_server, stop_server);
  tcase_set_timeout (real, 15);
  tcase_add_test (real, reads_and_swaps);
  tcase_add_test (real, keeps_every_byte);
  tcase_add_test (real, goes_to_the_next_endpoint);
  tcase_add_test (real, stopped_server_ends_in_time);
  tcase_add_test (real, logs_in);
  tcase_add_loop_test (false_one, bad_answer_to_a_read, 0,
                       sizeof bad_ranges / sizeof bad_ranges[0]);
  tcase_add_loop_test (false_one, answer_to_a_swap, 0,
                       sizeof txn_answers / sizeof txn_answers[0]);
  tcase_add_test (false_one, unknown_becomes_known);
  tcase_add_test (false_one, another_cluster_is_refused);
  tcase_add_loop_test (false_one, bad_token, 0, 4);
  tcase_add_test (false_one, stop_ends_a_call);
  tcase_add_test (false_one, urls);
  tcase_add_test (false_one, missing_files);
  suite_add_tcase (suite, real);
  suite_add_tcase (suite, false_one);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed > 0;
}
