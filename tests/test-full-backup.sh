#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The backup's disk is full: the client sees nothing of it, the primary
# goes on alone, and with room again a restart brings the backup up to date.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_on_small_disks
start_writer
wait_insync
wait_primary
fill_disk "$second"
wait_state "$second" failed
wait_state "$first" solo
wait_written 100
stop_node "$second"
empty_disk "$second"
start_on_small_disk "$second"
wait_insync
stop_writer
verify "$dir/a/img"
verify "$dir/b/img"
cmp "$dir/a/img" "$dir/b/img"
