#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What arbiter=etcd is for: with arbiter=client, two clients that each
# have a node on their side of a cut make the copies diverge.  That is
# named on both nodes, no data flows, and neither copy is overwritten.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh
. tests/etcd-functions.sh

make_network 0
node_args=(beat=50 dead=300)
start_pair_with_clients arbiter=client
isolate a c1
wait_for 20 '[ "$(node_state a)$(node_state b)" = solosolo ]' ||
  fail "a is $(node_state a), b is $(node_state b)"
wait_answered "$pause"
mend
for node in a b; do
  wait_state $node diverged
  node_status $node .reason | grep -q 'written apart' ||
    fail "$(node_status $node .reason)"
done
stop_loads
! (check_linear again) 2> "$dir/verdict" || fail 'the judge finds no fault'
! cmp -s "$dir/a.img" "$dir/b.img" || fail 'one copy was overwritten'
