/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * duet.c: the nbdkit plugin of a node: options to engine, callbacks to
 * engine calls.  It knows nothing of replication.
 */
#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arbiter-options.h"
#include "engine.h"
#include "exportname.h"
#include "flusher.h"
#include "hangup.h"
#include "http-options.h"
#include "link.h"
#include "meta.h"
#include "node-http.h"
#include "notice.h"
#include "ready.h"
#include "version.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

enum {
  BEAT_MS = 200,
  DEAD_MS = 1000,
  BEAT_MAX_MS = 60000,
  DEAD_MAX_MS = 600000,
  FLUSH_AFTER = 32 * 1024 * 1024,
  FLUSH_EVERY_MS = 5000,
  FLUSH_EVERY_MAX_S = 3600,
  BLOCK_PREFERRED = 4096,
  BLOCK_MAX = 32 * 1024 * 1024,
  MESSAGE = 1024,
};

static struct engine_config config = {
  .core = { .beat_ms = BEAT_MS, .dead_ms = DEAD_MS },
};
static char *owned[7]; /* paths made absolute, freed at unload */
static struct engine *engine;
static struct http_options http_options;
static struct node_http *http;
static void (*disconnect) (int force);

/* A connection, with room for its description. */
struct handle {
  struct engine_conn *conn;
  char description[EXPORTNAME_DESCRIPTION_MAX];
};

/* ------------------------------------------------------------- options */

static int
set_path (unsigned which, const char *key, const char *value, const char **to)
{
  if (value[0] == '\0') {
    nbdkit_error ("%s=: a path is missing", key);
    return -1;
  }
  free (owned[which]);
  owned[which] = nbdkit_absolute_path (value);
  *to = owned[which];
  return owned[which] != NULL ? 0 : -1;
}

static int
set_ms (const char *key, const char *value, uint64_t max, uint64_t *ms)
{
  uint64_t parsed;

  if (nbdkit_parse_uint64_t (key, value, &parsed) == -1)
    return -1;
  if (parsed < 1 || parsed > max) {
    nbdkit_error ("%s=%s: must be 1 to %llu milliseconds", key, value,
                  (unsigned long long) max);
    return -1;
  }
  *ms = parsed;
  return 0;
}

/* nbdkit's own message does not name the parameter. */
static int
parse_size (const char *key, const char *value, int64_t *size)
{
  *size = nbdkit_parse_size (value);
  if (*size != -1)
    return 0;
  nbdkit_error ("%s=%s: not a size", key, value);
  return -1;
}

static int
set_size (const char *key, const char *value, uint64_t *size)
{
  int64_t parsed;

  if (parse_size (key, value, &parsed) == -1)
    return -1;
  if (parsed == 0) {
    nbdkit_error ("%s=%s: must be above 0", key, value);
    return -1;
  }
  *size = (uint64_t) parsed;
  return 0;
}

static int
set_region (const char *value)
{
  int64_t parsed;

  if (parse_size ("region", value, &parsed) == -1)
    return -1;
  if (parsed > UINT32_MAX || !meta_is_region_size ((uint32_t) parsed)) {
    nbdkit_error ("region=%s: must be a power of two from 256K to 1G", value);
    return -1;
  }
  config.region_size = (uint32_t) parsed;
  return 0;
}

static int
set_address (const char *key, const char *value, const char **to)
{
  char error[MESSAGE];

  if (link_check_address (value, error, sizeof error) == -1) {
    nbdkit_error ("%s=%s: %s", key, value, error);
    return -1;
  }
  *to = value;
  return 0;
}

static int
set_name (const char *key, const char *value, const char **to)
{
  if (value[0] == '\0') {
    nbdkit_error ("%s=: a name is missing", key);
    return -1;
  }
  *to = value;
  return 0;
}

static int
set_insecure (const char *value)
{
  int parsed = nbdkit_parse_bool (value);

  if (parsed == -1) {
    nbdkit_error ("insecure=%s: must be yes or no", value);
    return -1;
  }
  config.insecure = parsed != 0;
  return 0;
}

static int
set_takeover (const char *value)
{
  static const char *const words[] = {
    [TAKEOVER_PROXY] = "proxy",
    [TAKEOVER_ANY] = "any",
    [TAKEOVER_MANUAL] = "manual",
  };
  unsigned i;

  for (i = 0; i < sizeof words / sizeof words[0]; i++)
    if (strcmp (value, words[i]) == 0) {
      config.core.takeover = (enum core_takeover) i;
      return 0;
    }
  nbdkit_error ("takeover=%s: must be proxy, any or manual", value);
  return -1;
}

static int
set_durability (const char *value)
{
  if (strcmp (value, "write") == 0)
    config.core.durability = DURABILITY_WRITE;
  else if (strcmp (value, "flush") == 0)
    config.core.durability = DURABILITY_FLUSH;
  else {
    nbdkit_error ("durability=%s: must be write or flush", value);
    return -1;
  }
  return 0;
}

static int
set_flush_every (const char *value)
{
  unsigned parsed;

  if (nbdkit_parse_unsigned ("flush-every", value, &parsed) == -1)
    return -1;
  if (parsed < 1 || parsed > FLUSH_EVERY_MAX_S) {
    nbdkit_error ("flush-every=%s: must be 1 to %d seconds", value,
                  FLUSH_EVERY_MAX_S);
    return -1;
  }
  config.core.flush_ms = (uint64_t) parsed * 1000;
  return 0;
}

/* What belongs to durability=flush. */
static int
complete_flush (void)
{
  struct core_config *core = &config.core;

  if (core->durability != DURABILITY_FLUSH) {
    if (core->flush_bytes == 0 && core->flush_ms == 0)
      return 0;
    nbdkit_error ("flush-after= and flush-every= need durability=flush");
    return -1;
  }
  if (core->arbiter == ARBITER_ETCD) {
    nbdkit_error ("durability=flush does not go with arbiter=etcd yet: what "
                  "is sent again after a crash could undo another client's "
                  "write");
    return -1;
  }
  if (core->flush_bytes == 0)
    core->flush_bytes = FLUSH_AFTER;
  if (core->flush_ms == 0)
    core->flush_ms = FLUSH_EVERY_MS;
  return 0;
}

static int
duet_config (const char *key, const char *value)
{
  if (strcmp (key, "file") == 0)
    return set_path (0, key, value, &config.file);
  if (strcmp (key, "meta") == 0)
    return set_path (1, key, value, &config.meta);
  if (strcmp (key, "control") == 0)
    return set_path (2, key, value, &config.control);
  if (strcmp (key, "size") == 0)
    return set_size (key, value, &config.size);
  if (strcmp (key, "region") == 0)
    return set_region (value);
  if (strcmp (key, "listen") == 0)
    return set_address (key, value, &config.listen);
  if (strcmp (key, "peer") == 0)
    return set_address (key, value, &config.peer);
  if (strcmp (key, "tls-psk") == 0)
    return set_path (3, key, value, &config.tls.psk);
  if (strcmp (key, "tls-ca") == 0)
    return set_path (4, key, value, &config.tls.ca);
  if (strcmp (key, "tls-cert") == 0)
    return set_path (5, key, value, &config.tls.cert);
  if (strcmp (key, "tls-key") == 0)
    return set_path (6, key, value, &config.tls.key);
  if (strcmp (key, "tls-name") == 0)
    return set_name (key, value, &config.tls.name);
  if (strcmp (key, "insecure") == 0)
    return set_insecure (value);
  if (strcmp (key, "takeover") == 0)
    return set_takeover (value);
  if (strcmp (key, "beat") == 0)
    return set_ms (key, value, BEAT_MAX_MS, &config.core.beat_ms);
  if (strcmp (key, "dead") == 0)
    return set_ms (key, value, DEAD_MAX_MS, &config.core.dead_ms);
  if (strcmp (key, "resync-rate") == 0)
    return set_size (key, value, &config.core.resync_rate);
  if (strcmp (key, "durability") == 0)
    return set_durability (value);
  if (strcmp (key, "flush-after") == 0)
    return set_size (key, value, &config.core.flush_bytes);
  if (strcmp (key, "flush-every") == 0)
    return set_flush_every (value);
  if (arbiter_is_option (key))
    return arbiter_option (&config, key, value);
  if (http_is_option (key))
    return http_option (&http_options, key, value);
  nbdkit_error ("unknown parameter '%s'", key);
  return -1;
}

static int
duet_config_complete (void)
{
  const char *missing = config.file == NULL ? "file"
    : config.listen == NULL                 ? "listen"
    : config.peer == NULL                   ? "peer"
                                            : NULL;
  char error[MESSAGE];

  if (missing != NULL) {
    nbdkit_error ("you must give %s=; a node needs file=, listen= and "
                  "peer= (see nbdkit-duet-plugin(1))",
                  missing);
    return -1;
  }
  if (tls_check (&config.tls, error, sizeof error) == -1) {
    nbdkit_error ("%s", error);
    return -1;
  }
  if (config.insecure && tls_is_wanted (&config.tls)) {
    nbdkit_error ("insecure=yes and the tls- parameters exclude each other");
    return -1;
  }
  if (config.core.dead_ms < 2 * config.core.beat_ms) {
    nbdkit_error ("dead=%llu must be at least twice beat=%llu",
                  (unsigned long long) config.core.dead_ms,
                  (unsigned long long) config.core.beat_ms);
    return -1;
  }
  if (http_complete (&http_options) == -1)
    return -1;
  return arbiter_complete (&config) == -1 ? -1 : complete_flush ();
}

#define duet_config_help                                                       \
  "[file=]FILENAME      (required) Data file or block device.\n"               \
  "listen=HOST:PORT     (required) Address for the peer to reach this node.\n" \
  "peer=HOST:PORT       (required) The peer's listen= address.\n"              \
  "tls-psk=FILENAME     TLS for the link: pre-shared keys, or\n"               \
  "tls-ca=FILENAME      the certificate authority of both nodes,\n"            \
  "tls-cert=FILENAME    this node's certificate\n"                             \
  "tls-key=FILENAME     and its key.\n"                                        \
  "tls-name=NAME        What the peer's certificate is for (default: the\n"    \
  "                     host of peer=).\n"                                     \
  "insecure=yes|no      No TLS although listen= or peer= lead out of this\n"   \
  "                     machine (default: no).\n"                              \
  "size=SIZE            Volume size (default: as FILENAME is, else 256G).\n"   \
  "meta=FILENAME        Metadata file (default: FILENAME.duet).\n"             \
  "control=SOCKET       Unix socket for duetctl(1).\n" HTTP_OPTIONS_HELP       \
  "takeover=proxy|any|manual\n"                                                \
  "                     Who may make a backup primary (default: proxy).\n"     \
  "region=SIZE          Unit of the persistent map (default: 4M).\n"           \
  "beat=MS              Heartbeat interval (default: 200).\n"                  \
  "dead=MS              Silence that ends the link (default: 1000).\n"         \
  "resync-rate=SIZE     Bytes per second at most (default: no limit).\n"       \
  "durability=write|flush\n"                                                   \
  "                     When what was answered is durable (default: write).\n" \
  "flush-after=SIZE     durability=flush: most that is not (default: 32M).\n"  \
  "flush-every=SECONDS  And for how long at most (default: 5).\n"

static void
duet_dump_plugin (void)
{
  printf ("duet_protocol_version=%d\n", WIRE_VERSION);
  printf ("duet_disk_version=%d\n", META_VERSION);
  printf ("duet_default_size=%lld\n", 256LL << 30);
  printf ("duet_default_beat_ms=%d\n", BEAT_MS);
  printf ("duet_default_dead_ms=%d\n", DEAD_MS);
  printf ("duet_takeover=proxy,any,manual\n");
  printf ("duet_arbiter=client,etcd\n");
  printf ("duet_durability=write,flush\n");
  printf ("duet_default_lease_ms=%d\n", ARBITER_LEASE_MS);
  printf ("duet_default_grace_ms=%u\n", core_grace_min (ARBITER_LEASE_MS));
}

/* ---------------------------------------------------------- life cycle */

static void
log_line (const char *line)
{
  notice ("duet", line);
}

/* nbdkit_nanosleep fails when this connection or the server ends. */
static bool
client_gone (void)
{
  int saved = errno;
  bool gone = nbdkit_nanosleep (0, 1) == -1;

  errno = saved;
  return gone;
}

static int
duet_thread_model (void)
{
  /* nbdkit 1.32.4 to 1.33.9 aborts when a client hangs up with several
   * requests in flight on one connection; 1.34 has the mend and is the
   * first to export nbdkit_disconnect.
   */
  *(void **) &disconnect = dlsym (RTLD_DEFAULT, "nbdkit_disconnect");
  return disconnect != NULL ? NBDKIT_THREAD_MODEL_PARALLEL
                            : NBDKIT_THREAD_MODEL_SERIALIZE_REQUESTS;
}

static int
duet_get_ready (void)
{
  char error[MESSAGE];

  notice_ready ();
  flusher_ready ();
  config.log = log_line;
  config.gone = client_gone;
  /* Sockets handed over by systemd are there already; the server's others
   * come after this.
   */
  hangup_note (true);
  if (http_options.address != NULL) {
    http = node_http_new (http_options.address, http_options.expose, error,
                          sizeof error);
    if (http == NULL) {
      nbdkit_error ("%s", error);
      return -1;
    }
  }
  engine = engine_new (&config, error, sizeof error);
  if (engine == NULL) {
    nbdkit_error ("%s", error);
    return -1;
  }
  hangup_note (false);
  return 0;
}

static void
end_requests (void)
{
  engine_end_requests (engine);
}

static int
duet_after_fork (void)
{
  char error[MESSAGE];

  if (engine_start (engine, error, sizeof error) == -1) {
    nbdkit_error ("%s", error);
    return -1;
  }
  if ((http != NULL && node_http_start (http, engine) == -1) ||
      hangup_start (end_requests) == -1) {
    nbdkit_error ("cannot start a thread: %m");
    return -1;
  }
  ready_tell ();
  return 0;
}

static void
duet_cleanup (void)
{
  if (http != NULL)
    node_http_stop (http);
  if (engine != NULL)
    engine_stop (engine);
}

static void
duet_unload (void)
{
  unsigned i;

  hangup_stop ();
  node_http_free (http);
  engine_free (engine);
  arbiter_options_free ();
  for (i = 0; i < sizeof owned / sizeof owned[0]; i++)
    free (owned[i]);
}

/* --------------------------------------------------------- connections */

static int
duet_list_exports (int readonly, int is_tls, struct nbdkit_exports *exports)
{
  char text[EXPORTNAME_DESCRIPTION_MAX];

  (void) readonly;
  (void) is_tls;
  engine_describe (engine, text);
  return nbdkit_add_export (exports, "", text);
}

static void *
duet_open (int readonly)
{
  struct handle *h = calloc (1, sizeof *h);
  const char *name = nbdkit_export_name ();
  char error[MESSAGE];

  (void) readonly;
  if (h == NULL) {
    nbdkit_error ("calloc: %m");
    return NULL;
  }
  h->conn = engine_open (engine, name != NULL ? name : "", error, sizeof error);
  if (h->conn == NULL) {
    nbdkit_error ("%s", error);
    free (h);
    return NULL;
  }
  return h;
}

static void
duet_close (void *handle)
{
  struct handle *h = handle;

  engine_close (h->conn);
  free (h);
}

static const char *
duet_export_description (void *handle)
{
  struct handle *h = handle;

  engine_describe (engine, h->description);
  return h->description;
}

static int64_t
duet_get_size (void *handle)
{
  (void) handle;
  return (int64_t) engine_size (engine);
}

static int
yes (void *handle)
{
  (void) handle;
  return 1;
}

static int
no (void *handle)
{
  (void) handle;
  return 0;
}

static int
duet_can_fua (void *handle)
{
  (void) handle;
  /* With durability=flush a forced write is a write and a flush. */
  return config.core.durability == DURABILITY_FLUSH ? NBDKIT_FUA_EMULATE
                                                    : NBDKIT_FUA_NATIVE;
}

static int
duet_can_cache (void *handle)
{
  (void) handle;
  return NBDKIT_CACHE_NATIVE;
}

static int
duet_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                 uint32_t *maximum)
{
  (void) handle;
  *minimum = 1;
  *preferred = BLOCK_PREFERRED;
  *maximum = BLOCK_MAX;
  return 0;
}

/* ------------------------------------------------------------ requests */

/* Tell nbdkit the error; a connection that was ended is hung up, so that
 * a client that waits learns of it.
 */
static int
answer (int r)
{
  if (r == 0)
    return 0;
  nbdkit_set_error (errno);
  if (errno == ESHUTDOWN && disconnect != NULL)
    disconnect (0);
  else if (errno != ESHUTDOWN && errno != EOPNOTSUPP)
    nbdkit_error ("request failed: %m");
  return -1;
}

static int
duet_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
            uint32_t flags)
{
  struct handle *h = handle;

  (void) flags;
  return answer (engine_read (h->conn, buf, count, offset));
}

/* FUA has nothing to add: an answered write is durable.  (If it is not,
 * nbdkit does not pass the flag on, and calls flush.)
 */
static int
duet_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
             uint32_t flags)
{
  struct handle *h = handle;

  (void) flags;
  return answer (engine_write (h->conn, buf, count, offset));
}

static int
duet_flush (void *handle, uint32_t flags)
{
  struct handle *h = handle;

  (void) flags;
  return answer (engine_flush (h->conn));
}

static int
duet_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct handle *h = handle;

  (void) flags;
  return answer (engine_trim (h->conn, count, offset));
}

static int
duet_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct handle *h = handle;

  return answer (engine_zero (h->conn, count, offset,
                              (flags & NBDKIT_FLAG_MAY_TRIM) != 0,
                              (flags & NBDKIT_FLAG_FAST_ZERO) != 0));
}

static int
add_extent (void *opaque, uint64_t offset, uint64_t length, bool hole)
{
  return nbdkit_add_extent (opaque, offset, length,
                            hole ? NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO : 0);
}

static int
duet_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
              struct nbdkit_extents *extents)
{
  struct handle *h = handle;

  (void) flags;
  return answer (engine_extents (h->conn, count, offset, add_extent, extents));
}

static int
duet_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  struct handle *h = handle;

  (void) flags;
  return answer (engine_cache (h->conn, count, offset));
}

static struct nbdkit_plugin plugin = {
  .name = "duet",
  .longname = "duet replicated block device",
  .version = DUET_VERSION,
  .description = "one of two nodes that keep a volume identical",
  .unload = duet_unload,
  .config = duet_config,
  .config_complete = duet_config_complete,
  .config_help = duet_config_help ARBITER_HELP,
  .magic_config_key = "file",
  .dump_plugin = duet_dump_plugin,
  .thread_model = duet_thread_model,
  .get_ready = duet_get_ready,
  .after_fork = duet_after_fork,
  .cleanup = duet_cleanup,
  .list_exports = duet_list_exports,
  .open = duet_open,
  .close = duet_close,
  .export_description = duet_export_description,
  .get_size = duet_get_size,
  .can_write = yes,
  .can_flush = yes,
  .can_trim = yes,
  .can_zero = yes,
  .can_fast_zero = yes,
  .can_extents = yes,
  .can_multi_conn = yes,
  .is_rotational = no,
  .can_fua = duet_can_fua,
  .can_cache = duet_can_cache,
  .block_size = duet_block_size,
  .pread = duet_pread,
  .pwrite = duet_pwrite,
  .flush = duet_flush,
  .trim = duet_trim,
  .zero = duet_zero,
  .extents = duet_extents,
  .cache = duet_cache,
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
