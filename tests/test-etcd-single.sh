#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# One etcd, two clients: the primary is killed, the nodes lose each other,
# etcd dies.  Without etcd the pair serves on and says so; without etcd and
# without each other nobody serves, until etcd is back.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh
. tests/tls-functions.sh
. tests/etcd-functions.sh

make_network 1
start_etcd
new_psk "$dir/psk"
start_pair_with_clients tls-psk="$dir/psk"

# The keys of the status that are only there with arbiter=etcd.
diff <(sed -n 's/^ arbiter\.\([a-z_]*\).*/\1/p' docs/duetctl.pod | sort) \
     <(node_status a '.arbiter | keys[]') || fail 'other keys than the manual'

for round in 1 2; do
  wait_primary
  with_cut "kill -9 of the primary ($first)" "kill_node $first" \
    "restart_node $first"
done
with_cut 'nodes lose each other' 'cut a b'

# Without etcd: seen within seconds, by asking for nothing.
wait_primary
kill_member e1
for node in a b; do
  wait_for 20 "[ \"\$(node_status $node .arbiter.reached)\" = false ]" ||
    fail "$node does not miss etcd: $(node_status $node .arbiter)"
  node_status $node .arbiter.reason | grep -q 10.77.0.11 ||
    fail "$node does not say which: $(node_status $node .arbiter)"
  grep -q 'duet: etcd does not answer' "$dir/$node.log" || fail 'no word of it'
done
wait_answered "$pause"
[ "$(primary)" = "$first" ] || fail 'the primary is another one'
wait_insync

# Without each other, too.
note_fault begin
cut a b
nobody_serves
start_member e1
wait_member e1
wait_answered "$pause"
mend
end_fault 'nodes lose each other and etcd'
wait_for 20 '[ "$(node_status a .arbiter.reached)" = true ]'
grep -q 'duet: etcd answers again' "$dir/a.log" || fail 'no word of its return'
finish
