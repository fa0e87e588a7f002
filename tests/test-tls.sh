#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The proxy reaches nodes that demand TLS by nbds:// URIs, through a
# failover too; one that does not know TLS is refused, and says so.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

"$NBDKIT" --dump-config | grep -qx 'tls=yes' || skip 'nbdkit has no TLS'
env "${preload[@]}" "$NBDKIT" --dump-plugin "$DUETPROXY" |
  grep -qx 'duetproxy_tls=1' || skip 'libnbd has no TLS'

key=$(head -c 32 /dev/urandom | od -An -v -tx1 | tr -d ' \n')
(umask 077 && echo "alice:$key" > "$dir/psk")
tls=(--tls=require --tls-psk="$dir/psk")

tls_uri ()
{
  echo "nbds://alice@127.0.0.1:${nbd_port[$1]}?tls-psk-file=$dir/psk"
}

start_nodes "${tls[@]}"
start_proxy_to proxy "$(tls_uri a)" "$(tls_uri b)" -- state="$dir/state"
nbdsh "$proxy_uri" 'h.pwrite(b"secret" * 1000, 77)'
wait_insync
for primary in a b; do
  [ "$(node_state $primary)" != primary ] || break
done
kill_node "$primary"
nbdsh "$proxy_uri" '
assert h.pread(6000, 77) == b"secret" * 1000
h.pwrite(b"again", 0)'
[ "$(node_state "$(peer_of "$primary")")" = solo ] || fail 'not taken over'
start_node "$primary" "${tls[@]}"
wait_insync
identical

start_proxy_to plain "$(node_uri a)" "$(node_uri b)" -- give-up=1
! nbdsh "$(proxy_uri_of plain)" pass 2> /dev/null || fail 'served without TLS'
grep -q 'requires TLS' "$dir/plain.log" || fail 'it does not say why'
