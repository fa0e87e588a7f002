#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# While the volume grows, under load, one of the nodes is killed, again and
# again, at any moment: the volume has the old size or the new one, the same
# on both nodes, and all that was answered.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh
. tests/resize-functions.sh

rounds=$((10 / patience))
for parameters in durability=write durability=flush; do
  again () { start_node "$1" "$parameters"; }
  again a
  again b
  start_proxy state="$dir/proxy.state"
  start_writer
  grown=0
  for ((round = 1; round <= rounds; round++)); do
    case $((RANDOM % 2)) in
      0) grow_and_kill first $((4096 * (1 + RANDOM))) again ;;
      1) grow_and_kill second $((4096 * (1 + RANDOM))) again ;;
    esac
    check_writer
  done
  echo "$parameters: grown $grown times in $rounds"
  wait_insync
  ctl "$(primary)" resize $((1 << 30)) || fail "$(cat "$dir/says")"
  have_size $((1 << 30))
  nbdsh "$proxy_uri" 'h.pwrite(b"end" * 512, h.get_size() - 1536); h.flush()'
  stop_writer
  stop_nbdkit proxy
  wait_insync
  verify_both
  stop_node a
  stop_node b
  rm -f "$dir"/*.img "$dir"/*.duet "$writer_state" "$dir/proxy.state"
done
