#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# takeover=manual: a backup that has lost its peer takes over for nobody,
# says how to promote it, and is promoted so: restarted with takeover=any.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes takeover=manual
choose_primary a
start_proxy state="$dir/proxy.state"
nbdsh "$proxy_uri" 'h.pwrite(b"x" * 4096, 4096)'
kill_node a
wait_state b candidate
wait_for 20 "node_status b .reason | grep -q \
  'takeover=manual: to make it primary, restart it with takeover=any'" ||
  fail "$(node_status b .reason)"
wait_for 20 "grep -q 'does not serve: takeover=manual: to promote' \
  '$dir/b.log'" || fail 'the proxy did not ask, or was not told why'
[ "$(node_state b)" = candidate ] || fail "b is $(node_state b)"

stop_node b
start_node b takeover=any
nbdsh "$proxy_uri" '
assert h.pread(4096, 4096) == b"x" * 4096
h.pwrite(b"y" * 4096, 4096)'
[ "$(node_state b)" = solo ] || fail "b is $(node_state b)"
start_node a takeover=manual
wait_insync
identical
