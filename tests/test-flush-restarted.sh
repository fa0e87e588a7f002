#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With durability=flush a node that was restarted as one of two serves nobody
# without its peer, not even the client that it served last, and says why;
# beside a peer that stayed up it becomes the backup; the operator can take
# it as it is; and a peer with another durability= is refused.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes durability=flush flush-every=1
start_proxy state="$dir/proxy.state"
write='h.pwrite(b"x" * 5000, 0)'
nbdsh "$proxy_uri" "$write"
wait_primary

# Its peer was there all the time.
kill_node "$first"
start_node "$first" durability=flush
wait_insync
wait_state "$second" primary
nbdsh "$proxy_uri" "$write; h.flush()"
[ "$(node_status "$second" .unflushed_bytes)" = 0 ] ||
  fail 'a flush has left something'

# The peer went on alone: then it is just stale.
kill_node "$first"
nbdsh "$proxy_uri" "$write"
wait_state "$second" solo
start_node "$first" durability=flush
wait_insync
nbdsh "$proxy_uri" "$write"

# Both were killed, one is back.
kill_node a
kill_node b
start_node "$first" durability=flush
wait_for 20 '[[ $(node_status $first .reason) == *"may lack"* ]]'
! nbdsh "$(node_uri "$first")" pass 2> "$dir/refused" ||
  fail "$first serves though it may lack something"
grep -q 'may lack' "$dir/$first.log" || fail "$first does not say why"
[ "$(node_state "$first")" = waiting ] || fail 'it is served by its proxy'

# By the operator's word; the other one is stale then.
"$DUETCTL" -s "$dir/$first.ctl" promote --force
wait_state "$first" solo
nbdsh "$proxy_uri" "$write; assert h.pread(5000, 0) == b'x' * 5000"
start_node "$second"
wait_for 20 '[[ $(node_status $second .reason) == *"another durability="* ]]'
wait_for 20 '[[ $(node_status $first .reason) == *"another durability="* ]]'
kill_node "$second"
start_node "$second" durability=flush
wait_insync

# Without the mode nothing is missing once both have been there.
stop_nbdkit proxy
stop_node a
stop_node b
start_nodes
wait_for 20 '[ "$(node_status a .durability)" = write ]'
stop_node a
stop_node b
start_node "$second"
[[ $(node_status "$second" .reason) != *'may lack'* ]] ||
  fail "$second counts as restarted with a cache"
