#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Before a write is answered, both nodes have called fdatasync for it.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

writes=50

start_nodes
choose_primary a

# One at a time: each write needs a call of its own.
before_a=$(node_status a .fdatasyncs)
before_b=$(node_status b .fdatasyncs)
code="
for n in range($writes):
    h.pwrite(bytes([n + 1]) * 4096, n * 10000)
"
nbdsh "$(node_uri a)" "$code"
done_a=$(($(node_status a .fdatasyncs) - before_a))
done_b=$(($(node_status b .fdatasyncs) - before_b))
echo "$writes writes: $done_a calls on a, $done_b on b"
[ "$done_a" -ge $writes ] || fail "only $done_a fdatasyncs on the primary"
[ "$done_b" -ge $writes ] || fail "only $done_b fdatasyncs on the backup"

# What the nodes count is what the kernel saw, where that can be seen.
require_command strace
for node in a b; do
  strace -f -qq -e trace=fdatasync,fsync -o "$dir/$node.trace" \
    -p "${pid[$node]}" > "$dir/$node.strace" 2>&1 &
  tracked+=("$!")
  tracers+=("$!")
done
sees ()
{
  nbdsh "$(node_uri a)" 'h.pwrite(bytes(512), 0)'
  grep -q fdatasync "$dir/a.trace" && grep -q fdatasync "$dir/b.trace"
}
wait_for 5 sees || skip 'strace cannot attach here'
: > "$dir/a.trace"
: > "$dir/b.trace"
nbdsh "$(node_uri a)" "$code"
kill "${tracers[@]}"
wait "${tracers[@]}" || true
for node in a b; do
  seen=$(grep -cE 'f(data)?sync\(.*= 0$' "$dir/$node.trace" || true)
  echo "$node: strace saw $seen"
  [ "$seen" -ge $writes ] || fail "only $seen system calls on $node"
done
