/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * history.h: what a node did in each of the last seconds, so that who
 * opens its page after something has happened still sees it.
 *
 * One thread uses it.
 */
#ifndef DUET_HISTORY_H
#define DUET_HISTORY_H

#include <jansson.h>
#include <stdint.h>

struct engine;
struct history;

enum { HISTORY_SAMPLES = 300 };

/* NULL: no memory. */
struct history *history_new (void);
void history_free (struct history *history);

/* Look at ENGINE, every second or so.  The first look only begins. */
void history_look (struct history *history, struct engine *engine);

/* {"keys": [...], "samples": [[...], ...]}: the samples after number AFTER
 * that are still there, oldest first; all of them if AFTER is from the
 * future, that is from another process.  NULL: no memory.
 */
json_t *history_json (const struct history *history, uint64_t after);

#endif /* DUET_HISTORY_H */
