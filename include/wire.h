/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire.h: the link protocol between the two nodes: frames, numbers,
 * limits, reasons for refusal.  docs/protocol.md has the same as prose.
 *
 * Every frame is a 64-byte header, little endian, followed by
 * payload_length bytes:
 *
 *   0  u32 magic           "DUET" = 0x54455544
 *   4  u16 version         WIRE_VERSION
 *   6  u8  type            enum wire_type
 *   7  u8  flags           enum wire_flag; unknown bits are refused
 *   8  u32 payload_length  bytes that follow the header
 *  12  u32 length          extent of WRITE, ZERO, HASH_REQUEST
 *  16  u64 seq             of data frames, from 1 on each link; ACK: all up
 *                          to here; else 0
 *  24  u64 offset          WRITE, ZERO, HASH_*; MARKS: page number
 *  32  u64 epoch           generation of the sender, see wire_type
 *  40  u64 gen_id
 *  48  u64 arg             see wire_type
 *  56  u32 payload_crc     CRC32C of the payload, 0 when there is none
 *  60  u32 header_crc      CRC32C of bytes 0..59
 *
 * CRC32C is the Castagnoli polynomial as in iSCSI (RFC 3720, B.4).
 */
#ifndef DUET_WIRE_H
#define DUET_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "generation.h"

#define WIRE_MAGIC UINT32_C (0x54455544)

enum {
  WIRE_VERSION = 1,
  WIRE_HEADER = 64,                    /* bytes */
  WIRE_PAYLOAD_MAX = 1024 * 1024,      /* bytes in one frame */
  WIRE_HASH = 16,                      /* bytes of one XXH3-128 */
  WIRE_REGIONS_MAX = 512,              /* regions in one CLEAR */
  WIRE_HELLO = 128 + GEN_HISTORY * 40, /* bytes of a hello's payload */
  WIRE_GREETING = 32,                  /* bytes of a greeting's payload */
};

/*
 * X (name, word, has_payload).  "source" is the primary or solo node that
 * sends data, "target" the backup or stale node that applies it.
 */
#define WIRE_TYPES(X)                                                        \
  /* first on each TCP connection, both ways; link.c alone sees it */        \
  X (WIRE_GREETING_FRAME, "greeting", true)                                  \
  /* what I am: struct wire_hello */                                         \
  X (WIRE_HELLO_FRAME, "hello", true)                                        \
  /* I drop this link; arg = enum gen_verdict or WIRE_BYE_* */               \
  X (WIRE_BYE, "bye", false)                                                 \
  /* data from the source, applied and acked in order of seq */              \
  X (WIRE_WRITE, "write", true)                                              \
  X (WIRE_ZERO, "zero", false)                                               \
  /* target: everything up to seq is durable here */                         \
  X (WIRE_ACK, "ack", false)                                                 \
  /* target: my store failed (durably noted): arg = errno */                 \
  X (WIRE_NACK, "nack", false)                                               \
  /* either: answer with PONG and the same arg, at once */                   \
  X (WIRE_PING, "ping", false)                                               \
  X (WIRE_PONG, "pong", false)                                               \
  /* target/backup to source: one page of my region map; offset = page */    \
  /* number; arg = number of pages; the last one ends the exchange */        \
  X (WIRE_MARKS, "marks", true)                                              \
  /* source: hash these blocks; target: their hashes; arg = chunk slot */    \
  X (WIRE_HASH_REQUEST, "hash-request", false)                               \
  X (WIRE_HASH_REPLY, "hash-reply", true)                                    \
  /* adopt this generation: struct wire_hello of the sender; arg = kind */   \
  X (WIRE_ADOPT, "adopt", true)                                              \
  /* it is durable here */                                                   \
  X (WIRE_ADOPTED, "adopted", false)                                         \
  /* may I become primary?  the primary drains, gives up, and grants; */     \
  /* or denies (busy, or it asks for the same and has the lower id); */      \
  /* args: enum wire_switch, enum wire_deny */                               \
  X (WIRE_SWITCH_REQUEST, "switch-request", false)                           \
  X (WIRE_SWITCH_GRANT, "switch-grant", false)                               \
  X (WIRE_SWITCH_DENY, "switch-deny", false)                                 \
  /* source: these regions are clean on both: u64 numbers */                 \
  X (WIRE_CLEAR, "clear", true)                                              \
  /* sender's store failed while it was primary (durably noted): take */     \
  /* over; arg = errno */                                                    \
  X (WIRE_HANDOVER, "handover", false)                                       \
  /* primary: my operator wants you to ask for my role; arg as there */      \
  X (WIRE_SWITCH_OFFER, "switch-offer", false)                               \
  /* primary: step back, my operator wants you to */                         \
  X (WIRE_YIELD, "yield", false)                                             \
  /* backup: I cannot be chosen any more (durably noted): go on alone; */    \
  /* arg = 1: and my operator has paused the link */                         \
  X (WIRE_YIELDED, "yielded", false)                                         \
  /* durability=flush; target: all up to seq is written here, not durable */ \
  X (WIRE_RECEIVED, "received", false)                                       \
  /* source: make all that you have durable; arg = 1, 2, 3, ... on each */   \
  /* link; target: up to the flush with this arg it is */                    \
  X (WIRE_FLUSH, "flush", false)                                             \
  X (WIRE_FLUSHED, "flushed", false)                                         \
  /* primary: make your copy larger, durably; arg = its new size in bytes */ \
  X (WIRE_RESIZE, "resize", false)                                           \
  /* backup: arg = enum wire_resized; offset = the size that is durable */   \
  /* here now, or bytes that my disk has with WIRE_RESIZED_SMALL */          \
  X (WIRE_RESIZED, "resized", false)
#define WIRE_TYPE_ENUM(name, word, payload) name,
enum wire_type { WIRE_TYPES (WIRE_TYPE_ENUM) WIRE_TYPE_COUNT };

enum wire_flag {
  WIRE_PUNCH = 1,  /* ZERO: free the space (trim, hole) */
  WIRE_RESYNC = 2, /* WRITE, ZERO: sent by resync, not by a client */
};

/* arg of SWITCH_REQUEST and SWITCH_OFFER; unknown bits are ignored */
enum wire_switch {
  WIRE_SWITCH_END_PLAIN = 1, /* clients without a proxy are cut off */
};

/* arg of SWITCH_DENY; what is unknown counts as busy */
enum wire_deny {
  WIRE_DENY_BUSY,
  WIRE_DENY_PLAIN, /* clients without a proxy are connected */
};

/* arg of RESIZED; what is unknown counts as an error */
enum wire_resized {
  WIRE_RESIZED_DONE,
  WIRE_RESIZED_SMALL, /* my block device is smaller than that */
  WIRE_RESIZED_SPACE, /* my file system takes no such file */
  WIRE_RESIZED_MAP,   /* the region map would be too large */
  WIRE_RESIZED_ERROR, /* my disk gave an error */
};

/* arg of BYE beyond the verdicts */
enum wire_bye {
  WIRE_BYE_STOP = 64, /* the node stops */
  WIRE_BYE_DEADLINE,  /* hello or decision took too long */
  WIRE_BYE_PROTOCOL,  /* a frame that makes no sense here */
  WIRE_BYE_STORE,     /* my store failed and I could not note it */
  WIRE_BYE_PAUSE,     /* my operator has paused the link */
};

/* A header, decoded. */
struct wire_frame {
  uint8_t type;
  uint8_t flags;
  uint32_t payload_length;
  uint32_t length;
  uint64_t seq;
  uint64_t offset;
  struct gen_id gen;
  uint64_t arg;
  uint32_t payload_crc;
};

/* HELLO and ADOPT. */
struct wire_hello {
  struct gen_record record;
  uint64_t boot;       /* changes at each start of the process */
  uint64_t features;   /* enum wire_feature; unknown bits are refused */
  uint32_t resyncable; /* 1: a failed copy asks to be overwritten */
  uint32_t lease_ms;   /* with WIRE_ETCD, else 0 */
  uint32_t grace_ms;
};

enum wire_feature {
  WIRE_ETCD = 1,   /* arbiter=etcd */
  WIRE_PAUSED = 2, /* my operator has paused the link: part again */
  WIRE_CACHED = 4, /* durability=flush */
};

/* What an acceptor's greeting says to the dialler. */
enum wire_answer {
  WIRE_TAKEN = 0,    /* this is our connection now; diallers send it too */
  WIRE_CROSSING = 1, /* no: mine to you is under way, wait for it */
  WIRE_REFUSED = 2,  /* no: you are me, or I am linked to another node */
};

/* The greeting: just enough to choose one of two crossing connections,
 * and to tell a late one from a new one (docs/protocol.md).
 */
struct wire_greeting {
  uint64_t node;   /* not 0 */
  uint64_t boot;   /* changes at each start of the process */
  uint64_t dials;  /* times the sender has dialled since its start */
  uint64_t answer; /* enum wire_answer */
};

#define WIRE_REASONS(X)                                            \
  X (WIRE_OK, "ok")                                                \
  X (WIRE_BAD_MAGIC, "not a duet link (bad magic)")                \
  X (WIRE_BAD_VERSION, "the peer speaks another protocol version") \
  X (WIRE_BAD_HEADER_CRC, "header checksum mismatch")              \
  X (WIRE_BAD_PAYLOAD_CRC, "payload checksum mismatch")            \
  X (WIRE_BAD_TYPE, "unknown frame type")                          \
  X (WIRE_BAD_FLAGS, "unknown flag")                               \
  X (WIRE_BAD_LENGTH, "length out of bounds")                      \
  X (WIRE_BAD_HELLO, "malformed hello")                            \
  X (WIRE_BAD_GREETING, "malformed greeting")
#define WIRE_REASON_ENUM(name, text) name,
enum wire_reason { WIRE_REASONS (WIRE_REASON_ENUM) WIRE_REASON_COUNT };

const char *wire_type_name (uint8_t type);

/* Does it tell the source nothing but how far the peer is with what it sent? */
static inline bool
wire_is_ack (uint8_t type)
{
  return type == WIRE_ACK || type == WIRE_RECEIVED || type == WIRE_FLUSHED;
}
const char *wire_reason_text (enum wire_reason reason);

uint32_t wire_crc32c (const void *data, size_t length);

/* Encode FRAME (payload_crc as given) into 64 bytes. */
void wire_encode (const struct wire_frame *frame, uint8_t header[WIRE_HEADER]);

/* Decode and check everything that the header alone can show: magic,
 * version, checksum, type, flags, payload_length against the type and
 * WIRE_PAYLOAD_MAX, offset + length without overflow.  WRITE:
 * payload_length == length > 0.
 */
enum wire_reason wire_decode (const uint8_t header[WIRE_HEADER],
                              struct wire_frame *frame);

enum wire_reason wire_check_payload (const struct wire_frame *frame,
                                     const void *payload);

void wire_encode_hello (const struct wire_hello *hello,
                        uint8_t payload[WIRE_HELLO]);
/* Refuses values out of range (enums, counts, sizes), never crashes. */
enum wire_reason wire_decode_hello (const uint8_t *payload, size_t length,
                                    struct wire_hello *hello);
void wire_encode_greeting (const struct wire_greeting *greeting,
                           uint8_t payload[WIRE_GREETING]);
enum wire_reason wire_decode_greeting (const uint8_t *payload, size_t length,
                                       struct wire_greeting *greeting);

#endif /* DUET_WIRE_H */
