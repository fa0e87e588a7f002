#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A backup dies between a frame and its ack: it is stopped while writes are
# in flight, so that frames reach its socket and no ack comes back, and
# then killed.  The writes are completed by the primary alone, and the
# backup gets them when it is back.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

start_pair dead=4000
start_writer zeros=0
for round in 1 2 3; do
  wait_insync
  wait_written 100
  wait_primary
  # All requests in flight are waiting for an ack when nothing is answered
  # any more.
  kill_node "$second" STOP
  before=-1
  wait_for 10 'now=$(written); [ "$now" = "$before" ] || ! before=$now'
  kill_node "$second"
  wait_state "$first" solo
  wait_written 100
  [ "$(node_status "$first" .dirty_bytes)" -gt 0 ] ||
    fail 'nothing is marked for the dead backup'
  start_node "$second"
done
wait_insync
stop_writer
verify_both
