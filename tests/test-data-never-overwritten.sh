#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A blank node whose file holds data is not overwritten: not by a volume,
# and not by another blank node with data.  With an empty peer it is what
# the volume is made from.
. "$(dirname "$0")/functions.sh"

make_image ()
{
  truncate -s "$SIZE" "$dir/$1.img"
  dd if=/dev/urandom of="$dir/$1.img" bs=64k count=20 seek=$2 conv=notrunc \
    2> /dev/null
  sha256sum < "$dir/$1.img" > "$dir/$1.sum"
}

unchanged ()
{
  [ "$(sha256sum < "$dir/$1.img")" = "$(cat "$dir/$1.sum")" ] ||
    fail "$1 was overwritten"
}

# refused NAME REASON
refused ()
{
  wait_for 20 "node_status $1 .reason | grep -q '^$2'" ||
    fail "$1: $(node_status "$1" .reason)"
}

# Data on both sides.
make_image a 3
make_image b 100
start_node a
start_node b
refused a 'both nodes are blank and neither data file is empty'
refused b 'both nodes are blank and neither data file is empty'
unchanged a
unchanged b
stop_node b
unchanged b

# Data on one side.
rm "$dir/b.img" "$dir/b.img.duet"
start_node b
wait_insync
unchanged a
identical

# A volume, and a blank node with data in place of its peer.
stop_node b
rm "$dir/b.img.duet"
make_image b 200
nbdinfo --size "$(node_uri a)" > /dev/null 2>&1 || true
start_node b
refused b 'this node is blank, but its data file is not empty'
refused a 'the peer is blank, but its data file is not empty'
unchanged b
unchanged a
