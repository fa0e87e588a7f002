#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Servers are killed with -9 in turn under a verifying writer of ranges of
# any offset and length, many in flight; it sees no error, each read shows
# the newest data, and so does the disk in the end.
. "$(dirname "$0")/functions.sh"
. tests/proxy-functions.sh

start_server a
start_server b
start_test_proxy a b -- state="$dir/state"

nbd_python "
import random, time
size = 16 << 20
model = bytearray (size)
h.pwrite (bytes (model), 0)
busy = []                       # (offset, end) in flight
count = 0
longest = 0
random.seed (5)

def overlaps (offset, end):
    return any (offset < e and o < end for o, e in busy)

def finish (key, check, buffer, started):
    def done (error):
        global count, longest
        assert error.value == 0, error.value
        offset, end = key
        if check:
            assert bytes (buffer.to_bytearray ()) == model[offset:end], key
        else:
            model[offset:end] = buffer.to_bytearray ()
        busy.remove (key)
        count += 1
        longest = max (longest, time.monotonic () - started)
        return 1
    return done

def start ():
    offset = random.randrange (size - 70000)
    length = random.choice ((1, 512, 4096, 4097, 65536, 12345))
    key = (offset, offset + length)
    if overlaps (*key):
        return
    busy.append (key)
    if random.random () < 0.3:
        buffer = nbd.Buffer (length)
        h.aio_pread (buffer, offset, finish (key, True, buffer,
                                             time.monotonic ()))
    else:
        buffer = nbd.Buffer.from_bytearray (
            bytearray (random.randbytes (length)))
        h.aio_pwrite (buffer, offset, finish (key, False, buffer,
                                              time.monotonic ()),
                      flags = nbd.CMD_FLAG_FUA if length == 512 else 0)

end = time.monotonic () + 8
while time.monotonic () < end or busy:
    while len (busy) < 16 and time.monotonic () < end:
        start ()
    h.poll (-1)
assert h.pread (size, 0) == model
h.flush ()
open ('$dir/model', 'wb').write (model)
print (count, 'requests, longest', round (longest * 1000), 'ms')
" &
writer=$!
tracked+=("$writer")

victim=a
kills=0
while is_alive "$writer"; do
  kill_nbdkit "$victim"
  start_server "$victim"
  kills=$((kills + 1))
  sleep 0.$((RANDOM % 5 + 1))
  case $victim in a) victim=b ;; b) victim=a ;; esac
done
wait "$writer" || fail 'the writer saw an error'
cmp -n $((16 << 20)) "$dir/model" "$dir/disk" || fail 'the disk differs'
lost=$(grep -c 'session .* lost' "$dir/proxy.log")
echo "$kills kills, $lost sessions lost"
[ "$lost" -ge 3 ] || fail 'too few sessions were lost'
stop_nbdkit proxy
