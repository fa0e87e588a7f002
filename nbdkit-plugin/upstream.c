/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * upstream.c: one NBD connection from the proxy to a node, over libnbd.
 *
 * The export name is set after the connection has been greeted, because
 * connecting by URI sets the name that the URI has (none, for a node).
 * Closing never waits: libnbd's nbd_close only closes the socket.
 */
#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "upstream.h"

enum { EXTENTS_MAX = 65536, WAIT_MAX = 64 };

uint64_t
upstream_now_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

/* -------------------------------------------------------------- opening */

const char *
upstream_check_uri (const char *uri)
{
  static const char *const schemes[] = {
    "nbd://",
    "nbds://",
    "nbd+unix://",
    "nbds+unix://",
  };
  const char *rest = NULL, *path, *query, *socket;
  size_t i;

  for (i = 0; i < sizeof schemes / sizeof schemes[0]; i++)
    if (strncmp (uri, schemes[i], strlen (schemes[i])) == 0)
      rest = uri + strlen (schemes[i]);
  if (rest == NULL)
    return "must begin with nbd://, nbds://, nbd+unix:// or nbds+unix://";
  query = rest + strcspn (rest, "?");
  path = memchr (rest, '/', (size_t) (query - rest));
  if (path != NULL && query - path > 1)
    return "must not name an export: the name tells the node who asks";
  if (strstr (uri, "+unix://") == NULL)
    return rest[0] == '\0' || rest[0] == '/' ? "names no host" : NULL;
  socket = strstr (query, "socket=");
  if (socket == NULL)
    return "names no socket: nbd+unix:///?socket=/PATH";
  socket += strlen ("socket=");
  if (socket[0] != '/' && strncasecmp (socket, "%2f", 3) != 0)
    return "needs the absolute path of the socket";
  return NULL;
}

/* libnbd's words for the last error of this thread, without the name of
 * the function in front.
 */
static void
keep_message (struct opening *opening)
{
  const char *text = nbd_get_error ();
  const char *colon = text != NULL ? strstr (text, ": ") : NULL;

  if (colon != NULL && strncmp (text, "nbd_", 4) == 0)
    text = colon + 2;
  snprintf (opening->message, sizeof opening->message, "%s",
            text != NULL ? text : "unknown error");
}

static void
fail (struct opening *opening)
{
  opening->stage = opening->was_greeted ? UPSTREAM_REFUSED
                                        : UPSTREAM_UNREACHABLE;
}

void
upstream_start (struct opening *opening, const char *uri)
{
  memset (opening, 0, sizeof *opening);
  opening->stage = UPSTREAM_CONNECTING;
  opening->nbd = nbd_create ();
  if (opening->nbd == NULL || nbd_set_opt_mode (opening->nbd, true) == -1 ||
      nbd_set_full_info (opening->nbd, true) == -1 ||
      nbd_set_pread_initialize (opening->nbd, false) == -1 ||
      nbd_set_uri_allow_local_file (opening->nbd, true) == -1 ||
      nbd_add_meta_context (opening->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) ==
        -1 ||
      nbd_aio_connect_uri (opening->nbd, uri) == -1) {
    keep_message (opening);
    fail (opening);
  }
}

static int
on_go_done (void *user_data, int *error)
{
  struct opening *opening = user_data;

  opening->go_done = true;
  opening->go_error = *error;
  if (*error == ENOENT)
    snprintf (opening->message, sizeof opening->message, "does not serve");
  else if (*error != 0)
    keep_message (opening);
  return 1;
}

void
upstream_go (struct opening *opening, const char *name)
{
  nbd_completion_callback done = { .callback = on_go_done,
                                   .user_data = opening };

  assert (opening->stage == UPSTREAM_GREETED);
  opening->stage = UPSTREAM_OPENING;
  if (nbd_set_export_name (opening->nbd, name) == -1 ||
      nbd_aio_opt_go (opening->nbd, done) == -1) {
    keep_message (opening);
    fail (opening);
  }
}

bool
upstream_is_dead (struct nbd_handle *nbd)
{
  return nbd_aio_is_dead (nbd) == 1 || nbd_aio_is_closed (nbd) == 1;
}

static void
update_stage (struct opening *opening)
{
  struct nbd_handle *nbd = opening->nbd;

  if (opening->stage == UPSTREAM_OPENING && opening->go_done &&
      opening->go_error != 0)
    opening->stage = UPSTREAM_REFUSED;
  else if (upstream_is_dead (nbd)) {
    if (opening->message[0] == '\0')
      snprintf (opening->message, sizeof opening->message, "it hung up");
    fail (opening);
  }
  else if (opening->stage == UPSTREAM_OPENING && opening->go_done &&
           nbd_aio_is_ready (nbd))
    opening->stage = UPSTREAM_READY;
  else if (opening->stage == UPSTREAM_CONNECTING &&
           nbd_aio_is_negotiating (nbd)) {
    opening->stage = UPSTREAM_GREETED;
    opening->was_greeted = true;
  }
  else if (opening->stage == UPSTREAM_CONNECTING && nbd_aio_is_ready (nbd)) {
    snprintf (opening->message, sizeof opening->message,
              "its protocol is too old (no fixed newstyle)");
    opening->stage = UPSTREAM_REFUSED;
  }
}

static bool
is_moving (const struct opening *opening)
{
  return opening->stage == UPSTREAM_CONNECTING ||
    opening->stage == UPSTREAM_OPENING;
}

static short
poll_events (struct nbd_handle *nbd)
{
  unsigned direction = nbd_aio_get_direction (nbd);
  short events = 0;

  if (direction & LIBNBD_AIO_DIRECTION_READ)
    events |= POLLIN;
  if (direction & LIBNBD_AIO_DIRECTION_WRITE)
    events |= POLLOUT;
  return events;
}

/* 0, or -1 when libnbd found the connection dead. */
static int
notify (struct nbd_handle *nbd, short revents)
{
  short events = poll_events (nbd);

  if ((events & POLLIN) && (revents & (POLLIN | POLLHUP | POLLERR)))
    return nbd_aio_notify_read (nbd);
  if ((events & POLLOUT) && (revents & (POLLOUT | POLLHUP | POLLERR)))
    return nbd_aio_notify_write (nbd);
  return 0;
}

static int
ms_left (uint64_t until_ms)
{
  uint64_t now_ms = upstream_now_ms ();

  if (now_ms >= until_ms)
    return 0;
  return until_ms - now_ms > INT_MAX ? INT_MAX : (int) (until_ms - now_ms);
}

bool
upstream_wait (struct opening *openings, size_t count, int cancel_fd,
               uint64_t until_ms)
{
  struct pollfd fds[WAIT_MAX + 1];
  enum upstream_stage stage;
  size_t i;
  int ready;

  assert (count <= WAIT_MAX);
  for (i = 0; i < count; i++) {
    fds[i] = (struct pollfd){ .fd = -1 };
    if (!is_moving (&openings[i]))
      continue;
    /* A fast server may have answered while we were still sending. */
    stage = openings[i].stage;
    update_stage (&openings[i]);
    if (openings[i].stage != stage)
      return true;
    fds[i].fd = nbd_aio_get_fd (openings[i].nbd);
    fds[i].events = poll_events (openings[i].nbd);
  }
  fds[count] = (struct pollfd){ .fd = cancel_fd, .events = POLLIN };
  ready = poll (fds, count + 1, ms_left (until_ms));
  if (ready == -1 && errno == EINTR)
    return true;
  if (ready <= 0 || fds[count].revents != 0)
    return false;
  for (i = 0; i < count; i++)
    if (fds[i].revents != 0) {
      if (notify (openings[i].nbd, fds[i].revents) == -1 &&
          openings[i].message[0] == '\0')
        keep_message (&openings[i]);
      update_stage (&openings[i]);
    }
  return true;
}

/* What became of a question for the list of exports. */
struct listed {
  bool done, good;
  struct export_description *description;
};

static int
on_export (void *user_data, const char *name, const char *description)
{
  struct listed *listed = user_data;

  (void) name;
  if (exportname_parse_description (description, listed->description))
    listed->good = true;
  return 0;
}

static int
on_listed (void *user_data, int *error)
{
  struct listed *listed = user_data;

  (void) error;
  listed->done = true;
  return 1;
}

bool
upstream_describe (struct opening *opening, int cancel_fd, uint64_t until_ms,
                   struct export_description *description)
{
  struct nbd_handle *nbd = opening->nbd;
  struct listed listed = { .description = description };
  nbd_list_callback export = { .callback = on_export, .user_data = &listed };
  nbd_completion_callback done = { .callback = on_listed,
                                   .user_data = &listed };

  assert (opening->stage == UPSTREAM_REFUSED);
  if (nbd == NULL || nbd_aio_is_negotiating (nbd) != 1 ||
      nbd_aio_opt_list (nbd, export, done) == -1)
    return false;
  while (!listed.done && !upstream_is_dead (nbd)) {
    struct pollfd fds[2] = {
      { .fd = nbd_aio_get_fd (nbd), .events = poll_events (nbd) },
      { .fd = cancel_fd, .events = POLLIN },
    };

    if (poll (fds, 2, ms_left (until_ms)) <= 0 || fds[1].revents != 0 ||
        notify (nbd, fds[0].revents) == -1)
      break;
  }
  if (listed.done)
    return listed.good;
  /* The answer must not come when nobody is here to take it. */
  nbd_close (nbd);
  opening->nbd = NULL;
  return false;
}

static uint32_t
capabilities (struct nbd_handle *nbd)
{
  uint32_t can = 0;

  can |= nbd_is_read_only (nbd) == 0 ? UPSTREAM_CAN_WRITE : 0;
  can |= nbd_can_flush (nbd) == 1 ? UPSTREAM_CAN_FLUSH : 0;
  can |= nbd_can_fua (nbd) == 1 ? UPSTREAM_CAN_FUA : 0;
  can |= nbd_can_trim (nbd) == 1 ? UPSTREAM_CAN_TRIM : 0;
  can |= nbd_can_zero (nbd) == 1 ? UPSTREAM_CAN_ZERO : 0;
  can |= nbd_can_fast_zero (nbd) == 1 ? UPSTREAM_CAN_FAST_ZERO : 0;
  can |= nbd_can_cache (nbd) == 1 ? UPSTREAM_CAN_CACHE : 0;
  can |= nbd_can_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1
    ? UPSTREAM_CAN_EXTENTS
    : 0;
  return can;
}

bool
upstream_facts (struct opening *opening, struct upstream_facts *facts)
{
  struct nbd_handle *nbd = opening->nbd;
  int64_t size = nbd_get_size (nbd);
  int64_t block_min = nbd_get_block_size (nbd, LIBNBD_SIZE_MINIMUM);
  int64_t payload = nbd_get_block_size (nbd, LIBNBD_SIZE_MAXIMUM);
  char *text = nbd_get_export_description (nbd);
  bool good = true;

  assert (opening->stage == UPSTREAM_READY);
  memset (facts, 0, sizeof *facts);
  facts->size_bytes = size > 0 ? (uint64_t) size : 0;
  facts->can = capabilities (nbd);
  facts->is_rotational = nbd_is_rotational (nbd) == 1;
  facts->is_multi_conn = nbd_can_multi_conn (nbd) == 1;
  facts->block_min_bytes = block_min > 0 ? (uint32_t) block_min : 1;
  facts->payload_max_bytes = UPSTREAM_PAYLOAD_MAX;
  if (payload > 0 && payload < UPSTREAM_PAYLOAD_MAX)
    facts->payload_max_bytes = (uint32_t) payload;
  if (text != NULL && strncmp (text, "duet/", 5) == 0) {
    facts->can |= UPSTREAM_IS_DUET;
    good = exportname_parse_description (text, &facts->description);
  }
  free (text);
  return good;
}

void
upstream_drop (struct opening *opening)
{
  if (opening->nbd != NULL && nbd_aio_is_negotiating (opening->nbd) == 1)
    nbd_aio_opt_abort (opening->nbd);
  if (opening->stage == UPSTREAM_READY)
    nbd_aio_disconnect (opening->nbd, 0);
  nbd_close (opening->nbd);
  opening->nbd = NULL;
}

void
upstream_watch_path (int fd, uint64_t limit_ms)
{
  unsigned limit = limit_ms < INT_MAX ? (unsigned) limit_ms : INT_MAX;
  int on = 1, second = 1;

  if (setsockopt (fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &limit, sizeof limit) ==
      -1)
    return; /* a unix socket */
  /* An idle connection asks for a sign of life, from the first second on:
   * the limit above then counts for it too.
   */
  setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPIDLE, &second, sizeof second);
  setsockopt (fd, IPPROTO_TCP, TCP_KEEPINTVL, &second, sizeof second);
}

/* ------------------------------------------------------------- requests */

static int
on_extents (void *user_data, const char *context, uint64_t offset,
            uint32_t *entries, size_t count, int *error)
{
  struct upstream_extents *extents = user_data;
  size_t i, room;
  void *list;

  (void) offset;
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0)
    return 0;
  for (i = 0; i + 1 < count && extents->count < EXTENTS_MAX; i += 2) {
    if (extents->count == extents->room) {
      room = extents->room > 0 ? extents->room * 2 : 64;
      list = realloc (extents->list, room * sizeof extents->list[0]);
      if (list == NULL) {
        *error = ENOMEM;
        return -1;
      }
      extents->list = list;
      extents->room = room;
    }
    extents->list[extents->count].length = entries[i];
    extents->list[extents->count].type = entries[i + 1];
    extents->count++;
  }
  return 0;
}

int
upstream_send (struct nbd_handle *nbd, const struct upstream_call *call,
               nbd_completion_callback done)
{
  nbd_extent_callback extent = { .callback = on_extents };
  uint64_t offset = call->offset;
  uint32_t length = call->length, flags = call->flags;
  int64_t cookie = -1;

  switch (call->kind) {
  case UPSTREAM_PREAD:
    cookie = nbd_aio_pread (nbd, call->in, length, offset, done, flags);
    break;
  case UPSTREAM_PWRITE:
    cookie = nbd_aio_pwrite (nbd, call->out, length, offset, done, flags);
    break;
  case UPSTREAM_FLUSH: cookie = nbd_aio_flush (nbd, done, flags); break;
  case UPSTREAM_TRIM:
    cookie = nbd_aio_trim (nbd, length, offset, done, flags);
    break;
  case UPSTREAM_ZERO:
    /* A server that knows no fast zeroes would be within its rights. */
    if ((flags & LIBNBD_CMD_FLAG_FAST_ZERO) && nbd_can_fast_zero (nbd) != 1) {
      errno = ENOTSUP;
      return -1;
    }
    cookie = nbd_aio_zero (nbd, length, offset, done, flags);
    break;
  case UPSTREAM_CACHE:
    cookie = nbd_aio_cache (nbd, length, offset, done, flags);
    break;
  case UPSTREAM_EXTENTS:
    call->extents->count = 0;
    extent.user_data = call->extents;
    cookie = nbd_aio_block_status (nbd, length, offset, extent, done, flags);
    break;
  }
  if (cookie != -1)
    return 0;
  errno = nbd_get_errno ();
  return -1;
}

bool
upstream_wants_write (struct nbd_handle *nbd)
{
  return (nbd_aio_get_direction (nbd) & LIBNBD_AIO_DIRECTION_WRITE) != 0;
}

int
upstream_poll (struct nbd_handle *nbd, int fd, int kick_fd, int timeout_ms)
{
  struct pollfd fds[2] = {
    { .fd = fd, .events = poll_events (nbd) },
    { .fd = kick_fd, .events = POLLIN },
  };
  uint64_t kicks;
  int ready;

  if (fds[0].events == 0)
    return -1;
  ready = poll (fds, 2, timeout_ms);
  if (ready <= 0)
    return 0;
  if (fds[1].revents != 0 && read (kick_fd, &kicks, sizeof kicks) == -1)
    assert (errno == EAGAIN);
  return fds[0].revents != 0 ? notify (nbd, fds[0].revents) : 0;
}
