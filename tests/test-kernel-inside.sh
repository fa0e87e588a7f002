#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Both nodes, the proxy and the file system on /dev/nbd0 in one kernel with
# little memory, the nodes killed in turn: nothing waits for itself.
. "$(dirname "$0")/functions.sh"
. tests/kernel-functions.sh

# The nodes are processes of the guest, and named as outside.
number_of () { case $1 in a) echo 1 ;; b) echo 2 ;; esac; }
start_node () { in_guest "start_node $1 $(number_of "$1") 256M"; }
kill_node () { in_guest "kill_nbdkit $1 ${2:-}"; }
stop_node () { in_guest "stop_nbdkit $1"; }

node_status ()
{
  try_guest 20 "duetctl -s /run/$1.ctl status --json" || return
  jq -r "${2:-.}" <<< "$said"
}

identical ()
{
  in_guest 'cmp /mnt/nodes/a.img /mnt/nodes/b.img'
}

truncate -s 1G "$dir/disk.img"
guest_mib=320
boot_guest -drive "file=$dir/disk.img,format=raw,if=virtio,cache=unsafe"
in_guest 'mkfs.ext4 -q /dev/vdb && mkdir /mnt/nodes'
in_guest 'mount -t ext4 /dev/vdb /mnt/nodes'
start_pair
in_guest 'start_proxy nbd://127.0.0.1:10811 nbd://127.0.0.1:10812'
in_guest 'attach nbd0 -connections 4'
in_guest 'make_fs ext4'
start_work
for fault in none primary_killed backup_killed both_killed; do
  with_fault "$fault"
done
# More than the kernel lets be dirty: it has to be written back to go on.
patience_s=150 in_guest 'dd if=/dev/zero of=/mnt/fs/big bs=1M count=90'
kill_node "$first"
patience_s=150 in_guest 'sync'
start_node "$first"
end_work
check_work ext4
in_guest 'detach nbd0'
in_guest 'stop_nbdkit proxy'
stop_pair
stop_guest
