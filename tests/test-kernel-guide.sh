#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# docs/guide.md with a kernel as the client: what it does with /dev/nbd0 on
# gamma works as it stands there, while alpha loses its power.
. "$(dirname "$0")/functions.sh"
. tests/kernel-functions.sh
. tests/guide-functions.sh

require_command dpkg-buildpackage dh psktool base64

# put_in_guest FILE FOLDER
put_in_guest ()
{
  in_guest "mkdir -p $2 && echo $(base64 -w 0 "$1") | base64 -d > $2/${1##*/}"
}

# What the units of gamma have started, in the guest instead.
move_proxy_to_guest ()
{
  local root=/proc/${init[gamma]}/root name command
  on_machine gamma systemctl stop duetproxy@disk.service
  root_disk=(-drive "file=$GUEST/root.img,format=raw,if=virtio,snapshot=on")
  guest_words=rw
  at gamma boot_guest
  in_guest 'ip route add default via 10.0.2.2'
  for name in disk.conf disk.nbd.psk; do
    put_in_guest "$root/etc/duet/$name" /etc/duet
  done
  command=$(on_machine gamma /usr/libexec/duet/duet-start --print proxy disk)
  [[ $command = 'nbdkit -f '*' duetproxy '* ]] || fail "$command"
  command=${command#nbdkit -f }
  in_guest 'mkdir -p /run/duetproxy /var/lib/duetproxy'
  in_guest "start_nbdkit proxy \
    ${command/ duetproxy / /duet/nbdkit-duetproxy-plugin.so }"
}

# Each of its commands by itself, all in one shell.
run_kernel_block ()
{
  local line command=
  [ -n "${qemu:-}" ] || move_proxy_to_guest
  while IFS= read -r line; do
    command+=$line$'\n'
    bash -n <<< "$command" 2> /dev/null || continue
    patience_s=200 in_guest "$(echo 'eval "$(echo' \
      "$(base64 -w 0 <<< "$command") | base64 -d)\"")"
    printf '%s\n%s\n' "$command" "$said"
    command=
  done < "$1"
  [ -z "$command" ] || fail "no end: $command"
}

# The loop was at work.
after_cut ()
{
  in_guest '[ "$(wc -l < /srv/disk/log)" -lt 150 ]'
}

after_return () { :; }

blocks_of docs/guide.md "$dir/guide"
# Seen by test-guide.
for block in "$dir"/guide/*.at; do
  ! grep -qx alone "$block" || rm "$block" "${block%.at}"
done
copy_sources
make_machines alpha beta gamma
make_scp
run_blocks "$dir/guide"

# The example for /etc/nbdtab is taken.
put_in_guest docs/packaging/examples/nbdtab /etc
in_guest 'nbd-client nbd0'
in_guest 'mount /dev/nbd0 /srv/disk && [ -s /srv/disk/log ]'
in_guest 'umount /srv/disk && nbd-client -d /dev/nbd0'
stop_guest
