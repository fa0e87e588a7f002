# SPDX-License-Identifier: BSD-3-Clause
#
# linear-functions.sh: load that records histories, faults while it runs,
# and the judge of it (tool-history.c).  Sourced after functions.sh.
#
#     load 1, load 2, ...       one proxy for all, or one for each
#         proxy    proxy2
#      node a == cable == node b      tool-history-relay.c

loads=0                 # clients so far
declare -A load_pid=()  # client -> pid, while it runs
declare -A cable=()     # the relay's port on the way to a node
faults=$dir/faults      # when something was broken
pause=$([ -n "$SAN" ] && echo 20 || echo 60)

# ----------------------------------------------------------------- nodes

# start_cable: what node a and b then see of each other.
start_cable ()
{
  free_port cable[b]
  nbd_port[cable-b]=${cable[b]}
  free_port cable[a]
  nbd_port[cable-a]=${cable[a]}
  set_cable pass
  "$BUILD/tests/tool-history-relay" "$dir/cable" \
    "${cable[b]}" "${link_port[b]}" "${cable[a]}" "${link_port[a]}" \
    > "$dir/relay.log" 2>&1 &
  relay=$!
  tracked+=("$relay")
}

# set_cable MODE: see tool-history-relay.c.
set_cable ()
{
  echo "$1" > "$dir/cable.new"
  mv "$dir/cable.new" "$dir/cable"
}

# start_cabled NAME: a node on the cable; parameters of all are in node_args.
start_cabled ()
{
  start_node "$1" peer=127.0.0.1:"${cable[$(peer_of "$1")]}" "${node_args[@]}"
}

# start_cabled_pair [PARAMETER...]
start_cabled_pair ()
{
  node_args=("$@")
  start_cable
  start_cabled a
  start_cabled b
  wait_insync
}

# start_second_proxy: another client's, on $proxy2_uri.
proxy2_uri="nbd+unix:///?socket=$dir/proxy2.sock"
start_second_proxy ()
{
  start_nbdkit proxy2 -U "$dir/proxy2.sock" "$DUETPROXY" \
    node="$(node_uri a)" node="$(node_uri b)" state="$dir/proxy2.state"
}

# ------------------------------------------------------------------ load

# start_load URI [NAME=VALUE...]: one more client process.
start_load ()
{
  local uri=$1
  shift
  loads=$((loads + 1))
  : > "$dir/history.$loads"
  "$BUILD/tests/tool-history" run "$uri" "$dir/history.$loads" \
    client="$loads" patience=$((40 * patience)) \
    seed="$RANDOM" "$@" > "$dir/load.$loads.log" 2>&1 &
  load_pid[$loads]=$!
  tracked+=("$!")
}

# Requests answered so far, of all clients.
answered ()
{
  cat "$dir"/history.* | grep -c '^a ' || true
}

check_loads ()
{
  local client
  for client in "${!load_pid[@]}"; do
    is_alive "${load_pid[$client]}" ||
      fail "client $client ended: $(tail -n 3 "$dir/load.$client.log")"
  done
}

# wait_answered N: until N more requests are answered.
wait_answered ()
{
  local goal=$(($(answered) + $1))
  wait_for 40 "[ \$(answered) -ge $goal ] || ! check_loads"
  check_loads
}

# The client dies; another one comes in its place.
kill_load ()
{
  local client=$1 uri=$2
  kill -KILL "${load_pid[$client]}"
  wait "${load_pid[$client]}" 2> /dev/null || true
  unset "load_pid[$client]"
  start_load "$uri"
}

stop_loads ()
{
  local client
  check_loads
  kill -TERM "${load_pid[@]}"
  for client in "${!load_pid[@]}"; do
    wait_for 60 "! is_alive ${load_pid[$client]}" ||
      fail "client $client does not end"
    wait "${load_pid[$client]}" ||
      fail "client $client: $(tail -n 3 "$dir/load.$client.log")"
    cat "$dir/load.$client.log"
    unset "load_pid[$client]"
  done
}

# finish_loads: the same for loads with a count=, which end by themselves.
finish_loads ()
{
  local client
  for client in "${!load_pid[@]}"; do
    wait "${load_pid[$client]}" ||
      fail "client $client: $(tail -n 3 "$dir/load.$client.log")"
    unset "load_pid[$client]"
  done
}

# check_linear [again]: all histories together.
check_linear ()
{
  local marks=()
  [ ! -e "$faults" ] || marks=("$faults")
  "$BUILD/tests/tool-history" check "$@" "${marks[@]}" "$dir"/history.* \
    > "$dir/verdict" || fail "$(cat "$dir/verdict")"
  cat "$dir/verdict"
}

# ---------------------------------------------------------------- faults

note_fault ()
{
  "$BUILD/tests/tool-history" fault "$faults" "$1"
}

# with_fault KIND: break it under load, go on, mend it, wait until both
# copies agree.  Kinds: kill-primary, kill-backup, kill-both,
# stop-primary, stop-backup, kill-client, and the modes of the cable.
with_fault ()
{
  local kind=$1 first second
  wait_primary
  note_fault begin
  case $kind in
    kill-primary | kill-backup)
      [ "$kind" = kill-primary ] || first=$second
      kill_node "$first"
      wait_answered "$pause"
      start_cabled "$first"
      ;;
    kill-both)
      kill_node "$first"
      kill_node "$second"
      start_cabled "$first"
      start_cabled "$second"
      ;;
    stop-primary | stop-backup)
      [ "$kind" = stop-primary ] || first=$second
      kill_node "$first" STOP
      wait_answered "$pause"
      kill_node "$first" CONT
      ;;
    kill-client)
      kill_load "$((loads - 1))" "$proxy_uri"
      ;;
    stall* | cut | lose)
      set_cable "$kind"
      wait_answered "$pause"
      set_cable pass
      ;;
    *) fail "what is $kind?" ;;
  esac
  wait_answered "$pause"
  wait_insync 60
  note_fault end
  wait_answered "$pause"
}
