/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * core-pace.c: how many chunks of a resync may be on their way; the rule
 * and its promises are at the head of core-pace.h.
 */
#include <assert.h>

#include "core-pace.h"
#include "marks.h"

void
pace_start (struct pace *pace, uint64_t now_ms)
{
  *pace = (struct pace){
    .window = 2,
    .least_ms = UINT64_MAX,
    .least_before_ms = UINT64_MAX,
    .period_ms = now_ms,
  };
}

/* The least of all acks in this period and the last one. */
static uint64_t
note_least (struct pace *pace, uint64_t now_ms, uint64_t took_ms)
{
  if (now_ms - pace->period_ms >= PACE_PERIOD_MS) {
    pace->least_before_ms = pace->least_ms;
    pace->least_ms = UINT64_MAX;
    pace->period_ms = now_ms;
  }
  if (took_ms < pace->least_ms)
    pace->least_ms = took_ms;
  return pace->least_ms < pace->least_before_ms ? pace->least_ms
                                                : pace->least_before_ms;
}

void
pace_client (struct pace *pace, uint64_t now_ms)
{
  pace->clients_until_ms = now_ms + PACE_CLIENT_MS;
}

void
pace_acked (struct pace *pace, uint64_t now_ms, uint64_t took_ms,
            uint64_t ahead_bytes)
{
  uint64_t least_ms = note_least (pace, now_ms, took_ms);
  uint64_t share = ahead_bytes / 2 / MARKS_CHUNK, most = PACE_MAX;
  uint64_t allowed_ms = PACE_SLOW_MS;

  assert (pace->window >= 1 && pace->window <= PACE_MAX);
  if (now_ms < pace->clients_until_ms && allowed_ms > least_ms)
    allowed_ms = least_ms;
  if (took_ms - least_ms > allowed_ms) {
    if (share < 1)
      share = 1;
    if (share < most)
      most = share;
  }
  if (pace->window > most) {
    pace->acks = 0;
    pace->window /= 2;
    if (pace->window < most)
      pace->window = (uint32_t) most;
  }
  else if (++pace->acks >= pace->window) {
    pace->acks = 0;
    if (pace->window < most)
      pace->window++;
  }
}
