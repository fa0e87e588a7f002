#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Clients go on writing and reading while 512 MiB are resynced; no request
# fails, and none waits for the resync to end.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

# Of 16 MiB; less where all is several times slower.
pieces=${SAN:+8}
pieces=${pieces:-32}

SIZE=640M
start_nodes
choose_primary a
start_proxy
nbdsh "$proxy_uri" 'h.pwrite(b"x" * 4096, 80 << 20)'
kill_node b
nbdsh "$proxy_uri" "
for n in range($pieces):
    h.pwrite(os.urandom(1 << 20) * 16, (96 << 20) + (n << 24))
"
start_writer area=$((64 << 20)) connections=1 depth=4
[ "$(node_status a .dirty_bytes)" -ge $((pieces << 24)) ] || fail 'not dirty'

start_node b
wait_for 10 '[ "$(node_status a .resync.active)" = true ]'
begun=$(now_ms)
before=$(written)
wait_insync 120
took=$(($(now_ms) - begun))
during=$(($(written) - before))
stop_writer
echo "the resync took $took ms, meanwhile $during requests were answered"
[ "$during" -ge 20 ] || fail 'clients waited for the resync'
verify_both
