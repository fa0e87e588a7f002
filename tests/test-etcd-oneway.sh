#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# Cuts in one direction only, and cuts that come and go, with three members
# of etcd and two clients: one side serves at most, and what was
# acknowledged stays.
. "$(dirname "$0")/functions.sh"
. tests/linear-functions.sh
. tests/tls-functions.sh
. tests/etcd-functions.sh

make_network 3
start_etcd
new_psk "$dir/psk"
start_pair_with_clients tls-psk="$dir/psk"
make_primary a

with_cut 'primary does not reach the backup' 'cut_way a b'
make_primary a
with_cut 'backup does not reach the primary' 'cut_way b a'
make_primary a
with_cut 'primary is not heard by etcd' \
  'for host in "${members[@]}"; do cut_way a $host; done'
make_primary a
with_cut 'primary does not hear etcd' \
  'for host in "${members[@]}"; do cut_way $host a; done'
make_primary a
with_cut 'primary hears nobody but its clients' \
  'for host in b "${members[@]}"; do cut_way $host a; done'

# Between the nodes and around each, now and then, for moments of up to
# half a second: shorter and longer than dead= and lease=.
flap ()
{
  local round
  for round in {1..12}; do
    case $((RANDOM % 4)) in
      0) cut a b ;;
      1) cut_way a b ;;
      2) isolate a ;;
      3) isolate b ;;
    esac
    sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
    mend
    sleep "0.$((RANDOM % 5))$((RANDOM % 10))"
  done
}
with_cut 'flapping' flap
finish
