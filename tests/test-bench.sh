#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The bench still works: its smallest run measures every part, and writes
# a table, the data of the plots, and results.json.  Speed is not judged.
. "$(dirname "$0")/functions.sh"

[ -z "$SAN" ] || skip 'measures programs without sanitizers'
mkdir "$dir/data"
BUILD=$BUILD BENCH=smoke DIR=$dir/data OUT=$dir/out PYTHONDONTWRITEBYTECODE=1 \
  bench/run.py > "$dir/table" 2> "$dir/bench.log"

# Each contestant has been measured as often as the mode says, each figure
# is one, and each goal has been compared.
wrong=$(jq -r '
  def sane: .count > 0 and .p50 > 0 and .p99 >= .p50 and .max >= .p99;
  {
    jobs: ([.jobs.jobs[][]] | length > 70),
    rounds: all (.jobs.jobs[][]; length == 1),
    figures: all (.jobs.jobs[][][], .jobs.floors[][]; sane),
    pauses: ([.pauses[].ms] | length == 2),
    latency: all (.pauses[].ms[], .figures.latency[].p50_ms; . > 0),
    phases: ([.figures.transitions.phases[].phase] | length == 7),
    conflicts: (.figures.conflicts | all (.count == 1000)),
    resync: all (.growth.dirty[]; .seconds > 0),
    stall: all (.growth.dirty[]; .writes > 0),
    clients: (.growth.clients | length == 8),
    counts: (.counts | length == 8),
    sleeps: all (.counts[]; .sleeps.primary > 0),
    fdatasyncs: all (.counts[]; .costs.fdatasyncs[0] >= 0),
    reach: (.reach | length > 20),
    versions: (.machine.versions | length > 4)
  } | to_entries[] | select(.value | not) | .key' "$dir/out/results.json")
if [ -n "$wrong" ]; then
  cat "$dir/out/results.json"
  fail "results.json is not what it should be: $(paste -sd " " <<< "$wrong")"
fi

grep -q '^| what *| measured *| goal *| reached *|$' "$dir/table" ||
  fail 'no table of the goals'
cmp "$dir/table" "$dir/out/table.md"
plots=(writes reads nodes unaligned pauses latency killed states conflicts
       resync stall sizes clients)
for plot in "${plots[@]}"; do
  [ -s "$dir/out/$plot.dat" ] && [ -s "$dir/out/$plot.gp" ] ||
    fail "no data for $plot"
  ! command -v gnuplot > /dev/null || [ -s "$dir/out/$plot.png" ] ||
    fail "no $plot.png"
done
[ -z "$(ls "$dir/data")" ] || fail 'it left files behind'
