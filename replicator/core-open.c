/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-open.c: who may open: the rules of arbiter=client, and the few of
 * arbiter=etcd (who may make a generation there is core-etcd.c's).  An
 * open waits until the node can say yes or no; it may take a round trip
 * to the peer, a switch, or a generation made for it (T1, T2).  The newest
 * session of each client is remembered here, so that older ones are
 * refused.
 *
 * A yes binds the session to the present generation (I2, I7): whatever
 * ends the generation ends the session.
 */
#include <errno.h>

#include "core-internal.h"

enum open_verdict { OPEN_NO, OPEN_WAIT, OPEN_YES };

struct open_answer {
  enum open_verdict verdict;
  const char *reason;
};

#define ANSWER(v, r) ((struct open_answer){ (v), (r) })

static bool
older_session_runs (const struct core *core, const struct core_open *open)
{
  uint32_t i;

  for (i = 0; i < CORE_CONNS_MAX; i++) {
    const struct conn *conn = &core->conns[i];

    if ((conn->state == CONN_OPEN || conn->state == CONN_ENDED) &&
        conn->open.proxied && conn->open.client == open->client &&
        conn->open.session < open->session && conn->requests > 0)
      return true;
  }
  return false;
}

/* Was the present generation made for the sake of this client? */
static bool
is_made_for (const struct core *core, const struct core_open *open)
{
  return open->proxied && core->record.history[0].client == open->client;
}

/* A new solo generation, OWN to this client or made for nobody in
 * particular: T1 or T2, after one fresh attempt to reach the peer.
 */
static struct open_answer
open_by_new_generation (struct core *core, struct conn *conn, bool own)
{
  bool alone_with_link = !core->record.both && core->phase == LINK_DECIDED;
  bool mine = core_is_primary (core);

  if (!alone_with_link) {
    if (core->phase != LINK_NONE || !core_drained (core))
      return ANSWER (OPEN_WAIT, "the link is being settled");
    if (!flush_hardened (core))
      return ANSWER (OPEN_WAIT, "what both had is being made durable");
    if (conn->attempt == 0)
      conn->attempt = link_attempt (core);
    if (core->attempt_held >= conn->attempt)
      return ANSWER (OPEN_NO,
                     core->refusal != NULL
                       ? core->refusal
                       : "the peer is there and has the newer copy, but "
                         "the link is paused: say duetctl resume");
    if (core->attempt_failed < conn->attempt)
      return ANSWER (OPEN_WAIT, "trying to reach the peer");
  }
  else if (core->sync == SYNC_JOIN)
    return ANSWER (OPEN_WAIT, "the peer is joining");
  own = own && conn->open.proxied;
  core_begin_change (core, mine ? GEN_SOLO : GEN_TAKEOVER,
                     own ? conn->open.client : 0, own ? conn->open.session : 0);
  return ANSWER (OPEN_WAIT, "a new generation is being made");
}

/* The first client that comes to a solo generation that was made for
 * another one: a branch that serves both must not be taken for one that
 * its client may leave, unanswered, for the other node.  So it goes on
 * under a generation that was made for nobody in particular.
 */
static struct open_answer
open_to_others (struct core *core, struct conn *conn)
{
  bool answered = core->record.answered;
  struct open_answer answer = open_by_new_generation (core, conn, false);

  core->record.answered = answered;
  return answer;
}

static struct open_answer
open_solo (struct core *core, struct conn *conn)
{
  const struct generation *now = &core->record.history[0];
  struct gen_id shown = conn->open.shown;
  bool memory = conn->open.proxied && shown.epoch != 0;

  if (!memory && !core->record.answered &&
      core->config.takeover != TAKEOVER_ANY)
    return ANSWER (OPEN_NO,
                   "this generation has answered no client yet, and this "
                   "client shows none that it was served under: come through "
                   "the proxy that was, or restart this node with "
                   "takeover=any");
  if (!is_made_for (core, &conn->open))
    return now->client == 0 ? ANSWER (OPEN_YES, NULL)
                            : open_to_others (core, conn);
  if (!gen_id_equal (shown, now->gen) && now->session != conn->open.session)
    return open_by_new_generation (core, conn, true);
  return ANSWER (OPEN_YES, NULL);
}

/* A switch stops the primary: not before etcd is known to let it happen. */
static struct open_answer
open_by_switch (struct core *core, struct conn *conn)
{
  if (core->switching != SWITCH_NONE || !core->peer_joined)
    return ANSWER (OPEN_WAIT, "a change of primary is under way");
  if (conn->asked_switch)
    return ANSWER (OPEN_NO, "the peer did not hand over");
  if (core->now_ms < core->switch_after_ms && core->record.primary != 0)
    return ANSWER (OPEN_NO,
                   "backup; asked the peer to hand over a "
                   "moment ago");
  if (core_by_etcd (core)) {
    if (conn->read == 0)
      conn->read = etcd_read_soon (core);
    if (!etcd_read_done (core, conn->read))
      return ANSWER (OPEN_WAIT, "asking etcd whether the role may move");
    if (!etcd_lets_switch (core))
      return ANSWER (OPEN_NO, "etcd does not let the primary role move now");
  }
  conn->asked_switch = true;
  link_ask_switch (core, conn, 0);
  return ANSWER (OPEN_WAIT, "asking the peer to hand over");
}

static struct open_answer
open_linked (struct core *core, struct conn *conn)
{
  if (core->record.primary == 0 ||
      (!core_is_primary (core) && conn->open.unreachable))
    return open_by_switch (core, conn);
  if (!core_is_primary (core))
    return ANSWER (OPEN_NO, "backup; the peer is primary");
  if (!core_may_serve (core) || core->switching != SWITCH_NONE)
    return ANSWER (OPEN_WAIT, "the primary is getting ready");
  /* A lease is the peer's word already. */
  if ((conn->open.proxied && conn->open.shown.epoch != 0) ||
      core_by_etcd (core))
    return ANSWER (OPEN_YES, NULL);
  if (conn->ping == 0)
    conn->ping = link_ping (core);
  return core->pong_token >= conn->ping ? ANSWER (OPEN_YES, NULL)
                                        : ANSWER (OPEN_WAIT, "asking the peer");
}

static struct open_answer
open_unlinked (struct core *core, struct conn *conn)
{
  bool any = core->config.takeover == TAKEOVER_ANY;
  bool memory = conn->open.proxied && conn->open.shown.epoch != 0;

  if (core->phase != LINK_NONE && core->phase != LINK_DECIDED)
    return ANSWER (OPEN_WAIT, "the link is being settled");
  if (core->phase == LINK_DECIDED)
    return core->relation == REL_DIVERGED
      ? ANSWER (OPEN_NO, "both copies were written apart from each other")
      : ANSWER (OPEN_WAIT, "the link is being settled");
  if (core->record.may_lack)
    return ANSWER (OPEN_NO, CORE_MAY_LACK);
  if (!memory && !any)
    return ANSWER (OPEN_NO,
                   "no link to the peer, and this client shows no "
                   "generation that it was served under: come through the "
                   "proxy that was served, or restart this node with "
                   "takeover=any");
  if (!core_is_primary (core) && core->config.takeover == TAKEOVER_MANUAL)
    return ANSWER (OPEN_NO,
                   "takeover=manual: to promote this backup, restart it with "
                   "takeover=any");
  return open_by_new_generation (core, conn, true);
}

/* No, for the reason that the status gives. */
static struct open_answer
open_not_now (const struct core *core)
{
  const char *reason = NULL;

  core_state_of (core, &reason);
  return ANSWER (OPEN_NO, reason);
}

/* arbiter=etcd: nobody's open makes a generation, nor does it matter what
 * a client remembers.  Who may serve does, sooner or later.
 */
static struct open_answer
open_by_key (struct core *core, struct conn *conn)
{
  const char *reason = etcd_reason (core);

  if (core->phase == LINK_DECIDED && core->relation == REL_SYNC)
    return open_linked (core, conn);
  if (core_may_serve (core))
    return ANSWER (OPEN_YES, NULL);
  if (core->phase == LINK_DECIDED && core->relation == REL_DIVERGED)
    return open_not_now (core);
  if (core->record.both && core->phase == LINK_NONE && etcd_bars (core))
    return ANSWER (OPEN_NO, reason);
  return ANSWER (OPEN_WAIT,
                 reason != NULL ? reason : "waits for etcd and the peer");
}

static bool
may_be_stale (const struct core *core, const struct core_open *open)
{
  if (!open->proxied || open->shown.epoch == 0)
    return false;
  return core_by_etcd (core)
    ? open->shown.epoch > gen_current (&core->record).epoch
    : !gen_holds (&core->record, open->shown);
}

static struct open_answer
open_try (struct core *core, struct conn *conn)
{
  const struct core_open *open = &conn->open;

  if (core->stopping)
    return ANSWER (OPEN_NO, "this node is being stopped");
  if (core->failed_now || core->record.data == DATA_FAILED)
    return open_not_now (core);
  if (core->record.data == DATA_SYNCING || core->relation == REL_TARGET)
    return ANSWER (OPEN_NO, "this copy is not complete");
  if (core->record.discard)
    return pause_reason (core) != NULL
      ? ANSWER (OPEN_NO, pause_reason (core))
      : ANSWER (OPEN_NO, "this copy was given up");
  if (core->phase == LINK_DRAINING || core->phase == LINK_HELLO ||
      core->phase == LINK_DROPPING || core->change != GEN_NONE ||
      !core_settled (core) || !core_synced (core))
    return ANSWER (OPEN_WAIT, "a change is under way");
  if (open->proxied && older_session_runs (core, open))
    return ANSWER (OPEN_WAIT, "an older session's requests are ending");
  if (core->record.data == DATA_BLANK)
    return core->phase == LINK_NONE
      ? ANSWER (OPEN_NO, "new node; it has not met its peer yet")
      : ANSWER (OPEN_WAIT, "the volume is being created");
  if (may_be_stale (core, open))
    return ANSWER (OPEN_NO,
                   "the client was served under a generation that "
                   "this copy does not know: it may be stale");
  if (core_by_etcd (core))
    return open_by_key (core, conn);
  if (!core->record.both)
    return open_solo (core, conn);
  if (core->phase == LINK_DECIDED && core->relation == REL_SYNC)
    return open_linked (core, conn);
  return open_unlinked (core, conn);
}

static void
answer_open (struct core *core, uint32_t slot, struct open_answer answer)
{
  struct conn *conn = &core->conns[slot];
  struct core_action *action = core_emit (core, ACT_OPEN_DONE);

  action->slot = slot;
  action->reason = answer.reason;
  core->opening--;
  if (answer.verdict == OPEN_YES) {
    conn->state = CONN_OPEN;
    if (conn->open.proxied)
      core->gen_proxied = true;
    return;
  }
  action->error = ESHUTDOWN;
  conn->state = CONN_FREE;
  core->conns_used--;
}

/* It was not to be: SLOT waits for its answer no more. */
void
open_refuse (struct core *core, uint32_t slot, const char *reason)
{
  assert (core->conns[slot].state == CONN_OPENING);
  answer_open (core, slot, ANSWER (OPEN_NO, reason));
}

/* Answer everybody who waits and whose answer is known by now. */
void
open_advance (struct core *core)
{
  struct open_answer answer;
  uint32_t i;

  for (i = 0; i < CORE_CONNS_MAX && core->opening > 0; i++) {
    if (core->conns[i].state != CONN_OPENING)
      continue;
    if (!core_room (core))
      return;
    answer = open_try (core, &core->conns[i]);
    if (answer.verdict == OPEN_WAIT &&
        core->now_ms >= core->conns[i].deadline_ms)
      answer.verdict = OPEN_NO;
    if (answer.verdict != OPEN_WAIT)
      answer_open (core, i, answer);
  }
}

/* Remember CLIENT's newest SESSION; false when a newer one was seen. */
static bool
note_session (struct core *core, uint64_t id, uint64_t session)
{
  struct client *oldest = &core->clients[0];
  uint32_t i;

  for (i = 0; i < CORE_CLIENTS; i++) {
    struct client *client = &core->clients[i];

    if (client->id == id) {
      client->used_ms = core->now_ms;
      if (session < client->session)
        return false;
      client->session = session;
      return true;
    }
    if (client->used_ms < oldest->used_ms || client->id == 0)
      if (oldest->id != 0)
        oldest = client;
  }
  *oldest = (struct client){ id, session, core->now_ms };
  return true;
}

void
on_open (struct core *core, const struct core_event *event)
{
  struct conn *conn = &core->conns[event->slot];

  assert (event->slot < CORE_CONNS_MAX && conn->state == CONN_FREE);
  *conn = (struct conn){
    .state = CONN_OPENING,
    .open = event->open,
    .deadline_ms = core->now_ms + core->config.dead_ms + 1000,
  };
  core->conns_used++;
  core->opening++;
  if (!event->open.proxied)
    return;
  if (note_session (core, event->open.client, event->open.session))
    client_fence (core, &event->open);
  else
    open_refuse (core, event->slot, "a newer session of this client exists");
}

uint64_t
open_deadline (const struct core *core)
{
  uint64_t deadline = UINT64_MAX;
  uint32_t i;

  for (i = 0; i < CORE_CONNS_MAX && core->opening > 0; i++)
    if (core->conns[i].state == CONN_OPENING &&
        core->conns[i].deadline_ms < deadline)
      deadline = core->conns[i].deadline_ms;
  return deadline;
}
