#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# build-nbdkit.sh CACHE LINK: make LINK a sound nbdkit.
#
# Sound means that no client can take the server down: nbdkit 1.32.4 to
# 1.33.9 aborts when a client hangs up with several requests in flight.
# nbdkit_disconnect came with the fix (1.34), so a server that exports it
# is sound; the plugins ask the same question when they run.
#
# The system's nbdkit is used where it is sound.  Otherwise the nbdkit of
# Debian 13 is built from its source package into CACHE, once: only the
# server and the plugins and filters that tests, demo and bench use.
# The package comes from the archive that this machine is set up to use,
# by apt with state of its own in CACHE, checked against Debian's keyring.
# The system's apt configuration, lists and packages are not touched.
set -euo pipefail

suite=trixie
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
plugins='data eval file info memory nbd null pattern sh'
filters='blocksize checkwrite cow delay error exitlast fua ip log multi-conn
         noextents noparallel offset pause rate readonly retry retry-request
         stats tls-fallback'

[ $# -eq 2 ] || { echo "usage: $0 CACHE LINK" >&2; exit 2; }
mkdir -p "$1" "$(dirname "$2")"
cache=$(cd "$1" && pwd)
link=$(cd "$(dirname "$2")" && pwd)/$(basename "$2")
prefix=$cache/inst

die ()
{
  echo "build-nbdkit: $*" >&2
  exit 1
}

is_sound ()
{
  [ -x "$1" ] && "$1" --version > /dev/null 2>&1 &&
    grep -aq nbdkit_disconnect "$1"
}

# The short names of plugins and filters are looked up below the prefix,
# which is compiled in: a tree that was moved builds again.
is_cached ()
{
  [ -e "$prefix/complete" ] && is_sound "$prefix/sbin/nbdkit" &&
    [ "$("$prefix/sbin/nbdkit" --dump-config | sed -n s/^plugindir=//p)" = \
      "$prefix/lib/nbdkit/plugins" ]
}

# The archives this machine is set up to use, other people's among them.
# apt itself reads its configuration, whatever the format of its files.
archives ()
{
  apt-get --print-uris update |
    sed -n "s|^'\([^']*\)/dists/[a-z]*/InRelease' .*|\1|p" | awk '!seen[$0]++'
}

fetch ()
{
  local apt uri found=
  [ -r "$keyring" ] || die "no $keyring: install debian-archive-keyring"
  rm -rf "$cache/apt" "$cache/src"
  mkdir -p "$cache"/apt/{cache/archives/partial,parts} "$cache/src"
  # Sandbox::User: the lists lie below a folder that may be private.
  apt=(apt-get -q
       -o Dir::Etc::SourceList="$cache/apt/sources.list"
       -o Dir::Etc::SourceParts="$cache/apt/parts"
       -o Dir::State::Lists="$cache/apt/lists"
       -o Dir::Cache="$cache/apt/cache"
       -o APT::Sandbox::User=root
       -o APT::Update::Error-Mode=any
       -o Acquire::Languages=none
       -o Acquire::Retries=3)
  # The first that has the suite with Debian's signature.
  for uri in $(archives); do
    echo "deb-src [signed-by=$keyring] $uri $suite main" \
         > "$cache/apt/sources.list"
    rm -rf "$cache/apt/lists"
    mkdir -p "$cache/apt/lists/partial"
    if "${apt[@]}" update; then
      found=$uri
      break
    fi
  done
  [ -n "$found" ] || die "no archive that apt is set up to use has $suite"
  cd "$cache/src"
  "${apt[@]}" source nbdkit
}

build ()
{
  local dir make
  unset CC CFLAGS CPPFLAGS LDFLAGS MAKEFLAGS MFLAGS MAKELEVEL
  cd "$cache"/src/nbdkit-*/
  # Debian's patches are newer than what autotools made of the patched
  # files.  None changes the build of what we need: no autotools here.
  touch aclocal.m4
  touch config.h.in configure
  find . -name Makefile.in -exec touch {} +

  ./configure --prefix="$prefix" --disable-dependency-tracking \
    --disable-static --disable-golang --disable-libguestfs-tests \
    --disable-linuxdisk --disable-lua --disable-ocaml --disable-perl \
    --disable-python --disable-rust --disable-tcl --disable-torrent \
    --disable-valgrind --disable-vddk --without-bash-completions \
    --without-bzip2 --without-curl --without-ext2 --without-iconv \
    --without-iso --without-libblkio --without-libguestfs \
    --without-liblzma --without-libvirt --without-libzstd \
    --without-manpages --without-selinux --without-ssh --without-zlib \
    --without-zlib-ng --with-gnutls --with-libnbd
  grep -q '^#define HAVE_GNUTLS 1' config.h || die 'configured without TLS'

  make=(make -j "$(nproc)")
  for dir in common/{protocol,replacements,utils,allocators,bitmap,gpt,regions}
  do
    "${make[@]}" -C "$dir"
  done
  rm -rf "$prefix"
  for dir in server $(printf 'plugins/%s ' $plugins) \
             $(printf 'filters/%s ' $filters); do
    "${make[@]}" -C "$dir" install
  done
}

system=$(command -v nbdkit || true)
if [ -n "$system" ] && is_sound "$system"; then
  ln -sfn "$system" "$link"
  exit 0
fi

case $cache in
  *[[:space:]]*) die "cannot build below a path with blanks: $cache" ;;
esac
exec 9> "$cache/lock"
flock 9
if ! is_cached; then
  echo "building nbdkit (log: $cache/log); about half a minute"
  rm -rf "$prefix"
  # Not in a condition: bash would ignore set -e inside it.
  set +e
  (set -e; fetch; build) > "$cache/log" 2>&1 < /dev/null
  rc=$?
  set -e
  if [ "$rc" -ne 0 ]; then
    tail -n 40 "$cache/log" >&2
    die "failed; the whole log is $cache/log"
  fi
  touch "$prefix/complete"
  rm -rf "$cache/apt" "$cache/src"
fi
ln -sfn "$(realpath --relative-to="$(dirname "$link")" \
           "$prefix/sbin/nbdkit")" "$link"
