#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# demo.sh: the show.  `make demo` runs it.
#
#   fio, qemu-img                     the client
#        | NBD
#   nbdkit duetproxy
#        | NBD, to whichever node serves
#   nbdkit duet (a) <== link ==> nbdkit duet (b)
#        |                            |
#      a.img                        b.img
#
# A disk image is copied in, fio writes, and while it does both nodes are
# killed with -9, one after the other.  Then everything is read back and
# compared.  All of it happens on loopback and in a folder that is removed
# at the end.  Status 0 only if every byte is where it should be.

SIZE=1G
. "$(dirname "$0")/functions.sh"

image_mib=256              # of the disk image, at the start of the volume
fio_mib=128                # written by fio, behind the image
writes=$((fio_mib * 256))  # of 4 KiB
rate=3000                  # writes per second at most: it shall last
wait_s=60                  # for anything at all

# ---------------------------------------------------------------- output

began=$(now_ms)

# seconds MS
seconds ()
{
  printf '%d.%02d s' $(($1 / 1000)) $(($1 % 1000 / 10))
}

title ()
{
  printf '\n%s\n' "$1"
}

# A step begins; what it is.
step ()
{
  step_began=$(now_ms)
  printf '  %8s  %-54s' "$(seconds $((step_began - began)))" "$1"
}

# ... and has ended; what there is to say about it.
ok ()
{
  local line
  printf '%9s\n' "$(seconds $(($(now_ms) - step_began)))"
  for line; do
    printf '  %8s  - %s\n' '' "$line"
  done
}

# The line of the step that failed is still open.
trap 'echo; echo "failed: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

fail ()
{
  printf '\n\nfailed: %s (demo.sh:%s)\n' "$1" "${BASH_LINENO[0]}" >&2
  exit 1
}

mib ()
{
  echo "$((($1 + 524288) / 1048576)) MiB"
}

# ----------------------------------------------------------------- parts

make_image ()
{
  local i
  mkdir -p "$dir/files/random"
  cp -r Makefile docs include replicator nbdkit-plugin tests "$dir/files"
  for i in {1..9}; do
    head -c $((i * 1000003)) /dev/urandom > "$dir/files/random/$i"
  done
  truncate -s ${image_mib}M "$dir/disk.raw"
  mke2fs -q -t ext4 -d "$dir/files" "$dir/disk.raw"
  qemu-img convert -f raw -O qcow2 "$dir/disk.raw" "$dir/disk.qcow2"
  rm "$dir/disk.raw"
}

fio_options=(
  --name=demo --ioengine=nbd --uri="$proxy_uri" --rw=randwrite --bs=4k
  --iodepth=16 --offset="${image_mib}M" --size="${fio_mib}M"
  --verify=crc32c --verify_fatal=1 --verify_state_save=0
  --output-format=json
)

start_fio ()
{
  mkdir "$dir/latency"    # these logs are long: not for show_logs
  fio "${fio_options[@]}" --do_verify=0 --rate_iops=$rate \
    --write_lat_log="$dir/latency/fio" --log_unix_epoch=1 \
    --output="$dir/fio.json" > "$dir/fio.log" 2>&1 &
  fio=$!
  tracked+=("$fio")
}

writes_of ()
{
  node_status "$1" .requests.write.count
}

# wait_writes NODE COUNT: until NODE has answered so many.
wait_writes ()
{
  wait_for $wait_s "[ \$(writes_of $1) -ge $2 ] || ! is_alive $fio" &&
    is_alive "$fio" || fail "fio ended too soon: $(cat "$dir/fio.log")"
}

# The longest that a request which was answered in the second after
# TIME (ms) took.
longest_after ()
{
  awk -F, -v from="$1" '$1 + 0 >= from && $1 + 0 < from + 1000 &&
    $2 + 0 > max { max = $2 + 0 } END { printf "%.0f ms", max / 1e6 }' \
    "$dir"/latency/fio_lat.*.log
}

# kill_under_load NODE OTHER: fio shall not mind, and OTHER serves it.
kill_under_load ()
{
  local before
  before=$(writes_of "$2")
  killed_ms=$(now_ms)
  kill_node "$1" 2> /dev/null  # or bash tells of it
  wait_writes "$2" $((before + 1))
  [ "$(node_state "$2")" = solo ] || fail "$2 is $(node_state "$2"), not solo"
}

# bring_back NODE OTHER: start NODE, and let OTHER bring it up to date.
bring_back ()
{
  dirty=$(node_status "$2" .dirty_bytes)
  sent=$(node_status "$2" .link.bytes_sent)
  start_node "$1"
  wait_insync $wait_s
  sent=$(($(node_status "$2" .link.bytes_sent) - sent))
}

# The image that qemu-img sees at the start of the volume.
compare_image ()
{
  qemu-img compare --image-opts \
    "driver=qcow2,file.driver=file,file.filename=$dir/disk.qcow2" \
    "driver=raw,offset=0,size=${image_mib}M,file.driver=nbd,\
file.server.type=unix,file.server.path=$dir/proxy.sock" > /dev/null
}

# check_files NODE: its data file, without duet, has the file system and
# all files in it.
check_files ()
{
  e2fsck -fn "$dir/$1.img" > "$dir/e2fsck" 2>&1 ||
    fail "e2fsck: $(cat "$dir/e2fsck")"
  mkdir "$dir/out"
  debugfs -R "rdump / $dir/out" "$dir/$1.img" > /dev/null 2>&1
  rm -rf "$dir/out/lost+found"
  diff -r "$dir/files" "$dir/out"
  rm -rf "$dir/out"
}

# ------------------------------------------------------------------ show

PATH=$PATH:/usr/sbin:/sbin    # e2fsprogs, for users other than root
for command in fio qemu-img mke2fs e2fsck debugfs jq; do
  command -v "$command" > /dev/null ||
    fail "no $command here: make deps installs it"
done

echo 'duet: two nodes, one volume, and a client that must notice nothing'

title 'A pair of nodes, and a disk image in it'
step "start node a, node b and the proxy, volume of $SIZE"
start_node a
start_node b
start_proxy state="$dir/state"
wait_insync
ok "nodes at $(node_uri a) and $(node_uri b)" \
   "client at unix socket $dir/proxy.sock"

step "make a disk image: ext4 with files, as qcow2"
make_image
ok "$(find "$dir/files" -type f | wc -l) files, \
$(mib "$(stat -c %s "$dir/disk.qcow2")") of $image_mib MiB in use"

step 'copy it in with qemu-img'
qemu-img convert -n -f qcow2 -O raw "$dir/disk.qcow2" "$proxy_uri"
ok

if [ "$(node_state a)" = primary ]; then
  first=a second=b
else
  first=b second=a
fi

title "fio writes $writes blocks of 4 KiB, 16 at a time; both nodes die"
step "fio begins; $first is primary, $second is backup"
before=$(writes_of $first)
start_fio
wait_writes $first $((before + writes / 8))
ok

step "kill -9 node $first"
kill_under_load $first $second
first_ms=$killed_ms
ok "node $second serves alone"

step "fio goes on with node $second"
wait_writes $second $((writes / 4))
ok

step "start node $first again; resync under load"
bring_back $first $second
ok "$(mib "$dirty") might differ; $(mib "$sent") sent, with fio's own writes" \
   "node $first is backup now, and both copies count"

step "kill -9 node $second"
kill_under_load $second $first
second_ms=$killed_ms
ok "node $first serves alone"

step 'fio goes on to its end'
wait "$fio" || fail "fio: $(cat "$dir/fio.log")"
errors=$(jq '[.jobs[].error, .jobs[].total_err] | add' "$dir/fio.json")
[ "$errors" = 0 ]
[ "$(jq '[.jobs[].write.total_ios] | add' "$dir/fio.json")" = $writes ]
longest=$(jq '[.jobs[].write.lat_ns.max] | max / 1e6 | round' "$dir/fio.json")
median=$(jq '.jobs[0].write.clat_ns.percentile["50.000000"] / 1000 | round' \
         "$dir/fio.json")
ok "$writes writes, no error; half of them took less than $median us"

step "start node $second again; resync"
bring_back $second $first
ok "$(mib "$dirty") might differ and were compared; $(mib "$sent") sent"

title 'Is everything there?'
step "fio reads all it wrote and verifies it"
fio "${fio_options[@]}" --verify_only --output="$dir/verify.json" \
  > "$dir/fio.log" 2>&1 || fail "fio: $(cat "$dir/fio.log")"
verified=$(jq '[.jobs[].read.total_ios] | add' "$dir/verify.json")
[ "$verified" = $writes ]
ok

step 'qemu-img compares the volume with the image'
compare_image || fail 'qemu-img found a difference'
ok

step 'stop all; compare both data files byte by byte'
stop_nbdkit proxy
stop_node a
stop_node b
identical
ok "$SIZE each, $(mib $(($(stat -c %b "$dir/a.img") * 512))) of it allocated"

step 'e2fsck, and cmp of all files, in each copy by itself'
check_files a
check_files b
ok

title 'Summary'
printf '  %-42s %s\n' \
  'blocks written and acknowledged' "$writes" \
  'of these read back and right' "$verified" \
  'errors the client saw' "$errors" \
  "longest wait when node $first was killed" "$(longest_after $first_ms)" \
  "longest wait when node $second was killed" "$(longest_after $second_ms)" \
  'longest wait of all' "$longest ms" \
  'data files of the two nodes' identical \
  'all of this took' "$(seconds $(($(now_ms) - began)))"
