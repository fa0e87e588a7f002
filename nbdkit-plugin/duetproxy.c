/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duetproxy.c: the failover proxy as an nbdkit plugin.
 *
 * Reads and checks the options, and turns nbdkit's callbacks into calls
 * of proxy.h.  All clients share one upstream session.  What clients are
 * told of the volume is what the first session showed; later servers must
 * fit that.  Nothing here waits by itself or knows about nodes.
 */
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "flusher.h"
#include "hangup.h"
#include "http-options.h"
#include "http.h"
#include "notice.h"
#include "ready.h"
#include "proxy-http.h"
#include "proxy.h"
#include "version.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum {
  CONNECTIONS_DEFAULT = 16,
  TIMEOUT_DEFAULT_MS = 1000,
  TIMEOUT_MIN_MS = 10,
  TIMEOUT_MAX_MS = 3600000,
  GIVE_UP_MAX_SECONDS = 86400 * 365,
  MESSAGE = 1024,
};

static struct proxy_config config = {
  .connections = CONNECTIONS_DEFAULT,
  .timeout_ms = TIMEOUT_DEFAULT_MS,
};
static char *state_path;
static struct proxy *proxy;
static struct http_options http_options;
static struct http *http;

/* What .open found out: one per client connection. */
struct client {
  struct upstream_facts facts;
};

/* -------------------------------------------------------------- options */

static int
config_node (const char *uri)
{
  const char *why = upstream_check_uri (uri);

  if (why != NULL) {
    nbdkit_error ("node=%s: the URI %s", uri, why);
    return -1;
  }
  if (config.nodes == ROUTE_NODES_MAX) {
    nbdkit_error ("node= given more than %d times", ROUTE_NODES_MAX);
    return -1;
  }
  config.uris[config.nodes] = strdup (uri);
  if (config.uris[config.nodes++] == NULL) {
    nbdkit_error ("strdup: %m");
    return -1;
  }
  return 0;
}

static int
config_number (const char *key, const char *value, uint32_t min, uint32_t max,
               uint32_t *number)
{
  if (nbdkit_parse_uint32_t (key, value, number) == -1)
    return -1;
  if (*number < min || *number > max) {
    nbdkit_error ("%s=%s: must be %u to %u", key, value, min, max);
    return -1;
  }
  return 0;
}

static int
duetproxy_config (const char *key, const char *value)
{
  uint32_t number = 0;
  int result;

  if (strcmp (key, "node") == 0)
    return config_node (value);
  if (strcmp (key, "connections") == 0)
    return config_number (key, value, 1, PROXY_CONNECTIONS_MAX,
                          &config.connections);
  if (strcmp (key, "timeout") == 0) {
    result = config_number (key, value, TIMEOUT_MIN_MS, TIMEOUT_MAX_MS,
                            &number);
    config.timeout_ms = number;
    return result;
  }
  if (strcmp (key, "give-up") == 0) {
    result = config_number (key, value, 0, GIVE_UP_MAX_SECONDS, &number);
    config.give_up_ms = (uint64_t) number * 1000;
    return result;
  }
  if (strcmp (key, "state") == 0) {
    if (value[0] == '\0') {
      nbdkit_error ("state=: a path is missing");
      return -1;
    }
    free (state_path);
    state_path = nbdkit_absolute_path (value);
    config.state_path = state_path;
    return state_path != NULL ? 0 : -1;
  }
  if (http_is_option (key))
    return http_option (&http_options, key, value);
  nbdkit_error ("unknown parameter '%s'", key);
  return -1;
}

#define duetproxy_config_help                                                \
  "node=URI             (required) A node: nbd://HOST[:PORT], nbds://...,\n" \
  "                     nbd+unix:///?socket=/PATH.  Give each node.\n"       \
  "connections=N        Connections per session, 1 to 16 (default: 16).\n"   \
  "state=FILE           Remember client id, session number and generation\n" \
  "                     across restarts (recommended).\n"                    \
  "timeout=MS           Look for another node when an answer takes this\n"   \
  "                     long (default: 1000).\n" HTTP_OPTIONS_HELP           \
  "give-up=SECONDS      Fail a request with EIO after this long\n"           \
  "                     (default: 0, never)."

static int
duetproxy_config_complete (void)
{
  if (config.nodes == 0) {
    nbdkit_error ("node= is missing: give the URI of each node");
    return -1;
  }
  return http_complete (&http_options);
}

/* nbdkit 1.32.4 to 1.33.9 aborts when a client hangs up while several
 * workers serve its connection.  The versions without the fault are those
 * that export this function.
 */
static bool
is_sound_server (void)
{
  return dlsym (RTLD_DEFAULT, "nbdkit_disconnect") != NULL;
}

static int
duetproxy_thread_model (void)
{
  return is_sound_server () ? NBDKIT_THREAD_MODEL_PARALLEL
                            : NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS;
}

static void
duetproxy_dump_plugin (void)
{
  struct nbd_handle *nbd = nbd_create ();

  printf ("duetproxy_protocol=1\n");
  printf ("duetproxy_nodes_max=%d\n", ROUTE_NODES_MAX);
  printf ("duetproxy_connections_max=%d\n", PROXY_CONNECTIONS_MAX);
  printf ("duetproxy_default_connections=%d\n", CONNECTIONS_DEFAULT);
  printf ("duetproxy_default_timeout_ms=%d\n", TIMEOUT_DEFAULT_MS);
  printf ("duetproxy_default_give_up_seconds=%d\n", 0);
  printf ("duetproxy_parallel=%d\n", is_sound_server ());
  if (nbd != NULL) {
    printf ("duetproxy_libnbd=%s\n", nbd_get_version (nbd));
    printf ("duetproxy_tls=%d\n", nbd_supports_tls (nbd) == 1);
    nbd_close (nbd);
  }
}

/* ----------------------------------------------------------- life cycle */

static int
duetproxy_get_ready (void)
{
  char error[MESSAGE];

  notice_ready ();
  flusher_ready ();
  proxy = proxy_new (&config);
  if (proxy == NULL || http_options.address == NULL)
    return proxy != NULL ? 0 : -1;
  /* Sockets handed over by systemd are there already; the server's others
   * come after this.
   */
  hangup_note (true);
  http = proxy_http_new (proxy, http_options.address, http_options.expose,
                         error, sizeof error);
  if (http == NULL)
    nbdkit_error ("%s", error);
  hangup_note (false);
  return http != NULL ? 0 : -1;
}

static void
end_requests (void)
{
  proxy_end_requests (proxy);
}

static int
duetproxy_after_fork (void)
{
  if (proxy_start (proxy) == -1)
    return -1;
  if ((http != NULL && http_start (http) == -1) ||
      hangup_start (end_requests) == -1) {
    nbdkit_error ("cannot start a thread: %m");
    return -1;
  }
  ready_tell ();
  return 0;
}

static void
duetproxy_cleanup (void)
{
  if (http != NULL)
    http_stop (http);
  if (proxy != NULL)
    proxy_stop (proxy);
}

static void
duetproxy_unload (void)
{
  uint32_t i;

  hangup_stop ();
  http_free (http);
  if (proxy != NULL)
    proxy_free (proxy);
  for (i = 0; i < config.nodes; i++)
    free ((char *) config.uris[i]);
  free (state_path);
}

/* -------------------------------------------------------------- clients */

static void *
duetproxy_open (int readonly)
{
  struct client *client = calloc (1, sizeof *client);
  int error;

  if (client == NULL) {
    nbdkit_error ("calloc: %m");
    return NULL;
  }
  error = proxy_wait_facts (proxy, &client->facts);
  if (error != 0) {
    nbdkit_error ("no node serves: %s", strerror (error));
    free (client);
    return NULL;
  }
  if (readonly)
    client->facts.can &= ~(uint32_t) UPSTREAM_CAN_WRITE;
  return client;
}

static void
duetproxy_close (void *handle)
{
  free (handle);
}

static bool
can (void *handle, uint32_t what)
{
  struct client *client = handle;

  return (client->facts.can & what) != 0;
}

static int64_t
duetproxy_get_size (void *handle)
{
  struct client *client = handle;

  return (int64_t) client->facts.size_bytes;
}

static int
duetproxy_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                      uint32_t *maximum)
{
  (void) handle;
  *minimum = 1;
  *preferred = 4096;
  *maximum = UPSTREAM_PAYLOAD_MAX;
  return 0;
}

static int
duetproxy_can_write (void *handle)
{
  return can (handle, UPSTREAM_CAN_WRITE);
}

static int
duetproxy_can_flush (void *handle)
{
  return can (handle, UPSTREAM_CAN_FLUSH);
}

static int
duetproxy_is_rotational (void *handle)
{
  struct client *client = handle;

  return client->facts.is_rotational;
}

static int
duetproxy_can_trim (void *handle)
{
  return can (handle, UPSTREAM_CAN_TRIM);
}

static int
duetproxy_can_zero (void *handle)
{
  /* False: nbdkit writes the zeroes itself. */
  return can (handle, UPSTREAM_CAN_ZERO);
}

static int
duetproxy_can_fast_zero (void *handle)
{
  return can (handle, UPSTREAM_CAN_FAST_ZERO);
}

static int
duetproxy_can_fua (void *handle)
{
  struct client *client = handle;

  /* What a flush vouches for is more than one write, and is not kept. */
  if (can (handle, UPSTREAM_CAN_FUA) && !client->facts.description.cached)
    return NBDKIT_FUA_NATIVE;
  return can (handle, UPSTREAM_CAN_FLUSH) ? NBDKIT_FUA_EMULATE
                                          : NBDKIT_FUA_NONE;
}

/* True whatever the server says: all clients share one session, and one
 * that is not multi-conn gets a single connection.
 */
static int
duetproxy_can_multi_conn (void *handle)
{
  (void) handle;
  return 1;
}

static int
duetproxy_can_extents (void *handle)
{
  return can (handle, UPSTREAM_CAN_EXTENTS);
}

static int
duetproxy_can_cache (void *handle)
{
  return can (handle, UPSTREAM_CAN_CACHE) ? NBDKIT_CACHE_NATIVE
                                          : NBDKIT_CACHE_NONE;
}

/* ------------------------------------------------------------- requests */

static int
finish (const struct upstream_call *call, const char *what)
{
  int error = proxy_call (proxy, call);

  if (error == 0)
    return 0;
  /* ENOTSUP is an ordinary answer to a fast zero. */
  if (!(call->flags & LIBNBD_CMD_FLAG_FAST_ZERO))
    nbdkit_error ("%s of %u bytes at %llu: %s", what, call->length,
                  (unsigned long long) call->offset, strerror (error));
  nbdkit_set_error (error);
  return -1;
}

static uint32_t
fua (uint32_t flags)
{
  return flags & NBDKIT_FLAG_FUA ? LIBNBD_CMD_FLAG_FUA : 0;
}

static int
duetproxy_pread (void *handle, void *buffer, uint32_t length, uint64_t offset,
                 uint32_t flags)
{
  struct upstream_call call = {
    .kind = UPSTREAM_PREAD, .offset = offset, .length = length, .in = buffer
  };

  (void) handle;
  (void) flags;
  return finish (&call, "read");
}

static int
duetproxy_pwrite (void *handle, const void *buffer, uint32_t length,
                  uint64_t offset, uint32_t flags)
{
  struct upstream_call call = { .kind = UPSTREAM_PWRITE,
                                .offset = offset,
                                .length = length,
                                .out = buffer,
                                .flags = fua (flags) };

  (void) handle;
  return finish (&call, "write");
}

static int
duetproxy_flush (void *handle, uint32_t flags)
{
  struct upstream_call call = { .kind = UPSTREAM_FLUSH };

  (void) handle;
  (void) flags;
  return finish (&call, "flush");
}

static int
duetproxy_trim (void *handle, uint32_t length, uint64_t offset, uint32_t flags)
{
  struct upstream_call call = { .kind = UPSTREAM_TRIM,
                                .offset = offset,
                                .length = length,
                                .flags = fua (flags) };

  (void) handle;
  return finish (&call, "trim");
}

static int
duetproxy_zero (void *handle, uint32_t length, uint64_t offset, uint32_t flags)
{
  struct upstream_call call = { .kind = UPSTREAM_ZERO,
                                .offset = offset,
                                .length = length,
                                .flags = fua (flags) };

  (void) handle;
  if (!(flags & NBDKIT_FLAG_MAY_TRIM))
    call.flags |= LIBNBD_CMD_FLAG_NO_HOLE;
  if (flags & NBDKIT_FLAG_FAST_ZERO)
    call.flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
  return finish (&call, "zero");
}

static int
duetproxy_cache (void *handle, uint32_t length, uint64_t offset, uint32_t flags)
{
  struct upstream_call call = { .kind = UPSTREAM_CACHE,
                                .offset = offset,
                                .length = length };

  (void) handle;
  (void) flags;
  return finish (&call, "cache");
}

static int
duetproxy_extents (void *handle, uint32_t length, uint64_t offset,
                   uint32_t flags, struct nbdkit_extents *extents)
{
  struct upstream_extents found = { 0 };
  struct upstream_call call = { .kind = UPSTREAM_EXTENTS,
                                .offset = offset,
                                .length = length,
                                .extents = &found };
  uint64_t at = offset;
  size_t i;
  int result;

  (void) handle;
  if (flags & NBDKIT_FLAG_REQ_ONE)
    call.flags = LIBNBD_CMD_FLAG_REQ_ONE;
  result = finish (&call, "extents");
  /* libnbd's and nbdkit's bits for hole and zero are the protocol's. */
  for (i = 0; i < found.count && result == 0; i++) {
    result = nbdkit_add_extent (extents, at, found.list[i].length,
                                found.list[i].type);
    at += found.list[i].length;
  }
  free (found.list);
  return result;
}

static struct nbdkit_plugin plugin = {
  .name = "duetproxy",
  .longname = "duet failover proxy",
  .version = DUET_VERSION,
  .description = "serve a volume of two duet nodes, whichever is primary",
  .config = duetproxy_config,
  .config_complete = duetproxy_config_complete,
  .config_help = duetproxy_config_help,
  .magic_config_key = "node",
  .thread_model = duetproxy_thread_model,
  .dump_plugin = duetproxy_dump_plugin,
  .get_ready = duetproxy_get_ready,
  .after_fork = duetproxy_after_fork,
  .cleanup = duetproxy_cleanup,
  .unload = duetproxy_unload,
  .open = duetproxy_open,
  .close = duetproxy_close,
  .get_size = duetproxy_get_size,
  .block_size = duetproxy_block_size,
  .can_write = duetproxy_can_write,
  .can_flush = duetproxy_can_flush,
  .is_rotational = duetproxy_is_rotational,
  .can_trim = duetproxy_can_trim,
  .can_zero = duetproxy_can_zero,
  .can_fast_zero = duetproxy_can_fast_zero,
  .can_fua = duetproxy_can_fua,
  .can_multi_conn = duetproxy_can_multi_conn,
  .can_extents = duetproxy_can_extents,
  .can_cache = duetproxy_can_cache,
  .pread = duetproxy_pread,
  .pwrite = duetproxy_pwrite,
  .flush = duetproxy_flush,
  .trim = duetproxy_trim,
  .zero = duetproxy_zero,
  .cache = duetproxy_cache,
  .extents = duetproxy_extents,
};

NBDKIT_REGISTER_PLUGIN (plugin)
