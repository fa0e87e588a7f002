/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * generation.h: generations, their history, and the tables that say who
 * is newer and who may serve.
 *
 * A generation is a period in which the primary and the members do not
 * change.  It is named by (epoch, random id); two generations with the
 * same epoch but different ids are children of one ancestor.  Everything
 * here is pure: values in, verdicts out.
 */
#ifndef DUET_GENERATION_H
#define DUET_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { GEN_HISTORY = 32 }; /* generations a node remembers */

/* The last epoch that is believed of a peer.  With a generation each
 * microsecond a pair needs 146,000 years for it; whoever says more is no
 * peer, and could have this node count past the end.  A superblock may say
 * twice as much, because one goes on counting from what it believed.
 */
#define GEN_EPOCH_MAX (UINT64_MAX / 4)

/* Epoch 0 names no generation: a blank node, a client without memory. */
struct gen_id {
  uint64_t epoch;
  uint64_t id;
};

/* How a generation came to be (docs/architecture.md, "Generations"). */
#define GEN_KINDS(X)                                                    \
  X (GEN_NONE, "none")         /* no generation yet */                  \
  X (GEN_CREATE, "create")     /* T0: two blank nodes met */            \
  X (GEN_SOLO, "solo")         /* T1: the primary goes on alone */      \
  X (GEN_TAKEOVER, "takeover") /* T2: the backup takes over */          \
  X (GEN_JOIN, "join")         /* T3: resync done, two members again */ \
  X (GEN_SWITCH, "switch")     /* T4: planned change of primary */      \
  X (GEN_FORCE, "force")       /* T5: the operator said so */
#define GEN_ENUM(name, text) name,
enum gen_kind { GEN_KINDS (GEN_ENUM) GEN_KIND_COUNT };

/* One entry of the history. */
struct generation {
  struct gen_id gen;
  uint64_t client;  /* client it was made for; 0: nobody's request */
  uint64_t session; /* that client's session; 0 with client 0 */
  uint32_t kind;    /* enum gen_kind */
  uint32_t made_s;  /* when this node made it, since 1970, for people; 0:
                       not known.  The peer is not told. */
};

/* What a node's copy is worth. */
#define DATA_STATES(X)                                                    \
  X (DATA_BLANK, "blank")     /* never part of a volume */                \
  X (DATA_CURRENT, "current") /* holds all its generation acknowledged */ \
  X (DATA_SYNCING, "syncing") /* being overwritten by the peer's copy */  \
  X (DATA_FAILED, "failed")   /* its store failed: needs a resync */
#define DATA_ENUM(name, text) name,
enum data_state { DATA_STATES (DATA_ENUM) DATA_STATE_COUNT };

/*
 * What a node knows of itself: kept in the superblock and told in the
 * hello.  history[0] is the present generation, older ones follow.  A
 * node records only generations that it is a member of, so "both" (the
 * peer is one too) says who the members are.
 */
struct gen_record {
  uint64_t volume;        /* volume id, 0 while blank */
  uint64_t node;          /* my node id, never 0 */
  uint64_t peer;          /* the peer's node id, 0 while unknown */
  uint64_t size;          /* volume size in bytes; never shrinks */
  uint64_t grow_to;       /* bytes: a growth was begun, so the data file
                             may be so long; 0: it was not.  Not told */
  uint64_t made_size;     /* when this copy was made; 0: it has not grown
                             since.  Not told */
  uint32_t region_size;   /* bytes, a power of two, 256 KiB .. 1 GiB */
  uint32_t data;          /* enum data_state */
  uint64_t primary;       /* node id of the primary, 0: none yet */
  bool both;              /* members are {me, peer}; else {me} */
  bool answered;          /* this generation has answered a client */
  bool discard;           /* the operator told this copy to yield */
  bool has_data;          /* blank, but the data file is not empty */
  bool cached;            /* durability=flush: what is answered may be in
                             the page cache only.  Not told to the peer */
  bool may_lack;          /* restarted as one of two with cached: it may
                             lack what was answered.  Told, not kept */
  uint32_t history_count; /* 0 while blank, at most GEN_HISTORY */
  struct generation history[GEN_HISTORY];
  /* arbiter=etcd: a generation that etcd was perhaps asked for, and whose
   * fate is not known; kind GEN_NONE: none.  Not told to the peer.
   */
  struct generation attempt;
  uint64_t attempt_revision; /* of the key from which it is made */
};

/* What two nodes that met decide, from the point of view of "me". */
#define GEN_VERDICTS(X)                                              \
  X (GEN_SYNC, "same generation")                                    \
  X (GEN_ADOPT_MINE, "the peer has yet to adopt my switch")          \
  X (GEN_ADOPT_PEER, "I have yet to adopt the peer's switch")        \
  X (GEN_SOURCE, "my copy is newer")                                 \
  X (GEN_TARGET, "the peer's copy is newer")                         \
  X (GEN_CREATE_MINE, "both are blank, I create the volume")         \
  X (GEN_CREATE_PEER, "both are blank, the peer creates the volume") \
  X (GEN_DIVERGED, "both copies were written apart from each other") \
  X (GEN_REFUSE_VOLUME, "the peer belongs to another volume")        \
  X (GEN_REFUSE_SIZE, "the peer's volume has another size")          \
  X (GEN_REFUSE_REGION, "the peer uses another region size")         \
  X (GEN_REFUSE_NODE, "one node is paired with a third one")         \
  X (GEN_REFUSE_SELF, "the peer has this node's own id")             \
  X (GEN_REFUSE_DATA, "a blank node's data file is not empty")       \
  X (GEN_REFUSE_BLANK, "one node is blank, the other is not alone")  \
  X (GEN_REFUSE_STALE, "neither copy is both current and newest")    \
  X (GEN_REFUSE_ARBITER, "the peer has another arbiter=")            \
  X (GEN_REFUSE_DURABILITY, "the peer has another durability=")
#define GEN_VERDICT_ENUM(name, text) name,
enum gen_verdict { GEN_VERDICTS (GEN_VERDICT_ENUM) GEN_VERDICT_COUNT };

const char *gen_kind_name (enum gen_kind kind);
const char *gen_data_name (enum data_state state);
const char *gen_verdict_text (enum gen_verdict verdict);

/* Why ME does not link to PEER, when gen_decide has said GEN_REFUSE_*:
 * one sentence for the user of this node that names the node at fault and
 * what to do.
 */
const char *gen_refusal_text (enum gen_verdict verdict,
                              const struct gen_record *me,
                              const struct gen_record *peer);

static inline bool
gen_id_equal (struct gen_id a, struct gen_id b)
{
  return a.epoch == b.epoch && a.id == b.id;
}

/* The present generation's name; {0, 0} while blank. */
struct gen_id gen_current (const struct gen_record *record);

/* Is GEN the present generation of RECORD or in its history? */
bool gen_knows (const struct gen_record *record, struct gen_id gen);

/* Does RECORD's copy hold what was answered in GEN?  Of one older than all
 * of a full history: yes, known or not.  In the time of so many generations
 * both nodes have met (see gen_advance), and of what was answered before
 * nothing can have been left behind unless an operator wanted it.  So a
 * client that was idle for long is not taken for one that knows better.
 */
bool gen_holds (const struct gen_record *record, struct gen_id gen);

/* Put a new generation (epoch + 1, RANDOM) in front of the history.
 * ANSWERED is reset.  Of a full history the oldest entry falls off.  It is
 * never the last that both nodes shared, by which the peer is known again:
 * a node alone makes one generation for a client, which gen_replace keeps
 * one, and one for everybody, and no more before the peer has joined.
 */
void gen_advance (struct gen_record *record, enum gen_kind kind,
                  uint64_t random, uint64_t client, uint64_t session);

/* Put a newer session's generation in the place of the present one, of
 * which nobody outside this node can know: made for the same client, it
 * says all that the old one said, and a history is not filled with
 * generations that served nobody.
 */
void gen_replace (struct gen_record *record, uint64_t random, uint64_t session);

/* Make RECORD's history that of OTHER (the target at a join, the second
 * node at a create or switch); node, peer and size stay.
 */
void gen_adopt (struct gen_record *record, const struct gen_record *other);

/* How many of ME's newest generations PEER does not know. */
uint32_t gen_fork (const struct gen_record *me, const struct gen_record *peer);

/* The table of docs/architecture.md, "Generations".  Symmetric: what it
 * says of (A, B) is the mirror of what it says of (B, A).  Two copies of one
 * volume may differ in size, because a growth was interrupted, and an empty
 * one may be smaller: the verdict does not say so, and comes true when the
 * smaller one has grown.
 */
enum gen_verdict gen_decide (const struct gen_record *me,
                             const struct gen_record *peer);

#endif /* DUET_GENERATION_H */
