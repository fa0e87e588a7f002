/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * arbiter.c: the volume's key in etcd: its name, its value as JSON, and
 * the calls about it.  It decides nothing.
 *
 * The value is written by duet only, but read from a socket: what is not
 * exactly such a value is reported as not understood (I9).
 */
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arbiter.h"

enum {
  FORMAT = 1, /* of the value */
  ID_TEXT = 17,
  ANSWER_MS = CORE_ARBITER_MS - 100, /* the answer has to be seen to */
  CONNECT_MS = 400,
};

struct arbiter {
  struct etcd *etcd;
  char prefix[ETCD_KEY_MAX - ID_TEXT];
};

/* ----------------------------------------------------------------- value */

static json_t *
id_json (uint64_t id)
{
  char text[ID_TEXT];

  if (id == 0)
    return json_null ();
  snprintf (text, sizeof text, "%016" PRIx64, id);
  return json_string (text);
}

/* A generation's random part may be 0, its epoch is not. */
static json_t *
generation_json (struct gen_id gen)
{
  char text[ID_TEXT];

  if (gen.epoch == 0)
    return json_null ();
  snprintf (text, sizeof text, "%016" PRIx64, gen.id);
  return json_pack ("{s:I, s:s}", "epoch", (json_int_t) gen.epoch, "id", text);
}

static json_t *
members_json (const uint64_t members[2])
{
  if (members[1] == 0)
    return json_pack ("[o]", id_json (members[0]));
  return json_pack ("[o, o]", id_json (members[0]), id_json (members[1]));
}

bool
arbiter_format (const struct arbiter_value *value, struct etcd_value *text)
{
  json_t *json = json_pack (
    "{s:i, s:o, s:o, s:o, s:s, s:o, s:o, s:o}", "duet", FORMAT, "volume",
    id_json (value->volume), "generation", generation_json (value->gen),
    "parent", generation_json (value->parent), "kind",
    gen_kind_name ((enum gen_kind) value->kind), "maker",
    id_json (value->maker), "primary", id_json (value->primary), "members",
    members_json (value->members));

  text->size = json_dumpb (json, (char *) text->bytes, sizeof text->bytes,
                           JSON_COMPACT);
  json_decref (json);
  return text->size > 0 && text->size <= sizeof text->bytes;
}

/* 16 digits of lower case, or null for 0 where there may be none. */
static bool
hear_id (const json_t *json, bool may_be_null, uint64_t *id)
{
  const char *text = json_string_value (json);
  char *end;

  *id = 0;
  if (json_is_null (json))
    return may_be_null;
  if (text == NULL || strlen (text) != ID_TEXT - 1 ||
      strspn (text, "0123456789abcdef") != ID_TEXT - 1)
    return false;
  *id = strtoull (text, &end, 16);
  return true;
}

static bool
hear_generation (const json_t *json, bool may_be_null, struct gen_id *gen)
{
  json_int_t epoch = json_integer_value (json_object_get (json, "epoch"));

  *gen = (struct gen_id){ 0 };
  if (json_is_null (json))
    return may_be_null;
  gen->epoch = (uint64_t) epoch;
  return epoch > 0 && json_object_size (json) == 2 &&
    hear_id (json_object_get (json, "id"), false, &gen->id);
}

static bool
hear_kind (const json_t *json, uint32_t *kind)
{
  const char *text = json_string_value (json);

  for (*kind = GEN_NONE + 1; *kind < GEN_KIND_COUNT; (*kind)++)
    if (text != NULL &&
        strcmp (text, gen_kind_name ((enum gen_kind) * kind)) == 0)
      return true;
  return false;
}

static bool
hear_members (const json_t *json, uint64_t members[2])
{
  size_t count = json_array_size (json);

  members[1] = 0;
  if (count < 1 || count > 2 ||
      !hear_id (json_array_get (json, 0), false, &members[0]))
    return false;
  return members[0] != 0 &&
    (count == 1 ||
     (hear_id (json_array_get (json, 1), false, &members[1]) &&
      members[1] != 0 && members[1] != members[0]));
}

/* What is not there cannot be meant. */
static bool
makes_sense (const struct arbiter_value *value)
{
  const uint64_t *members = value->members;

  return value->volume != 0 && value->maker != 0 &&
    (value->primary == 0 || value->primary == members[0] ||
     value->primary == members[1]);
}

bool
arbiter_parse (const struct etcd_value *text, struct arbiter_value *value)
{
  json_t *json = json_loadb ((const char *) text->bytes, text->size,
                             JSON_REJECT_DUPLICATES, NULL);
  bool good = json_object_size (json) == 8 &&
    json_integer_value (json_object_get (json, "duet")) == FORMAT &&
    hear_id (json_object_get (json, "volume"), false, &value->volume) &&
    hear_generation (json_object_get (json, "generation"), false,
                     &value->gen) &&
    hear_generation (json_object_get (json, "parent"), true, &value->parent) &&
    hear_kind (json_object_get (json, "kind"), &value->kind) &&
    hear_id (json_object_get (json, "maker"), false, &value->maker) &&
    hear_id (json_object_get (json, "primary"), true, &value->primary) &&
    hear_members (json_object_get (json, "members"), value->members);

  json_decref (json);
  return good && makes_sense (value);
}

/* ----------------------------------------------------------------- calls */

static void
name_key (const struct arbiter *arbiter, uint64_t volume,
          char key[ETCD_KEY_MAX])
{
  snprintf (key, ETCD_KEY_MAX, "%s%016" PRIx64, arbiter->prefix, volume);
}

/* A value of another volume under this one's name is a stranger. */
static void
fill (struct arbiter_answer *answer, enum etcd_outcome outcome,
      const struct etcd_value *present, uint64_t volume)
{
  static const enum arbiter_result results[] = {
    [ETCD_DONE] = ARBITER_DONE,
    [ETCD_CONFLICT] = ARBITER_CONFLICT,
    [ETCD_UNKNOWN] = ARBITER_UNKNOWN,
    [ETCD_UNREACHABLE] = ARBITER_UNREACHABLE,
  };

  *answer = (struct arbiter_answer){ .result = results[outcome] };
  if (outcome != ETCD_DONE && outcome != ETCD_CONFLICT)
    return;
  answer->revision = present->revision;
  answer->understood = present->revision != 0 &&
    arbiter_parse (present, &answer->value) && answer->value.volume == volume;
}

void
arbiter_read (struct arbiter *arbiter, uint64_t volume,
              struct arbiter_answer *answer)
{
  char key[ETCD_KEY_MAX];
  struct etcd_value present;

  name_key (arbiter, volume, key);
  fill (answer, etcd_read (arbiter->etcd, key, &present), &present, volume);
}

void
arbiter_swap (struct arbiter *arbiter, uint64_t revision,
              const struct arbiter_value *value, struct arbiter_answer *answer)
{
  char key[ETCD_KEY_MAX];
  struct etcd_value wanted = { .revision = revision };
  struct etcd_value present;
  enum etcd_outcome outcome = ETCD_UNREACHABLE;

  name_key (arbiter, value->volume, key);
  if (arbiter_format (value, &wanted))
    outcome = etcd_swap (arbiter->etcd, key, &wanted, &present);
  fill (answer, outcome, &present, value->volume);
}

const char *
arbiter_reason (const struct arbiter *arbiter)
{
  return etcd_last_reason (arbiter->etcd);
}

/* ----------------------------------------------------------- life cycle */

int
arbiter_check_prefix (const char *prefix, char *error, size_t error_size)
{
  const char *wrong = NULL;

  if (prefix[0] == '\0')
    wrong = "a prefix is missing";
  if (strlen (prefix) >= ETCD_KEY_MAX - ID_TEXT)
    wrong = "is too long";
  for (const char *c = prefix; *c != '\0'; c++)
    if (*c <= ' ' || *c > '~')
      wrong = "must be printable ASCII without blanks";
  if (wrong == NULL)
    return 0;
  snprintf (error, error_size, "%s", wrong);
  return -1;
}

struct arbiter *
arbiter_new (const struct arbiter_config *config, char *error,
             size_t error_size)
{
  struct arbiter *arbiter = calloc (1, sizeof *arbiter);
  struct etcd_config etcd = config->etcd;

  if (arbiter == NULL) {
    snprintf (error, error_size, "out of memory");
    return NULL;
  }
  etcd.total_ms = ANSWER_MS;
  etcd.connect_ms = CONNECT_MS;
  snprintf (arbiter->prefix, sizeof arbiter->prefix, "%s", config->prefix);
  arbiter->etcd = etcd_new (&etcd, error, error_size);
  if (arbiter->etcd == NULL) {
    free (arbiter);
    return NULL;
  }
  return arbiter;
}

void
arbiter_free (struct arbiter *arbiter)
{
  if (arbiter == NULL)
    return;
  etcd_free (arbiter->etcd);
  free (arbiter);
}

void
arbiter_stop (struct arbiter *arbiter)
{
  etcd_stop (arbiter->etcd);
}
