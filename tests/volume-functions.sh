# SPDX-License-Identifier: BSD-3-Clause
#
# volume-functions.sh: a volume of two nodes and its clients.  Sourced
# after functions.sh.

# start_nodes [PARAMETER...]: both nodes; returns when they have met and
# are in sync.
start_nodes ()
{
  start_node a "$@"
  start_node b "$@"
  wait_insync
}

# choose_primary NAME: a first client without a proxy asks NAME, whose
# peer then is the backup.
choose_primary ()
{
  nbdsh "$(node_uri "$1")" 'pass'
  wait_state "$1" primary
  wait_state "$(peer_of "$1")" backup
}

# nbdsh URI CODE: python with h, connected to URI, as nbdsh does it; with
# Debian's own python, because libnbd's module is installed for that one.
nbdsh ()
{
  timeout 100 /usr/bin/python3 -c "
import nbd, os, sys, threading, time
h = nbd.NBD()
h.connect_uri(sys.argv[1])
$2" "$1"
}

# start_proxy_to NAME URI... [-- PARAMETER...]: a proxy of its own with
# these nodes; its clients use proxy_uri_of NAME.
start_proxy_to ()
{
  local name=$1 nodes=()
  shift
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    nodes+=("node=$1")
    shift
  done
  [ $# -eq 0 ] || shift
  rm -f "$dir/$name.sock"
  start_nbdkit "$name" -U "$dir/$name.sock" "$DUETPROXY" "${nodes[@]}" "$@"
}

proxy_uri_of ()
{
  echo "nbd+unix:///?socket=$dir/$1.sock"
}

# The 1K blocks on disk of a node's data file, for all that is written.
disk_kib ()
{
  sync "$dir/$1.img"
  du -k "$dir/$1.img" | cut -f 1
}
