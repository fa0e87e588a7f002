#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two copies that plain clients have written apart from each other are
# found out when the nodes meet: named, no data flows, and each goes on
# serving what it served.
. "$(dirname "$0")/functions.sh"

require_command qemu-io

put () { qemu-io -f raw -c "write -P $2 0 64k" "$(node_uri "$1")" > /dev/null; }

start_node a takeover=any
start_node b takeover=any
wait_insync
put a 1 || put b 1
kill_node b
put a 2
wait_state a solo
kill_node a
start_node b takeover=any
put b 3
wait_state b solo

start_node a takeover=any
wait_state a diverged
wait_state b diverged
node_status a .reason | grep -q 'written apart' || fail "$(node_status a)"
put b 4
qemu-io -r -f raw -c 'read -P 4 0 64k' "$(node_uri b)" > /dev/null
qemu-io -r -f raw -c 'read -P 2 0 64k' "$(node_uri a)" > /dev/null
[ "$(node_state b)" = diverged ] || fail "b is $(node_state b)"
