#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two plain NBD clients of the primary, with several connections each, read
# and write overlapping unaligned ranges: what they see is linearizable.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh

count=$([ -n "$SAN" ] && echo 1500 || echo 8000)
start_node a
start_node b
wait_insync
start_load "$(node_uri a)" count="$count"
wait_for 20 '[ "$(answered)" -gt 0 ]'
start_load "$(node_uri a)" count="$count" connections=4 depth=2
finish_loads
check_linear
identical
