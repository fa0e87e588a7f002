#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Trimmed and zeroed ranges read back as zeros and are the same on both
# nodes; the space is free on both, unless the client wants it kept; holes
# stay holes when a node is resynced.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

mib=$((1 << 20))

# check_disk MIN MAX: what both data files take, in MiB.
check_disk ()
{
  local node kib
  for node in a b; do
    kib=$(disk_kib "$node")
    [ "$kib" -ge $(($1 * 1024)) ] && [ "$kib" -le $(($2 * 1024 + 512)) ] ||
      fail "$node.img takes $kib KiB, not $1 to $2 MiB"
  done
}

start_nodes
choose_primary a
start_proxy

nbdsh "$proxy_uri" "
h.pwrite(os.urandom(32 * $mib), 0)"
check_disk 32 32

nbdsh "$proxy_uri" "
assert h.can_trim() and h.can_zero() and h.can_fast_zero() and h.can_fua()
h.trim(4 * $mib, 0)
h.zero(4 * $mib, 4 * $mib)
h.zero(4 * $mib, 8 * $mib, nbd.CMD_FLAG_FUA)
h.trim(4 * $mib, 12 * $mib, nbd.CMD_FLAG_FUA)
assert h.pread(16 * $mib, 0) == bytes(16 * $mib)"
identical
check_disk 16 16

# Zeros that keep their space, and a fast zero: done, or refused at once
# without harm.
nbdsh "$proxy_uri" "
h.zero(4 * $mib, 0, nbd.CMD_FLAG_NO_HOLE)
assert h.pread(4 * $mib, 0) == bytes(4 * $mib)
try:
    h.zero(4 * $mib, 16 * $mib, nbd.CMD_FLAG_FAST_ZERO)
    assert h.pread(4 * $mib, 16 * $mib) == bytes(4 * $mib)
except nbd.Error as error:
    assert error.errno == 'ENOTSUP', error
    h.zero(4 * $mib, 16 * $mib)"
identical
check_disk 16 16

# Odd edges: what is outside stays.
nbdsh "$proxy_uri" "
h.pwrite(b'x' * $mib, 20 * $mib)
h.zero(500001, 20 * $mib + 777)
h.trim(1000, 20 * $mib + 600001)
found = h.pread($mib, 20 * $mib)
want = bytearray(b'x' * $mib)
want[777:500778] = bytes(500001)
assert found[:600001] == want[:600001]
assert found[601001:] == want[601001:]
assert found[600001:601001] in (bytes(1000), b'x' * 1000)"
identical

# A new hole, while b is away, in what b has as data; and b has no space
# for what was never written.
kill_node b
nbdsh "$proxy_uri" "
h.trim(8 * $mib, 24 * $mib)
h.pwrite(b'y' * 4096, 40 * $mib)"
start_node b
wait_insync
identical
check_disk 7 8
