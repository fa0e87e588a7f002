#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A node made by copying the other's files, a node that is its own peer,
# and a third node that dials a pair: each says what is wrong, in status
# and log, once; and a pair that a third node dials goes on.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

# says NAME PATTERN: in its status, and once in its log.
says ()
{
  wait_for 20 "node_status $1 .reason | grep -q '$2'" ||
    fail "$1: $(node_status "$1" .reason)"
  [ "$(grep -c "$2" "$dir/$1.log")" = 1 ] ||
    fail "$1 logs it $(grep -c "$2" "$dir/$1.log") times"
}

start_node a
stop_node a
cp "$dir/a.img" "$dir/b.img"
cp "$dir/a.img.duet" "$dir/b.img.duet"
start_node a
start_node b
says a "own id: does peer= lead back here, or was the metadata"
says b "own id: does peer= lead back here, or was the metadata"
stop_node b

# The word is gone with its cause.
wait_for 20 "! node_status a .reason | grep -q 'own id'" ||
  fail "a: $(node_status a .reason)"
stop_node a

: > "$dir/a.log"
start_node a peer=127.0.0.1:"${link_port[a]}"
says a 'own id'
stop_node a

# The copy's data is no harm: without the metadata it is a peer.
rm "$dir/b.img" "$dir/b.img.duet"
start_nodes
choose_primary a
peer_of () { if [ "$1" = b ]; then echo a; else echo b; fi; }
free_port port
link_port[c]=$port
free_port port
nbd_port[c]=$port
: > "$dir/b.log"
start_node c
says c 'it is linked to another node'
wait_for 20 "grep -q 'no link with 127.0.0.1: it is another node' \
  '$dir/b.log'" || fail 'b does not name the stranger'
is_insync a || fail 'the pair has parted'
[ "$(grep -c 'another node' "$dir/b.log")" = 1 ] || fail 'b repeats itself'
