#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# When the node that knew the exact dirty blocks has died too, regions are
# compared, and still only the blocks that differ are sent.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

blocks=64
dirty=$((blocks * 4096))

start_nodes
choose_primary a
start_proxy state="$dir/state"
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(32 << 20), 0)'
kill_node b
nbdsh "$proxy_uri" "
for n in range($blocks):
    h.pwrite(os.urandom(4096), n * 409600)
"
wait_state a solo
kill_node a
start_node a
start_node b
wait_insync
identical
received=$(node_status b .link.bytes_received)
echo "$dirty bytes differed, $received were sent"
[ "$received" -ge $dirty ] || fail 'less was sent than differed'
[ "$received" -lt $((dirty + dirty / 2 + 262144)) ] || fail 'too much was sent'
