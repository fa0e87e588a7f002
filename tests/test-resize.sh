#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl resize makes the volume larger on both nodes while it is in use: no
# client sees an error, who connects anew sees the new size, through the
# proxy, too, and an old size= starts the nodes still.  What cannot be done
# is refused with a reason, and changes nothing.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh
. tests/resize-functions.sh

mib=$((1 << 20))

# Not a pair yet, and no primary.
start_node a
ctl_refused 'the peer is not connected' a resize 128M
start_node b
wait_insync
ctl_refused 'no node is primary yet' a resize 128M
start_proxy state="$dir/proxy.state"
start_writer area=16777216
wait_primary
wait_insync

for wrong in 128X 0 -1 12MM 9999999T ''; do
  status=0
  ctl "$first" resize "$wrong" || status=$?
  [ "$status" = 2 ] || fail "resize '$wrong': status $status"
done
ctl_refused 'not primary' "$second" resize 128M
ctl_refused 'has this size already' "$first" resize 64M
ctl_refused 'can only grow' "$first" resize 63M
ctl_refused 'no volume can be so large\|region map' "$first" resize 7E
have_size $((64 * mib))
"$DUETCTL" -s "$dir/$first.ctl" verify --rate=1M > "$dir/verify.log" 2>&1 &
verify=$!
tracked+=("$verify")
wait_for 20 '[ "$(node_status "$first" .verify.active)" = true ]'
ctl_refused 'verify --stop' "$first" resize 128M
"$DUETCTL" -s "$dir/$first.ctl" verify --stop > "$dir/stop.log"
wait "$verify" || true

# Under load.  A client that stays goes on with the old size.
nbdsh "$(node_uri "$first")" '
assert h.get_size() == 64 << 20
open("'"$dir/plain"'", "w").close()
while not os.path.exists("'"$dir/enough"'"):
    h.pwrite(b"plain" * 100, (64 << 20) - 500)
    time.sleep(0.01)
assert h.get_size() == 64 << 20
try:
    h.pread(512, 64 << 20)
    sys.exit("it reads behind its end")
except nbd.Error:
    pass' &
plain=$!
tracked+=("$plain")
wait_for 20 '[ -e "$dir/plain" ]'
ctl "$first" resize 134217729 || fail "$(cat "$dir/says")"
grep -q 'the volume has 128.0 MiB now, on both nodes; it had 64 MiB' \
  "$dir/says" || fail "$(cat "$dir/says")"
have_size 134217729
[ "$(node_status "$first" .resize.to_bytes)" = 134217729 ] ||
  fail "$(node_status "$first" .resize)"
touch "$dir/enough"
wait "$plain" || fail 'the client without a proxy was disturbed'
for node in a b; do
  [ "$(stat -c %s "$dir/$node.img")" = 134217729 ] || fail "$node's file"
  "$DUETCTL" -s "$dir/$node.ctl" events --once > "$dir/events"
  grep -q 'size .*from 67108864 to 134217729 bytes' "$dir/events" ||
    fail "$node: $(cat "$dir/events")"
  grep -q 'has grown from 67108864 to 134217729' "$dir/$node.log" ||
    fail "$node's log"
done
ctl "$first" resize --json 256M || fail "$(cat "$dir/says")"
[ "$(jq -c '[.active, .from_bytes, .to_bytes, .ended]' "$dir/says")" = \
    "[false,134217729,$((256 * mib)),null]" ] || fail "$(cat "$dir/says")"
stop_writer

# What is new reads as zeros and can be used, by who connects anew, also
# through a proxy that was idle all the time.
ctl "$first" resize 300M || fail "$(cat "$dir/says")"
nbdsh "$proxy_uri" '
assert h.get_size() == 300 << 20
assert h.pread(1 << 20, 299 << 20) == bytes(1 << 20)
h.pwrite(b"end" * 512, (300 << 20) - 1536)
h.pwrite(b"old" * 512, (64 << 20) - 700)'
nbdsh "$(node_uri "$first")" 'assert h.get_size() == 300 << 20'
# The node may not have seen yet that the client without a proxy has left.
wait_for 20 'ctl "$first" switchover' || fail "$(cat "$dir/says")"
nbdsh "$proxy_uri" '
assert h.get_size() == 300 << 20
assert h.pread(1536, (300 << 20) - 1536) == b"end" * 512
assert h.pread(1536, (64 << 20) - 700) == b"old" * 512'
wait_insync
identical

# The configuration says size=64M still.
stop_nbdkit proxy
stop_node a
stop_node b
"$DUETCTL" dump-meta "$dir/a.img.duet" > "$dir/says"
grep -q '^volume .*300 MiB' "$dir/says" || fail "$(cat "$dir/says")"
grep -q 'has grown: it had 64 MiB' "$dir/says" || fail "$(cat "$dir/says")"
start_node a
start_node b
wait_insync
have_size $((300 * mib))
grep -q 'size=67108864 is what the volume had once: .*314572800' \
  "$dir/a.log" || fail 'no word of it'
stop_node b
(start_node b size=301M) 2> "$dir/says" && fail 'it started with size=301M'
grep -q 'duetctl resize' "$dir/b.log" || fail 'it does not say what to do'
(start_node b size=63M) 2> "$dir/says" && fail 'it started with size=63M'
start_proxy state="$dir/proxy.state"
wait_primary
nbdsh "$proxy_uri" 'h.pwrite(b"x", 20 << 20)'
ctl_refused 'not connected' a resize 400M
start_node b size=300M
wait_insync
verify_both

# One that comes empty, with the old size=, in place of a lost one.
kill_node b
nbdsh "$proxy_uri" 'h.pwrite(b"y", 20 << 20)'
rm "$dir/b.img" "$dir/b.img.duet"
start_node b
wait_insync
have_size $((300 * mib))
verify_both

# A file that somebody else has made longer is still refused.
stop_node b
truncate -s 400M "$dir/b.img"
(start_node b) 2> "$dir/says" && fail 'it started'
grep -q 'changed from outside' "$dir/b.log" || fail 'it does not say why'
