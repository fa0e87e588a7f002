/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-target.c: the side that takes data, a backup or the target of a
 * resync: frames applied in order, acknowledged when durable, or with
 * durability=flush received when written.
 */
#include "core-internal.h"

static bool
accepts_data (const struct core *core)
{
  if (core->failed_now)
    return false;
  if (core->relation == REL_TARGET)
    return core->marks_sent;
  return core->relation == REL_SYNC && core->record.primary != 0 &&
    !core_is_primary (core);
}

void
on_data (struct core *core, const struct wire_frame *frame)
{
  uint32_t at;

  if (core->failed_now)
    return;
  if (core->relation == REL_TARGET && frame->gen.epoch > core->source_gen.epoch)
    core->source_gen = frame->gen;
  if (!accepts_data (core) || frame->seq != core->rx_seq + 1 ||
      !gen_id_equal (frame->gen, core->source_gen) ||
      frame->offset + frame->length > core->record.size ||
      core->rx_seq - core->applied_seq >= CORE_SENT_MAX) {
    link_bye (core, WIRE_BYE_PROTOCOL, "data that does not belong here");
    return;
  }
  core->rx_seq = frame->seq;
  at = (uint32_t) (frame->seq % CORE_SENT_MAX);
  core->apply[at].offset = frame->offset;
  core->apply[at].length = frame->length;
  core->apply[at].durable = !core_by_flush (core) ||
    core->relation == REL_TARGET || (frame->flags & WIRE_RESYNC) != 0;
}

void
on_clear (struct core *core, const struct wire_frame *frame,
          const uint8_t *payload)
{
  uint32_t i, j;

  if (core->relation != REL_SYNC || core_is_primary (core)) {
    link_bye (core, WIRE_BYE_PROTOCOL, "a clear that does not fit");
    return;
  }
  for (i = 0; i + 8 <= frame->payload_length; i += 8) {
    uint64_t region = 0;

    for (j = 0; j < 8; j++)
      region |= (uint64_t) payload[i + j] << (8 * j);
    if (region < marks_regions (core->marks))
      marks_clear_region (core->marks, region);
  }
}

void
on_applied (struct core *core, const struct core_event *event)
{
  if (event->error != 0) {
    core_fail (core, event->error, CORE_DATA_ERROR);
    return;
  }
  if (event->link != core->link || core->phase != LINK_DECIDED)
    return;
  assert (event->seq <= core->named_seq);
  while (event->seq > core->applied_seq) {
    core->applied_seq++;
    if (core->apply[core->applied_seq % CORE_SENT_MAX].durable)
      core->hard_seq = core->applied_seq;
    core->apply_ms = core->now_ms;
  }
}

/* Note that this copy is being overwritten, then send the marks.  From
 * then on the source compares and believes what it is told, so what an
 * earlier process left in the page cache must be durable by now.
 */
static void
advance_target_state (struct core *core)
{
  struct gen_record *record = &core->record;

  if (record->data != DATA_SYNCING && core->change == GEN_NONE &&
      !core->marks_sent) {
    if (marks_pages_urgent (core->marks) || core->map_flight)
      return;
    record->volume = core->peer_hello.record.volume;
    record->data = DATA_SYNCING;
    record->has_data = false;
    core_save (core, true);
  }
  if (!core->marks_sent && core_settled (core) && core_synced (core)) {
    core->marks_sent = true;
    sync_send_marks (core);
  }
}

/* Tell the source how far its frames have come. */
static void
reply (struct core *core)
{
  if (!core_settled (core))
    return;
  if (core->hard_seq > core->ack_seq) {
    core->ack_seq = core->hard_seq;
    link_send (core, WIRE_ACK)->frame.seq = core->hard_seq;
    if (core->reply_seq < core->ack_seq)
      core->reply_seq = core->ack_seq;
  }
  if (core->applied_seq > core->reply_seq) {
    core->reply_seq = core->applied_seq;
    link_send (core, WIRE_RECEIVED)->frame.seq = core->applied_seq;
  }
}

void
target_advance (struct core *core)
{
  struct core_action *action;

  if (core->phase != LINK_DECIDED || core->failed_now)
    return;
  if (core->relation == REL_TARGET)
    advance_target_state (core);
  if (core->marks_due && core_synced (core)) {
    core->marks_due = false;
    sync_send_marks (core);
  }
  while (core->named_seq < core->rx_seq && core_room (core)) {
    uint32_t at = (uint32_t) ((core->named_seq + 1) % CORE_SENT_MAX);

    if (!marks_set_regions (core->marks, core->apply[at].offset,
                            core->apply[at].length))
      break;
    if (core->named_seq == core->applied_seq)
      core->apply_ms = core->now_ms;
    action = core_emit (core, ACT_APPLY);
    action->seq = ++core->named_seq;
    action->durable = core->apply[at].durable;
  }
  reply (core);
}
