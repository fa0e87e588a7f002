#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two clients on different sides of a network in two parts, each with a
# node: the side with etcd serves, the client of the other side waits and
# sees no error, and all is linearizable.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh
. tests/etcd-functions.sh

# What CLIENT was answered.
answered_to () { grep -c '^a ' "$dir/history.$1" || true; }

# sides NODE CLIENT: those two are cut off from all others.
sides ()
{
  local lost=$1 client=$2 other before
  other=$(peer_of "$1")
  isolate "$lost" "c$client"
  wait_state "$other" solo
  wait_for 20 "! is_serving $lost" || fail "$lost serves"
  before=$(answered_to "$client")
  wait_answered "$pause"
  [ "$(answered_to "$client")" = "$before" ] || fail 'both sides are answered'
}

make_network 3
start_etcd
start_pair_with_clients
make_primary a
with_cut 'primary and client 1 against the rest' 'sides a 1'
make_primary a
with_cut 'backup and client 1 against the rest' 'sides b 1'
make_primary b
with_cut 'primary and client 2 against the rest' 'sides b 2'
finish
