#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# When a write is answered it is in the backup's file, and it still is in
# both files when both nodes are killed at that moment.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

for round in 1 2 3; do
  rm -f "$dir"/[ab].img*
  start_nodes
  choose_primary a
  [ "$round" = 1 ] && uri=$(node_uri a) || { start_proxy; uri=$proxy_uri; }
  # The nodes are killed by the client, right after its last answer.
  nbdsh "$uri" "
import random, signal
files = [os.open('$dir/' + name + '.img', os.O_RDONLY) for name in 'ba']
for n in range(200):
    data = random.randbytes(random.randrange(1, 20000))
    offset = random.randrange(h.get_size() - len(data))
    h.pwrite(data, offset)
    for f in files:
        assert os.pread(f, len(data), offset) == data, (n, offset)
data = random.randbytes(8000)
h.pwrite(data, 12345)
os.kill(${pid[a]}, signal.SIGKILL)
os.kill(${pid[b]}, signal.SIGKILL)
for f in files:
    assert os.pread(f, len(data), 12345) == data
"
  wait_nbdkit a || true
  wait_nbdkit b || true
  identical
  [ -z "${pid[proxy]:-}" ] || kill_nbdkit proxy
done
