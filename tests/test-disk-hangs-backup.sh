#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The backup's disk neither works nor gives an error: after ten times dead=
# the primary goes on without it, the client sees a pause and no error, and
# the backup is brought up to date when its disk is back.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

mount_hanging_disk

start_node a dead=400
start_node b dead=400 file="$dir/mnt/img" meta="$dir/b.meta"
wait_insync
choose_primary a
start_proxy
start_writer
hang_disk
start=$(now_ms)
wait_for 20 'node_status a .reason | grep -q "the peer has made nothing"' ||
  fail "a says: $(node_status a .reason)"
wait_for 20 'node_status b .reason | grep -q "disk has not answered"' ||
  fail "b says: $(node_status b .reason)"
wait_state a solo 20
took=$(($(now_ms) - start))
wait_written 50
echo "given up after $took ms"
[ "$took" -ge 3500 ] || fail 'given up too soon'
unhang_disk
wait_insync
stop_writer
cmp "$dir/a.img" "$dir/mnt/img" || fail 'the data files differ'
