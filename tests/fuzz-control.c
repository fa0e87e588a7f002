/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * fuzz-control.c: requests on the control socket.  The input is what an
 * administrator's program sends; some of its bytes end one packet and
 * begin the next.  The engine behind it is only a set of
 * figures.  Whatever was sent, the answer is one line, one JSON object,
 * and then the end of the connection.
 */
#include <errno.h>
#include <jansson.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "control.h"
#include "engine.h"
#include "fuzz.h"

enum {
  INPUT_MAX = 8192, /* twice the longest request */
  ANSWER_MAX = 65536,
};

static struct control *control;
static char path[FUZZ_PATH];

/* ------------------------------------------------------ the fake engine */

void
engine_status (struct engine *engine, struct engine_status *status)
{
  assert (engine == NULL);
  *status = (struct engine_status){
    .view = {
      .state = STATE_PRIMARY,
      .record = { .node = 0x1111, .peer = 0x2222, .size = 1 << 20 },
    },
    .reason = "both copies are in sync",
  };
}

const char *
engine_kind_name (enum engine_kind kind)
{
  static const char *const names[ENGINE_KINDS] = { "read", "write", "trim",
                                                   "zero", "flush", "extents",
                                                   "cache" };

  return names[kind];
}

int
engine_admin (struct engine *engine, const struct core_wish *wish, char *error,
              size_t error_size)
{
  assert (engine == NULL);
  snprintf (error, error_size, "the peer is not connected");
  errno = EPERM;
  return wish->end_plain ? 0 : -1;
}

const char *
engine_event_name (enum engine_event_kind kind)
{
  return kind == EVENT_START ? "start" : "state";
}

uint64_t
engine_events (struct engine *engine, uint64_t after, struct engine_event *list,
               uint32_t *count, uint64_t *boot)
{
  assert (engine == NULL);
  *boot = 0xb007;
  *count = 0;
  if (after < 1 || after > 2)
    list[(*count)++] = (struct engine_event){
      .number = 1,
      .time_ms = 1000,
      .kind = EVENT_START,
      .text = "started",
    };
  if (after != 2)
    list[(*count)++] = (struct engine_event){
      .number = 2,
      .time_ms = 1001,
      .kind = EVENT_STATE,
      .text = "alone",
      .state = STATE_SOLO,
      .gen = { 3, 0x33 },
    };
  return 2;
}

/* ----------------------------------------------------------- one client */

static void
begin (void)
{
  char error[512];

  fuzz_make_folder ();
  fuzz_put_path (path, "control");
  control = control_new (path, NULL, error, sizeof error);
  assert (control != NULL);
  assert (control_start (control) == 0);
}

static int
dial (void)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), failed;

  assert (strlen (path) < sizeof address.sun_path);
  strcpy (address.sun_path, path);
  assert (fd != -1);
  do
    failed = connect (fd, (struct sockaddr *) &address, sizeof address);
  while (failed == -1 && errno == EINTR);
  assert (failed == 0);
  return fd;
}

/* In pieces; the node may hang up before it has all.  libFuzzer's clock
 * interrupts system calls.
 */
static void
send_pieces (int fd, const uint8_t *data, size_t size)
{
  size_t from = 0, i;
  ssize_t sent;

  for (i = 0; i < size; i++) {
    if (i + 1 < size && data[i] % 7 != 6)
      continue;
    do
      sent = send (fd, data + from, i + 1 - from, MSG_NOSIGNAL);
    while (sent == -1 && errno == EINTR);
    if (sent == -1)
      return;
    from += (size_t) sent;
    i = from - 1;
  }
  shutdown (fd, SHUT_WR);
}

static size_t
receive_all (int fd, char answer[ANSWER_MAX])
{
  size_t length = 0;
  ssize_t got;

  while (length < ANSWER_MAX) {
    got = recv (fd, answer + length, ANSWER_MAX - length, 0);
    if (got == -1 && errno == EINTR)
      continue;
    if (got <= 0)
      break;
    length += (size_t) got;
  }
  assert (length < ANSWER_MAX);
  return length;
}

/* A request that is no JSON object gets an error. */
static void
check_answer (const uint8_t *data, size_t size, const char *answer,
              size_t length)
{
  const uint8_t *newline = memchr (data, '\n', size);
  size_t line = newline != NULL ? (size_t) (newline - data) : size;
  json_t *request, *said;

  assert (length > 0 && answer[length - 1] == '\n');
  assert (memchr (answer, '\n', length - 1) == NULL);
  said = json_loadb (answer, length, 0, NULL);
  assert (json_is_object (said));
  request = json_loadb ((const char *) data, line, 0, NULL);
  if (!json_is_object (request))
    assert (json_is_string (json_object_get (said, "error")));
  json_decref (request);
  json_decref (said);
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  static char answer[ANSWER_MAX];
  size_t length;
  int fd;

  if (size > INPUT_MAX)
    return 0;
  if (control == NULL)
    begin ();
  fd = dial ();
  send_pieces (fd, data, size);
  length = receive_all (fd, answer);
  close (fd);
  /* Nothing, or an empty line, is a look whether the node is alive.  A
   * request that is too long is not read to its end, and then the kernel
   * may throw the answer away.
   */
  if (length > 0)
    check_answer (data, size, answer, length);
  else
    assert (size == 0 || data[0] == '\n' || size >= 4096);
  return 0;
}
