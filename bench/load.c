/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * load.c: the client of every measurement.
 *
 *   load URI [NAME=VALUE...]
 *
 * It keeps depth= requests in flight on each of clients= connections and
 * prints one line of JSON (samples.h).  The first warm= seconds do not
 * count, unless the rest was too short for one request.  All contestants
 * are asked by this same program, with libnbd, so what it costs itself is
 * in all figures alike.
 *
 *   rw=write|read|mixed|flush
 *                         mixed: 70 % reads; flush: depth= writes, and when
 *                         all are answered a flush, which alone counts (write)
 *   size=BYTES            of a request (4096)
 *   depth=N               requests in flight for each client (1)
 *   clients=N             connections, each with a thread of its own (1)
 *   area=BYTES            of the volume, from its start (all of it)
 *   shift=BYTES           added to each offset: not aligned (0)
 *   order=random|sequential
 *   hot=PERCENT           of the requests go to one and the same place (0)
 *   seconds=S, warm=S     (1, 0); SIGTERM ends it sooner, in order
 *   count=N               ... or end after N requests of each client
 *   every=US              a clock begins depth requests each US
 *                         microseconds, however many are unanswered
 *   log=FILE              each request, see samples_save; made when the
 *                         first one begins
 *   seed=N                (1)
 *
 * An error from the server ends it with status 1.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libnbd.h>

#include "samples.h"
#include "splitmix.h"

enum {
  SLOTS_MAX = 1024,
  POLL_MS = 50, /* how late an end may be noticed when nothing happens */
  READS_PERCENT = 70,
};

static struct {
  const char *uri, *log;
  enum { WRITE, READ, MIXED, FLUSH } rw;
  uint32_t size, depth, clients, hot_percent;
  uint64_t area, shift, count, every_ns, seed;
  bool is_sequential;
  double seconds, warm;
} option = { .size = 4096, .depth = 1, .clients = 1, .seconds = 1, .seed = 1 };

struct client;

struct slot {
  struct client *client;
  uint8_t *buffer;
  int64_t begun_ns;
  bool is_read;
};

struct client {
  pthread_t thread;
  struct nbd_handle *nbd;
  uint64_t places, random, begun, next;
  uint32_t slots, free_count;
  struct slot *free[SLOTS_MAX];
  struct slot slot[SLOTS_MAX];
  struct samples samples;
};

static volatile sig_atomic_t stop;
static int64_t end_ns;

static void
on_signal (int number)
{
  (void) number;
  stop = 1;
}

_Noreturn static void
die_nbd (const char *what)
{
  errno = 0;
  die ("%s: %s", what, nbd_get_error ());
}

/* ------------------------------------------------------------- requests */

static int
on_done (void *opaque, int *error)
{
  struct slot *slot = opaque;
  struct client *client = slot->client;

  if (*error != 0) {
    errno = *error;
    die ("a request failed");
  }
  if (option.rw != FLUSH)
    samples_add (&client->samples, slot->begun_ns, now_ns () - slot->begun_ns,
                 slot->is_read);
  client->free[client->free_count++] = slot;
  return 1;
}

static uint64_t
place (struct client *client)
{
  uint64_t number;

  if (option.is_sequential)
    number = client->next++;
  else if (option.hot_percent > 0 &&
           splitmix_next (&client->random) % 100 < option.hot_percent)
    number = 0;
  else
    number = splitmix_next (&client->random);
  return number % client->places * option.size + option.shift;
}

static void
begin (struct client *client)
{
  struct slot *slot = client->free[--client->free_count];
  nbd_completion_callback callback = { .callback = on_done, .user_data = slot };
  uint64_t offset = place (client);
  int64_t cookie;

  slot->is_read = option.rw == READ ||
    (option.rw == MIXED &&
     splitmix_next (&client->random) % 100 < READS_PERCENT);
  client->begun++;
  slot->begun_ns = now_ns ();
  if (slot->is_read)
    cookie = nbd_aio_pread (client->nbd, slot->buffer, option.size, offset,
                            callback, 0);
  else {
    memcpy (slot->buffer, &client->begun, sizeof client->begun);
    cookie = nbd_aio_pwrite (client->nbd, slot->buffer, option.size, offset,
                             callback, 0);
  }
  if (cookie == -1)
    die_nbd ("cannot send a request");
}

/* One request in any case: on a busy machine a thread may start late. */
static bool
is_over (const struct client *client)
{
  return stop || (client->begun > 0 && now_ns () >= end_ns) ||
    (option.count > 0 && client->begun >= option.count);
}

/* Begin what is to begin now; for how long to wait then, in ms. */
static int
begin_some (struct client *client, int64_t *tick_ns)
{
  if (option.every_ns == 0) {
    while (client->free_count > 0 && !is_over (client))
      begin (client);
    return POLL_MS;
  }
  while (*tick_ns <= now_ns () && client->free_count >= option.depth) {
    for (uint32_t i = 0; i < option.depth && !is_over (client); i++)
      begin (client);
    *tick_ns += (int64_t) option.every_ns;
  }
  int64_t left_ms = (*tick_ns - now_ns ()) / 1000000;
  return left_ms < 0 ? 0 : left_ms > POLL_MS ? POLL_MS : (int) left_ms;
}

static void
wait_for_requests (struct client *client, int wait_ms)
{
  if (nbd_poll (client->nbd, wait_ms) == -1 && nbd_get_errno () != EINTR)
    die_nbd ("the connection");
}

/* At least one, however late this thread begins. */
static void *
run_flushes (void *opaque)
{
  struct client *client = opaque;
  int64_t begun_ns;

  do {
    while (client->free_count > 0)
      begin (client);
    while (client->free_count < client->slots)
      wait_for_requests (client, POLL_MS);
    begun_ns = now_ns ();
    if (nbd_flush (client->nbd, 0) == -1)
      die_nbd ("flush");
    samples_add (&client->samples, begun_ns, now_ns () - begun_ns, false);
  } while (!is_over (client));
  return NULL;
}

static void *
run (void *opaque)
{
  struct client *client = opaque;
  int64_t tick_ns = now_ns ();

  while (!is_over (client) || client->free_count < client->slots) {
    int wait_ms = POLL_MS;

    if (!is_over (client))
      wait_ms = begin_some (client, &tick_ns);
    wait_for_requests (client, wait_ms);
  }
  return NULL;
}

/* ---------------------------------------------------------------- start */

static void
open_client (struct client *client, uint32_t number)
{
  int64_t size;

  client->nbd = nbd_create ();
  if (client->nbd == NULL ||
      nbd_set_pread_initialize (client->nbd, false) == -1)
    die_nbd ("libnbd");
  if (nbd_connect_uri (client->nbd, option.uri) == -1)
    die_nbd (option.uri);
  size = nbd_get_size (client->nbd);
  if (size == -1)
    die_nbd ("size");
  if (option.area == 0 || option.area > (uint64_t) size)
    option.area = (uint64_t) size;
  if (option.area < option.shift + option.size) {
    errno = 0;
    die ("the volume is too small");
  }
  client->places = (option.area - option.shift) / option.size;
  client->random = option.seed * 1000 + number;
  client->next = client->places / option.clients * number;
  client->slots = option.every_ns > 0 ? SLOTS_MAX : option.depth;
  for (uint32_t i = 0; i < client->slots; i++) {
    struct slot *slot = &client->slot[i];

    slot->client = client;
    slot->buffer = malloc (option.size);
    if (slot->buffer == NULL)
      die ("no memory");
    for (uint32_t byte = 0; byte < option.size; byte++)
      slot->buffer[byte] = (uint8_t) splitmix_next (&client->random);
    client->free[client->free_count++] = slot;
  }
}

static void
read_option (const char *argument)
{
  const char *value;

  if ((value = value_of (argument, "rw")) != NULL)
    option.rw = *value == 'r' ? READ
      : *value == 'm'         ? MIXED
      : *value == 'f'         ? FLUSH
                              : WRITE;
  else if ((value = value_of (argument, "size")) != NULL)
    option.size = (uint32_t) strtoul (value, NULL, 10);
  else if ((value = value_of (argument, "depth")) != NULL)
    option.depth = (uint32_t) strtoul (value, NULL, 10);
  else if ((value = value_of (argument, "clients")) != NULL)
    option.clients = (uint32_t) strtoul (value, NULL, 10);
  else if ((value = value_of (argument, "area")) != NULL)
    option.area = strtoull (value, NULL, 10);
  else if ((value = value_of (argument, "shift")) != NULL)
    option.shift = strtoull (value, NULL, 10);
  else if ((value = value_of (argument, "order")) != NULL)
    option.is_sequential = *value == 's';
  else if ((value = value_of (argument, "hot")) != NULL)
    option.hot_percent = (uint32_t) strtoul (value, NULL, 10);
  else if ((value = value_of (argument, "seconds")) != NULL)
    option.seconds = strtod (value, NULL);
  else if ((value = value_of (argument, "warm")) != NULL)
    option.warm = strtod (value, NULL);
  else if ((value = value_of (argument, "count")) != NULL)
    option.count = strtoull (value, NULL, 10);
  else if ((value = value_of (argument, "every")) != NULL)
    option.every_ns = strtoull (value, NULL, 10) * 1000;
  else if ((value = value_of (argument, "log")) != NULL)
    option.log = value;
  else if ((value = value_of (argument, "seed")) != NULL)
    option.seed = strtoull (value, NULL, 10);
  else {
    errno = 0;
    die ("what is '%s'?", argument);
  }
}

int
main (int argc, char **argv)
{
  struct sigaction action = { .sa_handler = on_signal };
  struct samples all = { .list = NULL };
  struct client *clients;
  FILE *log = NULL;

  errno = 0;
  if (argc < 2)
    die ("usage: load URI [NAME=VALUE...]");
  option.uri = argv[1];
  for (int i = 2; i < argc; i++)
    read_option (argv[i]);
  if (option.depth == 0 || option.depth > SLOTS_MAX || option.clients == 0 ||
      option.size < sizeof (uint64_t))
    die ("depth=1 to %d, clients=1 or more, size=8 or more", SLOTS_MAX);
  clients = calloc (option.clients, sizeof *clients);
  if (clients == NULL)
    die ("no memory");
  sigaction (SIGTERM, &action, NULL);
  for (uint32_t i = 0; i < option.clients; i++)
    open_client (&clients[i], i);
  if (option.log != NULL && (log = fopen (option.log, "we")) == NULL)
    die ("%s", option.log);

  int64_t start_ns = now_ns ();
  end_ns = start_ns + (int64_t) ((option.warm + option.seconds) * 1e9);
  for (uint32_t i = 0; i < option.clients; i++)
    if ((errno = pthread_create (&clients[i].thread, NULL,
                                 option.rw == FLUSH ? run_flushes : run,
                                 &clients[i])))
      die ("no thread");
  for (uint32_t i = 0; i < option.clients; i++)
    pthread_join (clients[i].thread, NULL);
  int64_t stop_ns = now_ns ();

  for (uint32_t i = 0; i < option.clients; i++) {
    nbd_close (clients[i].nbd);
    samples_move (&all, &clients[i].samples);
    for (uint32_t slot = 0; slot < clients[i].slots; slot++)
      free (clients[i].slot[slot].buffer);
  }
  free (clients);
  if (log != NULL)
    samples_save (&all, log);
  if (stop_ns < end_ns || option.count > 0)
    end_ns = stop_ns;
  samples_print (&all, start_ns + (int64_t) (option.warm * 1e9), end_ns,
                 option.rw == FLUSH ? 0 : option.size);
  samples_free (&all);
  return 0;
}
