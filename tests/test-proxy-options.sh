#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Wrong options of the proxy are refused, each with a message that names it.
. "$(dirname "$0")/functions.sh"

good='nbd://127.0.0.1:1'

# refused TEXT OPTION...: nbdkit must not start, and say TEXT.
refused ()
{
  local text=$1
  shift
  if env "${preload[@]}" timeout 20 "$NBDKIT" -f -U "$dir/x.sock" \
       "$DUETPROXY" "$@" --run true > "$dir/out" 2>&1; then
    fail "accepted: $*"
  fi
  grep -qF -- "$text" "$dir/out" || {
    cat "$dir/out"
    fail "no '$text' for: $*"
  }
}

refused 'node= is missing'
refused 'must begin with nbd://' node=http://host
refused 'must begin with nbd://' node=host:10809
refused 'names no host' node=nbd://
refused 'names no host' node=nbd:///
refused 'must not name an export' node=nbd://host/disk
refused 'must not name an export' 'node=nbd+unix:///disk?socket=/tmp/x'
refused 'names no socket' node=nbd+unix:///
refused 'absolute path' 'node=nbd+unix:///?socket=x.sock'
refused 'must be 1 to 16' node=$good connections=0
refused 'must be 1 to 16' node=$good connections=17
refused 'connections' node=$good connections=many
refused 'must be 10 to 3600000' node=$good timeout=0
refused 'timeout' node=$good timeout=-1
refused 'give-up' node=$good give-up=-1
refused "unknown parameter 'colour'" node=$good colour=blue
many=()
for ((i = 0; i < 17; i++)); do many+=("node=$good"); done
refused 'more than 16 times' "${many[@]}"

# A state file that is none, that cannot be written, that is in use.
echo rubbish > "$dir/rubbish"
refused 'not a state file' node=$good state="$dir/rubbish"
[ "$(cat "$dir/rubbish")" = rubbish ] || fail 'a foreign file was overwritten'
refused 'state=' node=$good state="$dir/nowhere/state"
start_nbdkit first -U "$dir/first.sock" "$DUETPROXY" node=$good \
  state="$dir/state"
refused 'another proxy is using it' node=$good state="$dir/state"
stop_nbdkit first

# What --dump-plugin and --help tell.
env "${preload[@]}" "$NBDKIT" --dump-plugin "$DUETPROXY" > "$dir/dump"
for key in duetproxy_protocol=1 duetproxy_nodes_max=16 \
           duetproxy_connections_max=16 name=duetproxy; do
  grep -qx "$key" "$dir/dump" || fail "no $key in --dump-plugin"
done
env "${preload[@]}" "$NBDKIT" "$DUETPROXY" --help > "$dir/help"
for option in node= connections= state= timeout= give-up=; do
  grep -qF "$option" "$dir/help" || fail "no $option in --help"
done
