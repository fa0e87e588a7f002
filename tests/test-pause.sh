#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl pause keeps the nodes apart, asked of either: clients of the
# primary go on without an error, the backup serves nobody and cannot take
# over, what is written meanwhile is sent after resume, and only that.
SIZE=256M
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

# Not a pair yet, and no primary.
start_node a
ctl_refused 'blank' a pause
start_node b
wait_insync
ctl_refused 'no node is primary yet' a pause
start_proxy
start_writer area=16777216
wait_primary
ctl_refused 'is not paused' "$first" resume
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(64 << 20), 32 << 20)'

for asked in "$first" "$second"; do
  other=$(peer_of "$asked")
  # A client without a proxy stays connected all the time.
  rm -f "$dir/plain" "$dir/enough"
  nbdsh "$(node_uri "$first")" '
while not os.path.exists("'"$dir/enough"'"):
    h.pwrite(b"plain" * 100, 220 << 20)
    open("'"$dir/plain"'", "w").close()
    time.sleep(0.01)' &
  plain=$!
  tracked+=("$plain")
  wait_for 20 '[ -e "$dir/plain" ]'
  ctl "$asked" pause || fail "$(cat "$dir/says")"
  [ "$(node_status "$asked" .paused)" = this ] || fail "$(node_status "$asked")"
  wait_state "$first" solo
  [ "$(node_state "$second")" = syncing ] || fail "$(node_status "$second")"
  wait_for 10 '[ "$(node_status "$other" .paused)" = peer ]' ||
    fail "$other does not know: $(node_status "$other")"
  node_status "$asked" .reason | grep -q "paused by this node's operator" ||
    fail "$(node_status "$asked" .reason)"
  node_status "$other" .reason | grep -q "paused by the peer's operator" ||
    fail "$(node_status "$other" .reason)"
  ctl "$asked" status || fail "$(cat "$dir/says")"
  grep -q '^peer .*not connected, paused$' "$dir/says" ||
    fail "$(cat "$dir/says")"
  ctl_refused 'paused already' "$asked" pause
  ctl_refused 'paused at the peer, not here' "$other" resume
  ctl_refused 'paused' "$first" switchover

  # The backup is out, whoever asks.
  nbdsh "$(node_uri "$second")" 'pass' 2> "$dir/says" &&
    fail "$second serves"
  ctl_refused 'the peer is there and has the newer copy' "$second" \
    promote --force
  before=$(node_status "$first" .requests.write.count)
  wait_for 20 \
    '[ "$(node_status "$first" .requests.write.count)" -gt "$before" ]'
  nbdsh "$proxy_uri" 'h.pwrite(os.urandom(1 << 20), 128 << 20)'
  [ "$(node_status "$first" '.dirty_bytes >= 1048576')" = true ] ||
    fail 'no marks'
  ctl "$asked" resume || fail "$(cat "$dir/says")"
  wait_insync
  [ "$(node_status "$asked" .paused)" = null ] || fail "$(node_status "$asked")"
  wait_state "$first" primary
  touch "$dir/enough"
  wait "$plain" || fail 'the client without a proxy was disturbed'
done
stop_writer

# What is sent is what was missed, not the 64 MiB before.
nbdsh "$proxy_uri" 'h.flush()'
ctl "$second" pause || fail "$(cat "$dir/says")"
wait_state "$first" solo
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(1 << 20), 160 << 20)'
sent=$(node_status "$first" .link.bytes_sent)
ctl "$second" resume || fail "$(cat "$dir/says")"
wait_insync
sent=$(($(node_status "$first" .link.bytes_sent) - sent))
[ "$sent" -ge $((1 << 20)) ] && [ "$sent" -lt $((24 << 20)) ] ||
  fail "$sent bytes were sent"

# Paused, both killed: a pause does not outlive the process.
ctl "$first" pause || fail "$(cat "$dir/says")"
nbdsh "$proxy_uri" 'h.pwrite(b"p" * 4096, 200 << 20)'
kill_node "$first"
kill_node "$second"
start_node a
start_node b
wait_insync
nbdsh "$proxy_uri" 'assert h.pread(4096, 200 << 20) == b"p" * 4096'

# A backup that was away, and does not know that the other went on, meets
# it, paused, and does not take over from it, with takeover=any either.
wait_primary
kill_node "$second"
nbdsh "$proxy_uri" 'h.pwrite(b"o" * 4096, 200 << 20)'
wait_state "$first" solo
ctl "$first" pause || fail "$(cat "$dir/says")"
start_node "$second" takeover=any
wait_for 20 '[ "$(node_status "$second" .paused)" = peer ]' ||
  fail "$(node_status "$second")"
nbdsh "$(node_uri "$second")" 'pass' 2> "$dir/says" && fail "$second serves"
[ "$(node_status "$second" '.members | length')" = 2 ] ||
  fail "$(node_status "$second")"
ctl "$first" resume || fail "$(cat "$dir/says")"
wait_insync

# The primary is lost while the link is paused: the backup's copy is as it
# was when it was paused, and the operator may say that it counts.
wait_primary
nbdsh "$proxy_uri" 'h.pwrite(b"q" * 4096, 200 << 20)'
ctl "$first" pause || fail "$(cat "$dir/says")"
nbdsh "$proxy_uri" 'h.pwrite(b"r" * 4096, 200 << 20)'
stop_nbdkit proxy
kill_node "$first"
ctl "$second" promote --force || fail "$(cat "$dir/says")"
nbdsh "$(node_uri "$second")" 'assert h.pread(4096, 200 << 20) == b"q" * 4096'
