#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl promote --force makes a node serve that lost its peer and every
# client that could choose it; beside a peer that is there it is refused;
# and the peer that comes back is brought up to date.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

# refused NAME PART: NAME is not promoted, with these words.
refused ()
{
  local status=0
  "$DUETCTL" -s "$dir/$1.ctl" promote --force 2> "$dir/says" || status=$?
  [ "$status" = 1 ] || fail "status $status"
  grep -qF "$2" "$dir/says" || fail "$1 says: $(cat "$dir/says")"
}

start_node a
refused a 'this node is blank'
start_node b
wait_insync
start_proxy state="$dir/state"
nbdsh "$proxy_uri" 'h.pwrite(b"1" * 8192, 0)'
wait_primary
refused a 'in sync: use duetctl switchover'
refused b 'in sync: use duetctl switchover'

# The primary is lost, and the proxy with its memory.
stop_nbdkit proxy
rm "$dir/state"
kill_node "$first"
wait_state "$second" candidate
node_status "$second" .reason | grep -q 'duetctl promote --force' ||
  fail "$(node_status "$second" .reason)"
nbdsh "$(node_uri "$second")" 'pass' 2> /dev/null && fail 'it serves unasked'
"$DUETCTL" -s "$dir/$second.ctl" promote 2> "$dir/says" &&
  fail 'it needs no --force'
grep -q 'say --force' "$dir/says" || fail "$(cat "$dir/says")"
"$DUETCTL" -s "$dir/$second.ctl" promote --force > "$dir/says"
grep -q 'this node is solo now' "$dir/says" || fail "$(cat "$dir/says")"
nbdsh "$(node_uri "$second")" '
assert h.pread(8192, 0) == b"1" * 8192
h.pwrite(b"2" * 4096, 4096)'
refused "$second" 'nothing to force'
"$DUETCTL" -s "$dir/$second.ctl" events --once | grep -q '(force)' ||
  fail 'the generation is not told'

# A restart keeps it.
kill_node "$second"
start_node "$second"
wait_for 20 '[ "$(node_status "$second" .serving)" = true ]'
nbdsh "$(node_uri "$second")" 'assert h.pread(1, 4096) == b"2"'

start_node "$first"
wait_insync
[ "$(node_state "$second")" = primary ] || fail "$second does not serve"
identical
