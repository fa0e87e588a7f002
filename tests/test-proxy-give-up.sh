#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With give-up= a request fails with EIO after that time, whether no node
# serves or the only one does not answer; the proxy itself lives on, also
# when it is started before any node.
. "$(dirname "$0")/functions.sh"
. tests/proxy-functions.sh

# expect_eio: a read fails with EIO after one second and not much more.
expect_eio ()
{
  nbd_python "
import errno, time
start = time.monotonic ()
try:
    h.pread (512, 0)
    sys.exit ('no error')
except nbd.Error as e:
    assert e.errnum == errno.EIO, e
took = time.monotonic () - start
assert 0.9 < took < 1.5 * $patience + 1, took"
}

# Before any node: an open fails after the time, the proxy stays.
start_test_proxy a b -- give-up=1 timeout=100
if nbd_python '' 2> /dev/null; then
  fail 'opened without a node'
fi
start_server a
nbd_python "h.pwrite (b'a' * 512, 0)"

# No node serves.
kill_nbdkit a
expect_eio
start_server a
nbd_python "assert h.pread (512, 0) == b'a' * 512"

# The only node does not answer.
kill_nbdkit a STOP
expect_eio
kill_nbdkit a CONT
nbd_python "assert h.pread (512, 0) == b'a' * 512"
stop_nbdkit proxy

# Without give-up= a client waits, and the proxy still ends when told to,
# with and without a session.
kill_nbdkit a
start_test_proxy a b
for state in none stuck; do
  if [ $state = stuck ]; then
    start_server a
    start_test_proxy a b
    nbd_python "h.pread (512, 0)"
    kill_nbdkit a STOP
  fi
  nbd_python "h.pread (512, 0)" 2> /dev/null &
  tracked+=("$!")
  sleep 1.5
  is_alive "$!" || fail 'the client did not wait'
  start=$(now_ms)
  stop_nbdkit proxy
  [ $(($(now_ms) - start)) -lt $((3000 * patience)) ] ||
    fail 'slow to end'
done
kill_nbdkit a CONT
