#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A switchover that cannot be says why, changes nothing, and cuts nobody
# off: without a peer, with one that is not in sync, with clients that have
# no proxy unless told to end them.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

# refused NAME PART [OPTION...]: NAME refuses, with these words.
refused ()
{
  local name=$1 part=$2 status=0
  shift 2
  "$DUETCTL" -s "$dir/$name.ctl" switchover "$@" 2> "$dir/says" || status=$?
  [ "$status" = 1 ] || fail "status $status"
  grep -qF "$part" "$dir/says" || fail "$name says: $(cat "$dir/says")"
}

start_node a resync-rate=2M takeover=any
refused a 'the peer is not connected'
start_node b resync-rate=2M takeover=any
wait_insync
refused a 'no node is primary yet'
choose_primary a

# A client without a proxy is not cut off by accident.
mkfifo "$dir/go"
nbdsh "$(node_uri a)" '
h.pwrite(b"1" * 512, 0)
print("connected", flush=True)
sys.stdin.readline()
try:
    h.pwrite(b"2" * 512, 0)
except nbd.Error as e:
    print(e.errno, flush=True)' \
  < "$dir/go" > "$dir/client" &
client=$!
tracked+=("$client")
exec 4> "$dir/go"
wait_for 20 "grep -q connected '$dir/client'"
refused a 'clients without a proxy'
refused b 'clients without a proxy'
[ "$(node_state a)" = primary ] || fail "a is $(node_state a)"

# Unless told to; then it is told so by its next request.
"$DUETCTL" -s "$dir/a.ctl" switchover --end-plain
[ "$(node_state b)" = primary ] || fail "b is $(node_state b)"
[ "$(node_state a)" = backup ] || fail "a is $(node_state a)"
echo >&4
wait "$client"
grep -q ESHUTDOWN "$dir/client" || fail "it got $(cat "$dir/client")"

# A peer that was away is not in sync at once.
kill_node a
nbdsh "$(node_uri b)" 'h.pwrite(os.urandom(16 << 20), 0)'
wait_state b solo
refused b 'the peer is not connected'
start_node a resync-rate=2M takeover=any
wait_state a syncing
refused b 'the peer is being brought up to date'
refused a 'this node is being brought up to date'
[ "$(node_state b)" = solo ] || fail "b is $(node_state b)"
