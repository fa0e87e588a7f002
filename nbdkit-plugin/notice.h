/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * notice.h: lines for the log that are no errors: both plugins' changes of
 * state.  nbdkit has nothing between errors and debugging.
 */
#ifndef DUET_NOTICE_H
#define DUET_NOTICE_H

/* Before nbdkit may fork (.get_ready). */
void notice_ready (void);

/* Where nbdkit's errors go: to standard error, or to syslog when nbdkit
 * has gone into the background and has no standard error any more.  WHO
 * stands in front.  Any thread.
 */
void notice (const char *who, const char *line);

#endif /* DUET_NOTICE_H */
