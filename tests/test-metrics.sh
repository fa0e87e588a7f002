#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What a node and a proxy tell Prometheus is what its own tools accept: the
# older format promtool's checks, OpenMetrics the parser of Prometheus'
# client library; before there is a volume, in use, and alone.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/http-functions.sh
require_command curl
require_promtool

# check NAME
check ()
{
  http_get "$1" metrics > "$dir/text"
  "$promtool" check metrics < "$dir/text" > "$dir/out" 2>&1 ||
    fail "$1: $(cat "$dir/out")"
  [ ! -s "$dir/out" ] || fail "$1: $(cat "$dir/out")"
  http_get "$1" metrics -D "$dir/head" \
    -H 'Accept: application/openmetrics-text;version=1.0.0' > "$dir/open"
  grep -qi '^content-type: application/openmetrics-text' "$dir/head"
  /usr/bin/python3 - "$dir/open" << 'END' > "$dir/out" 2>&1 ||
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
text = open (sys.argv[1]).read ()
names = [f.name for f in text_string_to_metric_families (text)]
assert len (names) == len (set (names)) > 15, names
END
    fail "$1: OpenMetrics: $(tail -n 3 "$dir/out")"
}

/usr/bin/python3 -c 'import prometheus_client.openmetrics' 2> /dev/null ||
  skip 'no python3-prometheus-client here'
start_node a "$(http_of a)"
check a
start_node b "$(http_of b)"
wait_insync
start_proxy "$(http_of proxy)"
nbdsh "$proxy_uri" 'h.pwrite (b"x" * 4096, 0); h.pread (4096, 0)'
check a
check b
check proxy
wait_primary
kill_node "$first"
nbdsh "$proxy_uri" 'h.pwrite (b"x" * 4096, 0)'
check "$second"
check proxy
