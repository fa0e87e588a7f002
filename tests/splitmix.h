/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * splitmix.h: pseudorandom numbers of which a seed decides all, for the
 * simulator and the tools (splitmix64: Steele, Lea, Flood 2014).
 */
#ifndef DUET_SPLITMIX_H
#define DUET_SPLITMIX_H

#include <stdint.h>

/* A hash of 64 bits into 64, one to one. */
static inline uint64_t
splitmix_hash (uint64_t z)
{
  z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
  return z ^ (z >> 31);
}

/* The next number of the sequence that STATE began as. */
static inline uint64_t
splitmix_next (uint64_t *state)
{
  return splitmix_hash (*state += UINT64_C (0x9e3779b97f4a7c15));
}

#endif /* DUET_SPLITMIX_H */
