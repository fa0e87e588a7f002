#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# linear.sh SECONDS [SEED]: rounds of random faults under load, each round
# on a new pair and judged by itself; `make linear` runs it.  Every round
# is either of one proxy and two to four client processes, with all faults
# of linear-functions.sh in any order, or of two proxies, where one node
# at a time is killed.  Prints a line for each round and the sum; stops at
# the first that fails and keeps its folder.  A seed decides the plan, not
# what the processes make of it.
set -eu
cd "$(dirname "$0")/.."

# ----------------------------------------------------------- one round

if [ "${1:-}" = --round ]; then
  . tests/functions.sh
  . tests/linear-functions.sh
  RANDOM=$2
  all_faults=(kill-primary kill-backup kill-both stop-primary stop-backup
              kill-client stall stall-ab stall-ba cut lose)
  start_proxy_kind=$((RANDOM % 4))
  clients=$((2 + RANDOM % 3))
  if [ $start_proxy_kind -eq 0 ]; then
    all_faults=(kill-primary kill-backup)
    start_cabled_pair dead=10000
    start_second_proxy
    clients=2
  else
    start_cabled_pair beat=50 dead=300
  fi
  start_proxy state="$dir/proxy.state"
  [ $start_proxy_kind -ne 0 ] || start_load "$proxy2_uri"
  while [ "${#load_pid[@]}" -lt $clients ]; do
    start_load "$proxy_uri" connections=$((1 + RANDOM % 2)) \
      depth=$((1 + RANDOM % 4)) islands=$((4 + RANDOM % 5))
  done
  wait_answered "$pause"
  plan=()
  for ((i = 0; i < 8; i++)); do
    plan+=("${all_faults[RANDOM % ${#all_faults[@]}]}")
    pause=$((1 + RANDOM % 300))
    with_fault "${plan[-1]}"
  done
  stop_loads > "$dir/loads"
  if [ $start_proxy_kind -eq 0 ]; then
    check_linear again
  else
    check_linear
  fi
  identical
  echo "proxies $((1 + (start_proxy_kind == 0))), clients $clients: ${plan[*]}"
  sed 's/.*pause \([0-9]*\) ms/\1/' "$dir/loads" | sort -n | tail -n 1
  exit 0
fi

# ---------------------------------------------------------- all rounds

seconds=$1
seed=${2:-$((RANDOM * 32768 + RANDOM))}
log=$(mktemp "${TMPDIR:-/tmp}/duet-linear.XXXXXX")
trap 'rm -f "$log"' EXIT
rounds=0 requests=0 pauses=0
SECONDS=0
while [ $SECONDS -lt "$seconds" ]; do
  if ! KEEP=1 "$0" --round $seed > "$log" 2>&1; then
    echo "FAIL: seed $seed"
    cat "$log"
    exit 1
  fi
  rm -rf "$(sed -n 's/^kept: //p' "$log")"
  figures=$(sed -n '/ requests, /p' "$log")
  plan=$(sed -n '/^proxies /p' "$log")
  pause=$(sed -n 's/^\([0-9]*\)$/\1/p' "$log")
  echo "seed $seed: $plan"
  echo "    $figures; longest pause $pause ms"
  rounds=$((rounds + 1))
  requests=$((requests + ${figures%% *}))
  [ "$pause" -le $pauses ] || pauses=$pause
  seed=$((seed + 1))
done
echo "$rounds rounds, $requests requests, all linearizable;" \
     "$((rounds * 8)) faults, longest pause $pauses ms, $SECONDS s"
