/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * thread.h: start a thread of ours inside somebody else's process: with
 * a name for top and gdb, and with all signals blocked, since signals
 * are the server's business.
 */
#ifndef DUET_THREAD_H
#define DUET_THREAD_H

#include <pthread.h>
#include <signal.h>

/* NAME: at most 15 bytes.  0, or an errno. */
static inline int
thread_start (pthread_t *thread, const char *name, void *(*run) (void *),
              void *argument)
{
  sigset_t all;
  sigset_t before;

  sigfillset (&all);
  pthread_sigmask (SIG_SETMASK, &all, &before);
  int error = pthread_create (thread, NULL, run, argument);
  pthread_sigmask (SIG_SETMASK, &before, NULL);
  if (error == 0)
    pthread_setname_np (*thread, name);
  return error;
}

#endif /* DUET_THREAD_H */
