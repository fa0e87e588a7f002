#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Garbage, half frames, huge lengths, well-formed nonsense in the peer's own
# name and floods of connections on the link port, while clients write:
# nobody dies, memory stays bounded, no client sees an error, and the nodes
# find each other again.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_pair
start_writer
wait_insync
seed=$RANDOM
echo "seed $seed"

# Strangers: the pair does not even lose its link.
before=$(node_status a .generation.epoch)
for node in a b; do
  { head -c 100000 /dev/urandom > "/dev/tcp/127.0.0.1/${link_port[$node]}"
  } 2> /dev/null || true
  "$BUILD/tests/tool-link" forge "${link_port[$node]}" 0 50 "$seed"
done
wait_written 100
is_insync a || fail "a is $(node_state a)"
[ "$(node_status a .generation.epoch)" = "$before" ] ||
  fail 'strangers have parted the nodes'

# A flood that says nothing.
for node in a b; do
  "$BUILD/tests/tool-link" flood "${link_port[$node]}" 300 \
    > "$dir/$node.flood" &
  tracked+=("$!")
  wait_for 20 "grep -q flooded '$dir/$node.flood'"
done
wait_written 100
wait_primary
kill_node "$second"
wait_written 100
start_node "$second"
wait_insync

# In the peer's name.
for round in 1 2 3; do
  for node in a b; do
    peer=$(node_status "$(peer_of $node)" .node)
    "$BUILD/tests/tool-link" forge "${link_port[$node]}" "$peer" 30 \
      $((seed + round))
  done
  wait_written 50
done
wait_insync 60
for node in a b; do
  is_alive "${pid[$node]}" || fail "$node died"
  [ -n "$SAN" ] || [ "$(node_status $node .rss_bytes)" -lt $((128 << 20)) ] ||
    fail "$node has grown to $(node_status $node .rss_bytes) bytes"
done
stop_writer
verify_both
