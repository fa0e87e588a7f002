/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * etcd-text.h: what is said to etcd's JSON gateway and what it answers,
 * as bytes: values in, JSON out, and back.  No sockets here.
 *
 * The gateway is etcd's gRPC interface in JSON: keys and values are
 * base64, 64 bit numbers are strings, and what is 0, false or empty is
 * left out.  etcd 3.4 and later has it below /v3.
 */
#ifndef DUET_ETCD_TEXT_H
#define DUET_ETCD_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
  ETCD_KEY_MAX = 512,
  ETCD_VALUE_MAX = 8192,
  ETCD_ANSWER_MAX = 64 * 1024, /* bytes of an answer that are looked at */
  ETCD_TOKEN_MAX = 4096,
  ETCD_REFUSAL_MAX = 200,
};

/* A key's content.  Bytes, not text. */
struct etcd_value {
  uint64_t revision; /* of its last change; 0: there is no such key */
  size_t size;
  uint8_t bytes[ETCD_VALUE_MAX];
};

/* What each answer says of the cluster that it comes from. */
struct etcd_header {
  uint64_t cluster;
  uint64_t revision; /* of the whole store; never goes back */
};

/* Bodies of requests, to be freed; NULL: no memory, or the text is not
 * UTF-8.  SWAP: put VALUE if the key's revision is still REVISION, else
 * say what is there.
 */
char *etcd_say_range (const char *key);
char *etcd_say_swap (const char *key, uint64_t revision, const void *value,
                     size_t size);
char *etcd_say_login (const char *user, const char *password);

/* Answers to those: NULL, or what is wrong with them (static text).  A
 * swap that was not done comes with the content that is there instead;
 * one that was, with the new revision as HEADER's.
 */
const char *etcd_hear_range (const char *text, size_t size, const char *key,
                             struct etcd_header *header,
                             struct etcd_value *value);
const char *etcd_hear_swap (const char *text, size_t size, const char *key,
                            struct etcd_header *header, bool *done,
                            struct etcd_value *present);
const char *etcd_hear_login (const char *text, size_t size,
                             struct etcd_header *header,
                             char token[ETCD_TOKEN_MAX]);

/* What is said in the answer to a request that etcd did not carry out, fit
 * for a log; may be empty.
 */
void etcd_hear_refusal (const char *text, size_t size,
                        char refusal[ETCD_REFUSAL_MAX]);

#endif /* DUET_ETCD_TEXT_H */
