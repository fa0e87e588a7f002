/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-calls.h: the end of sim.h: what those files of the simulator are called
 * for that play the clients and the administrator, and that look whether all
 * is right.
 */
#ifndef DUET_SIM_CALLS_H
#define DUET_SIM_CALLS_H

/* sim-nbd.c */
struct nbd *nbd_connect (struct sim *sim, struct client *client, int node,
                         const struct core_open *open);
void nbd_request (struct sim *sim, struct nbd *nbd, uint32_t op);
void nbd_hang_up (struct sim *sim, struct nbd *nbd); /* the client */
void nbd_cut (struct sim *sim, struct nbd *nbd);     /* the network */
void nbd_stall_one (struct sim *sim, struct client *client, uint32_t dice,
                    uint64_t length_us);
void nbd_delay_next (struct sim *sim, struct client *client, uint64_t more_us);
void nbd_lose (struct nbd *nbd); /* what is on its way to the node */
void nbd_opened (struct sim *sim, struct nbd *nbd, int error,
                 struct gen_id gen);
void nbd_reply (struct sim *sim, struct nbd *nbd, uint32_t op, int error,
                struct gen_id gen, uint32_t *tags);
void nbd_server_hangs_up (struct sim *sim, struct nbd *nbd);
void nbd_server_died (struct sim *sim, struct nbd *nbd, bool silent);
void nbd_request_ended (struct sim *sim, struct nbd *nbd);

/* sim-client.c */
void proxy_start (struct sim *sim, struct client *client, bool amnesia);
void proxy_crash (struct sim *sim, struct client *client);
void proxy_message (struct sim *sim, struct nbd *nbd, struct message *message);
void proxy_refused (struct sim *sim, struct nbd *nbd);
void proxy_pump (struct sim *sim, struct client *client);
void proxy_begin (struct sim *sim, struct client *client, uint32_t slot);

/* sim-plain.c */
void plain_start (struct sim *sim, struct client *client);
void plain_crash (struct sim *sim, struct client *client);
void plain_message (struct sim *sim, struct nbd *nbd, struct message *message);
void plain_refused (struct sim *sim, struct nbd *nbd);

/* sim-load.c */
void load_init (struct sim *sim);
void load_start (struct sim *sim, struct client *client, bool amnesia);
void load_crash (struct sim *sim, struct client *client);
void load_message (struct sim *sim, struct nbd *nbd, struct message *message);
void load_refused (struct sim *sim, struct nbd *nbd);
void load_answered (struct sim *sim, struct client *client, uint32_t op,
                    int error, uint32_t *tags);
void load_sent (struct sim *sim, uint32_t op); /* before it is */
/* The client gives up all its requests: they have no answer. */
void load_dropped (struct sim *sim, struct client *client);
bool load_idle (const struct sim *sim);

/* sim-admin.c */
void admin_ask (struct sim *sim, struct node *node,
                const struct core_wish *wish);
void admin_done (struct sim *sim, struct node *node,
                 const struct core_action *action);
void admin_resolve (struct sim *sim);
void admin_resume (struct sim *sim);
void admin_check_verify (struct sim *sim, const struct node *node);

/* sim-resize.c */
void resize_act (struct sim *sim, struct node *node,
                 const struct core_action *action);
void resize_crash (struct sim *sim, struct node *node);
void resize_start (struct sim *sim, struct node *node,
                   struct gen_record *record);
void resize_record (struct sim *sim, struct node *node,
                    const struct gen_record *record);
void resize_check_step (struct sim *sim, struct node *node);
void resize_shown (struct sim *sim, const struct node *node, struct nbd *nbd);
void resize_answered (struct sim *sim, const struct node *node,
                      const struct op *op);
void resize_counts (struct client *client);
bool resize_fits (struct sim *sim, struct client *client,
                  const struct nbd *nbd);
uint32_t resize_cells (const struct sim *sim);
void resize_reconnect (struct sim *sim, bool all);
bool resize_goes_on (const struct sim *sim);
void resize_check_end (struct sim *sim);
void resize_strike (struct sim *sim, const struct fault *fault);

/* sim-check.c */
void check_cell (struct sim *sim, uint32_t cell);
void check_map (struct sim *sim);
void check_durable (struct sim *sim, int node, uint32_t cell, uint32_t tag);
void check_action (struct sim *sim, struct node *node,
                   const struct core_action *action);
void check_accepted (struct sim *sim, int node, struct gen_id gen);
void check_record (struct sim *sim, int node, const struct gen_record *record);
void check_begin (struct sim *sim, const struct gen_record *record);
bool is_target (const struct node *node);
void check_identical (struct sim *sim);
bool check_converged (struct sim *sim, const char **why);
bool check_may_forget (struct sim *sim);
bool check_diverged (struct sim *sim);
void check_handshake (struct sim *sim, const struct node *node);

/* sim-check-sync.c */
bool cells_meet (uint32_t first, uint32_t count, uint32_t other,
                 uint32_t other_count);
void check_equal (struct sim *sim, const struct node *node);
void check_chunk_begins (struct sim *sim, const struct node *node,
                         const struct core_action *action);
void check_beside_chunks (struct sim *sim, const struct node *node,
                          const struct op *op);

/* sim-history.c */
void history_check (struct sim *sim);

#endif /* DUET_SIM_CALLS_H */
