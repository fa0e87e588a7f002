/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * story-trace.c: what happens in a story, in words.  Numbers that come from
 * random bits are never shown: a generation is called by its epoch and the
 * node that made it, a request by its place in the story.  Nor is the time:
 * only the order counts.  So it is told that regions are cleared, some time
 * after the last write, only in a step that waits for it ("wait N s").
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "story.h"

enum {
  WRAP_COLUMNS = 78,
  TAIL_LINES = 3, /* repeats at the end of a step that may stay */
};

/* What has been told of a node. */
struct told_node {
  uint64_t size;
  struct gen_id gen;
  uint32_t data;
  uint8_t map;
};

/* What has been told of a client. */
struct told_client {
  bool live;
  int node;
  uint32_t nbd;             /* of the newest open, 0: none */
  int asked;                /* which node */
  bool waiting;             /* no word from the node yet */
  char ask[STORY_LINE_MAX]; /* not said yet */
  char last[SIM_NODES][STORY_LINE_MAX];
  struct gen_id saved;
};

struct line {
  size_t offset; /* in the text */
  char text[STORY_LINE_MAX];
};

static struct {
  bool quiet;
  struct line lines[STORY_LINES_MAX];
  uint32_t count;
  uint32_t news;
  uint64_t news_us;
  uint64_t now_us;
  bool clearing; /* tell of regions that are cleared */
  bool opening;  /* the step in hand is that of an open */
  uint64_t ping; /* that was told of: so is its answer */
  struct told_node nodes[SIM_NODES];
  struct told_client clients[SIM_CLIENTS];
  bool told[SIM_OPS];
  struct {
    struct gen_id gen;
    char name[24];
  } gens[SIM_GENERATIONS];
  uint32_t gen_count;
} trace;

struct story_text *story_text;

/* --- lines -------------------------------------------------------------- */

static void
put (const char *text, size_t length)
{
  assert (story_text->length + length < sizeof story_text->bytes);
  memcpy (story_text->bytes + story_text->length, text, length);
  story_text->length += length;
}

void
trace_copy (const char *line)
{
  put (line, strlen (line));
  put ("\n", 1);
}

/* At blanks, the rest further in. */
static void
put_wrapped (const char *text)
{
  const char *indent = "    ";
  size_t room, length;

  do {
    put (indent, strlen (indent));
    room = WRAP_COLUMNS - strlen (indent);
    length = strlen (text);
    if (length > room) {
      length = room;
      while (length > 0 && text[length] != ' ')
        length--;
      assert (length > 0);
    }
    put (text, length);
    put ("\n", 1);
    text += length;
    while (*text == ' ')
      text++;
    indent = "        ";
  } while (*text != '\0');
}

static void
put_line (const char *text)
{
  struct line *line;
  uint32_t i;

  if (trace.quiet)
    return;
  assert (trace.count < STORY_LINES_MAX);
  line = &trace.lines[trace.count];
  line->offset = story_text->length;
  snprintf (line->text, sizeof line->text, "%s", text);
  put_wrapped (text);
  for (i = 0; i < trace.count; i++)
    if (strcmp (trace.lines[i].text, text) == 0)
      break;
  trace.count++;
  if (i + 1 == trace.count) {
    trace.news = trace.count;
    trace.news_us = trace.now_us;
  }
}

/* An open that comes to nothing is told only once in a step, if nothing
 * else happens; so it waits until something does.
 */
static void
put_asks (void)
{
  int c;

  for (c = 0; c < SIM_CLIENTS; c++) {
    if (trace.clients[c].ask[0] != '\0')
      put_line (trace.clients[c].ask);
    trace.clients[c].ask[0] = '\0';
  }
}

static void __attribute__ ((format (printf, 1, 2)))
say (const char *format, ...)
{
  char text[STORY_LINE_MAX];
  va_list args;

  va_start (args, format);
  vsnprintf (text, sizeof text, format, args);
  va_end (args);
  put_asks ();
  put_line (text);
}

void
trace_quiet (bool quiet)
{
  int c;

  trace.quiet = quiet;
  for (c = 0; c < SIM_CLIENTS; c++)
    trace.clients[c].ask[0] = '\0';
}

void
trace_step (void)
{
  int c;

  trace.count = trace.news = 0;
  trace.clearing = false;
  trace.news_us = trace.now_us;
  for (c = 0; c < SIM_CLIENTS; c++)
    memset (trace.clients[c].last, 0, sizeof trace.clients[c].last);
}

void
trace_clearing (void)
{
  trace.clearing = true;
}

void
trace_step_end (void)
{
  if (trace.count <= trace.news + TAIL_LINES)
    return;
  story_text->length = trace.lines[trace.news].offset;
  put_wrapped ("(and so on)");
}

uint64_t
trace_news_us (void)
{
  return trace.news_us;
}

uint32_t
trace_count (void)
{
  return trace.count;
}

bool
trace_said (const char *text, uint32_t *from)
{
  uint32_t i;

  for (i = *from; i < trace.count; i++)
    if (strstr (trace.lines[i].text, text) != NULL) {
      *from = i + 1;
      return true;
    }
  return false;
}

/* --- names -------------------------------------------------------------- */

static const char *
client_name (int index)
{
  static const char *const names[] = { "client", "other", "plain" };

  return names[index];
}

/* Node ids are set so that the high digit tells (story-script.c). */
static const char *
node_name (uint64_t id)
{
  if (id == 0)
    return "open";
  return id >> 4 == 0xa ? "a" : "b";
}

static int
letter (const struct node *node)
{
  return 'a' + node->index;
}

static const char *
gen_name (struct gen_id gen)
{
  uint32_t i;

  if (gen.epoch == 0)
    return "no generation";
  for (i = 0; i < trace.gen_count; i++)
    if (gen_id_equal (trace.gens[i].gen, gen))
      return trace.gens[i].name;
  return "a generation that is on no disk";
}

static void
name_gen (struct gen_id gen, const struct node *node)
{
  char *name = trace.gens[trace.gen_count].name;
  uint32_t i;

  for (i = 0; i < trace.gen_count; i++)
    if (gen_id_equal (trace.gens[i].gen, gen))
      return;
  trace.gens[i].gen = gen;
  snprintf (name, sizeof trace.gens[i].name, "%llu.%c",
            (unsigned long long) gen.epoch, letter (node));
  for (i = 0; i < trace.gen_count; i++)
    if (strcmp (trace.gens[i].name, name) == 0)
      strcat (name, "'");
  trace.gen_count++;
  assert (trace.gen_count < SIM_GENERATIONS);
}

static const char *
error_name (int error)
{
  switch (error) {
  case EIO: return "EIO";
  case ENOSPC: return "ENOSPC";
  case EINVAL: return "EINVAL";
  case ESHUTDOWN: return "ESHUTDOWN";
  default: return "another error";
  }
}

static void
block_range (uint64_t first, uint64_t count, char *name, size_t size)
{
  if (count <= 1)
    snprintf (name, size, "block %llu", (unsigned long long) first);
  else
    snprintf (name, size, "blocks %llu to %llu", (unsigned long long) first,
              (unsigned long long) (first + count - 1));
}

static void
frame_blocks (const struct wire_frame *frame, char *name, size_t size)
{
  block_range (frame->offset / MARKS_BLOCK, frame->length / MARKS_BLOCK, name,
               size);
}

/* The how manieth of its sort is it in the story? */
static uint32_t
op_number (const struct sim *sim, uint32_t op)
{
  bool read = sim->ops[op].kind == OP_READ;
  bool flush = sim->ops[op].kind == OP_FLUSH;
  uint32_t i, number = 0;

  for (i = 0; i <= op; i++)
    number += (sim->ops[i].kind == OP_READ) == read &&
      (sim->ops[i].kind == OP_FLUSH) == flush;
  return number;
}

void
trace_op_name (const struct sim *sim, uint32_t op, char *name, size_t size)
{
  enum { CELLS = SIM_BLOCK_CELLS };
  const struct op *o = &sim->ops[op];
  char blocks[48];

  block_range (o->first / CELLS, o->count / CELLS, blocks, sizeof blocks);
  if (o->kind == OP_READ)
    snprintf (name, size, "read of %s", blocks);
  else if (o->kind == OP_FLUSH)
    snprintf (name, size, "flush %u", op_number (sim, op));
  else
    snprintf (name, size, "write %u of %s", op_number (sim, op), blocks);
}

/* --- nodes: what happened ----------------------------------------------- */

static void
record_durable (struct node *node)
{
  const struct gen_record *record = &node->disk.record;
  struct told_node *told = &trace.nodes[node->index];
  struct gen_id gen = gen_current (record);

  if (gen.epoch != 0)
    name_gen (gen, node);
  if (gen.epoch != 0 && !gen_id_equal (gen, told->gen))
    say ("%c: generation %s (%s) is durable: primary %s, %s", letter (node),
         gen_name (gen),
         gen_kind_name ((enum gen_kind) record->history[0].kind),
         node_name (record->primary),
         record->both ? "members a and b" : "no other member");
  if (record->data != told->data && told->data != DATA_BLANK)
    say ("%c: notes durably that its copy is %s", letter (node),
         gen_data_name ((enum data_state) record->data));
  if (record->size != told->size && told->size != 0)
    say ("%c: has %llu blocks, durably", letter (node),
         (unsigned long long) record->size / MARKS_BLOCK);
  told->gen = gen;
  told->data = record->data;
  told->size = record->size;
}

static void
map_durable (const struct sim *sim, struct node *node)
{
  struct told_node *told = &trace.nodes[node->index];
  uint8_t map = node->disk.map[0];
  uint32_t i;

  for (i = 0; i < sim->regions; i++)
    if ((map ^ told->map) >> i & 1 && (trace.clearing || map >> i & 1))
      say ("%c: region %u is %s on disk", letter (node), i,
           map >> i & 1 ? "marked" : "clear");
  told->map = map;
}

static void
local_done (const struct sim *sim, const struct node *node,
            const struct core_event *event)
{
  uint32_t op = node->slots[event->slot].op;
  char name[80];

  trace_op_name (sim, op, name, sizeof name);
  if (event->error != 0)
    say ("%c: its disk fails %s: %s", letter (node), name,
         error_name (event->error));
  else if (sim->ops[op].kind != OP_READ)
    say ("%c: %s is %s here", letter (node), name,
         sim->ops[op].kind == OP_FLUSH        ? "done"
           : node->slots[event->slot].durable ? "durable"
                                              : "written");
}

/* One that its client has an answer to. */
static void
request_again (const struct sim *sim, const struct node *node,
               const struct core_event *event)
{
  uint32_t op = node->slots[event->slot].op;
  char name[80];

  if (sim->ops[op].answered == 0)
    return;
  trace_op_name (sim, op, name, sizeof name);
  say ("%c: %s comes again", letter (node), name);
}

static bool
anybody_opens (const struct node *node)
{
  uint32_t i;

  for (i = 0; i < SIM_CONNS; i++)
    if (node->conns[i] != NULL && node->conns[i]->server == NBD_OPENING)
      return true;
  return false;
}

void
trace_event (struct sim *sim, struct node *node, const struct core_event *event)
{
  char blocks[48];

  trace.now_us = sim->now_us;
  trace.opening = event->type == EV_OPEN;
  switch (event->type) {
  case EV_SB_DURABLE: record_durable (node); break;
  case EV_MAP_DURABLE: map_durable (sim, node); break;
  case EV_REQUEST: request_again (sim, node, event); break;
  case EV_LOCAL_DONE: local_done (sim, node, event); break;
  case EV_STORE_SYNCED:
    say ("%c: its store %s", letter (node),
         event->error != 0 ? "cannot be synced" : "is synced");
    break;
  case EV_APPLIED:
    if (event->error != 0)
      say ("%c: its disk fails what the peer sent", letter (node));
    break;
  case EV_CHUNK_DONE:
    if (event->error != 0)
      say ("%c: its disk fails a read for the resync", letter (node));
    break;
  case EV_CONNECT_FAILED:
    if (anybody_opens (node))
      say ("%c: tries to reach its peer, in vain", letter (node));
    break;
  case EV_FRAME:
    if (event->frame->type != WIRE_HASH_REPLY)
      break;
    frame_blocks (event->frame, blocks, sizeof blocks);
    say ("%c -> %c: hash-reply, %s", 'b' - node->index, letter (node), blocks);
    break;
  default: break;
  }
}

/* --- nodes: what the core wants ----------------------------------------- */

static void
data_frame (const struct sim *sim, const struct node *node,
            const struct core_action *action, char *text, size_t size)
{
  char name[80];

  if (action->frame.flags & WIRE_RESYNC) {
    frame_blocks (&action->frame, name, sizeof name);
    snprintf (text, size, "resync%s, %s",
              action->frame.type == WIRE_ZERO ? " of zeros" : "", name);
  }
  else
    trace_op_name (sim, node->slots[action->slot].op, text, size);
}

/* False: not worth a line. */
static bool
frame_text (const struct sim *sim, const struct node *node,
            const struct core_action *action, char *text, size_t size)
{
  const struct wire_frame *frame = &action->frame;
  const struct gen_record *told = &core_hello (node->core)->record;
  const char *name = wire_type_name (frame->type);
  char blocks[48];

  switch ((enum wire_type) frame->type) {
  case WIRE_WRITE:
  case WIRE_ZERO: data_frame (sim, node, action, text, size); break;
  case WIRE_HELLO_FRAME:
    snprintf (text, size, "hello, %s, %s", gen_name (gen_current (told)),
              gen_data_name ((enum data_state) told->data));
    break;
  case WIRE_ADOPT:
    snprintf (text, size, "adopt %s (%s)", gen_name (gen_current (told)),
              gen_kind_name ((enum gen_kind) frame->arg));
    break;
  case WIRE_HASH_REQUEST:
    frame_blocks (frame, blocks, sizeof blocks);
    snprintf (text, size, "%s, %s", name, blocks);
    break;
  case WIRE_PING:
    if (!trace.opening)
      return false;
    trace.ping = frame->arg;
    snprintf (text, size, "ping, for the client that opens");
    break;
  case WIRE_CLEAR:
    if (!trace.clearing)
      return false;
    snprintf (text, size, "%s", name);
    break;
  case WIRE_PONG:
    if (frame->arg == 0 || frame->arg != trace.ping)
      return false;
    trace.ping = 0;
    snprintf (text, size, "pong");
    break;
  default: snprintf (text, size, "%s", name); break;
  }
  return true;
}

static void
open_done (const struct node *node, const struct core_action *action)
{
  const struct nbd *nbd = node->conns[action->slot];
  struct told_client *told = &trace.clients[nbd->client];
  char answer[STORY_LINE_MAX], both[STORY_LINE_MAX];

  if (nbd->id != told->nbd)
    return;
  told->waiting = false;
  if (action->error == 0)
    return;
  snprintf (answer, sizeof answer, "%c: refuses %s: %s", letter (node),
            client_name (nbd->client), action->reason);
  snprintf (both, sizeof both, "%.60s, %.130s", told->ask, answer);
  if (told->ask[0] != '\0' && strcmp (both, told->last[node->index]) == 0) {
    told->ask[0] = '\0';
    return;
  }
  if (told->ask[0] != '\0')
    memcpy (told->last[node->index], both, sizeof both);
  say ("%s", answer);
}

static void
complete (const struct sim *sim, const struct node *node,
          const struct core_action *action)
{
  char name[80];

  if (action->error == 0)
    return;
  trace_op_name (sim, node->slots[action->slot].op, name, sizeof name);
  say ("%c: ends %s with %s", letter (node), name, error_name (action->error));
}

void
trace_action (struct sim *sim, struct node *node,
              const struct core_action *action)
{
  const struct nbd *nbd;
  struct core_view view;
  char text[STORY_LINE_MAX];

  switch (action->type) {
  case ACT_SEND:
    if (frame_text (sim, node, action, text, sizeof text))
      say ("%c -> %c: %s", letter (node), 'b' - node->index, text);
    break;
  case ACT_STATE:
    core_view (node->core, &view);
    say ("%c: %s: %s", letter (node), core_state_name (view.state),
         view.reason);
    break;
  case ACT_DROP_LINK:
    say ("%c: closes the link: %s", letter (node), action->reason);
    break;
  case ACT_GROW:
    say ("%c: makes its files fit for %llu blocks", letter (node),
         (unsigned long long) action->length / MARKS_BLOCK);
    break;
  case ACT_OPEN_DONE: open_done (node, action); break;
  case ACT_CONN_ENDED:
    nbd = node->conns[action->slot];
    say ("%c: ends the session of %s", letter (node),
         client_name (nbd->client));
    break;
  case ACT_COMPLETE: complete (sim, node, action); break;
  case ACT_ADMIN_DONE:
    say ("%c: tells the administrator: %s", letter (node),
         action->error == 0 ? "done" : action->reason);
    break;
  default: break;
  }
}

/* --- clients ------------------------------------------------------------ */

static void
client_asked (const struct client *client, struct told_client *told)
{
  const struct nbd *nbd = client->asking;
  char *ask = told->ask;

  told->nbd = nbd->id;
  told->asked = nbd->node;
  told->waiting = true;
  snprintf (ask, sizeof told->ask, "%s: asks %c", client_name (client->index),
            'a' + nbd->node);
  if (client->proxied)
    snprintf (ask + strlen (ask), sizeof told->ask - strlen (ask),
              ", shows %s%s", gen_name (nbd->open.shown),
              nbd->open.unreachable ? ", cannot reach the primary" : "");
}

static void
client_not_answered (const struct client *client, struct told_client *told)
{
  char answer[STORY_LINE_MAX];

  told->waiting = false;
  snprintf (answer, sizeof answer, "%.100s: no answer", told->ask);
  if (told->ask[0] == '\0') {
    say ("%s: %c does not answer", client_name (client->index),
         'a' + told->asked);
    return;
  }
  told->ask[0] = '\0';
  if (strcmp (answer, told->last[told->asked]) != 0) {
    memcpy (told->last[told->asked], answer, sizeof answer);
    say ("%s", answer);
  }
}

static void
client_session (const struct client *client, struct told_client *told)
{
  const char *name = client_name (client->index);

  if (told->live == client->live &&
      (!client->live || told->node == client->node))
    return;
  if (!client->live)
    say ("%s: its session is over", name);
  else if (client->proxied)
    say ("%s: is served by %c, %s", name, 'a' + client->nbd[0]->node,
         gen_name (client->served));
  else
    say ("%s: is connected to %c", name, 'a' + client->nbd[0]->node);
  told->live = client->live;
  told->node = client->node;
  memset (told->last, 0, sizeof told->last);
}

static void
client_changes (const struct client *client)
{
  struct told_client *told = &trace.clients[client->index];
  const struct nbd *asking = client->asking;
  bool adopted = client->live && client->nbd_count > 0 &&
    client->nbd[0]->id == told->nbd;

  if (!client->alive)
    told->waiting = false;
  if (told->waiting && !adopted && (asking == NULL || asking->id != told->nbd))
    client_not_answered (client, told);
  client_session (client, told);
  if (asking != NULL && asking->id != told->nbd)
    client_asked (client, told);
  if (client->proxied && !gen_id_equal (client->saved, told->saved)) {
    told->saved = client->saved;
    if (told->saved.epoch != 0)
      say ("%s: notes in its state file that %s has answered",
           client_name (client->index), gen_name (told->saved));
  }
}

/* What the cells of a read hold, as the numbers of writes. */
static void
read_found (const struct sim *sim, const struct op *op, char *text, size_t size)
{
  uint32_t i, value = tag_value (op->values[0]);

  for (i = 1; i < op->count; i++)
    if (tag_value (op->values[i]) != value) {
      snprintf (text, size, "a mixture");
      return;
    }
  if (value == 0)
    snprintf (text, size, "zeros");
  else
    snprintf (text, size, "write %u", op_number (sim, value - 1));
}

static void
answers (const struct sim *sim)
{
  uint32_t i;
  char name[80], found[32];

  for (i = 0; i < sim->op_count; i++) {
    const struct op *op = &sim->ops[i];

    if (trace.told[i] || op->answered == 0)
      continue;
    trace.told[i] = true;
    trace_op_name (sim, i, name, sizeof name);
    if (op->error != 0)
      say ("%s: %s fails: %s", client_name (op->client), name,
           error_name (op->error));
    else if (op->kind == OP_READ) {
      read_found (sim, op, found, sizeof found);
      say ("%s: %s finds %s", client_name (op->client), name, found);
    }
    else
      say ("%s: %s is answered", client_name (op->client), name);
  }
}

void
trace_after (struct sim *sim)
{
  int c;

  trace.now_us = sim->now_us;
  for (c = 0; c < sim->client_count; c++)
    client_changes (&sim->clients[c]);
  answers (sim);
}

void
trace_client_starts (const struct client *client)
{
  struct told_client *told = &trace.clients[client->index];

  *told = (struct told_client){ .node = 0, .saved = client->saved };
}

void
trace_new_disk (const struct node *node)
{
  trace.nodes[node->index] = (struct told_node){ .data = DATA_BLANK };
}
