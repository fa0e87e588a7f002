/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore-hash.c: when two worlds are the same.
 *
 * Both cores are copied and everything in the copies counts, also what is
 * added to the core later, except what is named here:
 *
 *   - clocks, deadlines and ages: only whether one has passed counts, and
 *     the search lets each pass at any time (explore-node.c)
 *   - random numbers: generations and volumes are renamed in the order in
 *     which they appear
 *   - numbers that only grow (versions, sequences, sessions, attempts,
 *     epochs, links): only their distances or their order count
 *   - of a history, what is older than the newest generation that all
 *     records know: no verdict can depend on it (gen_decide)
 *   - reasons and figures for the status
 *   - room that is free
 */
#include <assert.h>
#include <string.h>
#include <xxhash.h>

#include "explore.h"

enum { ROOM = 256 * 1024, RECORDS = 24, NAMES = 128 };

/* A form in which equal worlds are equal bytes. */
static struct form {
  uint8_t bytes[ROOM];
  size_t used;
  struct gen_id names[NAMES];
  uint32_t name_count;
  uint64_t sessions[NAMES];
  uint32_t session_count;
  struct gen_record *records[RECORDS];
  uint32_t record_count;
  struct gen_id base; /* newest generation that all records know */
  uint64_t sent_base[NODES], applied_base[NODES];
} form;

static struct world copy;
static struct core core_copies[NODES];

static void
put (const void *bytes, size_t count)
{
  assert (form.used + count <= ROOM);
  memcpy (form.bytes + form.used, bytes, count);
  form.used += count;
}

static void
put_number (uint64_t number)
{
  put (&number, sizeof number);
}

/* --- sessions ----------------------------------------------------------- */

static void
note_session (uint64_t session)
{
  uint32_t i, j;

  for (i = 0; i < form.session_count && form.sessions[i] < session; i++)
    continue;
  if (session == 0 || (i < form.session_count && form.sessions[i] == session))
    return;
  assert (form.session_count < NAMES);
  for (j = form.session_count++; j > i; j--)
    form.sessions[j] = form.sessions[j - 1];
  form.sessions[i] = session;
}

static uint64_t
session_rank (uint64_t session)
{
  uint32_t i;

  if (session == 0)
    return 0;
  for (i = 0; i < form.session_count; i++)
    if (form.sessions[i] == session)
      return i + 1;
  assert (false);
  return 0;
}

/* --- generations -------------------------------------------------------- */

static uint64_t
name_of (struct gen_id gen)
{
  uint32_t i;

  for (i = 0; i < form.name_count; i++)
    if (gen_id_equal (form.names[i], gen))
      return i + 1;
  assert (form.name_count < NAMES);
  form.names[form.name_count++] = gen;
  return form.name_count;
}

static void
rename_gen (struct gen_id *gen)
{
  if (gen->epoch == 0)
    return;
  /* Older than what all know, and on the way to it: known to all. */
  if (gen->epoch < form.base.epoch && gen_knows (&world.nodes[0].record, *gen))
    *gen = (struct gen_id){ .epoch = UINT64_MAX, .id = 0 };
  else
    *gen = (struct gen_id){ .epoch = gen->epoch - form.base.epoch + 1,
                            .id = name_of (*gen) };
}

static void
add_record (struct gen_record *record)
{
  assert (form.record_count < RECORDS);
  form.records[form.record_count++] = record;
}

static bool
all_know (struct gen_id gen)
{
  uint32_t i;

  for (i = 0; i < form.record_count; i++)
    if (!gen_knows (form.records[i], gen))
      return false;
  return true;
}

static void
find_base (void)
{
  const struct gen_record *record = form.records[0];
  uint32_t i;

  form.base = (struct gen_id){ 0, 0 };
  for (i = 0; i < record->history_count; i++)
    if (all_know (record->history[i].gen)) {
      form.base = record->history[i].gen;
      break;
    }
}

/* Cut the history below the base; remember in an unused bit whether it is
 * that of a volume just born, which has no past in any case.
 */
static void
cut_history (struct gen_record *record)
{
  uint32_t i;

  for (i = 0; i < record->history_count; i++)
    if (gen_id_equal (record->history[i].gen, form.base))
      break;
  if (i < record->history_count) {
    if (record->history_count > i + 1)
      record->has_data = true;
    memset (&record->history[i + 1], 0,
            (GEN_HISTORY - i - 1) * sizeof record->history[0]);
    record->history_count = i + 1;
    if (i > 0) {
      record->history[i].client = record->history[i].session = 0;
      record->history[i].kind = GEN_NONE;
    }
  }
  for (i = 0; i < record->history_count; i++)
    if (record->history[i].client != 0)
      note_session (record->history[i].session);
}

static void
rename_record (struct gen_record *record)
{
  uint32_t i;

  if (record->volume != 0)
    record->volume = name_of ((struct gen_id){ 0, record->volume });
  for (i = 0; i < record->history_count; i++) {
    rename_gen (&record->history[i].gen);
    record->history[i].session = session_rank (record->history[i].session);
  }
}

/* --- the core's numbers ------------------------------------------------- */

static bool
linked (const struct core *core)
{
  return core->phase == LINK_DRAINING || core->phase == LINK_HELLO ||
    core->phase == LINK_DECIDED;
}

/* Frames in each direction count from the last one acknowledged. */
static void
find_bases (void)
{
  unsigned n;

  for (n = 0; n < NODES; n++) {
    const struct core *core = cores[n];

    form.sent_base[n] = core != NULL && linked (core) ? core->acked_seq : 0;
  }
  for (n = 0; n < NODES; n++) {
    bool same = world.ends[0].id == world.ends[1].id;
    const struct core *core = cores[n], *source = cores[1 - n];

    form.applied_base[n] = 0;
    if (same && source != NULL && linked (source))
      form.applied_base[n] = source->acked_seq;
    else if (core != NULL)
      form.applied_base[n] = core->applied_seq;
  }
}

static void
plain_link (struct core *c)
{
  bool decided = c->phase == LINK_DECIDED;

  if (!linked (c)) {
    c->tx_seq = c->acked_seq = 0;
    c->rx_seq = c->named_seq = c->applied_seq = c->reply_seq = 0;
    c->was_decided = c->phase == LINK_DROPPING && c->was_decided;
  }
  if (!c->hello_got || !linked (c))
    memset (&c->peer_hello, 0, sizeof c->peer_hello);
  c->peer_hello.boot = 0;
  if (decided) {
    memset (c->peer_hello.record.history, 0,
            sizeof c->peer_hello.record.history);
    c->peer_hello.record.history_count = 0;
  }
  if (!decided)
    c->source_gen = (struct gen_id){ 0, 0 };
  if (c->change == GEN_NONE || c->change_adopts)
    memset (&c->previous, 0, sizeof c->previous);
  c->change_link = c->change != GEN_NONE && c->change_link == c->link;
  c->link = 0;
  if (c->switching != SWITCH_ASKED)
    c->switch_client = c->switch_session = 0;
  c->switch_after_ms = c->now_ms < c->switch_after_ms;
  c->switch_deadline_ms = 0;
  c->awake_ms = 0;
  c->hello_deadline_ms = c->last_rx_ms = c->last_tx_ms = 0;
  c->ping_ms = c->rtt_ms = c->progress_ms = 0;
  c->sb_ms = c->map_ms = c->sync_ms = c->apply_ms = c->local_ms = 0;
  c->reconnect_ms = c->reconnect_wait_ms = 0;
  c->refusal = c->link_reason = NULL;
  if (!c->t1_plain)
    c->t1_attempt = 0;
}

/* What only arbiter=etcd or durability=flush looks at, neither of which is
 * here; and what is for people.
 */
static void
plain_modes (struct core *c)
{
  assert (c->config.arbiter == ARBITER_CLIENT);
  assert (c->config.durability == DURABILITY_WRITE);
  memset (&c->etcd, 0, sizeof c->etcd);
  c->start_ms = c->granted_ms = c->lease_ends_ms = 0;
  c->first_ping = 0;
  memset (c->pinged_ms, 0, sizeof c->pinged_ms);
  c->lease_closing = c->peer_yielded = c->switch_granted = false;
  memset (&c->flush, 0, sizeof c->flush);
  c->hard_seq = c->ack_seq = 0; /* the same as applied_seq, reply_seq */
  memset (&c->told, 0, sizeof c->told);
  c->news = 0;
}

static void
plain_sync (struct core *c)
{
  c->drain_seq = 0;
  if (c->sync == SYNC_DRAIN && cores[0] != NULL)
    c->drain_seq = 1;
  if (c->sync == SYNC_OFF) {
    c->marks_page = 0;
    c->cursor = 0;
  }
  memset (&c->pace, 0, sizeof c->pace);
  c->rate_tokens = 0;
  c->rate_ms = c->clear_ms = 0;
  c->resync_done_bytes = c->resync_total_bytes = c->resync_started_ms = 0;
}

static void
plain_versions (struct core *c, struct node_model *n)
{
  n->record_version = n->record_busy ? c->sb_version - n->record_version : 0;
  n->sync_version = n->sync_busy ? c->sync_version - n->sync_version : 0;
  c->sb_flight = c->sb_flight != 0 ? 1 + c->sb_version - c->sb_flight : 0;
  c->gen_version = c->gen_version > c->sb_durable
    ? 1 + c->sb_version - c->gen_version
    : 0;
  c->sb_durable = c->sb_version - c->sb_durable;
  c->sync_durable = c->sync_version - c->sync_durable;
  c->sb_version = c->sync_version = 0;
}

static uint64_t
at_most (uint64_t number, uint64_t most)
{
  return number < most ? number : most;
}

static void
plain_connections (struct core *c)
{
  uint32_t i;

  for (i = 0; i < SLOTS; i++) {
    struct conn *conn = &c->conns[i];

    if (conn->state == CONN_FREE) {
      memset (conn, 0, sizeof *conn);
      continue;
    }
    conn->deadline_ms = 0;
    if (conn->attempt != 0) {
      uint64_t state = conn->attempt > c->attempt ? 3 : 2;

      conn->attempt = conn->attempt <= c->attempt_failed ? 1 : state;
    }
    if (conn->ping != 0)
      conn->ping = conn->ping <= c->pong_token
        ? 1
        : 2 + at_most (c->ping_token - conn->ping, 3);
    if (conn->state != CONN_OPENING)
      conn->attempt = conn->ping = conn->asked_switch = 0;
    conn->open.session = session_rank (conn->open.session);
    rename_gen (&conn->open.shown);
  }
  for (i = 0; i < 2; i++) {
    c->clients[i].used_ms = 0;
    c->clients[i].session = session_rank (c->clients[i].session);
  }
  c->attempt_wanted = c->attempt_wanted > c->attempt;
  /* attempt_held: nobody is paused here, so none is held. */
  c->attempt = c->attempt_failed = c->attempt_held = 0;
  c->ping_token = c->pong_token = 0;
}

static void
plain_requests (struct core *c, unsigned node)
{
  uint64_t sent = form.sent_base[node], applied = form.applied_base[node];
  static struct sent none;
  uint32_t i;
  uint64_t seq;

  for (i = 0; i < SLOTS; i++) {
    struct request *r = &c->requests[i];

    if (r->state == R_FREE)
      memset (r, 0, sizeof *r);
    r->last_seq = r->peer_needed ? r->last_seq - sent : 0;
    r->local_ms = 0;
  }
  for (i = 0; i < c->sent_count; i++)
    c->sent[i].seq -= sent;
  c->sent[i] = none;
  for (i = 0; i < 24; i++) {
    seq = c->named_seq + 1 + i;
    if (linked (c) && seq <= c->rx_seq)
      c->apply[i] = c->apply[seq];
    else
      c->apply[i].offset = c->apply[i].length = 0;
  }
  for (i = 0; i < CHUNKS; i++) {
    struct chunk *chunk = &c->chunks[i];

    chunk->sent_ms = chunk->ahead_bytes = 0;
    if (chunk->state == CHUNK_FREE)
      *chunk = (struct chunk){ .buffer_busy = chunk->buffer_busy };
  }
  if (!linked (c))
    return;
  c->tx_seq -= sent;
  c->acked_seq = 0;
  c->rx_seq -= applied;
  c->named_seq -= applied;
  c->applied_seq -= applied;
  c->reply_seq -= applied;
}

static void
plain_core (unsigned node)
{
  struct core *c = &core_copies[node];
  uint64_t drain = c->sync == SYNC_DRAIN && c->drain_seq > c->acked_seq
    ? c->drain_seq - c->acked_seq
    : 0;

  plain_link (c);
  plain_modes (c);
  plain_sync (c);
  c->drain_seq = drain;
  plain_versions (c, &copy.nodes[node]);
  plain_connections (c);
  plain_requests (c, node);
  memset (&c->config, 0, sizeof c->config);
  memset (&c->hello, 0, sizeof c->hello);
  c->now_ms = c->random = 0;
  c->failed_reason = c->shown_reason = NULL;
  c->shown_state = STATE_WAITING;
  c->disk_late = c->peer_late = false;
  c->ranges = NULL;
  c->marks = NULL;
  rename_gen (&c->source_gen);
  c->switch_session = session_rank (c->switch_session);
}

/* --- what is put together ----------------------------------------------- */

static void
gather (void)
{
  unsigned n;
  uint32_t i;

  copy = world;
  form.used = form.name_count = form.session_count = form.record_count = 0;
  find_bases ();
  for (n = 0; n < NODES; n++) {
    struct end *end = &copy.ends[n];
    struct core *c = &core_copies[n];

    add_record (&copy.nodes[n].record);
    if (copy.nodes[n].record_busy)
      add_record (&copy.nodes[n].record_next);
    for (i = 0; i < HELLOS; i++)
      if (end->hello_used[i])
        add_record (&end->hellos[i].record);
    if (cores[n] == NULL)
      continue;
    core_copy (n, c);
    add_record (&c->record);
    if (c->change != GEN_NONE && !c->change_adopts)
      add_record (&c->previous);
    if (c->hello_got && linked (c) && c->phase != LINK_DECIDED)
      add_record (&c->peer_hello.record);
  }
}

static void
gather_sessions (void)
{
  unsigned n;
  uint32_t i;

  note_session (copy.client.session);
  for (i = 0; i < CONNS; i++)
    if (copy.connections[i].used)
      note_session (copy.connections[i].open.session);
  for (n = 0; n < NODES; n++) {
    if (cores[n] == NULL)
      continue;
    for (i = 0; i < SLOTS; i++)
      if (core_copies[n].conns[i].state != CONN_FREE)
        note_session (core_copies[n].conns[i].open.session);
    for (i = 0; i < 2; i++)
      note_session (core_copies[n].clients[i].session);
    if (core_copies[n].switching == SWITCH_ASKED)
      note_session (core_copies[n].switch_session);
  }
}

/* Connections in the order of their sessions. */
static void
sort_connections (void)
{
  static struct connection sorted[CONNS];
  uint8_t place[256];
  uint32_t count = 0, i, j, n;

  memset (place, NONE, sizeof place);
  memset (sorted, 0, sizeof sorted);
  for (i = 0; i < form.session_count; i++)
    for (j = 0; j < CONNS; j++)
      if (copy.connections[j].used &&
          copy.connections[j].open.session == form.sessions[i]) {
        place[j] = (uint8_t) count;
        sorted[count++] = copy.connections[j];
      }
  memcpy (copy.connections, sorted, sizeof sorted);
  copy.client.asking = place[copy.client.asking];
  copy.client.live = place[copy.client.live];
  for (n = 0; n < NODES; n++)
    for (i = 0; i < SLOTS; i++) {
      struct node_model *node = &copy.nodes[n];

      node->connections[i] = place[node->connections[i]];
      if (node->slots[i].used)
        node->slots[i].connection = place[node->slots[i].connection];
    }
}

static void
plain_client (void)
{
  struct client_model *client = &copy.client;
  uint32_t i, j;

  sort_connections ();
  client->session = session_rank (client->session);
  rename_gen (&client->shown);
  rename_gen (&client->acked);
  for (i = 0; i < CONNS; i++) {
    struct connection *c = &copy.connections[i];

    c->open.session = session_rank (c->open.session);
    rename_gen (&c->open.shown);
    rename_gen (&c->gen);
    for (j = 0; j < c->to_client_count; j++)
      rename_gen (&c->to_client[j].gen);
  }
}

/* TO: the node that takes the frame. */
static void
plain_frame (struct frame_in_flight *in, unsigned to)
{
  const struct core *sender = cores[1 - to];
  struct wire_frame *frame = &in->frame;

  rename_gen (&frame->gen);
  if (frame->type == WIRE_WRITE || frame->type == WIRE_ZERO)
    frame->seq -= form.applied_base[to];
  if (frame->type == WIRE_ACK)
    frame->seq -= form.sent_base[to];
  if (frame->type == WIRE_PING && sender != NULL)
    frame->arg = at_most (sender->ping_token - frame->arg, 3);
  if (frame->type == WIRE_PONG && cores[to] != NULL)
    frame->arg = at_most (cores[to]->ping_token - frame->arg, 3);
  in->hello = 0;
}

static void
put_record (const struct gen_record *record)
{
  put (record, offsetof (struct gen_record, history));
  put (record->history, record->history_count * sizeof record->history[0]);
}

static void
put_end (unsigned node)
{
  struct end *end = &copy.ends[node];
  uint32_t i;

  put_number (end->state | (uint64_t) end->deaf << 8 |
              (uint64_t) end->eof << 16 | (uint64_t) end->count << 24);
  for (i = 0; i < end->count; i++) {
    struct frame_in_flight *in = &end->inbox[i];
    uint8_t hello = in->hello;

    plain_frame (in, node);
    put (in, sizeof *in);
    if (in->frame.type == WIRE_HELLO_FRAME || in->frame.type == WIRE_ADOPT)
      put_record (&end->hellos[hello].record);
  }
}

static void
put_node (unsigned node)
{
  struct node_model *n = &copy.nodes[node];
  struct core *c = &core_copies[node];
  uint32_t i;

  for (i = 0; i < n->held_count; i++)
    plain_frame (&n->held[i], node);
  for (i = 0; i < n->job_count; i++) {
    plain_frame (&n->jobs[i].in, node);
    n->jobs[i].link = n->jobs[i].link == copy.ends[node].id;
  }
  put_record (&n->record);
  if (n->record_busy)
    put_record (&n->record_next);
  memset (&n->record, 0, sizeof n->record);
  memset (&n->record_next, 0, sizeof n->record_next);
  n->now_ms = 0;
  put (n, sizeof *n);
  if (cores[node] == NULL)
    return;
  put_record (&c->record);
  memset (c->record.history, 0, sizeof c->record.history);
  form.used += core_flatten (node, c, form.bytes + form.used, ROOM - form.used);
}

uint64_t
world_hash (void)
{
  unsigned n;
  uint32_t i;

  gather ();
  find_base ();
  for (i = 0; i < form.record_count; i++)
    cut_history (form.records[i]);
  gather_sessions ();
  for (n = 0; n < NODES; n++)
    if (cores[n] != NULL)
      plain_core (n);
  for (i = 0; i < form.record_count; i++)
    rename_record (form.records[i]);
  plain_client ();
  for (n = 0; n < NODES; n++)
    put_end (n);
  for (n = 0; n < NODES; n++)
    put_node (n);
  put (&copy.client, sizeof copy.client);
  put (copy.connections, sizeof copy.connections);
  put_number (copy.ends[0].id == copy.ends[1].id);
  put_number (copy.partition | (uint64_t) copy.faults_left << 8);
  return XXH3_64bits (form.bytes, form.used);
}
