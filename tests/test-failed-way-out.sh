#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The disk of a node that serves alone fails, and the peer's copy is stale:
# no copy is served, both nodes say why, and the steps that the manual
# gives for this bring the volume back with all that was answered.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh
. tests/volume-functions.sh

start_fragile_node a
start_fragile_node b
start_proxy state="$dir/proxy.state"
wait_insync
nbdsh "$proxy_uri" 'h.pwrite(b"1" * 65536, 0)'
wait_primary
kill_node "$second"
nbdsh "$proxy_uri" 'h.pwrite(b"2" * 65536, 4096)'
wait_state "$first" solo
break_disk "$first" fdatasync
nbdsh "$proxy_uri" '
try: h.pwrite(b"3" * 4096, 1 << 20)
except nbd.Error as e: assert e.errnum == 5 or e.errno == "EIO", e
else: assert False, "an fdatasync that failed was answered"'
wait_state "$first" failed
node_status "$first" .reason | grep -q 'mend its disk and restart' ||
  fail "$(node_status "$first" .reason)"

# Mended and started again, neither may serve.  (nbdkit told to stop waits
# for its clients, and the proxy is connected.)
mend_disk "$first"
kill_node "$first"
start_fragile_node "$first"
start_node "$second"
wait_for 20 "node_status $first .reason | grep -q \
  'this copy is on a disk that has failed, and the peer'" ||
  fail "$(node_status "$first" .reason)"
wait_for 20 "node_status $second .reason | grep -q \
  'this copy lacks writes of the peer'" ||
  fail "$(node_status "$second" .reason)"
[ "$(node_state "$first")" = failed ] || fail "$(node_state "$first")"
! nbdsh "$(node_uri "$second")" pass 2> /dev/null ||
  fail 'the stale copy was served'

# The steps of nbdkit-duet-plugin(1), "failed".
stop_nbdkit proxy
stop_node "$first"
stop_node "$second"
rm "$dir/$first.img.duet" "$dir/$second.img.duet"
rm "$dir/$second.img"
rm "$dir/proxy.state"
start_node "$first"
start_node "$second"
start_proxy state="$dir/proxy.state"
nbdsh "$proxy_uri" '
assert h.pread(4096, 0) == b"1" * 4096
assert h.pread(65536, 4096) == b"2" * 65536
h.pwrite(b"4" * 4096, 0)'
wait_insync
identical
