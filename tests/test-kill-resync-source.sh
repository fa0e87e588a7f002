#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The source of a resync, which serves alone, is killed in the middle of
# it, twice, under load: the target does not serve meanwhile, the client
# sees no error, the resync goes on, and in the end both copies are the
# same.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

make_stale resync-rate=4M
start_node b resync-rate=4M
for round in 1 2; do
  wait_resyncing a
  kill_node a
  wait_for 10 '[ "$(node_status b .peer.connected)" = false ]'
  [ "$(node_state b)" = syncing ] || fail "b is '$(node_state b)'"
  # The last part at full speed.
  if [ $round = 2 ]; then start_node a; else start_node a resync-rate=4M; fi
done
wait_insync
stop_writer
verify_both
