#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A link with pre-shared keys carries nothing that can be read (and one
# without does, which shows that we would see it); nodes are killed under
# load and come back; and a new key is brought in, one node at a time.
#
#   a -- socat that keeps what passes -- b     and the other way round
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh
. tests/tls-functions.sh

require_command socat
marked='nobody but the two nodes reads this'

# tap NODE: a port whose connections go to NODE's link; what passes is kept
# in $dir/NODE.to and $dir/NODE.from.
tap ()
{
  free_port port
  link_port[tap-$1]=$port
  socat -r "$dir/$1.to" -R "$dir/$1.from" \
    "TCP-LISTEN:$port,bind=127.0.0.1,fork,reuseaddr" \
    "TCP:127.0.0.1:${link_port[$1]}" 2> "$dir/socat-$1.err" &
  tracked+=("$!")
  wait_for 10 "grep -q ':$(printf %04X "$port") 00000000:0000 0A' /proc/net/tcp"
}

# write_marked ARG...: start a pair with these, write, and stop it; what its
# link carried is in $dir/tapped.
write_marked ()
{
  rm -f "$dir"/[ab].{to,from}
  tap a
  tap b
  start_node a peer=127.0.0.1:"${link_port[tap-b]}" "$@"
  start_node b peer=127.0.0.1:"${link_port[tap-a]}" "$@"
  wait_insync
  choose_primary a
  nbdsh "$(node_uri a)" "h.pwrite (b'$marked' * 1000, 4096)"
  [ "$(node_status a .link.tls)" = "$expected" ] ||
    fail "a says: tls $(node_status a .link.tls)"
  stop_node a
  stop_node b
  identical
  cat "$dir"/[ab].{to,from} > "$dir/tapped"
  [ "$(wc -c < "$dir/tapped")" -gt 35000 ] || fail 'nothing was tapped'
  rm "$dir"/[ab].img*
}

expected=null write_marked
grep -aq "$marked" "$dir/tapped" || fail 'the tap does not see what passes'
new_psk "$dir/psk"
expected=psk write_marked tls-psk="$dir/psk"
if grep -aq "$marked" "$dir/tapped"; then
  fail 'it passes in the clear'
fi

# Under load.
start_pair tls-psk="$dir/psk"
start_writer
for victim in first second; do
  wait_insync
  wait_written 100
  wait_primary
  victim=${!victim}
  kill_node "$victim"
  wait_written 50
  start_node "$victim" tls-psk="$dir/psk"
done
wait_insync
stop_writer
verify_both

# A new key: known to both, then shown by both, then the only one.  A client
# writes while each node is away.
restart_with ()
{
  stop_node "$1"
  nbdsh "$proxy_uri" "h.pwrite (b'$2' * 5000, 33 << 20)"
  start_node "$1" tls-psk="$dir/$2"
  wait_insync
}

new_psk "$dir/new" newer
cat "$dir/psk" "$dir/new" > "$dir/both"
cat "$dir/new" "$dir/psk" > "$dir/turned"
chmod o= "$dir/both" "$dir/turned"
for keys in both turned new; do
  restart_with a "$keys"
  restart_with b "$keys"
done
identical
if grep -h 'no link with' "$dir"/[ab].log; then
  fail 'a node was turned away'
fi
