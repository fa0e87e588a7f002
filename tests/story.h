/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * story.h: stories: short scripted scenarios on the simulator's parts.
 *
 *   story.c        which stories to run, and whether they came out as told
 *   story-script.c when each step is taken
 *   story-step.c   what the steps do, and how they are written
 *   story-admin.c  what the administrator asks for
 *   story-trace.c  what happens, in words
 *
 * A story is a text file in tests/stories.  A line at the left margin is
 * a step, an indented line is what happened after the step above it, and
 * lines that begin with '#' and empty lines are for the reader.  The
 * story is run, and the file must come out again, letter by letter.
 *
 * The world is the simulator's, with every delay the typical one and no
 * random fault (struct sim_script), and all its invariants are looked at.
 */
#ifndef DUET_STORY_H
#define DUET_STORY_H

#include "sim.h"

enum {
  STORY_TEXT_MAX = 256 * 1024, /* bytes of a story with its trace */
  STORY_LINE_MAX = 200,        /* bytes of a line of the trace */
  STORY_LINES_MAX = 1024,      /* lines that one step may bring */
};

/* What a story came to, shared with the process that runs it. */
struct story_text {
  size_t length;
  char bytes[STORY_TEXT_MAX];
};
extern struct story_text *story_text;

/* story-script.c */
extern const struct sim_script story_script;
void script_load (const char *path); /* before the run */
/* A step that is being taken goes on until TEXT has been said, or for MS,
 * or until CLIENT is served by a pair in sync.
 */
void script_wait_said (const struct sim *sim, const char *text);
void script_wait_ms (const struct sim *sim, uint64_t ms);
void script_wait_given (const struct sim *sim, int client);

/* story-step.c */
struct step_arguments {
  int node, client;
  uint32_t number[2];
  uint32_t numbers;
  const char *rest; /* of the line */
};
struct step {
  const char *pattern;
  void (*run) (struct sim *sim, const struct step_arguments *arguments);
  bool looks; /* takes no time, and nothing comes of it */
};
/* NULL: there is no such step. */
const struct step *step_find (const char *line,
                              struct step_arguments *arguments);
void step_help (void); /* all that there are */
void step_begin (struct sim *sim);
/* The pair is in sync and the client has been answered by it, so that it
 * has a generation to show.
 */
bool step_given (struct sim *sim, int client);
void step_keep_faults (struct sim *sim);

/* story-trace.c */
void trace_after (struct sim *sim);
void trace_event (struct sim *sim, struct node *node,
                  const struct core_event *event);
void trace_action (struct sim *sim, struct node *node,
                   const struct core_action *action);
/* The client starts from nothing or from its state file. */
void trace_client_starts (const struct client *client);
/* The node's disk is an empty one. */
void trace_new_disk (const struct node *node);
/* Nothing is written down while QUIET. */
void trace_quiet (bool quiet);
/* A line that is not part of the trace. */
void trace_copy (const char *line);
/* A step begins: what was said before it is past. */
void trace_step (void);
/* It waits until regions are cleared. */
void trace_clearing (void);
/* The step is over: a long tail that only repeats is cut. */
void trace_step_end (void);
/* When something was last said that this step had not seen yet. */
uint64_t trace_news_us (void);
/* Has TEXT been said since *FROM?  Then *FROM moves behind it. */
bool trace_said (const char *text, uint32_t *from);
/* Lines of this step so far. */
uint32_t trace_count (void);
/* What OP is called: "write 3 of block 7". */
void trace_op_name (const struct sim *sim, uint32_t op, char *name,
                    size_t size);

/* story-admin.c */
void step_ask_switch (struct sim *sim, const struct step_arguments *arguments);
void step_ask_switch_plain (struct sim *sim,
                            const struct step_arguments *arguments);
void step_ask_force (struct sim *sim, const struct step_arguments *arguments);
void step_ask_discard (struct sim *sim, const struct step_arguments *arguments);
void step_ask_pause (struct sim *sim, const struct step_arguments *arguments);
void step_ask_resume (struct sim *sim, const struct step_arguments *arguments);
void step_ask_resync (struct sim *sim, const struct step_arguments *arguments);
void step_ask_verify (struct sim *sim, const struct step_arguments *arguments);
void step_ask_verify_repair (struct sim *sim,
                             const struct step_arguments *arguments);
void step_volume (struct sim *sim, const struct step_arguments *arguments);
void step_room (struct sim *sim, const struct step_arguments *arguments);
void step_ask_resize (struct sim *sim, const struct step_arguments *arguments);
void step_expect_size (struct sim *sim, const struct step_arguments *arguments);

#endif /* DUET_STORY_H */
