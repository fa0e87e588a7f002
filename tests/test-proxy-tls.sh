#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Nodes that ask for TLS (here by pre-shared keys), and a proxy that speaks
# it: the primary is killed under load, the client sees no error, and all
# that was answered is there.  Without the key nobody is served.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

# Not grep -q: with pipefail the writer must not die of a closed pipe.
"$NBDKIT" --dump-config | grep '^tls=yes' > /dev/null ||
  skip 'nbdkit without TLS'
env "${preload[@]}" "$NBDKIT" --dump-plugin "$DUETPROXY" |
  grep '^duetproxy_tls=1' > /dev/null ||
  skip 'libnbd without TLS'

new_key ()
{
  (umask 077
   echo "duet:$(od -A n -t x1 -N 32 /dev/urandom | tr -d ' \n')" > "$dir/$1")
}

uri_of ()
{
  echo "nbds://duet@127.0.0.1:${nbd_port[$1]}/?tls-psk-file=$dir/$2"
}

start_tls_node ()
{
  start_node "$1" --tls=require --tls-psk="$dir/key"
}

new_key key
new_key wrong
start_tls_node a
start_tls_node b
wait_insync
start_proxy_to proxy "$(uri_of a key)" "$(uri_of b key)" -- \
  state="$dir/proxy.state"
start_writer connections=4 depth=8
for round in 1 2; do
  wait_insync
  wait_written 50
  wait_primary
  kill_node "$first"
  wait_written 50
  start_tls_node "$first"
done
wait_insync
stop_writer
verify_both

# No TLS, and another key.
for uri in "$(node_uri a)" "$(uri_of a wrong)"; do
  if nbdsh "$uri" 'pass' 2> /dev/null; then
    fail "$uri is let in"
  fi
done
start_proxy_to stranger "$(uri_of a wrong)" "$(uri_of b wrong)"
wait_for 20 "[ \$(grep -c 'cannot be reached' '$dir/stranger.log') -ge 2 ]" ||
  fail 'the proxy does not say that it is not let in'
if grep -q 'session' "$dir/stranger.log"; then
  fail 'the proxy was let in with the wrong key'
fi
