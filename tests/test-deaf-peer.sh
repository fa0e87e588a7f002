#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A peer that asks and never reads an answer is hung up on before the
# answers that wait for it fill the memory, and the node goes on.
. "$(dirname "$0")/functions.sh"

start_node a dead=60000
before=$(node_status a .rss_bytes)
"$BUILD/tests/tool-link" deaf "${link_port[a]}" 2000000
after=$(node_status a .rss_bytes)
echo "grown by $(((after - before) >> 10)) KiB"
[ -n "$SAN" ] || [ $((after - before)) -lt $((32 << 20)) ] ||
  fail "a has grown by $((after - before)) bytes"
# So slow with a sanitizer that it may be given up for that before.
why='frame refused'
[ -z "$SAN" ] || why+='|took too long'
wait_for 10 "grep -qE '$why' '$dir/a.log'" || fail 'not refused'
is_alive "${pid[a]}" || fail 'a died'
stop_node a
