#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two client processes behind one proxy, while the cable between the nodes
# is cut, falls silent, or carries bytes one way only, and later delivers
# what it held: what they see is linearizable, without exception.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh

start_cabled_pair beat=50 dead=300
start_proxy state="$dir/proxy.state"
start_load "$proxy_uri"
start_load "$proxy_uri" connections=4 depth=2
wait_answered "$pause"
for fault in cut stall stall-ab stall-ba lose; do
  with_fault $fault
done
stop_loads
check_linear
identical
