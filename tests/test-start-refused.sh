#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What an operator finds after a bad day: files that are missing, shrunk or
# used twice, a port that is taken.  Each is refused by name, nothing is
# changed, and with the fault gone the node starts.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

sums ()
{
  cat "$dir"/a.img* 2> /dev/null | sha256sum
}

# refuses MESSAGE [PARAMETER...]: node a does not start and says MESSAGE.
refuses ()
{
  local message=$1 before
  shift
  before=$(sums)
  : > "$dir/a.log"
  ! (start_node a "$@") > /dev/null 2>&1 || fail "started: $message"
  grep -qE -- "$message" "$dir/a.log" ||
    fail "said: $(cat "$dir/a.log"), not: $message"
  [ "$(sums)" = "$before" ] || fail "a file was changed: $message"
}

start_nodes
choose_primary a
start_proxy
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(1 << 20), 3 << 20)'
kill_node a

mv "$dir/a.img" "$dir/aside"
refuses 'a.img is not there, but its metadata is: restore it, or'
truncate -s 1M "$dir/a.img"
refuses 'a.img has 1048576 bytes, but its metadata says 67108864: it was'
mv "$dir/aside" "$dir/a.img"
refuses 'leave out size=' size=32M
refuses 'leave out region=' region=1M
refuses 'b.img.duet is in use by another process' file="$dir/b.img"
refuses 'b.img is in use by another process' file="$dir/b.img" \
  meta="$dir/other"
refuses 'must not be the same file' meta="$dir/a.img"
refuses 'listen=.*: cannot listen there: Address already in use' \
  listen="127.0.0.1:${link_port[b]}"
refuses 'a running process listens there' control="$dir/b.ctl"
refuses 'file=: a path is missing' file=
at_exit 'chattr -i "$dir/a.img" 2> /dev/null'
if chattr +i "$dir/a.img" 2> /dev/null; then
  refuses 'a.img: .* the node needs read and write access to it'
  chattr -i "$dir/a.img"
fi
refuses 'only an IPv6 address stands in brackets' \
  peer="[127.0.0.1]:${link_port[b]}"

# Nothing that a refused start of a new node has made is left behind, and
# what was there is as it was.
mkdir "$dir/new"
refuses_new ()
{
  local message=$1 before
  shift
  before=$(cd "$dir/new" && ls -ls)
  : > "$dir/a.log"
  ! (start_node a file="$dir/new/img" "$@") > /dev/null 2>&1 ||
    fail "started: $message"
  grep -qE -- "$message" "$dir/a.log" ||
    fail "said: $(cat "$dir/a.log"), not: $message"
  [ "$(cd "$dir/new" && ls -ls)" = "$before" ] ||
    fail "$message: left: $(ls -ls "$dir/new")"
}
in_use="127.0.0.1:${link_port[b]}"
refuses_new 'cannot listen there' listen="$in_use"
refuses_new 'a running process listens there' control="$dir/b.ctl"
refuses_new 'cannot make a file of|too large' size=7E
refuses_new 'cannot make a file of|too large' size=1P region=1G
refuses_new 'b.img is in use' file="$dir/b.img" meta="$dir/new/meta"
truncate -s 1M "$dir/new/img"
refuses_new 'cannot listen there' listen="$in_use"
: > "$dir/new/img.duet"
refuses_new 'cannot make a file of|too large' size=1P region=1G

# The metadata is gone, the data is not: it is not overwritten.
mv "$dir/a.img.duet" "$dir/aside"
before=$(sha256sum < "$dir/a.img")
nbdsh "$proxy_uri" 'h.pwrite(b"x" * 512, 0)'
start_node a
wait_for 20 'node_status a .reason | grep -q "not empty"' ||
  fail "$(node_status a .reason)"
[ "$(sha256sum < "$dir/a.img")" = "$before" ] || fail 'a was overwritten'
nbdsh "$proxy_uri" 'h.pwrite(b"y" * 512, 512)'
stop_node a

# With its own metadata again it is brought up to date.
mv "$dir/aside" "$dir/a.img.duet"
start_node a
wait_insync
identical
