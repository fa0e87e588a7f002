/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine-key.c: the engine's way to the volume's key in etcd: what the
 * core asks is carried out by a thread of its own, one call at a time, and
 * never on the way of a client's request.
 */
#include <stdio.h>
#include <stdlib.h>

#include "engine-internal.h"

/* A call, copied from the core when it was asked for. */
struct key_job {
  struct engine *engine;
  struct core_action action;
  struct arbiter_value value; /* ACT_KEY_READ: only its volume */
};

/* Said once when etcd stops answering and once when it does again. */
static void
note_answer_locked (struct engine *engine, const struct arbiter_answer *answer)
{
  bool answered = answer->result == ARBITER_DONE ||
    answer->result == ARBITER_CONFLICT;
  char *reason = engine->arbiter_reason;

  if (engine->stopping)
    return;
  if (answered && reason[0] != '\0')
    engine_log (engine, "etcd answers again");
  if (!answered && reason[0] == '\0')
    engine_log (engine, "etcd does not answer: %s",
                arbiter_reason (engine->arbiter));
  if (answered && answer->revision != 0 && !answer->understood)
    engine_log_once_locked (engine,
                            "etcd: the volume's key holds something that this "
                            "version of duet did not write");
  snprintf (reason, ETCD_REASON_MAX, "%s",
            answered ? "" : arbiter_reason (engine->arbiter));
}

static void
run_key (void *opaque)
{
  struct key_job *job = opaque;
  struct engine *engine = job->engine;
  struct arbiter_answer answer;
  struct core_event event = { .type = EV_ARBITER,
                              .version = job->action.version,
                              .arbiter = &answer };

  if (job->action.type == ACT_KEY_READ)
    arbiter_read (engine->arbiter, job->value.volume, &answer);
  else
    arbiter_swap (engine->arbiter, job->action.seq, &job->value, &answer);
  pthread_mutex_lock (&engine->lock);
  note_answer_locked (engine, &answer);
  engine_step_locked (engine, &event);
  engine_unlock_and_send (engine);
  free (job);
}

void
engine_ask_arbiter_locked (struct engine *engine,
                           const struct core_action *action)
{
  struct key_job *job;

  if (engine->keys_ended)
    return;
  job = calloc (1, sizeof *job);
  if (job == NULL)
    abort ();
  job->engine = engine;
  job->action = *action;
  if (action->type == ACT_KEY_CAS)
    job->value = *core_arbiter_value (engine->core);
  else
    job->value.volume = core_record (engine->core)->volume;
  if (jobs_add (engine->key_jobs, run_key, job) == -1)
    abort ();
}
