#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A new proxy whose client has asked for nothing yet knows the generation:
# when the backup is lost then, or the primary, the first request is served
# by the node that is left, with and without a state file.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

# The proxy lets a client in.
opened ()
{
  nbdsh "$proxy_uri" 'assert h.get_size () > 0'
}

write_one ()
{
  nbdsh "$proxy_uri" "
h.pwrite (b'$1' * 4096, 0)
assert h.pread (4096, 0) == b'$1' * 4096" || fail "the write: $1"
}

start_nodes
choose_primary a
for state in none file; do
  options=()
  [ $state = none ] || options=(state="$dir/proxy.state")

  start_proxy "${options[@]}"
  opened
  kill_node b
  write_one 1
  start_node b
  wait_insync
  stop_nbdkit proxy
  rm -f "$dir/proxy.state"

  start_proxy "${options[@]}"
  opened
  kill_node a
  write_one 2
  start_node a
  wait_insync
  stop_nbdkit proxy
  rm -f "$dir/proxy.state"

  # b is primary now: back to a.
  start_proxy
  opened
  kill_node b
  write_one 3
  start_node b
  wait_insync
  stop_nbdkit proxy
done
