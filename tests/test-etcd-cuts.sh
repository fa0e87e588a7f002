#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Three members of etcd, two clients, a network that is cut in two: between
# the nodes, between a node and etcd, around either node, around both
# clients' first choices.  One side serves at most, and what was
# acknowledged stays.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh
. tests/etcd-functions.sh

make_network 3
start_etcd
start_pair_with_clients
make_primary a

with_cut 'nodes lose each other' 'cut a b'

# A cut to etcd is none that a client could notice.
make_primary a
for node in a b; do
  note_fault begin
  cut $node "${members[*]}"
  wait_for 20 "[ \"\$(node_status $node .arbiter.reached)\" = false ]" ||
    fail "$node does not miss etcd"
  wait_answered "$pause"
  [ "$(primary)" = a ] || fail 'a is not primary any more'
  mend
  end_fault "$node loses etcd"
done

# Around the primary: the other one takes over.  The lost one serves
# nobody, and says so.
make_primary a
with_cut 'primary isolated' \
  'isolate a; wait_state b solo; wait_for 20 "! is_serving a"'
[ "$(primary)" = b ] || fail 'b did not stay primary'
with_cut 'primary isolated, the other way round' \
  'isolate b; wait_state a solo; wait_for 20 "! is_serving b"'
[ "$(primary)" = a ] || fail 'a did not stay primary'
with_cut 'backup isolated' 'isolate b; wait_state a solo'
finish
