/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-etcd.h: one core with arbiter=etcd and a world of one step at a
 * time, for check-etcd.c, check-lease.c, check-pause.c and check-resize.c.
 * Files and syncs are durable at once unless a test holds them; the peer and
 * etcd are what the test says.
 */
#ifndef DUET_CHECK_ETCD_H
#define DUET_CHECK_ETCD_H

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core.h"
#include "marks.h"

enum {
  BEAT = 100,
  DEAD = 5000,
  LEASE = 1000,
  GRACE = 1100,
  ME = 11,
  PEER = 22,
  VOLUME = 7,
  MAP = MARKS_PAGE_BYTES,
};

static struct {
  struct core *core;
  struct gen_record record; /* durable */
  uint64_t now;
  bool hold_disk; /* superblocks do not become durable */
  uint64_t held;  /* version of one that waits */

  /* the newest of each, since it was looked at */
  bool connect, read, swap, hello, bye, pong, complete, opened, told;
  int open_error, error;
  uint64_t ticket, revision, ping, local;
  struct arbiter_value asked;
  uint64_t grow;           /* length of an ACT_GROW */
  uint64_t word, word_arg; /* offset and arg of the newest RESIZE, RESIZED */
  uint32_t link;
  uint64_t tx;
  uint64_t frames; /* a bit for each type that was sent */
} w;

static inline struct gen_record
member (uint64_t primary)
{
  struct gen_record record = {
    .volume = VOLUME,
    .node = ME,
    .peer = PEER,
    .size = 1 << 20,
    .region_size = MARKS_CHUNK,
    .data = DATA_CURRENT,
    .primary = primary,
    .both = true,
    .history_count = 2,
  };

  record.history[0] = (struct generation){ .gen = { 5, 55 }, .kind = GEN_JOIN };
  record.history[1] = (struct generation){ .gen = { 4, 44 }, .kind = GEN_SOLO };
  return record;
}

/* ------------------------------------------------------------- the world */

static inline void step (struct core_event event);

static inline void
act (const struct core_action *action)
{
  switch (action->type) {
  case ACT_PERSIST_SB:
    w.record = *core_record (w.core);
    w.held = action->version;
    break;
  case ACT_CONNECT: w.connect = true; break;
  case ACT_KEY_READ:
    w.read = true;
    w.ticket = action->version;
    break;
  case ACT_KEY_CAS:
    w.swap = true;
    w.ticket = action->version;
    w.revision = action->seq;
    w.asked = *core_arbiter_value (w.core);
    break;
  case ACT_SEND:
    w.hello |= action->frame.type == WIRE_HELLO_FRAME;
    w.bye |= action->frame.type == WIRE_BYE;
    w.pong |= action->frame.type == WIRE_PONG;
    w.frames |= UINT64_C (1) << action->frame.type;
    if (action->frame.type == WIRE_PING)
      w.ping = action->frame.arg;
    if (action->frame.type == WIRE_RESIZE ||
        action->frame.type == WIRE_RESIZED) {
      w.word = action->frame.offset;
      w.word_arg = action->frame.arg;
    }
    break;
  case ACT_COMPLETE:
    w.complete = true;
    w.error = action->error;
    break;
  case ACT_OPEN_DONE:
    w.opened = true;
    w.open_error = action->error;
    break;
  case ACT_LOCAL: w.local = action->slot + 1; break;
  case ACT_GROW: w.grow = action->length; break;
  case ACT_ADMIN_DONE:
    w.told = true;
    w.error = action->error;
    break;
  default: break;
  }
}

static inline void
step (struct core_event event)
{
  const struct core_actions *actions;
  struct core_action copy[64];
  uint32_t i, count;

  event.now_ms = w.now;
  event.random = w.now * 977 + (uint64_t) event.type;
  actions = core_step (w.core, &event);
  count = actions->count;
  ck_assert_uint_le (count, 64);
  memcpy (copy, actions->list, count * sizeof copy[0]);
  for (i = 0; i < count; i++)
    act (&copy[i]);
  core_check (w.core);
  for (i = 0; i < count; i++)
    if (copy[i].type == ACT_SYNC_STORE)
      step ((struct core_event){ .type = EV_STORE_SYNCED,
                                 .version = copy[i].version });
    else if (copy[i].type == ACT_PERSIST_MAP)
      step ((struct core_event){ .type = EV_MAP_DURABLE });
    else if (copy[i].type == ACT_DROP_LINK)
      step ((struct core_event){ .type = EV_LINK_DOWN, .link = copy[i].link });
  if (w.held != 0 && !w.hold_disk) {
    uint64_t version = w.held;

    w.held = 0;
    step ((struct core_event){ .type = EV_SB_DURABLE, .version = version });
  }
}

static inline void
forget_actions (void)
{
  w.connect = w.read = w.swap = w.hello = w.bye = w.pong = false;
  w.complete = w.opened = w.told = false;
  w.frames = 0;
  w.local = w.grow = 0;
}

/* Time goes on by MS, with a tick whenever one is due. */
static inline void
pass (uint64_t ms)
{
  uint64_t end = w.now + ms, next;

  forget_actions ();
  while ((next = core_deadline (w.core)) <= end) {
    w.now = next > w.now ? next : w.now;
    step ((struct core_event){ .type = EV_TICK });
    if (next <= w.now && core_deadline (w.core) <= w.now)
      w.now++;
  }
  if (w.now < end)
    w.now = end;
}

static inline void
boot (const struct gen_record *record, enum core_takeover takeover)
{
  struct core_config config = {
    .beat_ms = BEAT,
    .dead_ms = DEAD,
    .takeover = takeover,
    .arbiter = ARBITER_ETCD,
    .lease_ms = LEASE,
    .grace_ms = GRACE,
    .boot = 1,
  };
  static uint8_t map[MAP];

  if (w.core != NULL)
    core_free (w.core);
  w.core = core_new (&config, record, map, sizeof map);
  ck_assert_ptr_nonnull (w.core);
  w.record = *record;
  w.held = 0;
  w.hold_disk = false;
  forget_actions ();
  step ((struct core_event){ .type = EV_START });
}

static inline void
begin (uint64_t primary)
{
  struct gen_record record = member (primary);

  w.now = 1000000;
  boot (&record, TAKEOVER_PROXY);
}

static inline void
end (void)
{
  core_free (w.core);
  w.core = NULL;
}

static inline void
frame (enum wire_type type, uint64_t arg)
{
  struct wire_frame in = { .type = (uint8_t) type, .arg = arg };
  struct gen_id gen = gen_current (core_record (w.core));

  in.gen = gen;
  forget_actions ();
  step ((struct core_event){ .type = EV_FRAME, .link = w.link, .frame = &in });
}

static inline void
say_hello (struct wire_hello hello)
{
  struct wire_frame in = { .type = WIRE_HELLO_FRAME };

  step ((struct core_event){
    .type = EV_FRAME, .link = w.link, .frame = &in, .hello = &hello });
}

/* The peer's hello: the same generation, same arbiter. */
static inline struct wire_hello
peer_hello (void)
{
  struct wire_hello hello = {
    .record = *core_record (w.core),
    .boot = 9,
    .features = WIRE_ETCD,
    .lease_ms = LEASE,
    .grace_ms = GRACE,
  };

  hello.record.node = PEER;
  hello.record.peer = ME;
  return hello;
}

static inline void
link_up (void)
{
  forget_actions ();
  step ((struct core_event){ .type = EV_LINK_UP, .link = ++w.link });
}

static inline void
link_down (bool closed)
{
  forget_actions ();
  step ((struct core_event){
    .type = EV_LINK_DOWN, .link = w.link, .peer_closed = closed });
}

/* Both are members and have reconciled; the primary has no marks. */
static inline void
join_up (void)
{
  static const uint8_t page[MARKS_PAGE_BYTES];
  struct wire_frame marks = { .type = WIRE_MARKS,
                              .arg = 1,
                              .payload_length = MARKS_PAGE_BYTES };

  link_up ();
  ck_assert (w.hello);
  say_hello (peer_hello ());
  if (core_record (w.core)->primary == ME)
    step ((struct core_event){
      .type = EV_FRAME, .link = w.link, .frame = &marks, .payload = page });
}

static inline struct arbiter_value
present (void)
{
  const struct gen_record *record = core_record (w.core);

  return (struct arbiter_value){
    .volume = VOLUME,
    .gen = record->history[0].gen,
    .parent = record->history[1].gen,
    .kind = record->history[0].kind,
    .maker = PEER,
    .primary = record->primary,
    .members = { ME, PEER },
  };
}

static inline void
answer (enum arbiter_result result, uint64_t revision,
        const struct arbiter_value *value)
{
  struct arbiter_answer told = { .result = result, .revision = revision };

  if (value != NULL) {
    told.understood = true;
    told.value = *value;
  }
  forget_actions ();
  step ((struct core_event){
    .type = EV_ARBITER, .version = w.ticket, .arbiter = &told });
}

static inline void
no_peer (void)
{
  forget_actions ();
  step ((struct core_event){ .type = EV_CONNECT_FAILED });
}

static inline struct core_view
view (void)
{
  struct core_view shown;

  core_view (w.core, &shown);
  return shown;
}

static inline bool
serving (void)
{
  return view ().serving;
}

static inline const char *
reason (void)
{
  return view ().reason;
}

static inline uint32_t
kind (void)
{
  return core_record (w.core)->history[0].kind;
}

static inline bool
sent (enum wire_type type)
{
  return w.frames >> type & 1;
}

/* A pair in sync whose primary is PRIMARY; etcd has said that it knows. */
static inline void
pair (uint64_t primary)
{
  struct arbiter_value value;

  begin (primary);
  value = present ();
  answer (ARBITER_DONE, 30, &value); /* the probe of the start */
  join_up ();
  forget_actions ();
}

/* The primary has lost its peer and asks etcd for a solo generation. */
static inline void
primary_asks (void)
{
  struct arbiter_value value;

  pair (ME);
  value = present ();
  link_down (true);
  ck_assert (w.read);
  ck_assert (w.connect);
  no_peer ();
  answer (ARBITER_DONE, 30, &value);
  ck_assert (w.swap);
}

#endif /* DUET_CHECK_ETCD_H */
