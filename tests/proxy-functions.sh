# SPDX-License-Identifier: BSD-3-Clause
#
# proxy-functions.sh: stand-ins for nodes, for tests of the proxy alone.
# Sourced after functions.sh.  A server is nbdkit's file plugin on
# $dir/disk, which all servers share, so whichever serves holds the data;
# or nbdkit's eval plugin, which does what a test tells it by files.
# Stand-ins run without a sanitizer: nothing of ours is in them.

server_uri ()
{
  echo "nbd+unix:///?socket=$dir/$1.sock"
}

# start_server NAME [ARG...]: the file plugin, unless ARGs say otherwise.
start_server ()
{
  local name=$1 preload=()
  shift
  [ -e "$dir/disk" ] || truncate -s "$SIZE" "$dir/disk"
  [ $# -gt 0 ] || set -- file "$dir/disk"
  rm -f "$dir/$name.sock"
  start_nbdkit "$name" -U "$dir/$name.sock" "$@"
}

# start_actor NAME: a pretended duet node.  It writes the name
# it was asked for to $dir/NAME.asked, one line per open, and
#   refuses when $dir/NAME.refuse exists,
#   answers requests with ESHUTDOWN when $dir/NAME.shutdown exists,
#   answers writes with the error in $dir/NAME.error,
#   takes the seconds in $dir/NAME.slow for each request,
#   describes itself with the text in $dir/NAME.description.
start_actor ()
{
  local name=$1 head preload=()
  [ -e "$dir/disk" ] || truncate -s "$SIZE" "$dir/disk"
  : >> "$dir/$name.asked"
  rm -f "$dir/$name.sock"
  head="[ ! -e $dir/$name.shutdown ] || { echo ESHUTDOWN >&2; exit 1; }
        [ ! -e $dir/$name.slow ] || sleep \$(cat $dir/$name.slow)"
  start_nbdkit "$name" -U "$dir/$name.sock" eval \
    thread_model='echo serialize_requests' \
    open="echo \"\$3\" >> $dir/$name.asked
          [ ! -e $dir/$name.refuse ] || { echo EPERM >&2; exit 1; }" \
    get_size="stat -Lc %s $dir/disk" \
    export_description="cat $dir/$name.description 2> /dev/null || :" \
    can_multi_conn='exit 0' can_flush='exit 0' can_fua='echo native' \
    pread="$head
      dd if=$dir/disk iflag=skip_bytes,count_bytes skip=\$4 count=\$3 \
         status=none" \
    pwrite="$head
      [ ! -e $dir/$name.error ] || { cat $dir/$name.error >&2; exit 1; }
      dd of=$dir/disk oflag=seek_bytes seek=\$4 conv=notrunc status=none" \
    flush="$head"
}

# start_test_proxy SERVER... [-- PARAMETER...]: the proxy on $proxy_uri.
start_test_proxy ()
{
  local nodes=()
  while [ $# -gt 0 ] && [ "$1" != -- ]; do
    nodes+=("node=$(server_uri "$1")")
    shift
  done
  [ $# -eq 0 ] || shift
  rm -f "$dir/proxy.sock"
  start_nbdkit proxy -U "$dir/proxy.sock" "$DUETPROXY" "${nodes[@]}" "$@"
}

# nbd_python CODE: python with h, connected to the proxy.  Debian's own,
# because libnbd's module is installed for that one.
nbd_python ()
{
  timeout 100 /usr/bin/python3 -c "
import nbd, os, sys
h = nbd.NBD()
h.connect_uri('$proxy_uri')
$1"
}
