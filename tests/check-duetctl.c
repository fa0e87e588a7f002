/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-duetctl.c: duetctl as people call it: what it asks of a node, what
 * it prints, and its exit status.
 */
#include <jansson.h>
#include <poll.h>
#include <pthread.h>
#include <sys/wait.h>

#include "check-control.h"
#include "meta.h"

/* Another process stands between this thread and the fake engine, which
 * the thread sanitizer does not see.
 */
static void
hand_over (void)
{
  pthread_mutex_lock (&fake_lock);
  pthread_mutex_unlock (&fake_lock);
}

/* Run it with ARGUMENTS; its output, both kinds, in OUTPUT. */
static int
run_duetctl (const char *arguments, char output[ANSWER_BYTES])
{
  const char *build = getenv ("BUILD");
  char command[512];
  size_t length;
  int status;

  snprintf (command, sizeof command, "%s/duetctl %s 2>&1",
            build != NULL ? build : "build", arguments);

  hand_over ();
  FILE *pipe = popen (command, "re");
  ck_assert_ptr_nonnull (pipe);
  length = fread (output, 1, ANSWER_BYTES - 1, pipe);
  output[length] = '\0';
  status = pclose (pipe);
  hand_over ();
  ck_assert (WIFEXITED (status));
  return WEXITSTATUS (status);
}

static const struct {
  const char *arguments; /* %s: the socket */
  int status;
  const char *output[8]; /* parts that must be there */
} runs[] = {
  { "-s %s status",
    0,
    { "0000000000000abc, 256 GiB\n", "primary, serving clients\n",
      "the peer is in sync\n", "7.0000000000000077\n",
      "0000000000001111 (this node), fedcba9876543210\n",
      "fedcba9876543210 at 127.0.0.1:7001, connected, backup\n",
      "[######..............] 33 %, 1 KiB of 3 KiB, 512 B/s, 0:04 left\n",
      "2.0 s\n" } },
  { "-s %s status --watch=2",
    0,
    { "sent        3 frames, 1 B\n", "\n\nvolume      0000000000000abc" } },
  { "-s %s.not status --watch", 3, { "no such socket" } },
  { "status --json --socket=%s", 0, { "\"volume\": \"0000000000000abc\"" } },
  { "--help", 0, { "Usage:", "status", "Exit status" } },
  { "--version", 0, { "duetctl " } },
  { "", 2, { "command is missing", "--help" } },
  { "status", 2, { "-s SOCKET", "--help" } },
  { "-s %s dance", 2, { "no such command" } },
  { "-s %s status more", 2, { "too many" } },
  { "-s %s --unknown status", 2, { "--help" } },
  { "-s %s status --end-plain", 2, { "not for this command", "--help" } },
  { "-s %s switchover --to=nowhere", 2, { "--to=this" } },
  { "-s %s events --once",
    0,
    { "start       started\n", "state       solo: alone\n", "01.000  " } },
  { "-s %s events --once --json",
    0,
    { "{\"number\":1,\"time_ms\":1000,\"what\":\"start\"",
      "\"generation\":{\"epoch\":3,\"id\":\"0000000000000033\"}}\n" } },
  { "-s %s.not events", 3, { "no such socket" } },
  { "-s %s promote", 2, { "does not serve", "--force" } },
  { "-s %s discard", 1, { "is primary, not diverged" } },
  { "-s %s discard --yes", 1, { "is primary, not diverged" } },
  { "-s %s resync", 2, { "without being asked", "say --full" } },
  { "-s %s pause --full", 2, { "not for this command" } },
  { "-s %s verify --rate=fast", 2, { "not a number of bytes" } },
  { "-s %s verify --rate=5MM", 2, { "not a number of bytes" } },
  { "-s %s verify --yes", 2, { "not for this command" } },
  { "dump-meta", 2, { "say which FILE" } },
  { "dump-meta %s.not", 1, { "No such file" } },
  { "dump-meta %s", 1, { "No such device" } }, /* a socket */
  { "dump-meta /dev/zero", 1, { "a regular file" } },
  { "dump-meta --rate=1 %s.not", 2, { "not for this command" } },
  { "-s %s wait primary", 0, { "" } },
  { "-s %s wait primary --timeout 0.5", 0, { "" } },
  { "-s %s wait serving --timeout=0", 0, { "" } },
  { "-s %s wait insync --timeout=0", 4, { "in vain", "is primary: the peer" } },
  { "-s %s wait solo --timeout=0.3", 4, { "in vain for solo" } },
  { "-s %s.not wait solo --timeout=0.3", 4, { "cannot be reached" } },
  { "-s %s wait", 2, { "say which STATE", "--help" } },
  { "-s %s wait nowhere", 2, { "no such state" } },
  { "-s %s wait solo --timeout=soon", 2, { "not a number of seconds" } },
  { "-s %s wait solo --timeout=-1", 2, { "not a number of seconds" } },
  { "-s %s wait solo --json", 2, { "not for this command" } },
  { "-s %s.not status", 3, { "no such socket", "running" } },
  { "-s %s status > /dev/full", 1, { "" } },
};

START_TEST (duetctl_shows_and_says)
{
  static char output[ANSWER_BYTES];
  char arguments[256];

  start_control ();
  /* The table is ours, and each has at most one %s. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf (arguments, sizeof arguments, runs[_i].arguments, path);
#pragma GCC diagnostic pop
  ck_assert_int_eq (run_duetctl (arguments, output), runs[_i].status);
  for (int i = 0; i < 8 && runs[_i].output[i] != NULL; i++)
    ck_assert_msg (strstr (output, runs[_i].output[i]) != NULL,
                   "no \"%s\" in:\n%s", runs[_i].output[i], output);
}
END_TEST

/* A peer of duetctl that says ANSWER and hangs up. */
static void *
answer_once (void *argument)
{
  const char *const *answer = argument;
  struct sockaddr_un address;
  char line[LINE_BYTES];
  int fd;
  int listener = make_socket (&address);

  ck_assert_int_eq (
    bind (listener, (struct sockaddr *) &address, sizeof address), 0);
  ck_assert_int_eq (listen (listener, 1), 0);
  fd = accept (listener, NULL, NULL);
  ck_assert_int_ne (fd, -1);
  ck_assert_int_gt (recv (fd, line, sizeof line, 0), 0);
  send_bytes (fd, *answer, strlen (*answer));
  close (fd);
  close (listener);
  return NULL;
}

/* What it asks of the node, and what it makes of the answer. */
static const struct {
  const char *arguments; /* %s: the socket */
  const char *refusal;
  struct core_wish wish;
  int status;
  const char *output;
} wishes[] = {
  { "-s %s switchover",
    "",
    { .to = ADMIN_TO_OTHER },
    0,
    "node is primary now" },
  { "-s %s switchover --to=this", "", { .to = ADMIN_TO_ME }, 0, "it took" },
  { "-s %s switchover --to peer --end-plain",
    "",
    { .to = ADMIN_TO_PEER, .end_plain = true },
    0,
    "it took" },
  { "-s %s switchover --to other --json",
    "",
    { .to = ADMIN_TO_OTHER },
    0,
    "\"took_us\": " },
  { "-s %s promote --force",
    "",
    { .kind = ADMIN_FORCE },
    0,
    "this node is primary now: the peer" },
  { "-s %s promote --force --json",
    "",
    { .kind = ADMIN_FORCE },
    0,
    "\"status\": {" },
  { "-s %s promote --force",
    "no peer",
    { .kind = ADMIN_FORCE },
    1,
    "says: no peer" },
  { "-s %s discard --yes",
    "",
    { .kind = ADMIN_DISCARD },
    0,
    "These writes would be lost" },
  { "-s %s discard --yes --json",
    "",
    { .kind = ADMIN_DISCARD },
    0,
    "\"dirty_blocks\": 3" },
  { "-s %s discard --yes",
    "",
    { .kind = ADMIN_DISCARD },
    0,
    "in at most 3 blocks, 12 KiB." },
  { "-s %s pause", "", { .kind = ADMIN_PAUSE }, 0, "this node is primary now" },
  { "-s %s pause", "no link", { .kind = ADMIN_PAUSE }, 1, "says: no link" },
  { "-s %s resume --json", "", { .kind = ADMIN_RESUME }, 0, "\"status\": {" },
  { "-s %s resync --full --yes",
    "",
    { .kind = ADMIN_RESYNC },
    0,
    "this node is primary now" },
  { "-s %s resync --full --yes --json",
    "",
    { .kind = ADMIN_RESYNC },
    0,
    "\"status\": {" },
  { "-s %s switchover",
    "no: 50% less",
    { .to = ADMIN_TO_OTHER },
    1,
    "the node says: no: 50% less" },
};

/* What is typed: into PATH.says. */
static void
say (const char *line)
{
  char file[128];

  snprintf (file, sizeof file, "%s.says", path);

  FILE *says = fopen (file, "we");
  ck_assert_ptr_nonnull (says);
  fputs (line, says);
  ck_assert_int_eq (fclose (says), 0);
}

/* Nobody, or somebody who does not say yes: nothing is asked for. */
START_TEST (duetctl_asks_before_a_discard)
{
  static const char *const sayings[] = { "", "y\n", "no\n", "yes!\n" };
  static char output[ANSWER_BYTES];
  char arguments[256];

  start_control ();
  fake.view.diverged = true;
  wished.kind = ADMIN_SWITCH;
  for (int i = 0; i < COUNT (sayings); i++) {
    snprintf (arguments, sizeof arguments, "-s %s discard < %s.says", path,
              path);
    say (sayings[i]);
    ck_assert_int_eq (run_duetctl (arguments, output), 1);
    ck_assert_msg (strstr (output, "nothing was changed") != NULL, "%s",
                   output);
    ck_assert_int_eq (wished.kind, ADMIN_SWITCH);
  }
  say ("yes\n");
  ck_assert_int_eq (run_duetctl (arguments, output), 0);
  ck_assert_int_eq (wished.kind, ADMIN_DISCARD);
  snprintf (arguments, sizeof arguments, "%s.says", path);
  ck_assert_int_eq (unlink (arguments), 0);
}
END_TEST

START_TEST (duetctl_asks_before_a_full_resync)
{
  static char output[ANSWER_BYTES];
  char arguments[256];

  start_control ();
  wished.kind = ADMIN_SWITCH;
  snprintf (arguments, sizeof arguments, "-s %s resync --full < %s.says", path,
            path);
  say ("no\n");
  ck_assert_int_eq (run_duetctl (arguments, output), 1);
  ck_assert_msg (strstr (output, "node fedcba9876543210") != NULL, "%s",
                 output);
  ck_assert_msg (strstr (output, "this one, 256 GiB by hash") != NULL, "%s",
                 output);
  ck_assert_msg (strstr (output, "nothing was changed") != NULL, "%s", output);
  ck_assert_int_eq (wished.kind, ADMIN_SWITCH);
  say ("yes\n");
  ck_assert_int_eq (run_duetctl (arguments, output), 0);
  ck_assert_int_eq (wished.kind, ADMIN_RESYNC);
  snprintf (arguments, sizeof arguments, "%s.says", path);
  ck_assert_int_eq (unlink (arguments), 0);
}
END_TEST

START_TEST (duetctl_tells_wishes)
{
  static char output[ANSWER_BYTES];
  char arguments[256];

  start_control ();
  fake_refusal = wishes[_i].refusal;
  wished = (struct core_wish){ .end_plain = !wishes[_i].wish.end_plain };
  fake.view.diverged = wishes[_i].wish.kind == ADMIN_DISCARD;
  fake.view.fork = 1;
  fake.view.dirty_bytes = 3 * 4096;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
  snprintf (arguments, sizeof arguments, wishes[_i].arguments, path);
#pragma GCC diagnostic pop
  ck_assert_int_eq (run_duetctl (arguments, output), wishes[_i].status);
  ck_assert_msg (strstr (output, wishes[_i].output) != NULL,
                 "no \"%s\" in:\n%s", wishes[_i].output, output);
  ck_assert_int_eq (wished.kind, wishes[_i].wish.kind);
  ck_assert_int_eq (wished.to, wishes[_i].wish.to);
  ck_assert_int_eq (wished.end_plain, wishes[_i].wish.end_plain);
}
END_TEST

static const struct {
  const char *answer;
  int status;
  const char *output;
} answers[] = {
  { "{\"error\": \"not now\"}\n", 1, "the node says: not now" },
  { "", 3, "hung up" },
  { "{\"state\": \"pri", 3, "hung up" },
  { "HTTP/1.0 400 Bad Request\n", 3, "makes no sense" },
  { "[]\n", 3, "makes no sense" },
  { "{}\n", 0, "state       -" },
};

START_TEST (duetctl_takes_any_answer)
{
  static char output[ANSWER_BYTES];
  char arguments[256];
  pthread_t thread;

  ck_assert_int_eq (pthread_create (&thread, NULL, answer_once,
                                    (void *) (uintptr_t) &answers[_i].answer),
                    0);
  for (int i = 0; i < PATIENCE_S * 100 && access (path, F_OK) == -1; i++)
    poll (NULL, 0, 10);
  snprintf (arguments, sizeof arguments, "-s %s status", path);
  ck_assert_int_eq (run_duetctl (arguments, output), answers[_i].status);
  ck_assert_int_eq (pthread_join (thread, NULL), 0);
  ck_assert_msg (strstr (output, answers[_i].output) != NULL,
                 "no \"%s\" in:\n%s", answers[_i].output, output);
  /* Now that it is stale. */
  ck_assert_int_eq (run_duetctl (arguments, output), 3);
  ck_assert_msg (strstr (output, "nobody listens") != NULL, "%s", output);
  ck_assert_int_eq (unlink (path), 0);
}
END_TEST

/* ------------------------------------------------------- metadata files */

/* A volume of four map pages, the first of which has two bits set. */
static const struct gen_record meta_record = {
  .volume = 0xabc,
  .node = 0x1111,
  .peer = 0x2222,
  .size = UINT64_C (400) << 30,
  .region_size = 4 << 20,
  .data = DATA_CURRENT,
  .primary = 0x1111,
  .both = true,
  .answered = true,
  .history_count = 2,
  .history = { { .gen = { 8, 0x88 }, .kind = GEN_JOIN, .made_s = 1700000000 },
               { .gen = { 7, 0x77 },
                 .client = 0xc1,
                 .session = 3,
                 .kind = GEN_SOLO } },
  .attempt = { .gen = { 9, 0x99 }, .kind = GEN_SOLO },
  .attempt_revision = 42,
};

static void
put_bytes (FILE *file, long offset, const uint8_t *bytes, size_t length)
{
  ck_assert_int_eq (fseek (file, offset, SEEK_SET), 0);
  ck_assert_uint_eq (fwrite (bytes, 1, length, file), length);
}

static void
put_meta (FILE *file)
{
  struct gen_record older = meta_record;
  uint8_t bytes[META_PAGE], bits[MARKS_PAGE_BYTES] = { 0x81 };

  meta_encode (&meta_record, 12, bytes);
  put_bytes (file, META_SLOT, bytes, META_SLOT);
  older.attempt.kind = GEN_NONE;
  meta_encode (&older, 11, bytes);
  put_bytes (file, 0, bytes, META_SLOT);
  for (uint32_t page = 0; page < 4; page++) {
    meta_encode_page (page, bits, bytes);
    put_bytes (file, META_MAP_OFFSET + (long) page * META_PAGE, bytes,
               META_PAGE);
    bits[0] = 0;
  }
}

static const struct {
  long damage; /* offset of a byte that is changed; -1: none */
  int status;
  const char *parts[9]; /* that it says */
} metas[] = {
  { -1,
    0,
    { ", not in use\n", "slot 0      valid, sequence 11, ",
      "slot 1      valid, sequence 12, 8.0000000000000088 (join), the newest\n",
      "volume      0000000000000abc, 400 GiB in regions of 4 MiB\n",
      "data        current: holds all",
      "members     0000000000001111 (this node), 0000000000002222\n",
      "attempt     9.0000000000000099 (solo), asked of etcd at revision 42",
      "            7.0000000000000077 (solo), for client 00000000000000c1, "
      "session 3\n",
      "map         2 of 102400 regions set: at most 8 MiB may differ" } },
  { META_SLOT + 200,
    0,
    { "slot 1      checksum mismatch\n",
      "sequence 11, 8.0000000000000088 "
      "(join), the newest\n" } },
  /* Of the last page only what the volume needs counts. */
  { META_MAP_OFFSET + 3 * META_PAGE + 5,
    0,
    { "4482 of 102400 regions set", "1 of 4 pages are damaged" } },
  { META_MAP_OFFSET + META_PAGE,
    0,
    { "32642 of 102400 regions set", "1 of 4 pages are damaged" } },
  { -2, 1, { "never written", "begins its creation again" } },
  { -3, 1, { "not duet metadata", "FILE.duet beside" } },
};

START_TEST (duetctl_shows_metadata)
{
  static char output[ANSWER_BYTES];
  static const uint8_t other[] = "another file";
  char arguments[256], name[128];
  FILE *file;

  snprintf (name, sizeof name, "%s.duet", path);
  file = fopen (name, "w+e");
  ck_assert_ptr_nonnull (file);
  if (metas[_i].damage >= -1)
    put_meta (file);
  if (metas[_i].damage >= 0)
    put_bytes (file, metas[_i].damage, (const uint8_t *) "!", 1);
  if (metas[_i].damage == -3)
    put_bytes (file, 0, other, sizeof other);
  ck_assert_int_eq (fclose (file), 0);
  snprintf (arguments, sizeof arguments, "dump-meta %s", name);
  ck_assert_int_eq (run_duetctl (arguments, output), metas[_i].status);
  for (int i = 0; i < 9 && metas[_i].parts[i] != NULL; i++)
    ck_assert_msg (strstr (output, metas[_i].parts[i]) != NULL,
                   "no \"%s\" in:\n%s", metas[_i].parts[i], output);
  snprintf (arguments, sizeof arguments, "dump-meta --json %s 2> /dev/null",
            name);
  run_duetctl (arguments, output);

  json_t *dump = json_loads (output, JSON_DISABLE_EOF_CHECK, NULL);
  ck_assert_ptr_nonnull (dump);
  ck_assert_int_eq (json_is_object (json_object_get (dump, "record")),
                    metas[_i].status == 0);
  ck_assert (json_is_false (json_object_get (dump, "locked")));
  json_decref (dump);
  ck_assert_int_eq (unlink (name), 0);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("duetctl");
  TCase *tcase = tcase_create ("duetctl");
  SRunner *runner;
  int failed;

  suite_add_tcase (suite, tcase);
  tcase_set_timeout (tcase, 2 * PATIENCE_S);
  tcase_add_checked_fixture (tcase, make_folder, remove_folder);
  tcase_add_loop_test (tcase, duetctl_shows_and_says, 0, COUNT (runs));
  tcase_add_test (tcase, duetctl_asks_before_a_discard);
  tcase_add_test (tcase, duetctl_asks_before_a_full_resync);
  tcase_add_loop_test (tcase, duetctl_tells_wishes, 0, COUNT (wishes));
  tcase_add_loop_test (tcase, duetctl_takes_any_answer, 0, COUNT (answers));
  tcase_add_loop_test (tcase, duetctl_shows_metadata, 0, COUNT (metas));
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
