/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore-world.c: the choices of a world, carrying one out, and telling
 * of it.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "explore.h"

struct world world;
struct bounds bounds;

static const char *const words[] = {
#define WORDS(name, words, fault) words,
  CHOICES (WORDS)
#undef WORDS
};

static const bool faults[] = {
#define FAULT(name, words, fault) fault,
  CHOICES (FAULT)
#undef FAULT
};

bool
world_is_fault (choice c)
{
  return faults[choice_kind (c)];
}

/* Two nodes that were never started, a client that has asked nobody. */
void
world_init (void)
{
  unsigned n;

  memset (&world, 0, sizeof world);
  for (n = 0; n < NODES; n++) {
    cores[n] = NULL;
    node_blank (n);
  }
  client_begin ();
  core_place_init ();
}

static void
give_budgets (void)
{
  world.client.writes_left = (uint8_t) bounds.writes;
  world.client.reads_left = (uint8_t) bounds.reads;
  world.faults_left = (uint8_t) bounds.faults;
}

uint32_t
world_choices (choice *list)
{
  uint32_t count = node_choices (list);

  count += link_choices (list + count);
  count += client_choices (list + count);
  assert (count <= CHOICES_MAX);
  return count;
}

void
world_choose (choice c)
{
  if (world_is_fault (c)) {
    assert (world.faults_left > 0);
    world.faults_left--;
  }
  if (!node_choose (c) && !link_choose (c) && !client_choose (c))
    assert (false);
  check_world ();
}

/* --- a pair in service -------------------------------------------------- */

/* What a quiet pair does next on its way there. */
static bool
next_quiet (choice *c)
{
  choice list[CHOICES_MAX];
  uint32_t count = world_choices (list), i;

  for (i = 0; i < count; i++)
    if (choice_kind (list[i]) != E_TICK && choice_kind (list[i]) != E_ASK &&
        choice_kind (list[i]) != E_READ) {
      *c = list[i];
      return true;
    }
  if (check_at_rest () && world.client.shown.epoch != 0)
    return false;
  if (cores[0]->phase != LINK_DECIDED || cores[1]->phase != LINK_DECIDED)
    *c = make_choice (E_TICK, 0, 0);
  else if (world.client.live == NONE)
    *c = make_choice (E_ASK, 0, 0);
  else
    *c = make_choice (E_READ, 0, 0);
  return true;
}

/* From nothing to where the search begins. */
void
world_prefix (void)
{
  unsigned steps = 0;
  choice c;

  world_init ();
  world.client.reads_left = 1;
  while (!bounds.fresh && next_quiet (&c)) {
    world_choose (c);
    assert (++steps < 200);
  }
  give_budgets ();
}

/* --- in words ----------------------------------------------------------- */

static void
describe_frame (unsigned node, char *text, size_t size)
{
  const struct end *end = &world.ends[node];
  const struct wire_frame *frame = &end->inbox[0].frame;

  if (end->count == 0)
    return;
  snprintf (text, size, " %s", wire_type_name (frame->type));
  if (frame->type == WIRE_WRITE || frame->type == WIRE_ZERO)
    snprintf (text, size, " %s%s seq %llu at %llu",
              frame->flags & WIRE_RESYNC ? "resync " : "",
              wire_type_name (frame->type), (unsigned long long) frame->seq,
              (unsigned long long) frame->offset);
  else if (frame->type == WIRE_ACK)
    snprintf (text, size, " ack up to %llu", (unsigned long long) frame->seq);
}

static void
describe_death (unsigned detail, char *text, size_t size)
{
  snprintf (text, size, "%s%s",
            detail & 1 ? " (its superblock was written)" : "",
            detail & 2 ? " (its map was written)" : "");
  if (detail >> 2 != 0)
    snprintf (text + strlen (text), size - strlen (text),
              " (writes in the page cache: %#x)", detail >> 2);
}

static void
describe_message (unsigned number, bool to_client, char *text, size_t size)
{
  static const char *const names[] = { "the session is open", "refused",
                                       "an answer", "the session has ended" };
  const struct connection *c = &world.connections[number];

  if (to_client)
    snprintf (text, size, " from %c: %s%s", letter (c->node),
              names[c->to_client[0].type],
              c->to_client[0].error != 0 ? " (error)" : "");
  else if (c->server == S_NEW)
    snprintf (text, size, " at %c: open, session %llu, shows generation %llu",
              letter (c->node), (unsigned long long) c->open.session,
              (unsigned long long) c->open.shown.epoch);
  else
    snprintf (text, size, " at %c: %s block %u (write %u)", letter (c->node),
              c->to_server[0].read ? "read" : "write", c->to_server[0].block,
              c->to_server[0].tag);
}

/* Of a choice that is possible now. */
void
world_describe (choice c, char *text, size_t size)
{
  unsigned node = choice_node (c), detail = choice_detail (c);
  const char *phrase = words[choice_kind (c)];
  char more[160] = "";

  switch (choice_kind (c)) {
  case E_FRAME: describe_frame (node, more, sizeof more); break;
  case F_KILL: describe_death (detail, more, sizeof more); break;
  case E_TAKE: describe_message (detail, false, more, sizeof more); break;
  case E_REPLY: describe_message (detail, true, more, sizeof more); break;
  case E_LOCAL: snprintf (more, sizeof more, " (slot %u)", detail); break;
  case E_WRITE:
  case E_READ: snprintf (more, sizeof more, " block %u", detail); break;
  default: break;
  }
  if (strncmp (phrase, "client", 6) == 0 || strncmp (phrase, "the ", 4) == 0) {
    if (choice_kind (c) == E_ASK || choice_kind (c) == F_PROBE ||
        choice_kind (c) == F_UNREACHABLE)
      snprintf (more, sizeof more, " at %c", letter (node));
    snprintf (text, size, "%s%s", phrase, more);
  }
  else if (choice_kind (c) == E_TAKE || choice_kind (c) == E_GONE)
    snprintf (text, size, "the node %s%s", phrase, more);
  else
    snprintf (text, size, "%c %s%s", letter (node), phrase, more);
}
