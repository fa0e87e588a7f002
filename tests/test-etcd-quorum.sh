#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Members of etcd die: the leader, while the primary is lost too; then two
# of three, which leaves no quorum: the pair serves on, and when the nodes
# lose each other as well nobody does, until a member is back.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh
. tests/etcd-functions.sh

make_network 3
start_etcd
start_pair_with_clients

kill_leader ()
{
  wait_for 20 'leader=$(etcd_leader)' || fail 'etcd has no leader'
  kill_member "$leader"
}

with_cut "etcd's leader killed" kill_leader 'start_member $leader'
wait_member "$leader"
wait_primary
with_cut "etcd's leader and the primary killed" \
  "kill_leader; kill_node $first" 'start_member $leader; restart_node $first'
wait_member "$leader"

# No quorum.
kill_member e2
kill_member e3
wait_answered "$pause"
is_insync a && is_insync b || fail 'the pair is not as it was'
wait_for 30 '[ "$(node_status a .arbiter.reached)" = false ]' ||
  fail "a does not miss etcd: $(node_status a .arbiter)"
note_fault begin
cut a b
nobody_serves
start_member e2
wait_member e2
wait_answered "$pause"
start_member e3
mend
end_fault 'no quorum, and the nodes lose each other'

# The same, but it is the nodes that find each other again.
kill_member e2
kill_member e3
note_fault begin
cut a b
nobody_serves
mend
start_member e2
start_member e3
end_fault 'no quorum, then all is well'
finish
