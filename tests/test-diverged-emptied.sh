#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The way out of diverged copies: the loser's file and metadata are deleted,
# it is started again, and is filled from the other one, which serves all
# the while.
. "$(dirname "$0")/functions.sh"

require_command qemu-io

put ()
{
  qemu-io -f raw -c "write -P $2 $3 64k" "$(node_uri "$1")" > /dev/null
}

reads ()
{
  qemu-io -r -f raw -c "read -P $2 $3 64k" "$(node_uri "$1")" > /dev/null
}

start_node a takeover=any
start_node b takeover=any
wait_insync
put a 1 0
kill_node b
put a 2 1M
kill_node a
start_node b takeover=any
put b 3 2M
start_node a takeover=any
wait_state a diverged
wait_state b diverged

# a loses.
kill_node a
rm "$dir/a.img" "$dir/a.img.duet"
start_node a takeover=any
reads b 3 2M
wait_insync
reads b 1 0
reads b 0 1M
put b 4 3M
stop_node a
stop_node b
identical
