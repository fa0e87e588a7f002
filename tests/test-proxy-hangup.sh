#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Clients that hang up with 64 requests in flight do not harm the proxy or
# its other clients, also under a server that is not sound.
. "$(dirname "$0")/functions.sh"
. tests/proxy-functions.sh

servers=("$NBDKIT")
system=$(command -v nbdkit || true)
[ -z "$system" ] || servers+=("$system")

start_server a memory 64M
for NBDKIT in "${servers[@]}"; do
  start_test_proxy a
  nbd_python "
import threading
stop = False
def work ():
    n = 0
    while not stop:
        data = n.to_bytes (8, 'big') * 512
        h.pwrite (data, 0)
        assert h.pread (4096, 0) == data
        n += 1
worker = threading.Thread (target = work)
worker.start ()
for i in range (100):
    c = nbd.NBD ()
    c.connect_uri ('$proxy_uri')
    for r in range (64):
        if (i + r) % 2:
            c.aio_pread (nbd.Buffer (65536), (1 << 20) + r * 65536)
        else:
            c.aio_pwrite (nbd.Buffer.from_bytearray (bytearray (65536)),
                          (1 << 20) + r * 65536)
    for r in range (i % 5):
        c.poll (0)
    del c
stop = True
worker.join ()"
  is_alive "${pid[proxy]}" || fail "$NBDKIT died"
  stop_nbdkit proxy
done
