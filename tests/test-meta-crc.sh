#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Damaged metadata: one superblock slot, and the node starts from the other
# one; a page of the region map, and it counts as all ones and the log says
# so; both slots, and the node refuses to start and says what to do.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

# damage FILE OFFSET: other bytes there.
damage ()
{
  printf 'damaged!' | dd of="$1" bs=1 seek="$2" conv=notrunc 2> /dev/null
}

start_pair
start_writer count=500
wait_for 30 "! is_alive $writer"
wait_insync
stop_node b

# The older slot: nothing is lost.  Which one that is, the numbers say.
newest=$(od -A n -t u8 -j 16 -N 8 "$dir/b.img.duet")
other=$(od -A n -t u8 -j 4112 -N 8 "$dir/b.img.duet")
if [ "$newest" -gt "$other" ]; then older=4096; else older=0; fi
cp "$dir/b.img.duet" "$dir/saved"
damage "$dir/b.img.duet" $((older + 600))
start_node b
wait_insync
stop_node b

# A page of the map.
cp "$dir/saved" "$dir/b.img.duet"
damage "$dir/b.img.duet" 16400
start_node b
wait_for 10 "grep -q 'region map were damaged' '$dir/b.log'" ||
  fail 'the log does not tell of the page'
wait_insync
stop_node b

# Both slots.
damage "$dir/b.img.duet" 600
damage "$dir/b.img.duet" 4696
cp "$dir/b.img.duet" "$dir/changed"
! (start_node b) 2> /dev/null || fail 'b started'
tail -n 3 "$dir/b.log" | grep -q 'both superblocks are unusable' ||
  fail "b said: $(tail -n 3 "$dir/b.log")"
cmp "$dir/b.img.duet" "$dir/changed" || fail 'the metadata was changed'

# As told by the message: without metadata (and data, which is not
# overwritten) it starts blank, and gets everything from its peer as soon as
# a client has chosen that one.
rm "$dir/b.img.duet" "$dir/b.img"
start_node b
verify "$proxy_uri"
wait_insync
verify_both
