#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The backup's disk gives errors, at a write or at fdatasync: the client
# sees nothing of it, the primary goes on alone, the backup is failed and
# stays so until it is started again and brought up to date.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_fragile_node a
start_fragile_node b
start_proxy state="$dir/proxy.state"
start_writer
for call in pwrite fdatasync; do
  wait_insync
  wait_primary
  break_disk "$second" $call
  wait_state "$second" failed
  wait_state "$first" solo
  wait_written 100
  mend_disk "$second"
  [ "$(node_state "$second")" = failed ] || fail 'it trusts its disk again'
  stop_node "$second"
  start_fragile_node "$second"
done
wait_insync
stop_writer
verify_both
