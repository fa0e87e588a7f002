/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check-refusals.c: what the users of two nodes that refuse each other are
 * told.
 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "generation.h"

/* Each refusal names a node at fault, and the two sides do not say the
 * same where only one of them can act.
 */
START_TEST (refusals_say_which_side)
{
  struct gen_record full = { .node = 1, .data = DATA_BLANK, .has_data = true };
  struct gen_record empty = { .node = 2, .data = DATA_BLANK };
  struct gen_record both = { .node = 3, .data = DATA_CURRENT, .both = true };
  struct gen_record broken = { .node = 4, .data = DATA_FAILED };
  struct gen_record half = { .node = 5, .data = DATA_SYNCING };
  struct gen_record paired = { .node = 6, .data = DATA_CURRENT, .peer = 9 };
  const struct {
    enum gen_verdict verdict;
    const struct gen_record *me, *peer;
    const char *begin;
  } cases[] = {
    { GEN_REFUSE_DATA, &full, &both, "this node is blank, but" },
    { GEN_REFUSE_DATA, &both, &full, "the peer is blank, but" },
    { GEN_REFUSE_DATA, &full, &full, "both nodes are blank" },
    { GEN_REFUSE_BLANK, &empty, &both, "this node is blank, and the peer" },
    { GEN_REFUSE_BLANK, &both, &empty, "the peer is blank, and this node" },
    { GEN_REFUSE_STALE, &broken, &both, "this copy is on a disk" },
    { GEN_REFUSE_STALE, &both, &broken, "this copy lacks writes" },
    { GEN_REFUSE_STALE, &broken, &broken, "both copies are on disks" },
    { GEN_REFUSE_STALE, &half, &half, "neither copy is complete" },
    { GEN_REFUSE_STALE, &half, &empty, "this copy is not complete" },
    { GEN_REFUSE_STALE, &empty, &half, "the peer's copy is not complete" },
    { GEN_REFUSE_NODE, &paired, &both, "the peer is not the node" },
    { GEN_REFUSE_NODE, &both, &paired, "the peer's copy is paired" },
    { GEN_REFUSE_SIZE, &both, &full, "the peer's volume has another size" },
    { GEN_REFUSE_REGION, &both, &full, "the peer uses another region" },
    { GEN_REFUSE_VOLUME, &both, &paired, "the peer belongs to another" },
    { GEN_REFUSE_SELF, &both, &both, "the peer has this node's own id" },
    { GEN_REFUSE_ARBITER, &both, &paired, "the peer has another arbiter=, " },
    { GEN_REFUSE_DURABILITY, &both, &both, "the peer has another durability" },
  };

  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    const char *text = gen_refusal_text (cases[i].verdict, cases[i].me,
                                         cases[i].peer);

    ck_assert_msg (strncmp (text, cases[i].begin, strlen (cases[i].begin)) == 0,
                   "%zu: %s", i, text);
  }
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("refusals");
  TCase *texts = tcase_create ("texts");
  SRunner *runner;
  int failed;

  tcase_add_test (texts, refusals_say_which_side);
  suite_add_tcase (suite, texts);
  runner = srunner_create (suite);
  srunner_run_all (runner, CK_ENV);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
