#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# fuzz.sh BUILD SECONDS TARGET...: run each fuzz target that long, from the
# inputs in tests/corpus/TARGET and those that earlier runs found.  `make
# fuzz` calls it.
#
# BUILD/corpus/TARGET keeps what was found to reach new code.  An input
# that breaks something is kept as BUILD/findings/TARGET-*, and the exit
# status is 1: fix what it broke, and put it into tests/corpus/TARGET.
set -euo pipefail
cd "$(dirname "$0")/.."

build=$1 seconds=$2
shift 2
[ $# -gt 0 ] || { echo "usage: fuzz.sh BUILD SECONDS TARGET..." >&2; exit 2; }

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

stat ()
{
  sed -n "s/^stat::$1: *//p" "$2"
}

findings=0
mkdir -p "$build/findings" "$build/logs"
for target; do
  log=$build/logs/fuzz-$target.log
  recorded=tests/corpus/$target
  mkdir -p "$build/corpus/$target"
  options=(-max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048
           -print_final_stats=1 -max_len=16384
           -artifact_prefix="$build/findings/$target-")
  # What it prints is for people, and would hide what we look for.
  [ "$target" != duetctl ] || options+=(-close_fd_mask=3)
  status=0
  "$build/tests/fuzz-$target" "${options[@]}" "$build/corpus/$target" \
    "$recorded" > "$log" 2>&1 || status=$?
  printf '%-12s %9s runs %7s/s  coverage %5s  features %6s  inputs %5s\n' \
    "$target" "$(stat number_of_executed_units "$log")" \
    "$(stat average_exec_per_sec "$log")" "$(figure cov "$log")" \
    "$(figure ft "$log")" "$(figure corp "$log")"
  if [ "$status" -ne 0 ]; then
    findings=$((findings + 1))
    echo "FINDING in $target (status $status):"
    grep -E 'Assertion|ERROR: |runtime error: |Test unit written' "$log" ||
      tail -n 20 "$log"
  fi
done
[ $findings -eq 0 ]
