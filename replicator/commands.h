/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * commands.h: the commands of the control socket, as JSON in and JSON out.
 */
#ifndef DUET_COMMANDS_H
#define DUET_COMMANDS_H

#include <jansson.h>

struct engine;

/* The answer to REQUEST, which may be anything (NULL: no JSON at all), as
 * a new reference; NULL: no memory.
 */
json_t *commands_answer (struct engine *engine, json_t *request);

/* {"error": REASON} */
json_t *commands_refusal (const char *reason);

#endif /* DUET_COMMANDS_H */
