#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# 300 clients that hang up with 64 requests in flight, at the primary and
# at the proxy, under our nbdkit and under the system's: nobody dies, and
# another client is served all the time.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

servers=("$NBDKIT")
system=$(PATH=/usr/bin:/usr/sbin:$PATH command -v nbdkit || true)
[ -z "$system" ] || [ "$SAN" = thread ] || servers+=("$system")
# Rounded so that a run with a sanitizer ends in time.
count=$((300 / (patience > 1 ? 5 : 1)))

for NBDKIT in "${servers[@]}"; do
  rm -f "$dir"/[ab].img*
  "$NBDKIT" --version
  start_nodes
  choose_primary a
  start_proxy
  for uri in "$(node_uri a)" "$proxy_uri"; do
    "$BUILD/tests/tool-hangup" $count "$uri"
    for name in a b proxy; do
      is_alive "${pid[$name]}" || fail "$name died"
    done
    [ "$(node_state a) $(node_state b)" = 'primary backup' ] ||
      fail "a is $(node_state a), b is $(node_state b)"
  done
  # What was in flight is carried out, or dropped, on both.
  wait_for 20 'cmp "$dir/a.img" "$dir/b.img"' || fail 'the files differ'
  stop_nbdkit proxy
  stop_node a
  stop_node b
done
