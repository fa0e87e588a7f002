#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Two clients, each of which reaches only one node, ask both nodes to be
# primary all the time: both are served in turn, and there are never two
# primaries.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes
# Nobody listens on the other address.
free_port nowhere
start_proxy_to left "$(node_uri a)" "nbd://127.0.0.1:$nowhere"
start_proxy_to right "nbd://127.0.0.1:$nowhere" "$(node_uri b)"

# work NAME OFFSET: write, and check what was written before.
work ()
{
  nbdsh "$(proxy_uri_of "$1")" "
last = bytes(4096)
for n in range(20):
    assert h.pread(4096, $2) == last, n
    last = os.urandom(4096)
    h.pwrite(last, $2)
"
}
work left 0 &
clients=("$!")
work right 1000000 &
clients+=("$!")
tracked+=("${clients[@]}")

# Two looks at a with the same generation, and one at b between them.
look ()
{
  node_status "$1" '[.state, .generation.epoch] | join(" ")'
}
looks=0 switches=0 before=
while is_alive "${clients[0]}" || is_alive "${clients[1]}"; do
  a=$(look a) b=$(look b) again=$(look a)
  looks=$((looks + 1))
  [ "$b" = "$before" ] || switches=$((switches + 1))
  before=$b
  [ "$a" = "$again" ] || continue
  case "$a,$b" in
    primary*,primary* | primary*,solo* | solo*,primary* | solo*,solo*)
      fail "a is $a, b is $b" ;;
  esac
done
wait "${clients[0]}" || fail 'the client of a failed'
wait "${clients[1]}" || fail 'the client of b failed'
echo "$looks looks, b changed $switches times"
wait_insync
identical
