#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The keys of a node's JSON status are those that duetctl(1) lists, no more
# and no less, in every state: before the peer has come, in sync, alone,
# and in a resync.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

kinds='read write trim zero flush extents cache'

# The keys in the manual, one a line; those of a resync and of what has
# diverged are left out unless asked for (yes, diverged), for there it says
# null.
promised ()
{
  sed -n '/^=head1 JSON/,/^=head2/s/^ \([a-z][A-Za-z0-9_.]*\)\( .*\)*$/\1/p' \
    docs/duetctl.pod |
    grep -vx 'resync\|diverged\|verify\|resize\|requests' |
    while read -r key; do
      case $key in
        arbiter.kind) echo "$key" ;;
        arbiter.*) ;; # with arbiter=etcd only: test-etcd-single
        resync.*) [ "$1" != yes ] || echo "$key" ;;
        diverged.*) [ "$1" != diverged ] || echo "$key" ;;
        verify.*) [[ "$1" != *verify* ]] || echo "$key" ;;
        resize.*) [[ "$1" != *resize* ]] || echo "$key" ;;
        requests.KIND.*)
          for kind in $kinds; do echo "requests.$kind.${key##*.}"; done ;;
        *) echo "$key" ;;
      esac
    done
  [ "$1" = yes ] || echo resync
  [ "$1" = diverged ] || echo diverged
  [[ "$1" = *verify* ]] || echo verify
  [[ "$1" = *resize* ]] || echo resize
}

# The keys that lead to a value; a list counts as one.
present ()
{
  jq -r '[paths | select (all (type == "string"))] as $all
         | $all[] | . as $p
         | select (all ($all[]; .[:$p | length] != $p or . == $p))
         | join (".")' "$1"
}

# check NAME [yes|diverged|resize|resize-verify]: NAME's keys now; yes if it
# resyncs.
check ()
{
  node_status "$1" > "$dir/status"
  diff <(promised "${2:-no}" | sort) <(present "$dir/status" | sort) ||
    fail "the keys of $1 ($(jq -r .state "$dir/status")) are others"
}

[ "$(promised yes | wc -l)" -gt 40 ] || fail 'the manual has no list of keys'
start_node a
check a
start_node b
wait_insync
check a
choose_primary a

# Each request is counted as what it is, and as nothing else.
counts ()
{
  node_status a "[.requests[] | .count, .bytes] | join (\" \")"
}
before=($(counts))
/usr/bin/python3 -c '
import nbd, sys
h = nbd.NBD()
h.add_meta_context(nbd.CONTEXT_BASE_ALLOCATION)
h.connect_uri(sys.argv[1])
h.pread(1, 0)
h.pwrite(b"x" * 20, 0)
h.trim(300, 0)
h.zero(4000, 0)                      # may trim, and is a zero
h.zero(4000, 0, nbd.CMD_FLAG_NO_HOLE)
h.flush()
h.block_status(50000, 0, lambda *a: 0)
h.cache(600000, 0)' "$(node_uri a)"
after=($(counts))
differences=
for i in "${!after[@]}"; do
  differences+=" $((after[i] - before[i]))"
done
[ "$differences" = ' 1 1 1 20 1 300 2 8000 1 0 1 50000 1 600000' ] ||
  fail "counted: $differences"
start_proxy
nbdsh "$proxy_uri" 'h.pread(1, 0)'
check a
"$DUETCTL" -s "$dir/a.ctl" resize 65M > "$dir/says"
check a resize
check b
"$DUETCTL" -s "$dir/a.ctl" verify > "$dir/says"
check a resize-verify
check b
kill_node b
nbdsh "$proxy_uri" 'h.pwrite(os.urandom(32 << 20), 0)'
[ "$(node_state a)" = solo ] || fail "a is $(node_state a)"
check a resize-verify
kill_node a
start_node a resync-rate=1M
start_node b
wait_for 20 '[ "$(node_status a .resync.active)" = true ]'
check a yes
check b

# Each is of the kind that the manual says, and in its unit.
node_status a | jq -e '(.size_bytes == 68157440)
  and (.resync.total_bytes >= 32 * 1048576)
  and (.dirty_bytes >= .resync.total_bytes - .resync.done_bytes - 1048576)
  and (.generation.id | test ("^[0-9a-f]{16}$"))
  and (.members | type == "array") and (.peer.connected == true)
  and (.peer.state == "syncing")' > /dev/null || fail "$(node_status a)"
