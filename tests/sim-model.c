/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * sim-model.c: the fault models: what each mode allows to happen, and so
 * what duet promises to survive.
 */
#include "sim.h"

const struct model sim_models[MODE_COUNT] = {
  [MODE_ONE] = {
    .name = "one",
    .text = "one proxied client; nodes and client die, lose power, stop,"
            " hang and restart in any number and order; links break, are"
            " cut and slow, between any two; disks work; now and then"
            " takeover=manual",
    .proxied_min = 1, .proxied_max = 1,
    .takeover = TAKEOVER_PROXY, .partition = true, .manual = true,
  },
  [MODE_STORE] = {
    .name = "store",
    .text = "as one, but without lost clients; and disks give errors, are"
            " full, and fail to sync, one node at a time",
    .proxied_min = 1, .proxied_max = 1,
    .takeover = TAKEOVER_PROXY, .partition = true, .store = true,
    .manual = true,
  },
  [MODE_MANY] = {
    .name = "many",
    .text = "two or three proxied clients; one node at a time dies, loses"
            " power, stops, or has a disk that fails, the next when the pair"
            " is whole; clients die, lose connections, and are cut off from a"
            " node; the link breaks, but a new one can be made at once",
    .proxied_min = 2, .proxied_max = 3,
    .takeover = TAKEOVER_PROXY,
  },
  [MODE_PLAIN] = {
    .name = "plain",
    .text = "one to three clients without a proxy, pinned to the primary;"
            " everything of mode one",
    .plain_min = 1, .plain_max = 3,
    .takeover = TAKEOVER_PROXY, .partition = true,
  },
  [MODE_ANY] = {
    .name = "any",
    .text = "takeover=any: clients of both kinds; everything of mode many",
    .proxied_max = 1, .plain_min = 1, .plain_max = 2,
    .takeover = TAKEOVER_ANY,
  },
  [MODE_ETCD] = {
    .name = "etcd",
    .text = "arbiter=etcd: up to three clients of both kinds; everything of"
            " mode one, and any two of the nodes, etcd and the clients are"
            " cut off from each other; etcd's answers are lost, late and"
            " repeated; clocks drift by 2 %",
    .proxied_min = 1, .proxied_max = 2, .plain_max = 1,
    .takeover = TAKEOVER_PROXY, .arbiter = ARBITER_ETCD, .partition = true,
    .manual = true,
  },
  [MODE_FLUSH] = {
    .name = "flush",
    .text = "durability=flush; everything of mode one: nothing answered is"
            " lost to a client that lives, nothing that a flush vouched for"
            " is lost at all",
    .proxied_min = 1, .proxied_max = 1,
    .takeover = TAKEOVER_PROXY, .durability = DURABILITY_FLUSH,
    .partition = true,
  },
  [MODE_FSTORE] = {
    .name = "fstore",
    .text = "durability=flush, and everything of mode store, but no node ends"
            " while the other one's disk fails",
    .proxied_min = 1, .proxied_max = 1,
    .takeover = TAKEOVER_PROXY, .durability = DURABILITY_FLUSH,
    .partition = true, .store = true,
  },
  [MODE_FPLAIN] = {
    .name = "fplain",
    .text = "durability=flush and one client without a proxy, pinned to the"
            " primary; everything of mode one: nothing that a flush vouched"
            " for is lost, and nothing answered is while its session lasts",
    .plain_min = 1, .plain_max = 1,
    .takeover = TAKEOVER_PROXY, .durability = DURABILITY_FLUSH,
    .partition = true,
  },
  [MODE_FORCE] = {
    .name = "force",
    .text = "as one; and the operator promotes nodes by force and gives"
            " copies up at any moment: what was answered may be lost, the"
            " pair must be whole in the end",
    .proxied_min = 1, .proxied_max = 1,
    .takeover = TAKEOVER_PROXY, .partition = true,
    .split = true, .force = true,
  },
  [MODE_FFORCE] = {
    .name = "fforce",
    .text = "durability=flush, and everything of mode force",
    .proxied_min = 1, .proxied_max = 1,
    .takeover = TAKEOVER_PROXY, .durability = DURABILITY_FLUSH,
    .partition = true, .split = true, .force = true,
  },
  [MODE_APART] = {
    .name = "apart",
    .text = "one or two proxied clients and perhaps one without, everything"
            " of mode one, now and then with takeover=any: both nodes may"
            " serve apart from each other, and then the pair must end"
            " diverged; no answered write is given up",
    .proxied_min = 1, .proxied_max = 2,
    .plain_max = 1,
    .takeover = TAKEOVER_PROXY, .partition = true, .split = true,
  },
};
