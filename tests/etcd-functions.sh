# SPDX-License-Identifier: BSD-3-Clause
#
# etcd-functions.sh: nodes with arbiter=etcd, each on a host of its own,
# with etcd on one or three more, clients on two, and links that can be cut
# in each direction.  Sourced after functions.sh and linear-functions.sh.
#
#       c1   c2   clients: proxies; load reaches them by unix socket
#        |    |
#     ===+====+=======+====+====+====   a switch
#        |    |       |    |    |
#        a    b      e1   e2   e3       nodes; etcd
#
# A host is a network namespace of this test's own, the switch a bridge in
# another one.  A cut is a packet filter at the receiving host that drops
# what the sender's sends: nobody is told.

declare -A address=(
  [a]=10.77.0.1 [b]=10.77.0.2 [c1]=10.77.0.21 [c2]=10.77.0.22
  [e1]=10.77.0.11 [e2]=10.77.0.12 [e3]=10.77.0.13)
hosts=()                # that were made
members=()              # hosts of etcd
etcd_urls=              # for etcd=
net=duet-$$             # prefix of the namespaces' names
node_args=(beat=50 dead=300 lease=400 grace=450)

# --------------------------------------------------------------- network

# Deliberately not by name: other tests have hosts of their own.
remove_network ()
{
  local host
  for host in "${hosts[@]}" switch; do
    ip netns del "$net-$host" 2> /dev/null
  done
}

# A bridge, to which hosts are put.
make_switch ()
{
  at_exit remove_network
  ip netns add "$net-switch" 2> "$dir/ip.log" ||
    skip "no network namespaces here: $(cat "$dir/ip.log")"
  ip -n "$net-switch" link add name sw type bridge &&
    ip -n "$net-switch" link set dev sw up || skip 'no bridges here'
}

# make_network MEMBERS: two nodes, two clients, so many hosts for etcd.
make_network ()
{
  local host
  require_root
  require_command ip nft nsenter etcd etcdctl
  make_switch
  members=(e1 e2 e3)
  members=("${members[@]:0:$1}")
  for host in a b c1 c2 "${members[@]}"; do
    make_host "$host"
  done
}

make_host ()
{
  ip netns add "$net-$1"
  hosts+=("$1")
  ip -n "$net-$1" link add eth0 type veth peer name "$1" netns "$net-switch"
  ip -n "$net-switch" link set dev "$1" master sw up
  ip -n "$net-$1" addr add "${address[$1]}/24" dev eth0
  ip -n "$net-$1" link set dev eth0 up
  ip -n "$net-$1" link set dev lo up
  within "$1" nft -f - <<'END' || skip 'no packet filter here'
table ip duet {
  set deaf { type ipv4_addr; }
  chain in { type filter hook input priority 0; ip saddr @deaf drop; }
}
END
}

# within HOST COMMAND...: run it there.
within ()
{
  nsenter --net="/run/netns/$net-$1" "${@:2}"
}

# at HOST FUNCTION...: what FUNCTION starts by start_nbdkit, starts there.
at ()
{
  local run_in=(nsenter --net="/run/netns/$net-$1")
  "${@:2}"
}

# cut_way FROM TO: nothing of FROM reaches TO any more.
cut_way ()
{
  within "$2" nft add element ip duet deaf "{ ${address[$1]} }"
}

# cut "HOST..." "HOST...": nothing between the two groups.
cut ()
{
  local one other
  for one in $1; do
    for other in $2; do
      cut_way "$one" "$other"
      cut_way "$other" "$one"
    done
  done
}

# isolate HOST...: they reach each other and nobody else.
isolate ()
{
  local host others=
  for host in "${hosts[@]}"; do
    [[ " $* " == *" $host "* ]] || others+=" $host"
  done
  cut "$*" "$others"
}

mend ()
{
  local host
  for host in "${hosts[@]}"; do
    within "$host" nft flush set ip duet deaf
  done
}

# ------------------------------------------------------------------ etcd

# start_member HOST: etcd there; again after a kill, with what it had.
start_member ()
{
  local host=$1 here=http://${address[$1]} cluster=() other
  for other in "${members[@]}"; do
    cluster+=("$other=http://${address[$other]}:2380")
  done
  nsenter --net="/run/netns/$net-$host" etcd --name "$host" \
    --data-dir "$dir/etcd-$host" --log-level warn \
    --listen-client-urls "$here:2379" --advertise-client-urls "$here:2379" \
    --listen-peer-urls "$here:2380" --initial-advertise-peer-urls "$here:2380" \
    --initial-cluster "$(IFS=,; echo "${cluster[*]}")" \
    < /dev/null >> "$dir/etcd-$host.log" 2>&1 &
  pid[$host]=$!
}

# ask_member HOST ARG...: etcdctl on that host.
ask_member ()
{
  within "$1" env ETCDCTL_API=3 etcdctl --command-timeout=2s \
    --endpoints="http://${address[$1]}:2379" "${@:2}"
}

# start_etcd: on all hosts for it; returns when it answers.
start_etcd ()
{
  local host urls=()
  for host in "${members[@]}"; do
    start_member "$host"
    urls+=("http://${address[$host]}:2379")
  done
  etcd_urls=$(IFS=,; echo "${urls[*]}")
  for host in "${members[@]}"; do
    wait_member "$host"
  done
}

wait_member ()
{
  wait_for 30 "ask_member $1 endpoint health" ||
    fail "etcd on $1 does not start"
}

# The member that is leader.
etcd_leader ()
{
  local host
  for host in "${members[@]}"; do
    [ -n "${pid[$host]:-}" ] || continue
    if ask_member "$host" endpoint status -w json 2> /dev/null |
         jq -e '.[0].Status | .leader == .header.member_id' > /dev/null; then
      echo "$host"
      return
    fi
  done
  return 1
}

kill_member () { kill_nbdkit "$@"; }

# ----------------------------------------------------------------- nodes

node_uri ()
{
  echo "nbd://${address[$1]}:10809"
}

# start_host_node NAME [PARAMETER...]: with arbiter=etcd unless told.
start_host_node ()
{
  local name=$1
  shift
  rm -f "$dir/$name.ctl"
  [[ " $* " == *" arbiter="* ]] || set -- arbiter=etcd etcd="$etcd_urls" "$@"
  at "$name" start_nbdkit "$name" -i "${address[$name]}" -p 10809 "$DUET" \
    file="$dir/$name.img" size="$SIZE" control="$dir/$name.ctl" \
    listen="${address[$name]}:7100" \
    peer="${address[$(peer_of "$name")]}:7100" "$@"
}

# restart_node NAME: as start_pair_with_clients started it.
restart_node ()
{
  start_host_node "$1" "${node_args[@]}"
}

# start_pair_with_clients [PARAMETER...]: nodes, a proxy on each client's
# host, and load through each: client 1 and client 2 of the history.  The
# link has no TLS unless told.
start_pair_with_clients ()
{
  node_args+=("$@")
  [[ " $* " == *" tls-psk="* ]] || node_args+=(insecure=yes)
  restart_node a
  restart_node b
  wait_insync
  at c1 start_proxy state="$dir/proxy.state"
  at c2 start_second_proxy
  start_load "$proxy_uri"
  start_load "$proxy2_uri"
  wait_answered "$pause"
}

# One of both serves, and the other one is its backup: which, does not
# matter to a test that names them after that.
# make_primary NAME: by killing the other one when it is, which is a fault
# like any other for the judge.
make_primary ()
{
  local other
  other=$(peer_of "$1")
  wait_primary
  [ "$first" = "$other" ] || return 0
  note_fault begin
  kill_node "$other"
  wait_state "$1" solo
  restart_node "$other"
  wait_answered "$pause"
  wait_insync 60
  note_fault end
}

# ---------------------------------------------------------------- faults

# longest_gap CLIENT...: the longest time in ms, from the newest fault's
# begin to its end, without an acknowledged write of these clients.
longest_gap ()
{
  local client files=()
  for client; do
    files+=("$dir/history.$client")
  done
  awk '
    FILENAME == ARGV[1] { mark[$3] = $2; next }
    $1 == "s" && $3 != "read" { write[$2] = 1 }
    $1 == "a" && $2 in write { print $3 }
    END { print mark["begin"] " begin"; print mark["end"] " end" }' \
    "$faults" "${files[@]}" | sort -n |
    awk '
      $2 == "begin" { inside = 1 }
      inside && last && $1 - last > gap { gap = $1 - last }
      $2 == "end" { inside = 0 }
      { last = $1 }
      END { printf "%d\n", gap / 1e6 }'
}

# with_cut WHAT BREAK [MEND]: under load BREAK it, see requests answered,
# MEND it (mend), and see both copies agree.  Says how long no write was
# acknowledged.
with_cut ()
{
  note_fault begin
  eval "$2"
  wait_answered "$pause"
  eval "${3:-mend}"
  end_fault "$1"
}

# end_fault WHAT: all was mended.
end_fault ()
{
  wait_answered "$pause"
  wait_insync 60
  note_fault end
  echo "$1: no acknowledged write for $(longest_gap 1 2) ms" \
       "(client 1: $(longest_gap 1), client 2: $(longest_gap 2))"
  wait_answered "$pause"
}

is_serving ()
{
  [ "$(node_status "$1" .serving)" = true ]
}

# nobody_serves: and nobody is answered for four times grace=.
nobody_serves ()
{
  local before end
  wait_for 20 "[ \"\$(node_status a .serving)\$(node_status b .serving)\" \
                 = falsefalse ]" || fail 'somebody serves'
  before=$(answered)
  end=$(($(now_ms) + 1800))
  while [ "$(now_ms)" -lt $end ]; do
    [ "$(answered)" = "$before" ] || fail 'somebody is answered'
    sleep 0.1
  done
}

# finish: what both clients saw is linearizable, both copies are the same.
finish ()
{
  stop_loads
  check_linear again
  wait_insync 60
  identical
}
