/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ready.h: tell a service manager that a plugin serves.  nbdkit itself
 * does not.
 */
#ifndef DUET_READY_H
#define DUET_READY_H

/* READY=1 to $NOTIFY_SOCKET, if there is one, as sd_notify(3) does.  At
 * the end of .after_fork: the server listens by then.  Never blocks.
 */
void ready_tell (void);

#endif /* DUET_READY_H */
