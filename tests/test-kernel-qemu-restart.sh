#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# QEMU with reconnect-delay= rides out the death of the proxy itself.
. "$(dirname "$0")/functions.sh"
. tests/kernel-functions.sh

require_command qemu-img e2fsck

fault_proxy_killed ()
{
  kill_nbdkit proxy
  start_proxy state="$dir/proxy.state"
}
heal_proxy_killed () { :; }

fault_proxy_stopped ()
{
  stop_nbdkit proxy
  start_proxy state="$dir/proxy.state"
}
heal_proxy_stopped () { :; }

SIZE=$(stat -c %s "$GUEST/root.img")
start_pair
start_proxy state="$dir/proxy.state"
qemu-img convert -n -f raw -O raw "$GUEST/root.img" "$proxy_uri"

root_disk=(-blockdev "driver=nbd,node-name=root,server.type=unix,\
server.path=$dir/proxy.sock,reconnect-delay=60,discard=unmap"
           -device virtio-blk-pci,drive=root)
guest_words=rw
boot_guest
in_guest 'mkdir /work'
start_work /work
with_fault proxy_killed
with_fault proxy_stopped
end_work
in_guest 'all_sums_are_right /work'
in_guest 'database_is_whole /work/db'
in_guest 'mount -o remount,ro /'
stop_guest
stop_nbdkit proxy
stop_pair
e2fsck -fn "$dir/a.img" > "$dir/e2fsck.log" 2>&1 ||
  fail "$(cat "$dir/e2fsck.log")"
