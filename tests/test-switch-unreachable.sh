#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A client that reaches only the backup is served: the primary hands over.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes
choose_primary a
nbdsh "$(node_uri a)" 'h.pwrite(b"x" * 4096, 0)'

# Nobody listens on the other address.
free_port nowhere
start_proxy_to proxy "nbd://127.0.0.1:$nowhere" "$(node_uri b)"
nbdsh "$proxy_uri" '
assert h.pread(4096, 0) == b"x" * 4096
h.pwrite(b"y" * 4096, 0)'
[ "$(node_state b)" = primary ] || fail "b is $(node_state b)"
[ "$(node_state a)" = backup ] || fail "a is $(node_state a)"
identical
