/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * jobs.c: a few threads and a queue.  Jobs are rare (metadata, resync
 * chunks, log lines), so a mutex and a list are enough.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "jobs.h"
#include "thread.h"

struct job {
  struct job *next;
  void (*run) (void *opaque);
  void *opaque;
};

struct jobs {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  struct job *head, **tail; /* lock */
  bool stopping;            /* lock */
  unsigned threads, running;
  pthread_t *ids;
};

struct jobs *
jobs_new (unsigned threads)
{
  struct jobs *jobs = calloc (1, sizeof *jobs);

  if (jobs == NULL)
    return NULL;
  jobs->ids = calloc (threads, sizeof *jobs->ids);
  if (jobs->ids == NULL) {
    free (jobs);
    return NULL;
  }
  jobs->threads = threads;
  jobs->tail = &jobs->head;
  pthread_mutex_init (&jobs->lock, NULL);
  pthread_cond_init (&jobs->wake, NULL);
  return jobs;
}

static struct job *
take_job (struct jobs *jobs)
{
  struct job *job;

  pthread_mutex_lock (&jobs->lock);
  while (jobs->head == NULL && !jobs->stopping)
    pthread_cond_wait (&jobs->wake, &jobs->lock);
  job = jobs->head;
  if (job != NULL) {
    jobs->head = job->next;
    if (jobs->head == NULL)
      jobs->tail = &jobs->head;
  }
  pthread_mutex_unlock (&jobs->lock);
  return job;
}

static void *
job_thread (void *opaque)
{
  struct jobs *jobs = opaque;
  struct job *job;

  while ((job = take_job (jobs)) != NULL) {
    job->run (job->opaque);
    free (job);
  }
  return NULL;
}

int
jobs_start (struct jobs *jobs)
{
  int error;

  for (; jobs->running < jobs->threads; jobs->running++) {
    error = thread_start (&jobs->ids[jobs->running], "duet-job", job_thread,
                          jobs);
    if (error != 0) {
      errno = error;
      return -1;
    }
  }
  return 0;
}

int
jobs_add (struct jobs *jobs, void (*run) (void *opaque), void *opaque)
{
  struct job *job = malloc (sizeof *job);

  if (job == NULL)
    return -1;
  *job = (struct job){ .run = run, .opaque = opaque };
  pthread_mutex_lock (&jobs->lock);
  *jobs->tail = job;
  jobs->tail = &job->next;
  pthread_cond_signal (&jobs->wake);
  pthread_mutex_unlock (&jobs->lock);
  return 0;
}

void
jobs_stop (struct jobs *jobs)
{
  pthread_mutex_lock (&jobs->lock);
  jobs->stopping = true;
  pthread_cond_broadcast (&jobs->wake);
  pthread_mutex_unlock (&jobs->lock);
  while (jobs->running > 0)
    pthread_join (jobs->ids[--jobs->running], NULL);
}

void
jobs_free (struct jobs *jobs)
{
  if (jobs == NULL)
    return;
  pthread_cond_destroy (&jobs->wake);
  pthread_mutex_destroy (&jobs->lock);
  free (jobs->ids);
  free (jobs);
}
