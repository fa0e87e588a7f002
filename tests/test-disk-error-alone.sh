#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The disk of a node without peer gives an error: now the client sees it,
# soon, and does not wait for ever.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_fragile_node a
start_fragile_node b
start_proxy state="$dir/proxy.state"
start_writer
wait_insync
wait_primary
kill_node "$second"
wait_state "$first" solo
wait_written 20
break_disk "$first" pwrite
wait_for 20 "! is_alive $writer" || fail 'the client waits for ever'
grep -q 'failed after .*: Input/output error' "$dir/writer.log" ||
  fail "the client: $(cat "$dir/writer.log")"
