# SPDX-License-Identifier: BSD-3-Clause
#
# guide-functions.sh: the commands of a document, run as they stand there;
# and for those of docs/guide.md and docs/ha.md machines of their own.
# Sourced after functions.sh.
#
# Commands are the blocks that are indented by four columns.  Above each of
# those in these two stands where it is run, as a comment:
#
#   <!-- at here -->          in a copy of the sources
#   <!-- at alone -->         there, with a network, processes and mounts of
#                             their own, all such blocks in one shell
#   <!-- at alpha beta -->    on both of these machines, one after the other
#   <!-- at kernel -->        on the client whose kernel has nbd
#   <!-- not run -->
#   <!-- alpha loses its power -->, <!-- alpha has its power again -->
#
# A machine is a network namespace on a switch, with a host name, processes
# and mounts of its own, and a root folder that is an overlay over this
# machine's: what is installed there is gone with the test.

# code_of FILE HEADING: the indented lines below that heading.
code_of ()
{
  sed -n "/^##* $2\$/,/^##* [^R]/s/^    //p" "$1"
}

# blocks_of FILE FOLDER: each block becomes FOLDER/NUMBER with its commands
# and FOLDER/NUMBER.at with where it is run.
blocks_of ()
{
  mkdir "$2"
  awk -v folder="$2" '
    function open (where) {
      file = sprintf ("%s/%03d", folder, ++number)
      print where > (file ".at")
      close (file ".at")
      printf "" > file
      inside = 0
    }
    /^<!-- at .* -->$/ { sub (/^<!-- at /, ""); sub (/ -->$/, ""); open($0) }
    /^<!-- not run -->$/ { open("nowhere") }
    /^<!-- .* power.* -->$/ { open($2 " " $3); file = "" }
    /^    / {
      if (file == "") { print FILENAME ":" NR ": where?"; bad = 1; exit }
      inside = 1
      print substr ($0, 5) > file
    }
    /^[^ ]/ { if (inside) file = "" }
    END { exit bad }' "$1" || fail "a block of $1 does not say where it is run"
}

# -------------------------------------------------------------- machines

. tests/etcd-functions.sh

hosts_dir=$dir/hosts
# shellcheck disable=SC2034 # make_host wants it
address=([alpha]=192.0.2.1 [beta]=192.0.2.2 [gamma]=192.0.2.3)
declare -A init=()         # machine -> its first process

# make_machines NAME...: each is switched on.
make_machines ()
{
  local name
  require_root
  require_command ip nft nsenter unshare setpriv
  make_switch
  for name; do
    make_host "$name"
    mkdir -p "$hosts_dir/$name"/{upper,work,root}
    mkdir -p "$hosts_dir/$name/upper/usr/local/bin"
    echo "$name" > "$hosts_dir/$name/upper/name-of-machine"
    cp tests/stand-in-systemctl.py \
      "$hosts_dir/$name/upper/usr/local/bin/systemctl"
    boot_machine "$name"
  done
}

boot_machine ()
{
  local name=$1 here=$hosts_dir/$1
  rm -f "$here/up"
  # unshare's child is the machine's first process and dies with it.
  nsenter --net="/run/netns/$net-$name" \
    unshare --mount --uts --pid --fork --kill-child \
    --propagation private bash -c '
      set -e
      mount -t overlay overlay "$1/root" \
        -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work"
      mount -t proc proc "$1/root/proc"
      mount --rbind /dev "$1/root/dev"
      for place in run tmp; do
        mount -t tmpfs tmpfs "$1/root/$place"
      done
      echo "$2" > /proc/sys/kernel/hostname
      exec 3> "$1/up"
      exec chroot "$1/root" bash -c "echo up >&3; exec 3>&-
        exec sleep infinity"
    ' - "$here" "$name" > "$here/boot.out" 2>&1 < /dev/null &
  pid[$name]=$!
  wait_for 20 "[ -s '$here/up' ] || ! is_alive ${pid[$name]}"
  [ -s "$here/up" ] || skip "no machines here: $(tail -n 1 "$here/boot.out")"
  init[$name]=$(cat "/proc/${pid[$name]}/task/${pid[$name]}/children")
  init[$name]=${init[$name]% }
  [ ! -d "$here/upper/var/lib/stand-in" ] || on_machine "$name" systemctl boot
}

# cut_power NAME: no process of it does anything any more, and nobody hears
# of that.
cut_power ()
{
  ip -n "$net-$1" link set dev eth0 down
  kill_nbdkit "$1"
  wait_for 20 "! [ -e /proc/${init[$1]} ]"
}

give_power ()
{
  ip -n "$net-$1" link set dev eth0 up
  boot_machine "$1"
}

# on_machine NAME COMMAND...: as root, in its home; and only there, whatever
# went wrong before.
on_machine ()
{
  local name=$1
  shift
  [ "$(cat "/proc/${init[$name]}/root/name-of-machine")" = "$name" ] ||
    fail "no machine $name"
  nsenter --target "${init[$name]}" --mount --uts --net --pid --root \
    env -i -C /root HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive \
    PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c '
      [ "$(cat /name-of-machine)" = "$0" ] && exec "$@"' "$name" "$@" \
    < /dev/null
}

# A stand-in for scp: into the home of root on that machine.
make_scp ()
{
  local name
  mkdir -p "$dir/bin"
  {
    echo '#!/bin/sh'
    echo 'for to; do :; done'
    echo 'case $to in'
    for name in alpha beta gamma; do
      echo "root@$name:) to=/proc/${init[$name]}/root/root/ ;;"
    done
    echo '*) exit 1 ;; esac'
    echo '[ -e "${to%root/}name-of-machine" ] || exit 1'
    echo 'while [ $# -gt 1 ]; do cp "$1" "$to" || exit 1; shift; done'
  } > "$dir/bin/scp"
  chmod +x "$dir/bin/scp"
}

# What the last block has said, when the test has ended in it.
show_block ()
{
  [ "$status" -eq 0 ] || [ ! -s "${last_block:-}.out" ] ||
    tail -n 30 "$last_block.out"
}
before_kills show_block

# run_blocks FOLDER: all of them, in order.
run_blocks ()
{
  local block start_ms
  for block in "$1"/???; do
    start_ms=$(now_ms)
    last_block=$block
    run_block "$block" "$(cat "$block.at")" > "$block.out" 2>&1 ||
      fail "$(echo "status $? at $(cat "$block.at"):"
              cat "$block"
              tail -n 12 "$hosts_dir"/*/upper/var/log/*.{service,sock}*.log \
                2> /dev/null)"
    echo "at $(cat "$block.at"): $(($(now_ms) - start_ms)) ms"
  done
}

# run_block FILE WHERE: with the status of the first command that fails.
run_block ()
{
  local name next
  case $2 in
    here) in_copy bash -e "$1" ;;
    alone)
      cat "$1" >> "$dir/alone"
      next=${1%???}$(printf %03d $((10#${1##*/} + 1)))
      [ "$(cat "$next.at" 2> /dev/null)" = alone ] || run_alone
      ;;
    kernel) run_kernel_block "$1" ;;
    nowhere) ;;
    *' loses') cut_power "${2% *}" && after_cut ;;
    *' has') give_power "${2% *}" && after_return ;;
    *)
      for name in $2; do
        on_machine "$name" bash -e -c "$(cat "$1")" || return
      done
      ;;
  esac
}

# Packages are made in half the time without the optimizer.
in_copy ()
{
  (cd "$dir/duet" && env -u MAKEFLAGS -u MAKELEVEL -u BUILD -u SAN -u CC \
    DEB_BUILD_OPTIONS='noopt noautodbgsym' PATH="$dir/bin:$PATH" "$@" \
    < /dev/null)
}

run_alone ()
{
  in_copy unshare --net --mount --pid --fork --kill-child --mount-proc \
    --propagation private bash -e -c \
    'ip link set lo up; . "$1"' - "$dir/alone"
}

# ask_proxy CODE: python with h, connected to the proxy on gamma.
ask_proxy ()
{
  nsenter --target "${init[gamma]}" --mount --net --root \
    env -C / timeout 100 /usr/bin/python3 -c "
import nbd
h = nbd.NBD()
h.connect_unix('/run/duetproxy/disk.sock')
$1" < /dev/null
}

# write_cut, read_cut: something to look for, through the proxy.
write_cut ()
{
  ask_proxy 'h.pwrite (b"cut" * 4096, 12345); h.flush ()'
}

read_cut ()
{
  ask_proxy 'assert h.pread (3 * 4096, 12345) == b"cut" * 4096'
}

# copy_sources: $dir/duet, as built as what is here.
copy_sources ()
{
  mkdir "$dir/duet"
  cp -a Makefile LICENSE README.md nbdkit-plugin replicator include docs \
    tests bench "$dir/duet"
  mkdir -p build-deps
  ln -s "$PWD/build-deps" "$dir/duet/build-deps"
  # The objects know their sources by relative names; packages are made
  # somewhere else.
  mkdir "$dir/duet/build"
  ln -s "$BUILD"/* "$dir/duet/build/"
  rm -f "$dir/duet/build/deb"
}
