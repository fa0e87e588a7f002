#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Somebody makes the data file of a running node shorter.  A backup finds
# out by itself, says so and counts as failed, also when the file has its
# length again; so does a primary, whose clients go on at the other node.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

short='the data file was made shorter by somebody else'

# round NAME: its file is cut; the other one serves.
round ()
{
  truncate -s 1M "$dir/$1.img"
  wait_state "$1" failed 10
  node_status "$1" .reason | grep -q "$short" ||
    fail "$1 says: $(node_status "$1" .reason)"
  nbdsh "$proxy_uri" 'h.pwrite(b"x" * 4096, 8 << 20)
assert h.pread(4096, 3 << 20) == b"d" * 4096'
  wait_state "$(peer_of "$1")" solo
  stop_node "$1"
  ! (start_node "$1") > /dev/null 2>&1 || fail "$1 starts on a short file"
  truncate -s "$SIZE" "$dir/$1.img"
  start_node "$1"
  wait_insync
  identical
}

start_nodes
choose_primary a
start_proxy
nbdsh "$proxy_uri" 'h.pwrite(b"d" * 4096, 3 << 20)'
round b
wait_state a primary
round a
