#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A block device as the data of a node.
. "$(dirname "$0")/functions.sh"

require_root
require_command losetup qemu-io
truncate -s 64M "$dir/disk"
loop=$(losetup -f --show "$dir/disk") || skip 'no loop device'
at_exit 'losetup -d "$loop"'
start_node a file="$loop" meta="$dir/a.meta"
start_node b
wait_insync
start_proxy state="$dir/proxy.state"
qemu-io -f raw -c 'write -P 7 1000 5000' -c 'discard 1M 1M' "$proxy_uri" \
  > /dev/null
qemu-io -r -f raw -c 'read -P 7 1000 5000' "$proxy_uri" > /dev/null
stop_nbdkit proxy
stop_node a
stop_node b
cmp "$loop" "$dir/b.img"
