#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A node tells over HTTP what it is doing: the status as the control socket
# has it, its health in each state, metrics with the names of the manual
# that count what clients do, events, the last seconds, and a page.  Nothing
# listens unless told, and nothing can be changed.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/http-functions.sh
require_command curl

# No server without http=.
start_node a
has_thread () { cat "/proc/${pid[a]}"/task/*/comm | grep -x "$1"; }
wait_for 20 'has_thread duet-hangup' # which is started last
! has_thread duet-http || fail 'there is a server'
stop_node a
start_node a "$(http_of a)"
wait_for 20 'has_thread duet-hangup'
has_thread duet-http > /dev/null
[ "$(http_status a healthz)" = 503 ] || fail 'waiting is healthy'
health_says a '^waiting: '
start_node b "$(http_of b)"
wait_insync
choose_primary a

# The same status, but for what goes on meanwhile.
keys () { jq -c '[paths (type != "array" and type != "object")]'; }
diff <(node_status a | keys) <(http_get a status.json | keys) ||
  fail 'status.json has other keys'
[ "$(http_get a status.json | jq -r '.node, .state, .healthy' | xargs)" = \
  "$(node_status a .node) primary true" ] || fail "$(http_get a status.json)"
[ "$(http_status a healthz) $(http_status b healthz)" = '200 200' ]
health_says b '^backup: '

# Every name is in the manual, and every one of the manual is there but for
# those of arbiter=etcd.
diff <(documented 'duet\|process' |
       grep -v '^duet_arbiter_reached$\|^duet_lease_left_seconds$') \
     <(metric_names a) || fail 'the manual has other names'

# They count.
nbdsh "$(node_uri a)" 'h.pwrite (b"x" * 5000, 0)
h.pwrite (b"x" * 5000, 0)
h.pread (700, 0)
try: h.pread (512, 1 << 40)
except nbd.Error: pass
h.flush ()'
[ "$(metric a 'duet_request_bytes_total{kind="write"}')" = 10000 ]
[ "$(metric a 'duet_request_bytes_total{kind="read"}')" = 700 ]
[ "$(metric a 'duet_request_duration_seconds_count{kind="write"}')" = 2 ]
[ "$(metric a 'duet_request_duration_seconds_bucket{kind="write",le="+Inf"}')" \
  = 2 ]
[ "$(metric a 'duet_state{state="primary"}')" = 1 ]
[ "$(metric a 'duet_state{state="solo"}')" = 0 ]
[ "$(metric a 'duet_peer_state{state="backup"}')" = 1 ]
[ "$(metric a duet_serving) $(metric b duet_serving)" = '1 0' ]
[ "$(metric a duet_link_up) $(metric a duet_members)" = '1 2' ]
[ "$(metric a duet_size_bytes)" = $((64 << 20)) ]
[ "$(metric b duet_fdatasync_duration_seconds_count)" -ge 2 ]
[ "$(metric b duet_fdatasync_group_size_sum)" -ge 2 ]
wait_for 10 '[ "$(metric a duet_link_rtt_seconds_count)" -ge 1 ]'
[ "$(metric a 'duet_link_bytes_total{direction="sent"}')" -ge 10000 ]

# Events and seconds, from a number on.
newest=$(http_get a events.json | jq '.events[-1].number')
[ "$(http_get a "events.json?after=$((newest - 2))" | jq '.events | length')" \
  = 2 ] || fail 'events after a number'
[ "$(metric a duet_events_total)" -ge "$newest" ]
wait_for 10 '[ "$(http_get a history.json | jq ".samples | length")" -ge 2 ]'
http_get a history.json |
  jq -e '(.keys | length) as $n | .samples | all (length == $n)' > /dev/null
http_get a history.json | jq -e '.keys as $k | [.samples[] | . as $s
  | [$k, $s] | transpose | map ({(.[0]): .[1]}) | add
  | .write_bytes_per_second] | max > 5000' > /dev/null ||
  fail "the writes are not in the history: $(http_get a history.json)"

# The page, and who may not.
http_get a '' | grep '<title>duet' > /dev/null || fail 'no page'
http_get a '' -D "$dir/head" -o /dev/null
grep -qi "^content-security-policy: default-src 'none'; style-src 'sha256-" \
  "$dir/head" || fail "$(cat "$dir/head")"
[ "$(http_status a nothing)" = 404 ]
[ "$(http_status a status.json -X POST -d x)" = 405 ]
[ "$(http_status a status.json -H 'Host: evil.example')" = 421 ]

# Garbage, and clients that wait for nothing, leave the node alone.
for _ in 1 2 3; do
  head -c 100000 /dev/urandom |
    socat -T 2 - "TCP:127.0.0.1:${http_port[a]}" > /dev/null 2>&1 || true
done
for _ in $(seq 40); do
  socat -T 60 -u "TCP:127.0.0.1:${http_port[a]}" - > /dev/null 2>&1 &
  tracked+=("$!")
done
nbdsh "$(node_uri a)" 'h.pwrite (b"y" * 5000, 0)'
health_says a '^primary: '

# A peer that is away is not this node's fault, but is told.
start_proxy
nbdsh "$proxy_uri" 'h.pwrite (b"z" * 5000, 0)'
kill_node b
nbdsh "$proxy_uri" 'h.pwrite (b"z" * 5000, 0)'
wait_state a solo
[ "$(http_status a healthz)" = 200 ]
[ "$(metric a duet_link_up) $(metric a duet_members)" = '0 1' ]
[ "$(metric a duet_dirty_bytes)" -ge 5000 ]
[ "$(metric a 'duet_peer_state{state="backup"}')" = 0 ]
stop_nbdkit proxy
# Orderly, with connections open.
stop_node a

# Only loopback unless told.
start_node a http=0.0.0.0:"${http_port[a]}" http-expose=yes
health_says a '^[a-z]*: ' -H 'Host: any.example'
stop_node a

# What arbiter=etcd adds; nothing answers there.
start_node a "$(http_of a)" file="$dir/c.img" arbiter=etcd \
  etcd=http://127.0.0.1:1
diff <(documented 'duet\|process') <(metric_names a) ||
  fail 'the manual has other names with etcd'
[ "$(metric a duet_arbiter_reached)" = 0 ]
[ "$(metric a duet_lease_left_seconds)" = 0.000000 ]
