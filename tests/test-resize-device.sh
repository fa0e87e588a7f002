#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Block devices: one that is too small is named with its size, and nothing
# is changed; when it is larger the volume grows, and what the device had
# behind its end reads as zeros.  A copy that cannot grow to the peer's size
# when they meet says so, and does as soon as it can.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/resize-functions.sh

require_root
require_command losetup
declare -A loop=()

# start NAME [PARAMETER...]: on its device, a part of which is the volume.
start ()
{
  start_node "$1" file="${loop[$1]}" meta="$dir/$1.meta" size=16M "${@:2}"
}

for node in a b; do
  head -c 32M /dev/urandom > "$dir/$node.disk"
  dd if=/dev/zero of="$dir/$node.disk" bs=1M count=16 conv=notrunc status=none
  loop[$node]=$(losetup -f --show "$dir/$node.disk") || skip 'no loop device'
  at_exit "losetup -d ${loop[$node]}"
done
start a
start b
wait_insync
start_proxy state="$dir/proxy.state"
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(1 << 20), 15 << 20)'
wait_primary

# The backup's, then the primary's own.
truncate -s 64M "$dir/$first.disk"
losetup -c "${loop[$first]}"
ctl_refused "the peer's disk is too small.*(it has 33554432 bytes)" \
  "$first" resize 48M
have_size $((16 << 20))
grep -q 'its disk has 33554432' "$dir/$second.log" || fail 'no word of it'
ctl_refused "this node's disk is too small.*(it has 67108864 bytes)" \
  "$first" resize 65M
"$DUETCTL" -s "$dir/$first.ctl" status > "$dir/says"
grep -q '^resize .*not to 65 MiB: ' "$dir/says" || fail "$(cat "$dir/says")"
ctl "$first" resize 30M || fail "$(cat "$dir/says")"
have_size $((30 << 20))
nbdsh "$proxy_uri" '
assert h.get_size() == 30 << 20
assert h.pread(14 << 20, 16 << 20) == bytes(14 << 20)'
wait_insync
cmp -n $((30 << 20)) "${loop[a]}" "${loop[b]}" || fail 'the copies differ'

# The metadata of a crash in the middle: the other one has grown already.
kill_node "$second"
nbdsh "$proxy_uri" 'h.pwrite(b"alone" * 100, 20 << 20)'
stop_nbdkit proxy
kill_node "$first"
dd if=/dev/zero of="${loop[$first]}" bs=1M seek=30 count=18 conv=notrunc \
  status=none
"$BUILD/tests/tool-meta" "$dir/$first.meta" 48 $((48 << 20))
start "$first"
start "$second"
wait_for 20 'node_status "$second" .reason |
               grep -q "disk is too small.*31457280 bytes here, 50331648"' ||
  fail "$(node_status "$second" .reason)"
wait_for 20 'node_status "$first" .reason | grep -q "copy is smaller"' ||
  fail "$(node_status "$first" .reason)"
truncate -s 64M "$dir/$second.disk"
losetup -c "${loop[$second]}"
wait_insync 60
have_size $((48 << 20))
cmp -n $((48 << 20)) "${loop[a]}" "${loop[b]}" || fail 'the copies differ'
