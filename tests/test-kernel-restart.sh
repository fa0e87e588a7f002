#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The proxy itself dies, or is stopped, below a file system.  On /dev/nbd0
# alone that would be the end; on a multipath device that queues, with
# another nbd device put below it, it is a pause.
. "$(dirname "$0")/functions.sh"
. tests/kernel-functions.sh

# replace OLD NEW: the proxy runs again; as docs/nbd-clients.md has it.
replace ()
{
  start_guest_proxy
  in_guest "attach $2 -connections 2"
  in_guest "nbd-client -d /dev/$1"
  in_guest 'dmsetup suspend --noflush --nolockfs duet'
  in_guest "dmsetup load duet --table \"\$(map_over $2)\""
  in_guest 'dmsetup resume duet'
  in_guest "wait_until 10 '! [ -e /sys/block/$1/pid ]'"
}

SIZE=128M
start_pair
boot_guest
in_guest 'modprobe dm-multipath && modprobe dm-round-robin'
start_guest_proxy
in_guest 'attach nbd0 -connections 2'
in_guest 'dmsetup create duet --noudevsync --table "$(map_over nbd0)"'
in_guest 'disk=/dev/dm-0; make_fs ext4'
start_work
in_guest longest_pause
in_guest 'kill_nbdkit proxy'
replace nbd0 nbd1
in_guest longest_pause
echo "longest pause, proxy killed: $said ms"
in_guest 'stop_nbdkit proxy'
replace nbd1 nbd0
in_guest longest_pause
echo "longest pause, proxy stopped: $said ms"
end_work
check_work ext4
in_guest 'dmsetup remove duet'
in_guest 'kernel_is_content nbd[0-9]'

# Without it there is an error at once, and -persist does not help.
in_guest 'detach nbd0'
in_guest 'attach nbd2 -persist -nonetlink'
in_guest 'dd if=/dev/zero of=/dev/nbd2 bs=4k count=1 oflag=direct'
in_guest 'kill_nbdkit proxy'
start_guest_proxy
! try_guest 20 'dd if=/dev/zero of=/dev/nbd2 bs=4k count=1 oflag=direct' ||
  fail '/dev/nbd2 has outlived its proxy'
stop_guest 'nbd[0-9]'
stop_pair
