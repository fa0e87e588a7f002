#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A node and a proxy in the background, without -f, as in the README: their
# changes of state go to syslog, where nbdkit's errors go, and nothing goes
# there from those in the foreground.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

preload=("${preload[0]:-LD_PRELOAD=} $BUILD/tests/preload-syslog.so" \
         "${preload[@]:1}" SYSLOG_FILE="$dir/syslog")
notice=$((3 << 3 | 5))

stop_all ()
{
  local file
  for file in "$dir"/back.*.pid; do
    [ ! -s "$file" ] || kill "$(cat "$file")" 2> /dev/null || true
  done
}
before_kills stop_all

# background NAME ARG...: nbdkit that leaves this terminal.
background ()
{
  env "${preload[@]}" "$NBDKIT" -P "$dir/back.$1.pid" "${@:2}" \
    < /dev/null > "$dir/$1.out" 2>&1
  wait_for 10 "[ -s '$dir/back.$1.pid' ]" || fail "$1: $(cat "$dir/$1.out")"
}

# logged LINE: a notice in syslog that begins so.
logged ()
{
  wait_for 20 "grep -q '^$notice $1' '$dir/syslog'" ||
    fail "not in syslog: $1: $(cat "$dir/syslog")"
}

start_node b
background a -i 127.0.0.1 -p "${nbd_port[a]}" "$DUET" file="$dir/a.img" \
  size="$SIZE" listen=127.0.0.1:"${link_port[a]}" \
  peer=127.0.0.1:"${link_port[b]}" control="$dir/a.ctl"
wait_insync
logged 'duet: waiting: '
logged 'duet: backup: '
# An error of the same node, by nbdkit, in the same place.
nbdsh "$(node_uri b)" pass
! nbdsh "$(node_uri a)" pass 2> /dev/null || fail 'the backup serves'
wait_for 20 "grep -q 'does not serve: backup' '$dir/syslog'" ||
  fail "$(cat "$dir/syslog")"

# A proxy says there why a node does not serve.
background proxy -U "$dir/proxy.sock" "$DUETPROXY" node="$(node_uri a)" \
  node="$(node_uri b)"
logged 'duetproxy: node .* refused: does not serve (state=backup primary='

grep -q '^duet: backup: ' "$dir/b.log" || fail 'b is silent'
! grep -q "127.0.0.1:${link_port[a]} closed" "$dir/syslog" ||
  fail "b's log is in syslog too"
