#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# arbiter=etcd, two clients: the link is paused at either node, and a full
# resync asked for, under load: the primary goes on, the backup does not take
# over. Without etcd both are refused, and the pair serves on. A primary that
# dies while the link is paused is not followed by a copy that lacks writes.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh
. tests/etcd-functions.sh

make_network 1
start_etcd
start_pair_with_clients

for which in first second; do
  wait_primary
  with_cut "paused at ${!which}" \
    'ctl "${!which}" pause || fail "$(cat "$dir/says")"
     wait_state "$first" solo' \
    '[ "$(primary)" = "$first" ] || fail "another one serves"
     ctl "${!which}" resume || fail "$(cat "$dir/says")"'
  [ "$(primary)" = "$first" ] || fail 'another one serves'
done
with_cut 'full resync' \
  'ctl "$first" resync --full --yes || fail "$(cat "$dir/says")"' true

# The primary dies meanwhile: the key says that it went on alone.
# The pause ends sessions, as above: what is unanswered then is sent again.
note_fault begin
ctl "$second" pause || fail "$(cat "$dir/says")"
wait_answered "$pause"
kill_node "$first"
ctl "$second" resume || fail "$(cat "$dir/says")"
wait_for 20 'node_status "$second" .reason | grep -q "went on without this"' ||
  fail "$(node_status "$second")"
before=$(answered)
end=$(($(now_ms) + 1800))
while [ "$(now_ms)" -lt $end ]; do
  ! is_serving "$second" || fail "$second serves: $(node_status "$second")"
  [ "$(answered)" = "$before" ] || fail 'somebody is answered'
  sleep 0.1
done
restart_node "$first"
end_fault 'primary killed while paused'

# Without etcd nobody could go on alone.
wait_primary
kill_member e1
wait_for 20 '[ "$(node_status "$first" .arbiter.reached)" = false ]' ||
  fail "$(node_status "$first" .arbiter)"
for command in pause 'resync --full --yes'; do
  # shellcheck disable=SC2086  # words of their own
  ctl "$first" $command && fail "$command: $(cat "$dir/says")"
  grep -q 'etcd does not let the primary go on alone' "$dir/says" ||
    fail "$command: $(cat "$dir/says")"
done
wait_answered "$pause"
is_insync a && is_insync b || fail 'the pair is apart'
start_member e1
wait_member e1
finish
