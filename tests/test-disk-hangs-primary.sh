#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The primary's disk neither works nor gives an error: after dead= its
# status says so, after ten times that the backup takes over, the client
# sees a pause and no error.  The node serves nobody until it was started
# again and brought up to date.  Once with the metadata on a disk that
# works, once with it on the one that hangs; and a node alone only says so.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

mount_hanging_disk

late='disk has not answered for longer than dead='

# start_a META: node a, with its metadata in META.
start_a ()
{
  start_node a dead=400 beat=100 file="$dir/mnt/img" meta="$1"
}

# round META: a is primary; its disk hangs until b serves.
round ()
{
  start_a "$1"
  start_node b dead=400 beat=100
  wait_insync
  choose_primary a
  start_proxy
  start_writer
  wait_written 50
  hang_disk
  wait_for 20 "node_status a .reason | grep -q '$late'" ||
    fail "a says: $(node_status a .reason)"
  [ "$(node_state a)" = primary ] || fail "a is $(node_state a)"
  wait_for 10 "grep -q 'primary: .*$late: [0-9.]* s by now' '$dir/a.log'" ||
    fail 'no line in the log'
  wait_state b solo 20
  wait_state a failed
  wait_written 50
  unhang_disk
  wait_written 50
  [ "$(node_state a)" = failed ] || fail "a is $(node_state a) again"
  stop_node a
  start_a "$1"
  wait_insync
  stop_writer
  cmp "$dir/mnt/img" "$dir/b.img" || fail 'the data files differ'
}

round "$dir/a.meta"

# Alone it cannot do better than say so.
stop_node a
nbdsh "$proxy_uri" 'h.pwrite(b"x" * 4096, 0)'
start_a "$dir/a.meta"
wait_insync
stop_node b
nbdsh "$proxy_uri" 'h.pwrite(b"x" * 4096, 0)'
wait_state a solo
hang_disk
nbdsh "$proxy_uri" 'h.pwrite(b"y" * 4096, 0)' &
client=$!
tracked+=("$client")
wait_for 20 "node_status a .reason | grep -q '$late'" ||
  fail "a says: $(node_status a .reason)"
unhang_disk
wait_for 20 "! node_status a .reason | grep -q '$late'" ||
  fail "a still says: $(node_status a .reason)"
[ "$(node_state a)" = solo ] || fail "a is $(node_state a)"
wait "$client" || fail 'the client of a node alone saw an error'
stop_node proxy
stop_node a

rm "$dir/mnt/img" "$dir/b.img" "$dir/b.img.duet" "$writer_state"
round "$dir/mnt/meta"
