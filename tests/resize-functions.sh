# SPDX-License-Identifier: BSD-3-Clause
#
# resize-functions.sh: what the tests of a growing volume share.  Sourced
# after functions.sh.

size_of ()
{
  node_status "$1" .size_bytes
}

# have_size BYTES: so large is the volume, and on both nodes.
have_size ()
{
  wait_for 20 "[ \"\$(size_of a)\" = $1 ] && [ \"\$(size_of b)\" = $1 ]" ||
    fail "a has $(size_of a) bytes, b has $(size_of b), not $1"
}

# same_size: whatever it is; it is in $size.
same_size ()
{
  wait_for 20 '[ "$(size_of a)" = "$(size_of b)" ]' ||
    fail "a has $(size_of a) bytes, b has $(size_of b)"
  size=$(size_of a)
}

# grow_and_kill VARIABLE BYTES START: the volume is made so much larger, and
# the node that VARIABLE (first: the primary; second: the backup) names is
# killed at some moment of it.  START NAME starts it again.
grow_and_kill ()
{
  local -n victim=$1
  local before after ctl_pid
  wait_insync
  wait_primary
  same_size
  before=$size
  "$DUETCTL" -s "$dir/$first.ctl" resize $((before + $2)) \
    > "$dir/says" 2>&1 &
  ctl_pid=$!
  moment $((RANDOM % 2 ? 60 : 400))
  kill_node "$victim"
  wait "$ctl_pid" || true
  moment 100
  "$3" "$victim"
  wait_insync 60
  same_size
  after=$size
  [ "$after" = "$before" ] || [ "$after" = $((before + $2)) ] ||
    fail "it had $before bytes, and has $after"
  [ "$after" = "$before" ] || grown=$((grown + 1))
}
