/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * explore-search.c: all choices in all states, depth first, each state
 * once.  What has been seen is remembered by its 64-bit hash; with N
 * states the chance that two different ones share theirs is about
 * N * N / 2^65, one in a million for six million states.
 *
 * Afterwards the states are walked backwards, from those in which the
 * pair is at rest over all choices that are no faults: a state that this
 * does not reach is one from which the pair cannot recover, whatever
 * happens.
 */
#include <assert.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "explore.h"

enum { LINE = 64, AUDIT_EVERY = 4096, NO_STATE = 0 };

/* --- one choice --------------------------------------------------------- */

static sigjmp_buf broken;
static char broken_rule[512];
static volatile sig_atomic_t trying;

void
violation (const char *format, ...)
{
  va_list args;

  va_start (args, format);
  vsnprintf (broken_rule, sizeof broken_rule, format, args);
  va_end (args);
  if (!trying) {
    fprintf (stderr, "explore: %s\n", broken_rule);
    exit (2);
  }
  siglongjmp (broken, 1);
}

/* An assertion of the core; it has said itself which. */
static void
aborted (int signal_number)
{
  if (!trying)
    return;
  (void) signal_number;
  snprintf (broken_rule, sizeof broken_rule, "an assertion failed, see above");
  siglongjmp (broken, 1);
}

static void
catch_assertions (void)
{
  static bool installed;
  struct sigaction action = { .sa_handler = aborted };

  if (!installed)
    sigaction (SIGABRT, &action, NULL);
  installed = true;
}

bool
search_try (choice c, char rule[512])
{
  catch_assertions ();
  if (sigsetjmp (broken, 1) != 0) {
    trying = 0;
    memcpy (rule, broken_rule, sizeof broken_rule);
    return false;
  }
  trying = 1;
  world_choose (c);
  trying = 0;
  return true;
}

/* core_check is slow, and a state that was seen has passed it. */
bool
search_look (char rule[512])
{
  unsigned n;

  if (sigsetjmp (broken, 1) != 0) {
    trying = 0;
    memcpy (rule, broken_rule, sizeof broken_rule);
    return false;
  }
  trying = 1;
  for (n = 0; n < NODES; n++) {
    if (cores[n] != NULL && stepped[n])
      core_check (cores[n]);
    stepped[n] = false;
  }
  trying = 0;
  return true;
}

/* --- states ------------------------------------------------------------- */

size_t
search_state_bytes (void)
{
  size_t bytes = sizeof world + core_kept_bytes ();

  return (bytes + LINE - 1) / LINE * LINE;
}

void
search_keep (uint8_t *bytes)
{
  memcpy (bytes, &world, sizeof world);
  core_keep (bytes + sizeof world);
}

void
search_put_back (const uint8_t *bytes)
{
  memcpy (&world, bytes, sizeof world);
  core_put_back (bytes + sizeof world);
}

/* States on the path are kept without their lines of zeros: most are. */
static struct {
  uint8_t *bytes;
  size_t used, room;
  uint8_t *whole;
} stack;

static void
stack_room (size_t more)
{
  if (stack.used + more <= stack.room)
    return;
  stack.room = stack.room * 2 + more;
  stack.bytes = realloc (stack.bytes, stack.room);
  if (stack.bytes == NULL)
    abort ();
}

static bool
is_zero (const uint8_t *line)
{
  static const uint8_t zeros[LINE];

  return memcmp (line, zeros, LINE) == 0;
}

/* Returns where the packed state begins. */
static size_t
stack_push (void)
{
  size_t lines = search_state_bytes () / LINE, start = stack.used, i;

  if (stack.whole == NULL)
    stack.whole = calloc (lines, LINE);
  search_keep (stack.whole);
  stack_room (lines * (LINE + 1));
  stack.used += lines;
  for (i = 0; i < lines; i++) {
    bool zero = is_zero (stack.whole + i * LINE);

    stack.bytes[start + i] = !zero;
    if (zero)
      continue;
    memcpy (stack.bytes + stack.used, stack.whole + i * LINE, LINE);
    stack.used += LINE;
  }
  return start;
}

static void
stack_restore (size_t start)
{
  size_t lines = search_state_bytes () / LINE, at = start + lines, i;

  for (i = 0; i < lines; i++)
    if (stack.bytes[start + i]) {
      memcpy (stack.whole + i * LINE, stack.bytes + at, LINE);
      at += LINE;
    }
    else
      memset (stack.whole + i * LINE, 0, LINE);
  search_put_back (stack.whole);
}

/* --- what has been seen ------------------------------------------------- */

struct edge {
  uint32_t from, to;
};

/* States are numbered from 1. */
static struct {
  uint64_t *hashes;
  uint32_t *numbers;
  uint32_t room, count;
  uint32_t *parent;
  choice *via;
  bool *rest;
  uint32_t state_room;
  struct edge *edges;
  size_t edge_count, edge_room;
} seen;

static void *
grow (void *memory, size_t bytes)
{
  memory = realloc (memory, bytes);
  if (memory == NULL) {
    fprintf (stderr, "explore: no memory\n");
    exit (2);
  }
  return memory;
}

static uint32_t
place_of (uint64_t hash)
{
  uint32_t at = (uint32_t) (hash >> 20) & (seen.room - 1);

  while (seen.numbers[at] != NO_STATE && seen.hashes[at] != hash)
    at = (at + 1) & (seen.room - 1);
  return at;
}

static void
grow_table (void)
{
  uint64_t *hashes = seen.hashes;
  uint32_t *numbers = seen.numbers;
  uint32_t room = seen.room, i, at;

  seen.room = room == 0 ? 1 << 16 : room * 2;
  seen.hashes = grow (NULL, seen.room * sizeof *hashes);
  seen.numbers = calloc (seen.room, sizeof *numbers);
  assert (seen.numbers != NULL);
  for (i = 0; i < room; i++) {
    if (numbers[i] == NO_STATE)
      continue;
    at = place_of (hashes[i]);
    seen.hashes[at] = hashes[i];
    seen.numbers[at] = numbers[i];
  }
  free (hashes);
  free (numbers);
}

/* The number of a state; *FRESH when it was not seen before. */
static uint32_t
note_state (uint64_t hash, uint32_t parent, choice via, bool *fresh)
{
  uint32_t at;

  if (seen.count * 2 >= seen.room)
    grow_table ();
  at = place_of (hash);
  *fresh = seen.numbers[at] == NO_STATE;
  if (!*fresh)
    return seen.numbers[at];
  if (seen.count + 2 >= seen.state_room) {
    seen.state_room = seen.state_room * 2 + 4096;
    seen.parent = grow (seen.parent, seen.state_room * sizeof *seen.parent);
    seen.via = grow (seen.via, seen.state_room * sizeof *seen.via);
    seen.rest = grow (seen.rest, seen.state_room * sizeof *seen.rest);
  }
  seen.hashes[at] = hash;
  seen.numbers[at] = ++seen.count;
  seen.parent[seen.count] = parent;
  seen.via[seen.count] = via;
  seen.rest[seen.count] = check_at_rest ();
  return seen.count;
}

static void
note_edge (uint32_t from, uint32_t to)
{
  if (from == to)
    return;
  if (seen.edge_count == seen.edge_room) {
    seen.edge_room = seen.edge_room * 2 + 4096;
    seen.edges = grow (seen.edges, seen.edge_room * sizeof *seen.edges);
  }
  seen.edges[seen.edge_count++] = (struct edge){ from, to };
}

static void
forget_all (void)
{
  free (seen.hashes);
  free (seen.numbers);
  free (seen.parent);
  free (seen.via);
  free (seen.rest);
  free (seen.edges);
  memset (&seen, 0, sizeof seen);
  free (stack.whole);
  stack.whole = NULL;
  stack.used = 0;
}

/* The path to a state, and LAST after it when it is not 0. */
static void
set_path (struct search_result *result, uint32_t state, choice last)
{
  uint32_t at, length = last != 0;

  for (at = state; seen.parent[at] != NO_STATE; at = seen.parent[at])
    length++;
  result->path = grow (NULL, (length + 1) * sizeof *result->path);
  result->path_length = length;
  if (last != 0)
    result->path[--length] = last;
  for (at = state; seen.parent[at] != NO_STATE; at = seen.parent[at])
    result->path[--length] = seen.via[at];
}

/* --- the way back to rest ----------------------------------------------- */

/* Marks in "rest" whatever leads to rest; returns a state that does not,
 * or 0.
 */
static uint32_t
find_stuck (struct search_result *result)
{
  uint32_t *first = calloc (seen.count + 2, sizeof *first);
  uint32_t *from = grow (NULL, (seen.edge_count + 1) * sizeof *from);
  uint32_t *queue = grow (NULL, (seen.count + 1) * sizeof *queue);
  uint32_t head = 0, tail = 0, s, stuck = NO_STATE;
  size_t i;

  assert (first != NULL);
  for (i = 0; i < seen.edge_count; i++)
    first[seen.edges[i].to + 1]++;
  for (s = 1; s <= seen.count + 1; s++)
    first[s] += first[s - 1];
  for (i = 0; i < seen.edge_count; i++)
    from[first[seen.edges[i].to]++] = seen.edges[i].from;
  for (s = 1; s <= seen.count; s++)
    if (seen.rest[s])
      queue[tail++] = s;
  result->rest_states = tail;
  while (head < tail) {
    s = queue[head++];
    for (i = first[s - 1]; i < first[s]; i++)
      if (!seen.rest[from[i]]) {
        seen.rest[from[i]] = true;
        queue[tail++] = from[i];
      }
  }
  for (s = seen.count; s >= 1; s--)
    if (!seen.rest[s])
      stuck = s;
  free (first);
  free (from);
  free (queue);
  return stuck;
}

/* --- the search --------------------------------------------------------- */

struct level {
  uint32_t state;
  size_t start; /* in the stack */
  uint32_t count, next;
  choice *list;
};

static struct level *levels;
static uint32_t level_room;

static void
enter (uint32_t depth, uint32_t state)
{
  choice list[CHOICES_MAX];
  struct level *level;

  if (depth >= level_room) {
    level_room = level_room * 2 + 256;
    levels = grow (levels, level_room * sizeof *levels);
  }
  level = &levels[depth];
  level->state = state;
  level->next = 0;
  level->count = world_choices (list);
  level->list = grow (NULL, (level->count + 1) * sizeof (choice));
  memcpy (level->list, list, level->count * sizeof (choice));
  level->start = stack_push ();
}

static double
seconds_now (void)
{
  struct timespec now;

  clock_gettime (CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double) now.tv_sec + (double) now.tv_nsec / 1e9;
}

/* One more choice of the deepest state; false when the rule was broken. */
static bool
advance (uint32_t *depth, struct search_result *result)
{
  struct level *level = &levels[*depth];
  choice c = level->list[level->next++];
  uint32_t state;
  bool fresh;

  if (level->next > 1)
    stack_restore (level->start);
  result->transitions++;
  if (!search_try (c, result->rule)) {
    set_path (result, level->state, c);
    result->found = true;
    return false;
  }
  if (result->transitions % AUDIT_EVERY == 0)
    core_place_audit ();
  state = note_state (world_hash (), level->state, c, &fresh);
  if (!world_is_fault (c))
    note_edge (level->state, state);
  if (!fresh) {
    memset (stepped, 0, sizeof stepped);
    return true;
  }
  if (!search_look (result->rule)) {
    set_path (result, level->state, c);
    result->found = true;
    return false;
  }
  enter (++*depth, state);
  if (*depth > result->depth_max)
    result->depth_max = *depth;
  return true;
}

static void
look_for_stuck (struct search_result *result)
{
  uint32_t stuck = find_stuck (result);

  if (stuck == NO_STATE)
    return;
  set_path (result, stuck, 0);
  result->found = result->stuck = true;
  snprintf (result->rule, sizeof result->rule,
            "from here the pair can never come to rest again");
}

void
search_run (uint64_t states_max, double seconds_max,
            struct search_result *result)
{
  double began = seconds_now ();
  uint32_t depth = 0;
  bool fresh, going = true;

  memset (result, 0, sizeof *result);
  world_prefix ();
  enter (0, note_state (world_hash (), NO_STATE, 0, &fresh));
  while (going) {
    struct level *level = &levels[depth];

    if (level->next < level->count) {
      if (seen.count >= states_max || seconds_now () - began > seconds_max)
        break;
      going = advance (&depth, result);
      continue;
    }
    free (level->list);
    stack.used = level->start;
    if (depth-- == 0) {
      result->complete = true;
      going = false;
    }
  }
  if (result->complete)
    look_for_stuck (result);
  for (; !result->complete || depth != UINT32_MAX; depth--) {
    free (levels[depth].list);
    if (depth == 0)
      break;
  }
  result->states = seen.count;
  result->seconds = seconds_now () - began;
  forget_all ();
}
