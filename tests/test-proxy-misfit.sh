#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server that cannot stand in for the first one (smaller, less able, no
# duet node) is not used and the log says why; a larger one is.
. "$(dirname "$0")/functions.sh"
. tests/proxy-functions.sh

# try_second TEXT ARG...: b is a server by ARGs; the proxy must say TEXT
# and wait for a.
try_second ()
{
  local text=$1
  shift
  start_server a
  start_server b "$@"
  : > "$dir/proxy.log"
  start_test_proxy a b
  nbd_python "h.pwrite (b'x' * 512, 0)"
  kill_nbdkit a
  nbd_python "assert h.pread (512, 0) == b'x' * 512" &
  reader=$!
  tracked+=("$reader")
  wait_for 10 "grep -qF '$text' '$dir/proxy.log'"
  is_alive "$reader" || fail 'b was used, or an error was shown'
  start_server a
  wait "$reader" || fail 'the read failed'
  stop_nbdkit proxy
  stop_nbdkit a
  stop_nbdkit b
}

try_second 'are needed' memory 1M
try_second 'it lacks writing' -r file "$dir/disk"
try_second 'it lacks trim' eval get_size='echo 64M' pread='exit 1' \
  pwrite='exit 1' can_write='exit 0' can_flush='exit 0' \
  can_multi_conn='exit 0' flush='exit 0' can_fua='echo native' \
  can_zero='exit 0' zero='exit 1' can_cache='echo native' cache='exit 0'
try_second 'in blocks of 512' eval get_size='echo 64M' pread='exit 1' \
  block_size='echo 512 4096 32M'

# A larger one is fine; the size stays what it was.
truncate -s 64M "$dir/disk"
start_server a
start_test_proxy a b
nbd_python "assert h.get_size () == 64 << 20"
kill_nbdkit a
truncate -s 128M "$dir/disk"
start_server b
nbd_python "
assert h.get_size () == 64 << 20
assert h.pread (512, 0) == b'x' * 512"
