/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * status.h: what a node tells about itself, as JSON.
 *
 * The keys are an interface: they are listed in duetctl(1) and only ever
 * added to.
 */
#ifndef DUET_STATUS_H
#define DUET_STATUS_H

#include <jansson.h>

struct engine_status;

/* The status object, a new reference; NULL: no memory.  Ids are strings
 * of 16 lower case hex digits, everything that is not known is null.
 */
json_t *status_json (const struct engine_status *status);

#endif /* DUET_STATUS_H */
