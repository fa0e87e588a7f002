/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-admin.c: the administrator: asks nodes for this and that at any
 * moment, and looks whether each wish is answered once, in time, and
 * truly.
 */
#include "sim.h"

enum { SLACK_MS = 200 };

static const char *const names[] = {
  [ADMIN_SWITCH] = "switchover",
  [ADMIN_FORCE] = "promotion by force",
  [ADMIN_DISCARD] = "its copy to be given up",
  [ADMIN_VERIFY] = "a comparison",
  [ADMIN_VERIFY_STOP] = "the end of the comparison",
  [ADMIN_PAUSE] = "the link to be paused",
  [ADMIN_RESUME] = "the link to be made again",
  [ADMIN_RESYNC] = "a full resync",
  [ADMIN_RESIZE] = "a larger volume",
};

static void
overdue (struct sim *sim, const struct sim_event *event)
{
  const struct node *node = &sim->nodes[event->node];
  struct sim_event later = *event;
  struct core_view view;

  if (!node->wishing || node->wish_number != event->a)
    return;
  /* What it must write first waits for the disk, and the status says so. */
  core_view (node->core, &view);
  if (view.disk_late_ms > 0) {
    sim_after (sim, SLACK_MS * SIM_MS, later);
    return;
  }
  if (node->pause_until + SLACK_MS * SIM_MS > sim->now_us) {
    sim_at (sim, node->pause_until + 2 * SLACK_MS * SIM_MS, later);
    return;
  }
  sim_fail (sim, "%c does not answer its administrator", 'A' + node->index);
}

void
admin_ask (struct sim *sim, struct node *node, const struct core_wish *wish)
{
  struct core_event event = { .type = EV_ADMIN, .wish = *wish };
  struct sim_event late = node_event (node, overdue);
  uint64_t limit_ms = 2 * sim->dead_ms + CORE_RETRY_MS;

  if (!node->alive || node->wishing)
    return;
  sim_trace (sim, "%c: the administrator asks for %s", 'A' + node->index,
             names[wish->kind]);
  node->wishing = true;
  node->wish = *wish;
  event.slot = late.a = ++node->wish_number;
  sim_after (sim, (limit_ms + limit_ms / 50 + SLACK_MS) * SIM_MS, late);
  node_step (sim, node, &event);
}

/* It said yes: is it so? */
static void
check_switched (struct sim *sim, const struct node *node)
{
  struct core_view view;
  bool primary;

  core_view (node->core, &view);
  primary = view.record.primary == view.record.node;
  if (!view.linked || !view.record.both || view.record.primary == 0)
    sim_fail (sim, "%c switched and is not one of a pair", 'A' + node->index);
  if (node->wish.to != ADMIN_TO_OTHER &&
      primary != (node->wish.to == ADMIN_TO_ME))
    sim_fail (sim, "%c switched, but to the wrong side", 'A' + node->index);
}

/* Paused: alone or of no account, durably; and nobody links to it. */
static void
check_paused (struct sim *sim, const struct node *node)
{
  const struct gen_record *record = &node->disk.record;
  struct core_view view;

  core_view (node->core, &view);
  if (!view.paused || view.linked)
    sim_fail (sim, "%c is paused and is not", 'A' + node->index);
  if (record->both && !record->discard && record->data == DATA_CURRENT)
    sim_fail (sim, "%c is paused and may yet be chosen", 'A' + node->index);
}

/* Every region of the peer's copy is suspect, also after a power cut. */
static void
check_marked (struct sim *sim, const struct node *node)
{
  uint64_t i,
    regions = (node->disk.record.size - 1) / node->disk.record.region_size + 1;

  if (core_record (node->core)->both || node->disk.record.both)
    sim_fail (sim, "%c doubts its peer's copy, a member", 'A' + node->index);
  for (i = 0; i < regions; i++)
    if (!(node->disk.map[i / 8] >> (i % 8) & 1))
      sim_fail (sim, "%c doubts its peer's copy, but not region %llu",
                'A' + node->index, (unsigned long long) i);
}

static void
check_granted (struct sim *sim, const struct node *node)
{
  const struct gen_record *record = core_record (node->core);

  if (sim->model->arbiter == ARBITER_ETCD &&
      (node->wish.kind == ADMIN_FORCE || node->wish.kind == ADMIN_DISCARD))
    sim_fail (sim, "%c does %s, past etcd", 'A' + node->index,
              names[node->wish.kind]);
  switch (node->wish.kind) {
  case ADMIN_SWITCH: check_switched (sim, node); break;
  case ADMIN_FORCE:
    if (record->both || record->discard || record->primary != record->node ||
        node->disk.record.history[0].kind != GEN_FORCE)
      sim_fail (sim, "%c was promoted and is not", 'A' + node->index);
    break;
  case ADMIN_DISCARD:
    if (!node->disk.record.discard)
      sim_fail (sim, "%c gives its copy up, but not durably",
                'A' + node->index);
    break;
  case ADMIN_PAUSE: check_paused (sim, node); break;
  case ADMIN_RESYNC: check_marked (sim, node); break;
  case ADMIN_RESUME:
  case ADMIN_RESIZE:
  case ADMIN_VERIFY:
  case ADMIN_VERIFY_STOP:
  case ADMIN_KINDS: break;
  }
}

void
admin_done (struct sim *sim, struct node *node,
            const struct core_action *action)
{
  if (!node->wishing || action->slot != node->wish_number)
    sim_fail (sim, "%c answers a wish that nobody had", 'A' + node->index);
  if ((action->error == 0) != (action->reason == NULL))
    sim_fail (sim, "%c says no without a reason", 'A' + node->index);
  node->wishing = false;
  sim->wishes_granted += action->error == 0;
  if (action->error == 0)
    check_granted (sim, node);
}

/* Copies that nobody has spoilt are the same wherever no write runs. */
void
admin_check_verify (struct sim *sim, const struct node *node)
{
  struct core_view view;

  if (sim->spoilt)
    return;
  core_view (node->core, &view);
  if (view.verify.different_blocks > 0)
    sim_fail (sim, "%c finds a difference at %llu, and nobody made one",
              'A' + node->index,
              (unsigned long long) view.verify.list[0].offset);
}

/* In the end no link stays paused. */
void
admin_resume (struct sim *sim)
{
  struct core_wish wish = { .kind = ADMIN_RESUME };
  struct core_view view;
  int n;

  for (n = 0; n < SIM_NODES; n++) {
    if (!sim->nodes[n].alive)
      continue;
    core_view (sim->nodes[n].core, &view);
    if (view.paused)
      admin_ask (sim, &sim->nodes[n], &wish);
  }
}

/* In the end the operator decides what nobody else can: one of two copies
 * that were written apart is given up, or, if both were, one is kept.
 */
void
admin_resolve (struct sim *sim)
{
  const struct gen_record *a = core_record (sim->nodes[0].core);
  const struct gen_record *b = core_record (sim->nodes[1].core);
  struct core_wish wish = { .kind = ADMIN_DISCARD };
  int loser = (int) (sim->options.seed / 2 % SIM_NODES);

  if (a->discard && b->discard)
    wish.kind = ADMIN_FORCE;
  else if (!check_diverged (sim))
    return;
  admin_ask (sim, &sim->nodes[loser], &wish);
}
