#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# One node's disk is full, be it the backup or the primary (the first
# client chooses): clients see nothing of it, the node says that it failed,
# and with room again a restart brings it up to date.
. "$(dirname "$0")/functions.sh"

require_root
require_command qemu-io
mkdir "$dir/small"
mount -t tmpfs -o size=8M none "$dir/small" || skip 'cannot mount'
trap 'umount -l "$dir/small"; on_exit' EXIT
start_node a
start_node b file="$dir/small/b.img"
wait_insync
start_proxy state="$dir/proxy.state"
qemu-io -f raw -c 'write -P 1 0 64k' "$proxy_uri" > /dev/null
qemu-io -f raw -c 'write -P 2 0 32M' "$proxy_uri" > /dev/null
wait_state b failed
wait_state a solo
stop_node b
mount -o remount,size=128M "$dir/small"
start_node b file="$dir/small/b.img"
wait_insync
qemu-io -r -f raw -c 'read -P 2 0 32M' "$proxy_uri" > /dev/null
cmp "$dir/a.img" "$dir/small/b.img"
