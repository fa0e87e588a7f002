#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two clients write overlapping unaligned 4K ranges at once, 0xff and 0x55:
# every byte of the overlap comes from the same write, on both nodes.  Some
# pairs share the proxy, some go to the primary, one does both.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes
choose_primary a
start_proxy
direct=$(node_uri a)
"$BUILD/tests/tool-overlap" 300 "$dir/a.img" "$dir/b.img" \
  "$proxy_uri" "$proxy_uri" "$direct" "$direct" "$proxy_uri" "$direct"
identical
