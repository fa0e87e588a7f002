#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two volumes, and a node of one meets a node of the other: refused by
# name, nothing of either is changed, and each goes on with its own peer.
. "$(dirname "$0")/functions.sh"

require_command qemu-io
put ()
{
  qemu-io -f raw -c "write -P $2 0 64k" "$(node_uri "$1")" > /dev/null
}

start_node a takeover=any
start_node b takeover=any
wait_insync
put a 1 || put b 1
stop_node a
stop_node b
mkdir "$dir/one"
mv "$dir"/[ab].img* "$dir/one"
start_node a takeover=any
start_node b takeover=any
wait_insync
put a 2 || put b 2
stop_node a
stop_node b

# Node a of the second volume, node b of the first.
rm "$dir"/b.img*
mkdir "$dir/two"
cp "$dir/one"/b.img* "$dir"
cp "$dir"/a.img "$dir/two"
start_node a takeover=any
start_node b takeover=any
for node in a b; do
  wait_for 20 "node_status $node .reason | grep -q 'another volume'" ||
    fail "$node: $(node_status $node .reason)"
done
cmp "$dir/a.img" "$dir/two/a.img" || fail 'a was changed'
cmp "$dir/b.img" "$dir/one/b.img" || fail 'b was changed'

# b's own peer.
stop_node a
rm "$dir"/a.img*
cp "$dir/one"/a.img* "$dir"
start_node a takeover=any
wait_insync
identical
