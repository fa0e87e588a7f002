#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Of two copies that were written apart, the one that a proxied client was
# not served by refuses that client, even when it is the only one left; no
# data flows between the two, and the client goes on when its own is back.
. "$(dirname "$0")/functions.sh"

require_command qemu-io

put ()
{
  qemu-io -f raw -c "write -P $2 0 64k" "$1" > /dev/null
}

reads ()
{
  qemu-io -r -f raw -c "read -P $2 0 64k" "$1" > /dev/null
}

start_node a takeover=any
start_node b takeover=any
wait_insync
start_proxy state="$dir/proxy.state"
put "$proxy_uri" 1
stop_nbdkit proxy
kill_node b
put "$(node_uri a)" 2
kill_node a
start_node b takeover=any
start_proxy state="$dir/proxy.state"
put "$proxy_uri" 3

start_node a takeover=any
wait_state a diverged
wait_state b diverged
reads "$proxy_uri" 3
put "$proxy_uri" 4

# Alone, a still is not what this client was served by.
kill_node b
reads "$proxy_uri" 4 &
reader=$!
tracked+=("$reader")
wait_for 20 "grep -q 'does not know' '$dir/a.log'" ||
  fail 'a does not say that it refuses'
is_alive "$reader" || fail 'the client was served or got an error'
start_node b takeover=any
wait_for 20 "! is_alive $reader" || fail 'the client waits for ever'
wait "$reader" || fail 'the client got an error or the wrong data'
wait_state a diverged
reads "$(node_uri a)" 2
[ "$(node_status a .dirty_bytes)" -gt 0 ] || fail 'a has forgotten its marks'
