#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Strangers at a link port with TLS, while clients write: plain frames in
# any form, garbage, the beginning of a handshake and then nothing, floods.
# The pair keeps its link, the log says who spoke what, and memory stays
# bounded.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh
. tests/tls-functions.sh

new_psk "$dir/psk"
start_pair tls-psk="$dir/psk"
start_writer
wait_insync
before=$(node_status a .generation.epoch)
seed=$RANDOM
echo "seed $seed"

# say NODE FORMAT: to its link port, by printf; then wait until it hangs up.
say ()
{
  (
    exec 3<> "/dev/tcp/127.0.0.1/${link_port[$1]}"
    # shellcheck disable=SC2059
    printf "$2" >&3
    timeout 20 cat <&3 > /dev/null
  ) 2> /dev/null || true
}

for node in a b; do
  peer=$(node_status "$(peer_of $node)" .node)
  "$BUILD/tests/tool-link" forge "${link_port[$node]}" 0 30 "$seed"
  "$BUILD/tests/tool-link" forge "${link_port[$node]}" "$peer" 30 "$seed"
  { head -c 100000 /dev/urandom > "/dev/tcp/127.0.0.1/${link_port[$node]}"
  } 2> /dev/null || true
  say $node 'GET / HTTP/1.1\r\n\r\n'
  # A handshake record that is announced and does not come, one of 64 KiB,
  # one that is no handshake, and an alert.
  say $node '\026\003\001\002\000\001\000\001\374\003\003'
  say $node '\026\003\001\377\377\001'
  say $node '\026\003\001\000\004\377\377\377\377'
  say $node '\025\003\003\000\002\002\050'
  for said in 'it does not use TLS, and this node has tls- parameters' \
              'what it sent is not TLS'; do
    wait_for 20 "grep -q 'no link with 127.0.0.1: $said' '$dir/$node.log'" ||
      fail "$node does not say: $said"
  done
done
wait_written 100

# A flood that says nothing, and a peer that comes back through it.
for node in a b; do
  "$BUILD/tests/tool-link" flood "${link_port[$node]}" 300 \
    > "$dir/$node.flood" &
  tracked+=("$!")
  wait_for 20 "grep -q flooded '$dir/$node.flood'"
done
wait_written 100
is_insync a || fail "a is $(node_state a)"
[ "$(node_status a .generation.epoch)" = "$before" ] ||
  fail 'strangers have parted the nodes'
wait_primary
kill_node "$second"
wait_written 100
start_node "$second" tls-psk="$dir/psk"
wait_insync
for node in a b; do
  [ -n "$SAN" ] || [ "$(node_status $node .rss_bytes)" -lt $((128 << 20)) ] ||
    fail "$node has grown to $(node_status $node .rss_bytes) bytes"
done
stop_writer
verify_both
