/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * floor.c: what the machine can do at best, without any of the contestants.
 * Two processes, loopback TCP, files that are there already.
 *
 *   floor ping SECONDS             4 KiB to a second process, 8 bytes back
 *   floor sync SECONDS FILE        pwrite 4 KiB, fdatasync
 *   floor two SECONDS FILE FILE    the same by two processes at once, each
 *                                  on its own file, each as fast as it can
 *   floor deep SECONDS FILE FILE   two at once, 16 blocks and then one
 *                                  fdatasync: what the disk takes of two
 *                                  copies when much is in flight
 *   floor bulk SECONDS FILE FILE   two at once, 1 MiB in order in pieces of
 *                                  128 KiB, one fdatasync
 *   floor pair SECONDS FILE FILE   4 KiB to a second process, both pwrite
 *                                  and fdatasync, wait for both: the least
 *                                  that a durable replicated write can be
 *   floor flush SECONDS FILE FILE  16 blocks written by both of two processes,
 *                                  then a word to the second, and both
 *                                  fdatasync: only this, the least that a
 *                                  flush of two copies can be, counts
 *   floor relay SECONDS FILE FILE  128 KiB in order, 8 under way, to a second
 *                                  process, which sends them on to a third;
 *                                  both pwrite, the answers come back the
 *                                  same way: the least that a replicated
 *                                  write that is not durable can be
 *   floor stream BYTES             so many through loopback TCP
 *   floor write BYTES FILE         so many written in order, one fdatasync
 *
 * Writes go to random blocks of the file.  Prints one line of JSON
 * (samples.h); of stream and write, each MiB counts as one, of bulk and
 * relay each piece.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <signal.h>
#include <unistd.h>

#include "samples.h"
#include "splitmix.h"

enum {
  BLOCK = 4096,
  MIB = 1024 * 1024,
  DEEP = 16, /* blocks before one fdatasync */
  PIECE = 128 * 1024,
  UNDER_WAY = 8, /* pieces */
};

/* What a writer writes before each fdatasync. */
struct group {
  uint32_t count, size;
  bool is_sequential;
};
static const struct group one = { 1, BLOCK, false };
static const struct group deep = { DEEP, BLOCK, false };
static const struct group bulks = { MIB / PIECE, PIECE, true };

/* Instead of a block's number: fdatasync. */
static const uint64_t flush_word = UINT64_MAX;

static uint8_t buffer[MIB];

/* -------------------------------------------------------------- sockets */

/* Both ends of a TCP connection over loopback. */
static void
tcp_pair (int fd[2])
{
  struct sockaddr_in address = {
    .sin_family = AF_INET,
    .sin_addr.s_addr = htonl (INADDR_LOOPBACK),
  };
  socklen_t length = sizeof address;
  int on = 1, listener = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  if (listener == -1 ||
      bind (listener, (struct sockaddr *) &address, sizeof address) == -1 ||
      getsockname (listener, (struct sockaddr *) &address, &length) == -1 ||
      listen (listener, 1) == -1)
    die ("listen");
  fd[0] = socket (AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd[0] == -1 ||
      connect (fd[0], (struct sockaddr *) &address, sizeof address) == -1)
    die ("connect");
  fd[1] = accept (listener, NULL, NULL);
  if (fd[1] == -1)
    die ("accept");
  close (listener);
  for (int i = 0; i < 2; i++)
    if (setsockopt (fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == -1)
      die ("TCP_NODELAY");
}

static void
send_all (int fd, const void *bytes, size_t length)
{
  while (length > 0) {
    ssize_t sent = send (fd, bytes, length, MSG_NOSIGNAL);

    if (sent <= 0)
      die ("send");
    bytes = (const uint8_t *) bytes + sent;
    length -= (size_t) sent;
  }
}

/* False: the other end is gone. */
static bool
receive_all (int fd, void *bytes, size_t length)
{
  ssize_t received = recv (fd, bytes, length, MSG_WAITALL);

  if (received == 0)
    return false;
  if (received != (ssize_t) length)
    die ("recv");
  return true;
}

/* ---------------------------------------------------------------- files */

static int
open_file (const char *path)
{
  int fd = open (path, O_RDWR | O_CLOEXEC);

  if (fd == -1)
    die ("%s", path);
  return fd;
}

static uint64_t
blocks_of (int fd)
{
  struct stat st;

  if (fstat (fd, &st) == -1 || st.st_size < BLOCK)
    die ("a file with a block in it, please");
  return (uint64_t) st.st_size / BLOCK;
}

static void
write_place (int fd, uint64_t place, uint32_t size)
{
  if (pwrite (fd, buffer, size, (off_t) (place * size)) != (ssize_t) size)
    die ("pwrite");
}

static void
write_block (int fd, uint64_t block)
{
  write_place (fd, block, BLOCK);
}

static void
write_piece (int fd, uint64_t piece)
{
  write_place (fd, piece % (blocks_of (fd) * BLOCK / PIECE), PIECE);
}

static void
make_durable (int fd)
{
  if (fdatasync (fd) == -1)
    die ("fdatasync");
}

static void
write_durably (int fd, uint64_t block)
{
  write_block (fd, block);
  make_durable (fd);
}

/* Groups until END_NS, or for ever without SAMPLES. */
static void
write_groups (int fd, const struct group *group, uint64_t random,
              int64_t end_ns, struct samples *samples)
{
  uint64_t places = blocks_of (fd) * BLOCK / group->size, next = 0, place;
  int64_t begun_ns, ended_ns = now_ns ();

  while (samples == NULL || ended_ns < end_ns) {
    begun_ns = ended_ns;
    for (uint32_t i = 0; i < group->count; i++) {
      place = (group->is_sequential ? next++ : splitmix_next (&random)) %
        places;
      write_place (fd, place, group->size);
    }
    make_durable (fd);
    ended_ns = now_ns ();
    for (uint32_t i = 0; i < group->count && samples != NULL; i++)
      samples_add (samples, begun_ns, ended_ns - begun_ns, false);
  }
}

/* ---------------------------------------------------------- second process */

static pid_t
start_second (void (*run) (int fd, const char *path), int fd[2],
              const char *path)
{
  pid_t parent = getpid (), child = fork ();

  if (child == -1)
    die ("fork");
  if (child == 0) {
    prctl (PR_SET_PDEATHSIG, SIGKILL);
    if (getppid () != parent)
      _exit (EXIT_FAILURE);
    close (fd[0]);
    run (fd[1], path);
    _exit (EXIT_SUCCESS);
  }
  close (fd[1]);
  return child;
}

static void
end (pid_t child)
{
  if (child == 0)
    return;
  kill (child, SIGKILL);
  waitpid (child, NULL, 0);
}

/* Its answer to each message is the first 8 bytes of it. */
static void
run_echo (int fd, const char *path)
{
  (void) path;
  while (receive_all (fd, buffer, BLOCK))
    send_all (fd, buffer, sizeof (uint64_t));
}

/* ... of SIZE, when DO_IT has done to the file what it says. */
static void
answer_each (int fd, const char *path, size_t size,
             void (*do_it) (int file, uint64_t number))
{
  int file = open_file (path);
  uint64_t number;

  while (receive_all (fd, buffer, size)) {
    memcpy (&number, buffer, sizeof number);
    do_it (file, number);
    send_all (fd, &number, sizeof number);
  }
}

static void
run_mirror (int fd, const char *path)
{
  answer_each (fd, path, BLOCK, write_durably);
}

static void
write_or_flush (int file, uint64_t block)
{
  if (block == flush_word)
    make_durable (file);
  else
    write_block (file, block);
}

static void
run_flusher (int fd, const char *path)
{
  answer_each (fd, path, BLOCK, write_or_flush);
}

static void
run_last (int fd, const char *path)
{
  answer_each (fd, path, PIECE, write_piece);
}

/* The relay's end of a connection to the third process. */
static int third_socket = -1;

/* Its answer to a piece is the third process's. */
static void
run_relay (int fd, const char *path)
{
  struct pollfd fds[] = { { .fd = fd, .events = POLLIN },
                          { .fd = third_socket, .events = POLLIN } };
  int file = open_file (path);
  uint64_t piece;

  for (;;) {
    if (poll (fds, 2, -1) == -1)
      die ("poll");
    if (fds[1].revents != 0) {
      if (!receive_all (third_socket, &piece, sizeof piece))
        die ("the third process has ended");
      send_all (fd, &piece, sizeof piece);
    }
    if (fds[0].revents != 0) {
      if (!receive_all (fd, buffer, PIECE))
        return;
      memcpy (&piece, buffer, sizeof piece);
      send_all (third_socket, buffer, PIECE);
      write_piece (file, piece);
    }
  }
}

static void
run_writer (int fd, const char *path)
{
  (void) fd;
  write_groups (open_file (path), &one, 2, 0, NULL);
}

static void
run_deep (int fd, const char *path)
{
  (void) fd;
  write_groups (open_file (path), &deep, 2, 0, NULL);
}

static void
run_bulk (int fd, const char *path)
{
  (void) fd;
  write_groups (open_file (path), &bulks, 2, 0, NULL);
}

static void
run_drain (int fd, const char *path)
{
  ssize_t received;

  (void) path;
  while ((received = recv (fd, buffer, sizeof buffer, 0)) > 0)
    ;
  if (received == -1)
    die ("recv");
}

/* ---------------------------------------------------------------- rounds */

static void
tell (int socket, uint64_t number, size_t length)
{
  memcpy (buffer, &number, sizeof number);
  send_all (socket, buffer, length);
}

static void
await_answer (int socket, uint64_t block)
{
  uint64_t answer;

  if (!receive_all (socket, &answer, sizeof answer) || answer != block) {
    errno = 0;
    die ("the second process has ended");
  }
}

/* One round: the block to SOCKET, to FILE, or both (-1: not). */
static void
play (int socket, int file, uint64_t block)
{
  if (socket != -1)
    tell (socket, block, BLOCK);
  if (file != -1)
    write_durably (file, block);
  if (socket != -1)
    await_answer (socket, block);
}

static void
play_for (double seconds, int socket, int file)
{
  struct samples samples = { .list = NULL };
  uint64_t random = 1, blocks = file != -1 ? blocks_of (file) : 1;
  int64_t start = now_ns (), end = start + (int64_t) (seconds * 1e9);
  int64_t begun, ended = start;

  while ((begun = ended) < end) {
    play (socket, file, splitmix_next (&random) % blocks);
    ended = now_ns ();
    samples_add (&samples, begun, ended - begun, false);
  }
  samples_print (&samples, start, ended + 1, BLOCK);
  samples_free (&samples);
}

static void
flush_for (double seconds, int socket, int file)
{
  struct samples samples = { .list = NULL };
  uint64_t random = 1, blocks = blocks_of (file), block;
  int64_t start = now_ns (), end = start + (int64_t) (seconds * 1e9), begun;

  do {
    for (int i = 0; i < DEEP; i++) {
      block = splitmix_next (&random) % blocks;
      tell (socket, block, BLOCK);
      write_block (file, block);
      await_answer (socket, block);
    }
    begun = now_ns ();
    tell (socket, flush_word, BLOCK);
    make_durable (file);
    await_answer (socket, flush_word);
    samples_add (&samples, begun, now_ns () - begun, false);
  } while (now_ns () < end);
  samples_print (&samples, start, now_ns () + 1, 0);
  samples_free (&samples);
}

static void
relay_for (double seconds, int socket)
{
  struct samples samples = { .list = NULL };
  int64_t start = now_ns (), end = start + (int64_t) (seconds * 1e9);
  int64_t begun[UNDER_WAY], ended = start;
  uint64_t piece;

  for (piece = 0; piece < UNDER_WAY; piece++) {
    begun[piece] = now_ns ();
    tell (socket, piece, PIECE);
  }
  for (; ended < end; piece++) {
    await_answer (socket, piece - UNDER_WAY);
    ended = now_ns ();
    samples_add (&samples, begun[piece % UNDER_WAY],
                 ended - begun[piece % UNDER_WAY], false);
    begun[piece % UNDER_WAY] = ended;
    tell (socket, piece, PIECE);
  }
  samples_print (&samples, start, ended + 1, PIECE);
  samples_free (&samples);
}

/* Beside a second process that does the same to its own file. */
static void
write_for (double seconds, int file, const struct group *group)
{
  struct samples samples = { .list = NULL };
  int64_t start = now_ns (), end = start + (int64_t) (seconds * 1e9);

  write_groups (file, group, 1, end, &samples);
  samples_print (&samples, start, now_ns () + 1, group->size);
  samples_free (&samples);
}

/* ------------------------------------------------------------------ bulk */

static void
bulk (uint64_t bytes, int socket, int file)
{
  struct samples samples = { .list = NULL };
  int64_t start = now_ns (), begun, ended = start;

  for (uint64_t i = 0; i < bytes / MIB; i++) {
    begun = ended;
    if (socket != -1)
      send_all (socket, buffer, MIB);
    else if (pwrite (file, buffer, MIB, (off_t) (i * MIB)) != MIB)
      die ("pwrite");
    ended = now_ns ();
    samples_add (&samples, begun, ended - begun, false);
  }
  if (file != -1 && fdatasync (file) == -1)
    die ("fdatasync");
  if (socket != -1) {
    shutdown (socket, SHUT_WR);
    if (recv (socket, buffer, 1, 0) != 0)
      die ("recv");
  }
  samples_print (&samples, start, now_ns (), MIB);
  samples_free (&samples);
}

int
main (int argc, char **argv)
{
  void (*second) (int, const char *) = NULL;
  const struct group *group = NULL;
  const char *what = argc > 2 ? argv[1] : "";
  int fd[2] = { -1, -1 }, to[2] = { -1, -1 }, file = -1;
  pid_t child = 0, third = 0;

  if (strcmp (what, "ping") == 0 && argc == 3)
    second = run_echo;
  else if (strcmp (what, "stream") == 0 && argc == 3)
    second = run_drain;
  else if (strcmp (what, "two") == 0 && argc == 5) {
    second = run_writer;
    group = &one;
  }
  else if (strcmp (what, "deep") == 0 && argc == 5) {
    second = run_deep;
    group = &deep;
  }
  else if (strcmp (what, "bulk") == 0 && argc == 5) {
    second = run_bulk;
    group = &bulks;
  }
  else if (strcmp (what, "pair") == 0 && argc == 5)
    second = run_mirror;
  else if (strcmp (what, "flush") == 0 && argc == 5)
    second = run_flusher;
  else if (strcmp (what, "relay") == 0 && argc == 5)
    second = run_relay;
  else if ((strcmp (what, "sync") != 0 && strcmp (what, "write") != 0) ||
           argc != 4)
    die ("usage: floor ping|sync|two|deep|bulk|pair|flush|relay SECONDS "
         "or stream|write BYTES, FILE...");
  if (argc > 3)
    file = open_file (argv[3]);
  if (second == run_relay) {
    tcp_pair (to);
    third = start_second (run_last, to, argv[3]);
    third_socket = to[0];
  }
  if (second != NULL) {
    tcp_pair (fd);
    child = start_second (second, fd, argc > 4 ? argv[4] : NULL);
  }
  if (second == run_drain || strcmp (what, "write") == 0)
    bulk (strtoull (argv[2], NULL, 10), fd[0], file);
  else if (second == run_flusher)
    flush_for (strtod (argv[2], NULL), fd[0], file);
  else if (second == run_relay)
    relay_for (strtod (argv[2], NULL), fd[0]);
  else if (group != NULL)
    write_for (strtod (argv[2], NULL), file, group);
  else
    play_for (strtod (argv[2], NULL), fd[0], file);
  end (child);
  end (third);
  return 0;
}
