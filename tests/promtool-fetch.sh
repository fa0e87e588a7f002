#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
#
# promtool-fetch.sh CACHE: put promtool into the folder CACHE, once.  Debian
# has it in the package prometheus, which would start a server here when it
# was installed: so the package is fetched and one program taken out of it.
# An installed promtool is good as well, and then nothing is fetched.
set -euo pipefail
export LC_ALL=C

[ $# -eq 1 ] || { echo "usage: $0 CACHE" >&2; exit 2; }
! command -v promtool > /dev/null || exit 0
[ ! -x "$1/promtool" ] || exit 0
mkdir -p "$1"
cd "$1"
rm -rf fetched
mkdir fetched
# Without the sandbox: the folder may be private.
(cd fetched && apt-get -q -o APT::Sandbox::User=root \
   -o Acquire::Retries=2 -o Acquire::http::Timeout=20 download prometheus)
dpkg-deb -x fetched/prometheus_*.deb fetched/root
mv fetched/root/usr/bin/promtool promtool
rm -rf fetched
