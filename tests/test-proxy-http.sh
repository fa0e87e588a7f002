#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A proxy tells over HTTP which node it is at, how often it has moved, what it
# sent again and how long its clients waited: through a failover with
# requests under way, and while no node serves.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/http-functions.sh
require_command curl

start_nodes
choose_primary a
start_proxy "$(http_of proxy)" timeout=1000
nbdsh "$proxy_uri" 'h.pwrite (b"x" * 5000, 0)
h.pread (700, 0)
h.flush ()
try: h.pread (512, 1 << 40)
except nbd.Error: pass'
[ "$(http_status proxy healthz)" = 200 ]
health_says proxy "^session [0-9]* with $(node_uri a);"
status () { http_get proxy status.json | jq -r "$1"; }
[ "$(status '.healthy, .live, .reconnects, .unanswered' | xargs)" = \
  'true true 0 0' ] || fail "$(status .)"
[ "$(status '.nodes[] | select (.current) | .uri')" = "$(node_uri a)" ]
[ "$(status .size_bytes)" = $((64 << 20)) ]
[ "$(status '.requests.write | .count, .bytes' | xargs)" = '1 5000' ]
[ "$(status '.requests.read | .count, .bytes' | xargs)" = '1 700' ]
[ "$(status .generation.id)" = "$(node_status a .generation.id)" ]
[ "$(metric proxy "duetproxy_node_current{node=\"$(node_uri a)\"}")" = 1 ]
[ "$(metric proxy "duetproxy_node_current{node=\"$(node_uri b)\"}")" = 0 ]
[ "$(metric proxy 'duetproxy_request_bytes_total{kind="write"}')" = 5000 ]
diff <(documented 'duetproxy\|process') <(metric_names proxy) ||
  fail 'the manual has other names'
# The manual's list of keys.
promised=$(sed -n '/^=head1 HTTP/,/^=head1 ERR/p' \
             docs/nbdkit-duetproxy-plugin.pod |
           sed -n 's/^ \([a-z][A-Za-z0-9_.]*\)\( .*\)*$/\1/p' | sort -u)
diff <(echo "$promised") \
     <(status '[paths (type != "array" and type != "object")
                | map (if type == "number" then empty else . end)
                | if .[0] == "requests" then .[1] = "KIND" else . end
                | join (".")] | unique | .[]' | sort -u) ||
  fail 'the manual has other keys'

# A write is under way when its node stops, and is sent again to the other.
kill_node a STOP
nbdsh "$proxy_uri" 'h.pwrite (b"y" * 5000, 0)' &
tracked+=("$!")
client=$!
wait_for 10 '[ "$(status .unanswered)" = 1 ]'
[ "$(status '.pause_us > 0')" = true ]
wait_for 10 '[ "$(http_status proxy healthz)" = 503 ] ||
             [ "$(status .reconnects)" -ge 1 ]'
kill_node a
wait "$client" || fail 'the write has failed'
[ "$(status '.healthy, .live, .unanswered, .pause_us' | xargs)" = \
  'true true 0 0' ] || fail "$(status .)"
[ "$(status '.reconnects >= 1 and .replays >= 1')" = true ] ||
  fail "$(status .)"
[ "$(status '.longest_pause_us >= .requests.write.max_us - 100000
             and .longest_pause_us > 10000')" = true ] || fail "$(status .)"
[ "$(status '.nodes[] | select (.current) | .uri')" = "$(node_uri b)" ]
[ "$(metric proxy duetproxy_reconnects_total)" = "$(status .reconnects)" ]

# No node at all: it says so, and what each of them says.
kill_node b
wait_for 20 '[ "$(status .live)" = false ]'
[ "$(http_status proxy healthz)" = 503 ]
health_says proxy '^no node serves this proxy'
wait_for 20 'status "[.nodes[].problem | strings] | length == 2" | grep true'
[ "$(metric proxy duetproxy_session_live)" = 0 ]
[ "$(http_status proxy nothing) $(http_status proxy '')" = '404 200' ]
stop_nbdkit proxy
