#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
#
# power-cut.py FILE: the machine of a node that was killed loses its power.
# Of the changes to FILE that were not synced (FILE.undo, preload-lossy.c)
# some are taken back: all, or for each sector all that came after some
# moment of its own.

import os
import random
import struct
import sys

SECTOR = 512
HEAD = 16


def changes(log):
    """(offset, old bytes) of each change, oldest first."""
    start, end = struct.unpack("<QQ", log[:HEAD])
    while start < end:
        offset, length = struct.unpack_from("<QQ", log, start)
        start += HEAD
        yield offset, log[start : start + length]
        start += length


def sectors(offset, length):
    """The parts of a range that are in one sector each."""
    end = offset + length
    while offset < end:
        stop = min(end, (offset // SECTOR + 1) * SECTOR)
        yield offset, stop
        offset = stop


def cut(path):
    undo = path + ".undo"
    if not os.path.exists(undo):
        return 0
    with open(undo, "rb") as f:
        log = list(changes(f.read()))
    lost = 0
    everything = random.randrange(2) == 0
    kept = {}  # sector: changes that stay
    for number, (offset, old) in enumerate(log):
        for begin, _ in sectors(offset, len(old)):
            kept.setdefault(begin // SECTOR, []).append(number)
    for sector, numbers in kept.items():
        count = 0 if everything else random.randrange(len(numbers) + 1)
        kept[sector] = set(numbers[:count])
    with open(path, "r+b") as f:
        for number in range(len(log) - 1, -1, -1):
            offset, old = log[number]
            for begin, stop in sectors(offset, len(old)):
                if number in kept[begin // SECTOR]:
                    continue
                f.seek(begin)
                f.write(old[begin - offset : stop - offset])
                lost += 1
    os.remove(undo)
    return lost


print(f"{sys.argv[1]}: {cut(sys.argv[1])} unsynced pieces of sectors lost")
