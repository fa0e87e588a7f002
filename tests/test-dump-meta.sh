#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl dump-meta shows the metadata of a node that is stopped: what its
# status had said, the generations, and how much may differ; of a running
# one, too, and says that it is running; and it changes nothing.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

# dump FILTER NAME: of what it says of a node's metadata.
dump ()
{
  "$DUETCTL" dump-meta --json "$dir/$2.img.duet" | jq -r "$1"
}

start_nodes takeover=any
choose_primary a
nbdsh "$(node_uri a)" 'h.pwrite(b"x" * 4096, 0)'
for name in a b; do
  [ "$(dump .locked $name)" = true ] || fail "$name runs, and is not locked"
  "$DUETCTL" dump-meta "$dir/$name.img.duet" | grep -q 'by a running node' ||
    fail "$name runs, and it does not say so"
done

# Alone, b away: two regions may differ.
kill_node b
nbdsh "$(node_uri a)" 'h.pwrite(b"y" * 8192, 20 << 20)'
node_status a '[.volume, .node, .peer.node, .generation.epoch,
  .generation.id, .size_bytes, (.members | length)] | @text' > "$dir/status"
kill_node a
cp "$dir/a.img.duet" "$dir/before"
dump '[.record.volume, .record.node, .record.peer, .record.history[0].epoch,
  .record.history[0].id, .record.size_bytes, (.record.members | length)]
  | @text' a > "$dir/dump"
cmp "$dir/status" "$dir/dump" || fail "$(cat "$dir/status" "$dir/dump")"
dump . a > "$dir/dump"
jq -e '.locked == false and .superblock == "ok" and .record.data == "current"
  and .record.primary == .record.node and .record.answered
  and .record.history[0].kind == "solo" and .record.attempt == null
  and ([.slots[] | select(.newest)] | length) == 1
  and .map.bad_pages == 0 and .map.regions == 16 and .map.regions_set == 2
  and .map.dirty_bytes == 2 * 4194304' "$dir/dump" > /dev/null ||
  fail "$(cat "$dir/dump")"
[ "$(dump .record.history[0].kind b)" != solo ] || fail 'b knows of it'
cmp "$dir/a.img.duet" "$dir/before" || fail 'the metadata was changed'

# The newest slot torn: the other one counts, as for a node.
slot=$(jq '.slots | map(.newest) | index(true)' "$dir/dump")
printf 'damaged!' | dd of="$dir/a.img.duet" bs=1 seek=$((slot * 4096 + 600)) \
  conv=notrunc status=none
[ "$(dump ".slots[$slot].state" a)" = 'checksum mismatch' ] ||
  fail "$(dump .slots a)"
[ "$(dump '.record.history[0].epoch | tostring' a)" != null ] ||
  fail "$(dump . a)"

# A newer version's: shown as that, and a node would not start either.
"$BUILD/tests/tool-meta" "$dir/b.img.duet" 8 2
status=0
"$DUETCTL" dump-meta "$dir/b.img.duet" > "$dir/says" 2>&1 || status=$?
[ "$status" = 1 ] || fail "status $status"
grep -q 'written by a newer duet' "$dir/says" || fail "$(cat "$dir/says")"
grep -q 'refuses to start' "$dir/says" || fail "$(cat "$dir/says")"
(start_node b) 2> /dev/null && fail 'b started'

# The data file is not metadata.
status=0
"$DUETCTL" dump-meta "$dir/a.img" > "$dir/says" 2>&1 || status=$?
[ "$status" = 1 ] || fail "status $status"
grep -q 'FILE.duet beside the data file' "$dir/says" ||
  fail "$(cat "$dir/says")"
