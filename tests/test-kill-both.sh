#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Both nodes are killed at the same time, or one shortly after the other,
# 10 times under load (3 with a sanitizer), and come back in any order: the
# client sees no error, and in the end both copies are the same and hold all
# that was answered.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_pair
start_writer
for ((round = 1; round <= (10 + patience - 1) / patience; round++)); do
  wait_insync
  wait_written $((20 + RANDOM % 200))
  if [ $((RANDOM % 2)) = 0 ]; then one=a other=b; else one=b other=a; fi
  moment 100
  kill_node "$one"
  [ $((RANDOM % 2)) = 0 ] || moment 300
  kill_node "$other"
  if [ $((RANDOM % 2)) = 0 ]; then one=a other=b; else one=b other=a; fi
  start_node "$one"
  moment 300
  start_node "$other"
  wait_written 50
done
wait_insync
stop_writer
verify_both
