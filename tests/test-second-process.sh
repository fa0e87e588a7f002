#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A second process on the same file is refused, and harms nothing.
. "$(dirname "$0")/functions.sh"

start_node a
start_node b
wait_insync
if env "${preload[@]}" "$NBDKIT" -f -U "$dir/second.sock" "$DUET" \
     file="$dir/a.img" listen=127.0.0.1:1 peer=127.0.0.1:2 \
     > "$dir/second.log" 2>&1 < /dev/null; then
  fail 'a second process was let in'
fi
grep -qi 'another process\|in use\|locked' "$dir/second.log" ||
  fail "said: $(cat "$dir/second.log")"
is_insync a || fail "a is $(node_state a)"
