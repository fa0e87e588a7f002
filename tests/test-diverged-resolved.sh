#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Copies that have diverged are one again also when one of them is emptied:
# it is filled from the other, which serves all the time.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes takeover=any
choose_primary a
kill_node b
nbdsh "$(node_uri a)" 'h.pwrite(b"a" * 8192, 0)'
kill_node a
start_node b takeover=any
nbdsh "$(node_uri b)" 'h.pwrite(b"b" * 8192, 4096)'
start_node a takeover=any
wait_state a diverged
wait_state b diverged

stop_node b
rm "$dir/b.img" "$dir/b.img.duet"
nbdsh "$(node_uri a)" 'h.pwrite(b"c" * 512, 100000)'
start_node b takeover=any
wait_insync
wait_state a primary
nbdsh "$(node_uri a)" '
assert h.pread(8192, 0) == b"a" * 8192
assert h.pread(4096, 8192) == bytes(4096)
assert h.pread(512, 100000) == b"c" * 512'
identical
