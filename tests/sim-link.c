/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-link.c: connections between the two nodes: frames are encoded and
 * decoded by wire.c; each direction delivers in order after a random
 * delay, until it is cut at some byte, or a bit is changed on the way and
 * the receiver, who must notice, hangs up.  The two
 * ends learn of the end independently, one of them perhaps never (then
 * its silence limit has to tell).  A partition holds frames back and lets
 * them through when it heals, as TCP does; attempts to connect time out
 * meanwhile.  Of two crossing attempts one connection comes out; an end
 * that has lost its connection and dials again makes the other end give
 * up the old one first.
 */
#include <assert.h>
#include <string.h>

#include "sim.h"

static struct node *
other (struct sim *sim, const struct node *node)
{
  return &sim->nodes[1 - node->index];
}

static bool
partitioned (const struct sim *sim)
{
  return sim->partition_until > sim->now_us;
}

/* One way does not work: connections that are there may not notice. */
static bool
deaf (const struct sim *sim)
{
  return sim->nodes[0].deaf_until > sim->now_us ||
    sim->nodes[1].deaf_until > sim->now_us;
}

/* --- delivery ----------------------------------------------------------- */

static void deliver (struct sim *sim, const struct sim_event *event);

static void
push (struct sim *sim, struct pipe *pipe, int to, struct packet *packet,
      uint64_t delay_us)
{
  struct pipe_end *end = &pipe->end[to];
  uint64_t time = sim->now_us + delay_us;
  struct sim_event event = {
    .run = deliver, .node = -1, .a = (uint32_t) to, .data = pipe
  };

  if (end->muted || end->state == PIPE_DOWN)
    return;
  if (time < end->last_us)
    time = end->last_us;
  end->last_us = packet->ready_us = time;
  if (end->tail != NULL)
    end->tail->next = packet;
  else
    end->head = packet;
  end->tail = packet;
  if (packet->eof)
    end->muted = true;
  sim_at (sim, time, event);
}

static void
drop_inbox (struct pipe_end *end)
{
  end->head = end->tail = NULL;
}

static void
end_down (struct sim *sim, struct node *node, struct pipe *pipe, bool closed)
{
  struct pipe_end *end = &pipe->end[node->index];

  drop_inbox (end);
  end->muted = true;
  if (end->state == PIPE_UP) {
    end->state = PIPE_CLOSING;
    node_link_lost (sim, node, closed);
  }
  else if (end->state == PIPE_WAIT) {
    end->state = PIPE_DOWN;
    node->pipe = NULL;
  }
}

/* --- bytes -------------------------------------------------------------- */

/* What stands for the payload, and how many bytes of it there are. */
static void *
body_of (const struct packet *packet, uint32_t *bytes)
{
  const struct wire_frame *f = &packet->frame;

  *bytes = f->payload_length;
  if (packet->tags == NULL)
    return packet->payload;
  *bytes = cells_in (f->offset, f->length) * (uint32_t) sizeof (uint32_t);
  return packet->tags;
}

static void
encode (struct sim *sim, struct packet *packet)
{
  uint32_t bytes;
  void *body;

  if (packet->hello != NULL) {
    packet->payload = sim_alloc (sim, WIRE_HELLO);
    packet->frame.payload_length = WIRE_HELLO;
    wire_encode_hello (packet->hello, packet->payload);
    packet->hello = NULL;
  }
  body = body_of (packet, &bytes);
  if (packet->frame.payload_length > 0)
    packet->frame.payload_crc = wire_crc32c (body, bytes);
  wire_encode (&packet->frame, packet->header);
  packet->size = packet->arrives = WIRE_HEADER + packet->frame.payload_length;
  memset (&packet->frame, 0, sizeof packet->frame);
}

static enum wire_reason
decode (struct sim *sim, struct packet *packet)
{
  enum wire_reason reason = wire_decode (packet->header, &packet->frame);
  uint32_t bytes;
  const void *body;

  if (reason != WIRE_OK)
    return reason;
  body = body_of (packet, &bytes);
  if (packet->frame.payload_length > 0 &&
      wire_crc32c (body, bytes) != packet->frame.payload_crc)
    return WIRE_BAD_PAYLOAD_CRC;
  if (packet->frame.type != WIRE_HELLO_FRAME &&
      packet->frame.type != WIRE_ADOPT)
    return WIRE_OK;
  packet->hello = sim_alloc (sim, sizeof *packet->hello);
  return wire_decode_hello (packet->payload, packet->frame.payload_length,
                            packet->hello);
}

/* A frame has come as far as it comes: false when it is not whole. */
static bool
receive (struct sim *sim, struct node *node, struct packet *packet)
{
  struct core_event closing = { .type = EV_LINK_CLOSING };
  enum wire_reason reason;

  if (packet->arrives < packet->size)
    return false;
  reason = decode (sim, packet);
  if (reason == WIRE_OK && packet->noise)
    sim_fail (sim, "I9: %c takes a changed frame for a good one",
              'A' + node->index);
  if (reason == WIRE_OK)
    return true;
  if (!packet->noise)
    sim_fail (sim, "%c refuses a frame of its peer: %s", 'A' + node->index,
              wire_reason_text (reason));
  sim_trace (sim, "%c: %s", 'A' + node->index, wire_reason_text (reason));
  if (sim->model->arbiter == ARBITER_ETCD) {
    closing.link = node->pipe->id;
    node_step (sim, node, &closing);
  }
  link_close (sim, node, false);
  return false;
}

/* Takes the next frame out of a direction: hands it to the process. */
static void
deliver (struct sim *sim, const struct sim_event *event)
{
  struct pipe *pipe = event->data;
  struct node *node = &sim->nodes[event->a];
  struct pipe_end *end = &pipe->end[event->a];
  struct packet *packet = end->head;

  if (packet == NULL || packet->ready_us > sim->now_us ||
      end->state == PIPE_DOWN || end->state == PIPE_CLOSING)
    return;
  if (partitioned (sim)) {
    sim_at (sim, sim->partition_until + sim_below (sim, 5 * SIM_MS), *event);
    return;
  }
  if (node->deaf_until > sim->now_us) {
    sim_at (sim, node->deaf_until + sim_below (sim, 5 * SIM_MS), *event);
    return;
  }
  if (node->pause_until > sim->now_us) {
    sim_at (sim, node->pause_until + sim_below (sim, 200), *event);
    return;
  }
  if (end->state == PIPE_WAIT) {
    sim_after (sim, 50 + sim_below (sim, 2000), *event);
    return;
  }
  end->head = packet->next;
  if (end->head == NULL)
    end->tail = NULL;
  packet->next = NULL;
  if (packet->eof)
    end_down (sim, node, pipe, !packet->reset);
  else if (receive (sim, node, packet))
    node_frame (sim, node, packet);
}

void
link_put (struct sim *sim, struct node *node, uint32_t link,
          struct packet *packet)
{
  struct pipe *pipe = node->pipe;

  if (pipe == NULL || pipe->id != link ||
      pipe->end[node->index].state != PIPE_UP)
    return;
  encode (sim, packet);
  push (sim, pipe, 1 - node->index, packet, sim_delay (sim, 120));
}

/* --- the end of a connection -------------------------------------------- */

/* What is on its way to END is lost from a random byte on. */
static void
truncate_inbox (struct sim *sim, struct pipe_end *end)
{
  struct packet *packet;
  uint32_t count = 0, keep;

  for (packet = end->head; packet != NULL; packet = packet->next)
    count++;
  keep = (uint32_t) sim_below (sim, count + 1);
  if (keep == 0) {
    drop_inbox (end);
    return;
  }
  for (packet = end->head; --keep > 0; packet = packet->next)
    continue;
  packet->next = NULL;
  end->tail = packet;
  if (!packet->eof)
    packet->arrives = sim_below (sim, packet->size + 1);
}

/* One bit of a frame on its way to node TO changes; not for a second time,
 * which might change it back.
 */
void
link_noise (struct sim *sim, int to)
{
  struct pipe *pipe = sim->nodes[to].pipe;
  struct packet *packet;
  uint32_t bytes, bit;
  uint8_t *body;

  if (pipe == NULL)
    return;
  packet = pipe->end[to].head;
  while (packet != NULL && packet->next != NULL && sim_chance (sim, 2))
    packet = packet->next;
  if (packet == NULL || packet->eof || packet->noise)
    return;
  bit = (uint32_t) sim_random (sim);
  wire_decode (packet->header, &packet->frame);
  body = body_of (packet, &bytes);
  if (bytes > 0 && packet->frame.payload_length > 0 && sim_chance (sim, 2))
    body[bit / 8 % bytes] ^= (uint8_t) (1 << bit % 8);
  else
    packet->header[bit / 8 % WIRE_HEADER] ^= (uint8_t) (1 << bit % 8);
  packet->noise = true;
}

static void
send_eof (struct sim *sim, struct pipe *pipe, int to, uint64_t delay_us,
          bool reset)
{
  struct packet *packet = sim_alloc (sim, sizeof *packet);

  packet->eof = true;
  packet->reset = reset;
  push (sim, pipe, to, packet, delay_us);
}

/* NODE's side closes, or its process has died.  SILENT: the other side
 * hears nothing of it.
 */
void
link_close (struct sim *sim, struct node *node, bool silent)
{
  struct pipe *pipe = node->pipe;
  struct pipe_end *far;

  if (pipe == NULL)
    return;
  far = &pipe->end[1 - node->index];
  if (!far->muted) {
    if (silent || sim_chance (sim, 2))
      truncate_inbox (sim, far);
    if (silent)
      far->muted = true;
    else
      send_eof (sim, pipe, 1 - node->index, sim_delay (sim, 200), false);
  }
  if (node->alive)
    end_down (sim, node, pipe, false);
  else {
    pipe->end[node->index].state = PIPE_DOWN;
    drop_inbox (&pipe->end[node->index]);
    node->pipe = NULL;
  }
}

/* The network breaks the connection; either end may be slow to see it. */
void
link_cut (struct sim *sim)
{
  struct pipe *pipe = sim->nodes[0].pipe;
  int n;

  if (pipe == NULL)
    pipe = sim->nodes[1].pipe;
  if (pipe == NULL)
    return;
  sim_trace (sim, "fault: link %u cut", pipe->id);
  for (n = 0; n < SIM_NODES; n++) {
    if (pipe->end[n].muted)
      continue;
    truncate_inbox (sim, &pipe->end[n]);
    if (sim->model->partition && sim_chance (sim, 5))
      pipe->end[n].muted = true;
    else
      send_eof (sim, pipe, n,
                sim_delay (sim, sim_chance (sim, 4) ? 50000 : 300), true);
  }
}

/* One end hears nothing any more, and the other that it is over. */
void
link_deafen (struct sim *sim, int deaf)
{
  struct pipe *pipe = sim->nodes[deaf].pipe;

  if (pipe == NULL || pipe->end[deaf].state != PIPE_UP)
    return;
  drop_inbox (&pipe->end[deaf]);
  pipe->end[deaf].muted = true;
  if (!pipe->end[1 - deaf].muted)
    send_eof (sim, pipe, 1 - deaf, sim_delay (sim, 300), true);
}

/* The node has finished with the store: the connection is forgotten. */
void
link_drained (struct sim *sim, struct node *node)
{
  struct pipe *pipe = node->pipe;

  (void) sim;
  assert (pipe != NULL && pipe->end[node->index].state == PIPE_CLOSING);
  pipe->end[node->index].state = PIPE_DOWN;
  node->pipe = NULL;
}

/* --- making a connection ------------------------------------------------ */

static void
come_up (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct pipe *pipe = event->data;

  if (node->pipe != pipe || pipe->end[node->index].state != PIPE_WAIT)
    return;
  pipe->end[node->index].state = PIPE_UP;
  node->dialing = false;
  node_link_up (sim, node, pipe->id);
}

static void
establish (struct sim *sim, uint64_t longest_us)
{
  struct pipe *pipe = sim_alloc (sim, sizeof *pipe);
  uint64_t delay;
  int n;

  pipe->id = ++sim->pipes;
  for (n = 0; n < SIM_NODES; n++) {
    struct sim_event event = node_event (&sim->nodes[n], come_up);

    event.data = pipe;
    sim->nodes[n].pipe = pipe;
    pipe->end[n].state = PIPE_WAIT;
    delay = sim_delay (sim, 200);
    sim_after (sim, delay < longest_us ? delay : longest_us, event);
  }
}

static void
dial_failed (struct sim *sim, struct node *node)
{
  struct core_event event = { .type = EV_CONNECT_FAILED };

  node->dialing = false;
  node->tried = true;
  node_step (sim, node, &event);
}

static void
dial_arrives (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  struct node *peer = other (sim, node);
  bool late = sim->now_us >= node->dial_deadline;

  if (!node->dialing || node->dial_number != event->a)
    return;
  if (node->pipe != NULL && node->pipe->end[node->index].state == PIPE_WAIT) {
    if (!late) {
      sim_after (sim, 1000, *event); /* about to be up */
      return;
    }
    link_close (sim, node, false);
  }
  if (late || node->pipe != NULL ||
      (!peer->alive && !partitioned (sim) && !deaf (sim)) ||
      (sim->refuse_until > sim->now_us && !partitioned (sim))) {
    dial_failed (sim, node);
    return;
  }
  if (partitioned (sim) || deaf (sim) || peer->pause_until > sim->now_us) {
    sim_at (sim, node->dial_deadline, *event);
    return;
  }
  if (peer->pipe != NULL) {
    /* It has not seen yet that the old connection is dead. */
    if (peer->pipe->end[peer->index].state != PIPE_CLOSING)
      link_close (sim, peer, true);
    sim_after (sim, 700, *event);
    return;
  }
  establish (sim, (node->dial_deadline - sim->now_us) / 2);
  sim_at (sim, node->dial_deadline, *event);
}

void
link_dial (struct sim *sim, struct node *node, uint64_t timeout_ms)
{
  struct sim_event event = node_event (node, dial_arrives);
  uint64_t delay = sim_delay (sim, 400);

  if (node->dialing) {
    if (sim->now_us + timeout_ms * SIM_MS < node->dial_deadline) {
      node->dial_deadline = sim->now_us + timeout_ms * SIM_MS;
      event.a = node->dial_number;
      sim_at (sim, node->dial_deadline, event);
    }
    return;
  }
  node->dialing = true;
  node->dial_deadline = sim->now_us + timeout_ms * SIM_MS;
  event.a = ++node->dial_number;
  if (delay > timeout_ms * SIM_MS)
    delay = timeout_ms * SIM_MS;
  sim_after (sim, delay, event);
}
