#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The proxy shows the generation that served it last, across failover and
# kill -9; with state= its id stays and session numbers never go back.
. "$(dirname "$0")/functions.sh"
. tests/proxy-functions.sh

describe ()
{
  echo "duet/1 state=$2 generation=$3 node=000000000000000$1" \
       "size=67108864 primary=-" > "$dir/$4.description"
}
last_of () { tail -n 1 "$dir/$1.asked"; }
session_of () { last_of "$1" | cut -d: -f3; }

first=1.00000000000000aa
second=2.00000000000000bb
none=0.0000000000000000
describe 1 primary $first a
describe 2 solo $second b

start_actor a
start_actor b
touch "$dir/b.refuse" "$dir/a.shutdown"
start_test_proxy a b -- state="$dir/state" connections=1

# Opened, but nothing answered yet: nothing noted.
wait_for 10 "[ \$(wc -l < '$dir/a.asked') -ge 3 ]"
[[ $(last_of a) == duet/1:*:*:$none ]] || fail "asked: $(last_of a)"
grep -qx "generation $none" "$dir/state" || fail 'noted without an answer'

# The proxy asks for the first answer itself: it is noted before any
# client's request.
rm "$dir/a.shutdown"
nbd_python 'h.get_size ()'
grep -qx "generation $first" "$dir/state" || fail 'not noted'

# Failover: b is shown what a served.
rm "$dir/b.refuse"
touch "$dir/a.shutdown" "$dir/a.refuse"
nbd_python 'h.pread (512, 0)'
[[ $(last_of b) == duet/1:*:*:$first ]] || fail "asked: $(last_of b)"
grep -qx "generation $second" "$dir/state" || fail 'not noted'
id=$(last_of b | cut -d: -f2)
number=$(session_of b)

# kill -9 and a new start: same id, higher number, newest generation.
kill_nbdkit proxy
start_test_proxy a b -- state="$dir/state" connections=1
nbd_python 'h.pread (512, 0)'
[[ $(last_of b) == duet/1:$id:*:$second ]] || fail "asked: $(last_of b)"
[ "$(session_of b)" -gt "$number" ] || fail 'session numbers went back'
stop_nbdkit proxy

# Without state=: another id, no generation.
start_test_proxy a b -- connections=1
nbd_python 'h.pread (512, 0)'
[[ $(last_of b) == duet/1:*:*:$none ]] || fail "asked: $(last_of b)"
[ "$(last_of b | cut -d: -f2)" != "$id" ] || fail 'the same client id'
stop_nbdkit proxy

# All connections of a session ask with one name.
: > "$dir/b.asked"
start_test_proxy a b -- connections=4 state="$dir/state"
nbd_python 'h.pread (512, 0)'
wait_for 10 "[ \$(wc -l < '$dir/b.asked') -eq 4 ]"
[ "$(sort -u "$dir/b.asked" | wc -l)" -eq 1 ] || fail 'different names'
