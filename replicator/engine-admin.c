/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * engine-admin.c: the administrator's wishes on their way into the core
 * and its answers on their way out.
 */
#include <errno.h>
#include <stdio.h>

#include "engine-internal.h"

int
engine_admin (struct engine *engine, const struct core_wish *wish, char *error,
              size_t error_size)
{
  struct core_event event = { .type = EV_ADMIN, .wish = *wish };
  int failed = EBUSY;

  snprintf (error, error_size,
            "another command of the administrator is under way");
  pthread_mutex_lock (&engine->lock);
  if (!engine->wish.busy) {
    engine->wish.busy = true;
    engine->wish.done = false;
    engine_step_locked (engine, &event);
    engine_unlock_and_send (engine);
    pthread_mutex_lock (&engine->lock);
    while (!engine->wish.done)
      pthread_cond_wait (&engine->wish.wake, &engine->lock);
    engine->wish.busy = false;
    failed = engine->wish.error;
    if (failed != 0)
      snprintf (error, error_size, "%s", engine->wish.reason);
  }
  engine_unlock_and_send (engine);
  errno = failed;
  return failed == 0 ? 0 : -1;
}
