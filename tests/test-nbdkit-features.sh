#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What nbdkit gives to every plugin works with the proxy: --run, a filter,
# a read-only server and a socket from the service manager.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes
nodes=(node="$(node_uri a)" node="$(node_uri b)")
nbdkit=(env "${preload[@]}" "$NBDKIT")

# --run, with a client that writes.
start_proxy
nbdsh "$proxy_uri" 'h.pwrite(b"features" * 512, 1000)'
stop_nbdkit proxy
timeout 60 "${nbdkit[@]}" -U - "$DUETPROXY" "${nodes[@]}" \
  --run 'nbdinfo --size "$uri"' > "$dir/size"
[ "$(cat "$dir/size")" = $((64 << 20)) ] || fail "size: $(cat "$dir/size")"

# A filter on top: a part of the volume.
start_nbdkit part -U "$dir/part.sock" --filter=offset "$DUETPROXY" \
  "${nodes[@]}" offset=1000 range=4096
nbdsh "$(proxy_uri_of part)" '
assert h.get_size() == 4096
assert h.pread(4096, 0) == b"features" * 512'
stop_nbdkit part

# Read-only.
start_nbdkit reader -r -U "$dir/reader.sock" "$DUETPROXY" "${nodes[@]}"
nbdsh "$(proxy_uri_of reader)" '
assert h.is_read_only()
assert h.pread(8, 1000) == b"features"'
stop_nbdkit reader

# A socket that somebody else listens on, as systemd passes it.
/usr/bin/python3 -c "
import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind('$dir/given.sock')
s.listen()
os.dup2(s.fileno(), 3)
os.set_inheritable(3, True)
os.environ['LISTEN_FDS'] = '1'
os.environ['LISTEN_PID'] = str(os.getpid())
for setting in filter(None, sys.argv[1].split('\n')):
    name, _, value = setting.partition('=')
    os.environ[name] = value
os.execv(sys.argv[2], sys.argv[2:])
" "$(printf '%s\n' "${preload[@]}")" "$NBDKIT" -f "$DUETPROXY" "${nodes[@]}" \
  > "$dir/given.log" 2>&1 &
pid[given]=$!
wait_for 20 'nbdinfo --size "$(proxy_uri_of given)"'
nbdsh "$(proxy_uri_of given)" 'assert h.pread(8, 1000) == b"features"'
stop_nbdkit given
identical
