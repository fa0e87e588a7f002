/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * story-script.c: when each step of a story is taken.
 *
 * After a step the world goes on until nothing new has been said for
 * SETTLE_MS of its time; then the next step is taken.  But a step that
 * is followed by "wait" or by "at once STEP" does not go on by itself:
 * "wait until TEXT" goes on until a line of the trace since that step has
 * TEXT in it, and "at once" means that no time passes at all.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "story.h"

enum {
  SETTLE_MS = 4000,
  WAIT_LIMIT_MS = 60000,
  PULSE_MS = 10,
  STEPS_MAX = 256,
};

/* What lets the next step be taken. */
enum until { UNTIL_NOW, UNTIL_SETTLED, UNTIL_SAID, UNTIL_TIME, UNTIL_GIVEN };

static struct {
  char *lines[STEPS_MAX];
  uint32_t count, next;
  enum until until;
  uint64_t time_us; /* the limit, or when to go on */
  const char *awaited;
  uint32_t said_from;
  int given_client;
  bool step_open; /* there is one whose trace is being written */
} script;

/* --- waiting ------------------------------------------------------------ */

void
script_wait_said (const struct sim *sim, const char *text)
{
  script.until = UNTIL_SAID;
  script.awaited = text;
  script.time_us = sim->now_us + WAIT_LIMIT_MS * SIM_MS;
}

void
script_wait_ms (const struct sim *sim, uint64_t ms)
{
  script.until = UNTIL_TIME;
  script.time_us = sim->now_us + ms * SIM_MS;
}

void
script_wait_given (const struct sim *sim, int client)
{
  script.until = UNTIL_GIVEN;
  script.given_client = client;
  script.time_us = sim->now_us + WAIT_LIMIT_MS * SIM_MS;
}

static bool
begins (const char *text, const char *with)
{
  return strncmp (text, with, strlen (with)) == 0;
}

/* --- the course of a story ---------------------------------------------- */

static bool
is_step (const char *line)
{
  return line[0] != '\0' && line[0] != '#' && line[0] != ' ';
}

static bool
is_early (const char *line)
{
  return begins (line, "wait ") || begins (line, "at once ");
}

/* Comments up to the next step; it stays. */
static const char *
next_step (void)
{
  uint32_t i;

  for (i = script.next; i < script.count; i++)
    if (is_step (script.lines[i]))
      return script.lines[i];
  return NULL;
}

static void
end_step (void)
{
  if (script.step_open)
    trace_step_end ();
  script.step_open = false;
}

static void
copy_comments (void)
{
  while (script.next < script.count && !is_step (script.lines[script.next]))
    trace_copy (script.lines[script.next++]);
}

static void
take_step (struct sim *sim)
{
  const char *line = script.lines[script.next++], *step = line, *after;
  struct step_arguments arguments;
  const struct step *found;
  bool early = is_early (line);

  trace_copy (line);
  if (begins (step, "at once "))
    step += strlen ("at once ");
  found = step_find (step, &arguments);
  if (found == NULL)
    sim_fail (sim, "no such step: %s", step);
  if (!early && !found->looks) {
    trace_step ();
    script.said_from = 0;
  }
  script.step_open = !found->looks;
  script.until = found->looks ? UNTIL_NOW : UNTIL_SETTLED;
  snprintf (sim_report->rule, sizeof sim_report->rule, "%s", line);
  found->run (sim, &arguments);
  after = next_step ();
  if (script.until == UNTIL_SETTLED && after != NULL && is_early (after))
    script.until = UNTIL_NOW;
}

static bool
may_go_on (struct sim *sim)
{
  switch (script.until) {
  case UNTIL_NOW: return true;
  case UNTIL_SETTLED:
    return sim->now_us >= trace_news_us () + SETTLE_MS * SIM_MS;
  case UNTIL_TIME: return sim->now_us >= script.time_us;
  case UNTIL_SAID:
    if (trace_said (script.awaited, &script.said_from))
      return true;
    break;
  case UNTIL_GIVEN:
    if (step_given (sim, script.given_client))
      return true;
    break;
  }
  if (sim->now_us >= script.time_us)
    sim_fail (sim, "it never comes");
  return false;
}

static void
after (struct sim *sim)
{
  trace_after (sim);
  while (sim->phase != PHASE_DONE && may_go_on (sim)) {
    end_step ();
    copy_comments ();
    if (script.next < script.count) {
      take_step (sim);
      trace_after (sim);
      continue;
    }
    snprintf (sim_report->rule, sizeof sim_report->rule, "the end");
    if (!sim->model->split && !flush_mode (sim))
      history_check (sim);
    sim->phase = PHASE_DONE;
  }
  step_keep_faults (sim);
}

/* Something happens all the time, so that steps find their moment. */
static void
pulse (struct sim *sim, const struct sim_event *event)
{
  sim_after (sim, PULSE_MS * SIM_MS, *event);
}

static void
begin (struct sim *sim)
{
  step_begin (sim);
  sim_after (sim, 0, (struct sim_event){ .run = pulse, .node = -1 });
}

/* A node hangs up on a session that it has ended, as nbdkit can. */
static void
on_action (struct sim *sim, struct node *node, const struct core_action *action)
{
  trace_action (sim, node, action);
  if (action->type == ACT_CONN_ENDED)
    nbd_server_hangs_up (sim, node->conns[action->slot]);
}

const struct sim_script story_script = {
  .begin = begin,
  .after = after,
  .on_event = trace_event,
  .on_action = on_action,
};

/* All lines but those of the trace. */
void
script_load (const char *path)
{
  FILE *file = fopen (path, "r");
  char *line = NULL;
  size_t room = 0;
  ssize_t length;

  if (file == NULL) {
    perror (path);
    exit (2);
  }
  while ((length = getline (&line, &room, file)) > 0) {
    if (line[length - 1] == '\n')
      line[length - 1] = '\0';
    if (line[0] == ' ')
      continue;
    assert (script.count < STEPS_MAX);
    script.lines[script.count] = strdup (line);
    assert (script.lines[script.count++] != NULL);
  }
  free (line);
  fclose (file);
}
