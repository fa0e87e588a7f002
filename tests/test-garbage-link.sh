#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Garbage, half frames and idle connections on the link port end at most
# themselves: the pair serves on.
. "$(dirname "$0")/functions.sh"

require_command qemu-io
start_node a
start_node b
wait_insync
start_proxy state="$dir/proxy.state"
qemu-io -f raw -c 'write -P 1 0 64k' "$proxy_uri" > /dev/null
for round in $(seq 20); do
  for node in a b; do
    { head -c $((round * 37)) /dev/urandom > \
        "/dev/tcp/127.0.0.1/${link_port[$node]}"; } 2> /dev/null || true
    { printf 'TEUD\001\000\000\000\377\377\377\377' > \
        "/dev/tcp/127.0.0.1/${link_port[$node]}"; } 2> /dev/null || true
  done
done
# Half a greeting each, held open.
exec {one}<> "/dev/tcp/127.0.0.1/${link_port[a]}"
exec {two}<> "/dev/tcp/127.0.0.1/${link_port[b]}"
printf 'TEUD\001' >&"$one"
printf 'TEUD\001' >&"$two"
qemu-io -f raw -c 'write -P 2 64k 64k' "$proxy_uri" > /dev/null
is_alive "${pid[a]}" && is_alive "${pid[b]}" || fail 'a node died'
wait_insync
identical
