/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sanitizer-first.c: starts ASan or TSan in a process that is not
 * sanitized itself, before any other library's constructor runs.
 *
 * nbdkit gets the runtime by LD_PRELOAD.  The runtime would then start
 * itself at the first call it intercepts, which is in the middle of a
 * newlocale of libp11-kit's constructor.  glibc's lock of the locales
 * comes out of that broken, and nbdkit hangs in the freelocale at its
 * end.  The linker flag initfirst (see the Makefile) runs this
 * constructor before all others.
 *
 * Preloaded into nbdkit by tests/functions.sh; never part of a program.
 */

#ifdef __SANITIZE_THREAD__
#define INIT __tsan_init
#else
#define INIT __asan_init
#endif

void INIT (void);

__attribute__ ((constructor)) static void
start_sanitizer (void)
{
  INIT ();
}
