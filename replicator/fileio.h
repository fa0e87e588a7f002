/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fileio.h: whole reads and writes, locks and folders, for store.c and
 * metafile.c.
 */
#ifndef DUET_FILEIO_H
#define DUET_FILEIO_H

#include <stdint.h>

/* Reads until LENGTH bytes are there or the file ends, through EINTR and
 * short transfers.  How many bytes there were, or -1 with errno.
 */
int64_t fileio_read_up_to (int fd, void *buffer, uint64_t length,
                           uint64_t offset);
/* All of it: 0, or -1 with errno; the end of the file is EIO. */
int fileio_read (int fd, void *buffer, uint64_t length, uint64_t offset);
int fileio_write (int fd, const void *buffer, uint64_t length, uint64_t offset);
int fileio_write_zeros (int fd, uint64_t length, uint64_t offset);

/* A write lock of this open file (not of the process) on [offset,
 * +length), length 0: all from there on.  Does not wait.  -1 with EBUSY
 * when somebody else has it.
 */
int fileio_lock (int fd, uint64_t offset, uint64_t length);

/* fdatasync.  An interrupted one has neither failed nor used up an error,
 * and is called again.  0, or -1 with errno.
 */
int fileio_sync (int fd);

/* After a failed writeback the kernel counts pages as clean that never
 * reached the disk.  This makes it forget what it holds of the range, so
 * that the next read asks the disk.  Pages that are dirty, or mapped by
 * some other program, stay.
 */
void fileio_forget (int fd, uint64_t offset, uint64_t length);

/* Makes the entry of PATH in its folder durable. */
int fileio_sync_folder (const char *path);

#endif /* DUET_FILEIO_H */
