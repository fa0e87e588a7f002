/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-generation.h: records of nodes that have a past, for the tests of
 * generation.c.
 */
#ifndef DUET_CHECK_GENERATION_H
#define DUET_CHECK_GENERATION_H

#include "generation.h"

enum {
  VOLUME = 77,
  NODE_A = 10,
  NODE_B = 20,
  OTHER_NODE = 30,
  CLIENT = 5,
  OTHER_CLIENT = 6,
  SIZE = 1 << 30,
  REGION = 4 << 20,
};

/* --- building records ------------------------------------------------- */

static inline struct gen_record
blank (uint64_t node)
{
  return (struct gen_record){
    .node = node, .size = SIZE, .region_size = REGION, .data = DATA_BLANK
  };
}

/* A member of a volume that was just created: epoch 1, both members. */
static inline struct gen_record
created (uint64_t node)
{
  struct gen_record record = blank (node);

  record.volume = VOLUME;
  record.peer = node == NODE_A ? NODE_B : NODE_A;
  record.data = DATA_CURRENT;
  record.both = true;
  gen_advance (&record, GEN_CREATE, 100, 0, 0);
  return record;
}

/* The same after its first promotion: epoch 2 has answered a client. */
static inline struct gen_record
member (uint64_t node)
{
  struct gen_record record = created (node);

  gen_advance (&record, GEN_SWITCH, 200, CLIENT, 1);
  record.primary = NODE_A;
  record.answered = true;
  return record;
}

/* Names differ between nodes, as random ids do. */
static inline void
advance (struct gen_record *record, enum gen_kind kind, uint64_t client,
         uint64_t session)
{
  uint64_t random = record->node * 1000 + gen_current (record).epoch;

  gen_advance (record, kind, random, client, session);
  record->both = kind == GEN_JOIN || kind == GEN_SWITCH;
}

static inline enum gen_verdict
mirror (enum gen_verdict verdict)
{
  switch (verdict) {
  case GEN_ADOPT_MINE: return GEN_ADOPT_PEER;
  case GEN_ADOPT_PEER: return GEN_ADOPT_MINE;
  case GEN_SOURCE: return GEN_TARGET;
  case GEN_TARGET: return GEN_SOURCE;
  case GEN_CREATE_MINE: return GEN_CREATE_PEER;
  case GEN_CREATE_PEER: return GEN_CREATE_MINE;
  default: return verdict;
  }
}

#endif /* DUET_CHECK_GENERATION_H */
