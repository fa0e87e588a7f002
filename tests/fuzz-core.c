/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-core.c: what the peer sends, against a whole core in a small world
 * (fuzz-core.h).  No bytes from the link may make the core break its
 * invariants, ask for what cannot be done, or keep clients from an answer.
 *
 * An input:
 *
 *   u8   configuration: takeover, rate, what the region map holds
 *   own  this node's record, as a hello: u16 length, the bytes; those that
 *        follow up to WIRE_HELLO are zeros
 *   items: u8 enum item, then
 *     FRAME     u16 length, a header, so many bytes of payload; the rest of
 *               the payload is zeros.  The payload of WRITE and HASH_REPLY
 *               is not there: the core never sees it
 *     FIT       u8 type, u8 variant, u32 value: a frame that fits what the
 *               core has said, more or less
 *     UP, HANGUP, FAIL   the link comes, the peer hangs up, a dial fails
 *     TICK      u16 milliseconds pass; 0: up to the core's deadline
 *     OPEN      u8 connection, u8 what the client shows
 *     CLOSE     u8 connection; with its highest bit: the client hangs up
 *     REQUEST   u8 connection, u8 kind, u16 block, u16 sectors
 *     FINISH    u8 which, u8 how: one of the things that are held back
 *     HOLD      u8: from now on, are things held back?
 *     STOP      the process ends
 *     ADMIN     1 what the administrator wants
 *
 * A header that does not decode, or whose payload does not, ends the link
 * as it does in receiver.c.  So does an input that ends within a frame.
 */
#include "fuzz-core.h"

enum item {
  ITEM_FRAME,
  ITEM_FIT,
  ITEM_UP,
  ITEM_HANGUP,
  ITEM_FAIL,
  ITEM_TICK,
  ITEM_OPEN,
  ITEM_CLOSE,
  ITEM_REQUEST,
  ITEM_FINISH,
  ITEM_HOLD,
  ITEM_STOP,
  ITEM_ADMIN,
  ITEMS,
};

enum {
  SIZE_MAX_TRIED = 256 << 20, /* bytes of a volume */
  STEPS_MAX = 2000,           /* items of one input */
  BLOCK = 4096,
  SECTOR = 512,
};

static struct world world;

/* --------------------------------------------------------------- frames */

static bool
has_payload_here (uint8_t type)
{
  return type == WIRE_HELLO_FRAME || type == WIRE_ADOPT || type == WIRE_MARKS ||
    type == WIRE_CLEAR;
}

/* As engine-peer.c does it. */
static void
give_frame (const struct wire_frame *frame, const uint8_t *payload)
{
  struct core_event event = {
    .type = EV_FRAME,
    .link = world.link,
    .frame = frame,
    .payload = payload,
  };
  struct wire_hello hello;

  if (frame->type == WIRE_HELLO_FRAME || frame->type == WIRE_ADOPT) {
    if (wire_decode_hello (payload, WIRE_HELLO, &hello) != WIRE_OK) {
      world_hang_up (&world);
      return;
    }
    event.hello = &hello;
    if (frame->type == WIRE_HELLO_FRAME)
      world.peer = hello;
  }
  if (frame->type == WIRE_WRITE || frame->type == WIRE_ZERO) {
    world.in_seq = frame->seq;
    world.in[frame->seq % WORLD_FRAMES].offset = frame->offset;
    world.in[frame->seq % WORLD_FRAMES].length = frame->length;
  }
  if (frame->type == WIRE_HASH_REPLY && core_hash_wanted (world.core, frame)) {
    assert (frame->arg < CORE_CHUNKS_MAX);
    assert (frame->payload_length <= MARKS_CHUNK / MARKS_BLOCK * WIRE_HASH);
  }
  if (frame->type == WIRE_MARKS)
    world.marks_in++;
  world_step (&world, event);
}

/* As receiver.c does it. */
static void
give_bytes (const uint8_t header[WIRE_HEADER], const uint8_t *payload)
{
  struct wire_frame frame;

  if (!world.up || world.ended)
    return;
  if (wire_decode (header, &frame) != WIRE_OK ||
      frame.type == WIRE_GREETING_FRAME ||
      (has_payload_here (frame.type) &&
       wire_check_payload (&frame, payload) != WIRE_OK))
    world_hang_up (&world);
  else
    give_frame (&frame, payload);
}

static void
on_frame_item (struct fuzz_input *input)
{
  static uint8_t payload[WIRE_PAYLOAD_MAX];
  uint8_t header[WIRE_HEADER];
  size_t length = fuzz_take (input, 2);

  if (!fuzz_take_bytes (input, header, WIRE_HEADER, WIRE_HEADER) ||
      !fuzz_take_bytes (input, payload, length, 1 << 16))
    world_hang_up (&world);
  else
    give_bytes (header, payload);
}

/* ------------------------------------------------------ frames that fit */

/* What the peer could be, from what this node is. */
static void
shape_hello (struct wire_hello *hello, unsigned shape, uint32_t value)
{
  struct gen_record *record = &hello->record;
  const struct gen_record *own = core_record (world.core);

  *hello = (struct wire_hello){ .record = *own, .boot = value | 1 };
  record->node = own->peer != 0 ? own->peer : own->node ^ 0x55;
  record->peer = own->node;
  record->answered = (value & 1) != 0;
  record->has_data = false;
  switch (shape % 8) {
  case 1:
    gen_advance (record, value & 2 ? GEN_SOLO : GEN_TAKEOVER, value, value & 3,
                 value >> 2 & 7);
    record->primary = record->node;
    record->both = false;
    record->data = DATA_CURRENT;
    break;
  case 2:
    if (record->history_count > 1) {
      record->history_count--;
      memmove (record->history, record->history + 1,
               record->history_count * sizeof record->history[0]);
    }
    break;
  case 3:
  case 4:
    *record = (struct gen_record){
      .node = record->node,
      .size = own->size,
      .region_size = own->region_size,
      .has_data = shape % 8 == 4,
    };
    break;
  case 5: record->data = DATA_SYNCING; break;
  case 6: record->data = DATA_FAILED; break;
  case 7:
    if (record->history_count > 0) {
      record->history[0].gen.id ^= value | 1;
      record->history[0].client = value & 3;
      record->history[0].session = value >> 2 & 7;
    }
    break;
  default: break;
  }
}

static void
fit_hello (struct wire_frame *frame, uint8_t *payload, unsigned shape,
           uint32_t value)
{
  struct wire_hello hello;

  if (frame->type == WIRE_HELLO_FRAME)
    shape_hello (&hello, shape, value);
  else {
    /* The generation that this peer could make now. */
    frame->arg = shape % (GEN_KIND_COUNT - 1) + 1;
    hello = world.peer;
    if (hello.record.node == 0)
      shape_hello (&hello, 0, value);
    if (hello.record.history_count == 0 && frame->arg == GEN_CREATE)
      hello.record.volume = value | 1;
    gen_advance (&hello.record, (enum gen_kind) frame->arg, value | 1, 0, 0);
    hello.record.both = (value & 0x100) == 0;
    hello.record.primary = value & 0x200 ? 0 : hello.record.node;
    hello.record.data = DATA_CURRENT;
  }
  wire_encode_hello (&hello, payload);
  frame->payload_length = WIRE_HELLO;
}

static void
fit_fields (struct wire_frame *frame, uint8_t *payload, unsigned shape,
            uint32_t value)
{
  unsigned i;

  switch (frame->type) {
  case WIRE_HELLO_FRAME:
  case WIRE_ADOPT: fit_hello (frame, payload, shape, value); break;
  case WIRE_WRITE:
  case WIRE_ZERO:
    frame->seq = world.in_seq + 1 + (shape == 63);
    frame->offset = (uint64_t) (value >> 8) * BLOCK % world.size;
    frame->length = ((value & 63) + 1) * SECTOR;
    frame->flags = shape & 1 ? WIRE_RESYNC : 0;
    frame->payload_length = frame->type == WIRE_WRITE ? frame->length : 0;
    break;
  case WIRE_ACK: frame->seq = world.out_seq - (shape & 3); break;
  case WIRE_PONG: frame->arg = world.ping + (shape & 1); break;
  case WIRE_MARKS:
    frame->offset = world.marks_in;
    frame->arg = world.pages;
    frame->payload_length = MARKS_PAGE_BYTES;
    for (i = 0; i < 4; i++)
      payload[i] = (uint8_t) (value >> (8 * i));
    break;
  case WIRE_HASH_REQUEST:
    frame->offset = (uint64_t) value * BLOCK % world.size;
    frame->length = shape & 1 ? MARKS_CHUNK : BLOCK;
    break;
  case WIRE_HASH_REPLY:
    *frame = world.hash_request;
    frame->type = WIRE_HASH_REPLY;
    frame->arg += shape & 1;
    frame->payload_length = (frame->length + BLOCK - 1) / BLOCK * WIRE_HASH;
    break;
  case WIRE_CLEAR:
    payload[0] = (uint8_t) value;
    frame->payload_length = 8;
    break;
  default: frame->arg = value; break;
  }
}

static void
on_fit_item (struct fuzz_input *input)
{
  static uint8_t payload[WIRE_PAYLOAD_MAX];
  struct wire_frame frame = {
    .type = (uint8_t) (fuzz_take (input, 1) % WIRE_TYPE_COUNT),
  };
  unsigned variant = (unsigned) fuzz_take (input, 1);
  uint32_t value = (uint32_t) fuzz_take (input, 4);
  uint8_t header[WIRE_HEADER];

  memset (payload, 0, 2 * MARKS_PAGE_BYTES);
  frame.gen = gen_current (variant & 1 ? core_record (world.core)
                                       : &world.peer.record);
  fit_fields (&frame, payload, variant >> 2, value);
  if (has_payload_here (frame.type))
    frame.payload_crc = wire_crc32c (payload, frame.payload_length);
  wire_encode (&frame, header);
  give_bytes (header, payload);
}

/* -------------------------------------------------------------- clients */

static void
on_open_item (struct fuzz_input *input)
{
  uint32_t conn = (uint32_t) fuzz_take (input, 1) % WORLD_CONNS;
  unsigned how = (unsigned) fuzz_take (input, 1);
  const struct gen_record *record = core_record (world.core);
  struct core_event event = { .type = EV_OPEN, .slot = conn };

  if (world.conns[conn] != WORLD_FREE)
    return;
  event.open.proxied = (how & 1) != 0;
  if (event.open.proxied) {
    event.open.client = (how >> 1 & 1) + 1;
    event.open.session = (how >> 2 & 7) + 1;
    event.open.unreachable = (how >> 5 & 1) != 0;
    if (how >> 6 == 1)
      event.open.shown = gen_current (record);
    else if (how >> 6 == 2 && record->history_count > 1)
      event.open.shown = record->history[1].gen;
    else if (how >> 6 == 3)
      event.open.shown = (struct gen_id){ 77, 77 };
  }
  world.conns[conn] = WORLD_OPENING;
  world_step (&world, event);
}

static void
on_close_item (struct fuzz_input *input)
{
  uint32_t conn = (uint32_t) fuzz_take (input, 1);

  if (conn & 0x80)
    world_step (
      &world,
      (struct core_event){ .type = EV_HANGUP, .slot = conn % WORLD_CONNS });
  else
    world_close (&world, conn % WORLD_CONNS);
}

static void
on_request_item (struct fuzz_input *input)
{
  uint32_t conn = (uint32_t) fuzz_take (input, 1) % WORLD_CONNS, slot = 0;
  unsigned kind = (unsigned) fuzz_take (input, 1);
  struct core_event event = { .type = EV_REQUEST };
  struct world_request *request;

  event.request.kind = (enum core_request_kind) (kind % (REQ_FLUSH + 1));
  event.request.punch = kind >= 128;
  event.request.conn = conn;
  event.request.offset = fuzz_take (input, 2) * BLOCK;
  event.request.length = fuzz_take (input, 2) * SECTOR;
  while (slot < WORLD_REQUESTS && world.requests[slot].used)
    slot++;
  if (slot == WORLD_REQUESTS ||
      (world.conns[conn] != WORLD_OPEN && world.conns[conn] != WORLD_ENDED))
    return;
  request = &world.requests[slot];
  *request = (struct world_request){
    .used = true,
    .conn = conn,
    .offset = event.request.offset,
    .length = event.request.length,
  };
  world.conn_requests[conn]++;
  event.slot = slot;
  world_step (&world, event);
}

/* ---------------------------------------------------------------- items */

static void
on_tick_item (struct fuzz_input *input)
{
  uint64_t ms = fuzz_take (input, 2), deadline = core_deadline (world.core);

  if (ms != 0)
    world.now_ms += ms;
  else if (deadline != UINT64_MAX && deadline > world.now_ms)
    world.now_ms = deadline;
  world_step (&world, (struct core_event){ .type = EV_TICK });
}

static void
on_finish_item (struct fuzz_input *input)
{
  uint32_t which = (uint32_t) fuzz_take (input, 1);
  unsigned how = (unsigned) fuzz_take (input, 1);

  if (world.pending_count > 0)
    world_finish (&world, which % world.pending_count,
                  how & 4     ? ENOSPC
                    : how & 1 ? EIO
                              : 0,
                  (how & 2) != 0);
}

static void
on_admin_item (struct fuzz_input *input)
{
  unsigned wish = (unsigned) fuzz_take (input, 1);
  struct core_event event = { .type = EV_ADMIN, .slot = world.wish_slot++ };

  event.wish.kind = (enum core_admin) (wish % ADMIN_KINDS);
  event.wish.to = wish / 3 % 3;
  event.wish.end_plain = event.wish.repair = wish >= 128;
  event.wish.size = core_size (world.core) + (wish & 64) * MARKS_CHUNK / 16;
  world.wishes++;
  world_step (&world, event);
}

static void
on_item (struct fuzz_input *input)
{
  switch ((enum item) (fuzz_take (input, 1) % ITEMS)) {
  case ITEM_FRAME: on_frame_item (input); break;
  case ITEM_FIT: on_fit_item (input); break;
  case ITEM_UP: world_connect (&world); break;
  case ITEM_HANGUP: world_hang_up (&world); break;
  case ITEM_FAIL:
    if (world.dialing && !world.up) {
      world.dialing = false;
      world_step (&world, (struct core_event){ .type = EV_CONNECT_FAILED });
    }
    break;
  case ITEM_TICK: on_tick_item (input); break;
  case ITEM_OPEN: on_open_item (input); break;
  case ITEM_CLOSE: on_close_item (input); break;
  case ITEM_REQUEST: on_request_item (input); break;
  case ITEM_FINISH: on_finish_item (input); break;
  case ITEM_HOLD: world.held = (fuzz_take (input, 1) & 1) != 0; break;
  case ITEM_STOP:
    world_step (&world, (struct core_event){ .type = EV_STOP });
    break;
  case ITEM_ADMIN: on_admin_item (input); break;
  case ITEMS: break;
  }
  world_settle (&world);
}

/* ------------------------------------------------------------- mutation */

#ifdef FUZZ_MUTATOR

/* Where the items begin. */
static size_t
head_length (const uint8_t *data, size_t size)
{
  struct fuzz_input input = { data, size };
  size_t length;

  fuzz_take (&input, 1);
  length = fuzz_take (&input, 2);
  return input.left > length ? size - input.left + length : size;
}

/* Bytes of the item at DATA, at most SIZE. */
static size_t
item_length (const uint8_t *data, size_t size)
{
  static const uint8_t lengths[ITEMS] = {
    [ITEM_FRAME] = 3 + WIRE_HEADER,
    [ITEM_FIT] = 7,
    [ITEM_UP] = 1,
    [ITEM_HANGUP] = 1,
    [ITEM_FAIL] = 1,
    [ITEM_TICK] = 3,
    [ITEM_OPEN] = 3,
    [ITEM_CLOSE] = 2,
    [ITEM_REQUEST] = 7,
    [ITEM_FINISH] = 3,
    [ITEM_HOLD] = 2,
    [ITEM_STOP] = 1,
    [ITEM_ADMIN] = 2,
  };
  size_t length = lengths[data[0] % ITEMS];

  if (data[0] % ITEMS == ITEM_FRAME && size >= 3)
    length += data[1] + ((size_t) data[2] << 8);
  return length < size ? length : size;
}

/* Make a frame one that decodes. */
static void
sign_frame (uint8_t *item, size_t size)
{
  static const uint32_t payloads[WIRE_TYPE_COUNT] = {
    [WIRE_GREETING_FRAME] = WIRE_GREETING, [WIRE_HELLO_FRAME] = WIRE_HELLO,
    [WIRE_MARKS] = MARKS_PAGE_BYTES,       [WIRE_ADOPT] = WIRE_HELLO,
    [WIRE_CLEAR] = sizeof (uint64_t),
  };
  static uint8_t payload[WIRE_PAYLOAD_MAX];
  uint8_t *header = item + 3;
  struct fuzz_input input = { item + 8 + 3, WIRE_HEADER };
  struct wire_frame frame = { .type = header[6] % WIRE_TYPE_COUNT };
  size_t stored = size - 3 - WIRE_HEADER;

  fuzz_take (&input, 4);
  frame.flags = header[7] & (frame.type == WIRE_ZERO ? 3 : 2);
  if (frame.type != WIRE_WRITE && frame.type != WIRE_ZERO)
    frame.flags = 0;
  frame.length = (uint32_t) fuzz_take (&input, 4);
  frame.seq = fuzz_take (&input, 8);
  frame.offset = fuzz_take (&input, 8);
  frame.gen.epoch = fuzz_take (&input, 8);
  frame.gen.id = fuzz_take (&input, 8);
  frame.arg = fuzz_take (&input, 8);
  frame.payload_length = payloads[frame.type];
  if (frame.type == WIRE_WRITE)
    frame.payload_length = frame.length %= WIRE_PAYLOAD_MAX + 1;
  if (frame.type == WIRE_HASH_REPLY)
    frame.payload_length = (frame.length % MARKS_CHUNK + BLOCK - 1) / BLOCK *
      WIRE_HASH;
  if (has_payload_here (frame.type)) {
    if (stored > frame.payload_length)
      stored = frame.payload_length;
    memset (payload, 0, frame.payload_length);
    memcpy (payload, header + WIRE_HEADER, stored);
    frame.payload_crc = wire_crc32c (payload, frame.payload_length);
  }
  wire_encode (&frame, header);
}

static void
sign_all (uint8_t *data, size_t size)
{
  size_t at = head_length (data, size), length;

  for (; at < size; at += length) {
    length = item_length (data + at, size - at);
    if (data[at] % ITEMS == ITEM_FRAME && length >= 3 + WIRE_HEADER)
      sign_frame (data + at, length);
  }
}

/* Put a copy of an item, or one of chance, somewhere; or take one out. */
static size_t
mutate_items (uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
  size_t at = head_length (data, size), length, from = at, to = at;
  uint8_t item[3 + WIRE_HEADER + WIRE_HELLO];
  unsigned i;

  /* Two places, each further on with every turn of the dice. */
  for (; at < size && seed % 8 != 0; seed = seed / 3 * 5 + 1) {
    from = to;
    to = at;
    at += item_length (data + at, size - at);
  }
  if (to >= size)
    return size;
  length = item_length (data + from, size - from);
  if (seed & 8) {
    memmove (data + from, data + from + length, size - from - length);
    return size - length;
  }
  if (length > sizeof item)
    return size;
  memcpy (item, data + from, length);
  if (seed & 16) {
    length = 7;
    for (i = 0; i < length; i++)
      item[i] = (uint8_t) ((seed * 2654435761u + i * 40503u) >> 13);
    item[0] = seed & 32 ? ITEM_FIT : item[0] % ITEMS;
  }
  if (size + length > max_size)
    return size;
  memmove (data + to + length, data + to, size - to);
  memcpy (data + to, item, length);
  return size + length;
}

/* Most inputs keep good checksums, or nothing behind them is reached. */
size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size,
                         unsigned seed)
{
  if (seed % 3 == 0)
    size = mutate_items (data, size, max_size, seed / 3);
  else
    size = LLVMFuzzerMutate (data, size, max_size);
  if (seed % 16 != 1)
    sign_all (data, size);
  return size;
}

#endif

/* -------------------------------------------------------------- the run */

/* A record that a node of this version can have made. */
static bool
is_own_record (const struct gen_record *record)
{
  bool member = record->data != DATA_BLANK && record->history_count > 0;
  const struct generation *now = &record->history[0];

  if (record->size > SIZE_MAX_TRIED || record->peer == record->node ||
      (record->primary != 0 && record->primary != record->node &&
       record->primary != record->peer))
    return false;
  if (record->data == DATA_BLANK)
    return record->history_count == 0 && record->primary == 0 && !record->both;
  /* Alone, only these two are made for a client. */
  if (record->data == DATA_CURRENT && !record->both)
    return member && record->primary == record->node &&
      (now->client == 0 || now->kind == GEN_SOLO || now->kind == GEN_TAKEOVER);
  return record->data != DATA_CURRENT || (member && record->peer != 0);
}

static bool
begin (struct fuzz_input *input)
{
  unsigned flags = (unsigned) fuzz_take (input, 1);
  struct core_config config = {
    .beat_ms = WORLD_BEAT_MS,
    .dead_ms = WORLD_DEAD_MS,
    .takeover = (enum core_takeover) (flags % 3),
    .resync_rate = flags & 0x80 ? 1 << 20 : 0,
    .boot = 1,
  };
  size_t length = fuzz_take (input, 2);
  uint8_t payload[WIRE_HELLO], map[2 * MARKS_PAGE_BYTES];
  struct wire_hello own;
  uint64_t regions;

  if (length > WIRE_HELLO ||
      !fuzz_take_bytes (input, payload, length, WIRE_HELLO) ||
      wire_decode_hello (payload, WIRE_HELLO, &own) != WIRE_OK ||
      !is_own_record (&own.record))
    return false;
  memset (&world, 0, offsetof (struct world, pending));
  world.now_ms = 1;
  world.random = 1;
  world.size = own.record.size;
  regions = (world.size + own.record.region_size - 1) / own.record.region_size;
  world.pages = 1;
  memset (map, 0, sizeof map);
  for (uint64_t i = 0; i < regions && (flags & 0x40) != 0; i++)
    map[i / 8] |= (uint8_t) (1 << i % 8);
  world.core = core_new (&config, &own.record, map, MARKS_PAGE_BYTES);
  assert (world.core != NULL);
  return true;
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct fuzz_input input = { data, size };
  unsigned steps = 0;

  if (!begin (&input))
    return 0;
  world_step (&world, (struct core_event){ .type = EV_START });
  world_settle (&world);
  while (input.left > 0 && steps++ < STEPS_MAX)
    on_item (&input);
  world_end (&world);
  core_free (world.core);
  return 0;
}
