/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-linear.h: what the tests of the judge of histories share.
 */
#ifndef DUET_CHECK_LINEAR_H
#define DUET_CHECK_LINEAR_H

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "linear.h"

static struct linear_history history;
static struct linear_verdict verdict;

static void
begin (void)
{
  linear_init (&history);
  memset (&verdict, 0, sizeof verdict);
}

static void
end (void)
{
  linear_free (&history);
  free (verdict.ops);
}

/* A request at [OFFSET, OFFSET + LENGTH), in flight from SENT to ANSWERED;
 * 0: for ever.  Names count from 1.
 */
static uint32_t
send_op (enum linear_kind kind, uint64_t offset, uint64_t length, int64_t sent)
{
  struct linear_op op = { .name = history.count + 1,
                          .kind = kind,
                          .offset = offset,
                          .length = length,
                          .invoked_ns = sent };

  return linear_add (&history, op);
}

static void
judge (enum linear_result expected, uint32_t explained)
{
  linear_check (&history, &verdict);
  ck_assert_int_eq (verdict.result, expected);
  ck_assert_uint_eq (verdict.op_count, explained);
}

#endif /* DUET_CHECK_LINEAR_H */
