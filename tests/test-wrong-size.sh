#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Nodes whose volumes have different sizes refuse each other and say why.
. "$(dirname "$0")/functions.sh"

start_node a size=64M
start_node b size=32M
wait_for 20 "node_status a .reason | grep -q 'another size'" ||
  fail "a: $(node_status a .reason)"
[ "$(node_state a)" = waiting ] || fail "a is $(node_state a)"
