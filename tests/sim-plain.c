/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-plain.c: a client without a proxy: one connection, no memory, no
 * replay.  What had no answer when the connection broke is lost to it and
 * may or may not have happened; it connects again to whichever node takes
 * it.
 */
#include <errno.h>

#include "sim.h"

static void
connect_now (struct sim *sim, const struct sim_event *event)
{
  struct client *client = &sim->clients[event->a];
  struct core_open open = { .proxied = false };

  if (!client->alive || client->life != event->b || client->asking != NULL ||
      client->live)
    return;
  client->asking = nbd_connect (sim, client, client->node, &open);
}

static void
connect_later (struct sim *sim, struct client *client)
{
  struct sim_event event = { .run = connect_now,
                             .node = -1,
                             .a = (uint32_t) client->index,
                             .b = client->life };

  if (sim_chance (sim, 2))
    client->node = 1 - client->node;
  sim_after (sim, sim_delay (sim, 20 * SIM_MS), event);
}

void
plain_start (struct sim *sim, struct client *client)
{
  client->asking = NULL;
  client->nbd_count = 0;
  connect_later (sim, client);
}

static void
lose (struct sim *sim, struct client *client)
{
  if (client->asking != NULL)
    nbd_hang_up (sim, client->asking);
  client->asking = NULL;
  if (client->live) {
    flush_note_death (sim);
    nbd_hang_up (sim, client->nbd[0]);
  }
  client->live = false;
  client->nbd_count = 0;
  load_dropped (sim, client);
}

void
plain_crash (struct sim *sim, struct client *client)
{
  lose (sim, client);
}

void
plain_message (struct sim *sim, struct nbd *nbd, struct message *message)
{
  struct client *client = &sim->clients[nbd->client];

  if (message->type == MSG_OPENED && message->error == 0) {
    resize_fits (sim, client, nbd);
    client->cells = client->shown_cells = nbd->cells;
    client->asking = NULL;
    client->live = true;
    client->nbd[0] = nbd;
    client->nbd_count = 1;
    client->served = message->gen;
    return;
  }
  if (message->type == MSG_REPLY && message->error != ESHUTDOWN) {
    if (message->error == 0)
      check_accepted (sim, nbd->node, message->gen);
    client->bound |= message->error == 0;
    load_answered (sim, client, message->op, message->error, message->tags);
    return;
  }
  lose (sim, client);
  connect_later (sim, client);
}

void
plain_refused (struct sim *sim, struct nbd *nbd)
{
  struct client *client = &sim->clients[nbd->client];

  lose (sim, client);
  connect_later (sim, client);
}
