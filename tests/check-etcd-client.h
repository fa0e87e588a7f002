/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-etcd-client.h: what check-etcd-client.c talks to: Debian's
 * etcd-server as a process of the test's own, and a small HTTP server that
 * answers with whatever it is told to, well or badly.  Loopback only, free
 * ports.
 */
#ifndef DUET_CHECK_ETCD_CLIENT_H
#define DUET_CHECK_ETCD_CLIENT_H

#include <check.h>
#include <curl/curl.h>
#include <ftw.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
  PATIENCE_MS = 20000, /* a state that takes longer never comes */
  REQUEST_MAX = 64 * 1024,
};

static inline uint64_t
now_ms (void)
{
  struct timespec now;

  clock_gettime (CLOCK_MONOTONIC, &now);
  return (uint64_t) now.tv_sec * 1000 + (uint64_t) now.tv_nsec / 1000000;
}

static inline void
pause_ms (long ms)
{
  const struct timespec time = { .tv_sec = ms / 1000,
                                 .tv_nsec = ms % 1000 * 1000000 };

  nanosleep (&time, NULL);
}

/* A listening socket on a port the kernel chose, which goes to *PORT. */
static inline int
listen_anywhere (uint16_t *port)
{
  struct sockaddr_in address = { .sin_family = AF_INET,
                                 .sin_addr.s_addr = htonl (INADDR_LOOPBACK) };
  socklen_t length = sizeof address;
  int fd = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  ck_assert_int_ne (fd, -1);
  ck_assert_int_eq (bind (fd, (struct sockaddr *) &address, sizeof address), 0);
  ck_assert_int_eq (listen (fd, 16), 0);
  ck_assert_int_eq (getsockname (fd, (struct sockaddr *) &address, &length), 0);
  *port = ntohs (address.sin_port);
  return fd;
}

static inline uint16_t
free_port (void)
{
  uint16_t port;
  int fd = listen_anywhere (&port);

  close (fd);
  return port;
}

/* ----------------------------------------------------------- a real one */

struct server {
  pid_t pid;
  uint16_t port;
  char url[64];
  char peer_url[64];
  char folder[64];
};

static inline size_t
count_bytes (char *from, size_t size, size_t count, void *opaque)
{
  (void) from;
  (void) opaque;
  return size * count;
}

/* HTTP status of a request that sets the server up, 0: no answer. */
static inline long
server_post (const struct server *server, const char *path, const char *body)
{
  CURL *easy = curl_easy_init ();
  char url[256];
  long status = 0;

  ck_assert_ptr_nonnull (easy);
  snprintf (url, sizeof url, "%s%s", server->url, path);
  curl_easy_setopt (easy, CURLOPT_URL, url);
  curl_easy_setopt (easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt (easy, CURLOPT_POSTFIELDS, body);
  curl_easy_setopt (easy, CURLOPT_TIMEOUT_MS, 5000L);
  curl_easy_setopt (easy, CURLOPT_WRITEFUNCTION, count_bytes);
  if (curl_easy_perform (easy) == CURLE_OK)
    curl_easy_getinfo (easy, CURLINFO_RESPONSE_CODE, &status);
  curl_easy_cleanup (easy);
  return status;
}

/* The program, in a child that dies with the test. */
static inline void
server_run (struct server *server)
{
  char log[96];
  char cluster[96];
  uint64_t end_ms = now_ms () + PATIENCE_MS;

  snprintf (log, sizeof log, "%s/log", server->folder);
  snprintf (cluster, sizeof cluster, "default=%s", server->peer_url);
  server->pid = fork ();
  if (server->pid == 0) {
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    if (freopen (log, "ae", stdout) == NULL || dup2 (1, 2) == -1)
      _exit (126);
    execlp ("etcd", "etcd", "--data-dir", server->folder, "--log-level", "warn",
            "--listen-client-urls", server->url, "--advertise-client-urls",
            server->url, "--listen-peer-urls", server->peer_url,
            "--initial-advertise-peer-urls", server->peer_url,
            "--initial-cluster", cluster, (char *) NULL);
    _exit (127);
  }
  ck_assert_int_gt (server->pid, 0);
  while (server_post (server, "/v3/kv/range", "{\"key\":\"AA==\"}") == 0) {
    ck_assert_msg (waitpid (server->pid, NULL, WNOHANG) == 0 &&
                     now_ms () < end_ms,
                   "etcd does not start: see %s", log);
    pause_ms (20);
  }
}

static inline void
server_start (struct server *server)
{
  strcpy (server->folder, "/tmp/check-etcd.XXXXXX");
  ck_assert_ptr_nonnull (mkdtemp (server->folder));
  server->port = free_port ();
  snprintf (server->url, sizeof server->url, "http://127.0.0.1:%u",
            server->port);
  snprintf (server->peer_url, sizeof server->peer_url, "http://127.0.0.1:%u",
            free_port ());
  server_run (server);
}

static inline void
server_kill (struct server *server)
{
  kill (server->pid, SIGKILL);
  ck_assert_int_eq (waitpid (server->pid, NULL, 0), server->pid);
}

static inline int
remove_one (const char *path, const struct stat *status, int type,
            struct FTW *ftw)
{
  (void) status;
  (void) type;
  (void) ftw;
  return remove (path);
}

static inline void
server_stop (struct server *server)
{
  server_kill (server);
  nftw (server->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---------------------------------------------------------- a false one */

/* How it ends what it has to say. */
enum fake_end {
  FAKE_CLOSE, /* at once */
  FAKE_HANG,  /* not at all */
  FAKE_FLOOD, /* with ever more bytes */
  FAKE_DRIP,  /* with a byte now and then */
};

/* What is said to a request: all of the HTTP answer.  NULL: nothing. */
struct fake_answer {
  const char *text;
  enum fake_end end;
};

struct fake {
  int fd;
  uint16_t port;
  char url[64];
  pthread_t thread;
  atomic_bool stopping;
  atomic_int requests; /* with all of their body */
  struct fake_answer range, txn, login;
};

#define FAKE_HEAD "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"

#define FAKE_OK(json) FAKE_HEAD json

/* One request with its body; false: the client has gone. */
static inline bool
fake_hear (int fd, char text[REQUEST_MAX])
{
  size_t size = 0;

  while (size < REQUEST_MAX - 1) {
    ssize_t got = recv (fd, text + size, REQUEST_MAX - 1 - size, 0);
    const char *body, *length;

    if (got <= 0)
      return false;
    size += (size_t) got;
    text[size] = '\0';
    body = strstr (text, "\r\n\r\n");
    length = strstr (text, "Content-Length: ");
    if (body != NULL && length != NULL &&
        size - (size_t) (body + 4 - text) >= strtoul (length + 16, NULL, 10))
      return true;
  }
  return false;
}

static inline void
fake_end (struct fake *fake, int fd, enum fake_end end)
{
  char junk[16384], byte;

  memset (junk, ' ', sizeof junk);
  while (!atomic_load (&fake->stopping) && end != FAKE_CLOSE) {
    struct pollfd polled = { .fd = fd, .events = POLLIN };

    if (end == FAKE_FLOOD && send (fd, junk, sizeof junk, MSG_NOSIGNAL) <= 0)
      break;
    if (end == FAKE_DRIP && send (fd, junk, 1, MSG_NOSIGNAL) <= 0)
      break;
    if (poll (&polled, 1, end == FAKE_FLOOD ? 0 : 10) == 1 &&
        recv (fd, &byte, 1, 0) <= 0)
      break;
  }
}

static inline void *
fake_thread (void *opaque)
{
  struct fake *fake = opaque;
  char *text = malloc (REQUEST_MAX);
  int fd;

  while ((fd = accept (fake->fd, NULL, NULL)) != -1) {
    if (fake_hear (fd, text)) {
      struct fake_answer answer = strstr (text, "/kv/range") ? fake->range
        : strstr (text, "/kv/txn")                           ? fake->txn
                                                             : fake->login;

      fake->requests++;
      if (answer.text != NULL)
        send (fd, answer.text, strlen (answer.text), MSG_NOSIGNAL);
      fake_end (fake, fd, answer.end);
    }
    close (fd);
  }
  free (text);
  return NULL;
}

/* The answers are set before and may be changed between calls. */
static inline void
fake_start (struct fake *fake)
{
  fake->fd = listen_anywhere (&fake->port);
  snprintf (fake->url, sizeof fake->url, "http://127.0.0.1:%u", fake->port);
  atomic_store (&fake->stopping, false);
  ck_assert_int_eq (pthread_create (&fake->thread, NULL, fake_thread, fake), 0);
}

static inline void
fake_stop (struct fake *fake)
{
  atomic_store (&fake->stopping, true);
  shutdown (fake->fd, SHUT_RDWR);
  pthread_join (fake->thread, NULL);
  close (fake->fd);
}

#endif /* DUET_CHECK_ETCD_CLIENT_H */
