#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A node of another volume is refused by name; a blank node whose file
# holds data is not overwritten.
. "$(dirname "$0")/functions.sh"

start_node a
start_node b
wait_insync
qemu-io -f raw -c 'write -P 1 0 64k' "$(node_uri a)" > /dev/null ||
  qemu-io -f raw -c 'write -P 1 0 64k' "$(node_uri b)" > /dev/null
stop_node b
mv "$dir/b.img" "$dir/keep.img"
mv "$dir/b.img.duet" "$dir/keep.img.duet"

# A copy of node a's own identity, then of another volume.
stop_node a
truncate -s 64M "$dir/b.img"
dd if=/dev/urandom of="$dir/b.img" bs=4096 count=4 conv=notrunc 2> /dev/null
sum=$(sha256sum < "$dir/b.img")
start_node a
start_node b
wait_for 20 "node_status b .reason | grep -q 'not empty'" ||
  fail "b: $(node_status b .reason)"
[ "$(sha256sum < "$dir/b.img")" = "$sum" ] || fail 'b was overwritten'
stop_node b

mv "$dir/keep.img" "$dir/b.img"
mv "$dir/keep.img.duet" "$dir/b.img.duet"
start_node b
wait_insync
identical
