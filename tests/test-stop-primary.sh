#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The primary is stopped for longer than dead=, the backup takes over, and
# the old one wakes up with writes in its sockets: it acknowledges none of
# them, is brought up to date, and all data is right.  Then the same the
# other way round.
. "$(dirname "$0")/functions.sh"
. tests/writer-functions.sh

# A second client with sessions of its own, not a proxy that would go
# elsewhere: it opens node NAME, writes when told by a line on descriptor 3,
# and says in ask.log what came of that.
start_asker ()
{
  local generation
  generation=$(node_status "$1" '"\(.generation.epoch).\(.generation.id)"')
  rm -f "$dir/ask" "$dir/ask.log"
  mkfifo "$dir/ask"
  /usr/bin/python3 -c '
import nbd, sys
h = nbd.NBD()
h.set_export_name(sys.argv[2])
h.connect_uri(sys.argv[1])
print("open", flush=True)
sys.stdin.readline()
cookie = h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(4096)), 60 << 20)
while h.aio_get_direction() & nbd.AIO_DIRECTION_WRITE:
    h.poll(-1)
print("sent", flush=True)
try:
    while not h.aio_command_completed(cookie):
        h.poll(-1)
    print("acknowledged")
except nbd.Error as error:
    print("refused")
' "$(node_uri "$1")" "duet/1:00000000000000aa:$round:$generation" \
    < "$dir/ask" > "$dir/ask.log" 2>&1 &
  asker=$!
  tracked+=("$asker")
  exec 3> "$dir/ask"
  wait_for 10 "grep -q open '$dir/ask.log'"
}

start_pair
start_writer
for round in 1 2; do
  wait_insync
  wait_written 100
  wait_primary
  start_asker "$first"
  kill_node "$first" STOP
  echo >&3
  exec 3>&-
  wait_for 10 "grep -q sent '$dir/ask.log'"
  wait_state "$second" solo
  wait_written 200
  kill_node "$first" CONT
  wait_for 20 "! is_alive $asker" || fail 'the second client waits for ever'
  grep -q refused "$dir/ask.log" ||
    fail "the second client: $(tail -n 1 "$dir/ask.log")"
  wait_insync
  [ "$(primary)" = "$second" ] || fail "$first is primary again"
done
stop_writer
verify_both
