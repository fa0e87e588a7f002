#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Servers with planted faults are found out: a pair that shares nothing, a
# server that tears what it writes, and two clients of different servers.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh
. tests/proxy-functions.sh

# check_not_linear WHAT: the judge must say no, with a short explanation.
check_not_linear ()
{
  local status=0
  "$BUILD/tests/tool-history" check "$dir"/history.* > "$dir/verdict" ||
    status=$?
  [ "$status" = 1 ] && grep -q '^NOT LINEARIZABLE' "$dir/verdict" ||
    fail "$1: status $status: $(cat "$dir/verdict")"
  [ "$(wc -l < "$dir/verdict")" -le 60 ] || fail "$1: no short explanation"
  echo "$1:"
  cat "$dir/verdict"
  rm "$dir"/history.*
}

# A failover to a server that has none of the first one's writes.
start_server left memory "$SIZE"
start_server right memory "$SIZE"
start_test_proxy left right
start_load "$proxy_uri"
start_load "$proxy_uri"
wait_answered 500
kill_nbdkit left
wait_answered 500
stop_loads
check_not_linear 'a failover to other data'

# Requests cut into pieces, which others come in between of.
start_server torn \
  --filter=blocksize --filter=delay memory "$SIZE" \
  maxdata=512 maxlen=512 wdelay=1ms
start_load "$(server_uri torn)" count=400 islands=1 zeros=0
start_load "$(server_uri torn)" count=400 islands=1 zeros=0
finish_loads
check_not_linear 'torn writes'

# Two primaries.
start_server one memory "$SIZE"
start_server two memory "$SIZE"
start_load "$(server_uri one)" count=500
start_load "$(server_uri two)" count=500
finish_loads
check_not_linear 'two primaries'
