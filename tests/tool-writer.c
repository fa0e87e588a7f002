/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool-writer.c: a client that knows what it must read back.
 *
 *   tool-writer run URI STATE [NAME=VALUE...]   write, then verify
 *   tool-writer verify URI-OR-FILE STATE        verify only
 *   tool-writer count STATE                     print answered requests
 *
 * It keeps connections= times depth= requests in flight until it gets
 * SIGTERM, or for seconds=, or until count= are answered.  Each write has
 * a number, and bytes that follow from number and place.  STATE, a shared
 * mapping, holds the number of the last answered write of each unit= bytes
 * and the writes in flight: it outlives this process, which may be killed
 * at any moment.  A write in flight then may be there or not; verify takes
 * either, and the next run looks which it is and insists on that.
 *
 * Reads among the writes are checked at once.  No two requests in flight
 * overlap.  Any error that the client sees is a failure, and so is
 * silence for longer than patience= seconds.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#include "splitmix.h"

#define MAGIC UINT64_C (0x3157524954455544)

enum {
  CONNECTIONS_MAX = 16,
  SLOTS_MAX = 256,
  LENGTH_MAX = 1024 * 1024,
  VERIFY_CHUNK = 1024 * 1024,
  DIFFERENCES_SHOWN = 5,
  ZEROED = 1, /* flag in a write's tag: its bytes are zeros */
};

/* A request in flight that changes its range; tag 0: none. */
struct pending {
  uint64_t offset;
  uint32_t length;
  uint32_t tag;
};

/* The state file.  owner[] has the tag of each unit's last answered
 * write, 0: never written.  A tag is the write's number times two, plus
 * ZEROED.
 */
struct state {
  uint64_t magic;
  uint64_t area; /* bytes from 0 on, a multiple of unit */
  uint64_t unit;
  uint64_t answered;
  uint64_t number; /* of the last write begun */
  struct pending pending[SLOTS_MAX];
  uint32_t owner[];
};

enum kind { READ, WRITE, ZERO };

struct slot {
  bool busy;
  enum kind kind;
  uint64_t offset;
  uint32_t length;
  int64_t begun_ms;
  uint8_t *buffer;
};

static struct {
  uint64_t area, unit, max, connections, depth, seconds, count, seed;
  uint64_t reads, zeros, patience;
} option = {
  .area = 48 << 20,
  .unit = 512,
  .max = 65536,
  .connections = 4,
  .depth = 8,
  .reads = 10,
  .zeros = 5,
  .patience = 60,
};

static struct state *state;
static struct slot slots[SLOTS_MAX];
static struct nbd_handle *handles[CONNECTIONS_MAX];
static uint64_t done, longest_ms, random_state;
static int64_t last_answer_ms;
static unsigned busy;
static volatile sig_atomic_t told_to_stop;

static _Noreturn void __attribute__ ((format (printf, 1, 2)))
die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fputs ("tool-writer: ", stderr);
  vfprintf (stderr, format, args);
  fputc ('\n', stderr);
  va_end (args);
  exit (1);
}

static int64_t
now_ms (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ------------------------------------------------------------- contents */

static uint64_t
random_below (uint64_t limit)
{
  return splitmix_next (&random_state) % limit;
}

/* The 8 bytes at INDEX * 8: the tag, to be recognized, and a hash. */
static uint64_t
word_of (uint32_t tag, uint64_t index)
{
  if (tag == 0 || (tag & ZEROED) != 0)
    return 0;
  return splitmix_hash ((uint64_t) tag << 32 ^ index) << 32 | tag;
}

/* What write TAG puts at [OFFSET, OFFSET + LENGTH). */
static void
fill (uint8_t *buffer, uint64_t offset, uint64_t length, uint32_t tag)
{
  uint64_t at = 0;

  while (at < length) {
    uint64_t word = word_of (tag, (offset + at) / 8);
    uint64_t skip = (offset + at) % 8;
    uint64_t n = 8 - skip < length - at ? 8 - skip : length - at;

    memcpy (buffer + at, (uint8_t *) &word + skip, n);
    at += n;
  }
}

/* May a unit have these bytes by a write whose end nobody knows?  Which
 * one, goes to *TAG.
 */
static bool
is_pending (const uint8_t *data, uint64_t offset, uint32_t *tag)
{
  uint8_t expected[4096];
  unsigned i;

  for (i = 0; i < SLOTS_MAX; i++) {
    const struct pending *p = &state->pending[i];

    if (p->tag == 0 || offset < p->offset || offset >= p->offset + p->length)
      continue;
    fill (expected, offset, state->unit, p->tag);
    if (memcmp (data, expected, state->unit) == 0) {
      *tag = p->tag;
      return true;
    }
  }
  return false;
}

static void
show_difference (const uint8_t *data, uint64_t offset, uint32_t tag)
{
  uint64_t found = 0, want = word_of (tag, offset / 8);

  memcpy (&found, data, state->unit < 8 ? state->unit : 8);
  fprintf (stderr,
           "tool-writer: at %" PRIu64 ": expected write %u (%016" PRIx64
           "), found %016" PRIx64 " (write %u?)\n",
           offset, tag >> 1, want, found, (uint32_t) found >> 1);
}

/* How many units of DATA are not what they must be.  SETTLE: remember
 * which of the possible contents was found.
 */
static uint64_t
differences (const uint8_t *data, uint64_t offset, uint64_t length, bool settle)
{
  static uint64_t shown;
  uint8_t expected[4096];
  uint64_t at, bad = 0;

  for (at = 0; at < length; at += state->unit) {
    uint32_t *owner = &state->owner[(offset + at) / state->unit];
    uint32_t tag = *owner;

    fill (expected, offset + at, state->unit, tag);
    if (memcmp (data + at, expected, state->unit) != 0 &&
        !is_pending (data + at, offset + at, &tag)) {
      bad++;
      if (shown++ < DIFFERENCES_SHOWN)
        show_difference (data + at, offset + at, *owner);
    }
    else if (settle)
      *owner = tag;
  }
  return bad;
}

/* ----------------------------------------------------------- state file */

static void
open_state (const char *path, bool create)
{
  size_t bytes = sizeof *state;
  int fd = open (path, create ? O_RDWR | O_CREAT : O_RDWR, 0666);
  off_t old = fd == -1 ? -1 : lseek (fd, 0, SEEK_END);

  if (old == -1)
    die ("%s: %s", path, strerror (errno));
  if (create)
    bytes += option.area / option.unit * sizeof state->owner[0];
  else if (old < (off_t) bytes) /* only a writer begins one */
    die ("%s: not a state file", path);
  if (old > 0)
    bytes = (size_t) old;
  else if (ftruncate (fd, (off_t) bytes) == -1)
    die ("%s: %s", path, strerror (errno));
  state = mmap (NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (state == MAP_FAILED)
    die ("%s: %s", path, strerror (errno));
  close (fd);
  if (old == 0) {
    state->area = option.area;
    state->unit = option.unit;
    state->magic = MAGIC;
  }
  if (state->magic != MAGIC)
    die ("%s: not a state file", path);
}

/* ---------------------------------------------------------------- verify */

static struct nbd_handle *
connect_to (const char *uri)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL || nbd_connect_uri (nbd, uri) == -1)
    die ("connect: %s", nbd_get_error ());
  return nbd;
}

/* Compare the whole area; 0 or 1. */
static int
verify (const char *from, bool settle)
{
  struct nbd_handle *nbd = strstr (from, "://") ? connect_to (from) : NULL;
  int fd = nbd != NULL ? -1 : open (from, O_RDONLY);
  uint8_t *data = malloc (VERIFY_CHUNK);
  uint64_t offset, n, bad = 0;

  if (data == NULL || (nbd == NULL && fd == -1))
    die ("%s: %s", from, strerror (errno));
  for (offset = 0; offset < state->area; offset += n) {
    n = state->area - offset;
    if (n > VERIFY_CHUNK)
      n = VERIFY_CHUNK;
    if (nbd != NULL && nbd_pread (nbd, data, n, offset, 0) == -1)
      die ("read at %" PRIu64 ": %s", offset, nbd_get_error ());
    if (nbd == NULL && pread (fd, data, n, (off_t) offset) != (ssize_t) n)
      die ("%s: cannot read at %" PRIu64, from, offset);
    bad += differences (data, offset, n, settle);
  }
  free (data);
  if (fd != -1)
    close (fd);
  nbd_close (nbd);
  if (bad > 0)
    fprintf (stderr,
             "tool-writer: %s: %" PRIu64 " units of %" PRIu64 " bytes "
             "are wrong\n",
             from, bad, state->unit);
  return bad > 0;
}

/* ------------------------------------------------------------- requests */

static int
on_done (void *opaque, int *error)
{
  struct slot *slot = opaque;
  struct pending *pending = &state->pending[slot - slots];
  uint64_t i, first = slot->offset / state->unit;

  if (*error != 0)
    die ("a request of %u bytes at %" PRIu64 " failed after %" PRId64 " ms: %s",
         slot->length, slot->offset, now_ms () - slot->begun_ms,
         strerror (*error));
  if (slot->kind == READ) {
    if (differences (slot->buffer, slot->offset, slot->length, false) > 0)
      die ("a read of %u bytes at %" PRIu64 " returned wrong data",
           slot->length, slot->offset);
  }
  else
    for (i = 0; i < slot->length / state->unit; i++)
      state->owner[first + i] = pending->tag;
  /* The owners first: a kill in between leaves both, which agree. */
  __atomic_signal_fence (__ATOMIC_RELEASE);
  pending->tag = 0;

  last_answer_ms = now_ms ();
  if ((uint64_t) (last_answer_ms - slot->begun_ms) > longest_ms)
    longest_ms = (uint64_t) (last_answer_ms - slot->begun_ms);
  slot->busy = false;
  busy--;
  done++;
  state->answered++;
  return 1;
}

/* Choose a range that no request in flight has; false: try later. */
static bool
choose_range (struct slot *slot)
{
  uint64_t units = option.max / state->unit;
  unsigned i;

  if (random_below (2) == 0)
    units = (4096 + state->unit - 1) / state->unit;
  if (random_below (4) != 0)
    units = 1 + random_below (units);
  slot->length = (uint32_t) (units * state->unit);
  slot->offset = random_below ((state->area - slot->length) / state->unit + 1) *
    state->unit;
  for (i = 0; i < SLOTS_MAX; i++)
    if (slots[i].busy && slots[i].offset < slot->offset + slot->length &&
        slot->offset < slots[i].offset + slots[i].length)
      return false;
  return true;
}

static int64_t
send_zero (struct nbd_handle *nbd, const struct slot *slot,
           nbd_completion_callback callback)
{
  switch (random_below (3)) {
  case 0: return nbd_aio_trim (nbd, slot->length, slot->offset, callback, 0);
  case 1:
    return nbd_aio_zero (nbd, slot->length, slot->offset, callback,
                         LIBNBD_CMD_FLAG_NO_HOLE);
  default: return nbd_aio_zero (nbd, slot->length, slot->offset, callback, 0);
  }
}

static void
begin (unsigned which)
{
  struct slot *slot = &slots[which];
  struct nbd_handle *nbd = handles[which / option.depth];
  struct pending *pending = &state->pending[which];
  uint64_t die_roll = random_below (100);
  nbd_completion_callback callback = { .callback = on_done, .user_data = slot };
  int64_t cookie;

  if (!choose_range (slot))
    return;
  slot->kind = die_roll < option.reads       ? READ
    : die_roll < option.reads + option.zeros ? ZERO
                                             : WRITE;
  slot->busy = true;
  slot->begun_ms = now_ms ();
  busy++;
  if (slot->kind != READ) {
    pending->offset = slot->offset;
    pending->length = slot->length;
    __atomic_signal_fence (__ATOMIC_RELEASE);
    pending->tag = (uint32_t) ++state->number << 1 |
      (slot->kind == ZERO ? ZEROED : 0);
    fill (slot->buffer, slot->offset, slot->length, pending->tag);
  }
  if (slot->kind == READ)
    cookie = nbd_aio_pread (nbd, slot->buffer, slot->length, slot->offset,
                            callback, 0);
  else if (slot->kind == WRITE)
    cookie = nbd_aio_pwrite (nbd, slot->buffer, slot->length, slot->offset,
                             callback, 0);
  else
    cookie = send_zero (nbd, slot, callback);
  if (cookie == -1)
    die ("cannot send a request: %s", nbd_get_error ());
}

/* Wait for something to come, and let libnbd work. */
static void
turn (void)
{
  struct pollfd fds[CONNECTIONS_MAX];
  unsigned i, direction;
  int r;

  for (i = 0; i < option.connections; i++) {
    direction = nbd_aio_get_direction (handles[i]);
    fds[i].fd = nbd_aio_get_fd (handles[i]);
    fds[i].events = (short) ((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN
                                                                    : 0) |
                             (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT
                                                                     : 0));
    fds[i].revents = 0;
  }
  r = poll (fds, (nfds_t) option.connections, 100);
  for (i = 0; r > 0 && i < option.connections; i++) {
    r = 1;
    direction = nbd_aio_get_direction (handles[i]);
    if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
        (direction & LIBNBD_AIO_DIRECTION_READ) != 0)
      r = nbd_aio_notify_read (handles[i]);
    else if ((fds[i].revents & POLLOUT) != 0 &&
             (direction & LIBNBD_AIO_DIRECTION_WRITE) != 0)
      r = nbd_aio_notify_write (handles[i]);
    if (r == -1)
      die ("connection %u: %s", i, nbd_get_error ());
    r = 1;
  }
  if (busy > 0 && now_ms () - last_answer_ms > (int64_t) option.patience * 1000)
    die ("no answer for %" PRIu64 " s", option.patience);
}

static void
on_signal (int number)
{
  (void) number;
  told_to_stop = 1;
}

static void
write_all (const char *uri)
{
  int64_t start = now_ms ();
  unsigned i;
  bool more = true;

  for (i = 0; i < option.connections; i++)
    handles[i] = connect_to (uri);
  for (i = 0; i < option.connections * option.depth; i++)
    if ((slots[i].buffer = malloc (option.max + 4096)) == NULL)
      die ("no memory");
  last_answer_ms = now_ms ();
  while (more || busy > 0) {
    if (told_to_stop || (option.count > 0 && done + busy >= option.count) ||
        (option.seconds > 0 &&
         now_ms () - start >= (int64_t) option.seconds * 1000))
      more = false;
    for (i = 0; more && i < option.connections * option.depth; i++)
      if (!slots[i].busy && (option.count == 0 || done + busy < option.count))
        begin (i);
    turn ();
  }
  for (i = 0; i < option.connections; i++)
    nbd_close (handles[i]);
  for (i = 0; i < option.connections * option.depth; i++)
    free (slots[i].buffer);
}

static int
run (const char *uri)
{
  struct sigaction action = { .sa_handler = on_signal };
  int wrong;

  sigaction (SIGTERM, &action, NULL);
  if (state->answered > 0) {
    if (verify (uri, true) != 0)
      return 1;
    memset (state->pending, 0, sizeof state->pending);
  }
  write_all (uri);
  wrong = verify (uri, false);
  printf ("%" PRIu64 " requests, longest pause %" PRIu64 " ms, %s\n", done,
          longest_ms, wrong ? "WRONG DATA" : "all data right");
  return wrong;
}

/* -------------------------------------------------------------- command */

static void
set_option (const char *text)
{
  const struct {
    const char *name;
    uint64_t *value, min, max;
  } names[] = {
    { "area", &option.area, 1 << 20, UINT32_MAX },
    { "unit", &option.unit, 1, 4096 },
    { "max", &option.max, 4096, LENGTH_MAX },
    { "connections", &option.connections, 1, CONNECTIONS_MAX },
    { "depth", &option.depth, 1, SLOTS_MAX / CONNECTIONS_MAX },
    { "seconds", &option.seconds, 1, 86400 },
    { "count", &option.count, 1, UINT32_MAX / 4 },
    { "seed", &option.seed, 0, UINT64_MAX },
    { "reads", &option.reads, 0, 100 },
    { "zeros", &option.zeros, 0, 100 },
    { "patience", &option.patience, 1, 86400 },
  };
  unsigned i;
  size_t n;
  char *end;

  for (i = 0; i < sizeof names / sizeof names[0]; i++) {
    n = strlen (names[i].name);
    if (strncmp (text, names[i].name, n) != 0 || text[n] != '=')
      continue;
    *names[i].value = strtoull (text + n + 1, &end, 10);
    if (*end == 0 && *names[i].value >= names[i].min &&
        *names[i].value <= names[i].max)
      return;
  }
  die ("bad option %s", text);
}

int
main (int argc, char **argv)
{
  const char *what = argc > 1 ? argv[1] : "";
  int i;

  if (strcmp (what, "run") == 0 && argc >= 4) {
    option.seed = (uint64_t) now_ms ();
    for (i = 4; i < argc; i++)
      set_option (argv[i]);
    if (option.area % option.unit != 0 || option.max % option.unit != 0 ||
        option.max + 4096 > option.area)
      die ("area=, max= and unit= do not fit");
    random_state = option.seed;
    open_state (argv[3], true);
    return run (argv[2]);
  }
  if (strcmp (what, "verify") == 0 && argc == 4) {
    open_state (argv[3], false);
    return verify (argv[2], false);
  }
  if (strcmp (what, "count") == 0 && argc == 3) {
    open_state (argv[2], false);
    printf ("%" PRIu64 "\n", state->answered);
    return 0;
  }
  die ("usage: tool-writer run URI STATE [NAME=VALUE...] | "
       "verify URI-OR-FILE STATE | count STATE");
}
