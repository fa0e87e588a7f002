/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-etcd.c: etcd as a party: one key with a revision, the way there and
 * back, and what must hold because of it.  Questions and answers are lost,
 * late, and carried out or delivered twice; a cut holds them back or loses
 * them.  The node's shell gives up waiting after a while and says so.
 *
 *   [M] the key first, then the disk, then service or word of it
 *   [M] the name of an attempt is durable before it is sent
 *   [M] no hello while the fate of an attempt is not known
 *   [M] no attempt to go on alone before one to reach the peer has failed
 *   I2  when a node answers, the other does not any more in an older
 *       generation
 */
#include <assert.h>

#include "sim.h"

enum { GIVE_UP_US = 300000 };

/* One question of a node on its way. */
struct question {
  uint64_t ticket, revision;
  bool swap, again;
  struct arbiter_value value;
  struct arbiter_answer answer;
};

static bool
cut (const struct sim *sim, int node)
{
  return sim->nodes[node].etcd_cut_until > sim->now_us;
}

/* ---------------------------------------------------------------- etcd */

static void
trace_value (struct sim *sim, const char *what)
{
  const struct arbiter_value *value = &sim->etcd.value;

  sim_trace (sim, "etcd: %s: revision %llu, %llu.%llx (%s) by %llx", what,
             (unsigned long long) sim->etcd.revision,
             (unsigned long long) value->gen.epoch,
             (unsigned long long) value->gen.id & 0xffff,
             gen_kind_name ((enum gen_kind) value->kind),
             (unsigned long long) value->maker & 0xffff);
}

static void
carry_out (struct sim *sim, struct question *question)
{
  struct etcd_key *key = &sim->etcd;
  bool fits = question->revision == key->revision;

  key->clock += 1 + sim_below (sim, 3); /* others use etcd, too */
  question->answer.result = ARBITER_DONE;
  if (question->swap && !fits)
    question->answer.result = ARBITER_CONFLICT;
  else if (question->swap) {
    assert (key->past_count < SIM_GENERATIONS);
    key->revision = key->clock;
    key->value = question->value;
    key->past[key->past_count++] = question->value.gen;
    trace_value (sim, "set");
  }
  question->answer.revision = key->revision;
  question->answer.understood = key->revision != 0;
  question->answer.value = key->value;
}

/* ------------------------------------------------------------ the way */

static void
answer_comes (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  const struct question *question = event->data;
  struct core_event answer = { .type = EV_ARBITER,
                               .version = question->ticket,
                               .arbiter = &question->answer };

  if (node->etcd_ticket == question->ticket)
    node->etcd_ticket = 0;
  node_step (sim, node, &answer);
}

static void
send_answer (struct sim *sim, struct node *node, struct question *question,
             uint64_t delay_us)
{
  struct sim_event event = node_event (node, answer_comes);

  event.data = question;
  sim_after (sim, delay_us, event);
}

/* The question has come to etcd: EVENT's a is the node, b its life. */
static void
question_comes (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->a];
  struct question *question = event->data, *twice;
  struct sim_event again = *event;

  if (cut (sim, (int) event->a)) {
    if (!sim_chance (sim, 2))
      sim_at (sim, node->etcd_cut_until + sim_below (sim, 5 * SIM_MS), again);
    return;
  }
  if (!question->again && sim_chance (sim, 12)) {
    twice = sim_alloc (sim, sizeof *twice);
    *twice = *question;
    twice->again = true;
    again.data = twice;
    sim_after (sim, sim_below (sim, 2000 * SIM_MS), again);
  }
  carry_out (sim, question);
  if (!node->alive || node->life != event->b || sim_chance (sim, 16))
    return;
  send_answer (sim, node, question, sim_delay (sim, 700));
  if (sim_chance (sim, 16))
    send_answer (sim, node, question, sim_delay (sim, 200 * SIM_MS));
}

static void
give_up (struct sim *sim, const struct sim_event *event)
{
  struct node *node = &sim->nodes[event->node];
  const struct arbiter_answer unknown = { .result = ARBITER_UNKNOWN };
  struct core_event answer = { .type = EV_ARBITER,
                               .version = event->c,
                               .arbiter = &unknown };

  if (node->etcd_ticket != event->c)
    return;
  node->etcd_ticket = 0;
  node_step (sim, node, &answer);
}

void
etcd_ask (struct sim *sim, struct node *node, const struct core_action *action)
{
  struct question *question = sim_alloc (sim, sizeof *question);
  struct sim_event event = { .run = question_comes,
                             .node = -1,
                             .a = (uint32_t) node->index,
                             .b = node->life,
                             .data = question };
  struct sim_event timeout = node_event (node, give_up);

  if (node->etcd_ticket != 0)
    sim_fail (sim, "%c asks etcd two things at once", 'A' + node->index);
  node->etcd_ticket = timeout.c = action->version;
  question->ticket = action->version;
  question->swap = action->type == ACT_KEY_CAS;
  question->revision = action->seq;
  if (question->swap)
    question->value = *core_arbiter_value (node->core);
  sim_after (sim, GIVE_UP_US, timeout);
  if (cut (sim, node->index) && sim_chance (sim, 2)) {
    question->answer.result = ARBITER_UNREACHABLE;
    send_answer (sim, node, question, sim_delay (sim, 20 * SIM_MS));
    return;
  }
  if (sim_chance (sim, 16))
    return;
  sim_after (sim,
             sim_chance (sim, 12) ? sim_below (sim, 3000 * SIM_MS)
                                  : sim_delay (sim, 700),
             event);
}

/* ------------------------------------------------------------ invariants */

/* What NODE asks etcd to set. */
static void
check_swap (struct sim *sim, const struct node *node)
{
  const struct arbiter_value *value = core_arbiter_value (node->core);
  const struct gen_record *durable = &node->disk.record;

  if (!gen_id_equal (value->gen, gen_current (core_record (node->core))) &&
      !gen_id_equal (value->gen, durable->attempt.gen))
    sim_fail (sim, "%c sends an attempt whose name is not durable",
              'A' + node->index);
}

/* NODE writes down the name of what it will ask for. */
static void
check_name (struct sim *sim, struct node *node)
{
  const struct generation *attempt = &core_record (node->core)->attempt;
  bool alone = attempt->kind == GEN_SOLO || attempt->kind == GEN_TAKEOVER;
  struct core_view view;

  if (gen_id_equal (attempt->gen, node->etcd_name))
    return;
  node->etcd_name = attempt->gen;
  core_view (node->core, &view);
  if (alone && !view.linked && !node->tried &&
      sim->nodes[1 - node->index].disk.record.data == DATA_CURRENT)
    sim_fail (sim, "%c asks to go on alone and has not tried to reach its peer",
              'A' + node->index);
}

void
etcd_check_action (struct sim *sim, struct node *node,
                   const struct core_action *action)
{
  if (action->type == ACT_KEY_CAS)
    check_swap (sim, node);
  if (action->type == ACT_PERSIST_SB)
    check_name (sim, node);
  if (action->type == ACT_SEND && action->frame.type == WIRE_HELLO_FRAME &&
      core_record (node->core)->attempt.kind != GEN_NONE)
    sim_fail (sim, "%c says hello while an attempt is undecided",
              'A' + node->index);
}

/* A generation is about to be written down: is it the key's? */
void
etcd_check_record (struct sim *sim, int node, const struct gen_record *record)
{
  uint32_t i;

  if (record->history[0].kind == GEN_CREATE)
    return;
  for (i = sim->etcd.past_count; i-- > 0;)
    if (gen_id_equal (sim->etcd.past[i], record->history[0].gen))
      return;
  sim_fail (sim, "%c writes down generation %llu.%llx, which etcd never held",
            'A' + node, (unsigned long long) record->history[0].gen.epoch,
            (unsigned long long) record->history[0].gen.id & 0xffff);
}

/* NODE answers a request in generation GEN. */
void
etcd_check_served (struct sim *sim, int node, struct gen_id gen)
{
  uint64_t other = sim->etcd.served[1 - node];

  if (gen.epoch <= other)
    sim_fail (sim, "I2: %c answers in epoch %llu, %c has in %llu", 'A' + node,
              (unsigned long long) gen.epoch, 'A' + 1 - node,
              (unsigned long long) other);
  sim->etcd.served[node] = gen.epoch;
}
