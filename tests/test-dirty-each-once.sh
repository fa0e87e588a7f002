#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Blocks that are written, many times over, while the backup is dead are
# remembered, and when it is back only they are sent, each once, with
# their last content.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

blocks=256
dirty=$((blocks * 4096))

start_nodes
choose_primary a
start_proxy
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(16 << 20), 0)'
kill_node b

# Every tenth block, 20 times each.
nbdsh "$proxy_uri" "
for turn in range(20):
    for n in range($blocks):
        h.pwrite(os.urandom(4096), n * 40960)
"
[ "$(node_state a)" = solo ] || fail "a is $(node_state a)"
[ "$(node_status a .dirty_bytes)" = $dirty ] ||
  fail "$(node_status a .dirty_bytes) dirty bytes, not $dirty"

start_node b
wait_insync
identical
# Counted by b since it started.
received=$(node_status b .link.bytes_received)
echo "$dirty bytes were dirty, $received were sent"
[ "$received" -ge $dirty ] || fail 'less was sent than was dirty'
[ "$received" -lt $((dirty + dirty / 4 + 65536)) ] || fail 'too much was sent'
[ "$(node_status a .dirty_bytes)" = 0 ] || fail 'still dirty'
