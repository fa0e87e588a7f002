#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The commands of docs/ha.md work as they stand there: the pair of the guide
# gets a referee, three members of etcd of which one is beside each node, and
# a machine with a node and a member loses its power.
. "$(dirname "$0")/functions.sh"
. tests/guide-functions.sh

[ -z "$SAN" ] || skip 'the packages are not sanitized'
require_command dpkg-buildpackage dh psktool etcd etcdctl

after_cut () { write_cut; }
after_return () { read_cut; }

# From the guide, what is before the plug is pulled.
blocks_of docs/guide.md "$dir/guide"
run_kernel_block () { :; }
pulled=
for at in "$dir"/guide/*.at; do
  ! grep -q loses "$at" || pulled=yes
  if [ -n "$pulled" ] || grep -qx alone "$at"; then
    rm "$at" "${at%.at}"
  fi
done
[ -n "$pulled" ] || fail 'no plug in the guide'
blocks_of docs/ha.md "$dir/ha"

copy_sources
make_machines alpha beta gamma
make_scp
run_blocks "$dir/guide"
run_blocks "$dir/ha"
read_cut
cmp "$hosts_dir"/{alpha,beta}/upper/var/lib/duet/disk.img ||
  fail 'the data files differ'
