#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# When the primary dies the backup does not take over by itself, nor for a
# client that does not know the volume, but for the client that was served.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes
choose_primary a
start_proxy state="$dir/state"
nbdsh "$proxy_uri" 'h.pwrite(b"x" * 4096, 4096)'
wait_state a primary
stop_nbdkit proxy
kill_node a
wait_state b candidate 5

! nbdsh "$(node_uri b)" 'pass' 2> /dev/null || fail 'served a plain client'
# A proxy without memory.
start_proxy_to stranger "$(node_uri b)" -- give-up=1
! nbdsh "$(proxy_uri_of stranger)" 'pass' 2> /dev/null ||
  fail 'served a client without memory'
[ "$(node_state b)" = candidate ] || fail "b is $(node_state b)"

start_proxy state="$dir/state"
nbdsh "$proxy_uri" '
assert h.pread(4096, 4096) == b"x" * 4096
h.pwrite(b"y" * 4096, 4096)'
[ "$(node_state b)" = solo ] || fail "b is $(node_state b)"

start_node a
wait_insync
[ "$(node_state b)" = primary ] || fail "b is $(node_state b)"
identical
