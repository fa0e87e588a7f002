/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * tool-history.c: load that records what it saw, and the judge of that.
 *
 *   tool-history run URI FILE [NAME=VALUE...]   load; append to FILE
 *   tool-history fault FILE begin|end           note a fault in FILE
 *   tool-history check [again] FILE...          linearizable?
 *
 * run keeps connections= times depth= requests in flight until SIGTERM, or
 * for seconds=, or until count= are answered; then it waits for the rest.
 * They overlap on purpose.  Each process has a client= of its own, and
 * FILE, whose lines linear-text.c describes, is its own too.  A process
 * may be killed at any moment: what was not answered stays so in FILE.
 *
 * The volume, zeros before, has islands= of 24 cells each, around the ends
 * of regions; a cell is 16 to 2015 bytes at odd places.  A request is for
 * some cells in a row.  Each 8 bytes that are written tell the write, so
 * that a read knows from which write each byte came.
 *
 * An error that the client sees, or silence for longer than patience=
 * seconds, ends run with status 2.  check ends with 0 for yes, 1 for no
 * (and prints requests that have no order), 3 for undecided; with "again"
 * it allows the stated exception of I3 for writes in flight during faults.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#include "linear.h"
#include "splitmix.h"

enum {
  CONNECTIONS_MAX = 16,
  DEPTH_MAX = 16,
  ISLANDS_MAX = 14,
  CELLS = 24,
  CELL_MIN = 16, /* one whole word of 8 bytes at least */
  CELL_SPREAD = 2000,
  REGION = 4 << 20,
  LINE_MAX_BYTES = 64 * 1024,
  EXIT_NOT_LINEAR = 1,
  EXIT_BAD = 2,
  EXIT_UNDECIDED = 3,
};

struct slot {
  bool busy;
  enum linear_kind kind;
  uint32_t name;
  unsigned island, first, count; /* cells */
  uint64_t offset, length;
  uint8_t *buffer;
};

static struct {
  uint64_t client, connections, depth, seconds, count, seed, islands;
  uint64_t reads, zeros, patience;
} option = {
  .client = 1,
  .connections = 2,
  .depth = 4,
  .islands = 6,
  .reads = 45,
  .zeros = 5,
  .patience = 60,
};

static struct slot slots[CONNECTIONS_MAX * DEPTH_MAX];
static struct nbd_handle *handles[CONNECTIONS_MAX];
static uint64_t bounds[ISLANDS_MAX][CELLS + 1];
static uint64_t random_state, done, begun;
static int64_t last_answer_ns, longest_ns;
static unsigned busy;
static uint32_t number;
static int history_file;
static volatile sig_atomic_t told_to_stop;

static _Noreturn void __attribute__ ((format (printf, 1, 2)))
die (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  fputs ("tool-history: ", stderr);
  vfprintf (stderr, format, args);
  fputc ('\n', stderr);
  va_end (args);
  exit (EXIT_BAD);
}

static int64_t
now_ns (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return t.tv_sec * INT64_C (1000000000) + t.tv_nsec;
}

/* ------------------------------------------------------------- contents */

static uint64_t
random_below (uint64_t limit)
{
  return splitmix_next (&random_state) % limit;
}

/* The byte at OFFSET after write NAME: of a word that has the name below
 * and a hash of name and place above.
 */
static uint8_t
byte_of (uint32_t name, uint64_t offset)
{
  uint64_t word;

  if (name == LINEAR_ZERO)
    return 0;
  word = splitmix_hash ((uint64_t) name << 32 ^ offset / 8) << 32 | name;
  return (uint8_t) (word >> offset % 8 * 8);
}

/* The cells are the same for all processes. */
static void
lay_out (void)
{
  uint64_t saved = random_state, middle;
  unsigned i, c;

  random_state = 1;
  for (i = 0; i < option.islands; i++) {
    bounds[i][0] = 0;
    for (c = 0; c < CELLS; c++)
      bounds[i][c + 1] = bounds[i][c] + CELL_MIN +
        random_below (random_below (2) == 0 ? 64 : CELL_SPREAD);
    middle = bounds[i][CELLS / 2];
    for (c = 0; c <= CELLS; c++)
      bounds[i][c] += (uint64_t) (i + 1) * REGION - middle + i;
  }
  random_state = saved;
}

/* How many of the bytes, from FROM on, are as write NAME made them. */
static uint64_t
matching (const uint8_t *bytes, uint64_t offset, uint64_t length, uint32_t name)
{
  uint64_t n = 0;

  while (n < length && bytes[n] == byte_of (name, offset + n))
    n++;
  return n;
}

/* The write that the bytes tell of first, and how many tell of it.  Bytes
 * before the first whole word may belong to it or to nobody.
 */
static uint64_t
recognize (const uint8_t *bytes, uint64_t offset, uint64_t length,
           uint32_t *name)
{
  uint64_t skip = -offset % 8, n;
  uint32_t found;

  if (skip + sizeof found <= length) {
    memcpy (&found, bytes + skip, sizeof found);
    n = found == LINEAR_TORN ? 0 : matching (bytes, offset, length, found);
    if (n >= skip + sizeof found) {
      *name = found;
      return n;
    }
  }
  *name = LINEAR_TORN;
  return skip > 0 && skip < length ? skip : length < 8 ? length : 8;
}

/* --------------------------------------------------------------- history */

static void
put_line (const char *line, size_t length)
{
  if (write (history_file, line, length) != (ssize_t) length)
    die ("cannot write the history: %s", strerror (errno));
}

static void __attribute__ ((format (printf, 1, 2)))
put (const char *format, ...)
{
  char line[256];
  va_list args;
  int n;

  va_start (args, format);
  n = vsnprintf (line, sizeof line, format, args);
  va_end (args);
  put_line (line, (size_t) n);
}

#define NAME_FORMAT     "%" PRIu32 ".%" PRIu32
#define NAME_ARGS(name) (name) >> LINEAR_CLIENT_SHIFT, (name) &LINEAR_NUMBER_MAX

/* Add LENGTH:SEEN to the line. */
static size_t
put_run (char *line, uint64_t length, uint32_t name)
{
  int n;

  if (name == LINEAR_ZERO || name == LINEAR_TORN)
    n = sprintf (line, " %" PRIu64 ":%s", length,
                 name == LINEAR_ZERO ? "zeros" : "torn");
  else
    n = sprintf (line, " %" PRIu64 ":" NAME_FORMAT, length, NAME_ARGS (name));
  return (size_t) n;
}

/* What a read saw, cell by cell. */
static void
put_read (const struct slot *slot, int64_t now)
{
  static char line[LINE_MAX_BYTES];
  const uint64_t *bound = &bounds[slot->island][slot->first];
  size_t used = (size_t) sprintf (line, "a " NAME_FORMAT " %" PRId64,
                                  NAME_ARGS (slot->name), now);
  uint64_t at = 0, end, n, pending = 0;
  uint32_t name, last = LINEAR_TORN;
  unsigned i;

  for (i = 1; i <= slot->count; i++)
    for (end = bound[i] - bound[0]; at < end; at += n) {
      n = recognize (slot->buffer + at, slot->offset + at, end - at, &name);
      if (name != last && pending > 0) {
        used += put_run (line + used, pending, last);
        pending = 0;
      }
      last = name;
      pending += n;
      if (used > LINE_MAX_BYTES - 128)
        die ("a read sees too many writes");
    }
  used += put_run (line + used, pending, last);
  line[used++] = '\n';
  put_line (line, used);
}

/* -------------------------------------------------------------- requests */

static int
on_done (void *opaque, int *error)
{
  struct slot *slot = opaque;
  int64_t now = now_ns ();

  if (*error != 0) {
    put ("e " NAME_FORMAT " %" PRId64 " %d\n", NAME_ARGS (slot->name), now,
         *error);
    die ("request " NAME_FORMAT " failed: %s", NAME_ARGS (slot->name),
         strerror (*error));
  }
  if (slot->kind == LINEAR_READ)
    put_read (slot, now);
  else
    put ("a " NAME_FORMAT " %" PRId64 "\n", NAME_ARGS (slot->name), now);
  if (now - last_answer_ns > longest_ns)
    longest_ns = now - last_answer_ns;
  last_answer_ns = now;
  slot->busy = false;
  busy--;
  done++;
  return 1;
}

static void
choose_cells (struct slot *slot)
{
  uint64_t many = random_below (8) == 0 ? CELLS : 6;

  slot->island = (unsigned) random_below (option.islands);
  slot->count = 1 + (unsigned) random_below (many);
  slot->first = (unsigned) random_below (CELLS - slot->count + 1);
  slot->offset = bounds[slot->island][slot->first];
  slot->length = bounds[slot->island][slot->first + slot->count] - slot->offset;
}

static int64_t
send_slot (struct nbd_handle *nbd, struct slot *slot, const char **kind)
{
  nbd_completion_callback callback = { .callback = on_done, .user_data = slot };
  unsigned how = (unsigned) random_below (3);

  *kind = slot->kind == LINEAR_READ ? "read"
    : slot->kind == LINEAR_WRITE    ? "write"
    : how == 0                      ? "trim"
                                    : "zero";
  put ("s " NAME_FORMAT " %s %" PRIu64 " %" PRIu64 " %" PRId64 "\n",
       NAME_ARGS (slot->name), *kind, slot->offset, slot->length, now_ns ());
  if (slot->kind == LINEAR_READ)
    return nbd_aio_pread (nbd, slot->buffer, slot->length, slot->offset,
                          callback, 0);
  if (slot->kind == LINEAR_WRITE)
    return nbd_aio_pwrite (nbd, slot->buffer, slot->length, slot->offset,
                           callback, 0);
  if (how == 0)
    return nbd_aio_trim (nbd, slot->length, slot->offset, callback, 0);
  return nbd_aio_zero (nbd, slot->length, slot->offset, callback,
                       how == 1 ? LIBNBD_CMD_FLAG_NO_HOLE : 0);
}

static void
begin (unsigned which)
{
  struct slot *slot = &slots[which];
  uint64_t roll = random_below (100), i;
  const char *kind;

  if (number == LINEAR_NUMBER_MAX)
    die ("too many requests");
  choose_cells (slot);
  slot->name = (uint32_t) option.client << LINEAR_CLIENT_SHIFT | ++number;
  slot->kind = roll < option.reads       ? LINEAR_READ
    : roll < option.reads + option.zeros ? LINEAR_ZEROS
                                         : LINEAR_WRITE;
  for (i = 0; slot->kind == LINEAR_WRITE && i < slot->length; i++)
    slot->buffer[i] = byte_of (slot->name, slot->offset + i);
  if (busy == 0)
    last_answer_ns = now_ns ();
  slot->busy = true;
  busy++;
  begun++;
  if (send_slot (handles[which / option.depth], slot, &kind) == -1)
    die ("cannot send a %s: %s", kind, nbd_get_error ());
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
    fds[i].revents = 0;
    fds[i].events = direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0;
    if ((direction & LIBNBD_AIO_DIRECTION_WRITE) != 0)
      fds[i].events |= POLLOUT;
  }
  r = poll (fds, (nfds_t) option.connections, 100);
  for (i = 0; r > 0 && i < option.connections; i++) {
    int moved = 0;

    direction = nbd_aio_get_direction (handles[i]);
    if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0 &&
        (direction & LIBNBD_AIO_DIRECTION_READ) != 0)
      moved = nbd_aio_notify_read (handles[i]);
    else if ((fds[i].revents & POLLOUT) != 0 &&
             (direction & LIBNBD_AIO_DIRECTION_WRITE) != 0)
      moved = nbd_aio_notify_write (handles[i]);
    if (moved == -1)
      die ("connection %u: %s", i, nbd_get_error ());
  }
  if (busy > 0 &&
      now_ns () - last_answer_ns > (int64_t) option.patience * 1000000000)
    die ("no answer for %" PRIu64 " s", option.patience);
}

static void
on_signal (int signal_number)
{
  (void) signal_number;
  told_to_stop = 1;
}

static void
connect_all (const char *uri)
{
  unsigned i;

  for (i = 0; i < option.connections; i++) {
    handles[i] = nbd_create ();
    if (handles[i] == NULL || nbd_connect_uri (handles[i], uri) == -1)
      die ("%s: %s", uri, nbd_get_error ());
  }
  for (i = 0; i < option.connections * option.depth; i++)
    slots[i].buffer = linear_alloc (CELLS, CELL_MIN + CELL_SPREAD);
}

static int
run (const char *uri)
{
  struct sigaction action = { .sa_handler = on_signal };
  int64_t start = now_ns ();
  bool more = true;
  unsigned i;

  sigaction (SIGTERM, &action, NULL);
  lay_out ();
  connect_all (uri);
  while (more || busy > 0) {
    if (told_to_stop ||
        (option.seconds > 0 &&
         now_ns () - start >= (int64_t) option.seconds * 1000000000))
      more = false;
    for (i = 0; more && i < option.connections * option.depth; i++)
      if (option.count > 0 && begun == option.count)
        more = false;
      else if (!slots[i].busy)
        begin (i);
    turn ();
  }
  for (i = 0; i < option.connections; i++)
    nbd_close (handles[i]);
  for (i = 0; i < option.connections * option.depth; i++)
    free (slots[i].buffer);
  printf ("client %" PRIu64 ": %" PRIu64 " requests, longest pause %" PRId64
          " ms\n",
          option.client, done, longest_ns / 1000000);
  return 0;
}

/* ----------------------------------------------------------------- check */

static void
print_verdict (const struct linear_verdict *verdict)
{
  uint32_t i;

  if (verdict->result == LINEAR_UNDECIDED)
    printf ("UNDECIDED: too many requests in flight at one place\n");
  if (verdict->result != LINEAR_NO)
    return;
  printf ("NOT LINEARIZABLE: no order explains these %" PRIu32 " requests\n",
          verdict->op_count);
  for (i = 0; i < verdict->op_count; i++)
    linear_print_op (stdout, &verdict->ops[i], verdict->ops[0].invoked_ns);
}

static int
check (char **paths, bool allow_again)
{
  static const int codes[] = { 0, EXIT_NOT_LINEAR, EXIT_UNDECIDED };
  struct linear_history history;
  struct linear_verdict verdict;
  int64_t start = now_ns ();
  uint32_t open = 0, again = 0, reads = 0, i;
  char *error;

  linear_init (&history);
  for (; *paths != NULL; paths++)
    if (!linear_read (&history, *paths, &error))
      die ("%s", error);
  if (allow_again)
    linear_allow_again (&history);
  for (i = 0; i < history.count; i++) {
    open += history.ops[i].answered_ns == LINEAR_OPEN;
    again += history.ops[i].again;
    reads += history.ops[i].kind == LINEAR_READ;
  }
  linear_check (&history, &verdict);
  print_verdict (&verdict);
  printf ("%" PRIu32 " requests, %" PRIu32 " reads, %" PRIu32
          " never answered, %" PRIu32 " may happen again; %" PRIu32
          " parts, at most %" PRIu32 " in flight in one, %" PRIu32
          " worlds; %.2f s\n",
          history.count, reads, open, again, verdict.parts,
          verdict.pending_most, verdict.worlds_most,
          (double) (now_ns () - start) / 1e9);
  free (verdict.ops);
  linear_free (&history);
  return codes[verdict.result];
}

/* --------------------------------------------------------------- command */

static void
set_option (const char *text)
{
  const struct {
    const char *name;
    uint64_t *value, min, max;
  } names[] = {
    { "client", &option.client, 1, LINEAR_CLIENT_MAX },
    { "connections", &option.connections, 1, CONNECTIONS_MAX },
    { "depth", &option.depth, 1, DEPTH_MAX },
    { "seconds", &option.seconds, 1, 86400 },
    { "count", &option.count, 1, LINEAR_NUMBER_MAX },
    { "seed", &option.seed, 0, UINT64_MAX },
    { "islands", &option.islands, 1, ISLANDS_MAX },
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

static void
open_history (const char *path)
{
  history_file = open (path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (history_file == -1)
    die ("%s: %s", path, strerror (errno));
}

int
main (int argc, char **argv)
{
  const char *what = argc > 1 ? argv[1] : "";
  int i;

  if (strcmp (what, "run") == 0 && argc >= 4) {
    option.seed = (uint64_t) now_ns ();
    for (i = 4; i < argc; i++)
      set_option (argv[i]);
    random_state = option.seed;
    open_history (argv[3]);
    return run (argv[2]);
  }
  if (strcmp (what, "fault") == 0 && argc == 4) {
    open_history (argv[2]);
    put ("f %" PRId64 " %s\n", now_ns (), argv[3]);
    return 0;
  }
  if (strcmp (what, "check") == 0 && argc >= 3) {
    bool again = strcmp (argv[2], "again") == 0;

    return check (argv + (again ? 3 : 2), again);
  }
  die ("usage: tool-history run URI FILE [NAME=VALUE...] | "
       "fault FILE begin|end | check [again] FILE...");
}
