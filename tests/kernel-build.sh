#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# kernel-build.sh CACHE BUILD: make BUILD/guest, what tests/kernel-*.sh boot
# in a virtual machine, from Debian's packages and from what BUILD holds.
#
#   BUILD/guest/vmlinux     Debian's kernel for virtual machines, unpacked
#                           where we can: it starts seconds earlier then
#   BUILD/guest/initrd      busybox and the modules that find the root
#   BUILD/guest/root.img    ext4: nbd-client, file systems' tools, fio,
#                           sqlite3, nbdkit, our plugins, kernel-init.sh
#   BUILD/guest/missing     only if there is no guest: why, in one line
#
# Packages are fetched once, into CACHE, by apt with lists of its own, and
# unpacked there; none is installed and the boot of this machine is not
# touched.  What `make deps` has installed here is copied from here.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin

[ $# -eq 2 ] || { echo "usage: $0 CACHE BUILD" >&2; exit 2; }
mkdir -p "$1" "$2/guest"
cache=$(cd "$1" && pwd)
build=$(cd "$2" && pwd)
guest=$build/guest
here=$(cd "$(dirname "$0")" && pwd)

kernel=linux-image-cloud-amd64
# With what they need and this machine has not.
packages='busybox-static nbd-client xfsprogs sqlite3 dmsetup fuse3 lz4'
# From the packages, or from this machine.
programs='nbd-client mkfs.xfs xfs_repair sqlite3 dmsetup fusermount3
          mkfs.ext4 e2fsck fio nbdfuse'
modules='virtio_pci virtio_blk virtio_net virtio-rng nbd xfs loop fuse
         dm-multipath dm-round-robin'
first_modules='virtio_pci virtio_blk'
libs=usr/lib/x86_64-linux-gnu

die ()
{
  echo "$*" > "$guest/missing"
  echo "kernel-build: $*" >&2
  exit 1
}

# ------------------------------------------------------------- packages

fetch ()
{
  local apt image
  rm -rf "$cache"/{apt,kernel,packages}
  mkdir -p "$cache"/apt/{lists,cache/archives}/partial
  mkdir -p "$cache"/{kernel,packages}
  # Sandbox::User: the lists lie below a folder that may be private.
  apt=(-q -o Dir::State::Lists="$cache/apt/lists"
       -o Dir::Cache="$cache/apt/cache"
       -o APT::Sandbox::User=root
       -o APT::Update::Error-Mode=any
       -o Debug::NoLocking=1
       -o Acquire::Languages=none
       -o Acquire::Retries=2
       -o Acquire::http::Timeout=20)
  apt-get "${apt[@]}" update
  # shellcheck disable=SC2086  # a list, split on purpose
  apt-get "${apt[@]}" -y --no-install-recommends --download-only \
    --reinstall install $packages
  image=$(apt-cache "${apt[@]}" depends $kernel |
          sed -n 's/^ *Depends: *\(linux-image-[0-9].*\)/\1/p')
  (cd "$cache/apt" && apt-get "${apt[@]}" download "$image")
  dpkg-deb -x "$cache"/apt/linux-image-*.deb "$cache/kernel"
  for image in "$cache"/apt/cache/archives/*.deb; do
    dpkg-deb -x "$image" "$cache/packages"
  done
  rm -rf "$cache/apt"
  echo "$kernel $packages" > "$cache/complete"
}

# ----------------------------------------------------------------- files

# find_program NAME: its file, in the packages or here.
find_program ()
{
  local place
  for place in "$cache"/packages/{usr/,}{s,}bin; do
    if [ -x "$place/$1" ]; then
      echo "$place/$1"
      return
    fi
  done
  command -v "$1" || die "no $1 here"
}

# add FILE FOLDER: a program or a plugin, and the libraries it needs.
add ()
{
  local file
  cp -L "$1" "$root/$2/"
  LD_LIBRARY_PATH="$cache/packages/$libs:$cache/packages/${libs#usr/}" \
    ldd "$1" | sed -n 's/^[^/]*\(\/[^ ]*\) (0x[0-9a-f]*)$/\1/p' |
    while read -r file; do
      case $file in
        */ld-linux*) cp -Ln "$file" "$root/usr/lib64/" ;;
        *) cp -Ln "$file" "$root/$libs/" ;;
      esac
    done
}

# add_modules FOLDER NAME...: modules and those that they need: each line
# of modules.dep has all of them.
add_modules ()
{
  local to=$1/usr/lib/modules/$version name file
  local from=$cache/kernel/lib/modules/$version
  shift
  mkdir -p "$to"
  cp "$from/modules.dep" "$to/"
  for name; do
    name=${name//[-_]/[-_]}
    for file in $(sed -n "s,^\(.*/$name\.ko[^:]*\):,\1,p" \
                  "$from/modules.dep"); do
      mkdir -p "$to/${file%/*}"
      cp -n "$from/$file" "$to/$file"
    done
  done
}

busybox_in ()
{
  mkdir -p "$1"/usr/bin "$1"/{proc,sys,dev,run,tmp,mnt,root}
  ln -s usr/bin "$1/bin"
  ln -s usr/bin "$1/sbin"
  ln -s bin "$1/usr/sbin"
  ln -s usr/lib "$1/lib"
  cp "$busybox" "$1/usr/bin/busybox"
  for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$1/usr/bin/$applet"
  done
  cp "$here/kernel-init.sh" "$1/init"
  chmod 755 "$1/init"
}

make_root ()
{
  local root=$new/root name mib
  mkdir -p "$root"
  busybox_in "$root"
  mkdir -p "$root"/{etc,usr/lib64,$libs,duet}
  ln -s usr/lib64 "$root/lib64"
  ln -s /proc/mounts "$root/etc/mtab"
  echo root:x:0:0:root:/root:/bin/sh > "$root/etc/passwd"
  echo root:x:0: > "$root/etc/group"
  for name in $programs; do
    add "$(find_program "$name")" usr/bin
  done
  add "$(realpath "$build/nbdkit")" usr/bin
  for name in nbdkit-duet-plugin.so nbdkit-duetproxy-plugin.so duetctl \
              tests/tool-pause; do
    add "$build/$name" duet
  done
  # shellcheck disable=SC2086  # a list, split on purpose
  add_modules "$root" $modules
  mib=$(($(du -sm "$root" | cut -f 1) * 11 / 10 + 96))
  mke2fs -q -t ext4 -E root_owner=0:0,lazy_itable_init=0 -d "$root" \
    "$new/root.img" "${mib}M"
  rm -rf "$root"
}

make_initrd ()
{
  local first=$new/first
  busybox_in "$first"
  # shellcheck disable=SC2086  # a list, split on purpose
  add_modules "$first" $first_modules
  touch "$first/initrd"
  (cd "$first" && find . | "$busybox" cpio -o -H newc 2> /dev/null) \
    > "$new/initrd"
  rm -rf "$first"
}

# little_endian OFFSET BYTES: a number in vmlinuz.
little_endian ()
{
  od -A n -t "u$2" -j "$1" -N "$2" "$vmlinuz" | tr -d ' '
}

# The header of a bzImage (Documentation/x86/boot.rst of Linux) says where
# the compressed kernel lies.
make_kernel ()
{
  local vmlinuz=$cache/kernel/boot/vmlinuz-$version offset length
  offset=$((($(little_endian $((0x1f1)) 1) + 1) * 512 +
            $(little_endian $((0x248)) 4)))
  length=$(little_endian $((0x24c)) 4)
  # lz4's magic; behind the data lies its length.
  if [ "$(little_endian "$offset" 4)" = $((0x184c2102)) ]; then
    head -c $((offset + length - 4)) "$vmlinuz" | tail -c +$((offset + 1)) |
      "$(find_program lz4)" -dc > "$new/vmlinux"
  else
    cp "$vmlinuz" "$new/vmlinux"
  fi
}

# ------------------------------------------------------------------ main

rm -f "$guest/missing"
[ "$(uname -m)" = x86_64 ] || die 'the guest is for x86_64 only'
command -v qemu-system-x86_64 > /dev/null || die 'no qemu-system-x86_64 here'
command -v apt-get > /dev/null || die 'no apt-get here'

exec 9> "$cache/lock"
flock 9
if [ "$(cat "$cache/complete" 2> /dev/null)" != "$kernel $packages" ]; then
  echo "fetching the guest's packages (log: $cache/log)"
  # Not in a condition: bash would ignore set -e inside it.
  set +e
  (set -e; fetch) > "$cache/log" 2>&1 < /dev/null
  rc=$?
  set -e
  [ "$rc" -eq 0 ] || die "packages of the guest cannot be had: $cache/log"
fi

for file in "$0" "$here/kernel-init.sh" "$cache/complete" "$build"/*.so \
            "$build"/{nbdkit,duetctl,tests/tool-pause}; do
  if [ "$file" -nt "$guest/complete" ]; then
    stale=$file
  fi
done
[ -n "${stale:-}" ] || exit 0

busybox=$(find_program busybox)
version=$(basename "$cache"/kernel/lib/modules/*)
[ -e "$cache/kernel/lib/modules/$version/modules.dep" ] ||
  "$busybox" depmod -b "$cache/kernel" "$version"
new=$guest/new
rm -rf "$guest"
mkdir -p "$new"
make_root
make_initrd
make_kernel
mv "$new"/* "$guest/"
rmdir "$new"
touch "$guest/complete"
