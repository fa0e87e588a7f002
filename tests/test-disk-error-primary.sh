#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The primary's disk gives errors, at a write, at fdatasync or at a read:
# the backup takes over, the client sees nothing of it, and the failed copy
# is brought up to date when it is started again.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_fragile_node a
start_fragile_node b
start_proxy state="$dir/proxy.state"
start_writer
for call in pwrite fdatasync pread; do
  wait_insync
  wait_primary
  break_disk "$first" $call
  wait_state "$first" failed
  wait_state "$second" solo
  wait_written 100
  mend_disk "$first"
  stop_node "$first"
  start_fragile_node "$first"
done
wait_insync
stop_writer
verify_both
