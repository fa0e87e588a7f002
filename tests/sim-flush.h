/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-flush.h: what the simulator keeps for durability=flush, and its
 * rules (sim-flush.c).  A part of sim.h.
 */
#ifndef DUET_SIM_FLUSH_H
#define DUET_SIM_FLUSH_H

#include <stdbool.h>
#include <stdint.h>

#include "kept.h"

enum {
  FLUSH_SLOTS = 12,   /* as many as a client has requests out */
  FLUSH_AGAIN = 6,    /* kept writes on their way at once */
  FLUSH_ENDS = 64,    /* of nodes in a run */
  FLUSH_DEATHS = 512, /* of clients, or of their sessions */
  FLUSH_TURNS = 4096, /* sessions in a run that begin with kept writes */
};

/* A proxy's part. */
struct keeper {
  struct kept *kept;          /* NULL: durability=write */
  uint64_t mark[FLUSH_SLOTS]; /* what a flush that is out covers */
  uint64_t boot;              /* of the live session's node */
  struct {
    uint32_t op;
    uint64_t number;
  } again[FLUSH_AGAIN]; /* sent again, not answered */
  uint32_t again_count;
  uint64_t again_ms; /* when one of these was last sent, or answered */
};

/* A run's: order numbers of what may cost unflushed writes. */
struct flush_run {
  uint64_t bytes, ms;            /* the nodes' flush_bytes and flush_ms */
  uint32_t deaths[FLUSH_DEATHS]; /* clients forget what they wrote */
  uint32_t death_count;
  uint32_t losses[FLUSH_ENDS]; /* no member's process lives on */
  uint32_t loss_count;
  uint32_t turns[FLUSH_TURNS]; /* a client begins to send again */
  uint32_t turn_count;
  bool broken; /* a disk did not take what was sent again */
};

struct sim;
struct node;
struct slot;
struct client;

bool flush_mode (const struct sim *sim);
void flush_begins (struct sim *sim, const struct node *node, struct slot *slot);
bool flush_peer_same (const struct sim *sim, const struct node *node,
                      const struct slot *slot);
bool flush_peer_lost (const struct sim *sim, const struct node *node);
void flush_check_answer (struct sim *sim, const struct node *node,
                         const struct slot *slot);
void flush_check_change (struct sim *sim, const struct node *node, bool linked);
void flush_note_start (struct sim *sim, struct node *node);
void flush_note_action (struct sim *sim, struct node *node,
                        const struct core_action *action);
void flush_note_step (struct node *node);
void flush_note_again (struct sim *sim);
void flush_note_death (struct sim *sim);
void flush_note_end (struct sim *sim, const struct node *node);
bool flush_all_durable (const struct sim *sim);
void flush_check_history (struct sim *sim);

/* sim-client.c: is there room for a write of so many cells? */
bool proxy_has_room (struct client *client, uint32_t count);
/* sim-check-sync.c */
void check_joined (struct sim *sim, const struct node *node);

#endif /* DUET_SIM_FLUSH_H */
