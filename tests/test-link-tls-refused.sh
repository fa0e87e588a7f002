#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two nodes whose TLS does not fit are no pair: another key, a key and
# none, a key and certificates, a certificate that has expired, that is not
# valid yet, of another authority, for another host.  Both say why.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/tls-functions.sh

require_command certtool

# strangers WHAT A-SAYS B-SAYS: nodes with the parameters in as and bs do
# not link, and each says something that fits, in its log and its status.
strangers ()
{
  local name
  local -A says=([a]=$2 [b]=$3)
  echo "$1"
  start_node a "${as[@]}"
  start_node b "${bs[@]}"
  for name in a b; do
    wait_for 20 "grep -qE 'no link with 127.0.0.1: ${says[$name]}' \
      '$dir/$name.log'" || fail "$1: $name does not say: ${says[$name]}"
    wait_for 20 "node_status $name .reason | grep -q 'no link with'" ||
      fail "$1: $name: $(node_status $name .reason)"
    [ "$(node_status $name .peer.connected)" = false ] || fail "$1: linked"
  done
  stop_node a
  stop_node b
  rm "$dir"/[ab].img* "$dir"/[ab].log
}

new_psk "$dir/psk"
new_psk "$dir/other"
new_psk "$dir/named" somebody
key='it (has another|refuses this node.s) key'
as=(tls-psk="$dir/psk") bs=(tls-psk="$dir/other")
strangers 'another key' "$key" "$key"
bs=(tls-psk="$dir/named")
strangers 'a key of another name' "$key" "$key"
bs=()
strangers 'no key' 'it does not use TLS' \
  'it uses TLS, and this node has no tls- parameters'

new_ca ca
new_ca strange
new_cert a ca "${here[@]}"
new_cert b ca "${here[@]}"
x509_of a ca
bs=("${x509[@]}")
strangers 'a key and a certificate' "$key" "$key"

x509_of a ca
as=("${x509[@]}")
new_cert b ca 'ip_address = 127.0.0.1' \
  'activation_date = "2020-01-01 00:00:00"' \
  'expiration_date = "2020-02-01 00:00:00"'
x509_of b ca
bs=("${x509[@]}")
strangers 'expired' 'its certificate has expired' \
  "it refuses this node.s certificate: expired"
strangers_back ()
{
  local swap=("${as[@]}")
  as=("${bs[@]}") bs=("${swap[@]}")
  strangers "$1, the other way round" "$3" "$2"
  bs=("${as[@]}") as=("${swap[@]}")
}
strangers_back 'expired' 'its certificate has expired' \
  "it refuses this node.s certificate: expired"

new_cert b ca 'ip_address = 127.0.0.1' \
  'activation_date = "2090-01-01 00:00:00"' \
  'expiration_date = "2091-01-01 00:00:00"'
strangers 'not yet' 'its certificate is not valid yet' \
  "it refuses this node.s certificate: expired or not valid yet"

new_cert b strange "${here[@]}"
x509_of b ca
bs=("${x509[@]}")
strangers 'of another authority' 'its certificate is not signed by tls-ca=' \
  "it refuses this node.s certificate: not signed by its tls-ca="

# Any other machine with a certificate of this authority.
new_cert b ca 'ip_address = 127.0.0.2' 'dns_name = b.example.org' \
  'expiration_days = 10'
strangers 'for another host' \
  'its certificate is not for 127.0.0.1 .the host of peer=.' \
  "it refuses this node.s certificate: not for the name that it expects"
as+=(tls-name=a.example.org)
strangers 'for another name' \
  'its certificate is not for a.example.org .tls-name=.' \
  "it refuses this node.s certificate: not for the name that it expects"
