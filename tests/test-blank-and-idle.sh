#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A node's disk is replaced by an empty one while no client was there to
# choose the survivor: both nodes say what to do, and each of the two ways
# that they name works.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

# lose NODE: it comes back without its files.
lose ()
{
  local other
  other=$(peer_of "$1")
  kill_node "$1"
  rm "$dir/$1.img" "$dir/$1.img.duet"
  start_node "$1"
  wait_for 20 "node_status $1 .reason | grep -q '^this node is blank, and'" ||
    fail "$1: $(node_status "$1" .reason)"
  wait_for 20 "node_status $other .reason |
    grep -q '^the peer is blank, and this node waits to be chosen'" ||
    fail "$other: $(node_status "$other" .reason)"
}

start_nodes
choose_primary a
start_proxy state="$dir/proxy.state"
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(8 << 20), 3 << 20)'
stop_nbdkit proxy

# A client through its proxy.
lose b
start_proxy state="$dir/proxy.state"
nbdsh "$proxy_uri" 'h.pread(512, 0)'
wait_insync
identical
stop_nbdkit proxy

# takeover=any, and any client.
lose a
kill_node b
start_node b takeover=any
nbdsh "$(node_uri b)" 'h.pread(512, 0)'
wait_insync
identical
