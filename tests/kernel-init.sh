#!/bin/sh
# SPDX-License-Identifier: BSD-3-Clause
#
# kernel-init.sh: the first process of the guest, and what it can do.  Run
# by busybox: from the initrd, where it finds the root and starts itself
# again there; then it carries out what the test on the host says.
#
# On the second serial line come lines "NUMBER COMMAND"; a command is
# evaluated here, by functions below or by busybox, and answered with what
# it printed, each line behind a "|", and "NUMBER STATUS".  Everything else
# (the kernel's messages, those of things in the background) goes to the
# first serial line.  A command that ends in & goes on while others come.

PATH=/usr/bin:/duet
export PATH

# ------------------------------------------------------------------ start

mount_all ()
{
  mount -t proc proc /proc
  mount -t sysfs sys /sys
  mount -t devtmpfs dev /dev
}

has_word ()
{
  case " $(cat /proc/cmdline) " in *" $1 "*) return 0 ;; esac
  return 1
}

# The first disk is the root, "rw" on the kernel's command line or not.
find_root ()
{
  mount_all
  modprobe virtio_pci
  modprobe virtio_blk
  until [ -b /dev/vda ]; do usleep 20000; done
  mode=ro
  ! has_word rw || mode=rw
  mount -t ext4 -o $mode /dev/vda /mnt || echo 'no root'
  umount /proc /sys /dev
  exec switch_root /mnt /init
}

start ()
{
  mount_all
  for place in /run /tmp /mnt; do
    mount -t tmpfs -o mode=755 tmpfs $place
  done
  for module in virtio_net virtio-rng nbd; do
    modprobe $module
  done
  ip link set lo up
  if [ -e /sys/class/net/eth0 ]; then
    ip link set eth0 up
    ip addr add 10.0.2.15/24 dev eth0
  fi
  hostname guest
}

# -------------------------------------------------------- in the background

# start_job NAME COMMAND: goes on while other commands come.
start_job ()
{
  job=$1
  shift
  rm -f "/run/$job.status"
  (
    (eval "$*") > "/run/$job.log" 2>&1
    echo $? > "/run/$job.status.new"
    mv "/run/$job.status.new" "/run/$job.status"
  ) &
}

# job_ends NAME: waits until it has ended; its status.
job_ends ()
{
  until [ -e "/run/$1.status" ]; do usleep 50000; done
  read -r status < "/run/$1.status"
  [ "$status" -eq 0 ] || tail -n 20 "/run/$1.log"
  return "$status"
}

# wait_until SECONDS COMMAND
wait_until ()
{
  limit=$(($(date +%s) + $1))
  until eval "$2" > /dev/null 2>&1; do
    if [ "$(date +%s)" -gt "$limit" ]; then
      echo "waited $1 s in vain for: $2"
      return 1
    fi
    usleep 50000
  done
}

# --------------------------------------------------------------- duet here

# start_nbdkit NAME ARG...: its socket is /run/NAME.sock unless told.
start_nbdkit ()
{
  name=$1
  shift
  rm -f "/run/$name.pid" "/run/$name.sock"
  nbdkit -f -P "/run/$name.pid" "$@" >> "/run/$name.log" 2>&1 7>&- &
  wait_until 20 "[ -s /run/$name.pid ]" || { cat "/run/$name.log"; false; }
}

# start_proxy URI URI [PARAMETER...]
start_proxy ()
{
  nodes="node=$1 node=$2"
  shift 2
  start_nbdkit proxy -U /run/proxy.sock /duet/nbdkit-duetproxy-plugin.so \
    $nodes state=/run/proxy.state "$@"
}

# start_node NAME NUMBER SIZE: a node (1 or 2) with its files in /mnt/nodes.
start_node ()
{
  start_nbdkit "$1" -i 127.0.0.1 -p $((10810 + $2)) \
    /duet/nbdkit-duet-plugin.so file="/mnt/nodes/$1.img" size="$3" \
    listen=127.0.0.1:$((7100 + $2)) peer=127.0.0.1:$((7103 - $2)) \
    control="/run/$1.ctl"
}

kill_nbdkit ()
{
  read -r victim < "/run/$1.pid"
  kill -KILL "$victim"
  wait "$victim" 2> /dev/null
  true
}

stop_nbdkit ()
{
  read -r victim < "/run/$1.pid"
  kill -TERM "$victim"
  wait "$victim"
}

# node_is NAME STATE
node_is ()
{
  duetctl -s "/run/$1.ctl" status | grep -qw "^state *$2"
}

# Both nodes are members whose copies agree; which is primary is in $first.
pair_is_whole ()
{
  if node_is a primary; then first=a second=b; else first=b second=a; fi
  node_is $first primary && node_is $second backup
}

# ------------------------------------------------------------- /dev/nbd0

# attach NAME [OPTION...]: nbd-client connects this device to the proxy.
attach ()
{
  device=$1
  shift
  nbd-client -unix /run/proxy.sock "/dev/$device" "$@" || return
  wait_until 10 '[ "$(cat /sys/block/$device/size)" -gt 0 ]'
}

detach ()
{
  nbd-client -d "/dev/$1"
  wait_until 10 "! [ -e /sys/block/$1/pid ]"
}

# The map of a device that keeps requests while NAME, below it, fails.
map_over ()
{
  echo "0 $(cat "/sys/block/$1/size") multipath" \
       "3 queue_if_no_path queue_mode bio 0" \
       "1 1 round-robin 0 1 1 $(cat "/sys/block/$1/dev") 1000"
}

# kernel_is_content [PATTERN]: it has nothing to say of errors of devices and
# file systems, but for lines with PATTERN.
kernel_is_content ()
{
  faults='I/O error|lost .*write|hung task|blocked for more|^.{16}WARNING'
  faults="$faults|EXT4-fs.*(error|warning)|JBD2.*error"
  faults="$faults|XFS.*(error|corrupt|shut)"
  faults="$faults|block nbd[0-9].*(dead|fail|timed out|error)"
  ! dmesg | grep -v "${1:-nothing to leave out}" | grep -iE "$faults"
}

# ------------------------------------------------------------ work to do

disk=/dev/nbd0             # where file systems are made

make_fs ()
{
  case $1 in
    ext4) mkfs.ext4 -q -E lazy_itable_init=0 $disk ;;
    xfs) modprobe xfs && mkfs.xfs -q -f $disk ;;
  esac && mount_fs "$1"
}

mount_fs ()
{
  mkdir -p /mnt/fs
  mount -t "$1" $disk /mnt/fs
}

# Looked at by the file system's own tool; it must not be mounted.
check_fs ()
{
  case $1 in
    ext4) e2fsck -fn $disk ;;
    xfs) xfs_repair -n $disk ;;
  esac > /run/fsck.log 2>&1 || { cat /run/fsck.log; return 1; }
}

# True as soon as the test has asked for an end.
is_enough ()
{
  [ -e /run/enough ]
}

# build FOLDER: what a build does to a file system: many small files, each
# made into another one, renamed; an archive of all; some removed; the
# checksums of what remains in SUMS.
build ()
{
  mkdir -p "$1/src" "$1/obj" || return
  i=0
  while [ $i -lt 30 ]; do
    seq $((round * 1000 + i)) $((round * 1000 + i * 30 + 400)) \
      > "$1/src/$i.c" || return
    gzip -1 < "$1/src/$i.c" > "$1/obj/$i.new" || return
    mv "$1/obj/$i.new" "$1/obj/$i.o" || return
    i=$((i + 1))
  done
  tar -cf "$1/all.tar" -C "$1" src obj || return
  rm "$1"/src/*1.c || return
  (cd "$1" && find . -type f ! -name SUMS -exec sha256sum {} + > SUMS) ||
    return
  sync
}

# One such folder after the other in FOLDER until it is enough; each is
# looked at again and removed when two others have been made.
builds ()
{
  round=0
  until [ $round -gt 0 ] && is_enough; do
    build "$1/tree.$round" || return
    if [ $round -ge 2 ]; then
      sums_are_right "$1/tree.$((round - 2))" || return
      rm -r "$1/tree.$((round - 2))" || return
    fi
    round=$((round + 1))
  done
  echo "$round builds"
}

# What is in the SUMS of a folder of `builds`.
sums_are_right ()
{
  (cd "$1" && sha256sum -c SUMS) > /run/sums 2>&1 && return
  grep -v ': OK$' /run/sums
  return 1
}

# The folders that `builds` has left.
all_sums_are_right ()
{
  for tree in "$1"/tree.*; do
    sums_are_right "$tree" || return
  done
}

# Transactions in the database FILE until it is enough, each durable before
# the next; how many is then in FILE.done.
transactions ()
{
  sqlite3 "$1" 'CREATE TABLE t (n INTEGER PRIMARY KEY, s TEXT)' || return
  n=0
  until [ $n -gt 0 ] && is_enough; do
    {
      echo 'PRAGMA synchronous=FULL;'
      for _ in 1 2 3 4 5 6 7 8 9 10; do
        n=$((n + 1))
        echo "BEGIN; INSERT INTO t VALUES ($n, hex(randomblob(300)));"
        echo "UPDATE t SET s = s || n WHERE n = $((n / 2)); COMMIT;"
      done
    } > /run/sql
    sqlite3 -bail "$1" < /run/sql || return
  done
  echo $n > "$1.done"
  sync
  echo "$n transactions"
}

database_is_whole ()
{
  read -r n < "$1.done"
  sqlite3 "$1" 'PRAGMA integrity_check; SELECT count(*) FROM t' > /run/sql
  [ "$(tr '\n' ' ' < /run/sql)" = "ok $n " ] || { cat /run/sql; false; }
}

# fio's own verification on the device, from 1 MiB on, until it is enough:
# 4 jobs with 8 requests in flight each, read back when all is written.
fio_rounds ()
{
  rounds=0
  until [ $rounds -gt 0 ] && is_enough; do
    fio --name=raw --filename="$1" --direct=1 --ioengine=libaio --iodepth=8 \
      --numjobs=4 --offset=1M --offset_increment=16M --size=16M \
      --rw=randwrite --bsrange=4k-64k --randseed=$rounds --verify=crc32c \
      --verify_fatal=1 --verify_state_save=0 --group_reporting ||
      return
    rounds=$((rounds + 1))
  done
  echo "$rounds rounds"
}

# ---------------------------------------------------------------- pauses

# start_pauses FILE: small durable writes to it, one after the other.
start_pauses ()
{
  mkfifo /run/pause.in
  tool-pause "$1" < /run/pause.in > /run/pause.out 2>&1 &
  pauser=$!
  exec 7> /run/pause.in
}

# The longest of them, in milliseconds, since this was last asked.
longest_pause ()
{
  had=$(wc -l < /run/pause.out)
  echo >&7
  wait_until 60 "[ \$(wc -l < /run/pause.out) -gt $had ]" || return
  tail -n 1 /run/pause.out
}

stop_pauses ()
{
  exec 7>&-
  wait $pauser || { cat /run/pause.out; return 1; }
}

# ------------------------------------------------------------------ main

if [ -e /initrd ]; then
  find_root
fi
start
exec 3<> /dev/ttyS1
stty -F /dev/ttyS1 raw -echo
echo 'guest is ready' >&3
while read -r number command <&3; do
  eval "$command" > /run/answer 2>&1
  status=$?
  sed 's/^/|/' /run/answer >&3
  echo "$number $status" >&3
done
