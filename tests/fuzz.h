/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz.h: what the fuzz targets share.
 *
 * A target is one file fuzz-NAME.c with LLVMFuzzerTestOneInput: it takes
 * any bytes, and aborts (by an assertion, or a sanitizer) when the code
 * under test breaks a promise.  It keeps no state from one call to the
 * next.  Linked with libFuzzer it looks for such bytes (`make fuzz`);
 * linked with fuzz-main.c it reads files, which are a part of `make
 * check`.
 */
#ifndef DUET_FUZZ_H
#define DUET_FUZZ_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* libFuzzer's own random change, for targets that have a mutator. */
size_t LLVMFuzzerMutate (uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max_size,
                                unsigned seed);

/* ------------------------------------------------------- input, eaten */

struct fuzz_input {
  const uint8_t *at;
  size_t left;
};

/* The next COUNT bytes (at most 8) as a little endian number; what is not
 * there counts as zero.
 */
static inline uint64_t
fuzz_take (struct fuzz_input *input, size_t count)
{
  uint64_t value = 0;
  size_t i;

  for (i = 0; i < count && input->left > 0; i++, input->left--)
    value |= (uint64_t) *input->at++ << (8 * i);
  return value;
}

/* Up to COUNT bytes into TO, the rest of which becomes zeros.  False when
 * there are fewer.
 */
static inline bool
fuzz_take_bytes (struct fuzz_input *input, void *to, size_t count, size_t size)
{
  size_t there = count < input->left ? count : input->left;

  assert (count <= size);
  memset (to, 0, size);
  if (there > 0)
    memcpy (to, input->at, there);
  input->at += there;
  input->left -= there;
  return there == count;
}

/* --------------------------------------------------- a folder for files */

enum { FUZZ_PATH = 256 };

static char fuzz_folder[FUZZ_PATH / 2];

static inline void
fuzz_put_path (char path[FUZZ_PATH], const char *name)
{
  snprintf (path, FUZZ_PATH, "%s/%s", fuzz_folder, name);
}

/* The folder is removed by whoever set TMPDIR. */
static inline void
fuzz_make_folder (void)
{
  const char *parent = getenv ("TMPDIR");

  if (fuzz_folder[0] != '\0')
    return;
  snprintf (fuzz_folder, sizeof fuzz_folder, "%s/duet-fuzz.XXXXXX",
            parent != NULL ? parent : "/tmp");
  if (mkdtemp (fuzz_folder) == NULL) {
    perror (fuzz_folder);
    exit (2);
  }
}

#endif /* DUET_FUZZ_H */
