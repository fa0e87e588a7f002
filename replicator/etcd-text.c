/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * etcd-text.c: requests to etcd's JSON gateway, and its answers.
 *
 * An answer comes from a socket (I9): it is bounded by the caller, and
 * what is not exactly as etcd writes it is refused, because a generation
 * hangs on it.
 */
#include <gnutls/gnutls.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "etcd-text.h"

#define NOT_JSON  "the answer is not a JSON object"
#define NO_HEADER "the answer has no cluster_id and revision"
#define BAD_KEY   "the answer is not about the key that was asked for"

enum { NUMBER_TEXT = 24 };

/* -------------------------------------------------------------- requests */

static json_t *
base64_json (const void *bytes, size_t size)
{
  gnutls_datum_t plain = { .data = (void *) (uintptr_t) bytes,
                           .size = (unsigned) size };
  gnutls_datum_t coded;
  json_t *text;

  if (size == 0)
    return json_string ("");
  if (gnutls_base64_encode2 (&plain, &coded) < 0)
    return NULL;
  text = json_stringn ((const char *) coded.data, coded.size);
  gnutls_free (coded.data);
  return text;
}

static json_t *
key_json (const char *key)
{
  return base64_json (key, strlen (key));
}

/* JSON is given up; NULL stays NULL. */
static char *
dump (json_t *json)
{
  char *text = json_dumps (json, JSON_COMPACT);

  json_decref (json);
  return text;
}

char *
etcd_say_range (const char *key)
{
  return dump (json_pack ("{s:o}", "key", key_json (key)));
}

char *
etcd_say_swap (const char *key, uint64_t revision, const void *value,
               size_t size)
{
  char number[NUMBER_TEXT];

  snprintf (number, sizeof number, "%" PRIu64, revision);
  return dump (
    json_pack ("{s:[{s:o, s:s, s:s, s:s}], s:[{s:{s:o, s:o}}], s:[{s:{s:o}}]}",
               "compare", "key", key_json (key), "target", "MOD", "result",
               "EQUAL", "mod_revision", number, "success", "request_put", "key",
               key_json (key), "value", base64_json (value, size), "failure",
               "request_range", "key", key_json (key)));
}

char *
etcd_say_login (const char *user, const char *password)
{
  return dump (json_pack ("{s:s, s:s}", "name", user, "password", password));
}

/* --------------------------------------------------------------- answers */

/* A number that is there, as text or not.  Not 0, which is left out. */
static bool
hear_number (const json_t *object, const char *name, uint64_t *number)
{
  const json_t *json = json_object_get (object, name);
  const char *text = json_string_value (json);
  uint64_t sum = 0;

  if (json_is_integer (json)) {
    *number = (uint64_t) json_integer_value (json);
    return json_integer_value (json) > 0;
  }
  if (text == NULL || text[0] == '\0')
    return false;
  for (; *text != '\0'; text++) {
    uint64_t digit = (uint64_t) (unsigned char) *text - '0';

    if (digit > 9 || sum > (UINT64_MAX - digit) / 10)
      return false;
    sum = sum * 10 + digit;
  }
  *number = sum;
  return sum > 0;
}

/* Base64 text, or nothing for no bytes; at most MAX. */
static bool
hear_bytes (const json_t *json, uint8_t *bytes, size_t max, size_t *size)
{
  gnutls_datum_t coded = { .size = (unsigned) json_string_length (json) };
  gnutls_datum_t plain;

  *size = 0;
  if (json != NULL && !json_is_string (json))
    return false;
  if (coded.size == 0)
    return true;
  coded.data = (void *) (uintptr_t) json_string_value (json);
  if (gnutls_base64_decode2 (&coded, &plain) < 0)
    return false;

  bool fits = plain.size <= max;
  if (fits) {
    memcpy (bytes, plain.data, plain.size);
    *size = plain.size;
  }
  gnutls_free (plain.data);
  return fits;
}

/* A range response: {"kvs": [{...}]}, or no kvs when there is no key. */
static const char *
hear_kvs (const json_t *range, const char *key, struct etcd_value *value)
{
  const json_t *kvs = json_object_get (range, "kvs");
  const json_t *kv = json_array_get (kvs, 0);
  uint8_t name[ETCD_KEY_MAX];
  size_t size;

  value->revision = 0;
  value->size = 0;
  if (kvs == NULL || (json_is_array (kvs) && json_array_size (kvs) == 0))
    return NULL;
  if (json_array_size (kvs) != 1)
    return BAD_KEY;
  if (!hear_bytes (json_object_get (kv, "key"), name, sizeof name, &size) ||
      size != strlen (key) || memcmp (name, key, size) != 0)
    return BAD_KEY;
  if (!hear_bytes (json_object_get (kv, "value"), value->bytes, ETCD_VALUE_MAX,
                   &value->size))
    return "the key's value is too long or not base64";
  if (!hear_number (kv, "mod_revision", &value->revision))
    return "the key has no mod_revision";
  return NULL;
}

static const char *
hear_header (const json_t *answer, struct etcd_header *header)
{
  const json_t *json = json_object_get (answer, "header");

  if (!json_is_object (answer))
    return NOT_JSON;
  if (!hear_number (json, "cluster_id", &header->cluster) ||
      !hear_number (json, "revision", &header->revision))
    return NO_HEADER;
  return NULL;
}

static json_t *
load (const char *text, size_t size)
{
  return json_loadb (text, size, JSON_REJECT_DUPLICATES, NULL);
}

const char *
etcd_hear_range (const char *text, size_t size, const char *key,
                 struct etcd_header *header, struct etcd_value *value)
{
  json_t *answer = load (text, size);
  const char *wrong = hear_header (answer, header);

  if (wrong == NULL)
    wrong = hear_kvs (answer, key, value);
  json_decref (answer);
  return wrong;
}

static const char *
hear_outcome (const json_t *answer, const char *key, bool *done,
              struct etcd_value *present)
{
  const json_t *responses = json_object_get (answer, "responses");
  const json_t *first = json_array_get (responses, 0);
  const json_t *range = json_object_get (first, "response_range");

  *done = json_is_true (json_object_get (answer, "succeeded"));
  if (json_array_size (responses) != 1)
    return "the answer does not say what came of the transaction";
  if (*done)
    return json_is_object (json_object_get (first, "response_put"))
      ? NULL
      : "the answer does not say what was put";
  if (!json_is_object (range))
    return "the answer does not say what is there";
  return hear_kvs (range, key, present);
}

const char *
etcd_hear_swap (const char *text, size_t size, const char *key,
                struct etcd_header *header, bool *done,
                struct etcd_value *present)
{
  json_t *answer = load (text, size);
  const char *wrong = hear_header (answer, header);

  if (wrong == NULL)
    wrong = hear_outcome (answer, key, done, present);
  json_decref (answer);
  return wrong;
}

/* It becomes a line of the HTTP header. */
static bool
is_token (const char *text)
{
  size_t length = text != NULL ? strlen (text) : 0;

  if (length == 0 || length >= ETCD_TOKEN_MAX)
    return false;
  for (; *text != '\0'; text++)
    if (*text <= ' ' || *text > '~')
      return false;
  return true;
}

const char *
etcd_hear_login (const char *text, size_t size, struct etcd_header *header,
                 char token[ETCD_TOKEN_MAX])
{
  json_t *answer = load (text, size);
  const char *wrong = hear_header (answer, header);
  const char *given = json_string_value (json_object_get (answer, "token"));

  if (wrong == NULL && !is_token (given))
    wrong = "the answer has no token";
  if (wrong == NULL)
    memcpy (token, given, strlen (given) + 1);
  json_decref (answer);
  return wrong;
}

void
etcd_hear_refusal (const char *text, size_t size,
                   char refusal[ETCD_REFUSAL_MAX])
{
  json_t *answer = load (text, size);
  const char *said = json_string_value (json_object_get (answer, "error"));
  int length = size < ETCD_REFUSAL_MAX ? (int) size : ETCD_REFUSAL_MAX;
  char *c;

  /* Some refusals are a line of text. */
  if (said != NULL)
    snprintf (refusal, ETCD_REFUSAL_MAX, "%s", said);
  else
    snprintf (refusal, ETCD_REFUSAL_MAX, "%.*s", length, text);
  refusal[strcspn (refusal, "\r\n")] = '\0';
  for (c = refusal; *c != '\0'; c++)
    if (*c < ' ' || *c > '~')
      *c = '?';
  json_decref (answer);
}
