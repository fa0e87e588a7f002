# SPDX-License-Identifier: BSD-3-Clause
#
# writer-functions.sh: the verifying writer (tool-writer.c) and what tests
# of lost nodes need around it.  Sourced after functions.sh.

writer_state=$dir/writer.state
writer=

# start_writer [URI] [NAME=VALUE...]: in the background, on $proxy_uri
# unless told; it goes on until stop_writer.
start_writer ()
{
  local uri=$proxy_uri lighter=()
  case ${1:-} in *://*) uri=$1; shift ;; esac
  [ -z "$SAN" ] || lighter=(area=12582912 connections=2 depth=4)
  "$BUILD/tests/tool-writer" run "$uri" "$writer_state" \
    patience=$((40 * patience)) "${lighter[@]}" "$@" \
    > "$dir/writer.log" 2>&1 &
  writer=$!
  tracked+=("$writer")
  wait_for 20 "[ \$(written) -gt 0 ] || ! is_alive $writer"
  check_writer
}

# How many requests the writers on this state file have been answered.
written ()
{
  "$BUILD/tests/tool-writer" count "$writer_state"
}

# The writer must be alive: it ends by itself only by an error.
check_writer ()
{
  is_alive "$writer" || fail "the writer ended: $(tail -n 3 "$dir/writer.log")"
}

# wait_written N [SECONDS]: until N more requests are answered.
wait_written ()
{
  local goal=$(($(written) + $1))
  wait_for "${2:-30}" "[ \$(written) -ge $goal ] || ! is_alive $writer"
  check_writer
}

# The writer stops, drains, and verifies all it ever wrote.
stop_writer ()
{
  check_writer
  kill -TERM "$writer"
  wait_for 60 "! is_alive $writer" || fail 'the writer does not end'
  wait "$writer" || fail "the writer: $(tail -n 6 "$dir/writer.log")"
  writer=
  tail -n 1 "$dir/writer.log"
}

# verify URI-OR-FILE: it holds all that was ever answered.
verify ()
{
  "$BUILD/tests/tool-writer" verify "$1" "$writer_state" ||
    fail "$1 does not hold what was written"
}

# Both data files hold all that was answered, and are the same.
verify_both ()
{
  identical
  verify "$dir/a.img"
  verify "$dir/b.img"
}

# Two new nodes and a proxy.  PARAMETERs are for both nodes.
start_pair ()
{
  start_node a "$@"
  start_node b "$@"
  start_proxy state="$dir/proxy.state"
}

# A moment of 1 to N ms, so that rounds differ: not to wait for anything.
moment ()
{
  local ms=$((1 + RANDOM % $1))
  sleep "$((ms / 1000)).$(printf %03d $((ms % 1000)))"
}

# kill_rounds VARIABLE N: the node that VARIABLE (first: the primary; second:
# the backup) names is killed N times under load, the client sees no error,
# and in the end both copies are the same and hold all that was answered.
# With a sanitizer, fewer times.
kill_rounds ()
{
  local -n victim=$1
  local round rounds=$(($2 / patience))
  start_pair
  start_writer
  for ((round = 1; round <= rounds; round++)); do
    wait_insync
    wait_written $((20 + RANDOM % 200))
    wait_primary
    moment 100
    kill_node "$victim"
    wait_written 50
    moment 100
    start_node "$victim"
  done
  wait_insync
  stop_writer
  verify_both
}

# make_stale PARAMETER...: a pair that begins with these parameters and of
# which b is dead and lacks most of 48 MiB; a serves a light load.
make_stale ()
{
  start_pair "$@"
  start_writer count=200
  wait_for 30 "! is_alive $writer"
  wait_insync
  wait_primary
  if [ "$first" = b ]; then
    kill_node b
    wait_written_once
    start_node b "$@"
    wait_insync
    [ "$(primary)" = a ] || fail 'a is not primary'
  fi
  kill_node b
  start_writer zeros=0
  wait_written 3000
  stop_writer
  start_writer connections=1 depth=4 max=8192
}

# One request, so that a session moves to the node that lives.
wait_written_once ()
{
  "$BUILD/tests/tool-writer" run "$proxy_uri" "$writer_state" count=1 \
    > "$dir/writer.log" 2>&1 || fail "$(tail -n 3 "$dir/writer.log")"
}

# Until NAME has sent a part of what the peer lacks, but not all.
wait_resyncing ()
{
  wait_for 30 "[ \"\$(node_status $1 '.resync.done_bytes > 1000000 and
                                      .resync.done_bytes * 3
                                      < .resync.total_bytes * 2')\" = true ]" ||
    fail "$1 does not resync: $(node_status "$1" '.state, .resync')"
}

# start_fragile_node NAME [PARAMETER...]: a node whose disk breaks when
# break_disk says so (preload-eio.c).
start_fragile_node ()
{
  local saved=("${preload[@]}") shim=$BUILD/tests/preload-eio.so
  preload=("${preload[0]:-LD_PRELOAD=} $shim" EIO_FILE="$dir/$1.img")
  start_node "$@"
  preload=("${saved[@]}")
}

# break_disk NAME CALL...: these system calls on its data file fail now.
break_disk ()
{
  local name=$1
  shift
  echo "$*" > "$dir/$name.img.eio.new"
  mv "$dir/$name.img.eio.new" "$dir/$name.img.eio"
}

mend_disk ()
{
  rm "$dir/$1.img.eio"
}

# start_on_small_disks: a, b and a proxy; each node on a tmpfs of its own.
start_on_small_disks ()
{
  local name
  require_root
  at_exit 'umount -l "$dir/a" "$dir/b" 2> /dev/null'
  for name in a b; do
    mkdir "$dir/$name"
    mount -t tmpfs -o size=80M none "$dir/$name" || skip 'cannot mount'
    start_on_small_disk "$name"
  done
  start_proxy state="$dir/proxy.state"
}

start_on_small_disk ()
{
  start_node "$1" file="$dir/$1/img"
}

# fill_disk NAME: nothing is free on its tmpfs any more.
fill_disk ()
{
  dd if=/dev/zero of="$dir/$1/junk" bs=64k 2> /dev/null || true
}

empty_disk ()
{
  rm "$dir/$1/junk"
}

# mount_hanging_disk: at $dir/mnt, with a file system of its own.
mount_hanging_disk ()
{
  require_root
  require_command fsfreeze mkfs.ext4
  mkdir "$dir/mnt"
  truncate -s 200M "$dir/disk"
  mkfs.ext4 -q -F "$dir/disk"
  # What is at a disk that hangs cannot be killed.
  before_kills 'unhang_disk 2> /dev/null'
  at_exit 'umount -l "$dir/mnt" 2> /dev/null'
  mount -o loop "$dir/disk" "$dir/mnt" || skip 'cannot mount'
  hang_disk || skip 'cannot freeze'
  unhang_disk
}

# hang_disk: what writes to it or syncs it waits until unhang_disk.
hang_disk ()
{
  fsfreeze -f "$dir/mnt"
}

unhang_disk ()
{
  fsfreeze -u "$dir/mnt"
}

# start_lossy_node NAME [PARAMETER...]: a node with durability=flush, on a
# disk that forgets what was not synced when the node loses its power
# (preload-lossy.c).
start_lossy_node ()
{
  local saved=("${preload[@]}") shim=$BUILD/tests/preload-lossy.so
  [ -e "$dir/$1.img" ] || truncate -s "$SIZE" "$dir/$1.img"
  preload=("${preload[0]:-LD_PRELOAD=} $shim" LOSSY_FILE="$dir/$1.img")
  start_node "$@" durability=flush
  preload=("${saved[@]}")
}

# cut_power NAME: the node is killed, and so is what it had not synced.
cut_power ()
{
  kill_node "$1"
  /usr/bin/python3 tests/power-cut.py "$dir/$1.img" >> "$dir/power.out"
}
