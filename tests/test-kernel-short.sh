#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The kernel's own NBD client with ext4 on /dev/nbd0 sees nothing of a
# primary that dies and comes back, but a pause.
#
# One processor: with two, both emulated at the same time on a host that is
# busy with other tests, the kernel's thread that receives answers was once
# not woken for 50 s, although its socket had been shut down meanwhile.
. "$(dirname "$0")/functions.sh"
. tests/kernel-functions.sh

SIZE=128M
guest_cpus=1
start_pair
boot_guest
start_guest_proxy
in_guest 'attach nbd0 -connections 2'
in_guest 'make_fs ext4'
start_work
with_fault none
with_fault primary_killed
end_work
check_work ext4
in_guest 'detach nbd0'
stop_guest
stop_pair
