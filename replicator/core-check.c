/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-check.c: what core-internal.h and the head of core.c say, as
 * assertions.  For test builds: it looks at everything at each call, but for
 * the marks of large volumes.
 */
#include "core-internal.h"

/* The marks of larger volumes take so long that heartbeats would be late. */
enum { MARKS_CHECKED_MAX = 1024 }; /* regions: 4 GiB of 4 MiB each */

static void
check_lists (const struct core *core)
{
  uint32_t state, slot, prev, listed = 0;

  for (state = R_HELD; state < R_STATES; state++) {
    prev = NO_SLOT;
    for (slot = core->lists[state].head; slot != NO_SLOT;
         slot = core->requests[slot].next) {
      assert (core->requests[slot].state == state);
      assert (core->requests[slot].prev == prev);
      prev = slot;
      listed++;
      assert (listed <= CORE_REQUESTS_MAX);
    }
    assert (core->lists[state].tail == prev);
  }
  assert (listed == core->requests_used);
}

static void
check_request (const struct core *core, uint32_t slot)
{
  const struct request *r = &core->requests[slot];
  bool write = r->kind != REQ_READ && r->kind != REQ_FLUSH;
  bool holds = r->state == R_MARKING || r->state == R_READY ||
    r->state == R_RUNNING;

  assert (core->conns[r->conn].state == CONN_OPEN ||
          core->conns[r->conn].state == CONN_ENDED);
  assert (r->offset + r->length <= core->size);
  assert (ranges_entered (core->ranges, slot) ==
          (holds || r->state == R_LOCKING));
  if (holds)
    assert (ranges_held (core->ranges, slot));
  assert (r->used == (holds && write));
  /* I5: the region bit is durable before the data. */
  if (write && (r->state == R_READY || r->state == R_RUNNING))
    assert (marks_durable (core->marks, r->offset, r->length));
  if (r->local_out || r->peer_needed)
    assert (r->state == R_RUNNING);
  /* Only one whose role ended may still be at the store. */
  if (r->peer_needed)
    assert (core->phase == LINK_DECIDED && core_is_primary (core));
}

static void
check_counts (const struct core *core)
{
  uint32_t i, used = 0, opening = 0, requests = 0, writes = 0;

  for (i = 0; i < CORE_CONNS_MAX; i++) {
    used += core->conns[i].state != CONN_FREE;
    opening += core->conns[i].state == CONN_OPENING;
    requests += core->conns[i].state != CONN_FREE ? core->conns[i].requests : 0;
  }
  assert (used == core->conns_used);
  assert (opening == core->opening);
  assert (requests == core->requests_used);
  for (i = 0; i < CORE_REQUESTS_MAX; i++)
    writes += core->requests[i].state != R_FREE &&
      core->requests[i].kind != REQ_READ && core->requests[i].kind != REQ_FLUSH;
  assert (writes == core->writes_used);
}

static void
check_requests (const struct core *core)
{
  uint32_t i, local = 0;

  for (i = 0; i < CORE_REQUESTS_MAX; i++)
    if (core->requests[i].state != R_FREE) {
      check_request (core, i);
      local += core->requests[i].local_out;
    }
  assert (local == core->local_out);
}

static void
check_link (const struct core *core)
{
  if (core->phase != LINK_DECIDED) {
    assert (core->relation == REL_NONE);
    assert (core->sync == SYNC_OFF);
    assert (core->switching == SWITCH_NONE);
    assert (core->sent_count == 0);
  }
  /* From hello to decision nothing is at the store. */
  if (core->phase == LINK_HELLO)
    assert (core->local_out == 0);
  assert (core->acked_seq <= core->tx_seq);
  assert (core->reply_seq <= core->applied_seq);
  assert (core->hard_seq <= core->applied_seq);
  assert (core->ack_seq <= core->hard_seq);
  assert (core->sent_seen <= core->sent_count);
  assert (core->flush.done <= core->flush.asked);
  assert (core->flush.safe <= core->flush.wrote);
  assert (core->applied_seq <= core->named_seq);
  assert (core->named_seq <= core->rx_seq);
  if (core->relation == REL_SYNC || core->relation == REL_TARGET)
    assert (core->record.data != DATA_BLANK || core->relation == REL_TARGET);
}

static void
check_generation (const struct core *core)
{
  const struct gen_record *record = &core->record;

  assert (record->node != 0);
  if (record->data == DATA_BLANK)
    assert (record->history_count == 0);
  if (record->data == DATA_CURRENT)
    assert (record->history_count > 0);
  /* A failed copy stays one, and moves no role. */
  if (core->failed_now) {
    assert (record->data == DATA_FAILED || record->data == DATA_BLANK);
    assert (core->switching != SWITCH_GRANTING);
  }
  assert (core->sb_durable <= core->sb_version);
  assert (core->gen_version <= core->sb_version);
  /* Nobody waits to be chosen behind a paused link, but one that is about to
   * go on alone because its peer has failed.
   */
  if (core->paused && !pause_fits (core))
    assert (admin_pauses (core) || core->stopping || core->consent);
  if (core->paused && core->phase == LINK_DECIDED)
    assert (core->yield == YIELD_TOLD);
  if (core_may_serve (core)) {
    /* I2, I7 */
    assert (record->data == DATA_CURRENT);
    assert (!record->discard);
    assert (core_is_primary (core));
    assert (core_settled (core) && core_synced (core));
    assert (!record->both || core->relation == REL_SYNC);
    assert (!record->both || !record->may_lack);
    assert (lease_holds (core));
  }
}

void
core_check (const struct core *core)
{
  check_lists (core);
  check_counts (core);
  check_requests (core);
  check_link (core);
  check_generation (core);
  resize_check (core);
  lease_check (core);
  etcd_check (core);
  ranges_check (core->ranges);
  if (marks_regions (core->marks) <= MARKS_CHECKED_MAX)
    marks_check (core->marks);
}
