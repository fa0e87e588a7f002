#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The connections of a session die without a word, while new ones work: the
# proxy leaves them and opens a new session at the same node, with a request
# under way and without.
#
#   client -- unix socket -- proxy [namespace: 10.9.0.2, later .3, .4]
#                              |  veth; what goes to an old address is lost
#                            a, b [namespace: 10.9.0.1]
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

require_root
require_command ip
nodes=duet-nodes-$$
side=duet-proxy-$$

end_namespaces ()
{
  ip netns del $nodes 2> /dev/null
  ip netns del $side 2> /dev/null
}

# within NAMESPACE COMMAND...: what COMMAND starts as nbdkit runs there.
within ()
{
  local NBDKIT=$dir/nbdkit-$1
  printf '#!/bin/sh\nexec ip netns exec %s %s "$@"\n' "$1" "$real_nbdkit" \
    > "$NBDKIT"
  chmod +x "$NBDKIT"
  shift
  "$@"
}

# move N: the proxy's side has the address 10.9.0.N and no other.
move ()
{
  ip -n $side addr flush dev veth
  ip -n $side addr add 10.9.0.$1/24 dev veth
}

real_nbdkit=$NBDKIT
ip netns add $nodes 2> /dev/null || skip 'no network namespaces here'
at_exit 'end_namespaces'
ip netns add $side
ip -n $nodes link add veth type veth peer name veth netns $side ||
  skip 'no veth here'
ip -n $nodes link set lo up
ip -n $nodes link set veth up
ip -n $side link set veth up
ip -n $nodes addr add 10.9.0.1/24 dev veth
move 2

within $nodes start_node a --ip-addr=0.0.0.0
within $nodes start_node b --ip-addr=0.0.0.0
wait_insync
within $side start_proxy_to proxy "nbd://10.9.0.1:${nbd_port[a]}" \
  "nbd://10.9.0.1:${nbd_port[b]}" -- timeout=500
nbdsh "$proxy_uri" "h.pwrite (b'1' * 4096, 0)"
[ "$(node_state a)" = primary ] || fail "a is $(node_state a)"

# A request is sent into the void.
move 3
nbdsh "$proxy_uri" "
h.pwrite (b'2' * 4096, 0)
assert h.pread (4096, 0) == b'2' * 4096"

# Nothing is under way: the loss is seen all the same.
lost=$(grep -c 'lost: ' "$dir/proxy.log")
move 4
wait_for 20 "[ \$(grep -c 'lost: ' '$dir/proxy.log') -gt $lost ]" ||
  fail 'an idle session is not missed'
nbdsh "$proxy_uri" "assert h.pread (4096, 0) == b'2' * 4096"
[ "$(node_state a)" = primary ] || fail 'the role has moved'
is_insync a || fail "a is $(node_state a)"
