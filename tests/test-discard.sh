#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl discard gives one of two diverged copies up: it says what would be
# lost, asks, and then just what either side wrote since they parted is
# compared; the other node serves all the time. A node that dies in the
# middle still gives its copy up.
SIZE=256M
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

# diverge: a, whose process lives on, and b, which is started anew while a
# hangs, each write alone.
diverge ()
{
  kill_node b
  nbdsh "$(node_uri a)" 'h.pwrite(b"a" * 12288, 4096)'
  kill_node a STOP
  start_node b takeover=any
  nbdsh "$(node_uri b)" 'h.pwrite(b"b" * 8192, 8192)
h.pwrite(b"b" * 4096, 100 << 20)'
  kill_node a CONT
  wait_state a diverged
  wait_state b diverged
}

# discard NAME OPTION...: what it prints is in $dir/says.
discard ()
{
  "$DUETCTL" -s "$dir/$1.ctl" discard "${@:2}" > "$dir/says" 2>&1
}

start_nodes takeover=any
choose_primary a
nbdsh "$(node_uri a)" 'h.pwrite(os.urandom(64 << 20), 0)'
discard a --yes && fail 'nothing had diverged'
grep -q 'is primary, not diverged' "$dir/says" ||
  fail "$(cat "$dir/says")"
before=$(date +%s)
diverge

# What is lost is shown, and without a yes nothing happens.  The process of
# a knows each block that it wrote alone; b knows regions.
node_status a '.diverged' > "$dir/diverged"
jq -e ".dirty_blocks == 3 and .dirty_bytes == 12288 and .generations == 1
  and .since >= $before and .since <= $(date +%s)" "$dir/diverged" \
  > /dev/null || fail "$(cat "$dir/diverged")"
[ "$(node_status b '.diverged.dirty_blocks >= 3')" = true ] ||
  fail "$(node_status b .diverged)"
echo no | discard a && fail 'no is no'
grep -q 'in at most 3 blocks, 12 KiB' "$dir/says" || fail "$(cat "$dir/says")"
grep -q 'nothing was changed' "$dir/says" || fail "$(cat "$dir/says")"
[ "$(node_state a)" = diverged ] || fail "a is $(node_state a)"

# b serves all the time.
nbdsh "$(node_uri b)" '
end = time.monotonic() + 3
while time.monotonic() < end:
    h.pwrite(b"c" * 512, 1 << 20)' &
client=$!
tracked+=("$client")
sent=$(node_status b .link.bytes_sent)
echo yes | discard a || fail "$(cat "$dir/says")"
grep -q 'this node is syncing now' "$dir/says" || fail "$(cat "$dir/says")"
wait_insync
wait "$client" || fail 'the client of b was disturbed'
[ "$(node_state b)" = primary ] || fail "b is $(node_state b)"
nbdsh "$(node_uri b)" '
assert h.pread(8192, 8192) == b"b" * 8192
assert h.pread(4096, 4096) != b"a" * 4096
assert h.pread(4096, 100 << 20) == b"b" * 4096'
identical
sent=$(($(node_status b .link.bytes_sent) - sent))
[ "$sent" -lt $((16 << 20)) ] || fail "$sent bytes were sent"

# The other side, killed as soon as it has decided.
"$DUETCTL" -s "$dir/a.ctl" switchover --to=this > /dev/null
diverge
discard b --yes || fail "$(cat "$dir/says")"
kill_node b
kill_node a
start_node b takeover=any
wait_state b syncing
node_status b .reason | grep -q 'given up\|up to date' ||
  fail "$(node_status b .reason)"
nbdsh "$(node_uri b)" 'pass' 2> /dev/null && fail 'b serves what was given up'
start_node a takeover=any
wait_insync
choose_primary a
nbdsh "$(node_uri a)" 'assert h.pread(12288, 4096) == b"a" * 12288'
identical
