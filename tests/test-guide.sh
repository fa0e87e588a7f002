#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The commands of docs/guide.md work as they stand there: on one machine, and
# on two nodes and a client, of which one node loses its power.  Those for a
# kernel with nbd run in test-kernel-guide.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/guide-functions.sh

[ -z "$SAN" ] || skip 'the packages are not sanitized'
require_command dpkg-buildpackage dh psktool nbdfuse mkfs.ext4 losetup
[ -e /dev/fuse ] && losetup --find > /dev/null 2>&1 ||
  skip 'no FUSE or no loop devices here'

# In the place of the kernel's client, a client of the proxy's socket.
run_kernel_block () { :; }

after_cut () { write_cut; }
after_return () { read_cut; }

blocks_of docs/guide.md "$dir/guide"
copy_sources
make_machines alpha beta gamma
make_scp
run_blocks "$dir/guide"
read_cut
cmp "$hosts_dir"/{alpha,beta}/upper/var/lib/duet/disk.img ||
  fail 'the data files differ'
