/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-meta.c: the metadata file.  Superblock slots and map pages are
 * decoded, then a store is opened on them, and what it found becomes a
 * core that starts.
 *
 * A file is mostly zeros, so the input says only what is not:
 *
 *    0  u8  flags: enum flag
 *    1  pieces: u16 place (in units of 4 bytes), u16 length, the bytes
 *
 * Pieces lie in a file of FILE_BYTES.  The flags have checksums made right
 * after that, so that what lies behind them is reached.
 */
#include <fcntl.h>

#include "core.h"
#include "fuzz.h"
#include "meta.h"
#include "store.h"
#include "wire.h"

enum {
  PAGES = 4,
  FILE_BYTES = META_MAP_OFFSET + PAGES * META_PAGE,
  UNIT = 4, /* bytes, of a place */
  CRC_AT = 4092,
  PAGE_MAGIC_AT = 4080,
};

#define SIZE_MAX_TRIED (UINT64_C (16) << 30)

enum flag {
  SIGN_SLOT_0 = 1,
  SIGN_SLOT_1 = 2,
  SIGN_PAGES = 4,
  SHORT_FILE = 8, /* ends behind the slots */
};

static char meta_path[FUZZ_PATH], data_path[FUZZ_PATH];

/* ---------------------------------------------------------- the bytes */

static void
put_le32 (uint8_t *to, uint32_t value)
{
  unsigned i;

  for (i = 0; i < 4; i++)
    to[i] = (uint8_t) (value >> (8 * i));
}

static void
sign (uint8_t *page)
{
  put_le32 (page + CRC_AT, wire_crc32c (page, CRC_AT));
}

static unsigned
lay_out (struct fuzz_input input, uint8_t file[FILE_BYTES])
{
  unsigned flags = (unsigned) fuzz_take (&input, 1), i;

  memset (file, 0, FILE_BYTES);
  while (input.left > 0) {
    size_t at = fuzz_take (&input, 2) * UNIT, length = fuzz_take (&input, 2);

    if (at >= FILE_BYTES)
      break;
    if (length > FILE_BYTES - at)
      length = FILE_BYTES - at;
    if (!fuzz_take_bytes (&input, file + at, length, length))
      break;
  }
  if (flags & SIGN_SLOT_0)
    sign (file);
  if (flags & SIGN_SLOT_1)
    sign (file + META_SLOT);
  for (i = 0; i < PAGES && (flags & SIGN_PAGES) != 0; i++) {
    uint8_t *page = file + META_MAP_OFFSET + i * META_PAGE;

    memcpy (page + PAGE_MAGIC_AT, "DMAP", 4);
    put_le32 (page + PAGE_MAGIC_AT + 4, i);
    sign (page);
  }
  return flags;
}

/* ----------------------------------------------------------- the codec */

static void
try_slots (const uint8_t *file)
{
  struct gen_record record;
  uint64_t sequence;
  uint8_t again[META_SLOT];
  unsigned i;

  for (i = 0; i < META_SLOTS; i++) {
    const uint8_t *slot = file + i * META_SLOT;

    if (meta_decode (slot, &record, &sequence) != META_OK)
      continue;
    /* There is one way to write what was accepted. */
    meta_encode (&record, sequence, again);
    assert (memcmp (again, slot, META_SLOT) == 0);
  }
}

static void
try_pages (const uint8_t *file)
{
  uint8_t bits[MARKS_PAGE_BYTES];
  unsigned i, j;

  for (i = 0; i < PAGES; i++) {
    const uint8_t *page = file + META_MAP_OFFSET + i * META_PAGE;

    if (meta_decode_page (i, page, bits))
      assert (memcmp (bits, page, MARKS_PAGE_BYTES) == 0);
    else
      for (j = 0; j < MARKS_PAGE_BYTES; j++)
        assert (bits[j] == 0xff);
  }
}

/* ----------------------------------------------------------- the files */

static void
write_file (const char *path, const uint8_t *bytes, size_t length,
            uint64_t size)
{
  int fd = open (path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  assert (fd != -1);
  assert (write (fd, bytes, length) == (ssize_t) length);
  assert (ftruncate (fd, (off_t) size) == 0);
  close (fd);
}

/* A node that starts with it. */
static void
try_core (const struct gen_record *record, const struct store *store)
{
  const struct core_config config = { .beat_ms = 100,
                                      .dead_ms = 1000,
                                      .boot = 1 };
  const struct core_event start = { .type = EV_START, .now_ms = 1 };
  uint64_t bytes;
  const uint8_t *map = store_map (store, &bytes);
  struct core *core = core_new (&config, record, map, bytes);

  assert (core != NULL);
  core_step (core, &start);
  core_check (core);
  core_free (core);
}

/* What was opened and saved is there again. */
static void
try_again (const struct store_config *config, const struct gen_record *record)
{
  struct gen_record again;
  char error[512];
  struct store *store = store_open (config, &again, error, sizeof error);

  assert (store != NULL);
  assert (again.node == record->node && again.size == record->size);
  assert (again.history_count == record->history_count);
  assert (again.data == record->data && again.volume == record->volume);
  store_close (store);
}

static void
try_store (void)
{
  const struct store_config config = { .file = data_path, .meta = meta_path };
  struct gen_record record;
  char error[512];
  struct store *store = store_open (&config, &record, error, sizeof error);

  if (store == NULL) {
    assert (error[0] != '\0');
    return;
  }
  try_core (&record, store);
  assert (store_save_record (store, &record) == 0);
  store_close (store);
  try_again (&config, &record);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static uint8_t file[FILE_BYTES];
  uint64_t data_size = 1024 * 1024, sequence;
  struct gen_record record;
  unsigned slot, flags;

  fuzz_make_folder ();
  fuzz_put_path (meta_path, "meta");
  fuzz_put_path (data_path, "data");
  flags = lay_out ((struct fuzz_input){ data, size }, file);
  try_slots (file);
  try_pages (file);
  if (meta_newest (file, &record, &sequence, &slot) == META_OK)
    data_size = record.size;
  write_file (meta_path, file, FILE_BYTES,
              flags & SHORT_FILE ? META_MAP_OFFSET : FILE_BYTES);
  /* A larger core only takes time; the store refuses the empty file. */
  write_file (data_path, file, 0, data_size <= SIZE_MAX_TRIED ? data_size : 0);
  try_store ();
  return 0;
}
