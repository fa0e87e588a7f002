#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The primary is stopped for longer than its lease and wakes up with
# requests in its sockets: it answers none of them, the other one has taken
# over.  Then stops that are shorter than the lease, or than the grace.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh
. tests/etcd-functions.sh

make_network 1
start_etcd
start_pair_with_clients

for round in 1 2; do
  wait_primary
  with_cut "primary ($first) stopped and back" \
    "kill_node $first STOP; wait_state $second solo" "kill_node $first CONT"
  [ "$(primary)" = "$second" ] || fail "$first is primary again"
done

stop_for ()
{
  kill_node "$1" STOP
  sleep "0.$2"
  kill_node "$1" CONT
}
for ms in 200 300 380 400 420 450 480 550; do
  wait_primary
  with_cut "primary stopped for $ms ms" "stop_for $first $ms"
done
wait_primary
with_cut 'backup stopped and back' \
  "kill_node $second STOP; wait_state $first solo" "kill_node $second CONT"
finish
