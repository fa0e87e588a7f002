#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The primary's disk is full: the client sees nothing of it, the backup
# takes over, and with room again a restart brings the other up to date.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_on_small_disks
start_writer
wait_insync
wait_primary
fill_disk "$first"
wait_state "$first" failed
wait_state "$second" solo
wait_written 100
stop_node "$first"
empty_disk "$first"
start_on_small_disk "$first"
wait_insync
stop_writer
verify "$dir/a/img"
verify "$dir/b/img"
cmp "$dir/a/img" "$dir/b/img"
