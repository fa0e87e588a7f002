#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl wait returns as soon as the node is as one waits for it, also when
# the node is only started, or dies and comes back meanwhile; and with
# status 4 when the time is over.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

# await NAME WORD: in the background, with a time limit that is not met.
await ()
{
  "$DUETCTL" -s "$dir/$1.ctl" wait "$2" --timeout $((60 * patience)) &
  waiter=$!
  tracked+=("$waiter")
}

await a waiting
start_node a takeover=any
wait "$waiter" || fail 'it did not see the node start'
await a insync
start_node b takeover=any
wait "$waiter" || fail 'it did not see the pair meet'
is_insync a || fail "a is $(node_state a)"
choose_primary a
await b candidate
kill_node a
wait "$waiter" || fail 'it did not see the link lost'
[ "$(node_state b)" = candidate ] || fail "b is $(node_state b)"
await b insync
kill_node b
start_node b takeover=any
start_node a takeover=any
wait "$waiter" || fail 'it did not see the pair meet again'

status=0
began=$(now_ms)
"$DUETCTL" -s "$dir/a.ctl" wait solo --timeout 0.7 2> "$dir/says" || status=$?
[ "$status" = 4 ] || fail "status $status"
[ $(($(now_ms) - began)) -ge 700 ] || fail 'it gave up too soon'
grep -q 'in vain for solo: the node is' "$dir/says" || fail "$(cat "$dir/says")"
