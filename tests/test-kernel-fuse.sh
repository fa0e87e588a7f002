#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Without the kernel's NBD: nbdfuse makes a file of the volume, a loop
# device a disk of the file, and ext4 on it sees nothing of nodes that die.
. "$(dirname "$0")/functions.sh"
. tests/kernel-functions.sh

SIZE=256M
start_pair
boot_guest
start_guest_proxy
in_guest 'modprobe fuse && modprobe loop && mkdir /mnt/fuse'
start_in_guest nbdfuse \
  "nbdfuse -P /run/nbdfuse.pid /mnt/fuse/disk $guest_proxy_uri"
in_guest 'wait_until 20 "[ -s /run/nbdfuse.pid ]"'
in_guest 'losetup /dev/loop0 /mnt/fuse/disk && disk=/dev/loop0'
in_guest 'make_fs ext4'
start_work
for fault in none primary_killed backup_killed; do
  with_fault "$fault"
done
end_work
check_work ext4
in_guest 'losetup -d /dev/loop0'
in_guest 'umount /mnt/fuse'
await_guest nbdfuse
stop_guest
stop_pair
