/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetctl-meta.c: what a metadata file says, for people or as JSON.  It asks
 * no node: for one that does not run, or a copy of its file.  Nothing is
 * refused and nothing is ever written; what cannot be understood is shown as
 * that.  A running node may write meanwhile, so it is said when the file is
 * locked.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "duetctl.h"
#include "fileio.h"
#include "meta.h"
#include "metafile.h"

enum { ID_TEXT = 17 };

/* ------------------------------------------------------------ the file */

/* A descriptor, or -1 after a message.  Nothing is waited for: not for the
 * other end of a pipe.
 */
static int
open_file (const char *path)
{
  int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  struct stat st;

  if (fd == -1 || fstat (fd, &st) == -1) {
    complain ("%s: %s%s", path, strerror (errno),
              errno == EACCES ? "\nRun duetctl as the user that runs the node, "
                                "or as root."
                              : "");
    if (fd != -1)
      close (fd);
    return -1;
  }
  if (!S_ISREG (st.st_mode)) {
    complain ("%s: metadata is in a regular file, and this is none.\n"
              "It is FILE.duet beside the data file, or what meta= says.",
              path);
    close (fd);
    return -1;
  }
  return fd;
}

/* Does a node hold it?  A lock cannot be asked for everywhere: then no. */
static bool
is_locked (int fd)
{
  struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };

  return fcntl (fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* ------------------------------------------------------- values as JSON */

static json_t *
id_json (uint64_t id)
{
  char id_text[ID_TEXT];

  if (id == 0)
    return json_null ();
  snprintf (id_text, sizeof id_text, "%016" PRIx64, id);
  return json_string (id_text);
}

static json_t *
number_json (uint64_t value)
{
  return json_integer ((json_int_t) (value < INT64_MAX ? value : INT64_MAX));
}

static json_t *
generation_json (const struct generation *gen)
{
  return json_pack (
    "{s:o, s:o, s:s, s:o, s:o, s:o}", "epoch", number_json (gen->gen.epoch),
    "id", id_json (gen->gen.id), "kind",
    gen_kind_name ((enum gen_kind) gen->kind), "client", id_json (gen->client),
    "session", gen->client != 0 ? number_json (gen->session) : json_null (),
    "made", gen->made_s != 0 ? number_json (gen->made_s) : json_null ());
}

static json_t *
attempt_json (const struct gen_record *record)
{
  const struct generation *attempt = &record->attempt;

  if (attempt->kind == GEN_NONE)
    return json_null ();
  return json_pack ("{s:o, s:o, s:s, s:o}", "epoch",
                    number_json (attempt->gen.epoch), "id",
                    id_json (attempt->gen.id), "kind",
                    gen_kind_name ((enum gen_kind) attempt->kind), "revision",
                    number_json (record->attempt_revision));
}

static json_t *
history_json (const struct gen_record *record)
{
  json_t *history = json_array ();

  for (uint32_t i = 0; i < record->history_count; i++)
    json_array_append_new (history, generation_json (&record->history[i]));
  return history;
}

static json_t *
members_json (const struct gen_record *record)
{
  json_t *members = json_array ();

  if (record->history_count > 0)
    json_array_append_new (members, id_json (record->node));
  if (record->history_count > 0 && record->both)
    json_array_append_new (members, id_json (record->peer));
  return members;
}

/* Sizes that need not be there: 0 is none. */
static json_t *
size_json (uint64_t bytes)
{
  return bytes != 0 ? number_json (bytes) : json_null ();
}

static json_t *
record_json (const struct gen_record *record)
{
  return json_pack (
    "{s:o, s:o, s:o, s:o, s:o, s:s, s:o, s:o, s:b, s:b, s:b, s:o, s:o, s:o,"
    " s:o}",
    "volume", id_json (record->volume), "node", id_json (record->node), "peer",
    id_json (record->peer), "size_bytes", number_json (record->size),
    "region_bytes", number_json (record->region_size), "data",
    gen_data_name ((enum data_state) record->data), "primary",
    id_json (record->primary), "members", members_json (record), "answered",
    (int) record->answered, "discard", (int) record->discard, "has_data",
    (int) record->has_data, "history", history_json (record), "attempt",
    attempt_json (record), "made_bytes", size_json (record->made_size),
    "growing_to_bytes", size_json (record->grow_to));
}

/* -------------------------------------------------------- slots, map */

static json_t *
slot_json (const uint8_t *bytes, bool newest)
{
  struct gen_record record;
  uint64_t sequence;
  enum meta_reason reason = meta_decode (bytes, &record, &sequence);
  bool valid = reason == META_OK;
  bool has_generation = valid && record.history_count > 0;

  return json_pack ("{s:s, s:b, s:o, s:o}", "state", meta_reason_text (reason),
                    "newest", (int) (valid && newest), "sequence",
                    valid ? number_json (sequence) : json_null (), "generation",
                    has_generation ? generation_json (&record.history[0])
                                   : json_null ());
}

/* Bits of PAGE that are regions and set; a page that fails its check, or
 * is all zeros and so was lost, counts as all ones, as for a node.
 */
static uint64_t
count_regions (int fd, uint32_t page, uint64_t regions, bool *bad)
{
  const uint64_t page_regions = (uint64_t) MARKS_PAGE_BYTES * 8;
  uint8_t bytes[META_PAGE] = { 0 }, bits[MARKS_PAGE_BYTES];
  uint64_t first = page * page_regions, set = 0;
  uint64_t offset = META_MAP_OFFSET + (uint64_t) page * META_PAGE;
  uint64_t count = regions - first < page_regions ? regions - first
                                                  : page_regions;
  static const uint8_t zeros[META_PAGE];

  *bad = fileio_read (fd, bytes, META_PAGE, offset) == -1 ||
    memcmp (bytes, zeros, META_PAGE) == 0 ||
    !meta_decode_page (page, bytes, bits);
  if (*bad)
    return count;
  for (uint64_t i = 0; i < count; i++)
    set += bits[i / 8] >> i % 8 & 1;
  return set;
}

static json_t *
map_json (int fd, const struct gen_record *record)
{
  uint32_t pages = metafile_pages (record->size, record->region_size);
  uint64_t regions = (record->size - 1) / record->region_size + 1;
  uint64_t set = 0, bytes;
  uint32_t bad_pages = 0;

  for (uint32_t i = 0; i < pages; i++) {
    bool bad;

    set += count_regions (fd, i, regions, &bad);
    bad_pages += bad;
  }
  bytes = set * record->region_size;
  return json_pack ("{s:o, s:o, s:o, s:o, s:o}", "pages", number_json (pages),
                    "bad_pages", number_json (bad_pages), "regions",
                    number_json (regions), "regions_set", number_json (set),
                    "dirty_bytes",
                    number_json (bytes < record->size ? bytes : record->size));
}

/* All that the file says; NULL after a message. */
static json_t *
read_meta (const char *path)
{
  uint8_t slots[META_SLOTS * META_SLOT] = { 0 };
  struct gen_record record;
  uint64_t sequence;
  unsigned newest;
  json_t *dump = NULL;
  int fd = open_file (path);

  if (fd == -1)
    return NULL;
  if (fileio_read_up_to (fd, slots, sizeof slots, 0) == -1)
    complain ("%s: cannot read the superblock: %s", path, strerror (errno));
  else {
    enum meta_reason reason = meta_newest (slots, &record, &sequence, &newest);
    bool usable = reason == META_OK;

    dump = json_pack ("{s:s%, s:b, s:s, s:[o, o], s:o, s:o}", "file", path,
                      strlen (path), "locked", (int) is_locked (fd),
                      "superblock", meta_reason_text (reason), "slots",
                      slot_json (slots, usable && newest == 0),
                      slot_json (slots + META_SLOT, usable && newest == 1),
                      "record", usable ? record_json (&record) : json_null (),
                      "map", usable ? map_json (fd, &record) : json_null ());
    if (dump == NULL)
      complain ("out of memory, or the name of the file is not UTF-8");
  }
  close (fd);
  return dump;
}

/* ---------------------------------------------------------- for people */

static void
show_generation (const json_t *generation)
{
  printf ("%" PRIu64 ".%s (%s)", number (generation, "epoch"),
          text (generation, "id"), text (generation, "kind"));
}

static void
show_slots (const json_t *slots)
{
  size_t i;
  json_t *slot;

  json_array_foreach (slots, i, slot) {
    const json_t *generation = json_object_get (slot, "generation");

    printf ("slot %zu      ", i);
    if (json_is_integer (json_object_get (slot, "sequence")))
      printf ("valid, sequence %" PRIu64 ", ", number (slot, "sequence"));
    else
      printf ("%s", text (slot, "state"));
    if (json_is_object (generation))
      show_generation (generation);
    else if (json_is_integer (json_object_get (slot, "sequence")))
      printf ("no generation");
    if (json_is_true (json_object_get (slot, "newest")))
      printf (", the newest");
    printf ("\n");
  }
}

static const char *
data_meaning (const json_t *record)
{
  static const char *const meanings[][2] = {
    { "blank", "never part of a volume" },
    { "current", "holds all that its generation has acknowledged" },
    { "syncing", "not complete: it was being overwritten by the peer's copy" },
    { "failed", "its disk has failed; needs a resync" },
  };

  for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++)
    if (strcmp (text (record, "data"), meanings[i][0]) == 0)
      return meanings[i][1];
  return "-";
}

/* A node by its id, and whether it is this one. */
static void
show_node (const json_t *record, const char *id)
{
  printf ("%s%s", id,
          strcmp (id, text (record, "node")) == 0 ? " (this node)" : "");
}

static void
show_members (const json_t *record)
{
  const json_t *members = json_object_get (record, "members");
  size_t i;
  json_t *member;

  printf ("members     %s", json_array_size (members) == 0 ? "none yet" : "");
  json_array_foreach (members, i, member) {
    printf ("%s", i > 0 ? ", " : "");
    show_node (record,
               json_is_string (member) ? json_string_value (member) : "-");
  }
  printf ("\n");
}

static void
show_record (const json_t *record)
{
  char size[SIZE_TEXT], region[SIZE_TEXT];
  const json_t *attempt = json_object_get (record, "attempt");

  printf ("volume      %s, %s in regions of %s\n", text (record, "volume"),
          size_text (number (record, "size_bytes"), size),
          size_text (number (record, "region_bytes"), region));
  if (number (record, "made_bytes") > 0)
    printf ("            has grown: it had %s at first\n",
            size_text (number (record, "made_bytes"), size));
  if (number (record, "growing_to_bytes") > 0)
    printf ("            a growth to %s was begun and has not ended\n",
            size_text (number (record, "growing_to_bytes"), size));
  printf ("node        %s\n", text (record, "node"));
  printf ("peer        %s\n", text (record, "peer"));
  printf ("data        %s: %s\n", text (record, "data"), data_meaning (record));
  if (json_is_true (json_object_get (record, "discard")))
    printf ("            does not count: given up, or left behind\n");
  if (json_is_true (json_object_get (record, "has_data")))
    printf ("            the data file was not empty, so it is not "
            "overwritten\n");
  printf ("primary     ");
  show_node (record, text (record, "primary"));
  printf ("\n");
  show_members (record);
  printf ("answered    %s\n",
          json_is_true (json_object_get (record, "answered"))
            ? "yes: this generation has answered a client"
            : "no: this generation has answered no client");
  if (json_is_object (attempt)) {
    printf ("attempt     ");
    show_generation (attempt);
    printf (", asked of etcd at revision %" PRIu64 ", not decided\n",
            number (attempt, "revision"));
  }
}

static void
show_history (const json_t *history)
{
  char when[SIZE_TEXT];
  struct tm local;
  size_t i;
  json_t *generation;

  json_array_foreach (history, i, generation) {
    time_t made = (time_t) number (generation, "made");

    printf ("%s", i == 0 ? "history     " : "            ");
    show_generation (generation);
    if (made != 0 && localtime_r (&made, &local) != NULL &&
        strftime (when, sizeof when, "%Y-%m-%d %H:%M:%S", &local) > 0)
      printf (", made %s", when);
    if (json_is_string (json_object_get (generation, "client")))
      printf (", for client %s, session %" PRIu64, text (generation, "client"),
              number (generation, "session"));
    printf ("\n");
  }
}

static void
show_map (const json_t *map)
{
  uint64_t bad = number (map, "bad_pages");
  char size[SIZE_TEXT];

  printf ("map         %" PRIu64 " of %" PRIu64 " regions set: at most %s may "
          "differ from the peer\n",
          number (map, "regions_set"), number (map, "regions"),
          size_text (number (map, "dirty_bytes"), size));
  if (bad > 0)
    printf ("            %" PRIu64 " of %" PRIu64
            " pages are damaged and count as all set\n",
            bad, number (map, "pages"));
  else
    printf ("            %" PRIu64 " pages, none damaged\n",
            number (map, "pages"));
}

static void
show_meta (const json_t *dump)
{
  const json_t *record = json_object_get (dump, "record");

  printf ("file        %s, %s\n", text (dump, "file"),
          json_is_true (json_object_get (dump, "locked"))
            ? "in use by a running node, which may change it at any moment: "
              "better ask it for its status"
            : "not in use");
  show_slots (json_object_get (dump, "slots"));
  if (!json_is_object (record))
    return;
  show_record (record);
  show_history (json_object_get (record, "history"));
  show_map (json_object_get (dump, "map"));
}

/* What a node would make of a file without a usable superblock. */
static void
complain_unusable (const char *path, const char *reason)
{
  if (strcmp (reason, meta_reason_text (META_EMPTY)) == 0)
    complain ("%s: no superblock was ever written: it was never made ready.\n"
              "A node that is started with it begins its creation again.",
              path);
  else if (strcmp (reason, meta_reason_text (META_BAD_MAGIC)) == 0)
    complain ("%s: %s.\n"
              "Metadata is in FILE.duet beside the data file, or where meta= "
              "says.",
              path, reason);
  else
    complain ("%s: %s.\n"
              "A node refuses to start with it.",
              path, reason);
}

int
dump_meta (const char *path, bool json)
{
  json_t *dump = read_meta (path);
  bool usable;

  if (dump == NULL)
    return EXIT_REFUSED;
  if (json)
    show_json (dump);
  else
    show_meta (dump);
  usable = json_is_object (json_object_get (dump, "record"));
  if (!usable)
    complain_unusable (path, text (dump, "superblock"));
  json_decref (dump);
  return usable ? EXIT_OK : EXIT_REFUSED;
}
