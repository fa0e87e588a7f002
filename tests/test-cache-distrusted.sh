#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-3-Clause
# What the page cache holds of a write and the disk does not is not believed
# after an fdatasync has failed: the comparison with the peer reads the disk
# and brings it up to date.  The disk is the file under a loop device: what
# is changed there behind the device's back is what a failed write leaves.
. "$(dirname "$0")/functions.sh"
. tests/volume-functions.sh
. tests/writer-functions.sh

require_root
require_command losetup qemu-io

put ()
{
  qemu-io -f raw -c "write -P $1 8M 1M" "$(node_uri a)" > /dev/null
}

# Pages of the first 32 MiB that the device's cache holds.
cached_pages ()
{
  /usr/bin/python3 -c '
import ctypes, os, sys
libc = ctypes.CDLL (None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + \
    [ctypes.c_int] * 3 + [ctypes.c_long]
size = 32 << 20
at = libc.mmap (None, size, 0, 1, os.open (sys.argv[1], os.O_RDONLY), 0)
pages = ctypes.create_string_buffer (size // 4096)
assert libc.mincore (ctypes.c_void_p (at), ctypes.c_size_t (size), pages) == 0
print (sum (page & 1 for page in pages.raw))' "$dir/b.img"
}

# b's data is a block device; $dir/b.img is another name of it.
truncate -s 64M "$dir/disk"
loop=$(losetup -f --show "$dir/disk") || skip 'no loop device'
at_exit 'losetup -d "$loop"'
mknod "$dir/b.img" b $((0x$(stat -c %t "$loop"))) $((0x$(stat -c %T "$loop")))
# Held open, or the kernel empties the device's cache by itself.
exec 4< "$dir/b.img" || skip 'no device files here'

start_node a
start_fragile_node b meta="$dir/b.meta"
wait_insync
choose_primary a
put 7
[ "$(cached_pages)" -ge 256 ] || fail 'what was written is not in the cache'

# At the failure itself.
break_disk b fdatasync
put 8
wait_state b failed
wait_for 10 '[ "$(cached_pages)" -lt 128 ]' ||
  fail 'the failed node keeps what it had in the cache'
kill_node b
mend_disk b

# And at the next start, if it has come back.
cmp -n 1M -i 8M "$dir/b.img" "$dir/a.img"
dd if=/dev/zero of="$dir/disk" bs=64k seek=130 count=1 conv=notrunc,fsync \
   status=none
cmp -n 1M -i 8M "$dir/b.img" "$dir/a.img" || skip 'this cache is not kept'
start_node b meta="$dir/b.meta"
wait_insync
stop_node a
stop_node b
cmp "$dir/a.img" "$dir/disk" || fail 'the cache was compared, not the disk'
exec 4<&-
