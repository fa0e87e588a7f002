#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The README's commands for a pair work as they stand there, each nbdkit in
# the background and with relative paths.  Only the ports and the size are
# others.
. "$(dirname "$0")/functions.sh"
. tests/guide-functions.sh

require_command qemu-img qemu-io

ln -s "$BUILD" "$dir/build"
code_of README.md 'Run a pair' |
  sed -e "s/10811/${nbd_port[a]}/; s/10812/${nbd_port[b]}/" \
      -e "s/7101/${link_port[a]}/; s/7102/${link_port[b]}/" \
      -e "s/control=[ab].ctl/& size=$SIZE/" \
      -e 's/build\/nbdkit /&-P "$(next_pid)" /' > "$dir/commands"
[ "$(grep -c '^build/nbdkit' "$dir/commands")" = 3 ] ||
  fail 'not three servers in the README'
sed -i 's/^build\/nbdkit/env "${preload[@]}" &/' "$dir/commands"

next_pid ()
{
  # The file itself may come late: nbdkit has gone into the background.
  echo >> "$dir/started"
  sed -n "$(wc -l < "$dir/started")p" <<< "a
b
proxy" | sed "s|.*|$dir/&.pid|"
}

stop_all ()
{
  local file
  for file in "$dir"/*.pid; do
    [ ! -s "$file" ] || kill "$(cat "$file")" 2> /dev/null || true
  done
}
before_kills stop_all

qemu-img create -q -f qcow2 "$dir/some.qcow2" "$SIZE"
qemu-io -c 'write -q -P 7 1M 3M' "$dir/some.qcow2" > /dev/null
(cd "$dir" && set -e && . ./commands) > "$dir/out" 2>&1 ||
  fail "$(cat "$dir/out")"
grep -q '^state ' "$dir/out" || fail "no status: $(cat "$dir/out")"
wait_insync
qemu-img compare -q -f raw -F qcow2 "nbd+unix:///?socket=$dir/disk.sock" \
  "$dir/some.qcow2" || fail 'not what was copied in'
identical
for name in a b proxy; do
  wait_for 20 "[ -s '$dir/$name.pid' ]"
  process=$(cat "$dir/$name.pid")
  kill "$process"
  wait_for 20 "! is_alive $process" || fail "$name does not end"
done
