#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With durability=flush nodes lose their power under load, one at a time,
# both at once, and one that is alone, with any part of what they had not
# synced: a client behind the proxy lives through it, sees no error, and
# misses nothing that it was answered.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_lossy_node a
start_lossy_node b
start_proxy state="$dir/proxy.state"
start_writer
for ((round = 1; round <= 12 / patience; round++)); do
  wait_insync 60
  wait_written $((50 + RANDOM % 300))
  if [ $((RANDOM % 2)) = 0 ]; then one=a other=b; else one=b other=a; fi
  case $((round % 4)) in
    0) # one, the other lives on
      cut_power "$one"
      wait_written 50
      ;;
    1) # both at once
      cut_power "$one"
      cut_power "$other"
      start_lossy_node "$other"
      ;;
    2) # one, and then the other, which was alone by then
      cut_power "$one"
      wait_written 200
      cut_power "$other"
      start_lossy_node "$other"
      wait_written 50
      ;;
    3) # one is soon back
      cut_power "$one"
      ;;
  esac
  start_lossy_node "$one"
  wait_written 50
done
wait_insync 60
stop_writer
wait_for 30 '[ "$(node_status "$(primary)" .unflushed_bytes)" = 0 ]'
verify_both
grep -q ' [1-9][0-9]* unsynced' "$dir/power.out" ||
  fail 'no power cut took anything away'
grep -q 'are sent again' "$dir/proxy.log" || fail 'nothing was sent again'
