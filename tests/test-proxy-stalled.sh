#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A node that stops answering is left for one that serves, and its late
# answers do no harm; a node that is only slow is not left as long as the
# other one refuses.
. "$(dirname "$0")/functions.sh"
. tests/proxy-functions.sh

# b has a disk of its own: nothing fences the stand-ins, so what a carries
# out late must not land there.
start_actor a
truncate -s "$SIZE" "$dir/b.disk"
start_server b file "$dir/b.disk"
start_test_proxy a b -- timeout=500
nbd_python "h.pread (1, 0)"

# Stopped: b takes over, and what a answers later is not heard.
kill_nbdkit a STOP
nbd_python "
h.pwrite (b'2' * 4096, 0)
assert h.pread (4096, 0) == b'2' * 4096"
grep -q 'a.sock left: no answer' "$dir/proxy.log" || fail 'a was not left'
kill_nbdkit a CONT
nbd_python "assert h.pread (4096, 0) == b'2' * 4096"
stop_nbdkit proxy
stop_nbdkit b

# Slow, and the other one refuses: stay, in one session.
start_actor b
touch "$dir/b.refuse"
: > "$dir/a.asked"
start_test_proxy a b -- timeout=500 connections=1
nbd_python "h.pread (1, 0)"
echo 3 > "$dir/a.slow"
nbd_python "
h.pwrite (b'3' * 512, 0)
assert h.pread (512, 0) == b'3' * 512"
[ "$(wc -l < "$dir/a.asked")" -eq 1 ] || fail 'left a slow node'
[ "$(wc -l < "$dir/b.asked")" -ge 2 ] || fail 'b was not probed'
if grep -q unreachable "$dir/b.asked"; then
  fail 'told b that a cannot be reached'
fi

# Dead to us while the other one refuses: it is told so.
kill_nbdkit a STOP
nbd_python "assert h.pread (512, 0) == b'3' * 512" &
reader=$!
tracked+=("$reader")
wait_for 10 "grep -q ':unreachable$' '$dir/b.asked'"
rm "$dir/b.refuse"
wait "$reader" || fail 'the read failed'
kill_nbdkit a CONT
