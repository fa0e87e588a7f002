#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# While no node serves, the proxy asks one after the other until one does,
# and its client sees no error.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

# Nodes that take no orders from clients: they refuse after a loss.
start_nodes takeover=manual
start_proxy state="$dir/state"
start_writer area=$((16 << 20))
wait_written 20
kill_node a
kill_node b
start_node b takeover=manual

# Both are asked again and again: b refuses, a is not there.
asked ()
{
  grep -c 'does not serve' "$dir/b.log" || true
}
wait_for 10 '[ "$(asked)" -ge 3 ]' || fail 'b is not asked again'
before=$(asked)
check_writer
[ "$(node_state b)" != solo ] || fail 'b took over without being told to'

start_node a takeover=manual
wait_written 20
stop_writer
echo "b refused $before times before a came back"
wait_insync
verify_both
