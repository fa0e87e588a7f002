# SPDX-License-Identifier: BSD-3-Clause
#
# kernel-functions.sh: a virtual machine with a kernel that has nbd, under
# software emulation.  Sourced after functions.sh by tests/test-kernel-*.sh.
#
#   test on the host --- second serial line ---> kernel-init.sh in the guest
#   nodes on the host <-- 10.0.2.2, user network -- duetproxy in the guest
#                                                        |
#                                 file system --- /dev/nbd0 (nbd-client)
#
# kernel-build.sh made what is booted.  What the guest's kernel and its
# background say is in $dir/guest.log.

. tests/volume-functions.sh

GUEST=$BUILD/guest
root_disk=(-drive "file=$GUEST/root.img,format=raw,if=virtio,readonly=on")

[ -z "$SAN" ] || skip 'the guest is not sanitized'
[ -e "$GUEST/complete" ] ||
  skip "$(cat "$GUEST/missing" 2> /dev/null || echo 'no guest: make guest')"

# --------------------------------------------------------------- machine

# boot_guest [ARG...]: with these further arguments for QEMU; its root is
# read-only unless root_disk and guest_words say otherwise.  It has
# $guest_cpus processors (2).  Returns when it listens.  That the timer
# interrupts is not checked at boot: on a busy host it does so too late.
boot_guest ()
{
  local start_ms line
  start_ms=$(now_ms)
  rm -f "$dir"/guest.{in,out}
  mkfifo "$dir/guest.in" "$dir/guest.out"
  # Both ways are opened for both, so that neither end waits.
  exec {to_guest}<> "$dir/guest.in" {from_guest}<> "$dir/guest.out"
  "${run_in[@]}" qemu-system-x86_64 -accel tcg,thread=multi -cpu max \
    -smp "${guest_cpus:-2}" \
    -m "${guest_mib:-512}" -nodefaults -no-reboot -display none \
    -kernel "$GUEST/vmlinux" -initrd "$GUEST/initrd" \
    -append "console=ttyS0 quiet loglevel=4 panic=-1 nokaslr tsc=reliable \
mitigations=off no_timer_check ${guest_words:-}" \
    "${root_disk[@]}" \
    -netdev user,id=net -device virtio-net-pci,netdev=net,romfile= \
    -device virtio-rng-pci \
    -chardev "file,id=log,path=$dir/guest.log,append=on" -serial chardev:log \
    -chardev "pipe,id=talk,path=$dir/guest" -serial chardev:talk \
    "$@" > "$dir/qemu.log" 2>&1 < /dev/null &
  qemu=$!
  tracked+=("$qemu")
  read -r -t $((90 * patience)) -u "$from_guest" line ||
    fail 'the guest does not boot'
  [ "$line" = 'guest is ready' ] || fail "the guest says '$line'"
  echo "booted in $(($(now_ms) - start_ms)) ms"
}

# try_guest SECONDS COMMAND: its status; what it printed is in $said.
try_guest ()
{
  local deadline=$(($(now_ms) + $1 * 1000 * patience))
  local number=${EPOCHREALTIME/./} line part=
  echo "$number $2" >&"$to_guest"
  said=
  while [ "$(now_ms)" -lt $deadline ]; do
    is_alive "$qemu" || fail 'the guest has ended'
    # In time there may be only the first part of a line.
    if ! read -r -t 1 -u "$from_guest" line; then
      part+=$line
      continue
    fi
    line=$part$line
    part=
    case $line in
      '|'*) said+=${line#|}$'\n' ;;
      "$number "*)
        said=${said%$'\n'}
        return "${line#* }"
        ;;
    esac
  done
  fail "the guest does not answer: $2"
}

# in_guest COMMAND: which has to succeed within a minute.
in_guest ()
{
  try_guest "${patience_s:-60}" "$1" || fail "in the guest: $1: $said"
}

# start_in_guest NAME COMMAND: in the background there; it has to have
# succeeded when await_guest NAME returns.
start_in_guest ()
{
  in_guest "start_job $1 '$2'"
}

await_guest ()
{
  patience_s=150 in_guest "job_ends $1"
}

# stop_guest [PATTERN]: its kernel has seen no error, but for such lines.
stop_guest ()
{
  in_guest "kernel_is_content ${1:-}"
  echo '0 sync; poweroff -f' >&"$to_guest"
  wait_for 30 "! is_alive $qemu" || fail 'the guest does not end'
  wait "$qemu" || fail "QEMU ended with status $?"
}

# ------------------------------------------------------------- the proxy

guest_proxy_uri='nbd+unix:///?socket=/run/proxy.sock'

# As the guest sees the host's loopback.
guest_uri ()
{
  echo "nbd://10.0.2.2:${nbd_port[$1]}"
}

start_guest_proxy ()
{
  in_guest "start_proxy $(guest_uri a) $(guest_uri b) $*"
}

# ------------------------------------------------------------------ work

start_pair ()
{
  start_node a
  start_node b
  wait_insync
}

# stop_pair: the orderly way, and both files are the same.
stop_pair ()
{
  wait_insync 60
  stop_node a
  stop_node b
  identical
}

# Many small files, database transactions and single writes, all at the
# same time, in FOLDER of the guest.
start_work ()
{
  folder=${1:-/mnt/fs}
  in_guest "start_pauses $folder/pause"
  start_in_guest builds "builds $folder"
  start_in_guest transactions "transactions $folder/db"
}

end_work ()
{
  in_guest 'touch /run/enough'
  await_guest builds
  await_guest transactions
  in_guest stop_pauses
  in_guest 'tail -qn 1 /run/builds.log /run/transactions.log'
  echo "done: ${said//$'\n'/, }"
}

# check_work TYPE: nothing of it is lost, and the file system is clean,
# before it has been mounted again and after.
check_work ()
{
  in_guest 'umount /mnt/fs'
  patience_s=120 in_guest "check_fs $1"
  in_guest "mount_fs $1"
  in_guest 'all_sums_are_right /mnt/fs'
  in_guest 'database_is_whole /mnt/fs/db'
  in_guest 'umount /mnt/fs'
  patience_s=120 in_guest "check_fs $1"
}

# ---------------------------------------------------------------- faults

# What may befall the pair, each a function fault_NAME; the pair can be
# whole again after heal_NAME.  They use $first, the primary, and $second.
faults='none switched_over primary_killed primary_stopped primary_hangs
        backup_killed both_killed'

fault_none () { sleep 2; }
heal_none () { :; }

fault_switched_over () { "$DUETCTL" -s "$dir/$first.ctl" switchover; }
heal_switched_over () { :; }

fault_primary_killed () { kill_node "$first"; }
heal_primary_killed () { start_node "$first"; }

fault_primary_stopped () { stop_node "$first"; }
heal_primary_stopped () { start_node "$first"; }

# It neither answers nor ends.
fault_primary_hangs () { kill_node "$first" STOP; }
heal_primary_hangs () { kill_node "$first" CONT; }

fault_backup_killed () { kill_node "$second"; }
heal_backup_killed () { start_node "$second"; }

# Nobody is left: the guest can go on only when they are back.
fault_both_killed ()
{
  kill_node "$first"
  kill_node "$second"
  start_node "$second"
  start_node "$first"
}
heal_both_killed () { :; }

# with_fault NAME: it strikes while the guest takes its pauses, the guest
# goes on, the fault is healed, the pair becomes whole while the guest goes
# on; and the longest pause is printed.
with_fault ()
{
  local worst
  wait_insync 60
  wait_primary
  in_guest longest_pause
  "fault_$1"
  in_guest longest_pause
  worst=$said
  "heal_$1"
  wait_insync 60
  in_guest longest_pause
  printf 'longest pause, %s: %s ms; until all was whole: %s ms\n' \
    "${1//_/ }" "$worst" "$said"
}

with_all_faults ()
{
  local fault
  for fault in $faults; do
    with_fault "$fault"
  done
}

# file_system_story TYPE OPTION...: of that type, on /dev/nbd0 attached
# with these options of nbd-client.
file_system_story ()
{
  local type=$1 name full
  shift
  SIZE=512M
  start_pair
  boot_guest
  start_guest_proxy
  in_guest "attach nbd0 $*"
  in_guest "make_fs $type"
  start_work
  with_all_faults
  end_work

  # A file that is removed is given back by both nodes.
  in_guest 'dd if=/dev/urandom of=/mnt/fs/big bs=1M count=48 && sync'
  full=$(disk_kib a)
  in_guest 'rm /mnt/fs/big && sync && fstrim -v /mnt/fs'
  for name in a b; do
    wait_for 10 '[ "$(disk_kib $name)" -lt $((full - 40 * 1024)) ]' ||
      fail "trim frees nothing at $name: $full KiB, $(disk_kib "$name") KiB"
  done

  check_work "$type"
  in_guest 'detach nbd0'
  stop_guest
  stop_pair
}
