#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl switchover hands the primary role over, from either node, under
# load through the proxy: the client sees no error and a short pause, all
# that was answered is on both copies, and both stay members.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

turns=10
limit_ms=$((100 * patience))
window_ms=500

switchover ()
{
  "$DUETCTL" -s "$dir/$1.ctl" switchover "${@:2}" --json > "$dir/answer" ||
    fail "switchover at $1"
}

start_nodes
start_proxy
fio --name=load --ioengine=nbd --uri="$proxy_uri" --rw=randwrite --bs=4k \
  --iodepth=4 --offset=32M --size=16M --verify=crc32c --verify_fatal=1 \
  --verify_state_save=0 --rate_iops=200 --write_lat_log="$dir/fio" \
  --log_unix_epoch=1 > "$dir/fio.log" 2>&1 &
fio=$!
tracked+=("$fio")
start_writer area=16777216 connections=1 depth=2
wait_primary

calm=() moments=()
for ((turn = 1; turn <= turns; turn++)); do
  check_writer
  is_alive "$fio" || fail "fio has ended: $(tail "$dir/fio.log")"
  # In turn the one that hands over and the one that takes over is asked.
  asked=$first
  [ $((turn % 4)) -lt 2 ] || asked=$second
  calm[turn]=$(now_ms)
  wait_for 5 "[ \$(now_ms) -ge $((calm[turn] + window_ms)) ]"
  moments[turn]=$(now_ms)
  switchover "$asked"
  [ "$(jq -r .status.state "$dir/answer")" = \
    "$([ "$asked" = "$first" ] && echo backup || echo primary)" ] ||
    fail "$asked says $(cat "$dir/answer")"
  [ "$(node_state "$second")" = primary ] || fail "$second does not serve"
  wait_written 20
  wait_for 5 "[ \$(now_ms) -ge $((moments[turn] + window_ms)) ]"
  is_insync a && is_insync b || fail 'they are not in sync'
  [ "$(node_status a .dirty_bytes)" = 0 ] || fail 'a copy is stale'
  first=$second
  second=$(peer_of "$first")
done
stop_writer
wait "$fio" || fail "fio: $(tail "$dir/fio.log")"

# The longest that a request took, of those answered in the half second
# after each of these moments, sorted.
longest ()
{
  local moment
  for moment; do
    awk -F, -v from="$moment" -v window=$window_ms '
      $1 + 0 >= from && $1 + 0 < from + window {
        n++
        if ($2 + 0 > max) max = $2 + 0
      }
      END { if (n == 0) exit 1; printf "%d\n", max / 1e6 }' \
      "$dir"/fio_lat.*.log || fail 'fio was not there'
  done | sort -n
}
mapfile -t quiet < <(longest "${calm[@]}")
mapfile -t pauses < <(longest "${moments[@]}")
echo "longest waits, ms, without a switchover: ${quiet[*]}"
echo "longest waits, ms, with one: ${pauses[*]}"
[ "${#pauses[@]}" = $turns ] && [ "${#quiet[@]}" = $turns ] ||
  fail 'fio was not there'
# A switchover is some requests in a row, and the machine may be busy with
# other things: then every request takes long.
middle=$((turns / 2))
[ "${pauses[middle]}" -lt $((limit_ms + 2 * quiet[middle])) ] ||
  fail 'switchovers take too long'
[ "$(grep -c 'session .* lost' "$dir/proxy.log")" -ge "$turns" ] ||
  fail 'the proxy did not move'

# Both copies are the same, and neither was ever alone.
stop_nbdkit proxy
verify "$(node_uri "$first")"
identical
! grep -qE 'solo:|candidate:' "$dir/a.log" "$dir/b.log" ||
  fail 'a node was alone'

# --to says who shall be primary, which may be so already.
epoch=$(node_status a .generation.epoch)
switchover "$first" --to=this
switchover "$second" --to=peer
[ "$(node_status a .generation.epoch)" = "$epoch" ] || fail 'it was so already'
switchover "$first" --to=peer
[ "$(node_state "$second")" = primary ] || fail "$second does not serve"
[ "$(node_status a .generation.epoch)" = $((epoch + 1)) ] || fail 'no switch'
