/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-lease.c: arbiter=etcd: how long a primary of two members may serve
 * by the word of its backup, and how long a backup must wait before it
 * serves in its place.
 *
 * The primary counts lease_ms from the moment it sent a ping that was
 * answered, the backup the longer grace_ms from the moment it answered one,
 * which is later.  So what is granted is over before it is taken, whatever
 * becomes of the frames in between (I2, I3).
 */
#include "core-internal.h"

static uint64_t
later (uint64_t a, uint64_t b)
{
  return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

bool
core_by_etcd (const struct core *core)
{
  return core->config.arbiter == ARBITER_ETCD;
}

/* ----------------------------------------------------- the primary's side */

/* The pings of a new link: what was sent before grants nothing. */
void
lease_reset (struct core *core)
{
  core->lease_ends_ms = 0;
  core->lease_closing = false;
  core->first_ping = core->ping_token + 1;
}

void
lease_pinged (struct core *core)
{
  core->pinged_ms[core->ping_token % CORE_PINGS] = core->now_ms;
}

/* The answer to ping TOKEN of this link has come. */
void
lease_answered (struct core *core, uint64_t token)
{
  uint64_t ends_ms;

  if (!core_by_etcd (core) || core->lease_closing || token < core->first_ping ||
      core->ping_token - token >= CORE_PINGS)
    return;
  ends_ms = later (core->pinged_ms[token % CORE_PINGS], core->config.lease_ms);
  if (ends_ms > core->lease_ends_ms)
    core->lease_ends_ms = ends_ms;
}

/* The shell is about to close the link: the peer may take its end for a
 * sign that this node has given up its right, so it must be true before.
 */
void
on_link_closing (struct core *core, const struct core_event *event)
{
  if (core->phase == LINK_NONE || event->link != core->link)
    return;
  core->lease_ends_ms = 0;
  core->lease_closing = true;
}

/* ------------------------------------------------------ the backup's side */

/* A ping is answered now: the peer may serve by it. */
void
lease_grant (struct core *core)
{
  core->granted_ms = core->now_ms;
  core->peer_yielded = false;
}

/* The peer has given up its right to serve, whatever was granted. */
void
lease_yielded (struct core *core)
{
  core->peer_yielded = true;
}

/* From when on does no lease of the peer's stand in this node's way?  One
 * that has stepped back gives its peer that time in any case.
 */
uint64_t
lease_free_ms (const struct core *core)
{
  return core->peer_yielded && !core->record.discard
    ? 0
    : later (core->granted_ms, core->config.grace_ms);
}

/* ------------------------------------------------------------------- both */

/* Did this node take over, and has not served yet? */
static bool
took_over (const struct core *core)
{
  return core->record.history_count > 0 && !core->record.both &&
    core->record.history[0].kind == GEN_TAKEOVER && !core->record.answered;
}

/* The peer has said hello, so it had no lease any more, and is this node's
 * target: it serves nothing, though it gets answers to its pings.
 */
static bool
peer_is_target (const struct core *core)
{
  return core->phase == LINK_DECIDED && core->relation == REL_SOURCE;
}

/* May this node serve as far as the peer's and its own lease go?  One that
 * is alone by the key needs none; no other can make a generation then.
 */
bool
lease_holds (const struct core *core)
{
  if (!core_by_etcd (core))
    return true;
  if (core->record.both)
    return core->now_ms < core->lease_ends_ms;
  return !took_over (core) || peer_is_target (core) ||
    core->now_ms >= lease_free_ms (core);
}

uint64_t
lease_left_ms (const struct core *core)
{
  return core->now_ms < core->lease_ends_ms ? core->lease_ends_ms - core->now_ms
                                            : 0;
}

uint64_t
lease_wait_ms (const struct core *core)
{
  uint64_t free_ms = lease_free_ms (core);

  return core_by_etcd (core) && core->now_ms < free_ms ? free_ms - core->now_ms
                                                       : 0;
}

uint64_t
lease_deadline (const struct core *core)
{
  return core_by_etcd (core) && took_over (core) && !peer_is_target (core) &&
      lease_free_ms (core) > core->now_ms
    ? lease_free_ms (core)
    : UINT64_MAX;
}

void
lease_check (const struct core *core)
{
  uint64_t newest_ms = 0;
  unsigned i;

  assert (core_by_etcd (core) || core->lease_ends_ms == 0);
  if (core->phase != LINK_DECIDED)
    assert (core->lease_ends_ms == 0);
  for (i = 0; i < CORE_PINGS; i++)
    if (core->pinged_ms[i] > newest_ms)
      newest_ms = core->pinged_ms[i];
  assert (newest_ms <= core->now_ms);
  if (core->lease_ends_ms != 0)
    assert (core->lease_ends_ms <= later (newest_ms, core->config.lease_ms));
  assert (core->granted_ms <= core->now_ms);
}
