#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# resync-rate= is a cap: a resync takes as long as it must at that rate, and
# clients' own writes are not held back by it.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes resync-rate=8M
choose_primary a
start_proxy
nbdsh "$proxy_uri" 'h.pread(1, 0)'
kill_node b
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(32 << 20), 0)'
start=$(now_ms)
start_node b resync-rate=8M
wait_for 20 '[ "$(node_status a .resync.active)" = true ]'
nbdsh "$proxy_uri" '
for n in range(3):
    h.pwrite(os.urandom(4 << 20), (40 << 20) + n * (4 << 20))'
[ "$(node_status a .resync.active)" = true ] || fail 'it has ended already'
wait_insync
took=$(($(now_ms) - start))
echo "32 MiB at 8 MiB/s took $took ms"
# What may be under way at once, 16 chunks of 256 KiB, is for nothing.
[ "$took" -ge 3000 ] || fail 'faster than it may be'
identical
