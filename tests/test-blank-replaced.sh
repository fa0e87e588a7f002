#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A node's disk is replaced by an empty one while the other serves alone:
# it gets everything, under load, and holes stay holes.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_pair
start_writer
wait_insync
wait_written 500
wait_primary
kill_node "$second"
rm "$dir/$second.img" "$dir/$second.img.duet"
wait_state "$first" solo
wait_written 100
start_node "$second"
wait_insync
# The new disk is as good as the old one.
wait_written 50
kill_node "$first"
wait_written 50
start_node "$first"
wait_insync
stop_writer
verify_both
[ "$(stat -c %b "$dir/$second.img")" -lt $((56 * 2048)) ] ||
  fail 'the holes were filled'
