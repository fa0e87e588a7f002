#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A link that would leave the machine without TLS is refused at the start,
# by its own address or its peer's, unless the user says insecure=yes; with
# TLS it is not.
. "$(dirname "$0")/functions.sh"
. tests/tls-functions.sh

# refused PARAMETER...: a node with these does not start, says what to give,
# and leaves no file.
refused ()
{
  local status=0
  timeout 20 env "${preload[@]}" "$NBDKIT" -f -U "$dir/x.sock" "$DUET" \
    "$dir/x.img" size=1M "$@" < /dev/null > "$dir/out" 2>&1 || status=$?
  [ "$status" = 1 ] || fail "$*: status $status: $(cat "$dir/out")"
  grep -q 'leads out of this machine.*give tls-psk=.*or insecure=yes' \
    "$dir/out" || fail "$*: $(cat "$dir/out")"
  grep -qF "$1 leads" "$dir/out" || fail "$1 is not named: $(cat "$dir/out")"
  [ ! -e "$dir/x.img" ] || fail "$*: made the data file"
}

# started PARAMETER...: a node with these starts.
started ()
{
  rm -f "$dir/x.sock"
  start_nbdkit x -U "$dir/x.sock" "$DUET" "$dir/x.img" size=1M "$@"
  stop_nbdkit x
}

port=${link_port[a]}
near=peer=127.0.0.1:${link_port[b]}
new_psk "$dir/psk"
for far in listen=0.0.0.0:"$port" listen='[::]':"$port" \
           listen=192.0.2.1:"$port"; do
  refused "$far" "$near"
  refused "$far" "$near" insecure=no
done
for far in 192.0.2.1 '[2001:db8::1]' 0.0.0.0; do
  refused peer="$far:7100" listen=127.0.0.1:"$port"
done
for near_too in listen=127.0.0.1:"$port" listen=127.9.8.7:"$port" \
                listen=localhost:"$port"; do
  started "$near_too" "$near"
done
far=(listen=0.0.0.0:"$port" peer=192.0.2.1:7100)
started "${far[@]}" insecure=yes
started "${far[@]}" tls-psk="$dir/psk"
