#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With durability=flush a client that flushes as file systems do, its proxy
# and both nodes lose their power at once, with any part of what the nodes
# had not synced: what it had flushed is there, on both copies.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

log=$dir/commits

# start_journal: in the background, until at least 20 more commits.
start_journal ()
{
  local goal=$(($(wc -l < "$log") + 20))
  /usr/bin/python3 tests/journal.py run "$proxy_uri" "$log" \
    >> "$dir/journal.log" 2>&1 &
  journal=$!
  tracked+=("$journal")
  wait_for 60 "[ \$(wc -l < $log) -ge $goal ] || ! is_alive $journal"
  is_alive "$journal" ||
    fail "the client ended: $(tail -n 3 "$dir/journal.log")"
}

: > "$log"
for ((round = 1; round <= 6 / patience + 1; round++)); do
  start_lossy_node a
  start_lossy_node b
  start_proxy state="$dir/proxy.state"
  wait_insync 60
  start_journal
  moment 50
  if [ $((round % 3)) = 0 ]; then
    # One of them is away when it happens.
    cut_power "$(peer_of "$(primary)")"
    moment 2000
  fi
  kill "-KILL" "$journal"
  for name in a b; do
    [ -z "${pid[$name]:-}" ] || cut_power "$name"
  done
  kill_nbdkit proxy
  wait "$journal" 2> /dev/null || true
  start_lossy_node a
  start_lossy_node b
  start_proxy state="$dir/proxy.state"
  wait_insync 60
  /usr/bin/python3 tests/journal.py verify "$proxy_uri" "$log" ||
    fail 'what was flushed is lost'
  for name in a b; do
    /usr/bin/python3 tests/journal.py verify "$dir/$name.img" "$log" ||
      fail "what was flushed is lost on $name"
  done
  stop_nbdkit proxy
  stop_node a
  stop_node b
done
grep -q ' [1-9][0-9]* unsynced' "$dir/power.out" ||
  fail 'no power cut took anything away'
