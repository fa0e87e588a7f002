/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore-link.c: the connection between the nodes.  Frames keep their
 * order in each direction and are lost from any one on: the end of a
 * connection may be seen at any moment after it came about, whatever is
 * still on its way.  Each end sees it by itself, and one that is about to
 * connect again waits until the other has let go of the old connection,
 * as the greeting of link.c makes it.
 */
#include <assert.h>
#include <string.h>

#include "explore.h"

static void
clear_inbox (struct end *end)
{
  memset (end->inbox, 0, sizeof end->inbox);
  memset (end->hellos, 0, sizeof end->hellos);
  memset (end->hello_used, 0, sizeof end->hello_used);
  end->count = 0;
}

void
link_queue_frame (unsigned node, const struct core_action *action,
                  const uint8_t tags[BLOCKS])
{
  const struct end *mine = &world.ends[node];
  struct end *end = &world.ends[1 - node];
  struct frame_in_flight *in;
  uint32_t i;

  if (mine->state != END_UP || mine->id != action->link || end->deaf ||
      end->id != mine->id || (end->state != END_UP && end->state != END_WAIT))
    return;
  assert (end->count < FRAMES);
  in = &end->inbox[end->count++];
  *in = (struct frame_in_flight){ .frame = action->frame };
  memcpy (in->tags, tags, sizeof in->tags);
  if (action->frame.type == WIRE_MARKS)
    in->map = core_map_page (cores[node], 0)[0];
  if (action->frame.type == WIRE_CLEAR)
    for (i = 0; i < action->frame.payload_length / 8; i++)
      in->map |= (uint8_t) (1u << core_clear (cores[node])[i]);
  if (action->frame.type == WIRE_HELLO_FRAME ||
      action->frame.type == WIRE_ADOPT) {
    for (i = 0; i < HELLOS && end->hello_used[i]; i++)
      continue;
    assert (i < HELLOS);
    end->hello_used[i] = true;
    end->hellos[i] = *core_hello (cores[node]);
    in->hello = (uint8_t) i;
  }
}

/* --- ends --------------------------------------------------------------- */

static void
forget_end (struct end *end)
{
  clear_inbox (end);
  *end = (struct end){ .state = END_NONE, .id = end->id };
}

/* The other end of this end's connection hears of it, now or later. */
static void
end_seen_by_other (unsigned node)
{
  const struct end *mine = &world.ends[node];
  struct end *other = &world.ends[1 - node];

  if (other->id != mine->id ||
      (other->state != END_UP && other->state != END_WAIT))
    return;
  other->deaf = true;
  other->eof = true;
}

void
link_close_end (unsigned node)
{
  struct end *end = &world.ends[node];

  if (end->state != END_UP)
    return;
  end_seen_by_other (node);
  clear_inbox (end);
  end->state = END_CLOSING;
  end->eof = false;
  end->deaf = true;
}

void
link_node_died (unsigned node)
{
  end_seen_by_other (node);
  forget_end (&world.ends[node]);
}

static void
see_end (unsigned node)
{
  struct end *end = &world.ends[node];

  if (end->state == END_WAIT) {
    forget_end (end);
    return;
  }
  clear_inbox (end);
  end->state = END_CLOSING;
  end->eof = false;
}

static void
finish_with_link (unsigned node)
{
  struct core_event event = { .type = EV_LINK_DOWN,
                              .link = world.ends[node].id };
  struct node_model *n = &world.nodes[node];

  if (bounds.plant != PLANT_GHOST) {
    n->job_count = 0;
    memset (n->jobs, 0, sizeof n->jobs);
  }
  n->held_count = 0;
  memset (n->held, 0, sizeof n->held);
  n->hello_out = false;
  forget_end (&world.ends[node]);
  node_step (node, &event);
}

/* --- frames ------------------------------------------------------------- */

static void
fill_payload (const struct frame_in_flight *in, uint8_t *payload)
{
  uint32_t i, count = 0;

  memset (payload, 0, MARKS_PAGE_BYTES);
  if (in->frame.type == WIRE_MARKS)
    payload[0] = in->map;
  else if (in->frame.type == WIRE_CLEAR)
    for (i = 0; i < 8; i++)
      if (in->map >> i & 1)
        payload[8 * count++] = (uint8_t) i;
}

static void
take_frame (unsigned node)
{
  static uint8_t payload[MARKS_PAGE_BYTES];
  static struct wire_hello hello;
  struct end *end = &world.ends[node];
  struct node_model *n = &world.nodes[node];
  struct frame_in_flight in = end->inbox[0];
  struct core_event event = { .type = EV_FRAME, .link = end->id };
  uint8_t type = in.frame.type;

  memmove (&end->inbox[0], &end->inbox[1], --end->count * sizeof end->inbox[0]);
  memset (&end->inbox[end->count], 0, sizeof end->inbox[0]);
  event.frame = &in.frame;
  if (type == WIRE_HELLO_FRAME || type == WIRE_ADOPT) {
    hello = end->hellos[in.hello];
    memset (&end->hellos[in.hello], 0, sizeof hello);
    end->hello_used[in.hello] = false;
    event.hello = &hello;
  }
  fill_payload (&in, payload);
  event.payload = payload;
  if (type == WIRE_WRITE || type == WIRE_ZERO) {
    assert (n->held_count < JOBS);
    n->held[n->held_count++] = in;
  }
  if (type == WIRE_HASH_REPLY && core_hash_wanted (cores[node], &in.frame))
    memcpy (n->chunks[in.frame.arg].hashes, in.tags, sizeof in.tags);
  node_step (node, &event);
}

/* --- connecting --------------------------------------------------------- */

static void
connect_nodes (void)
{
  unsigned n;

  world.links++;
  for (n = 0; n < NODES; n++) {
    forget_end (&world.ends[n]);
    world.ends[n].state = END_WAIT;
    world.ends[n].id = world.links;
  }
}

static void
come_up (unsigned node)
{
  struct core_event event = { .type = EV_LINK_UP, .link = world.ends[node].id };

  world.ends[node].state = END_UP;
  world.nodes[node].dialing = false;
  node_step (node, &event);
}

static void
not_dialled (unsigned node)
{
  struct core_event event = { .type = EV_CONNECT_FAILED };

  world.nodes[node].dialing = false;
  node_step (node, &event);
}

/* The network fails: what is on its way is lost, nobody is told. */
static void
partition (void)
{
  unsigned n;

  world.partition = true;
  for (n = 0; n < NODES; n++) {
    clear_inbox (&world.ends[n]);
    if (world.ends[n].state != END_NONE)
      world.ends[n].deaf = true;
  }
}

static void
cut (void)
{
  unsigned n;

  for (n = 0; n < NODES; n++)
    if (world.ends[n].state == END_UP || world.ends[n].state == END_WAIT)
      world.ends[n].deaf = world.ends[n].eof = true;
}

/* --- choices ------------------------------------------------------------ */

static uint32_t
end_choices (unsigned node, choice *list)
{
  const struct end *end = &world.ends[node], *other = &world.ends[1 - node];
  uint32_t count = 0;
  bool reachable = !world.partition && world.nodes[1 - node].alive;

  if (end->state == END_WAIT && !(end->deaf && world.partition))
    list[count++] = make_choice (E_UP, node, 0);
  if (end->state == END_UP && end->count > 0)
    list[count++] = make_choice (E_FRAME, node, 0);
  if (end->eof && !world.partition)
    list[count++] = make_choice (E_EOF, node, 0);
  if (end->deaf && world.partition) {
    if (end->state == END_UP)
      list[count++] = make_choice (E_SILENCE, node, 0);
    else if (end->state == END_WAIT)
      list[count++] = make_choice (E_EOF, node, 0);
  }
  if (end->state == END_CLOSING)
    list[count++] = make_choice (E_DOWN, node, 0);
  if (!world.nodes[node].dialing || end->state != END_NONE)
    return count;
  if (reachable && other->state == END_NONE)
    list[count++] = make_choice (E_DIALLED, node, 0);
  if (!reachable)
    list[count++] = make_choice (E_NOT_DIALLED, node, 0);
  return count;
}

uint32_t
link_choices (choice *list)
{
  uint32_t count = 0;
  unsigned n;

  for (n = 0; n < NODES; n++)
    count += end_choices (n, list + count);
  if (world.partition)
    list[count++] = make_choice (E_HEAL, 0, 0);
  if (world.faults_left == 0 || world.partition)
    return count;
  if (kind_allowed (F_CUT) &&
      ((world.ends[0].state == END_UP && !world.ends[0].deaf) ||
       (world.ends[1].state == END_UP && !world.ends[1].deaf)))
    list[count++] = make_choice (F_CUT, 0, 0);
  if (kind_allowed (F_PARTITION))
    list[count++] = make_choice (F_PARTITION, 0, 0);
  return count;
}

bool
link_choose (choice c)
{
  unsigned node = choice_node (c), n;

  switch (choice_kind (c)) {
  case E_UP: come_up (node); break;
  case E_FRAME: take_frame (node); break;
  case E_EOF: see_end (node); break;
  case E_DOWN: finish_with_link (node); break;
  case E_DIALLED: connect_nodes (); break;
  case E_NOT_DIALLED: not_dialled (node); break;
  case E_HEAL:
    world.partition = false;
    /* A connection that has lost frames does not come back to life. */
    for (n = 0; n < NODES; n++)
      if (world.ends[n].deaf && world.ends[n].state != END_CLOSING)
        world.ends[n].eof = true;
    break;
  case F_CUT: cut (); break;
  case F_PARTITION: partition (); break;
  default: return false;
  }
  return true;
}
