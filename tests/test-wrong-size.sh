#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Nodes whose volumes have different sizes refuse each other and say why.
. "$(dirname "$0")/functions.sh"

start_node a size=64M
start_node b size=32M
wait_for 20 "node_status a .reason |
    grep -q 'another size.*(67108864 bytes here, 33554432 there)'" ||
  fail "a: $(node_status a .reason)"
[ "$(node_state a)" = waiting ] || fail "a is $(node_state a)"

# They try again for ever, but say it once.
sent=$(node_status a .link.frames_sent)
wait_for 30 "[ \"\$(node_status a .link.frames_sent)\" -ge $((sent + 4)) ]" ||
  fail 'a does not try again'
for node in a b; do
  [ "$(grep -c 'another size' "$dir/$node.log")" -eq 1 ] ||
    fail "$node repeats itself"
  [ "$(grep -c 'closed' "$dir/$node.log")" -le 2 ] ||
    fail "$node repeats itself"
done
