/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-resize.c: the volume grows.  It never shrinks.
 *
 * A node grows in steps, each durable before the next begins:
 *
 *   noting   the superblock says that the data file may be longer (grow_to)
 *   making   the data file is, and the region map has its pages (ACT_GROW)
 *   saving   the superblock says the new size
 *
 * and only then the size counts here: core->size is what clients get.  A
 * crash leaves the old size, and a file that the next start cuts back, or
 * the new one.
 *
 * For the administrator the primary goes first as far as it can be taken
 * back, then the backup all the way, then the primary:
 *
 *   primary: noting, making                                     saving
 *                          |--resize-->                --resized-->| |
 *   backup:                            noting, making, saving        |
 *                                                      <--resized----+
 *
 * So a size that counts at a primary of two members is durable on both, and a
 * disk that is too small is found before either has changed.  A backup that
 * was asked goes on whatever becomes of the link: to be larger does no harm.
 *
 * Two copies of one volume that meet and differ in size part again, and the
 * smaller one grows first (resize_meet), whichever of them is newer.  So no
 * link is decided between different sizes, and no write is acknowledged
 * behind the end of a member's copy: either both sizes were durable, or the
 * node that acknowledged was alone in its generation, and the other one is
 * stale by that generation, not by its size.
 */
#include <errno.h>

#include "core-internal.h"

enum { RETRY_MS = 10000 }; /* between growths that fail, to meet a peer */

#define LOST                                                               \
  "the link was lost in the middle of it: when the nodes meet again the "  \
  "smaller copy, if one is, grows to the larger one's size; ask again if " \
  "that is not the new one"

uint64_t
core_size (const struct core *core)
{
  return core->size;
}

/* RECORD takes the place of NOW; how large the copy is stays. */
void
resize_keep (struct gen_record *record, const struct gen_record *now)
{
  record->size = now->size;
  record->grow_to = now->grow_to;
  record->made_size = now->made_size;
}

/* A growth is under way here, or its remains are being cleared away. */
bool
resize_runs (const struct core *core)
{
  return core->grow.phase != GROW_OFF;
}

static bool
asked_here (const struct core *core)
{
  return core->grow.cause == GROW_BY_OPERATOR;
}

static void
end_view (struct core *core, const char *why)
{
  struct core_resize *view = &core->grow.view;

  if (!view->active)
    return;
  view->active = false;
  view->ended = why;
}

static void
emit_grow (struct core *core, uint64_t size)
{
  core->grow.begun_ms = core->now_ms;
  core_emit (core, ACT_GROW)->length = size;
}

/* It comes to nothing: what was made of it is taken back. */
static void
undo (struct core *core)
{
  struct grow *grow = &core->grow;

  marks_free (grow->room);
  grow->room = NULL;
  if (core->failed_now)
    grow->phase = GROW_OFF; /* the next start clears it away */
  else {
    grow->phase = GROW_UNDOING;
    emit_grow (core, core->record.size);
  }
}

static void
begin (struct core *core, enum grow_cause cause, uint64_t to)
{
  struct grow *grow = &core->grow;

  assert (grow->phase == GROW_OFF && grow->room == NULL);
  assert (to > core->record.size);
  grow->phase = GROW_NOTING;
  grow->cause = cause;
  grow->to = to;
  grow->link = core->link;
  if (core->record.grow_to < to)
    core->record.grow_to = to;
  core_save (core, false);
  grow->version = core->sb_version;
}

/* Both files are ready: from here on this node is larger. */
static void
save (struct core *core)
{
  struct grow *grow = &core->grow;

  marks_grow (core->marks, grow->room);
  grow->room = NULL;
  if (core->record.made_size == 0)
    core->record.made_size = core->record.size;
  core->record.size = grow->to;
  core->record.grow_to = 0;
  core_save (core, false);
  grow->version = core->sb_version;
  grow->phase = GROW_SAVING;
}

/* ------------------------------------------------------------- the answer */

static bool
link_stays (const struct core *core)
{
  return core->phase == LINK_DECIDED && core->link == core->grow.link &&
    core->relation == REL_SYNC;
}

static void
tell_peer (struct core *core, enum wire_resized result, uint64_t bytes)
{
  struct core_action *action = link_send (core, WIRE_RESIZED);

  action->frame.arg = result;
  action->frame.offset = bytes;
}

static enum wire_resized
result_of (int error, uint64_t bytes)
{
  if (error == 0)
    return WIRE_RESIZED_DONE;
  if (error == ENOSPC && bytes > 0)
    return WIRE_RESIZED_SMALL;
  if (error == ENOSPC || error == EFBIG || error == EDQUOT)
    return WIRE_RESIZED_SPACE;
  return error == E2BIG ? WIRE_RESIZED_MAP : WIRE_RESIZED_ERROR;
}

/* Why a copy cannot grow, this node's or the peer's. */
static const char *
why_not (uint64_t result, bool here)
{
  switch (result) {
  case WIRE_RESIZED_SMALL: return here ? RESIZE_SMALL_HERE : RESIZE_SMALL_THERE;
  case WIRE_RESIZED_SPACE:
    return here ? "the file system of this node's data file or metadata has "
                  "no room for it: see its log, and ask again"
                : "the file system of the peer's data file or metadata has no "
                  "room for it: see its log, and ask again";
  case WIRE_RESIZED_MAP:
    return "a volume of this size needs too large a region map: its region= "
           "is too small, and stays what it was at the creation";
  default:
    return here ? "this node's disk gave an error: see its log"
                : "the peer's disk gave an error: see its log";
  }
}

/* ---------------------------------------------------------- the operator */

static const char *
no_partner (const struct core *core)
{
  const char *why = admin_out_of_sync (core);

  if (core->paused || core->peer_paused)
    return pause_reason (core);
  if (core->phase != LINK_DECIDED)
    return "the peer is not connected: both nodes grow together";
  if (why != NULL)
    return why;
  if (core->relation != REL_SYNC)
    return "the volume is being created: ask again in a moment";
  if (core->record.primary == 0)
    return "no node is primary yet: the first client that opens one decides";
  return core_is_primary (core) ? NULL
                                : "this node is not primary: ask the other one";
}

static const char *
not_between (const struct core *core)
{
  if (core->sync != SYNC_OFF)
    return "blocks are being reconciled or repaired: wait until that has ended";
  if (core->verify.view.active)
    return "the copies are being compared: wait until that has ended, or say "
           "duetctl verify --stop";
  if (admin_changes (core) || core->yield_asked || core->stopping)
    return "another change is under way: ask again in a moment";
  return NULL;
}

/* NULL: begun; it goes on by itself. */
const char *
resize_begin (struct core *core, const struct core_wish *wish)
{
  const char *why;

  if (resize_runs (core))
    return "the volume is being grown already: the status says how far it is";
  if (core->failed_now || core->record.data == DATA_FAILED)
    return "this node's store has failed";
  if (wish->size == core->size)
    return "the volume has this size already";
  if (wish->size < core->size)
    return "the volume is larger than that, and can only grow";
  if (wish->size > INT64_MAX)
    return "no volume can be so large";
  why = no_partner (core);
  if (why == NULL)
    why = not_between (core);
  if (why != NULL)
    return why;
  core->grow.view = (struct core_resize){
    .active = true,
    .started_ms = core->now_ms,
    .from_bytes = core->size,
    .to_bytes = wish->size,
  };
  begin (core, GROW_BY_OPERATOR, wish->size);
  return NULL;
}

/* ------------------------------------------------------------- by message */

/* The primary's files are ready, and wait for this copy's; which may still
 * be clearing away what came to nothing before.
 */
void
on_resize (struct core *core, uint64_t to)
{
  if (core->relation != REL_SYNC || core_is_primary (core) ||
      core->record.primary == 0 || to <= core->record.size || to > INT64_MAX ||
      core->grow.wanted != 0) {
    link_error (core, "a size that does not fit");
    return;
  }
  core->grow.wanted = to;
}

/* The primary's size is durable there, too. */
static void
primary_has_grown (struct core *core, uint64_t result, uint64_t bytes)
{
  if (core->relation != REL_SYNC || result != WIRE_RESIZED_DONE ||
      bytes > core->size || bytes < core->peer_hello.record.size)
    link_error (core, "a size that does not fit");
  else
    core->peer_hello.record.size = bytes;
}

void
on_resized (struct core *core, uint64_t result, uint64_t bytes)
{
  struct grow *grow = &core->grow;

  /* Its store has failed, and the peer does not know yet. */
  if (core->failed_now)
    return;
  if (!core_is_primary (core)) {
    primary_has_grown (core, result, bytes);
    return;
  }
  if (grow->phase != GROW_ASKED || !link_stays (core) ||
      (result == WIRE_RESIZED_DONE && bytes != grow->to)) {
    link_error (core, "a growth that nobody asked for");
    return;
  }
  if (result == WIRE_RESIZED_DONE) {
    core->peer_hello.record.size = bytes;
    save (core);
    return;
  }
  grow->view.disk_bytes = result == WIRE_RESIZED_SMALL ? bytes : 0;
  end_view (core, why_not (result, false));
  undo (core);
}

/* -------------------------------------------------------- at a handshake */

/* Nothing was agreed: may this node go on without the peer, if it meets it
 * again and again and never in one size?  The one that has the newer copy,
 * or was the primary.
 */
static void
count_as_absent (struct core *core, enum gen_verdict verdict)
{
  if (verdict == GEN_SOURCE || verdict == GEN_DIVERGED ||
      verdict == GEN_ADOPT_MINE ||
      (verdict == GEN_SYNC && core_is_primary (core)))
    core->attempt_failed = core->attempt_wanted;
  else
    core->attempt_held = core->attempt_wanted;
}

/* The copies differ in size: the smaller one grows before they decide.  True:
 * the link is dropped for that.
 */
bool
resize_meet (struct core *core, enum gen_verdict verdict)
{
  struct grow *grow = &core->grow;
  uint64_t peer_size = core->peer_hello.record.size;
  bool smaller = core->record.size < peer_size;
  bool again = grow->met == peer_size;

  if (verdict >= GEN_REFUSE_VOLUME)
    return false;
  grow->met = 0;
  if (peer_size == core->record.size)
    return false;
  grow->met = peer_size;
  if (smaller && core->now_ms >= grow->retry_ms)
    begin (core, GROW_TO_MEET, peer_size);
  if (again) {
    count_as_absent (core, verdict);
    core->refusal = !smaller ? RESIZE_PEER_SMALLER
      : grow->failed != NULL ? grow->failed
                             : RESIZE_GROWING;
  }
  link_drop_now (core, smaller ? RESIZE_GROWING : RESIZE_PEER_SMALLER);
  return true;
}

/* Has it gone on for so long that a peer is not kept waiting for it? */
bool
resize_is_long (const struct core *core)
{
  return core->grow.phase == GROW_MAKING &&
    core->now_ms - core->grow.begun_ms >= core->config.dead_ms / 2;
}

/* The operator's growth needs the backup: it is given up.  What the backup
 * was asked for, or grows by itself, it carries through.
 */
void
resize_link_lost (struct core *core)
{
  struct grow *grow = &core->grow;

  grow->wanted = 0;
  if (!resize_runs (core) || !asked_here (core) || grow->phase == GROW_SAVING ||
      grow->phase == GROW_UNDOING)
    return;
  end_view (core, LOST);
  if (grow->phase == GROW_MAKING)
    grow->cause = GROW_FOR_NOTHING;
  else
    undo (core);
}

/* ---------------------------------------------------------------- advance */

static void
grow_failed (struct core *core, int error, uint64_t bytes)
{
  struct grow *grow = &core->grow;
  enum wire_resized result = result_of (error, bytes);

  if (grow->cause == GROW_BY_PEER && link_stays (core) && !core->failed_now)
    tell_peer (core, result, bytes);
  if (grow->cause == GROW_TO_MEET) {
    grow->failed = why_not (result, true);
    grow->retry_ms = core->now_ms + RETRY_MS;
    if (core->phase == LINK_NONE)
      core->refusal = grow->failed;
  }
  grow->view.disk_bytes = result == WIRE_RESIZED_SMALL ? bytes : 0;
  end_view (core, why_not (result, true));
  undo (core);
}

void
on_grown (struct core *core, const struct core_event *event)
{
  struct grow *grow = &core->grow;

  assert (grow->phase == GROW_MAKING || grow->phase == GROW_UNDOING);
  assert (grow->room == NULL);
  if (grow->phase == GROW_UNDOING) {
    marks_free (event->room);
    grow->phase = GROW_OFF;
    if (event->error == 0 && core->record.grow_to != 0) {
      core->record.grow_to = 0;
      core_save (core, false);
    }
    return;
  }
  grow->room = event->room;
  if (event->error != 0)
    grow_failed (core, event->error, event->bytes);
  else if (grow->cause == GROW_FOR_NOTHING || core->failed_now) {
    end_view (core, "this node's store has failed");
    undo (core);
  }
  else if (asked_here (core))
    grow->phase = GROW_MADE;
  else
    save (core);
}

/* The new size is durable here, and everywhere where it has to be. */
static void
finish (struct core *core)
{
  struct grow *grow = &core->grow;

  core->size = core->record.size;
  grow->phase = GROW_OFF;
  grow->failed = NULL;
  grow->retry_ms = 0;
  if ((grow->cause == GROW_BY_PEER || asked_here (core)) && link_stays (core))
    tell_peer (core, WIRE_RESIZED_DONE, core->size);
  if (grow->cause == GROW_TO_MEET && core->phase == LINK_NONE) {
    core->refusal = NULL;
    core->reconnect_ms = core->now_ms;
  }
  end_view (core, NULL);
  /* A proxy comes back at once, and sees the new size. */
  client_end (core, false, ESHUTDOWN);
}

void
resize_advance (struct core *core)
{
  struct grow *grow = &core->grow;

  if (core->failed_now && resize_runs (core) && grow->phase != GROW_MAKING &&
      grow->phase != GROW_UNDOING) {
    end_view (core, "this node's store has failed");
    undo (core);
  }
  if (grow->phase == GROW_OFF && grow->wanted != 0 && !core->failed_now) {
    begin (core, GROW_BY_PEER, grow->wanted);
    grow->wanted = 0;
  }
  if (grow->phase == GROW_NOTING && core->sb_durable >= grow->version) {
    grow->phase = GROW_MAKING;
    emit_grow (core, grow->to);
  }
  if (grow->phase == GROW_MADE) {
    grow->phase = GROW_ASKED;
    link_send (core, WIRE_RESIZE)->frame.arg = grow->to;
  }
  if (grow->phase == GROW_SAVING && core->sb_durable >= grow->version)
    finish (core);
}

/* ------------------------------------------------------------- what holds */

void
resize_check (const struct core *core)
{
  const struct grow *grow = &core->grow;
  const struct gen_record *record = &core->record;
  uint64_t there = core->peer_hello.record.size;

  assert (core->size <= record->size);
  assert (marks_size (core->marks) == record->size);
  assert (record->grow_to == 0 || record->grow_to > record->size);
  if (record->size > core->size)
    assert (grow->phase == GROW_SAVING || core->failed_now);
  if (grow->phase == GROW_MADE || grow->phase == GROW_ASKED)
    assert (asked_here (core) && link_stays (core) && core_is_primary (core));
  if (grow->room != NULL)
    assert (grow->phase == GROW_MADE || grow->phase == GROW_ASKED);
  if (core->phase == LINK_HELLO)
    assert (!resize_runs (core) && core->size == record->size);
  if (core->phase != LINK_DECIDED)
    return;
  /* No link is decided between different sizes, and on one that is only a
   * backup may be larger.
   */
  if (core->relation == REL_SYNC && core_is_primary (core))
    assert (core->size <= there);
  if (core->relation == REL_SOURCE || core->relation == REL_TARGET)
    assert (record->size == there);
}
