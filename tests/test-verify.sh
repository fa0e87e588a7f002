#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl verify compares both copies under a verifying load: it finds a
# planted difference and nothing else, --repair sends it from the primary,
# and --rate and --stop do what they say.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

# compare STATUS OPTION...: at the primary; what it says is in $dir/says.
compare ()
{
  local status=0
  "$DUETCTL" -s "$dir/$first.ctl" verify "${@:2}" > "$dir/says" 2>&1 ||
    status=$?
  [ "$status" = "$1" ] || fail "status $status: $(cat "$dir/says")"
}

start_nodes
start_proxy
start_writer area=16777216
wait_primary
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(16 << 20), 32 << 20)'
compare 0
grep -q '^64 MiB compared: both copies are the same' "$dir/says" ||
  fail "$(cat "$dir/says")"
"$DUETCTL" -s "$dir/$second.ctl" verify > "$dir/says" 2>&1 && fail 'a backup'
grep -q 'not primary: ask the other' "$dir/says" || fail "$(cat "$dir/says")"

# Two blocks side by side and one more, changed behind the backup's back.
printf x | dd of="$dir/$second.img" bs=1 seek=$((40 << 20)) conv=notrunc \
  status=none
printf x | dd of="$dir/$second.img" bs=1 seek=$(((40 << 20) + 4097)) \
  conv=notrunc status=none
printf x | dd of="$dir/$second.img" bs=1 seek=$(((64 << 20) - 1)) \
  conv=notrunc status=none
compare 5
grep -q "^differs: 8192 bytes at $((40 << 20))\$" "$dir/says" ||
  fail "$(cat "$dir/says")"
grep -q "^differs: 4096 bytes at $(((64 << 20) - 4096))\$" "$dir/says" ||
  fail "$(cat "$dir/says")"
grep -q 'compared: 3 blocks differ; ' "$dir/says" || fail "$(cat "$dir/says")"
compare 5 --json
jq -e '.different_blocks == 3 and .ended == null and (.active | not)
  and (.differences | length) == 2' "$dir/says" > "$dir/true" ||
  fail "$(cat "$dir/says")"
compare 5 --repair
grep -q '3 blocks differed and were sent again' "$dir/says" ||
  fail "$(cat "$dir/says")"
compare 0

# Slowly, until it is told to stop.
"$DUETCTL" -s "$dir/$first.ctl" verify --rate=4M > "$dir/slow" 2>&1 &
slow=$!
tracked+=("$slow")
wait_for 20 '[ "$(node_status "$first" ".verify.active and
  .verify.checked_bytes > 4194304")" = true ]'
[ "$(node_status "$first" '.verify.bytes_per_second < 5000000')" = true ] ||
  fail "too fast: $(node_status "$first" .verify)"
"$DUETCTL" -s "$dir/$first.ctl" verify 2> "$dir/says" && fail 'two at once'
grep -q 'under way already' "$dir/says" || fail "$(cat "$dir/says")"
"$DUETCTL" -s "$dir/$first.ctl" verify --stop > "$dir/says"
status=0
wait "$slow" || status=$?
[ "$status" = 1 ] || fail "status $status"
grep -q 'told to stop' "$dir/slow" || fail "$(cat "$dir/slow")"

stop_writer
stop_nbdkit proxy
verify "$(node_uri "$first")"
identical
