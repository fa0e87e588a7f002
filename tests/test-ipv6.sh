#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# IPv6 addresses, in brackets, for the link and for NBD; and a host name
# that stands for addresses of both families.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

grep -q ' lo$' /proc/net/if_inet6 2> /dev/null || skip 'no IPv6 here'

# start_on HOST: both nodes, which find each other at HOST.
start_on ()
{
  local name
  for name in a b; do
    rm -f "$dir/$name.ctl"
    start_nbdkit "$name" -i ::1 -p "${nbd_port[$name]}" "$DUET" \
      file="$dir/$name.img" size="$SIZE" listen="$1:${link_port[$name]}" \
      peer="$1:${link_port[$(peer_of "$name")]}" control="$dir/$name.ctl"
  done
  wait_insync
}

start_on '[::1]'
start_proxy_to proxy "nbd://[::1]:${nbd_port[a]}" "nbd://[::1]:${nbd_port[b]}"
nbdsh "$proxy_uri" 'h.pwrite(b"v6" * 3000, 5)'
identical
[ "$(node_status a .peer.address)" = "[::1]:${link_port[b]}" ] ||
  fail "$(node_status a .peer)"
stop_nbdkit proxy
stop_node a
stop_node b

# A name is looked up in a thread of the C library's, which TSan does not
# know.
[ "$SAN" != thread ] || exit 0
start_on localhost
identical
