#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A server told to end with SIGTERM ends, though clients that ask for
# nothing are connected: a backup's, a primary's, a proxy's.  A primary
# says goodbye, so that the peer takes over without waiting for dead=,
# and the client of the proxy sees no error.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

# start_idle NAME URI [BYTES]: a client that connects, writes a line to
# $dir/NAME.log and then asks for nothing until it is told to end.  BYTES
# (hexadecimal): said instead of a connection by libnbd, a half-open one.
start_idle ()
{
  nbdsh "$2" 'print("open", flush=True)
while True:
    time.sleep(1)' > "$dir/$1.log" 2>&1 &
  tracked+=("$!")
  wait_for 10 "grep -q open '$dir/$1.log'"
}

# ends NAME: after SIGTERM, within 5 s (the watcher takes milliseconds; it
# would be for ever without it).
ends ()
{
  local p=${pid[$1]}
  kill -TERM "$p"
  wait_for 5 "! is_alive $p" || fail "$1 does not end"
  unset "pid[$1]"
  wait "$p" || fail "$1 ended with status $?"
}

# A link with a long dead=: a takeover in time came by the goodbye.
start_nodes dead=60000
choose_primary a
start_proxy timeout=60000
nbdsh "$proxy_uri" 'h.pwrite(b"1" * 4096, 0)'
start_idle half "$(node_uri a)"
exec 4<> "/dev/tcp/127.0.0.1/${nbd_port[a]}"  # never says a word
start_idle proxied "$proxy_uri"

# A plain client at a backup is refused: one without a word is not.
exec 5<> "/dev/tcp/127.0.0.1/${nbd_port[b]}"
ends b
exec 5<&-
wait_for 10 "grep -q 'candidate: the peer was stopped' '$dir/a.log'" ||
  fail 'there was no goodbye from the backup'
start_node b dead=60000
wait_insync

/usr/bin/python3 -c '
import nbd, sys
h = nbd.NBD()
h.connect_uri(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
assert h.pread(4096, 0) == b"1" * 4096
h.pwrite(b"2" * 4096, 4096)
print("written", flush=True)' "$proxy_uri" > "$dir/writer.log" 2>&1 \
  < <(wait_for 30 "[ -e '$dir/go' ]"; echo) &
writer=$!
tracked+=("$writer")
wait_for 10 "grep -q open '$dir/writer.log'"
ends a
exec 4<&-
touch "$dir/go"
wait_for 10 "grep -q written '$dir/writer.log'" ||
  fail "the client: $(cat "$dir/writer.log")"
wait "$writer" || fail 'the client saw an error'
wait_state b solo 10
grep -q 'peer was stopped' "$dir/b.log" ||
  fail 'there was no goodbye from the primary'

start_node a dead=60000
wait_insync
ends proxy
ends b
ends a
identical
