/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * story-admin.c: what the administrator of a story asks for.
 */
#include "story.h"

static void
ask_for (struct sim *sim, const struct step_arguments *arguments,
         struct core_wish wish)
{
  struct node *node = &sim->nodes[arguments->node];

  if (!node->alive || node->wishing)
    sim_fail (sim, "this node cannot be asked now");
  admin_ask (sim, node, &wish);
}

void
step_ask_switch (struct sim *sim, const struct step_arguments *arguments)
{
  ask_for (sim, arguments, (struct core_wish){ .kind = ADMIN_SWITCH });
}

void
step_ask_switch_plain (struct sim *sim, const struct step_arguments *arguments)
{
  ask_for (sim, arguments,
           (struct core_wish){ .kind = ADMIN_SWITCH, .end_plain = true });
}

void
step_ask_force (struct sim *sim, const struct step_arguments *arguments)
{
  ask_for (sim, arguments, (struct core_wish){ .kind = ADMIN_FORCE });
}

void
step_ask_discard (struct sim *sim, const struct step_arguments *arguments)
{
  ask_for (sim, arguments, (struct core_wish){ .kind = ADMIN_DISCARD });
}

void
step_ask_pause (struct sim *sim, const struct step_arguments *arguments)
{
  ask_for (sim, arguments, (struct core_wish){ .kind = ADMIN_PAUSE });
}

void
step_ask_resume (struct sim *sim, const struct step_arguments *arguments)
{
  ask_for (sim, arguments, (struct core_wish){ .kind = ADMIN_RESUME });
}

void
step_ask_resync (struct sim *sim, const struct step_arguments *arguments)
{
  ask_for (sim, arguments, (struct core_wish){ .kind = ADMIN_RESYNC });
}

void
step_ask_verify (struct sim *sim, const struct step_arguments *arguments)
{
  ask_for (sim, arguments, (struct core_wish){ .kind = ADMIN_VERIFY });
}

void
step_ask_verify_repair (struct sim *sim, const struct step_arguments *arguments)
{
  ask_for (sim, arguments,
           (struct core_wish){ .kind = ADMIN_VERIFY, .repair = true });
}

/* ------------------------------------------------------------------- size */

static uint64_t
bytes_of (const struct step_arguments *arguments)
{
  return arguments->number[0] * UINT64_C (1) * MARKS_BLOCK;
}

void
step_volume (struct sim *sim, const struct step_arguments *arguments)
{
  int n;

  for (n = 0; n < SIM_NODES; n++) {
    sim->nodes[n].disk.record.size = bytes_of (arguments);
    sim->nodes[n].disk.cells = cell_at (bytes_of (arguments));
  }
}

void
step_room (struct sim *sim, const struct step_arguments *arguments)
{
  sim->nodes[arguments->node].disk.room = cell_at (bytes_of (arguments));
}

void
step_ask_resize (struct sim *sim, const struct step_arguments *arguments)
{
  ask_for (
    sim, arguments,
    (struct core_wish){ .kind = ADMIN_RESIZE, .size = bytes_of (arguments) });
}

void
step_expect_size (struct sim *sim, const struct step_arguments *arguments)
{
  const struct node *node = &sim->nodes[arguments->node];

  if (core_size (node->core) != bytes_of (arguments) ||
      node->disk.record.size != bytes_of (arguments))
    sim_fail (sim, "it has %llu blocks",
              (unsigned long long) node->disk.record.size / MARKS_BLOCK);
}
