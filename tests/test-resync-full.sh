#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl resync --full: a peer whose disk has lost or changed something
# behind the nodes' backs is compared as a whole and made equal, under load;
# it says what it will do and asks; killed in the middle, it goes on.
SIZE=256M
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

# resync NAME OPTION...: what it says is in $dir/says.
resync ()
{
  "$DUETCTL" -s "$dir/$1.ctl" resync "${@:2}" > "$dir/says" 2>&1
}

# spoil OFFSET: a block of the backup's data file, which no node sees.
spoil ()
{
  printf 'spoilt' |
    dd of="$dir/$second.img" bs=1 seek="$1" conv=notrunc status=none
}

start_nodes
start_proxy
start_writer area=16777216
wait_primary
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(64 << 20), 32 << 20)'
resync "$second" --full --yes && fail 'a backup'
grep -q 'not primary: ask the other' "$dir/says" || fail "$(cat "$dir/says")"

# Where a reader of the primary's would never look, nor a resync.
for offset in 41943040 67112960 268431360; do
  spoil "$offset"
done
echo no | resync "$first" --full && fail 'no is no'
grep -q 'compared with this one, 256 MiB by hash' "$dir/says" ||
  fail "$(cat "$dir/says")"
grep -q 'nothing was changed' "$dir/says" || fail "$(cat "$dir/says")"
[ "$(node_state "$first")" = primary ] || fail "$(node_status "$first")"
sent=$(node_status "$first" .link.bytes_sent)
echo yes | resync "$first" --full || fail "$(cat "$dir/says")"
grep -q 'this node is solo now' "$dir/says" || fail "$(cat "$dir/says")"
wait_insync 60
stop_writer
nbdsh "$proxy_uri" 'h.flush()'
identical

# Both die in the middle of it: it goes on, since the map is durable.
# --full, at a few MiB in a second, is far from its end then.
stop_nbdkit proxy
stop_node "$first"
stop_node "$second"
start_node a resync-rate=4M takeover=any
start_node b resync-rate=4M takeover=any
wait_insync 60
choose_primary a
first=a second=b
spoil 268431360
resync a --full --yes --json || fail "$(cat "$dir/says")"
jq -e '.status.state == "solo" and .status.dirty_bytes > 200 * 1048576' \
  "$dir/says" > /dev/null || fail "$(cat "$dir/says")"
kill_node a
kill_node b
[ "$("$DUETCTL" dump-meta --json "$dir/a.img.duet" |
  jq '.map.regions_set == .map.regions')" = true ] ||
  fail "$("$DUETCTL" dump-meta "$dir/a.img.duet")"
start_node a takeover=any
start_node b takeover=any
wait_insync 60
identical

# Without its peer: it is done when that comes.
kill_node b
nbdsh "$(node_uri a)" 'h.pwrite(b"x" * 4096, 0)'
wait_state a solo
spoil 134217728
resync a --full --yes || fail "$(cat "$dir/says")"
start_node b takeover=any
wait_insync 60
identical
