/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-plan.c: which faults a run has.  The plan comes from random numbers
 * of its own, so that a run with fewer faults is the same run up to the
 * last fault that is kept.
 */
#include "sim.h"
#include "splitmix.h"

static uint64_t
plan_random (struct sim *sim, uint64_t bound)
{
  return splitmix_next (&sim->plan_random) % bound;
}

/* --- the plan ----------------------------------------------------------- */

/* How often each kind is chosen, for each sort of model. */
static const struct weight {
  enum fault_kind kind;
  uint32_t alone, partition, store, etcd;
} weights[] = {
  { FAULT_CRASH, 8, 8, 4, 8 },
  { FAULT_POWER, 8, 8, 4, 8 },
  { FAULT_STOP, 3, 3, 1, 3 },
  { FAULT_BOTH, 0, 5, 2, 4 },
  { FAULT_CUT, 5, 10, 4, 8 },
  { FAULT_PARTITION, 0, 6, 3, 10 },
  { FAULT_PAUSE, 0, 5, 1, 8 },
  { FAULT_CLIENT_CUT, 4, 5, 1, 2 },
  { FAULT_CLIENT_PARTITION, 4, 5, 1, 5 },
  { FAULT_CLIENT_CRASH, 3, 3, 0, 2 },
  { FAULT_CLIENT_AMNESIA, 2, 3, 0, 2 },
  { FAULT_SLOW, 3, 3, 1, 3 },
  { FAULT_IDLE, 1, 1, 1, 1 },
  { FAULT_READ, 1, 0, 4, 0 },
  { FAULT_WRITE, 2, 0, 4, 0 },
  { FAULT_SPACE, 1, 0, 4, 0 },
  { FAULT_SYNC, 2, 0, 4, 0 },
  { FAULT_META, 1, 0, 3, 0 },
  { FAULT_TOGETHER, 0, 6, 0, 3 },
  { FAULT_REFUSE, 0, 2, 1, 3 },
  { FAULT_NOISE, 1, 2, 1, 3 },
  { FAULT_FLAP, 0, 2, 0, 0 },
  { FAULT_WANDER, 0, 6, 0, 0 },
  { FAULT_DEAF, 0, 3, 0, 3 },
  { FAULT_SWITCH, 3, 4, 2, 4 },
  { FAULT_CLIENT_STALL, 3, 3, 1, 2 },
  { FAULT_CLIENT_LATE, 2, 2, 1, 1 },
  { FAULT_FORCE, 0, 12, 0, 1 },
  { FAULT_DISCARD, 0, 8, 0, 1 },
  { FAULT_VERIFY, 2, 3, 2, 2 },
  { FAULT_HOLD, 3, 6, 0, 6 },
  { FAULT_RESIZE, 5, 10, 3, 8 },
  { FAULT_ETCD_CUT, 0, 0, 0, 8 },
  { FAULT_ETCD_DOWN, 0, 0, 0, 4 },
  { FAULT_ISOLATE, 0, 0, 0, 8 },
  { FAULT_ONE_WAY, 0, 0, 0, 6 },
};

/* A disk that fails while the link is paused would take the only copy that
 * counts: a run has one or the other.
 */
static bool
takes_the_last (const struct sim *sim, enum fault_kind kind)
{
  return (sim->fault_kinds >> FAULT_HOLD & 1) != 0 &&
    (kind == FAULT_READ || kind == FAULT_WRITE || kind == FAULT_SPACE ||
     kind == FAULT_SYNC || kind == FAULT_META);
}

static uint32_t
weight_of (const struct sim *sim, const struct weight *weight)
{
  bool forced = weight->kind == FAULT_FORCE || weight->kind == FAULT_DISCARD;

  if (!(sim->fault_kinds >> weight->kind & 1))
    return 0;
  if (sim->model->arbiter == ARBITER_ETCD)
    return weight->etcd;
  if (forced && !sim->model->force)
    return 0;
  if (sim->model->store)
    return weight->store;
  if (!sim->model->partition)
    return takes_the_last (sim, weight->kind) ? 0 : weight->alone;
  return weight->partition;
}

static enum fault_kind
plan_kind (struct sim *sim)
{
  uint32_t i, total = 0, count = sizeof weights / sizeof weights[0];
  uint64_t dice;

  for (i = 0; i < count; i++)
    total += weight_of (sim, &weights[i]);
  dice = plan_random (sim, total);
  for (i = 0; dice >= weight_of (sim, &weights[i]); i++)
    dice -= weight_of (sim, &weights[i]);
  return weights[i].kind;
}

/* Actions after which a fault is most likely to hurt. */
static const enum core_action_type moments[] = {
  ACT_LOCAL,      ACT_COMPLETE,    ACT_OPEN_DONE,  ACT_SEND,
  ACT_APPLY,      ACT_HASH,        ACT_PERSIST_SB, ACT_PERSIST_SB,
  ACT_PERSIST_SB, ACT_PERSIST_MAP, ACT_SYNC_STORE, ACT_SYNC_STORE,
  ACT_CHUNK,      ACT_CHUNK,       ACT_CONNECT,    ACT_STATE,
  ACT_STATE,      ACT_CONN_ENDED,  ACT_GROW,
};

/* Frames after which one is: there are few of them, and each is a turn. */
static const enum wire_type turns[] = {
  WIRE_HELLO_FRAME,    WIRE_MARKS,        WIRE_ADOPT,      WIRE_ADOPTED,
  WIRE_SWITCH_REQUEST, WIRE_SWITCH_GRANT, WIRE_HASH_REPLY, WIRE_HANDOVER,
  WIRE_NACK,           WIRE_YIELD,        WIRE_YIELDED,    WIRE_RESIZE,
  WIRE_RESIZED,
};

/* Actions more, with arbiter=etcd. */
static const enum core_action_type etcd_moments[] = {
  ACT_KEY_READ, ACT_KEY_CAS, ACT_KEY_CAS, ACT_PERSIST_SB, ACT_COMPLETE,
};

static void
plan_etcd_moment (struct sim *sim, struct fault *fault)
{
  if (sim->model->arbiter != ARBITER_ETCD || plan_random (sim, 3) != 0)
    return;
  fault->action = (int) etcd_moments[plan_random (
    sim, sizeof etcd_moments / sizeof etcd_moments[0])];
  fault->at = fault->node;
  fault->frame = 0;
}

static void
plan_moment (struct sim *sim, struct fault *fault)
{
  fault->action = -1;
  fault->at = fault->node;
  fault->nth = 1 + (uint32_t) plan_random (sim, plan_random (sim, 2) ? 3 : 20);
  if (plan_random (sim, 3) == 0)
    return;
  fault->action = (int)
    moments[plan_random (sim, sizeof moments / sizeof moments[0])];
  if (plan_random (sim, 4) == 0)
    fault->at = 1 - fault->node;
  if (plan_random (sim, 5) != 0)
    return;
  fault->action = ACT_SEND;
  fault->frame = (uint8_t)
    turns[plan_random (sim, sizeof turns / sizeof turns[0])];
  fault->nth = 1 + (uint32_t) plan_random (sim, 2);
}

static void
plan_one (struct sim *sim, struct fault *fault)
{
  uint64_t mood = sim->fault_burst ? 3 : plan_random (sim, 4);

  fault->kind = plan_kind (sim);
  fault->busy = false;
  fault->node = (int) plan_random (sim, SIM_NODES);
  fault->client = (int) plan_random (sim, SIM_CLIENTS);
  if (mood == 0)
    fault->wait_us = plan_random (sim, 3000 * SIM_MS);
  else if (mood == 1)
    fault->wait_us = plan_random (sim, 300 * SIM_MS);
  else
    fault->wait_us = plan_random (sim, 30 * SIM_MS);
  plan_moment (sim, fault);
  plan_etcd_moment (sim, fault);
  fault->delay_us = plan_random (sim, 3) == 0 ? 0
                                              : plan_random (sim, 2 * SIM_MS);
  mood = sim->fault_burst ? plan_random (sim, 2) : plan_random (sim, 3);
  fault->length_us = mood == 0 ? plan_random (sim, 5 * SIM_MS)
    : mood == 1                ? plan_random (sim, 400 * SIM_MS)
                               : plan_random (sim, 4000 * SIM_MS);
  fault->dice = (uint32_t) plan_random (sim, 1 << 16);
}

/* Node and client die while a write is under way and are soon back; when
 * the client has seen a little of what is left, the node dies again.
 */
static void
plan_twice (struct sim *sim, struct fault *first, struct fault *second)
{
  if (plan_random (sim, 2) == 0) {
    first->action = ACT_LOCAL;
    first->at = first->node;
    first->frame = 0;
    first->delay_us = plan_random (sim, 500);
  }
  if (second == NULL || plan_random (sim, 3) == 0)
    return;
  second->kind = plan_random (sim, 2) ? FAULT_POWER : FAULT_CRASH;
  second->node = first->node;
  second->wait_us = plan_random (sim, 20 * SIM_MS);
  second->action = ACT_COMPLETE;
  second->at = second->node;
  second->frame = 0;
  second->nth = 1 + (uint32_t) plan_random (sim, 4);
  second->delay_us = 50 + plan_random (sim, 800);
}

/* A client cannot reach its primary, and has the other node ask for the
 * role; just then the primary's disk fails.
 */
static void
plan_handover (struct sim *sim, struct fault *first, struct fault *second)
{
  if (sim->model->partition && !sim->model->store)
    return;
  first->length_us = 4000 * SIM_MS;
  first->busy = true;
  second->kind = plan_random (sim, 2) ? FAULT_WRITE : FAULT_SYNC;
  second->node = first->node;
  second->wait_us = plan_random (sim, 20 * SIM_MS);
  second->action = ACT_SEND;
  second->at = 1 - first->node;
  second->frame = WIRE_SWITCH_REQUEST;
  second->nth = 1;
  second->delay_us = plan_random (sim, 400);
}

/* While both copies are compared, a disk fails. */
static void
plan_compared (struct sim *sim, const struct fault *first, struct fault *second)
{
  if (!sim->model->store)
    return;
  second->kind = FAULT_WRITE;
  second->node = first->node;
  second->wait_us = plan_random (sim, 20 * SIM_MS);
  second->action = ACT_LOCAL;
  second->at = second->node;
  second->frame = 0;
  second->nth = 1 + (uint32_t) plan_random (sim, 3);
  second->delay_us = 0;
}

/* While the volume grows, something happens to one of the nodes or the link:
 * as one of them has begun, has its files ready, or is about to say so.
 */
static void
plan_grown (struct sim *sim, struct fault *second)
{
  static const enum core_action_type steps[] = {
    ACT_GROW, ACT_PERSIST_SB, ACT_SEND, ACT_SEND, ACT_SEND,
  };
  static const enum fault_kind ends[] = {
    FAULT_CRASH, FAULT_POWER, FAULT_CUT, FAULT_CRASH, FAULT_SWITCH,
  };

  if (plan_random (sim, 2) == 0)
    second->kind = ends[plan_random (sim, sizeof ends / sizeof ends[0])];
  second->wait_us = plan_random (sim, 4) == 0 ? 0
                                              : plan_random (sim, 3 * SIM_MS);
  second->action = (int)
    steps[plan_random (sim, sizeof steps / sizeof steps[0])];
  second->frame = 0;
  if (second->action == ACT_SEND)
    second->frame = plan_random (sim, 4) == 0 ? WIRE_RESIZE : WIRE_RESIZED;
  second->at = (int) plan_random (sim, SIM_NODES);
  second->nth = 1;
  second->delay_us = plan_random (sim, 2) == 0 ? plan_random (sim, 250)
                                               : plan_random (sim, 1500);
}

/* One node is away, and the other loses power while it makes durable what a
 * client flushes, or a little later: what was answered in between is only in
 * the memory of the client.
 */
static void
plan_flushed (struct sim *sim, struct fault *first, struct fault *second)
{
  first->length_us = 4000 * SIM_MS;
  second->kind = FAULT_POWER;
  second->node = 1 - first->node;
  second->wait_us = plan_random (sim, 20 * SIM_MS);
  second->action = plan_random (sim, 2) ? ACT_SYNC_STORE : ACT_COMPLETE;
  second->at = second->node;
  second->frame = 0;
  second->nth = 1 + (uint32_t) plan_random (sim, 8);
  second->delay_us = plan_random (sim, 1 * SIM_MS);
  second->length_us = plan_random (sim, 30 * SIM_MS);
}

/* A node loses power, and before the other one has noticed its operator has
 * it pause the link; and when they meet again that one dies, perhaps.
 */
static void
plan_held (struct sim *sim, const struct fault *first, struct fault *second,
           struct fault *third)
{
  second->kind = FAULT_HOLD;
  second->node = 1 - first->node;
  second->wait_us = plan_random (sim, 20 * SIM_MS);
  second->action = -1;
  second->dice = second->dice * 12 + 1; /* a pause that ends */
  if (third == NULL || plan_random (sim, 2) == 0)
    return;
  third->kind = plan_random (sim, 2) ? FAULT_CRASH : FAULT_STOP;
  third->node = third->at = second->node;
  third->wait_us = 0;
  third->action = ACT_SEND;
  third->frame = WIRE_HELLO_FRAME;
  third->nth = 1 + (uint32_t) plan_random (sim, 2);
  third->delay_us = plan_random (sim, 1 * SIM_MS);
}

/* A client cannot reach one of the nodes, which then does not hear the other
 * one; and before it has noticed the other one is new.
 */
static void
plan_unnoticed (struct sim *sim, struct fault *first, struct fault *second,
                struct fault *third)
{
  first->kind = FAULT_CLIENT_PARTITION;
  first->length_us = 2000 * SIM_MS;
  first->busy = true;
  second->kind = FAULT_PARTITION;
  second->wait_us = plan_random (sim, 300 * SIM_MS);
  second->length_us = 2000 * SIM_MS;
  third->kind = plan_random (sim, 2) ? FAULT_POWER : FAULT_CRASH;
  third->node = 1 - first->node;
  third->wait_us = plan_random (sim, 5 * SIM_MS);
  third->length_us = plan_random (sim, 5 * SIM_MS);
  second->action = third->action = -1;
}

/* Faults that follow each other for a purpose. */
static void
plan_chains (struct sim *sim)
{
  uint32_t i;

  for (i = 0; i + 1 < sim->fault_count; i++) {
    struct fault *fault = &sim->faults[i];

    if (flush_mode (sim) &&
        (fault->kind == FAULT_CRASH || fault->kind == FAULT_STOP) &&
        plan_random (sim, 3) == 0)
      plan_flushed (sim, fault, fault + 1);
    if (flush_mode (sim) && fault->kind == FAULT_POWER &&
        plan_random (sim, 4) == 0)
      plan_held (sim, fault, fault + 1,
                 i + 2 < sim->fault_count ? fault + 2 : NULL);
    if (sim->model->arbiter == ARBITER_ETCD && fault->kind == FAULT_PARTITION &&
        i + 2 < sim->fault_count && plan_random (sim, 3) == 0)
      plan_unnoticed (sim, fault, fault + 1, fault + 2);
  }
}

/* Each run leaves out about half of the kinds (swarm testing, Groce et
 * al. 2012), so that those left meet each other more often; in a burst
 * they come close together.
 */
static void
plan_mix (struct sim *sim)
{
  unsigned kinds = sim->model->arbiter == ARBITER_ETCD ? FAULT_KINDS
                                                       : FAULT_ETCD_CUT;
  uint32_t i, total;

  do {
    sim->fault_kinds = plan_random (sim, UINT64_C (1) << kinds);
    if (plan_random (sim, 2) == 0)
      sim->fault_kinds &= plan_random (sim, UINT64_C (1) << kinds);
    else if (plan_random (sim, 2) == 0)
      sim->fault_kinds = UINT64_MAX;
    total = 0;
    for (i = 0; i < sizeof weights / sizeof weights[0]; i++)
      total += weight_of (sim, &weights[i]);
  } while (total == 0);
  sim->fault_burst = plan_random (sim, 3) == 0;
}

void
fault_plan (struct sim *sim)
{
  uint32_t i, kept = 0;

  plan_mix (sim);
  sim->fault_count = (uint32_t) plan_random (sim, SIM_FAULTS + 1);
  for (i = 0; i < sim->fault_count; i++)
    plan_one (sim, &sim->faults[i]);
  for (i = 0; i < sim->fault_count; i++) {
    if (sim->faults[i].kind == FAULT_TOGETHER)
      plan_twice (sim, &sim->faults[i],
                  i + 1 < sim->fault_count ? &sim->faults[i + 1] : NULL);
    if ((sim->faults[i].kind == FAULT_CLIENT_PARTITION ||
         sim->faults[i].kind == FAULT_SWITCH) &&
        i + 1 < sim->fault_count && plan_random (sim, 3) == 0)
      plan_handover (sim, &sim->faults[i], &sim->faults[i + 1]);
    if (sim->faults[i].kind == FAULT_VERIFY && i + 1 < sim->fault_count &&
        plan_random (sim, 3) == 0)
      plan_compared (sim, &sim->faults[i], &sim->faults[i + 1]);
    if (sim->faults[i].kind == FAULT_RESIZE && i + 1 < sim->fault_count &&
        plan_random (sim, 4) != 0)
      plan_grown (sim, &sim->faults[i + 1]);
  }
  plan_chains (sim);
  sim->fault_planned = sim->fault_count;
  if (sim->fault_count > sim->options.faults)
    sim->fault_count = sim->options.faults;
  for (i = 0; i < sim->fault_count; i++)
    if (!(sim->options.skip >> i & 1))
      sim->faults[kept++] = sim->faults[i];
  sim->fault_count = kept;
}
