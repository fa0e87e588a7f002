#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# etcd behind TLS with certificates for both ends, and with users: the
# pair takes over by it, and a node whose certificate, password or rights
# are wrong says which.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

require_command certtool etcd etcdctl

# new_certificate NAME [COMMON-NAME]: by the one authority there is here.
new_certificate ()
{
  cat > "$dir/$1.template" <<END
${2:+cn = "$2"}
ip_address = "127.0.0.1"
tls_www_server
tls_www_client
signing_key
encryption_key
END
  certtool --generate-privkey --key-type ecdsa --outfile "$dir/$1.key"
  certtool --generate-certificate --template "$dir/$1.template" \
    --load-privkey "$dir/$1.key" --load-ca-certificate "$dir/ca.crt" \
    --load-ca-privkey "$dir/ca.key" --outfile "$dir/$1.crt"
}

# new_authority NAME
new_authority ()
{
  printf 'cn = "%s"\nca\ncert_signing_key\n' "$1" > "$dir/$1.template"
  certtool --generate-privkey --key-type ecdsa --outfile "$dir/$1.key"
  certtool --generate-self-signed --template "$dir/$1.template" \
    --load-privkey "$dir/$1.key" --outfile "$dir/$1.crt"
}

free_port port
nbd_port[etcd]=$port
free_port peer_port
url=https://127.0.0.1:$port

{ new_authority ca
  new_authority stranger
  new_certificate server
  new_certificate node
  new_certificate named somebody; } > "$dir/certtool.log" 2>&1

start_secure_etcd ()
{
  etcd --data-dir "$dir/etcd" --log-level warn --listen-client-urls "$url" \
    --advertise-client-urls "$url" --cert-file "$dir/server.crt" \
    --key-file "$dir/server.key" --client-cert-auth \
    --trusted-ca-file "$dir/ca.crt" \
    --listen-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-advertise-peer-urls "http://127.0.0.1:$peer_port" \
    --initial-cluster "default=http://127.0.0.1:$peer_port" \
    < /dev/null >> "$dir/etcd.log" 2>&1 &
  pid[etcd]=$!
}

ask_etcd ()
{
  ETCDCTL_API=3 etcdctl --endpoints "$url" --cacert "$dir/ca.crt" \
    --cert "$dir/node.crt" --key "$dir/node.key" "$@"
}

start_secure_etcd
wait_for 30 'ask_etcd endpoint health' || fail "$(tail -n 5 "$dir/etcd.log")"
{ ask_etcd user add root:r
  ask_etcd user grant-role root root
  ask_etcd role add duet
  ask_etcd role grant-permission duet --prefix=true readwrite /volumes/
  ask_etcd user add node:secret
  ask_etcd user grant-role node duet
  ask_etcd auth enable; } > "$dir/etcdctl.log" 2>&1
echo secret > "$dir/password"
echo wrong > "$dir/wrong"

arguments=(arbiter=etcd etcd="$url" etcd-prefix=/volumes/ etcd-user=node
           etcd-ca="$dir/ca.crt" etcd-cert="$dir/node.crt"
           etcd-key="$dir/node.key" lease=$((400 * patience)) beat=50
           dead=$((300 * patience)))
right=("${arguments[@]}" etcd-password-file="$dir/password")

start_node a "${right[@]}"
start_node b "${right[@]}"
wait_insync
start_proxy state="$dir/proxy.state"
start_writer
wait_written 100
wait_primary
kill_node "$first"
wait_written 100
[ "$(node_state "$second")" = solo ] || fail "$second did not take over"
volume=$(node_status "$second" .volume)
ask_etcd --user root:r get "/volumes/$volume" --print-value-only |
  jq -e --arg node "$(node_status "$second" .node)" \
    '.maker == $node and .kind == "takeover"' > /dev/null ||
  fail "the key holds: $(ask_etcd --user root:r get "/volumes/$volume")"

# says PATTERN PARAMETER...: a node with these cannot ask etcd.
says ()
{
  local pattern=$1
  shift
  start_node "$first" "$@"
  wait_for $((20 * patience)) \
    "node_status $first .arbiter.reason | grep -qE '$pattern'" ||
    fail "not $pattern: $(node_status "$first" .arbiter)"
  stop_node "$first"
}
says 'invalid user ID or password' "${arguments[@]}" \
  etcd-password-file="$dir/wrong"
says 'permission denied' "${right[@]}" etcd-prefix=/others/
says 'CommonName' "${right[@]}" etcd-cert="$dir/named.crt" \
  etcd-key="$dir/named.key"
says 'certificate' "${right[@]}" etcd-ca="$dir/stranger.crt"

# What the system trusts counts without etcd-ca=, and only then.  The
# system here: one whose /etc/ssl/certs has the right authority.
by_system=()
for argument in "${right[@]}"; do
  [[ $argument == etcd-ca=* ]] || by_system+=("$argument")
done
mkdir "$dir/trusted"
cp "$dir/ca.crt" "$dir/trusted"
printf '#!/bin/sh\nmount --bind "%s" /etc/ssl/certs && exec "$@"\n' \
  "$dir/trusted" > "$dir/trusting"
chmod +x "$dir/trusting"
trusting=(unshare --mount "$dir/trusting")
if [ "$(id -u)" = 0 ] && "${trusting[@]}" true 2> /dev/null; then
  run_in=("${trusting[@]}")
  start_node "$first" "${by_system[@]}"
  wait_for $((20 * patience)) \
    "[ \"\$(node_status $first .arbiter.reached)\" = true ]" ||
    fail "the system is not trusted: $(node_status "$first" .arbiter)"
  stop_node "$first"
  says 'certificate' "${right[@]}" etcd-ca="$dir/stranger.crt"
  run_in=()
fi

start_node "$first" "${right[@]}"
wait_insync
stop_writer
verify_both
