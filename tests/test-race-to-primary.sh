#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Both nodes of a new volume get their first client at the same moment,
# 20 times: never do both become primary, and whoever is served is served
# right.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

# Each client connects, writes and reads; exit 0 when it was served.
ask ()
{
  nbdsh "$(node_uri "$1")" "
h.pwrite(b'$1' * 4096, 0)
assert h.pread(4096, 0) == b'$1' * 4096
" 2> /dev/null
}

for round in {1..20}; do
  rm -f "$dir"/[ab].img*
  start_nodes
  ask a & asked_a=$!
  ask b & asked_b=$!
  served=
  ! wait $asked_a || served+=a
  ! wait $asked_b || served+=b
  [ ${#served} -le 1 ] || fail "round $round: both were served"
  states="$(node_state a) $(node_state b)"
  case $states in
    'primary backup' | 'backup primary' | 'backup backup') ;;
    *) fail "round $round: the nodes are $states" ;;
  esac
  all+="${served:--}"
  identical
  kill_node a
  kill_node b
done
echo "served: $all"
case $all in *[ab]*) ;; *) fail 'nobody was ever served' ;; esac
