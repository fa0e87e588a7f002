/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * exportname.h: what a proxy and a node tell each other over plain NBD.
 *
 * The proxy asks for an export name that carries its client id, its
 * session number and the newest generation it was served under; the node
 * answers in the export description.  Both are text, so that any NBD
 * tool can show them, and both are made and read only here.
 *
 *   duet/1:<client>:<session>:<epoch>.<id>[:unreachable]
 *   duet/1 state=<word> generation=<epoch>.<id> node=<node> size=<bytes>
 *          primary=<address or -> [durability=flush boot=<boot>]
 *
 * <client>, <id>, <node> and <boot> are 16 lower case hex digits; <session>,
 * <epoch> and <bytes> are decimal without leading zeros.  The generation
 * 0.0000000000000000 is none.  A name that does not begin with "duet/"
 * belongs to a plain client.
 *
 * Pure: text in, values out, no allocation.
 */
#ifndef DUET_EXPORTNAME_H
#define DUET_EXPORTNAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "generation.h"

enum {
  EXPORTNAME_MAX = 128,         /* longest name, with its zero byte */
  EXPORTNAME_STATE_MAX = 16,    /* longest state word, with zero byte */
  EXPORTNAME_ADDRESS_MAX = 300, /* longest address, with zero byte */
  EXPORTNAME_DESCRIPTION_MAX = 512,
};

/* What a proxy asks with. */
struct export_ask {
  uint64_t client;     /* never 0 */
  uint64_t session;    /* from 1 */
  struct gen_id shown; /* epoch 0: none */
  bool unreachable;    /* "I cannot reach the primary" */
};

enum exportname_kind {
  EXPORTNAME_PLAIN, /* a client without a proxy */
  EXPORTNAME_PROXY, /* a proxy; the ask is filled in */
  EXPORTNAME_BAD,   /* meant for duet, but malformed */
};

/* What a node answers. */
struct export_description {
  char state[EXPORTNAME_STATE_MAX]; /* a word of core_state_name */
  struct gen_id generation;
  uint64_t node;
  uint64_t size_bytes;
  char primary[EXPORTNAME_ADDRESS_MAX]; /* empty when not known */
  bool cached;   /* durability=flush: an answer is not durable yet */
  uint64_t boot; /* then: differs from process to process; else 0 */
};

/* Write the name for ASK into TEXT, of at least EXPORTNAME_MAX bytes.
 * ASK must be valid as above.
 */
void exportname_format (const struct export_ask *ask, char *text);

/* Read a name.  ASK is written only for EXPORTNAME_PROXY. */
enum exportname_kind exportname_parse (const char *name,
                                       struct export_ask *ask);

/* Write the description into TEXT, of at least
 * EXPORTNAME_DESCRIPTION_MAX bytes.  State and primary must have no
 * spaces.
 */
void exportname_describe (const struct export_description *description,
                          char *text);

/* Read a description.  Fields that this version does not know are
 * skipped; "primary" may be missing, the others may not.  False, with
 * DESCRIPTION undefined, when TEXT is no description of this version.
 */
bool exportname_parse_description (const char *text,
                                   struct export_description *description);

#endif /* DUET_EXPORTNAME_H */
