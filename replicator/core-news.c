/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-news.c: has anything changed that people are told of?  State and
 * reason, the link, a durable generation, the size, a resync: each step
 * that changed one of them counts once, so that the engine looks at the
 * whole only then.
 */
#include "core-internal.h"

static void
report_state (struct core *core)
{
  const char *reason = NULL;
  enum core_state state = core_state_of (core, &reason);

  /* What becomes of it while it ends is no news. */
  if (core->stopping)
    return;
  core_late_reason (core, state, &reason);
  if (state == core->shown_state && reason == core->shown_reason)
    return;
  core->shown_state = state;
  core->shown_reason = reason;
  core_emit (core, ACT_STATE)->reason = reason;
}

void
news_advance (struct core *core)
{
  struct news *told = &core->told, now;

  report_state (core);
  now = (struct news){
    .state = core->shown_state,
    .reason = core->shown_reason,
    .linked = core->phase == LINK_DECIDED,
    .resyncing = core->phase == LINK_DECIDED && core->sync != SYNC_OFF,
    .gen = told->gen,
    .size = core->size,
  };

  if (core->change == GEN_NONE && core_settled (core))
    now.gen = gen_current (&core->record);
  if (now.state == told->state && now.reason == told->reason &&
      now.linked == told->linked && now.resyncing == told->resyncing &&
      gen_id_equal (now.gen, told->gen) && now.size == told->size)
    return;
  *told = now;
  core->news++;
}

uint64_t
core_news (const struct core *core)
{
  return core->news;
}
