#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# record-corpus.sh FOLDER: run a pair of nodes, its proxy and its tools
# through a life of writes, kills, takeovers and resyncs, and store what
# was said and written as inputs of the fuzz targets, FOLDER/TARGET/*.
# `make fuzz-corpus` calls it, and then keeps of it what the fuzz targets
# can tell apart.
#
# The nodes reach each other through recorders:
#
#   a --> recorder --> b's link port
#   b --> recorder --> a's link port
[ $# -eq 1 ] || { echo "usage: record-corpus.sh FOLDER" >&2; exit 2; }
mkdir -p "$1"
out=$(realpath "$1")
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
require_command qemu-io qemu-img socat

for target in stream core meta control duetctl exportname proxystate; do
  mkdir -p "$out/$target"
done
mkdir "$dir/link"
recorder=()

for node in a b; do
  free_port port
  "$BUILD/tests/tool-record" link "$port" "${link_port[$(peer_of $node)]}" \
    "$dir/link/$node" &
  recorder+=("$!")
  tracked+=("$!")
  if [ $node = a ]; then a_peer=$port; else b_peer=$port; fi
done

start_recorded ()
{
  local peer=$a_peer
  [ "$1" = a ] || peer=$b_peer
  start_node "$1" -v peer=127.0.0.1:"$peer" "${@:2}"
}

# What is on disk and what the control socket says, now.
snapshots=0
snapshot ()
{
  local node
  snapshots=$((snapshots + 1))
  for node in a b; do
    [ -n "${pid[$node]:-}" ] || continue
    "$BUILD/tests/tool-record" meta "$dir/$node.img.duet" \
      > "$out/meta/$snapshots$node"
    rm -f "$dir/spy"
    socat -r "$out/control/$snapshots$node" -R "$out/duetctl/$snapshots$node" \
      UNIX-LISTEN:"$dir/spy" UNIX-CONNECT:"$dir/$node.ctl" &
    wait_for 10 "[ -S '$dir/spy' ]"
    "$DUETCTL" -s "$dir/spy" status > "$dir/status.$node"
    wait $! || true
  done
  [ ! -e "$dir/proxy.state" ] ||
    cp "$dir/proxy.state" "$out/proxystate/$snapshots"
}

put () { qemu-io -f raw -c "$1" -c flush "${2:-$proxy_uri}" > /dev/null; }

# A pair is made, and serves.
start_recorded a
snapshot
start_recorded b
wait_insync
start_proxy state="$dir/proxy.state"
snapshot
put 'write -P 1 0 64k'
put 'write -z 5M 128k'
put 'discard 9M 1M'
put 'write -P 2 12M 2M'
snapshot

# Its backup is lost and comes back; then its primary.
for round in 1 2; do
  if [ "$(node_state a)" = backup ]; then lost=a; else lost=b; fi
  [ $round = 1 ] || lost=$(peer_of $lost)
  kill_node $lost
  put "write -P $round 20M 300k"
  put 'write -z 1M 4k'
  snapshot
  start_recorded $lost
  wait_insync
  snapshot
  put "write -P 7 ${round}00k 5k"
done

# Both are lost, and a plain client comes.
kill_node a
kill_node b
start_recorded a
start_recorded b
wait_insync
put 'write -P 9 30M 64k'
snapshot
if [ "$(node_state a)" = primary ]; then serving=a; else serving=b; fi
put 'write -P 10 31M 4k' "$(node_uri $serving)"
nbdinfo --json "$(node_uri $serving)" > "$dir/description"
stop_node "$(peer_of $serving)"
put 'write -P 11 32M 4k'
snapshot

# A wrong request, and the end.
for request in '{"command":"x"}' '{"command":7}' '[]' '{' '' ; do
  printf '%s\n' "$request" > "$out/control/wrong$((++snapshots))"
  printf '%s\n' "$request" |
    socat - UNIX-CONNECT:"$dir/$serving.ctl" \
    > "$out/duetctl/wrong$snapshots"
done
stop_nbdkit proxy
stop_node $serving
kill "${recorder[@]}"
wait "${recorder[@]}" || true

mv "$dir"/link/*.stream "$out/stream"
mv "$dir"/link/*.core "$out/core"
number=0
while IFS= read -r name; do
  number=$((number + 1))
  printf %s "$name" > "$out/exportname/$number"
done < <(cat "$dir"/*.log "$dir/description" |
           grep -oE 'duet/1[: ][a-z0-9:.= -]*' | sort -u)
find "$out" -type f -empty -delete
for target in "$out"/*; do
  echo "$(basename "$target"): $(find "$target" -type f | wc -l) recorded"
done
