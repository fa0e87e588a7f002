#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A client without a proxy, connected to the primary, goes on when the
# backup dies, sees nothing of its return and resync; and when the primary
# dies the backup serves it only with takeover=any.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

# Both nodes, with PARAMETERs; a is primary and has lost b, and b is back.
lose_backup ()
{
  rm -f "$dir"/[ab].img* "$writer_state"
  start_nodes "$@"
  choose_primary a
  start_writer "$(node_uri a)" area=$((16 << 20)) \
    connections=1 depth=4
  wait_written 20
  kill_node b
  wait_state a solo
  wait_written 20
  start_node b "$@"
  wait_insync
  wait_written 20
  stop_writer
  verify_both
}

lose_backup
kill_node a
wait_state b candidate
! nbdsh "$(node_uri b)" 'pass' 2> /dev/null || fail 'took over unasked'
kill_node b

lose_backup takeover=any
kill_node a
wait_state b candidate
verify "$(node_uri b)"
[ "$(node_state b)" = solo ] || fail "b is $(node_state b)"
start_writer "$(node_uri b)" area=$((16 << 20)) \
  connections=1 depth=4
wait_written 20
start_node a takeover=any
wait_insync
stop_writer
verify_both
