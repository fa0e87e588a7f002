#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The target of a resync is killed in the middle of it, twice, under load,
# the second time together with the source: the resync goes on, what the
# target has is not sent again, and in the end both copies are the same.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

make_stale resync-rate=4M
start_node b
wait_resyncing a
kill_node b
start_node b
wait_resyncing a
kill_node b
kill_node a
start_node b
[ "$(node_state b)" = syncing ] || fail "b is '$(node_state b)'"
start_node a
wait_insync
stop_writer
verify_both
