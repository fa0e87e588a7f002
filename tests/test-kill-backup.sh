#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The backup is killed 20 times under load: the client sees no error, and
# in the end both copies are the same and hold all that was answered.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_pair
start_writer
for ((round = 1; round <= 20; round++)); do
  wait_insync
  wait_written $((20 + RANDOM % 200))
  wait_primary
  moment 100
  kill_node "$second"
  wait_written 50
  moment 100
  start_node "$second"
done
wait_insync
stop_writer
verify_both
