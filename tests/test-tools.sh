#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The usual tools work through the proxy: qemu-img (convert in and out,
# compare, map, bench), nbdinfo, nbdcopy and nbdsh.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
require_command qemu-img nbdinfo nbdcopy mke2fs

start_nodes
start_proxy

# A real disk image of the size of the volume.
truncate -s "$SIZE" "$dir/disk"
mke2fs -q -t ext4 -d tests "$dir/disk"
qemu-img convert -f raw -O qcow2 "$dir/disk" "$dir/disk.qcow2"

qemu-img convert -n -f qcow2 -O raw "$dir/disk.qcow2" "$proxy_uri"
qemu-img compare -f qcow2 -F raw "$dir/disk.qcow2" "$proxy_uri"
qemu-img convert -f raw -O qcow2 "$proxy_uri" "$dir/out.qcow2"
qemu-img compare -f qcow2 -F qcow2 "$dir/disk.qcow2" "$dir/out.qcow2"
identical
cmp "$dir/disk" "$dir/a.img"

# Holes are shown as holes.
qemu-img map --output=json -f raw "$proxy_uri" > "$dir/map"
jq -e 'any(.[]; .data) and any(.[]; .zero and (.data | not))' "$dir/map"
[ "$(jq 'map(.length) | add' "$dir/map")" = "$(stat -c %s "$dir/disk")" ] ||
  fail 'the map does not cover the volume'
nbdinfo --map --totals "$proxy_uri" | grep hole

nbdinfo --json "$proxy_uri" > "$dir/info"
jq -e --argjson size "$(stat -c %s "$dir/disk")" '.exports[0] |
  ."export-size" == $size and .can_multi_conn and .can_fua and .can_trim
  and .can_zero and (.is_read_only | not) and .block_size_minimum == 1' \
  "$dir/info"
[ "$(nbdinfo --size "$proxy_uri")" = "$(stat -c %s "$dir/disk")" ] ||
  fail 'wrong size'

nbdcopy "$proxy_uri" "$dir/copy"
cmp "$dir/disk" "$dir/copy"
head -c 32M /dev/urandom > "$dir/random"
nbdcopy "$dir/random" "$proxy_uri"
cmp -n $((32 << 20)) "$dir/random" "$dir/a.img"
identical

qemu-img bench -f raw -c 200 -d 16 -s 4096 "$proxy_uri" > "$dir/bench"
qemu-img bench -f raw -c 200 -d 16 -s 4096 -w "$proxy_uri" >> "$dir/bench"
[ "$(grep -c 'Run completed' "$dir/bench")" = 2 ] || fail 'bench'
identical

PATH=/usr/bin:$PATH command nbdsh -u "$proxy_uri" -c '
h.pwrite(b"nbdsh" * 100, 54321)
assert h.pread(500, 54321) == b"nbdsh" * 100
h.flush()'
identical
