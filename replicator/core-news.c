/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-news.c: has anything changed that people are told of?  State and
 * reason, the link, a durable generation, a resync: each step that changed
 * one of them counts once, so that the engine looks at the whole only
 * then.
 */
#include "core-internal.h"

void
news_advance (struct core *core)
{
  struct news *told = &core->told;
  struct news now = {
    .state = core->shown_state,
    .reason = core->shown_reason,
    .linked = core->phase == LINK_DECIDED,
    .resyncing = core->phase == LINK_DECIDED && core->sync != SYNC_OFF,
    .gen = told->gen,
  };

  if (core->change == GEN_NONE && core_settled (core))
    now.gen = gen_current (&core->record);
  if (now.state == told->state && now.reason == told->reason &&
      now.linked == told->linked && now.resyncing == told->resyncing &&
      gen_id_equal (now.gen, told->gen))
    return;
  *told = now;
  core->news++;
}

uint64_t
core_news (const struct core *core)
{
  return core->news;
}
