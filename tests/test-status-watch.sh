#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# duetctl status --watch draws the table in its place on a terminal, within
# its size, with a bar that grows while a resync goes on.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes takeover=any resync-rate=4M
choose_primary a
kill_node b
nbdsh "$(node_uri a)" 'h.pwrite(os.urandom(16 << 20), 0)'
start_node b takeover=any
wait_for 20 '[ "$(node_status a .resync.active)" = true ]'

timeout 100 /usr/bin/python3 -c '
import fcntl, os, pty, re, struct, sys, termios, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 16, 60, 0, 0))
seen = ""
deadline = time.monotonic() + 60
while True:
    seen += os.read(fd, 65536).decode()
    tables = seen.split("\033[H")[1:-1]
    bars = [re.search(r"resync +\[(#*)\.*\] (\d+) %", t) for t in tables]
    parts = [int(b.group(2)) for b in bars if b]
    if parts and parts[-1] > parts[0] + 10:
        break
    assert time.monotonic() < deadline, seen
os.kill(pid, 2)
assert os.WTERMSIG(os.waitpid(pid, 0)[1]) == 2
assert parts == sorted(parts), parts
for b in bars:
    assert not b or len(b.group(1)) == int(b.group(2)) // 5, b.group(0)
for table in tables[1:]:            # the first may have had another size
    lines = table.split("\r\n")
    assert len(lines) <= 16, lines
    assert lines[0].startswith("volume  "), lines
    for line in lines[:-1]:
        assert line.endswith("\033[K") and len(line) <= 60 + 3, line
    assert lines[-1].startswith("\033[J"), lines
print(parts)' "$DUETCTL" -s "$dir/a.ctl" status --watch

# Not on a terminal: one table after the other.
"$DUETCTL" -s "$dir/a.ctl" status --watch=3 > "$dir/tables"
[ "$(grep -c '^volume ' "$dir/tables")" = 3 ] || fail 'not three tables'
! grep -q $'\033' "$dir/tables" || fail 'escape codes in a file'
