/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * etcd.c: calls to etcd's JSON gateway with libcurl.
 *
 * A call is an HTTP request that is sent to one endpoint, then, staggered,
 * to the others as well, until one answer is good or the deadline comes.
 * Every connection is new, since calls are rare and an old connection may
 * lead nowhere.  Whether a request was sent is noted when libcurl fetches
 * its body: without the body etcd can do nothing.
 *
 * All that comes in is bounded (I9): the header and the body of an answer
 * by size, everything by time.
 */
#include <curl/curl.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "etcd.h"

enum {
  URL_MAX = 256,
  PATH_MAX_BYTES = 32,
  PASSWORD_MAX = 256,
  HEADER_MAX = 16 * 1024, /* of an answer, with all its lines */
  HTTP_OK = 200,
  HTTP_REFUSED = 400, /* to 499: etcd did nothing */
  HTTP_FAILED = 500,
};

/* An endpoint, and the request that is under way to it. */
struct endpoint {
  char url[URL_MAX];
  CURL *easy;
  bool running;
  bool sent; /* the body, or some of it */
  const char *body;
  size_t body_left;
  size_t header_size;
  size_t size; /* of answer */
  char answer[ETCD_ANSWER_MAX];
  char error[CURL_ERROR_SIZE];
};

/* What is asked, and what came of it. */
struct call {
  const char *path;
  char *body; /* given up */
  const char *key;
  /* NULL when the answer is good, else what is wrong with it. */
  const char *(*hear) (struct call *call, const char *text, size_t size);
  struct etcd_header header;
  struct etcd_value *value;
  char *token;
  bool done;    /* swap */
  bool sent;    /* to anybody who has not said that he did nothing */
  bool refused; /* the last word was that of etcd */
};

struct etcd {
  struct endpoint endpoints[ETCD_ENDPOINTS_MAX];
  unsigned count;
  unsigned preferred; /* answered last */
  CURLM *multi;
  struct curl_slist *plain_header, *token_header;
  char *user;
  char password[PASSWORD_MAX];
  char *ca, *cert, *cert_key;
  uint32_t connect_ms, total_ms, patience_ms;
  uint64_t deadline_ms;      /* of the call in progress */
  struct etcd_header newest; /* of all answers */
  char reason[ETCD_REASON_MAX];
  atomic_bool stopped;
};

static uint64_t
now_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* ------------------------------------------------------------------ URLs */

/* http or https, a host, perhaps a port, and nothing else. */
static const char *
check_url (const char *url)
{
  static const CURLUPart others[] = { CURLUPART_USER, CURLUPART_PASSWORD,
                                      CURLUPART_QUERY, CURLUPART_FRAGMENT };
  const char *wrong = NULL;
  char *part = NULL;
  CURLU *parts = curl_url ();

  if (parts == NULL)
    return "out of memory";
  if (strncmp (url, "http://", 7) != 0 && strncmp (url, "https://", 8) != 0)
    wrong = "must begin with http:// or https://";
  else if (curl_url_set (parts, CURLUPART_URL, url, 0) != CURLUE_OK)
    wrong = "not a URL";
  else if (curl_url_get (parts, CURLUPART_PATH, &part, 0) != CURLUE_OK ||
           strcmp (part, "/") != 0)
    wrong = "must have no path";
  curl_free (part);
  for (unsigned i = 0; wrong == NULL && i < 4; i++)
    if (curl_url_get (parts, others[i], &part, 0) == CURLUE_OK) {
      wrong = "must have nothing but a host and a port";
      curl_free (part);
    }
  curl_url_cleanup (parts);
  return wrong;
}

/* The next URL of *LIST into URL, without a slash at its end. */
static const char *
next_url (const char **list, char url[URL_MAX])
{
  size_t length = strcspn (*list, ",");

  if (length == 0)
    return "a URL is missing";
  if (length >= URL_MAX)
    return "a URL is too long";
  memcpy (url, *list, length);
  url[length] = '\0';
  *list += length;
  if (url[length - 1] == '/')
    url[length - 1] = '\0';
  return check_url (url);
}

static const char *
split_urls (const char *list, unsigned *count,
            struct endpoint endpoints[ETCD_ENDPOINTS_MAX])
{
  char url[URL_MAX];

  for (*count = 0;; (*count)++) {
    const char *wrong = next_url (&list, url);

    if (wrong == NULL && *count == ETCD_ENDPOINTS_MAX)
      wrong = "too many URLs";
    if (wrong != NULL)
      return wrong;
    if (endpoints != NULL)
      memcpy (endpoints[*count].url, url, sizeof url);
    if (*list++ == '\0')
      break;
  }
  (*count)++;
  return NULL;
}

int
etcd_check_urls (const char *urls, char *error, size_t error_size)
{
  unsigned count;
  const char *wrong = split_urls (urls, &count, NULL);

  if (wrong == NULL)
    return 0;
  snprintf (error, error_size, "%s", wrong);
  return -1;
}

/* --------------------------------------------------- one HTTP request */

static size_t
on_read (char *to, size_t size, size_t count, void *opaque)
{
  struct endpoint *endpoint = opaque;
  size_t length = size * count;

  if (length > endpoint->body_left)
    length = endpoint->body_left;
  memcpy (to, endpoint->body, length);
  endpoint->body += length;
  endpoint->body_left -= length;
  endpoint->sent = true;
  return length;
}

/* Anything but all of it ends the transfer with an error. */
static size_t
on_write (char *from, size_t size, size_t count, void *opaque)
{
  struct endpoint *endpoint = opaque;
  size_t length = size * count;

  if (length > sizeof endpoint->answer - endpoint->size)
    return 0;
  memcpy (endpoint->answer + endpoint->size, from, length);
  endpoint->size += length;
  return length;
}

static size_t
on_header (char *from, size_t size, size_t count, void *opaque)
{
  struct endpoint *endpoint = opaque;
  size_t length = size * count;

  (void) from;
  if (length > HEADER_MAX - endpoint->header_size)
    return 0;
  endpoint->header_size += length;
  return length;
}

/* What is the same for all requests to this endpoint. */
static bool
prepare (const struct etcd *etcd, struct endpoint *endpoint)
{
  CURL *easy = curl_easy_init ();
  bool good = easy != NULL;

  endpoint->easy = easy;
#define SET(option, value) \
  good = good && curl_easy_setopt (easy, CURLOPT_##option, value) == CURLE_OK
  SET (PRIVATE, endpoint);
  SET (ERRORBUFFER, endpoint->error);
  SET (NOSIGNAL, 1L);
  SET (PROTOCOLS_STR, "http,https");
  SET (HTTP_VERSION, (long) CURL_HTTP_VERSION_1_1);
  SET (FRESH_CONNECT, 1L);
  SET (FORBID_REUSE, 1L);
  SET (NOPROXY, "*");
  SET (CONNECTTIMEOUT_MS, (long) etcd->connect_ms);
  SET (READFUNCTION, on_read);
  SET (READDATA, endpoint);
  SET (WRITEFUNCTION, on_write);
  SET (WRITEDATA, endpoint);
  SET (HEADERFUNCTION, on_header);
  SET (HEADERDATA, endpoint);
  SET (POST, 1L);
  if (etcd->ca != NULL) {
    SET (CAINFO, etcd->ca);
    SET (CAPATH, NULL); /* or Debian's libcurl trusts the system's, too */
  }
  if (etcd->cert != NULL) {
    SET (SSLCERT, etcd->cert);
    SET (SSLKEY, etcd->cert_key);
  }
#undef SET
  return good;
}

static bool
start (struct etcd *etcd, struct endpoint *endpoint, const struct call *call)
{
  bool with_token = etcd->token_header != NULL && call->token == NULL;
  char url[URL_MAX + PATH_MAX_BYTES];

  snprintf (url, sizeof url, "%s%s", endpoint->url, call->path);
  endpoint->body = call->body;
  endpoint->body_left = strlen (call->body);
  endpoint->size = endpoint->header_size = 0;
  endpoint->sent = false;
  endpoint->error[0] = '\0';
  if (curl_easy_setopt (endpoint->easy, CURLOPT_URL, url) != CURLE_OK ||
      curl_easy_setopt (endpoint->easy, CURLOPT_POSTFIELDSIZE,
                        (long) endpoint->body_left) != CURLE_OK ||
      curl_easy_setopt (endpoint->easy, CURLOPT_HTTPHEADER,
                        with_token ? etcd->token_header : etcd->plain_header) !=
        CURLE_OK)
    return false;
  endpoint->running = curl_multi_add_handle (etcd->multi, endpoint->easy) ==
    CURLM_OK;
  return endpoint->running;
}

static void
end (struct etcd *etcd, struct endpoint *endpoint)
{
  curl_multi_remove_handle (etcd->multi, endpoint->easy);
  endpoint->running = false;
}

/* ------------------------------------------------------------- answers */

/* Two clusters would be two referees, and so would be one that has
 * forgotten something.
 */
static const char *
check_header (const struct etcd *etcd, const struct etcd_header *header)
{
  if (etcd->newest.cluster == 0)
    return NULL;
  if (header->cluster != etcd->newest.cluster)
    return "another etcd cluster answers there";
  if (header->revision < etcd->newest.revision)
    return "etcd has lost what it had said before (restored from a backup?)";
  return NULL;
}

static void
note_reason (struct etcd *etcd, const struct endpoint *endpoint,
             const char *what)
{
  snprintf (etcd->reason, sizeof etcd->reason, "%s: %s", endpoint->url, what);
}

/* What the request to ENDPOINT has come to.  True: it is the answer. */
static bool
settle (struct etcd *etcd, struct endpoint *endpoint, CURLcode result,
        struct call *call)
{
  char refusal[ETCD_REFUSAL_MAX];
  char text[ETCD_REFUSAL_MAX + 32];
  const char *wrong;
  long status = 0;

  curl_easy_getinfo (endpoint->easy, CURLINFO_RESPONSE_CODE, &status);
  if (result != CURLE_OK) {
    wrong = endpoint->error[0] != '\0' ? endpoint->error
                                       : curl_easy_strerror (result);
    call->sent |= endpoint->sent;
  }
  else if (status != HTTP_OK) {
    etcd_hear_refusal (endpoint->answer, endpoint->size, refusal);
    snprintf (text, sizeof text, "HTTP status %ld%s%s", status,
              refusal[0] != '\0' ? ": " : "", refusal);
    wrong = text;
    call->refused = status >= HTTP_REFUSED && status < HTTP_FAILED;
    call->sent |= !call->refused;
  }
  else {
    wrong = call->hear (call, endpoint->answer, endpoint->size);
    if (wrong == NULL)
      wrong = check_header (etcd, &call->header);
    call->sent |= wrong != NULL;
  }
  if (wrong == NULL) {
    etcd->newest = call->header;
    etcd->preferred = (unsigned) (endpoint - etcd->endpoints);
    return true;
  }
  note_reason (etcd, endpoint, wrong);
  return false;
}

/* --------------------------------------------------------------- calls */

/* One round of libcurl's work.  True: there is an answer.  A request that
 * has failed sets *FAILED.
 */
static bool
turn (struct etcd *etcd, struct call *call, unsigned *running, bool *failed)
{
  int unused;
  CURLMsg *message;

  curl_multi_perform (etcd->multi, &unused);
  while ((message = curl_multi_info_read (etcd->multi, &unused)) != NULL) {
    struct endpoint *endpoint = NULL;
    CURLcode result = message->data.result;

    if (message->msg != CURLMSG_DONE)
      continue;
    curl_easy_getinfo (message->easy_handle, CURLINFO_PRIVATE,
                       (char **) &endpoint);
    bool answered = settle (etcd, endpoint, result, call);
    end (etcd, endpoint);
    if (answered)
      return true;
    (*running)--;
    *failed = true;
  }
  return false;
}

/* CALL to one endpoint after the other until one has answered well.  Its
 * body is freed.  The reason is that of the last endpoint that failed.
 */
static bool
ask (struct etcd *etcd, struct call *call)
{
  unsigned begun = 0, running = 0;
  uint64_t now = now_ms (), next_ms = now;
  bool answered = false;

  snprintf (etcd->reason, sizeof etcd->reason, "%s",
            call->body == NULL ? "out of memory" : "etcd does not answer");
  while (call->body != NULL && !answered && now < etcd->deadline_ms &&
         !atomic_load (&etcd->stopped)) {
    bool failed = false;
    uint64_t wake_ms = etcd->deadline_ms;

    if (begun < etcd->count && now >= next_ms) {
      unsigned which = (etcd->preferred + begun++) % etcd->count;

      failed = !start (etcd, &etcd->endpoints[which], call);
      running += !failed;
      next_ms = now + etcd->patience_ms;
    }
    answered = turn (etcd, call, &running, &failed);
    if (answered || (running == 0 && begun == etcd->count))
      break;
    if (failed)
      next_ms = now;
    if (begun < etcd->count && next_ms < wake_ms)
      wake_ms = next_ms;
    now = now_ms ();
    curl_multi_poll (etcd->multi, NULL, 0,
                     wake_ms > now ? (int) (wake_ms - now) : 0, NULL);
    now = now_ms ();
  }
  for (unsigned i = 0; i < etcd->count; i++) {
    struct endpoint *endpoint = &etcd->endpoints[i];

    if (!endpoint->running)
      continue;
    call->sent |= endpoint->sent;
    if (!answered)
      note_reason (etcd, endpoint, "no answer in time");
    end (etcd, endpoint);
  }
  free (call->body);
  call->body = NULL;
  return answered;
}

static const char *
hear_login (struct call *call, const char *text, size_t size)
{
  return etcd_hear_login (text, size, &call->header, call->token);
}

static void
forget_token (struct etcd *etcd)
{
  curl_slist_free_all (etcd->token_header);
  etcd->token_header = NULL;
}

/* There is no token. */
static bool
login (struct etcd *etcd)
{
  static const char name[] = "Authorization: ";
  char line[sizeof name + ETCD_TOKEN_MAX];
  char token[ETCD_TOKEN_MAX];
  struct call call = {
    .path = "/v3/auth/authenticate",
    .body = etcd_say_login (etcd->user, etcd->password),
    .hear = hear_login,
    .token = token,
  };

  if (!ask (etcd, &call))
    return false;
  snprintf (line, sizeof line, "%s%s", name, token);
  etcd->token_header = curl_slist_append (NULL, line);
  for (const struct curl_slist *more = etcd->plain_header;
       etcd->token_header != NULL && more != NULL; more = more->next) {
    struct curl_slist *longer = curl_slist_append (etcd->token_header,
                                                   more->data);

    if (longer == NULL)
      curl_slist_free_all (etcd->token_header);
    etcd->token_header = longer;
  }
  return etcd->token_header != NULL;
}

/* As ask, by the user that was given.  A token gets old: a refusal is
 * asked about once more with a new one.  BODY makes the request anew.
 */
static bool
ask_as_user (struct etcd *etcd, struct call *call, const char *body)
{
  bool fresh = etcd->user == NULL || etcd->token_header == NULL;

  if (etcd->user != NULL && fresh && !login (etcd))
    return false;
  call->body = body != NULL ? strdup (body) : NULL;
  if (ask (etcd, call))
    return true;
  if (call->refused)
    forget_token (etcd);
  if (fresh || !call->refused || call->sent || !login (etcd))
    return false;
  call->body = strdup (body);
  return ask (etcd, call);
}

static const char *
hear_range (struct call *call, const char *text, size_t size)
{
  return etcd_hear_range (text, size, call->key, &call->header, call->value);
}

static const char *
hear_swap (struct call *call, const char *text, size_t size)
{
  return etcd_hear_swap (text, size, call->key, &call->header, &call->done,
                         call->value);
}

static enum etcd_outcome
read_key (struct etcd *etcd, const char *key, struct etcd_value *value)
{
  struct call call = {
    .path = "/v3/kv/range",
    .key = key,
    .hear = hear_range,
    .value = value,
  };
  char *body = etcd_say_range (key);
  bool answered = ask_as_user (etcd, &call, body);

  free (body);
  return answered ? ETCD_DONE : ETCD_UNREACHABLE;
}

static void
begin (struct etcd *etcd)
{
  etcd->deadline_ms = now_ms () + etcd->total_ms;
}

enum etcd_outcome
etcd_read (struct etcd *etcd, const char *key, struct etcd_value *value)
{
  begin (etcd);
  return read_key (etcd, key, value);
}

/* It took place, on the revision that was wanted: what is there came
 * after that, and is what was to be put.
 */
static bool
is_done (const struct etcd_value *present, const struct etcd_value *wanted)
{
  return present->revision > wanted->revision &&
    present->size == wanted->size &&
    memcmp (present->bytes, wanted->bytes, wanted->size) == 0;
}

/* The key is looked at first: that tells what came of an attempt before,
 * and an etcd that cannot decide now (no quorum) is found out before
 * anything is asked of it that it might do later.
 */
enum etcd_outcome
etcd_swap (struct etcd *etcd, const char *key, const struct etcd_value *wanted,
           struct etcd_value *present)
{
  struct call call = {
    .path = "/v3/kv/txn",
    .key = key,
    .hear = hear_swap,
    .value = present,
  };
  char *body;
  bool answered;

  begin (etcd);
  if (read_key (etcd, key, present) != ETCD_DONE)
    return ETCD_UNREACHABLE;
  if (is_done (present, wanted))
    return ETCD_DONE;
  if (present->revision != wanted->revision)
    return ETCD_CONFLICT;

  body = etcd_say_swap (key, wanted->revision, wanted->bytes, wanted->size);
  answered = ask_as_user (etcd, &call, body);
  free (body);
  if (!answered)
    return call.sent ? ETCD_UNKNOWN : ETCD_UNREACHABLE;
  if (call.done) {
    *present = *wanted;
    present->revision = call.header.revision;
    return ETCD_DONE;
  }
  return is_done (present, wanted) ? ETCD_DONE : ETCD_CONFLICT;
}

const char *
etcd_last_reason (const struct etcd *etcd)
{
  return etcd->reason;
}

/* ----------------------------------------------------------- life cycle */

/* The file's first line, which must be all there is. */
static const char *
read_password (const char *path, char password[PASSWORD_MAX])
{
  FILE *file = fopen (path, "re");
  const char *wrong = NULL;

  if (file == NULL)
    return strerror (errno);
  errno = 0;
  if (fgets (password, PASSWORD_MAX, file) == NULL)
    wrong = ferror (file) ? strerror (errno) : "is empty";
  else if (fgetc (file) != EOF)
    wrong = "has more than one line, or one that is too long";
  else {
    password[strcspn (password, "\r\n")] = '\0';
    if (password[0] == '\0')
      wrong = "is empty";
  }
  fclose (file);
  return wrong;
}

/* A copy of TEXT in *TO, or NULL for NULL. */
static bool
copy (const char *text, char **to)
{
  *to = text != NULL ? strdup (text) : NULL;
  return (*to == NULL) == (text == NULL);
}

static const char *
check_files (const struct etcd_config *config, const char **which)
{
  const char *const files[] = { config->ca, config->cert, config->cert_key };

  for (unsigned i = 0; i < 3; i++) {
    *which = files[i];
    if (files[i] != NULL && access (files[i], R_OK) == -1)
      return strerror (errno);
  }
  return NULL;
}

static uint32_t
or_default (uint32_t ms, uint32_t usual)
{
  return ms != 0 ? ms : usual;
}

static bool
allocate (struct etcd *etcd, const struct etcd_config *config)
{
  static const char *const lines[] = { "Content-Type: application/json",
                                       "Expect:" };

  if (!copy (config->user, &etcd->user) || !copy (config->ca, &etcd->ca) ||
      !copy (config->cert, &etcd->cert) ||
      !copy (config->cert_key, &etcd->cert_key))
    return false;
  for (unsigned i = 0; i < 2; i++) {
    struct curl_slist *longer = curl_slist_append (etcd->plain_header,
                                                   lines[i]);

    if (longer == NULL)
      return false;
    etcd->plain_header = longer;
  }
  for (unsigned i = 0; i < etcd->count; i++)
    if (!prepare (etcd, &etcd->endpoints[i]))
      return false;
  etcd->multi = curl_multi_init ();
  return etcd->multi != NULL;
}

struct etcd *
etcd_new (const struct etcd_config *config, char *error, size_t error_size)
{
  struct etcd *etcd;
  const char *which = config->urls;
  const char *wrong;

  if (curl_global_init (CURL_GLOBAL_DEFAULT) != CURLE_OK ||
      (etcd = calloc (1, sizeof *etcd)) == NULL) {
    snprintf (error, error_size, "libcurl does not start");
    return NULL;
  }
  etcd->connect_ms = or_default (config->connect_ms, ETCD_CONNECT_MS);
  etcd->total_ms = or_default (config->total_ms, ETCD_TOTAL_MS);
  etcd->patience_ms = or_default (config->patience_ms, ETCD_PATIENCE_MS);
  wrong = split_urls (config->urls, &etcd->count, etcd->endpoints);
  if (wrong == NULL)
    wrong = check_files (config, &which);
  if (wrong == NULL && config->password_file != NULL) {
    which = config->password_file;
    wrong = read_password (which, etcd->password);
  }
  if (wrong == NULL && !allocate (etcd, config)) {
    which = "etcd";
    wrong = "out of memory";
  }
  if (wrong == NULL)
    return etcd;
  snprintf (error, error_size, "%s: %s", which, wrong);
  etcd_free (etcd);
  return NULL;
}

void
etcd_free (struct etcd *etcd)
{
  if (etcd == NULL)
    return;
  for (unsigned i = 0; i < etcd->count; i++)
    curl_easy_cleanup (etcd->endpoints[i].easy);
  curl_multi_cleanup (etcd->multi);
  curl_slist_free_all (etcd->plain_header);
  curl_slist_free_all (etcd->token_header);
  free (etcd->user);
  free (etcd->ca);
  free (etcd->cert);
  free (etcd->cert_key);
  gnutls_memset (etcd->password, 0, sizeof etcd->password);
  free (etcd);
  curl_global_cleanup ();
}

void
etcd_stop (struct etcd *etcd)
{
  atomic_store (&etcd->stopped, true);
  curl_multi_wakeup (etcd->multi);
}
