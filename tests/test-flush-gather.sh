#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# With durability=flush frames of writes wait for one another while others are
# on their way: many leave in one system call, and however many requests a
# client has, none waits for anything but the peer's word of those before it.
. "$(dirname "$0")/functions.sh"
require_command fio

# Until a ping took it along, a frame that was forgotten would wait so long.
long_us=300000

start_node a --threads=64 durability=flush beat=1000 dead=10000
start_node b durability=flush beat=1000 dead=10000
wait_insync

count () { node_status a ".link.$1"; }

# write DEPTH SIZE COUNT: on one connection; the mean latency shall be short.
write ()
{
  fio --name=gather --ioengine=nbd --uri="$(node_uri a)" --rw=randwrite \
    --bs="$2" --iodepth="$1" --size=32M --number_ios="$3" \
    --output-format=json --output="$dir/fio.json" > "$dir/fio.log" 2>&1 ||
    fail "fio: $(cat "$dir/fio.log")"
  jq -e ".jobs[0] | .error == 0 and .write.clat_ns.mean < $long_us * 1000" \
    "$dir/fio.json" > "$dir/fio.out" ||
    fail "depth $1, $2: $(jq .jobs[0].write.clat_ns "$dir/fio.json")"
}

write 1 4k 20
for depth in 1 2 4 5 8 16; do
  write $depth 4k 600
  write $depth 64k 100
done
sends=$(count sends) frames=$(count frames_sent)
write 32 4k 8000
sends=$(($(count sends) - sends)) frames=$(($(count frames_sent) - frames))
echo "$frames frames in $sends system calls"
[ "$frames" -ge 8000 ] || fail 'not all was sent'
[ $((sends * 100)) -lt $((frames * 98)) ] || fail 'nothing was gathered'
wait_for 20 identical || fail 'the copies differ'
