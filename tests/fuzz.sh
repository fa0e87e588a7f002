#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fuzz.sh run BUILD SECONDS TARGET...
#     Run each fuzz target that long, from the inputs in tests/corpus/TARGET
#     and those that earlier runs found.  `make fuzz` calls it.
# fuzz.sh merge BUILD BYTES TARGET...
#     Make tests/corpus/TARGET a small set of inputs, none above BYTES, that
#     reaches all code that is reached by those in it, those recorded and
#     those found; found-* stay as they are, and BUILD/corpus/TARGET begins
#     anew.  `make fuzz-corpus` calls it.
#
# BUILD/corpus/TARGET keeps what was found to reach new code.  An input
# that breaks something is kept as BUILD/findings/TARGET-*, and the exit
# status is 1: fix what it broke, and put it into tests/corpus/TARGET as
# found-SOMETHING.
set -euo pipefail
cd "$(dirname "$0")/.."

[ $# -gt 3 ] || { sed -n '4,/^set/s/^# \{0,1\}//p' "$0" >&2; exit 2; }
what=$1 build=$2 number=$3
shift 3

# Memory, if it may be had: targets write small files all the time.
parent=${TMPDIR:-/tmp}
[ ! -w /dev/shm ] || parent=/dev/shm
TMPDIR=$(mktemp -d "$parent/duet-fuzz.XXXXXX")
export TMPDIR
trap 'rm -rf "$TMPDIR"' EXIT

# The last figure of the kind $1 in log $2: "cov: 12 ft: 34 corp: 5/6b".
figure ()
{
  sed -n "s/.* $1: \([0-9]*\).*/\1/p" "$2" | tail -n 1
}

statistic ()
{
  sed -n "s/^stat::$1: *//p" "$2"
}

# run TARGET: false, after a word on it, when something was found.
run ()
{
  local target=$1 log=$build/logs/fuzz-$1.log status=0 options
  options=(-max_total_time="$number" -timeout=10 -rss_limit_mb=2048
           -print_final_stats=1 -max_len=8192
           -artifact_prefix="$build/findings/$target-")
  # What it prints is for people, and would hide what we look for.
  [ "$target" != duetctl ] || options+=(-close_fd_mask=3)
  "$build/tests/fuzz-$target" "${options[@]}" "$build/corpus/$target" \
    "tests/corpus/$target" > "$log" 2>&1 || status=$?
  printf '%-10s %8s runs %6s/s  coverage %4s  features %5s  inputs %4s\n' \
    "$target" "$(statistic number_of_executed_units "$log")" \
    "$(statistic average_exec_per_sec "$log")" "$(figure cov "$log")" \
    "$(figure ft "$log")" "$(figure corp "$log")"
  [ "$status" -ne 0 ] || return 0
  echo "FINDING in $target (status $status):"
  grep -E 'Assertion|ERROR: |runtime error: |Test unit written' "$log" ||
    tail -n 20 "$log"
  return 1
}

merge ()
{
  local target=$1 corpus=tests/corpus/$1 log=$build/logs/merge-$1.log
  local new=$TMPDIR/$1 from=() folder
  for folder in "$corpus" "$build/recorded/$target" "$build/corpus/$target"
  do
    [ ! -d "$folder" ] || from+=("$folder")
  done
  mkdir -p "$new" "$corpus"
  "$build/tests/fuzz-$target" -set_cover_merge=1 -use_counters=0 \
    -max_len="$number" -close_fd_mask=1 "$new" "${from[@]}" > "$log" 2>&1 ||
    { tail -n 20 "$log"; return 1; }
  find "$corpus" -type f ! -name 'found-*' -delete
  cp -r "$new/." "$corpus"
  rm -rf "$build/corpus/$target"
  printf '%-10s %4s inputs, %7s bytes\n' "$target" \
    "$(find "$corpus" -type f | wc -l)" \
    "$(cat "$corpus"/* | wc -c)"
}

failed=0
mkdir -p "$build/findings" "$build/logs"
for target; do
  mkdir -p "$build/corpus/$target"
  case $what in
    run) run "$target" || failed=1 ;;
    merge) merge "$target" || failed=1 ;;
    *) echo "fuzz.sh: no such thing: $what" >&2; exit 2 ;;
  esac
done
exit $failed
