#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A node that answers with ESHUTDOWN is left, the request is replayed at
# one that serves; real errors are passed on.
. "$(dirname "$0")/functions.sh"
. tests/proxy-functions.sh

start_actor a
start_actor b
touch "$dir/b.refuse"
start_test_proxy a b
nbd_python "h.pwrite (b'A' * 512, 0)"

# a stops serving, b is ready: no error, the data moves to b.
rm "$dir/b.refuse"
touch "$dir/a.shutdown" "$dir/a.refuse"
nbd_python "
assert h.pread (512, 0) == b'A' * 512
h.pwrite (b'B' * 512, 100)"
[ "$(wc -l < "$dir/b.asked")" -ge 1 ] || fail 'b was not asked'

# b stops too, nobody serves; a comes back after a while.
touch "$dir/b.shutdown" "$dir/b.refuse"
nbd_python "assert h.pread (1, 100) == b'B'" &
reader=$!
tracked+=("$reader")
asked=$(cat "$dir"/*.asked | wc -l)
wait_for 10 "[ \$(cat $dir/*.asked | wc -l) -ge $((asked + 6)) ]"
is_alive "$reader" || fail 'the client saw an error'
rm "$dir/a.shutdown" "$dir/a.refuse"
wait "$reader" || fail 'the read failed'

# Session numbers only go up, whoever is asked, and the id stays.
cat "$dir"/*.asked | cut -d: -f2 | sort -u > "$dir/ids"
[ "$(wc -l < "$dir/ids")" -eq 1 ] || fail 'more than one client id'
for name in a b; do
  cut -d: -f3 "$dir/$name.asked" > "$dir/numbers"
  sort -nc "$dir/numbers" || fail "$name: session numbers went back"
done
comm -12 <(cut -d: -f3 "$dir/a.asked" | sort -u) \
         <(cut -d: -f3 "$dir/b.asked" | sort -u) > "$dir/both"
[ ! -s "$dir/both" ] || fail 'one session number at two nodes'

# Errors of a serving node are the client's business.
for error in EIO ENOSPC EPERM EINVAL; do
  echo $error > "$dir/a.error"
  nbd_python "
import errno
try:
    h.pwrite (b'x', 0)
    sys.exit ('no error')
except nbd.Error as e:
    assert e.errnum == errno.$error, e"
done
