#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A link with certificates: for the address of peer=, for its host name, and
# for a name that tls-name= gives; through an intermediate authority; and
# the primary is killed under load.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh
. tests/tls-functions.sh

require_command certtool

# linked ARG...: a pair whose certificates are a and b becomes one.
linked ()
{
  local name
  for name in a b; do
    x509_of $name ca
    start_node $name "${x509[@]}" "$@"
  done
  wait_insync
  [ "$(node_status a .link.tls)" = x509 ] || fail "$(node_status a .link)"
  choose_primary a
  nbdsh "$(node_uri a)" "h.pwrite (b'certified' * 1000, 512)"
  stop_node a
  stop_node b
  identical
  rm "$dir"/[ab].img*
}

new_ca ca
for name in a b; do
  new_cert $name ca "${here[@]}"
done
linked

for name in a b; do
  new_cert $name ca "dns_name = $name.example.org" 'expiration_days = 10'
done
x509_of a ca
start_node a "${x509[@]}" tls-name=b.example.org
x509_of b ca
start_node b "${x509[@]}" tls-name=a.example.org
wait_insync
stop_node a
stop_node b
rm "$dir"/[ab].img*

# What a and b show is signed by another authority, signed by ours.
printf '%s\n' 'cn = between' ca cert_signing_key 'expiration_days = 10' \
  > "$dir/template"
new_key "$dir/between.key"
by_certtool generate-certificate "$dir/between.pem" \
  --load-privkey="$dir/between.key" --load-ca-certificate="$dir/ca.pem" \
  --load-ca-privkey="$dir/ca.key"
for name in a b; do
  new_cert $name between "${here[@]}"
  cat "$dir/between.pem" >> "$dir/$name.pem"
done
linked

# Under load; and by a name, which takes any of its addresses (its lookup
# has a thread of the C library's, which TSan does not know).
host=127.0.0.1
if [ "$SAN" != thread ]; then
  host=localhost
  for name in a b; do
    new_cert $name between 'dns_name = localhost' 'expiration_days = 10'
    cat "$dir/between.pem" >> "$dir/$name.pem"
  done
fi
start_secured ()
{
  x509_of "$1" ca
  start_node "$1" "${x509[@]}" listen=$host:"${link_port[$1]}" \
    peer=$host:"${link_port[$(peer_of "$1")]}"
}
start_secured a
start_secured b
start_proxy state="$dir/proxy.state"
start_writer
for round in 1 2; do
  wait_insync
  wait_written 100
  wait_primary
  kill_node "$first"
  wait_written 50
  start_secured "$first"
done
wait_insync
stop_writer
verify_both
