/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-control.h: a control socket in front of an engine that is only a
 * set of figures, and a client of it: what check-control.c and
 * check-duetctl.c share.
 */
#ifndef DUET_CHECK_CONTROL_H
#define DUET_CHECK_CONTROL_H

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "control.h"
#include "engine.h"

enum {
  LINE_BYTES = 4096, /* as in control.c */
  PATIENCE_S = 20,   /* for anything that must happen */
  ANSWER_BYTES = 65536,
};

static char folder[64];
static char path[96];
static char message[512];
static struct control *control;
static struct engine_status fake;
static struct core_wish wished;  /* by the last command */
static const char *fake_refusal; /* its answer; empty: yes */
static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;

/* ------------------------------------------------------- the fake engine */

void
engine_status (struct engine *engine, struct engine_status *status)
{
  ck_assert_ptr_eq (engine, NULL);
  pthread_mutex_lock (&fake_lock);
  *status = fake;
  pthread_mutex_unlock (&fake_lock);
}

const char *
engine_kind_name (enum engine_kind kind)
{
  static const char *const names[ENGINE_KINDS] = { "read", "write", "trim",
                                                   "zero", "flush", "extents",
                                                   "cache" };

  return names[kind];
}

/* The answer to each wish is set by the test. */
int
engine_admin (struct engine *engine, const struct core_wish *wish, char *reason,
              size_t reason_size)
{
  ck_assert_ptr_eq (engine, NULL);
  pthread_mutex_lock (&fake_lock);
  wished = *wish;
  snprintf (reason, reason_size, "%s", fake_refusal);
  pthread_mutex_unlock (&fake_lock);
  if (reason[0] == '\0')
    return 0;
  errno = EPERM;
  return -1;
}

const char *
engine_event_name (enum engine_event_kind kind)
{
  return kind == EVENT_START ? "start" : "state";
}

/* Two, if they are not known yet. */
uint64_t
engine_events (struct engine *engine, uint64_t after, struct engine_event *list,
               uint32_t *count, uint64_t *boot)
{
  ck_assert_ptr_eq (engine, NULL);
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

/* A primary with a backup and some history. */
static void
set_fake (void)
{
  fake_refusal = "";
  fake = (struct engine_status) {
    .view = {
      .state = STATE_PRIMARY,
      .serving = true,
      .linked = true,
      .resyncing = true,
      .peer_state = STATE_BACKUP,
      .record = {
        .volume = 0xabc,
        .node = 0x1111,
        .peer = 0xfedcba9876543210,
        .size = UINT64_C (256) << 30,
        .both = true,
        .history_count = 1,
        .history = { { .gen = { 7, 0x77 } } },
      },
      .dirty_bytes = 2048,
      .resync_done_bytes = 512,
      .resync_total_bytes = 3072,
      .attempt = GEN_JOIN,
      .lease_left_ms = 500,
      .conns = 16,
      .requests = 3,
    },
    .reason = "the peer is in sync",
    .peer_address = "127.0.0.1:7001",
    .arbiter = ARBITER_ETCD,
    .arbiter_reason = "http://x: no answer in time",
    .requests = { [ENGINE_WRITE] = { 5, 1, 20480, 100, 1500, 2000000 } },
    .resync_bytes_per_second = 512,
    .fdatasyncs = 2,
    .sync_callers = 5,
    .sync = { .p50_us = 300, .p99_us = 4000, .max_us = 5000 },
    .sync_group = { .p50_us = 2, .p99_us = 3, .max_us = 4 },
    .rtt_us = 250,
    .healthy = true,
    .bytes_sent = 1,
    .bytes_received = 2,
    .frames_sent = 3,
    .frames_received = 4,
    .link_sends = 5,
    .link_receives = 6,
  };
}

/* ------------------------------------------------------------- helpers */

static void
make_folder (void)
{
  strcpy (folder, "/tmp/check-control.XXXXXX");
  ck_assert_ptr_nonnull (mkdtemp (folder));
  snprintf (path, sizeof path, "%s/control", folder);
  set_fake ();
}

static void
remove_folder (void)
{
  control_free (control);
  control = NULL;
  ck_assert_int_eq (access (path, F_OK), -1);
  ck_assert_int_eq (rmdir (folder), 0);
}

static void
start_control (void)
{
  control = control_new (path, NULL, message, sizeof message);
  ck_assert_msg (control != NULL, "%s", message);
  ck_assert_int_eq (control_start (control), 0);
}

static int
make_socket (struct sockaddr_un *address)
{
  int fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

  ck_assert_int_ne (fd, -1);
  *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
  strcpy (address->sun_path, path);
  return fd;
}

static void
send_bytes (int fd, const char *bytes, size_t length)
{
  ck_assert_int_eq (send (fd, bytes, length, MSG_NOSIGNAL), (ssize_t) length);
}

#define COUNT(a) ((int) (sizeof (a) / sizeof (a)[0]))

#endif /* DUET_CHECK_CONTROL_H */
