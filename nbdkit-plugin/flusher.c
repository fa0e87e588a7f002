/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flusher.c: tells the kernel that this process may be what makes room in
 * its memory.
 *
 * A client's kernel on the same machine (nbd-client, nbdfuse) writes its
 * dirty pages by way of this process.  When there are too many of them it
 * makes processes that write to files wait until some are written - and so
 * would make wait the one that writes them, for ever.  An io flusher is held
 * up only by what is dirty on the disk it writes to itself, and does not
 * write others' pages out when it allocates memory.
 */
#include "flusher.h"

#include <sys/prctl.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

void
flusher_ready (void)
{
  /* Needs CAP_SYS_RESOURCE and Linux 5.6.  Without, duet works as well,
   * but not well for a kernel on the same machine.
   */
#ifdef PR_SET_IO_FLUSHER
  if (prctl (PR_SET_IO_FLUSHER, 1, 0, 0, 0) == -1)
    nbdkit_debug ("not an io flusher: %m");
#endif
}
