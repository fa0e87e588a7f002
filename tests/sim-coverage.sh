#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# sim-coverage.sh: which branches of the pure core does the simulator
# take?  Compiles the simulator with the compiler's own counters below
# BUILD/coverage, runs SEEDS seeds of all modes, and prints for each file
# how many branches were taken, then every branch that never was, with
# its line.
#
# Assertions are left out: their other branch is not meant to be taken.
#
# The Makefile says with what to compile: COMPILE and LIBS, SOURCES (the
# files that are counted) and SIM_SOURCES (the others).
set -euo pipefail
cd "$(dirname "$0")/.."

build=${BUILD:-build}
work=$build/coverage
seeds=${SEEDS:-5000}
gcov=${GCOV:-gcov}

rm -rf "$work"
mkdir -p "$work/gcov"

objects=()
for source in $SIM_SOURCES $SOURCES; do
  object=$work/$(basename "${source%.c}").o
  counted=()
  [[ " $SIM_SOURCES " == *" $source "* ]] ||
    counted=(-O0 -DNDEBUG --coverage)
  # shellcheck disable=SC2086  # lists, split on purpose
  $COMPILE -w "${counted[@]}" -c -o "$object" "$source"
  objects+=("$object")
done
# shellcheck disable=SC2086
$COMPILE --coverage -w -o "$work/sim" "${objects[@]}" $LIBS

"$work/sim" --check 0 --seeds "$seeds"
echo

# Lines "FILE LINE FUNCTION BRANCHES TAKEN SOURCE", one for each line of
# the file that has branches.
lines ()
{
  awk -v file="$1" '
    function flush () {
      if (branches > 0)
        print file, line, name, branches, taken, text
      branches = taken = 0
    }
    /^function / { flush (); name = $2; next }
    /^branch / {
      branches++
      if ($3 == "taken" && $4 > 0)
        taken++
      next
    }
    /^ *[-#=0-9*]+: *[0-9]+:/ {
      flush ()
      split ($0, part, ":")
      line = part[2] + 0
      text = $0
      sub (/^[^:]*:[^:]*:[ \t]*/, "", text)
    }
    END { flush () }' "$2"
}

for source in $SOURCES; do
  name=$(basename "${source%.c}")
  [ -e "$work/$name.gcda" ] || continue
  $gcov -b -c -o "$work" "$work/$name.gcda" > /dev/null 2>&1
  mv "$name.c.gcov" "$work/gcov/"
  rm -f ./*.gcov
  lines "$source" "$work/gcov/$name.c.gcov"
done > "$work/branches"

printf '%-32s %9s %7s %8s\n' file branches taken percent
awk '
  { if (!($1 in all)) order[++files] = $1; all[$1] += $4; taken[$1] += $5 }
  function row (name, n, t) {
    if (n > 0)
      printf "%-32s %9d %7d %7.1f%%\n", name, n, t, 100 * t / n
  }
  END {
    for (i = 1; i <= files; i++) {
      row (order[i], all[order[i]], taken[order[i]])
      n += all[order[i]]
      t += taken[order[i]]
    }
    row ("all", n, t)
  }' "$work/branches"

echo
echo 'never taken:'
awk '
  $4 > $5 {
    text = $0
    sub (/^[^ ]+ [^ ]+ [^ ]+ [^ ]+ [^ ]+ /, "", text)
    printf "%s:%d: %s: %d of %d: %s\n", $1, $2, $3, $4 - $5, $4, text
  }' "$work/branches"
