/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kept.c: writes that were answered and not flushed, oldest first, in a
 * ring.  Each is
 *
 *   SAFE    in the page cache of the process that the session is with
 *   AGAIN   answered by another one: must be sent again
 *   SENT    sent again
 *
 *   add -> SAFE --a session with another boot--> AGAIN --> SENT --> SAFE
 *                                                  ^-- lost --'
 *
 * They are sent again in order, and one that overlaps another waits for
 * that one's answer.  So the last answer to each byte is the last again.
 */
#include <assert.h>
#include <stdlib.h>

#include "kept.h"

enum state { SAFE, AGAIN, SENT };

struct entry {
  struct kept_write write;
  uint64_t bytes;
  enum state state;
};

struct kept {
  uint32_t capacity;
  uint64_t bytes_max;
  uint32_t count, reserved; /* reserved: sent, not answered yet */
  uint64_t bytes;           /* of both */
  uint64_t first;           /* number of the oldest */
  uint64_t next;            /* all before it are SAFE or SENT */
  uint32_t again, sent;     /* in that state */
  uint64_t sent_first;      /* all SENT are at or behind it */
  uint64_t boot;            /* of the newest session; 0: none */
  struct entry entries[];
};

struct kept *
kept_new (uint32_t capacity, uint64_t bytes)
{
  struct kept *kept;

  assert (capacity > 0);
  assert (bytes > 0);
  kept = calloc (1, sizeof *kept + (size_t) capacity * sizeof kept->entries[0]);
  if (kept == NULL)
    return NULL;
  kept->capacity = capacity;
  kept->bytes_max = bytes;
  kept->first = kept->next = kept->sent_first = 1;
  return kept;
}

void
kept_free (struct kept *kept)
{
  free (kept);
}

static struct entry *
entry_at (struct kept *kept, uint64_t number)
{
  assert (number >= kept->first);
  assert (number - kept->first < kept->count);
  return &kept->entries[number % kept->capacity];
}

static const struct entry *
entry_of (const struct kept *kept, uint64_t number)
{
  assert (number >= kept->first);
  assert (number - kept->first < kept->count);
  return &kept->entries[number % kept->capacity];
}

/* ---------------------------------------------------------------- room */

bool
kept_reserve (struct kept *kept, uint64_t bytes)
{
  if (kept->count + kept->reserved == kept->capacity)
    return false;
  if (kept->bytes > 0 &&
      (bytes > kept->bytes_max || kept->bytes > kept->bytes_max - bytes))
    return false;
  kept->reserved++;
  kept->bytes += bytes;
  return true;
}

void
kept_release (struct kept *kept, uint64_t bytes)
{
  assert (kept->reserved > 0);
  assert (kept->bytes >= bytes);
  kept->reserved--;
  kept->bytes -= bytes;
}

uint64_t
kept_add (struct kept *kept, const struct kept_write *write, uint64_t bytes)
{
  uint64_t number = kept->first + kept->count;

  assert (kept->reserved > 0);
  assert (kept_settled (kept));
  kept->reserved--;
  kept->count++;
  *entry_at (kept, number) = (struct entry){ *write, bytes, SAFE };
  kept->next = number + 1;
  return number;
}

/* ------------------------------------------------------------ sessions */

void
kept_session (struct kept *kept, uint64_t boot)
{
  uint64_t number;

  assert (kept->sent == 0);
  if (boot == kept->boot)
    return;
  kept->boot = boot;
  for (number = kept->first; number < kept->first + kept->count; number++)
    entry_at (kept, number)->state = AGAIN;
  kept->again = kept->count;
  kept->next = kept->sent_first = kept->first;
}

void
kept_lost (struct kept *kept)
{
  uint64_t number;

  for (number = kept->sent_first; kept->sent > 0; number++) {
    struct entry *entry = entry_at (kept, number);

    if (entry->state != SENT)
      continue;
    entry->state = AGAIN;
    kept->sent--;
    kept->again++;
    if (number < kept->next)
      kept->next = number;
  }
  kept->sent_first = kept->next;
}

bool
kept_settled (const struct kept *kept)
{
  return kept->again == 0 && kept->sent == 0;
}

static bool
overlap (const struct kept_write *a, const struct kept_write *b)
{
  return a->offset < b->offset + b->length && b->offset < a->offset + a->length;
}

bool
kept_next (const struct kept *kept, uint64_t *number)
{
  const struct entry *next, *other;
  uint64_t n, seen = 0;

  if (kept->again == 0)
    return false;
  next = entry_of (kept, kept->next);
  assert (next->state == AGAIN);
  for (n = kept->sent_first; n < kept->next && seen < kept->sent; n++) {
    other = entry_of (kept, n);
    if (other->state != SENT)
      continue;
    seen++;
    if (overlap (&other->write, &next->write))
      return false;
  }
  *number = kept->next;
  return true;
}

struct kept_write
kept_write (const struct kept *kept, uint64_t number)
{
  return entry_of (kept, number)->write;
}

void
kept_sent (struct kept *kept, uint64_t number)
{
  assert (number == kept->next);
  assert (kept->again > 0);
  entry_at (kept, number)->state = SENT;
  kept->again--;
  if (kept->sent++ == 0)
    kept->sent_first = number;
  do
    kept->next++;
  while (kept->next < kept->first + kept->count &&
         entry_at (kept, kept->next)->state != AGAIN);
}

void
kept_answered (struct kept *kept, uint64_t number)
{
  struct entry *entry = entry_at (kept, number);

  assert (entry->state == SENT);
  entry->state = SAFE;
  kept->sent--;
  while (kept->sent > 0 && entry_at (kept, kept->sent_first)->state != SENT)
    kept->sent_first++;
}

/* -------------------------------------------------------------- flushes */

uint64_t
kept_newest (const struct kept *kept)
{
  assert (kept_settled (kept));
  return kept->first + kept->count - 1;
}

bool
kept_flushed (struct kept *kept, uint64_t number, struct kept_write *write)
{
  const struct entry *entry;

  if (kept->count == 0 || kept->first > number)
    return false;
  assert (kept_settled (kept));
  entry = entry_of (kept, kept->first);
  *write = entry->write;
  kept->bytes -= entry->bytes;
  kept->first++;
  kept->count--;
  return true;
}

bool
kept_wants_flush (const struct kept *kept)
{
  return kept->count > kept->capacity / 2 ||
    (kept->count > 0 && kept->bytes > kept->bytes_max / 2);
}

uint32_t
kept_count (const struct kept *kept)
{
  return kept->count;
}

void
kept_check (const struct kept *kept)
{
  uint64_t end = kept->first + kept->count, number, bytes = 0, other;
  uint32_t again = 0, sent = 0;

  assert (kept->count + kept->reserved <= kept->capacity);
  for (number = kept->first; number < end; number++) {
    const struct entry *entry = entry_of (kept, number);

    bytes += entry->bytes;
    again += entry->state == AGAIN;
    sent += entry->state == SENT;
    if (entry->state == AGAIN)
      assert (number >= kept->next);
    if (entry->state != SENT)
      continue;
    assert (number >= kept->sent_first);
    /* The rule itself: nothing older that it overlaps is unanswered. */
    for (other = kept->first; other < number; other++)
      assert (entry_of (kept, other)->state == SAFE ||
              !overlap (&entry_of (kept, other)->write, &entry->write));
  }
  assert (again == kept->again);
  assert (sent == kept->sent);
  assert (bytes <= kept->bytes);
  if (again > 0)
    assert (entry_of (kept, kept->next)->state == AGAIN);
}
