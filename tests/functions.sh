# SPDX-License-Identifier: BSD-3-Clause
#
# functions.sh: what end-to-end tests share.  A test is a bash script that
# starts with
#
#   #!/usr/bin/env bash
#   # SPDX-License-Identifier: BSD-3-Clause
#   # One sentence: the behaviour this script tests.
#   . "$(dirname "$0")/functions.sh"
#
# and ends with status 0 when the behaviour is there.  It runs in the top
# folder, with set -eu, and owns $dir, a folder of its own.  At the end
# everything it started is killed by pid and $dir is removed (kept with
# KEEP=1).  Nothing here waits a fixed time: wait_for has a deadline.
#
# Node names are a and b; each has its ports, files and pid for the whole
# test, so that a node can be killed and started again.

set -eEu -o pipefail
export LC_ALL=C

cd "$(dirname "${BASH_SOURCE[0]}")/.."
BUILD=$(realpath "${BUILD:-build}")
SAN=${SAN:-}
SIZE=${SIZE:-64M}
NBDKIT=${NBDKIT:-$BUILD/nbdkit}
DUET=$BUILD/nbdkit-duet-plugin.so
DUETPROXY=$BUILD/nbdkit-duetproxy-plugin.so
DUETCTL=$BUILD/duetctl

dir=$(mktemp -d "${TMPDIR:-/tmp}/duet-test.XXXXXX")
declare -A pid=()          # name -> pid of each nbdkit that was not waited for
declare -a tracked=()      # pids of other things to kill at the end
declare -a leftovers=()    # commands of at_exit
declare -a first_aid=()    # commands of before_kills
declare -A nbd_port=() link_port=()
proxy_uri="nbd+unix:///?socket=$dir/proxy.sock"

# ------------------------------------------------------------ sanitizers

# nbdkit is not sanitized, so the runtime must be there before it starts.
# Set for nbdkit only: other programs (qemu-img, python) are none of ours.
# A report goes to stderr: to $dir/NAME.log, or to the test's own log.
preload=()
case $SAN in
  address) runtime=libasan.so ;;
  thread) runtime=libtsan.so ;;
  *) runtime= ;;
esac
if [ -n "$runtime" ]; then
  runtime=$("${CC:-gcc}" -print-file-name="$runtime")
  [ -e "$BUILD/sanitizer-first.so" ] ||
    { echo "no $BUILD/sanitizer-first.so: make SAN=$SAN tests" >&2; exit 1; }
  preload=("LD_PRELOAD=$runtime $BUILD/sanitizer-first.so")
fi
export ASAN_OPTIONS=exitcode=66:print_legend=0
export LSAN_OPTIONS=suppressions=$PWD/tests/lsan.supp:print_suppressions=0
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=exitcode=66:second_deadlock_stack=1
[ ! -e tests/tsan.supp ] || TSAN_OPTIONS+=:suppressions=$PWD/tests/tsan.supp

# nbdkit leaks a little of its own, which lsan.supp knows by its name: an
# nbdkit without symbols is not asked about leaks.
if [ "$SAN" = address ] && ! nm "$(realpath "$NBDKIT")" 2>&1 |
     grep ' backend_open$' > /dev/null; then
  ASAN_OPTIONS+=:detect_leaks=0
fi

# Sanitized programs are several times slower: so are our deadlines.
patience=${SAN:+4}
patience=${patience:-1}

# -------------------------------------------------------- end of the test

# Print the end of each nbdkit's log: called when the test has failed.
show_logs ()
{
  local log
  for log in "$dir"/*.log; do
    [ -s "$log" ] || continue
    echo "--- ${log##*/}"
    tail -n 12 "$log"
  done
}

# at_exit COMMAND: is run (evaluated) when the test has ended, however, and
# all it started is dead.  A trap of one's own would lose the test's status.
at_exit ()
{
  leftovers+=("$1")
}

# before_kills COMMAND: the same, before what it started is killed.
before_kills ()
{
  first_aid+=("$1")
}

on_exit ()
{
  local status=$? p reports
  trap - EXIT ERR
  set +e
  for p in "${first_aid[@]}"; do
    eval "$p"
  done
  for p in "${pid[@]}" "${tracked[@]}"; do
    kill -KILL "$p" 2> /dev/null
    wait "$p" 2> /dev/null
  done
  for p in "${leftovers[@]}"; do
    eval "$p"
  done
  if [ -n "$SAN" ]; then
    # tests/run.sh looks for these lines in the test's log.
    reports='(Address|Leak|Thread)Sanitizer|: runtime error: '
    if grep -qE "$reports" "$dir"/*.log 2> /dev/null; then
      grep -hE -A 30 "$reports" "$dir"/*.log | head -n 200
      status=1
    fi
  fi
  [ "$status" -eq 0 ] || [ "$status" -eq 77 ] || show_logs
  if [ -n "${KEEP:-}" ]; then
    echo "kept: $dir"
  else
    rm -rf "$dir"
  fi
  exit "$status"
}
trap on_exit EXIT
trap 'exit 143' TERM HUP INT
trap 'echo "failed: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

skip ()
{
  echo "skip: $*"
  exit 77
}

fail ()
{
  echo "fail: $* (${BASH_SOURCE[1]##*/}:${BASH_LINENO[0]})" >&2
  exit 1
}

require_command ()
{
  local c
  for c; do
    command -v "$c" > /dev/null || skip "no $c here"
  done
}

require_root ()
{
  [ "$(id -u)" = 0 ] || skip 'needs root'
}

# --------------------------------------------------------------- waiting

now_ms ()
{
  echo $((${EPOCHREALTIME/./} / 1000))
}

# wait_for SECONDS COMMAND: until COMMAND (evaluated here) succeeds; false
# after SECONDS.  What it prints is thrown away.
wait_for ()
{
  local deadline=$(($(now_ms) + $1 * 1000 * patience))
  until eval "$2" > /dev/null 2>&1; do
    if [ "$(now_ms)" -gt "$deadline" ]; then
      echo "waited $1 s in vain for: $2" >&2
      return 1
    fi
    sleep 0.03
  done
}

# True while the process lives and is not a zombie.
is_alive ()
{
  local state
  state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" \
          2> /dev/null) || return 1
  [ -n "$state" ] && [ "$state" != Z ]
}

# ----------------------------------------------------------------- nbdkit

# free_port VARIABLE: a TCP port nobody listens on.  Below the range that
# the kernel hands out for outgoing connections, so that it is still free
# when a dead node comes back; odd or even by the slot of the test.
free_port ()
{
  local tried
  while :; do
    tried=$((20000 + RANDOM % 6000 * 2 + ${DUET_SLOT:-$RANDOM} % 2))
    [[ " ${nbd_port[*]} ${link_port[*]} " != *" $tried "* ]] || continue
    (exec 3<> "/dev/tcp/127.0.0.1/$tried") 2> /dev/null || break
  done
  printf -v "$1" %s "$tried"
}

run_in=() # a command that start_nbdkit runs nbdkit by

# start_nbdkit NAME ARG...: nbdkit in the foreground as a child, known as
# NAME; returns when it is ready.  Its messages go to $dir/NAME.log.
start_nbdkit ()
{
  local name=$1
  shift
  [ -z "${pid[$name]:-}" ] || fail "$name is running"
  rm -f "$dir/$name.pid"
  "${run_in[@]}" env "${preload[@]}" \
    "$NBDKIT" -f --exit-with-parent -P "$dir/$name.pid" \
      "$@" < /dev/null >> "$dir/$name.log" 2>&1 &
  pid[$name]=$!
  wait_for 20 "[ -s '$dir/$name.pid' ] || ! is_alive ${pid[$name]}"
  [ -s "$dir/$name.pid" ] || fail "$name did not start"
}

# Wait for the process of NAME to end; its exit status.
wait_nbdkit ()
{
  local name=$1 p=${pid[$1]}
  wait_for 30 "! is_alive $p" || fail "$name does not end"
  unset "pid[$name]"
  wait "$p" 2> /dev/null
}

# stop_nbdkit NAME: end it the orderly way, which must succeed.
stop_nbdkit ()
{
  kill -TERM "${pid[$1]}"
  wait_nbdkit "$1" || fail "$1 ended with status $?"
}

# has_stopped PID: all its threads, of which only one gets the signal; until
# that one has run, the others go on.
has_stopped ()
{
  ! grep -hvE '\) [Tt] ' "/proc/$1/task/"*/stat > /dev/null 2>&1
}

# kill_nbdkit NAME [SIGNAL]: KILL unless told; waits for the end if it is
# KILL, until it stands still if it is STOP; others (CONT) are only sent.
kill_nbdkit ()
{
  local p=${pid[$1]}
  kill "-${2:-KILL}" "$p"
  case ${2:-KILL} in
    KILL)
      unset "pid[$1]"
      wait "$p" 2> /dev/null || true
      ;;
    STOP) wait_for 10 "has_stopped $p" || fail "$1 does not stand still" ;;
  esac
}

# ------------------------------------------------------------------ nodes

for node in a b; do
  free_port port
  nbd_port[$node]=$port
  free_port port
  link_port[$node]=$port
done
unset node port

peer_of ()
{
  case $1 in a) echo b ;; b) echo a ;; esac
}

node_uri ()
{
  echo "nbd://127.0.0.1:${nbd_port[$1]}"
}

# start_node NAME [PARAMETER...]: a parameter that begins with "-" is for
# nbdkit, others are for the plugin and stand instead of those below.
start_node ()
{
  local name=$1 arg default options=() parameters=()
  shift
  for arg; do
    case $arg in
      -*) options+=("$arg") ;;
      *) parameters+=("$arg") ;;
    esac
  done
  for default in file="$dir/$name.img" size="$SIZE" \
                 listen=127.0.0.1:"${link_port[$name]}" \
                 peer=127.0.0.1:"${link_port[$(peer_of "$name")]}" \
                 control="$dir/$name.ctl"; do
    [[ " $* " == *" ${default%%=*}="* ]] || parameters+=("$default")
  done
  rm -f "$dir/$name.ctl"
  start_nbdkit "$name" -i 127.0.0.1 -p "${nbd_port[$name]}" \
    "${options[@]}" "$DUET" "${parameters[@]}"
}

stop_node () { stop_nbdkit "$@"; }
kill_node () { kill_nbdkit "$@"; }

# start_proxy [PARAMETER...]: a proxy to both nodes on $proxy_uri.
start_proxy ()
{
  rm -f "$dir/proxy.sock"
  start_nbdkit proxy -U "$dir/proxy.sock" "$DUETPROXY" \
    node="$(node_uri a)" node="$(node_uri b)" "$@"
}

# ----------------------------------------------------------------- status

# node_status NAME [JQ-FILTER]: its status, or a part of it.
node_status ()
{
  "$DUETCTL" -s "$dir/$1.ctl" status --json | jq -r "${2:-.}"
}

# ctl NAME ARGUMENT...: what it says is in $dir/says.
ctl ()
{
  "$DUETCTL" -s "$dir/$1.ctl" "${@:2}" > "$dir/says" 2>&1
}

# ctl_refused PART NAME ARGUMENT...: it is refused for this reason.
ctl_refused ()
{
  local status=0
  ctl "${@:2}" || status=$?
  [ "$status" = 1 ] || fail "status $status: $(cat "$dir/says")"
  grep -q "$1" "$dir/says" || fail "$(cat "$dir/says")"
}

node_state () { node_status "$1" .state; }

# wait_state NAME STATE [SECONDS]
wait_state ()
{
  wait_for "${3:-20}" "[ \"\$(node_state $1)\" = $2 ]" ||
    fail "$1 is '$(node_state "$1")', not '$2'"
}

# True when NAME is one of two members whose copies agree.
is_insync ()
{
  [ "$(node_status "$1" '(.state == "primary" or .state == "backup")
       and (.members | length) == 2 and .peer.connected
       and (.resync.active | not)')" = true ]
}

# wait_insync [SECONDS]
wait_insync ()
{
  wait_for "${1:-30}" 'is_insync a && is_insync b' ||
    fail "a is '$(node_state a)', b is '$(node_state b)'"
}

# Which of a and b serves now; fails when none does.
primary ()
{
  local name
  for name in a b; do
    case $(node_state "$name" 2> /dev/null) in
      primary | solo) echo "$name"; return ;;
    esac
  done
  return 1
}

# wait_primary: until one serves; its name is in $first, the other's in
# $second.
wait_primary ()
{
  wait_for 20 'first=$(primary)' || fail 'nobody serves'
  second=$(peer_of "$first")
}

# The data files of both nodes, byte by byte.
identical ()
{
  cmp "$dir/a.img" "$dir/b.img" || fail 'the data files differ'
}
