/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-etcd.c: what etcd's gateway answers, and the value of the volume's
 * key.  The first byte says which.  A value that is understood must say
 * the same when it is written and read again.
 */
#include "arbiter.h"
#include "fuzz.h"

#define KEY "/duet/00000000000000aa"

static void
try_value (const struct etcd_value *text)
{
  struct arbiter_value first, second;
  struct etcd_value again;

  if (!arbiter_parse (text, &first))
    return;
  assert (arbiter_format (&first, &again));
  assert (arbiter_parse (&again, &second));
  assert (first.volume == second.volume && first.maker == second.maker);
  assert (gen_id_equal (first.gen, second.gen));
  assert (gen_id_equal (first.parent, second.parent));
  assert (first.kind == second.kind && first.primary == second.primary);
  assert (first.members[0] == second.members[0]);
  assert (first.members[1] == second.members[1]);
}

/* A bare value, without what etcd puts around it. */
static void
try_bytes (const char *bytes, size_t size)
{
  struct etcd_value value = { .revision = 1, .size = size };

  if (size > ETCD_VALUE_MAX)
    return;
  memcpy (value.bytes, bytes, size);
  try_value (&value);
}

static void
try_answer (uint8_t which, const char *bytes, size_t size)
{
  struct etcd_header header;
  struct etcd_value value;
  char token[ETCD_TOKEN_MAX];
  char refusal[ETCD_REFUSAL_MAX];
  bool done;

  switch (which) {
  case 'r':
    if (etcd_hear_range (bytes, size, KEY, &header, &value) == NULL)
      try_value (&value);
    break;
  case 's':
    if (etcd_hear_swap (bytes, size, KEY, &header, &done, &value) == NULL &&
        !done)
      try_value (&value);
    break;
  case 'l':
    if (etcd_hear_login (bytes, size, &header, token) == NULL)
      assert (token[0] != '\0' && strpbrk (token, "\r\n ") == NULL);
    break;
  case 'e':
    etcd_hear_refusal (bytes, size, refusal);
    assert (strlen (refusal) < ETCD_REFUSAL_MAX);
    break;
  default: try_bytes (bytes, size);
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  if (size == 0)
    return 0;
  try_answer (data[0], (const char *) data + 1, size - 1);
  return 0;
}
