#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Metadata of a newer version, and a peer that speaks a newer version of
# the link protocol, are refused by name; the first is not changed, the
# second ends nothing but its own connections.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

# refuses_to_start NAME PATTERN: and says something that fits.
refuses_to_start ()
{
  ! (start_node "$1") 2> /dev/null || fail "$1 started"
  tail -n 5 "$dir/$1.log" | grep -q "$2" ||
    fail "$1 said: $(tail -n 3 "$dir/$1.log")"
}

start_pair
start_writer count=100
wait_for 30 "! is_alive $writer"
wait_insync
stop_nbdkit proxy
stop_node a
stop_node b

# Version, then features, each in both slots and then as it was.
cp "$dir/b.img.duet" "$dir/saved"
for field in 8 12; do
  "$BUILD/tests/tool-meta" "$dir/b.img.duet" $field 16
  cp "$dir/b.img.duet" "$dir/changed"
  refuses_to_start b 'version of duet'
  cmp "$dir/b.img.duet" "$dir/changed" || fail 'the metadata was changed'
  cp "$dir/saved" "$dir/b.img.duet"
done

# A peer of another version in b's place: a says so, and b comes back.
"$BUILD/tests/tool-link" version "${link_port[b]}" > "$dir/newer.log" &
newer=$!
tracked+=("$newer")
wait_for 10 "grep -q listening '$dir/newer.log'"
start_node a
wait_for 10 "grep -q 'the peer speaks another protocol version' \
               '$dir/a.log'" || fail 'a does not say why there is no link'
kill "$newer"
wait "$newer" || true
start_node b
wait_insync
start_proxy state="$dir/proxy.state"
verify "$proxy_uri"
