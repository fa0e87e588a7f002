#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The alert rules fire when they should and else not, each is tried, and
# they and the Grafana dashboard ask for nothing that a node or a proxy does
# not tell.
. "$(dirname "$0")/functions.sh"
. tests/http-functions.sh
require_command curl
require_promtool
rules=docs/packaging/examples/duet.rules.yml
dashboard=docs/packaging/examples/duet-dashboard.json

"$promtool" check rules "$rules" > "$dir/out" 2>&1 || fail "$(cat "$dir/out")"
"$promtool" test rules tests/alerts.yml > "$dir/out" 2>&1 ||
  fail "$(cat "$dir/out")"
sed -n 's/^ *- alert: //p' "$rules" > "$dir/alerts"
[ "$(wc -l < "$dir/alerts")" -gt 10 ] || fail 'where are the alerts?'
while read -r alert; do
  # In a quiet world at most does not count.
  grep "$alert" tests/alerts.yml | grep -v 'exp_alerts: \[\]' > /dev/null ||
    fail "nobody tries $alert"
done < "$dir/alerts"

# The dashboard is JSON, every panel has its own place and number, and what it
# asks is PromQL.
jq -e '.panels | length > 20 and (map (.id) | unique | length) == length' \
  "$dashboard" > /dev/null || fail 'panels'
jq -r '.panels[].targets[]?.expr, .annotations.list[].expr' "$dashboard" |
  sed 's/\$__rate_interval/1m/g; s/\$[a-z]*/x/g' > "$dir/exprs"
{
  echo 'groups: [{name: x, rules: ['
  n=0
  while IFS= read -r expr; do
    n=$((n + 1))
    echo "{record: 'x:$n', expr: '$expr'},"
  done < "$dir/exprs"
  echo ']}]'
} > "$dir/exprs.yml"
"$promtool" check rules "$dir/exprs.yml" > "$dir/out" 2>&1 ||
  fail "$(cat "$dir/out")"

# All names exist, here and now.  Those of arbiter=etcd are in the manual.
start_node a "$(http_of a)"
start_proxy "$(http_of proxy)"
{
  http_get a metrics
  http_get proxy metrics
} | sed -n 's/^\([a-z_]*\)[ {].*/\1/p' | sort -u > "$dir/there"
documented duet | grep '^duet_arbiter_\|^duet_lease_' >> "$dir/there"
{
  sed 's/#.*//' "$rules"
  jq -r '.panels[].targets[]?.expr, .annotations.list[].expr,
         (.templating.list[] | .definition // empty)' "$dashboard"
} | grep -oE '\b(duet|duetproxy|process)_[a-z_]+' | sort -u > "$dir/asked"
[ "$(wc -l < "$dir/asked")" -gt 30 ] || fail "asked for: $(cat "$dir/asked")"
sort -u -o "$dir/there" "$dir/there"
unknown=$(comm -23 "$dir/asked" "$dir/there")
[ -z "$unknown" ] || fail "nobody tells: $unknown"
