#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl events tells each change once, in order, goes on when the node is
# away and back, and a node remembers no more than its last 256.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_node a takeover=any
"$DUETCTL" -s "$dir/a.ctl" events --json > "$dir/events" 2> "$dir/says" &
follower=$!
tracked+=("$follower")

# told FILTER: an event for which the filter is true has been told.
told ()
{
  wait_for 20 "jq -se 'any (.[]; $1)' '$dir/events'" ||
    fail "not told: $1: $(cat "$dir/events")"
}

told '.what == "start"'
start_node b takeover=any
told '.what == "link" and (.text | startswith ("connected"))'
told '.what == "generation" and .generation.epoch == 1'
choose_primary a
told '.what == "state" and .state == "primary"'
nbdsh "$(node_uri a)" 'h.pwrite(b"x" * 8192, 0)'
kill_node b
told '.what == "link" and (.text | startswith ("not connected"))'
nbdsh "$(node_uri a)" 'h.pwrite(b"y" * 8192, 0)'
told '.what == "state" and .state == "solo"'
told '.what == "generation" and (.text | contains ("(solo)"))'
start_node b takeover=any
told '.what == "resync" and (.text | startswith ("begun"))'
told '.what == "resync" and .text == "ended"'
told '.what == "generation" and (.text | contains ("(join)"))'

# Numbers have no gap, times do not go back.
jq -se '[.[].number] == [range (1; length + 1)] and
        ([.[].time_ms] | . == sort)' "$dir/events" > /dev/null ||
  fail "out of order: $(cat "$dir/events")"

# What is told again to another follower is the same.
"$DUETCTL" -s "$dir/a.ctl" events --json --once > "$dir/again"
wait_for 10 "cmp -s '$dir/events' '$dir/again'" || fail 'told otherwise'
"$DUETCTL" -s "$dir/a.ctl" events --once |
  grep -qE '^[0-9-]{10} [0-9:.]{12}  state       solo: serving alone' ||
  fail 'no line for people'

# The node dies and comes back: the follower says so, and goes on.
kill_node a
wait_for 20 "grep -q 'cannot be reached' '$dir/says'"
start_node a takeover=any
wait_for 20 "[ \$(jq -s '[.[] | select (.what == \"start\")] | length' \
  '$dir/events') = 2 ]" || fail 'the second start is not told'
is_alive "$follower" || fail 'the follower has ended'

# Hundreds of changes: the last 256 are kept.
last ()
{
  "$DUETCTL" -s "$dir/a.ctl" events --json --once | tail -n 1 | jq .number
}
wait_insync
choose_primary a
until [ "$(last)" -gt 280 ]; do
  "$DUETCTL" -s "$dir/a.ctl" switchover > "$dir/says" 2>&1 ||
    fail "no switchover: $(cat "$dir/says")"
done
"$DUETCTL" -s "$dir/a.ctl" events --json --once > "$dir/last"
jq -se "length == 256 and .[0].number == .[-1].number - 255" "$dir/last" \
  > "$dir/says" || fail "it remembers $(wc -l < "$dir/last")"
