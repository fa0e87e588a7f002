/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * jobs.h: a few threads that carry out jobs in order of arrival.
 */
#ifndef DUET_JOBS_H
#define DUET_JOBS_H

struct jobs;

/* THREADS threads are started by jobs_start.  NULL: no memory. */
struct jobs *jobs_new (unsigned threads);
int jobs_start (struct jobs *jobs);
/* Carries out what is queued, then ends the threads. */
void jobs_stop (struct jobs *jobs);
void jobs_free (struct jobs *jobs);

/* Queue RUN (OPAQUE), never blocks.  0, or -1 with errno ENOMEM. */
int jobs_add (struct jobs *jobs, void (*run) (void *opaque), void *opaque);

#endif /* DUET_JOBS_H */
