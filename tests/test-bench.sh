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
jq -e '
  def sane: .count > 0 and .p50 > 0 and .p99 >= .p50 and .max >= .p99;
  ([.jobs.jobs[][]] | length > 70) and all (.jobs.jobs[][]; length == 1)
  and all (.jobs.jobs[][][], .jobs.floors[][]; sane)
  and ([.pauses[].ms] | length == 2)
  and all (.pauses[].ms[], .figures.latency[].p50_ms; . > 0)
  and ([.figures.transitions.phases[].phase] | length == 7)
  and (.figures.conflicts | all (.count == 1000))
  and all (.growth.dirty[]; .seconds > 0 and .writes > 0)
  and (.growth.clients | length == 8)
  and (.counts | length == 5)
  and all (.counts[]; .sleeps.primary > 0 and .costs.fdatasyncs[0] >= 0)
  and (.reach | length > 20)
  and (.machine.versions | length > 4)' "$dir/out/results.json" > /dev/null ||
  fail 'results.json is not what it should be'

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
