/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * linear.h: a history of requests on real processes, and the question
 * whether it is linearizable (invariant I3).
 *
 * A history holds, for each request of each client, when it was sent and
 * when its answer was there, by one monotonic clock, which bytes it was
 * for, and what it wrote or saw.  Each write has a name of its own and its
 * bytes tell that name, so a read says which write each byte came from.
 *
 *   linear.c         the history, its division into parts, the verdict
 *   linear-search.c  the search through one part
 *   linear-worlds.c  the states that it has to keep in mind
 *   linear-shrink.c  from a part that has no order to the few requests
 *                    that have none by themselves
 *   linear-text.c    histories as text files
 *
 * The algorithm is told at the head of linear-search.c.
 */
#ifndef DUET_LINEAR_H
#define DUET_LINEAR_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LINEAR_OPEN         INT64_MAX  /* answered_ns: never answered */
#define LINEAR_TORN         UINT32_MAX /* bytes that no one write has made */
#define LINEAR_CLIENT_SHIFT 24         /* a name is a client and a number */

enum {
  LINEAR_ZERO = 0, /* the name of zeros, whoever made them */
  LINEAR_CLIENT_MAX = 254,
  LINEAR_NUMBER_MAX = (1 << LINEAR_CLIENT_SHIFT) - 1,
};

enum linear_kind { LINEAR_READ, LINEAR_WRITE, LINEAR_ZEROS };

/* Part of what a read saw: bytes from the same write. */
struct linear_run {
  uint64_t length;
  uint32_t name; /* or LINEAR_ZERO, LINEAR_TORN */
};

struct linear_op {
  uint32_t name; /* not LINEAR_ZERO or LINEAR_TORN; no other op has it */
  enum linear_kind kind;
  uint64_t offset, length;
  int64_t invoked_ns, answered_ns;
  bool again; /* may take effect more than once until it is answered */
  uint32_t run_count;
  struct linear_run *runs; /* of an answered read; they add up to length */
};

/* A time in which something was broken or being mended. */
struct linear_window {
  int64_t begin_ns, end_ns; /* end LINEAR_OPEN: nobody said */
};

struct linear_history {
  struct linear_op *ops;
  uint32_t count, capacity;
  struct linear_window *windows;
  uint32_t window_count;
  bool clients[LINEAR_CLIENT_MAX + 1]; /* whose files have been read */
};

enum linear_result {
  LINEAR_YES,
  LINEAR_NO,
  LINEAR_UNDECIDED, /* the search met one of its limits */
};

struct linear_verdict {
  enum linear_result result;
  /* LINEAR_NO: requests that by themselves have no order, in the order in
   * which they were sent; reads only as far as they matter.  Their runs
   * belong to the history.
   */
  struct linear_op *ops;
  uint32_t op_count;
  /* Figures of the search. */
  uint32_t parts;        /* ranges that no request joins */
  uint32_t pending_most; /* requests in flight in one part */
  uint32_t worlds_most;  /* possible states at one moment */
};

/* --- linear.c ----------------------------------------------------------- */

void linear_init (struct linear_history *history);
void linear_free (struct linear_history *history);

/* Add a request that has no answer yet; its index. */
uint32_t linear_add (struct linear_history *history, struct linear_op op);

/* Its answer.  RUNS of a read are copied. */
void linear_answer (struct linear_history *history, uint32_t index,
                    int64_t answered_ns, const struct linear_run *runs,
                    uint32_t run_count);

void linear_add_window (struct linear_history *history, int64_t begin_ns,
                        int64_t end_ns);

/* The stated exception of I3: writes and zeros in flight in any window may
 * take effect more than once until they are answered.
 */
void linear_allow_again (struct linear_history *history);

/* Is there an order?  The verdict's ops are the caller's to free. */
void linear_check (const struct linear_history *history,
                   struct linear_verdict *verdict);

/* The bytes that both have. */
bool linear_overlap (const struct linear_op *one, const struct linear_op *two);

/* malloc that does not fail. */
void *linear_alloc (size_t count, size_t size);

/* --- linear-search.c ---------------------------------------------------- */

/* Search an order of these requests.  After LINEAR_NO *WORST is the index
 * in OPS of the request whose answer fits nothing that came before it.
 */
enum linear_result linear_search (const struct linear_op *const *ops,
                                  uint32_t count, uint32_t *worst,
                                  struct linear_verdict *figures);

/* --- linear-shrink.c ---------------------------------------------------- */

/* Of OPS, which have no order, a few that have none; how many, goes to
 * *SHRUNK.  The caller frees them.
 */
struct linear_op *linear_shrink (const struct linear_op *const *ops,
                                 uint32_t count, uint32_t *shrunk);

/* --- linear-text.c ------------------------------------------------------ */

/* Add the history in this file; false: *ERROR says why not.  A last line
 * without its end is that of a client that was killed, and left out.
 */
bool linear_read (struct linear_history *history, const char *path,
                  char **error);

void linear_print_op (FILE *stream, const struct linear_op *op,
                      int64_t since_ns);

#endif /* DUET_LINEAR_H */
