/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * hangup.h: ends the connections of idle clients when the server is told
 * to end, for both plugins.
 */
#ifndef DUET_HANGUP_H
#define DUET_HANGUP_H

#include <stdbool.h>

/* Note the listening sockets that this process has by now and that were
 * not noted before: SERVER: they are nbdkit's, clients come by them; else
 * they are the plugin's own.  For get_ready and after_fork, before the
 * plugin's threads are there.
 */
void hangup_note (bool server);

/* Start to watch (in after_fork).  When the server ends, clients are hung
 * up; if that takes long, STOP is called, from the watching thread, which
 * must make waiting requests end.  0, or -1 with errno.
 */
int hangup_start (void (*stop) (void));

/* In unload, not in cleanup: nbdkit may have accepted a connection that
 * it did not count yet when it called cleanup, and then waits for it.
 */
void hangup_stop (void);

#endif /* DUET_HANGUP_H */
