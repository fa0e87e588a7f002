/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flusher.h: this process serves a disk to the kernel that it runs on.
 * For both plugins.
 */
#ifndef DUET_FLUSHER_H
#define DUET_FLUSHER_H

/* For get_ready: before nbdkit changes its user, forks or starts threads,
 * which all inherit it.
 */
void flusher_ready (void);

#endif /* DUET_FLUSHER_H */
