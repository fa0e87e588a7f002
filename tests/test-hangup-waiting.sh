#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A client that hangs up while its write waits for a silent backup ends
# its own connection and nothing else, also when the clock is set back
# while it waits.
. "$(dirname "$0")/functions.sh"

require_command nbdsh
export PATH=/usr/bin:$PATH

# Behind the sanitizer's runtime, which must come first.
preload=("${preload[*]:-LD_PRELOAD=} $BUILD/tests/preload-clock.so")
start_node a dead=20000
start_node b dead=20000
wait_insync

write ()
{
  nbdsh -u "$(node_uri a)" -c "h.pwrite(b'$1' * 4096, 0)"
}

write 1
wait_state a primary
kill_node b STOP
write 2 &
client=$!
tracked+=("$client")
wait_for 10 "[ \$(ss -Htn state established sport = :${nbd_port[a]} |
  wc -l) -gt 0 ]" || fail 'the client does not connect'
sleep 0.3
pkill -KILL -P "$client" || true
kill -KILL "$client" 2> /dev/null || true
wait "$client" 2> /dev/null || true

# Longer than the node takes to look for clients that have gone.
wait_for 10 "[ \$(ss -Htn state established state close-wait \
  sport = :${nbd_port[a]} | wc -l) -eq 0 ]" ||
  fail 'the connection does not end'
[ "$(node_state a)" = primary ] || fail "a is $(node_state a)"
kill_node b CONT
write 3
wait_insync
[ "$(head -c 1 "$dir/a.img")" = 3 ] || fail 'the last write is not there'
identical
