#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU as the client: a machine whose root is a volume that qemu-img has
# filled keeps writing while nodes die, and boots again from what is left.
. "$(dirname "$0")/functions.sh"
. tests/kernel-functions.sh

require_command qemu-img e2fsck

SIZE=$(stat -c %s "$GUEST/root.img")
start_pair
start_proxy state="$dir/proxy.state"
qemu-img convert -n -f raw -O raw "$GUEST/root.img" "$proxy_uri"

drive="file=nbd:unix:$dir/proxy.sock,format=raw,if=virtio,cache=none"
root_disk=(-drive "$drive,discard=unmap,detect-zeroes=unmap")
guest_words=rw
boot_guest
in_guest 'mkdir /work'
start_work /work
with_all_faults
end_work
in_guest 'mount -o remount,ro /'
stop_guest

# What one node has is enough.
wait_insync 60
wait_primary
kill_node "$first"
boot_guest
in_guest 'all_sums_are_right /work'
in_guest 'database_is_whole /work/db'
in_guest 'mount -o remount,ro /'
stop_guest

start_node "$first"
wait_insync 60
stop_nbdkit proxy
stop_pair
e2fsck -fn "$dir/a.img" > "$dir/e2fsck.log" 2>&1 ||
  fail "$(cat "$dir/e2fsck.log")"
