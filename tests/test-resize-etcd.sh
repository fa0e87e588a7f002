#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# arbiter=etcd: the volume grows under the load of two clients, also while
# one of the nodes is killed or the nodes lose each other in the middle of
# it; in the end both have one size, and the histories are in order.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh
. tests/writer-functions.sh
. tests/etcd-functions.sh
. tests/resize-functions.sh

make_network 1
start_etcd
start_pair_with_clients
wait_primary
# A growth ends the sessions of proxies, too: what is unanswered then is sent
# again.
note_fault begin
ctl "$first" resize 80M || fail "$(cat "$dir/says")"
have_size $((80 << 20))
note_fault end
wait_answered "$pause"

grown=0
for victim in first second first second; do
  note_fault begin
  grow_and_kill "$victim" $((1 << 20)) restart_node
  note_fault end
  wait_answered "$pause"
done

# The nodes lose each other.
wait_insync
wait_primary
note_fault begin
"$DUETCTL" -s "$dir/$first.ctl" resize 120M > "$dir/says" 2>&1 &
asked=$!
moment 20
cut a b
wait "$asked" || true
moment 200
mend
wait_insync 60
note_fault end
same_size
wait_primary
note_fault begin
[ "$size" = $((120 << 20)) ] || ctl "$first" resize 120M ||
  fail "$(cat "$dir/says")"
have_size $((120 << 20))
note_fault end
finish
