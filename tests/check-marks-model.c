/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-marks-model.c: random use of the marks, against a model that has
 * one bool per block, chunk and region, and a disk whose write under way
 * may have happened or not: what marks call durable must stand on it in
 * either case (I5).  Now and then a crash leaves only the disk.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "marks.h"

enum {
  KIB = 1024,
  MIB = 1024 * KIB,
  MAX_BLOCKS = 1024, /* of the random test's volumes */
  MAX_CHUNKS = MAX_BLOCKS / 64,
  STEPS = 10000, /* for each of them */
  SEED = 19991231,
};

static bool
get_bit (const uint8_t *map, uint64_t i)
{
  return map[i / 8] >> (i % 8) & 1;
}

struct model {
  uint64_t size, region_size, blocks, chunks, regions;
  bool block[MAX_BLOCKS];
  bool coarse[MAX_CHUNKS];
  bool set[MAX_CHUNKS];             /* by region */
  unsigned users[MAX_CHUNKS];       /* by region */
  uint64_t last_use_ms[MAX_CHUNKS]; /* by region */
  bool disk[MAX_CHUNKS];            /* the region map on disk */
  bool copied;                      /* the write under way has begun */
  bool writing[MAX_CHUNKS];         /* and will leave this */
  uint64_t now_ms;
  /* Writes under way, to be ended. */
  unsigned uses;
  struct {
    uint64_t offset, length;
  } use[8];
};

static bool
touches (uint64_t offset, uint64_t length, uint64_t i, uint64_t unit)
{
  return offset < (i + 1) * unit && i * unit < offset + length;
}

static bool
model_marked (const struct model *model, uint64_t offset, uint64_t length)
{
  uint64_t i;

  for (i = 0; i < model->blocks; ++i)
    if (touches (offset, length, i, MARKS_BLOCK) &&
        (model->block[i] || model->coarse[i / 64]))
      return true;
  return false;
}

static bool
model_may_clear (const struct model *model, uint64_t region)
{
  uint64_t offset = region * model->region_size, length = model->region_size;

  if (length > model->size - offset)
    length = model->size - offset;
  return model->set[region] && model->users[region] == 0 &&
    !model_marked (model, offset, length);
}

static void
model_dirty (struct model *model, uint64_t offset, uint64_t length)
{
  uint64_t i;

  for (i = 0; i < model->blocks; ++i)
    if (touches (offset, length, i, MARKS_BLOCK)) {
      model->block[i] = true;
      model->set[i * MARKS_BLOCK / model->region_size] = true;
    }
}

static bool
model_within (const struct model *model, uint64_t offset, uint64_t length,
              uint64_t i, uint64_t unit)
{
  uint64_t end = (i + 1) * unit < model->size ? (i + 1) * unit : model->size;

  return offset <= i * unit && end <= offset + length;
}

static void
model_clean (struct model *model, uint64_t offset, uint64_t length)
{
  uint64_t i;

  for (i = 0; i < model->blocks; ++i)
    if (model_within (model, offset, length, i, MARKS_BLOCK))
      model->block[i] = false;
  for (i = 0; i < model->chunks; ++i)
    if (model_within (model, offset, length, i, MARKS_CHUNK))
      model->coarse[i] = false;
}

static uint64_t
model_dirty_bytes (const struct model *model)
{
  uint64_t i, bytes = 0;

  for (i = 0; i < model->chunks; ++i)
    bytes += model->coarse[i] ? MARKS_CHUNK : 0;
  for (i = 0; i < model->blocks; ++i)
    bytes += model->block[i] && !model->coarse[i / 64] ? MARKS_BLOCK : 0;
  return bytes < model->size ? bytes : model->size;
}

/* A region that marks call durable is on disk, whether a write under
 * way has reached the disk or not.
 */
static bool
disk_keeps (const struct model *model, const struct marks *marks,
            uint64_t region)
{
  if (!marks_durable (marks, region * model->region_size, 1))
    return true;
  return model->set[region] && model->disk[region] &&
    (!model->copied || model->writing[region]);
}

static void
compare (const struct model *model, struct marks *marks)
{
  const uint8_t *map = marks_map (marks);
  bool same = true;
  uint64_t i;

  marks_check (marks);
  for (i = 0; i < model->blocks; ++i)
    same = same &&
      model->block[i] == (marks_chunk_blocks (marks, i / 64) >> (i % 64) & 1);
  ck_assert_msg (same, "blocks");
  for (i = 0; i < model->chunks; ++i)
    same = same && model->coarse[i] == marks_chunk_coarse (marks, i);
  ck_assert_msg (same, "chunks");
  for (i = 0; i < model->regions; ++i)
    same = same && model->set[i] == get_bit (map, i);
  ck_assert_msg (same, "regions");
  for (i = 0; i < model->regions; ++i)
    same = same && disk_keeps (model, marks, i);
  ck_assert_msg (same, "durable regions");
  ck_assert_uint_eq (marks_dirty_bytes (marks), model_dirty_bytes (model));
}

static uint64_t
below (uint64_t n)
{
  return (uint64_t) random () % n;
}

/* Any range, often small, often aligned, often up to the end. */
static void
pick_range (const struct model *model, uint64_t *offset, uint64_t *length)
{
  uint64_t unit = below (2) ? 1 : below (2) ? MARKS_BLOCK : MARKS_CHUNK;

  *offset = below (model->size + 1) / unit * unit;
  *length = below (model->size - *offset + 1);
  if (below (2))
    *length %= 5 * MARKS_BLOCK;
  if (below (2))
    *length = *length / unit * unit;
  if (below (8) == 0)
    *length = model->size - *offset;
}

static void
step_use (struct model *model, struct marks *marks)
{
  uint64_t offset, length, i;
  bool begin = model->uses < 8 && below (2);

  if (!begin && model->uses == 0)
    return;
  if (begin) {
    pick_range (model, &offset, &length);
    model->use[model->uses].offset = offset;
    model->use[model->uses++].length = length;
    marks_use (marks, offset, length, model->now_ms);
  }
  else {
    i = below (model->uses);
    offset = model->use[i].offset;
    length = model->use[i].length;
    model->use[i] = model->use[--model->uses];
    marks_unuse (marks, offset, length, model->now_ms);
  }
  for (i = 0; i < model->regions; ++i)
    if (length > 0 && touches (offset, length, i, model->region_size)) {
      model->users[i] += begin ? 1U : -1U;
      model->last_use_ms[i] = model->now_ms;
    }
}

static void
step_set (struct model *model, struct marks *marks)
{
  uint64_t offset, length, i;
  bool durable;

  pick_range (model, &offset, &length);
  durable = marks_durable (marks, offset, length);
  ck_assert (marks_set_regions (marks, offset, length) == durable);
  for (i = 0; i < model->regions; ++i)
    if (length > 0 && touches (offset, length, i, model->region_size))
      model->set[i] = true;
  ck_assert (durable || marks_pages_urgent (marks) ||
             marks_pages_taken (marks));
}

static void
step_clear (struct model *model, struct marks *marks)
{
  uint64_t regions[MAX_CHUNKS], before_ms, i;
  uint32_t count, cleared, able = 0;

  if (below (2)) {
    i = below (model->regions);
    marks_clear_region (marks, i);
    if (model_may_clear (model, i))
      model->set[i] = false;
    return;
  }
  count = (uint32_t) below (MAX_CHUNKS);
  before_ms = model->now_ms < 50 ? 0 : model->now_ms - below (50);
  for (i = 0; i < model->regions; ++i)
    able += model_may_clear (model, i) && model->last_use_ms[i] < before_ms;
  cleared = marks_clear_idle (marks, before_ms, regions, count);
  ck_assert_uint_eq (cleared, able < count ? able : count);
  for (i = 0; i < cleared; ++i) {
    ck_assert (model_may_clear (model, regions[i]));
    ck_assert (model->last_use_ms[regions[i]] < before_ms);
    model->set[regions[i]] = false;
  }
}

/* The disk is slow: take, copy the map, finish are three steps. */
static void
step_disk (struct model *model, struct marks *marks)
{
  uint32_t first, last;
  uint64_t i;

  if (!marks_pages_taken (marks)) {
    if (marks_take_pages (marks, &first, &last)) {
      ck_assert_uint_eq (first, 0);
      ck_assert_uint_eq (last, 0);
      ck_assert (!marks_pages_urgent (marks));
    }
  }
  else if (!model->copied) {
    model->copied = true;
    for (i = 0; i < model->regions; ++i)
      model->writing[i] = get_bit (marks_map (marks), i);
  }
  else {
    model->copied = false;
    memcpy (model->disk, model->writing, sizeof model->disk);
    marks_pages_durable (marks);
  }
}

static void
make_coarse (struct model *model, uint64_t region)
{
  uint64_t i;

  model->set[region] = true;
  for (i = 0; i < model->chunks; ++i)
    if (i * MARKS_CHUNK / model->region_size == region)
      model->coarse[i] = true;
}

static void
step_bulk (struct model *model, struct marks *marks)
{
  uint8_t bits[MARKS_PAGE_BYTES] = { 0 };
  uint64_t i;

  switch (below (3)) {
  case 0:
    bits[0] = (uint8_t) (below (256) & below (256));
    bits[sizeof bits - 1] = 0xff;
    marks_merge_page (marks, 0, bits);
    for (i = 0; i < model->regions; ++i)
      if (get_bit (bits, i))
        make_coarse (model, i);
    break;
  case 1:
    marks_dirty_all (marks);
    for (i = 0; i < model->regions; ++i)
      make_coarse (model, i);
    break;
  case 2:
    marks_forget (marks);
    memset (model->block, 0, sizeof model->block);
    memset (model->coarse, 0, sizeof model->coarse);
    break;
  }
}

/* A crash: the disk's map, as old or as new as it may be, is all there is. */
static void
step_restart (struct model *model, struct marks **marks)
{
  uint8_t *map;
  uint64_t i;

  if (model->copied && below (2))
    memcpy (model->disk, model->writing, sizeof model->disk);
  model->copied = false;
  model->uses = 0;
  memset (model->block, 0, sizeof model->block);
  memset (model->coarse, 0, sizeof model->coarse);
  memset (model->set, 0, sizeof model->set);
  memset (model->users, 0, sizeof model->users);
  memset (model->last_use_ms, 0, sizeof model->last_use_ms);

  marks_free (*marks);
  *marks = marks_new (model->size, (uint32_t) model->region_size);
  map = marks_map (*marks);
  for (i = 0; i < model->regions; ++i)
    if (model->disk[i]) {
      map[i / 8] |= (uint8_t) (1 << (i % 8));
      make_coarse (model, i);
    }
  marks_loaded (*marks);
  ck_assert (!marks_pages_wanted (*marks));
  for (i = 0; i < model->regions; ++i)
    ck_assert (marks_durable (*marks, i * model->region_size, 1) ==
               model->disk[i]);
}

/* By a little, most often; the smallest volume's last chunk is one of many. */
static void
step_grow (struct model *model, struct marks *marks)
{
  uint64_t room = (uint64_t) MAX_BLOCKS * MARKS_BLOCK - model->size;
  uint64_t more = below (below (2) ? 3 * MARKS_BLOCK : MARKS_CHUNK);

  model->size += more < room ? more : room;
  model->blocks = (model->size + MARKS_BLOCK - 1) / MARKS_BLOCK;
  model->chunks = (model->size + MARKS_CHUNK - 1) / MARKS_CHUNK;
  model->regions = (model->size + model->region_size - 1) / model->region_size;
  marks_grow (marks, marks_new (model->size, (uint32_t) model->region_size));
}

static void
step_look (const struct model *model, const struct marks *marks)
{
  uint64_t offset, length, chunk, found, i;

  pick_range (model, &offset, &length);
  ck_assert (marks_overlap (marks, offset, length) ==
             (length > 0 && model_marked (model, offset, length)));

  chunk = below (model->chunks + 1);
  if (!marks_next_chunk (marks, chunk, &found)) {
    ck_assert (!model_marked (model, 0, model->size));
    return;
  }
  for (i = chunk % model->chunks; i != found; i = (i + 1) % model->chunks)
    ck_assert (!model_marked (model, i * MARKS_CHUNK, 1) &&
               marks_chunk_blocks (marks, i) == 0);
  ck_assert (marks_chunk_blocks (marks, found) != 0 ||
             marks_chunk_coarse (marks, found));
}

static void
step_compared (struct model *model, struct marks *marks)
{
  uint64_t chunk = below (model->chunks), blocks, i;

  blocks = below (4) ? below (1 << 20) & below (1 << 20) : 0;
  marks_chunk_compared (marks, chunk, blocks);
  model->coarse[chunk] = false;
  for (i = 0; i < 64 && chunk * 64 + i < model->blocks; ++i) {
    model->block[chunk * 64 + i] = blocks >> i & 1;
    if (blocks >> i & 1)
      model->set[chunk * MARKS_CHUNK / model->region_size] = true;
  }
}

/* One random step, weighted. */
static void
random_step (struct model *model, struct marks **marks)
{
  uint64_t n = below (64), offset, length;

  if (n == 63 && below (16) == 0)
    step_grow (model, *marks);
  else if (n < 1)
    step_bulk (model, *marks);
  else if (n < 2)
    step_restart (model, marks);
  else if (n < 12)
    step_use (model, *marks);
  else if (n < 20)
    step_set (model, *marks);
  else if (n < 32)
    step_clear (model, *marks);
  else if (n < 44)
    step_disk (model, *marks);
  else if (n < 48)
    step_compared (model, *marks);
  else if (n < 52)
    step_look (model, *marks);
  else {
    pick_range (model, &offset, &length);
    if (n < 56) {
      marks_dirty (*marks, offset, length);
      if (length > 0)
        model_dirty (model, offset, length);
    }
    else {
      marks_clean (*marks, offset, length);
      model_clean (model, offset, length);
    }
  }
}

static void
random_steps (uint64_t size, uint64_t region_size)
{
  struct marks *marks = marks_new (size, (uint32_t) region_size);
  struct model model = { .size = size, .region_size = region_size };
  unsigned step;

  ck_assert_ptr_nonnull (marks);
  model.blocks = (size + MARKS_BLOCK - 1) / MARKS_BLOCK;
  model.chunks = (size + MARKS_CHUNK - 1) / MARKS_CHUNK;
  model.regions = (size + region_size - 1) / region_size;
  ck_assert_uint_le (model.blocks, MAX_BLOCKS);
  srandom (SEED);
  for (step = 0; step < STEPS; ++step) {
    model.now_ms += below (4);
    random_step (&model, &marks);
    compare (&model, marks);
  }
  marks_free (marks);
}

START_TEST (random_whole)
{
  random_steps (4 * MIB, MARKS_CHUNK);
}
END_TEST

START_TEST (random_in_part)
{
  random_steps (3 * MIB + 8192 + 17, MARKS_CHUNK);
}
END_TEST

START_TEST (random_large_regions)
{
  random_steps (3 * MIB + 300 * KIB + 1, MIB);
}
END_TEST

START_TEST (random_tiny)
{
  random_steps (5000, MARKS_CHUNK);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("marks-model");
  TCase *tcase = tcase_create ("marks-model");
  SRunner *runner;
  int failed;

  tcase_add_test (tcase, random_whole);
  tcase_add_test (tcase, random_in_part);
  tcase_add_test (tcase, random_large_regions);
  tcase_add_test (tcase, random_tiny);
  tcase_set_timeout (tcase, 60);
  suite_add_tcase (suite, tcase);

  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
