/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-exportname.c: names and descriptions of exports, as they come from
 * the network.  The input is one text.  What is accepted as a name must be
 * what this version would have written; what is accepted as a description
 * must say the same when it is written and read again.
 */
#include "exportname.h"
#include "fuzz.h"

static void
try_name (const char *text)
{
  struct export_ask ask;
  char again[EXPORTNAME_MAX];

  if (exportname_parse (text, &ask) != EXPORTNAME_PROXY)
    return;
  assert (ask.client != 0);
  assert (ask.session != 0);
  exportname_format (&ask, again);
  assert (strcmp (text, again) == 0);
}

static void
try_description (const char *text)
{
  struct export_description first, second;
  char again[EXPORTNAME_DESCRIPTION_MAX];

  if (!exportname_parse_description (text, &first))
    return;
  exportname_describe (&first, again);
  assert (exportname_parse_description (again, &second));
  assert (strcmp (first.state, second.state) == 0);
  assert (strcmp (first.primary, second.primary) == 0);
  assert (gen_id_equal (first.generation, second.generation));
  assert (first.node == second.node);
  assert (first.size_bytes == second.size_bytes);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  char *text = malloc (size + 1);

  if (text == NULL)
    return 0;
  if (size > 0)
    memcpy (text, data, size);
  text[size] = '\0';
  try_name (text);
  try_description (text);
  free (text);
  return 0;
}
