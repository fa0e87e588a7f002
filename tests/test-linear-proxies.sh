#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two clients, each behind a proxy of its own, while one node at a time is
# killed: what they see is linearizable, but for writes in flight at that
# time, which may take effect again until they are answered (I3).
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh

# Silence is no fault here: with several clients the network must hold.
start_cabled_pair dead=10000
start_proxy state="$dir/proxy.state"
start_second_proxy
start_load "$proxy_uri"
start_load "$proxy2_uri" connections=4 depth=2
wait_answered "$pause"
for fault in kill-primary kill-backup kill-primary; do
  with_fault $fault
done
stop_loads
check_linear again
identical
