#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# fio on the raw /dev/nbd0 with four connections and many requests in
# flight finds what it wrote, whatever befalls the pair.
. "$(dirname "$0")/functions.sh"
. tests/kernel-functions.sh

SIZE=128M
start_pair
boot_guest
start_guest_proxy
in_guest 'attach nbd0 -connections 4'
in_guest 'start_pauses /dev/nbd0'
start_in_guest fio 'fio_rounds /dev/nbd0'
with_all_faults
in_guest 'touch /run/enough'
await_guest fio
in_guest 'stop_pauses'
in_guest 'cat /run/fio.log'
echo "$said" | grep -E '^ *(READ|WRITE|read|write):'
in_guest 'detach nbd0'
stop_guest
stop_pair
