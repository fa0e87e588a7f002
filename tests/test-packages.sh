#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# The Debian packages are built, lintian finds no error in them, and from a
# scratch root that they were unpacked into, the command lines of the units
# start a pair and a proxy, which say when they are ready; a file system's
# worth of requests goes through, and a node is killed.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/tls-functions.sh

[ -z "$SAN" ] || skip 'the packages are not sanitized'
require_command dpkg-buildpackage dh lintian socat

make BUILD="$dir/build" deb-built > "$dir/deb.out" 2>&1 ||
  fail "$(tail -n 20 "$dir/deb.out")"
for package in nbdkit-plugin-duet duet-tools; do
  found=$(ls "$dir/build/deb/${package}"_*.deb)
  lintian --fail-on error "$found" > "$dir/lintian.out" 2>&1 ||
    fail "$(cat "$dir/lintian.out")"
  cat "$dir/lintian.out"
  dpkg-deb -x "$found" "$dir/root"
done
units=$dir/root/lib/systemd/system
[ -s "$dir/root/usr/lib/sysusers.d/duet.conf" ] || fail 'no sysusers'
[ -s "$dir/root/usr/lib/tmpfiles.d/duet.conf" ] || fail 'no tmpfiles'
[ -x "$dir/root/usr/bin/duetctl" ] || fail 'no duetctl'
cmp docs/packaging/duetctl.bash-completion \
  "$dir/root/usr/share/bash-completion/completions/duetctl"
ls "$dir"/root/usr/share/man/man1/{duetctl,duet-start}.1.gz > /dev/null
examples=$dir/root/usr/share/doc/nbdkit-plugin-duet/examples
ls "$examples"/{duet.rules.yml,duet-dashboard.json,volume.conf} > /dev/null

# systemd knows every word of them; the program is not where they say.
for unit in duet@.service duetproxy@.service duetproxy@.socket; do
  cp "$units/$unit" "$dir/${unit/@/@disk}"
done
if command -v systemd-analyze > /dev/null; then
  systemd-analyze verify --man=no "$dir"/duet*@disk.* 2>&1 |
    grep 'duet.*@disk' |
    grep -v 'is not executable: No such file' > "$dir/verify.out" || true
fi
[ ! -s "$dir/verify.out" ] || fail "$(cat "$dir/verify.out")"

# How much of the machine they can reach, by systemd's own scale: all of it
# would be 10.0, which the option calls 100.
if systemd-analyze security --help 2>&1 | grep -e --threshold > /dev/null; then
  for unit in duet@disk.service duetproxy@disk.service; do
    systemd-analyze security --offline=true --threshold=25 "$dir/$unit" \
      > "$dir/security.out" 2>&1 || fail "$(tail -n 1 "$dir/security.out")"
  done
fi

# The examples are what the programs that read them take.
examples=$dir/root/usr/share/doc/nbdkit-plugin-duet/examples
findmnt --verify --tab-file "$examples/fstab" > "$dir/fstab.out" 2>&1 ||
  grep -q '^0 parse errors' "$dir/fstab.out" || fail "$(cat "$dir/fstab.out")"
/usr/bin/python3 -c 'import sys, xml.dom.minidom as m; m.parse (sys.argv[1])' \
  "$examples/libvirt-disk.xml"
[ "$(awk '$1 !~ /^#/ { print NF, $2 }' "$examples/nbdtab")" = \
  '4 /run/duetproxy/disk.sock' ] || fail 'nbdtab'
if command -v systemd-analyze > /dev/null; then
  # nbd-client's own unit, as far as the order matters.
  printf '%s\n' '[Unit]' DefaultDependencies=no Before=remote-fs-pre.target \
    '[Service]' Type=oneshot ExecStart=/bin/true > "$dir/nbd@nbd0.service"
  mkdir "$dir/nbd@nbd0.service.d"
  cp "$examples/nbd-duet.conf" "$dir/nbd@nbd0.service.d/"
  systemd-analyze verify --man=no "$dir"/duet*@disk.* \
    "$dir/nbd@nbd0.service" 2>&1 | grep -E 'nbd@|cycle' |
    grep -v 'is not executable: No such file' > "$dir/verify.out" || true
fi
[ ! -s "$dir/verify.out" ] || fail "$(cat "$dir/verify.out")"

# nbdkit with the plugins of the scratch root.
plugins=$(echo "$dir"/root/usr/lib/*/nbdkit/plugins)
mkdir "$dir/bin"
cat > "$dir/bin/nbdkit" << END
#!/usr/bin/env bash
for arg; do
  case \$arg in
    duet | duetproxy)
      arg=$plugins/nbdkit-\$arg-plugin.so ;;
  esac
  args+=("\$arg")
done
exec "$NBDKIT" "\${args[@]}"
END
chmod +x "$dir/bin/nbdkit"

# One file for all, but for what two nodes on one machine cannot share.
new_psk "$dir/link.psk"
new_psk "$dir/nbd.psk"
for name in a b; do
  mkdir "$dir/conf-$name"
  sed -e 's/^node=alpha .*/node=alpha 127.0.0.1/' \
      -e 's/^node=beta .*/node=beta 127.0.0.2/' \
      -e "s|^tls-psk=.*|tls-psk=$dir/link.psk|" \
      -e "s|^nbd-tls-psk=.*|nbd-tls-psk=$dir/nbd.psk|" \
      -e "s/^size=.*/size=$SIZE/" \
      "$dir/root/usr/share/doc/nbdkit-plugin-duet/examples/volume.conf" \
      > "$dir/conf-$name/disk.conf"
  cat >> "$dir/conf-$name/disk.conf" << END
file=$dir/$name.img
control=$dir/$name.ctl
link-port=${link_port[a]}
nbd-port=${nbd_port[a]}
proxy-state=$dir/proxy.state
END
done

# start_unit NAME UNIT NODE [COMMAND...]: the unit's command line, by COMMAND;
# returns when it has told the socket in NOTIFY_SOCKET that it is ready.
start_unit ()
{
  local name=$1 line
  line=$(sed -n 's/^ExecStart=//p' "$units/$2" | sed 's/%i/disk/')
  [ "${line%% *}" = /usr/libexec/duet/duet-start ] || fail "$2: $line"
  read -r -a line <<< "$dir/root$line"
  rm -f "$dir/$name.notify"
  socat -u UNIX-RECV:"$dir/$name.notify" \
    OPEN:"$dir/$name.ready",creat,append 2> "$dir/socat.err" &
  tracked+=("$!")
  wait_for 10 "[ -S '$dir/$name.notify' ]"
  : > "$dir/$name.ready"
  env PATH="$dir/bin:$PATH" DUET_CONF_DIR="$dir/conf-${4:-a}" DUET_NODE="$3" \
    NOTIFY_SOCKET="$dir/$name.notify" "${@:5}" "${line[@]}" \
    < /dev/null >> "$dir/$name.log" 2>&1 &
  pid[$name]=$!
  wait_for 20 "grep -q READY=1 '$dir/$name.ready' || ! is_alive ${pid[$name]}"
  grep -q READY=1 "$dir/$name.ready" || fail "$name is not ready"
}

# What systemd does with a socket unit: it is open as number 3.
cat > "$dir/bin/with-socket" << 'END'
import os, socket, sys
s = socket.socket (socket.AF_UNIX)
s.bind (sys.argv[1])
s.listen (16)
os.dup2 (s.fileno (), 3)
os.set_inheritable (3, True)
os.environ["LISTEN_FDS"] = "1"
os.environ["LISTEN_PID"] = str (os.getpid ())
os.execvp (sys.argv[2], sys.argv[2:])
END

start_unit a duet@.service alpha a
start_unit b duet@.service beta.example.org b
wait_insync
[ "$(node_status a .link.tls)" = psk ] || fail 'no TLS on the link'
start_unit proxy duetproxy@.service client a /usr/bin/python3 \
  "$dir/bin/with-socket" "$dir/proxy.sock"
nbdsh "$proxy_uri" "h.pwrite (b'packaged' * 4096, 12345)"
identical
"$dir/root/usr/bin/duetctl" -s "$dir/a.ctl" status > /dev/null
wait_primary
case $first in a) host=alpha ;; b) host=beta ;; esac
kill_nbdkit "$first"
nbdsh "$proxy_uri" "assert h.pread (32768, 12345) == b'packaged' * 4096
h.pwrite (b'killed--' * 4096, 12345)"
start_unit "$first" duet@.service $host "$first"
wait_insync
identical
stop_nbdkit proxy
stop_nbdkit a
stop_nbdkit b

# What is wrong with a file is said with its line.
wrong ()
{
  printf '%s\n' "$2" > "$dir/conf-a/bad.conf"
  if DUET_CONF_DIR=$dir/conf-a DUET_NODE=alpha \
       nbdkit-plugin/duet-start.sh --print "$1" bad > "$dir/out" 2>&1; then
    fail "$2: taken as $(cat "$dir/out")"
  fi
  grep -q "$3" "$dir/out" || fail "$2: $(cat "$dir/out")"
}
two=$'node=alpha 192.0.2.1\nnode=beta 2001:db8::2'
wrong node 'size' 'bad.conf:1: not KEY=VALUE'
wrong node 'node=alpha' 'bad.conf:1: write node=HOSTNAME ADDRESS'
wrong node 'node=alpha 192.0.2.1' 'two lines node=HOSTNAME ADDRESS'
wrong node "$two"$'\nlisten=:1' 'bad.conf:3: listen= comes from node='
wrong proxy "$two"$'\nlink-port=x' 'link-port=x: not a port'
wrong node $'node=x 192.0.2.1\nnode=y 192.0.2.2' 'this machine is alpha'
wrong elephant "$two" usage
printf '%s\n' "$two" 'region=8M' 'nbdkit=-t4' 'proxy-connections=2' \
  > "$dir/conf-a/good.conf"
print ()
{
  DUET_CONF_DIR=$dir/conf-a DUET_NODE=beta nbdkit-plugin/duet-start.sh \
    --print "$1" good
}
[ "$(print node)" = "nbdkit -f -i 2001:db8::2 -p 10809 -t4 duet region=8M \
file=/var/lib/duet/good.img control=/run/duet/good/control \
listen=\\[2001:db8::2\\]:7100 peer=192.0.2.1:7100 " ] || fail "$(print node)"
[ "$(print proxy)" = "nbdkit -f -U /run/duetproxy/good.sock duetproxy \
node=nbd://192.0.2.1:10809/ node=nbd://\\[2001:db8::2\\]:10809/ \
state=/var/lib/duetproxy/good.state connections=2 " ] || fail "$(print proxy)"
