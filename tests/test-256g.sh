#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A volume has 256 GiB by default, is sparse, starts at once, needs little
# memory and takes writes at its end.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

rss ()
{
  node_status "$1" .rss_bytes
}

# Without size=.
start_big ()
{
  start_nbdkit "$1" -i 127.0.0.1 -p "${nbd_port[$1]}" "$DUET" \
    file="$dir/$1.img" listen="127.0.0.1:${link_port[$1]}" \
    peer="127.0.0.1:${link_port[$(peer_of "$1")]}" control="$dir/$1.ctl"
}

start_big a
start_big b
wait_insync 10
start_proxy
[ "$(node_status a .size_bytes)" = $((256 << 30)) ] || fail 'not 256 GiB'

nbdsh "$proxy_uri" "
size = h.get_size()
assert size == 256 << 30, size
for offset in (0, size // 2 + 1, size - 4096):
    h.pwrite(b'duet' * 1024, offset)
    assert h.pread(4096, offset) == b'duet' * 1024
assert h.pread(4096, size - 8192) == bytes(4096)
"
printf 'duet%.0s' {1..1024} > "$dir/block"
for node in a b; do
  [ "$(stat -c %s "$dir/$node.img")" = $((256 << 30)) ] || fail 'wrong size'
  [ "$(disk_kib "$node")" -lt 1024 ] || fail "$node.img is not sparse"
  cmp -n 4096 "$dir/$node.img" "$dir/block"
  [ -n "$SAN" ] || [ "$(rss "$node")" -lt $((64 << 20)) ] ||
    fail "$node needs $(rss "$node") bytes of memory"
  tail -c 4096 "$dir/$node.img" | cmp - "$dir/block"
done
big=$(rss a)

# A small one, to compare.
stop_nbdkit proxy
stop_node a
stop_node b
rm "$dir"/[ab].img*
start_nodes size=1G
echo "256 GiB: $big bytes of memory, 1 GiB: $(rss a)"
[ -n "$SAN" ] || [ "$big" -lt $(($(rss a) + (32 << 20))) ] ||
  fail 'memory grows with the size'
