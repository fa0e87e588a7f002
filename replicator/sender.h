/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sender.h: frames out, in the order in which they were queued, many to
 * a system call.
 */
#ifndef DUET_SENDER_H
#define DUET_SENDER_H

#include "channel.h"
#include "link.h"

struct sender;

/* NULL: no memory. */
struct sender *sender_new (void);
void sender_free (struct sender *sender);

/* The thread that goes on where a full socket stopped the others.  0 or
 * an errno.  Stop it when no connection is open.
 */
int sender_start (struct sender *sender);
void sender_stop (struct sender *sender);

/* Frames for LINK go to CHANNEL from now on.  Close: to nowhere; when it
 * returns, nobody uses CHANNEL here, and everything that had been queued
 * has had its done().  CHANNEL must be shut down before close, or close
 * may wait for a slow peer.  One thread calls these two.
 */
void sender_open (struct sender *sender, struct channel *channel,
                  uint32_t link);
void sender_close (struct sender *sender);

/* Did sending on the present connection fail, and not because the peer has
 * closed it?  From the thread of open and close.
 */
bool sender_failed (const struct sender *sender);

/* As link_queue and link_flush.  Neither ever blocks on the socket. */
void sender_queue (struct sender *sender, struct link_frame *frame);
void sender_flush (struct sender *sender);

/* Fill in the three numbers about sending. */
void sender_counts (struct sender *sender, struct link_counts *counts);

#endif /* DUET_SENDER_H */
