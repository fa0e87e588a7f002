#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Each bad or missing parameter of either plugin is a clear error and exit
# status 1; help and --dump-plugin tell what there is.
. "$(dirname "$0")/functions.sh"
. tests/tls-functions.sh

# refuses MESSAGE ARG...: nbdkit with ARGs ends with status 1 and says
# MESSAGE (a pattern).
refuses ()
{
  local message=$1 status=0
  shift
  timeout 20 env "${preload[@]}" "$NBDKIT" -f -U "$dir/x.sock" "$@" \
    < /dev/null > "$dir/out" 2>&1 || status=$?
  [ "$status" = 1 ] || fail "$*: status $status: $(cat "$dir/out")"
  grep -qE -- "$message" "$dir/out" ||
    fail "$*: said: $(cat "$dir/out"), not: $message"
  [ ! -e "$dir/x.img" ] || fail "$*: made the data file"
}

# A node with all it needs, and one more parameter.
node ()
{
  refuses "$1" "$DUET" file="$dir/x.img" listen=127.0.0.1:1 \
    peer=127.0.0.1:2 "${@:2}"
}

refuses 'you must give file=' "$DUET" listen=127.0.0.1:1 peer=127.0.0.1:2
refuses 'you must give listen=' "$DUET" file="$dir/x.img" peer=127.0.0.1:2
refuses 'you must give peer=' "$DUET" "$dir/x.img" listen=127.0.0.1:1
node "unknown parameter 'colour'" colour=blue
node 'size=large: not a size' size=large
node 'size=0: must be above 0' size=0
node 'size=-5: not a size' size=-5
for bad in 0 1000 3M 128K 2G many; do
  node "region=$bad: " region=$bad
done
for bad in 127.0.0.1 127.0.0.1:0 127.0.0.1:65536 127.0.0.1:http:x :; do
  node "listen=$bad: " listen="$bad"
  node "peer=$bad: " peer="$bad"
done
node 'takeover=me: must be proxy, any or manual' takeover=me
for bad in 0 x 60001; do
  node 'beat' beat=$bad
done
for bad in 0 x 600001; do
  node 'dead' dead=$bad
done
node 'dead=300 must be at least twice beat=200' beat=200 dead=300
node 'resync-rate=slow: not a size' resync-rate=slow
node 'resync-rate=0: must be above 0' resync-rate=0
node 'durability=maybe: must be write or flush' durability=maybe
node 'flush-after=0: must be above 0' durability=flush flush-after=0
for bad in 0 x 3601; do
  node 'flush-every' durability=flush flush-every=$bad
done
node 'need durability=flush' flush-after=1M
node 'need durability=flush' durability=write flush-every=3
node 'durability=flush does not go with arbiter=etcd' durability=flush \
  arbiter=etcd etcd=http://127.0.0.1:2379

# HTTP.
for bad in 127.0.0.1 :80 127.0.0.1:0 ''; do
  node "http=$bad: " http="$bad"
  refuses "http=$bad: " "$DUETPROXY" node=nbd://x http="$bad"
done
node 'http-expose=perhaps: must be yes or no' http-expose=perhaps
node 'http-expose=yes needs http=' http-expose=yes
refuses 'http-expose=yes needs http=' "$DUETPROXY" node=nbd://x http-expose=yes
for address in 0.0.0.0:1 '[::]:1'; do
  where=$(sed 's/[][]/\\&/g' <<< "$address")
  node "http=$where: that leads out of this machine.*http-expose=yes" \
    http="$address"
  refuses "http=$where: that leads out of this machine" "$DUETPROXY" \
    node=nbd://x http="$address"
done

# TLS of the link.
require_command certtool
new_psk "$dir/psk"
new_ca ca
new_cert x ca "${here[@]}"
new_cert y ca "${here[@]}"
x509_of x ca
node 'tls-psk= stands alone' tls-psk="$dir/psk" "${x509[@]}"
node 'tls-psk= stands alone' tls-psk="$dir/psk" tls-cert="$dir/x.pem"
node 'tls-ca= is missing' tls-cert="$dir/x.pem" tls-key="$dir/x.key"
node 'tls-cert= is missing' tls-ca="$dir/ca.pem" tls-key="$dir/x.key"
node 'tls-key= is missing' tls-ca="$dir/ca.pem" tls-cert="$dir/x.pem"
node 'tls-name= is for certificates' tls-name=b
node 'tls-name= is for certificates' tls-name=b tls-psk="$dir/psk"
node 'tls-name=: a name is missing' "${x509[@]}" tls-name=
node "insecure=maybe: must be yes or no" insecure=maybe
node 'insecure=yes and the tls- parameters exclude' insecure=yes "${x509[@]}"
for which in psk ca cert key; do
  node "tls-$which=: a path is missing" tls-$which=
done
node "tls-psk=$dir/none: No such file" tls-psk="$dir/none"
node "tls-psk=$dir: it is not a file" tls-psk="$dir"
: > "$dir/empty"
node "tls-psk=$dir/empty: everybody may read" tls-psk="$dir/empty"
chmod o= "$dir/empty"
node "tls-psk=$dir/empty: there is no key" tls-psk="$dir/empty"
node "tls-ca=$dir/empty: no certificate in it" tls-ca="$dir/empty" \
  tls-cert="$dir/x.pem" tls-key="$dir/x.key"
node "tls-cert=$dir/empty, tls-key=$dir/x.key: " tls-ca="$dir/ca.pem" \
  tls-cert="$dir/empty" tls-key="$dir/x.key"
node "tls-key=$dir/y.key is not the key of tls-cert=$dir/x.pem" \
  tls-ca="$dir/ca.pem" tls-cert="$dir/x.pem" tls-key="$dir/y.key"
chmod o+r "$dir/x.key"
node "tls-key=$dir/x.key: everybody may read" "${x509[@]}"

# What goes with arbiter=etcd, which no line here gets as far as asking.
etcd () { node "$@" arbiter=etcd etcd=http://127.0.0.1:1; }
node 'arbiter=me: must be client or etcd' arbiter=me
node 'arbiter=etcd needs etcd=' arbiter=etcd
for parameter in etcd=http://x etcd-prefix=/x etcd-user=x lease=500 grace=2000 \
                 etcd-password-file=x etcd-ca=x etcd-cert=x etcd-key=x; do
  node "${parameter%%=*}= needs arbiter=etcd" "$parameter"
done
for bad in x ftp://x http://x/path http://x, http://u@x; do
  node "etcd=$bad: " arbiter=etcd etcd=$bad
done
etcd 'etcd-prefix=: a prefix is missing' etcd-prefix=
etcd 'etcd-prefix=a b: must be printable' etcd-prefix='a b'
etcd 'etcd-user=: a name is missing' etcd-user=
etcd 'need each other' etcd-user=x
etcd 'need each other' etcd-password-file=/x
for parameter in etcd-ca etcd-cert etcd-key etcd-password-file; do
  etcd "$parameter=: a path is missing" $parameter=
done
etcd 'etcd-ca=, .* need an https:// URL' etcd-ca=/x
node 'etcd-cert= and etcd-key= need each other' arbiter=etcd \
  etcd=https://127.0.0.1:1 etcd-cert=/x
node '/nowhere: No such file' arbiter=etcd etcd=https://127.0.0.1:1 \
  etcd-ca=/nowhere
for bad in 0 x 600001; do
  etcd 'lease' lease=$bad
done
for bad in 0 x 700001; do
  etcd 'grace' grace=$bad
done
etcd 'lease=200 must be above beat=200' lease=200
etcd 'grace=1051 must be at least 1052 for lease=1000' grace=1051
etcd 'grace=600 must be at least 632 for lease=600' lease=600 grace=600
etcd 'takeover=any is for arbiter=client' takeover=any

refuses 'node= is missing' "$DUETPROXY"
refuses 'node=http://x/: ' "$DUETPROXY" node=http://x/
for bad in 0 17 x; do
  refuses 'connections' "$DUETPROXY" node=nbd://x connections=$bad
done
for bad in 9 3600001 x; do
  refuses 'timeout' "$DUETPROXY" node=nbd://x timeout=$bad
done
refuses 'give-up' "$DUETPROXY" node=nbd://x give-up=x
refuses "unknown parameter 'file'" "$DUETPROXY" node=nbd://x file=y

# Each parameter is in the help.
help ()
{
  env "${preload[@]}" "$NBDKIT" "$@"
}
help "$DUET" --help > "$dir/help"
for name in file listen peer size meta control takeover region beat dead \
            resync-rate http http-expose \
            tls-psk tls-ca tls-cert tls-key tls-name insecure \
            arbiter etcd etcd-prefix etcd-user etcd-password-file \
            etcd-ca etcd-cert etcd-key lease grace; do
  grep -q "$name.*=" "$dir/help" || fail "$name= is not in the help"
done
help "$DUETPROXY" --help > "$dir/help"
for name in node connections state timeout give-up http http-expose; do
  grep -q "^$name=" "$dir/help" || fail "$name= is not in the help"
done

help --dump-plugin "$DUET" > "$dir/dump"
for line in name=duet duet_default_size=$((256 << 30)) \
            duet_default_beat_ms=200 duet_default_dead_ms=1000 \
            duet_takeover=proxy,any,manual duet_arbiter=client,etcd \
            duet_durability=write,flush \
            duet_default_lease_ms=1000 duet_default_grace_ms=1052; do
  grep -qx "$line" "$dir/dump" || fail "--dump-plugin does not say $line"
done
grep -qx 'max_thread_model=parallel' "$dir/dump" || fail 'not parallel'
help --dump-plugin "$DUETPROXY" > "$dir/dump"
for line in name=duetproxy version=[0-9.]* duetproxy_default_connections=16 \
            duetproxy_default_timeout_ms=1000 \
            duetproxy_default_give_up_seconds=0; do
  grep -qx "$line" "$dir/dump" || fail "--dump-plugin does not say $line"
done
