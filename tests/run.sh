#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# run.sh TEST...: run tests, say what came of each, and end with one line
# alone:  N passed, N failed, N skipped
#
# A TEST that ends in .sh is an end-to-end script and counts as one; JOBS
# of them run at a time.  Anything else is a program: a libcheck program
# counts as many tests as it has checks, any other one as one.
# Exit status 77 is "skipped".  Logs: $BUILD/logs/NAME.log.
# A test during which a sanitizer reported something has failed, whatever
# it says itself.
set -euo pipefail
cd "$(dirname "$0")/.."

export BUILD=${BUILD:-build}
export SAN=${SAN:-}
export CC=${CC:-gcc}
# Seconds for each test; sanitized programs are several times slower.
TIMEOUT=${TIMEOUT:-$([ -n "$SAN" ] && echo 1200 || echo 300)}
JOBS=${JOBS:-2}
logs=$BUILD/logs
# libcheck gives each check 4 seconds, which are not meant for sanitizers.
export CK_TIMEOUT_MULTIPLIER=${CK_TIMEOUT_MULTIPLIER:-5}

exit_skipped=77
exit_timeout=124
sanitizer_report='ERROR: (Address|Leak)Sanitizer|WARNING: ThreadSanitizer'
sanitizer_report+='|: runtime error: '

# Results of one test, in one line: passed failed skipped.
put_result ()
{
  echo "$2 $3 $4" > "$logs/$1.result"
}

say ()
{
  printf '%-4s %s (%s s)%s\n' "$1" "$2" "$3" "${4:+: $4}"
}

# The last words of a test that failed, or the first sanitizer report, in
# one piece although others run.
say_failed ()
{
  local log=$logs/$1.log report=
  [ -z "$SAN" ] ||
    report=$(grep -nE -m 1 "$sanitizer_report" "$log" | cut -d: -f1) || true
  {
    say FAIL "$1" "$2" "$3"
    if [ -n "$report" ]; then
      tail -n "+$report" "$log" | head -n 40
    else
      tail -n 40 "$log"
    fi | sed 's/^/    /'
  } > "$log.tail"
  cat "$log.tail"
  rm "$log.tail"
}

# Totals of "100%: Checks: 3, Failures: 0, Errors: 0" lines.
count_checks ()
{
  sed -n 's/^[0-9]*%: Checks: \([0-9]*\), Failures: \([0-9]*\), '\
'Errors: \([0-9]*\)$/\1 \2 \3/p' "$1" |
    awk '{ all += $1; bad += $2 + $3 } END { print all + 0, bad + 0 }'
}

run_one ()
{
  local test=$1 name log start status=0 seconds all bad
  name=$(basename "$test" .sh)
  log=$logs/$name.log
  start=$SECONDS
  timeout -k 20 "$TIMEOUT" "$test" > "$log" 2>&1 < /dev/null || status=$?
  seconds=$((SECONDS - start))

  all=1 bad=0
  case $test in
    *.sh) ;;
    *)
      read -r all bad < <(count_checks "$log")
      [ "$all" -gt 0 ] || all=1
      ;;
  esac

  if [ -n "$SAN" ] && grep -qE "$sanitizer_report" "$log"; then
    [ "$bad" -gt 0 ] || bad=1
    say_failed "$name" "$seconds" 'sanitizer report'
  elif [ "$status" -eq 0 ] && [ "$bad" -eq 0 ]; then
    say ok "$name" "$seconds"
  elif [ "$status" -eq $exit_skipped ]; then
    say skip "$name" "$seconds" "$(sed -n 's/^skip: //p' "$log" | tail -n 1)"
    put_result "$name" 0 0 "$all"
    return
  else
    # A program that died after its checks has failed too.
    [ "$bad" -gt 0 ] || bad=1
    if [ "$status" -eq $exit_timeout ]; then
      say_failed "$name" "$seconds" "took longer than $TIMEOUT s"
    else
      say_failed "$name" "$seconds" "exit status $status"
    fi
  fi
  put_result "$name" $((all - bad)) "$bad" 0
}

# Called by run_all.
if [ "${1:-}" = --one ]; then
  run_one "$2"
  exit 0
fi

# DUET_SLOT keeps the ports of tests that run at the same time apart.
run_all ()
{
  local jobs=$1
  shift
  [ $# -eq 0 ] || printf '%s\0' "$@" |
    xargs -0 -n 1 -P "$jobs" --process-slot-var=DUET_SLOT tests/run.sh --one ||
    true  # a test without a result is found below
}

programs=() scripts=()
for test in "$@"; do
  case $test in
    *.sh) scripts+=("$test") ;;
    *) programs+=("$test") ;;
  esac
done

rm -rf "$logs"
mkdir -p "$logs"
run_all 1 "${programs[@]}"
run_all "$JOBS" "${scripts[@]}"

passed=0 failed=0 skipped=0
for test in "$@"; do
  result=$logs/$(basename "$test" .sh).result
  if [ -s "$result" ]; then
    read -r p f s < "$result"
  else
    p=0 f=1 s=0
    echo "FAIL $test: no result"
  fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
