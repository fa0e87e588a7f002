# SPDX-License-Identifier: BSD-3-Clause
#
# http-functions.sh: what a node or a proxy tells over HTTP.  Sourced after
# functions.sh.  Names are a, b and proxy; each has a port for the whole
# test.

declare -A http_port=()
for name in a b proxy; do
  free_port port
  # Known to free_port from now on.
  nbd_port[http-$name]=$port
  http_port[$name]=$port
done
unset name port

# http_of NAME: the parameter.
http_of ()
{
  echo "http=127.0.0.1:${http_port[$1]}"
}

# http_get NAME PATH [CURL-OPTION...]: the body.
http_get ()
{
  curl -s -m 20 "${@:3}" "http://127.0.0.1:${http_port[$1]}/$2"
}

# http_status NAME PATH [CURL-OPTION...]: its number.
http_status ()
{
  http_get "$@" -o /dev/null -w '%{http_code}'
}

# health_says NAME PATTERN [CURL-OPTION...]: its line of health.
health_says ()
{
  local line
  line=$(http_get "$1" healthz "${@:3}")
  [[ $line =~ $2 ]] || fail "$1 says \"$line\", not $2"
}

# metric NAME SAMPLE: the value of SAMPLE, a name with its labels.
metric ()
{
  http_get "$1" metrics | awk -v "name=$2" '$1 == name { print $2; found = 1 }
                                            END { exit !found }'
}

# The names of the samples of NAME, without what histograms add.
metric_names ()
{
  http_get "$1" metrics | sed 's/^# TYPE \([^ ]*\) .*/\1/; t; d' | sort -u
}

# documented PREFIX: the names in the tables of the manual.
documented ()
{
  sed -n "s/^| \`\(\($1\)_[a-z_]*\)\` | .*/\1/p" docs/metrics.md | sort -u
}

# Sets promtool, or skips the test.
require_promtool ()
{
  promtool=$(command -v promtool || echo build-deps/promtool/promtool)
  [ -x "$promtool" ] ||
    skip 'no promtool here: it could not be fetched (tests/promtool-fetch.sh)'
}
