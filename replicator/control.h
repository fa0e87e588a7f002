/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * control.h: the unix socket for the administrator: one line of JSON in,
 * one line of JSON out, then the connection ends.
 */
#ifndef DUET_CONTROL_H
#define DUET_CONTROL_H

#include <stddef.h>

struct control;
struct engine;

/* Binds PATH (mode 0600; a stale socket of a dead process is replaced, a
 * live one is an error).  NULL with a message in ERROR.
 */
struct control *control_new (const char *path, struct engine *engine,
                             char *error, size_t error_size);
int control_start (struct control *control); /* one thread */
void control_stop (struct control *control); /* joins it, unlinks */
void control_free (struct control *control);

#endif /* DUET_CONTROL_H */
