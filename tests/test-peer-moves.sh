#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A peer that is given by name has moved to another address: it is found
# without a restart.
. "$(dirname "$0")/functions.sh"

require_root
[ "$SAN" != thread ] || skip 'the C library looks up in a thread of its own'

# Node a has a table of names of its own.
echo '127.0.0.77 duet-peer' > "$dir/hosts"
unshare -m mount --bind "$dir/hosts" /etc/hosts 2> /dev/null ||
  skip 'no mount namespaces here'
real=$NBDKIT
NBDKIT=$dir/nbdkit
cat > "$NBDKIT" << END
#!/bin/sh
exec unshare -m sh -c 'mount --bind $dir/hosts /etc/hosts && exec "\$@"' \\
  sh $real "\$@"
END
chmod +x "$NBDKIT"
start_node a peer=duet-peer:"${link_port[b]}"
NBDKIT=$real
# b cannot dial: who meets whom must be up to a.
start_node b peer=127.0.0.1:1
[ "$(node_status a .peer.connected)" = false ] || fail 'connected already'
echo '127.0.0.1 duet-peer' > "$dir/hosts"
wait_insync
