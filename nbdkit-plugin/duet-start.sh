#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# duet-start [--print] node|proxy VOLUME: start, as the systemd units do, a
# node of VOLUME or a proxy to it, as /etc/duet/VOLUME.conf says.  The file
# is the same on both nodes and at the client; which node this machine is,
# its host name tells.  See duet-start(1).
set -euo pipefail

die ()
{
  echo "duet-start: $*" >&2
  exit 1
}

usage ()
{
  die 'usage: duet-start [--print] node|proxy VOLUME'
}

print=
if [ "${1:-}" = --print ]; then
  print=yes
  shift
fi
[ $# = 2 ] || usage
role=$1 volume=$2
[[ $volume =~ ^[A-Za-z0-9][A-Za-z0-9_.-]*$ ]] ||
  die "$volume: a volume's name is letters, digits, _ . and -"
conf=${DUET_CONF_DIR:-/etc/duet}/$volume.conf
[ -r "$conf" ] || die "$conf cannot be read"

names=() addresses=() options=() parameters=() proxy_parameters=()
declare -A value=([link-port]=7100 [nbd-port]=10809)

# One line of the file, number N: KEY=TEXT.
take_line ()
{
  local n=$1 key=${2%%=*} text=${2#*=}
  [ "$key" != "$2" ] || die "$conf:$n: not KEY=VALUE: $2"
  case $key in
    node)
      [[ $text =~ ^([^[:space:]]+)[[:space:]]+([^[:space:]]+)$ ]] ||
        die "$conf:$n: write node=HOSTNAME ADDRESS"
      names+=("${BASH_REMATCH[1]}")
      addresses+=("${BASH_REMATCH[2]}")
      ;;
    link-port | nbd-port)
      [[ $text =~ ^[0-9]{1,5}$ ]] || die "$conf:$n: $key=$text: not a port"
      value[$key]=$text
      ;;
    nbd-tls-psk | nbd-tls-certificates) value[$key]=$text ;;
    nbdkit) options+=("$text") ;;
    listen | peer) die "$conf:$n: $key= comes from node= and link-port=" ;;
    proxy-*) proxy_parameters+=("${key#proxy-}=$text") ;;
    *)
      value[$key]=$text
      parameters+=("$key=$text")
      ;;
  esac
}

read_conf ()
{
  local line n=0
  while IFS= read -r line || [ -n "$line" ]; do
    n=$((n + 1))
    line=${line#"${line%%[![:space:]]*}"}
    line=${line%"${line##*[![:space:]]}"}
    [ -z "$line" ] || [ "${line:0:1}" = '#' ] || take_line $n "$line"
  done < "$conf"
  [ ${#names[@]} = 2 ] ||
    die "$conf: two lines node=HOSTNAME ADDRESS are needed, not ${#names[@]}"
  [ -z "${value[nbd-tls-psk]:-}" ] ||
    [ -z "${value[nbd-tls-certificates]:-}" ] ||
    die "$conf: either nbd-tls-psk= or nbd-tls-certificates="
}

# HOST:PORT, an IPv6 address in brackets.
with_port ()
{
  case $1 in
    *:*) echo "[$1]:$2" ;;
    *) echo "$1:$2" ;;
  esac
}

# Which of the two this machine is: sets me and other.
find_me ()
{
  local host=${DUET_NODE:-$(cat /proc/sys/kernel/hostname)} i
  for i in 0 1; do
    if [ "${names[i]}" = "$host" ] || [ "${names[i]}" = "${host%%.*}" ]; then
      me=$i other=$((1 - i))
      return
    fi
  done
  die "$conf: this machine is $host, the nodes are ${names[*]}"
}

start_node ()
{
  find_me
  command+=(-i "${addresses[me]}" -p "${value[nbd-port]}")
  if [ -n "${value[nbd-tls-psk]:-}" ]; then
    command+=(--tls=require --tls-psk="${value[nbd-tls-psk]}")
  elif [ -n "${value[nbd-tls-certificates]:-}" ]; then
    command+=(--tls=require
              --tls-certificates="${value[nbd-tls-certificates]}"
              --tls-verify-peer)
  fi
  [ -n "${value[file]:-}" ] || parameters+=("file=/var/lib/duet/$volume.img")
  [ -n "${value[control]:-}" ] ||
    parameters+=("control=/run/duet/$volume/control")
  command+=("${options[@]}" duet "${parameters[@]}"
            "listen=$(with_port "${addresses[me]}" "${value[link-port]}")"
            "peer=$(with_port "${addresses[other]}" "${value[link-port]}")")
}

# The socket comes from systemd, or is the usual one.
start_proxy ()
{
  local i uri user query=
  if [ -n "${value[nbd-tls-psk]:-}" ]; then
    [ -r "${value[nbd-tls-psk]}" ] || die "${value[nbd-tls-psk]}: not readable"
    IFS=: read -r user _ < "${value[nbd-tls-psk]}"
    query="?tls-psk-file=${value[nbd-tls-psk]}"
  elif [ -n "${value[nbd-tls-certificates]:-}" ]; then
    query="?tls-certificates=${value[nbd-tls-certificates]}"
  fi
  [ -n "${LISTEN_FDS:-}" ] || command+=(-U "/run/duetproxy/$volume.sock")
  command+=(duetproxy)
  for i in 0 1; do
    uri=nbd${query:+s}://${user:+$user@}
    uri+=$(with_port "${addresses[i]}" "${value[nbd-port]}")/$query
    command+=("node=$uri")
  done
  case " ${proxy_parameters[*]} " in
    *' state='*) ;;
    *) command+=("state=/var/lib/duetproxy/$volume.state") ;;
  esac
  command+=("${proxy_parameters[@]}")
}

read_conf
command=(nbdkit -f)
case $role in
  node) start_node ;;
  proxy) start_proxy ;;
  *) usage ;;
esac
if [ -n "$print" ]; then
  printf '%q ' "${command[@]}"
  echo
else
  exec "${command[@]}"
fi
