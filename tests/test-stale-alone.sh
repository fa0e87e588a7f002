#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A stale node that is started alone refuses plain clients and a client
# that was served by the other node since, and says why.
. "$(dirname "$0")/functions.sh"

require_command qemu-io

put () { qemu-io -f raw -c "write -P $1 0 64k" "$proxy_uri" > /dev/null; }

start_node a
start_node b
wait_insync
start_proxy state="$dir/proxy.state"
put 1
primary=a
[ "$(node_state a)" = primary ] || primary=b
other=$(peer_of "$primary")
kill_node "$primary"
put 2
wait_state "$other" solo
kill_node "$other"

# Alone, and behind: it was primary once and lacks the last write.
start_node "$primary"
if nbdinfo "$(node_uri "$primary")" > /dev/null 2>&1; then
  fail 'a plain client was served'
fi
grep -q 'does not serve: no link to the peer' "$dir/$primary.log" ||
  fail 'no reason for the plain client'
wait_for 20 "grep -q 'does not know: it may be stale' '$dir/$primary.log'" ||
  fail 'the proxy was not refused as knowing a newer generation'
[ "$(node_state "$primary")" = waiting ] || fail "$(node_state "$primary")"

# With the current copy back, all goes on.
start_node "$other"
wait_insync
qemu-io -r -f raw -c 'read -P 2 0 64k' "$proxy_uri" > /dev/null
identical
