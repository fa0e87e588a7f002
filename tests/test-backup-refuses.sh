#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# A backup refuses plain clients, says in its log that it is a backup and
# where the primary is, and tells the same to those that list its exports.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh

start_nodes
choose_primary a

! nbdinfo --size "$(node_uri b)" 2> /dev/null || fail 'the backup serves'
! nbdsh "$(node_uri b)" 'pass' 2> /dev/null || fail 'the backup serves'
grep -q "does not serve: backup; .* primary=127.0.0.1:${link_port[a]}" \
  "$dir/b.log" || fail 'the log does not say who is primary'

# The export list needs no open, which the backup would refuse.
descriptions ()
{
  /usr/bin/python3 -c "
import nbd, sys
h = nbd.NBD()
h.set_opt_mode(True)
h.connect_uri(sys.argv[1])
h.opt_list(lambda name, description: print(description))
" "$1"
}
descriptions "$(node_uri b)" | grep \
  "^duet/1 state=backup generation=2\..* primary=127.0.0.1:${link_port[a]}\$"
descriptions "$(node_uri a)" | grep '^duet/1 state=primary generation=2\.'
nbdinfo --list "$(node_uri a)" | grep 'description: duet/1 state=primary '

# It is still the backup, and the primary still serves.
[ "$(node_state b)" = backup ] || fail "b is $(node_state b)"
nbdsh "$(node_uri a)" 'h.pwrite(bytes(4096), 0)'
identical
