#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Reads and writes at any alignment and of any length, up to the end of
# the volume, through the proxy: all answers and both files are as a model
# says.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

SIZE=16M
start_nodes
start_proxy
"$BUILD/tests/tool-unaligned" "$proxy_uri" "$dir/model"
identical
cmp "$dir/model" "$dir/a.img"
