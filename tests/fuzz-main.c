/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-main.c: runs files through a fuzz target, without libFuzzer.
 *
 *   fuzz-NAME [FILE | FOLDER]...
 *
 * Without arguments: all of tests/corpus/NAME, which holds inputs recorded
 * from real sessions and each input that once broke something.  Each file
 * is tried whole, and cut short at some places.
 */
#include <dirent.h>
#include <ftw.h>
#include <sys/stat.h>

#include "fuzz.h"

enum {
  FILE_MAX = 1024 * 1024,
  CUTS = 16, /* of each file, besides the whole */
};

static unsigned files;

static _Noreturn void
die (const char *what)
{
  perror (what);
  exit (2);
}

/* A copy of exactly SIZE bytes, so that a sanitizer sees a read behind. */
static void
try_bytes (const uint8_t *bytes, size_t size)
{
  uint8_t *copy = malloc (size > 0 ? size : 1);

  if (copy == NULL)
    die ("malloc");
  memcpy (copy, bytes, size);
  LLVMFuzzerTestOneInput (copy, size);
  free (copy);
}

static void
try_file (const char *path)
{
  static uint8_t bytes[FILE_MAX];
  FILE *file = fopen (path, "re");
  size_t size, i;

  if (file == NULL)
    die (path);
  size = fread (bytes, 1, FILE_MAX, file);
  if (ferror (file) || !feof (file))
    die (path);
  fclose (file);
  fprintf (stderr, "%s\n", path);
  try_bytes (bytes, size);
  for (i = 0; i < CUTS; i++)
    try_bytes (bytes, size * i / CUTS);
  files++;
}

static int
not_hidden (const struct dirent *entry)
{
  return entry->d_name[0] != '.';
}

static void
try_path (const char *path)
{
  struct dirent **entries;
  struct stat st;
  int i, count;

  if (stat (path, &st) == -1)
    die (path);
  if (!S_ISDIR (st.st_mode)) {
    try_file (path);
    return;
  }
  count = scandir (path, &entries, not_hidden, alphasort);
  if (count == -1)
    die (path);
  for (i = 0; i < count; i++) {
    char *inner;

    if (asprintf (&inner, "%s/%s", path, entries[i]->d_name) == -1)
      die (path);
    try_path (inner);
    free (inner);
    free (entries[i]);
  }
  free (entries);
}

static int
remove_one (const char *path, const struct stat *st, int type, struct FTW *ftw)
{
  (void) st;
  (void) type;
  (void) ftw;
  return remove (path);
}

int
main (int argc, char **argv)
{
  const char *slash = strrchr (argv[0], '/');
  const char *name = slash != NULL ? slash + 1 : argv[0];
  char *corpus, folder[] = "/tmp/duet-fuzz-main.XXXXXX";
  int i;

  if (strncmp (name, "fuzz-", 5) == 0)
    name += 5;
  if (mkdtemp (folder) == NULL || setenv ("TMPDIR", folder, 1) == -1 ||
      asprintf (&corpus, "tests/corpus/%s", name) == -1)
    die (folder);
  if (argc < 2)
    try_path (corpus);
  for (i = 1; i < argc; i++)
    try_path (argv[i]);
  free (corpus);
  nftw (folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  fprintf (stderr, "%u files\n", files);
  return files > 0 ? 0 : 1;
}
