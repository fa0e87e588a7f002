/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * exportname.c: format and parse export names and descriptions.
 *
 * Names come from the network before anything is known of the sender, so
 * the reader accepts exactly what the writer writes and nothing else: one
 * spelling for each value, no signs, no spaces, no overflow.
 */
#include <assert.h>
#include <string.h>

#include "exportname.h"

static const char prefix[] = "duet/";
static const char name_start[] = "duet/1:";
static const char description_start[] = "duet/1 ";

/* ------------------------------------------------------------ writing */

static char *
put_text (char *at, const char *text)
{
  size_t length = strlen (text);

  memcpy (at, text, length + 1);
  return at + length;
}

static char *
put_hex (char *at, uint64_t value)
{
  int digit;

  for (digit = 0; digit < 16; digit++)
    *at++ = "0123456789abcdef"[(value >> (60 - 4 * digit)) & 15];
  *at = '\0';
  return at;
}

static char *
put_decimal (char *at, uint64_t value)
{
  char digits[20];
  int count = 0;

  do {
    digits[count++] = (char) ('0' + value % 10);
    value /= 10;
  } while (value > 0);
  while (count > 0)
    *at++ = digits[--count];
  *at = '\0';
  return at;
}

static char *
put_generation (char *at, struct gen_id gen)
{
  at = put_decimal (at, gen.epoch);
  at = put_text (at, ".");
  return put_hex (at, gen.id);
}

void
exportname_format (const struct export_ask *ask, char *text)
{
  char *at = text;

  assert (ask->client != 0);
  assert (ask->session != 0);
  at = put_text (at, name_start);
  at = put_hex (at, ask->client);
  at = put_text (at, ":");
  at = put_decimal (at, ask->session);
  at = put_text (at, ":");
  at = put_generation (at, ask->shown);
  if (ask->unreachable)
    at = put_text (at, ":unreachable");
  assert (at - text < EXPORTNAME_MAX);
}

void
exportname_describe (const struct export_description *description, char *text)
{
  char *at = text;

  assert (strchr (description->state, ' ') == NULL);
  assert (strchr (description->primary, ' ') == NULL);
  at = put_text (at, description_start);
  at = put_text (at, "state=");
  at = put_text (at, description->state);
  at = put_text (at, " generation=");
  at = put_generation (at, description->generation);
  at = put_text (at, " node=");
  at = put_hex (at, description->node);
  at = put_text (at, " size=");
  at = put_decimal (at, description->size_bytes);
  at = put_text (at, " primary=");
  at = put_text (at,
                 description->primary[0] != '\0' ? description->primary : "-");
  if (description->cached) {
    at = put_text (at, " durability=flush boot=");
    at = put_hex (at, description->boot);
  }
  assert (at - text < EXPORTNAME_DESCRIPTION_MAX);
}

/* ------------------------------------------------------------ reading */

/* Each reader takes the text at *AT and moves *AT behind it. */

static bool
get_text (const char **at, const char *text)
{
  size_t length = strlen (text);

  if (strncmp (*at, text, length) != 0)
    return false;
  *at += length;
  return true;
}

static bool
get_hex (const char **at, uint64_t *value)
{
  int digit;

  *value = 0;
  for (digit = 0; digit < 16; digit++) {
    char c = (*at)[digit];

    if (c >= '0' && c <= '9')
      *value = *value << 4 | (uint64_t) (c - '0');
    else if (c >= 'a' && c <= 'f')
      *value = *value << 4 | (uint64_t) (c - 'a' + 10);
    else
      return false;
  }
  *at += 16;
  return true;
}

static bool
get_decimal (const char **at, uint64_t *value)
{
  const char *start = *at;

  *value = 0;
  while (**at >= '0' && **at <= '9') {
    uint64_t digit = (uint64_t) (**at - '0');

    if (*value > (UINT64_MAX - digit) / 10)
      return false;
    *value = *value * 10 + digit;
    ++*at;
  }
  return *at > start && (*start != '0' || *at == start + 1);
}

static bool
get_generation (const char **at, struct gen_id *gen)
{
  return get_decimal (at, &gen->epoch) && get_text (at, ".") &&
    get_hex (at, &gen->id) && (gen->epoch != 0 || gen->id == 0);
}

/* Copy the word up to a space or the end. */
static bool
get_word (const char **at, char *word, size_t size)
{
  size_t length = strcspn (*at, " ");

  if (length == 0 || length >= size)
    return false;
  memcpy (word, *at, length);
  word[length] = '\0';
  *at += length;
  return true;
}

enum exportname_kind
exportname_parse (const char *name, struct export_ask *ask)
{
  struct export_ask read = { 0 };
  const char *at = name;

  if (strncmp (name, prefix, sizeof prefix - 1) != 0)
    return EXPORTNAME_PLAIN;
  if (!get_text (&at, name_start) || !get_hex (&at, &read.client) ||
      !get_text (&at, ":") || !get_decimal (&at, &read.session) ||
      !get_text (&at, ":") || !get_generation (&at, &read.shown))
    return EXPORTNAME_BAD;
  read.unreachable = get_text (&at, ":unreachable");
  if (*at != '\0' || read.client == 0 || read.session == 0)
    return EXPORTNAME_BAD;
  *ask = read;
  return EXPORTNAME_PROXY;
}

bool
exportname_parse_description (const char *text,
                              struct export_description *description)
{
  enum { STATE = 1, GENERATION = 2, NODE = 4, SIZE = 8 };
  const char *at = text;
  unsigned seen = 0;
  bool good = get_text (&at, description_start);

  memset (description, 0, sizeof *description);
  while (good && *at != '\0') {
    if (get_text (&at, "state=")) {
      good = get_word (&at, description->state, sizeof description->state);
      seen |= STATE;
    }
    else if (get_text (&at, "generation=")) {
      good = get_generation (&at, &description->generation);
      seen |= GENERATION;
    }
    else if (get_text (&at, "node=")) {
      good = get_hex (&at, &description->node);
      seen |= NODE;
    }
    else if (get_text (&at, "size=")) {
      good = get_decimal (&at, &description->size_bytes);
      seen |= SIZE;
    }
    else if (get_text (&at, "primary="))
      good = get_word (&at, description->primary, sizeof description->primary);
    else if (get_text (&at, "durability=flush"))
      description->cached = true;
    else if (get_text (&at, "boot="))
      good = get_hex (&at, &description->boot);
    else
      at += strcspn (at, " ");
    good = good && (*at == ' ' || *at == '\0');
    if (*at == ' ')
      at++;
  }
  if (strcmp (description->primary, "-") == 0)
    description->primary[0] = '\0';
  return good && seen == (STATE | GENERATION | NODE | SIZE);
}
