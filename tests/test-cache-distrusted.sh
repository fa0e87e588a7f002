#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What the page cache holds of a write and the disk does not is not believed
# after a restart: the comparison with the peer reads the disk and brings it
# up to date.  The disk is the file under a loop device: what is changed
# there behind the device's back is what a failed write leaves.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

require_root
require_command losetup qemu-io
truncate -s 64M "$dir/disk"
loop=$(losetup -f --show "$dir/disk") || skip 'no loop device'
at_exit 'losetup -d "$loop" 2> /dev/null'
start_node a
start_node b file="$loop" meta="$dir/b.meta"
wait_insync
choose_primary a
qemu-io -f raw -c 'write -P 7 8M 64k' "$(node_uri a)" > /dev/null

# Held open, or the kernel empties the device's cache by itself.
exec 4< "$loop"
kill_node b
dd if=/dev/zero of="$dir/disk" bs=64k seek=128 count=1 conv=notrunc,fsync \
   status=none
cached=$(dd if="$loop" bs=64k skip=128 count=1 status=none | tr -d '\7' | wc -c)
[ "$cached" -eq 0 ] || skip 'the cache of the loop device is not kept'
start_node b file="$loop" meta="$dir/b.meta"
wait_insync
stop_node a
stop_node b
exec 4<&-
losetup -d "$loop"
cmp "$dir/a.img" "$dir/disk" || fail 'the cache was compared, not the disk'
