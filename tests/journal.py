#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
#
# journal.py run URI LOG | verify URI-OR-FILE LOG: a client that writes as
# file systems do, and relies on flushes alone.
#
# There are FILES files, each with two places and a header.  A new version
# of one goes to the place that the header does not name; flush; the header
# names it; flush.  Only then is it committed, and a line of LOG says so.
# Whatever crashes, a header names a version that is whole, and none older
# than what LOG has for it.

import os
import random
import struct
import sys

import nbd

FILES = 24
PLACE = 96 * 1024
FILE = 4096 + 2 * PLACE


class Disk:
    """The volume by NBD, or a node's data file."""

    def __init__(self, where):
        self.h = self.f = None
        if "://" in where:
            self.h = nbd.NBD()
            self.h.connect_uri(where)
        else:
            self.f = open(where, "rb")

    def read(self, length, offset):
        if self.h:
            return bytes(self.h.pread(length, offset))
        self.f.seek(offset)
        return self.f.read(length)


def block(file, version):
    return struct.pack("<QQ", file, version) * 256


def header(disk, file):
    """Version that the file's header names, and its place."""
    data = disk.read(4096, file * FILE)
    name, version = struct.unpack("<QQ", data[:16])
    if version == 0:
        return 0, 0
    if data != block(file, version) or name != file:
        sys.exit(f"file {file}: its header is torn")
    return version, version % 2


def committed(log):
    newest = [0] * FILES
    if os.path.exists(log):
        with open(log) as f:
            for line in f:
                file, version = (line.split() + ["", ""])[:2]
                if line.endswith("\n"):
                    newest[int(file)] = int(version)
    return newest


def verify(where, log):
    disk = Disk(where)
    lost = 0
    for file, newest in enumerate(committed(log)):
        version, place = header(disk, file)
        if version < newest:
            sys.exit(f"{where}: file {file} has version {version}, "
                     f"{newest} was committed")
        if version == 0:
            continue
        at = file * FILE + 4096 + place * PLACE
        if disk.read(PLACE, at) != block(file, version) * (PLACE // 4096):
            sys.exit(f"{where}: file {file}, version {version} is not whole")
        lost += version > newest
    print(f"{where}: all {sum(committed(log))} commits are there, "
          f"{lost} more were under way")


def run(uri, log):
    disk = Disk(uri)
    h = disk.h
    versions = [header(disk, file)[0] for file in range(FILES)]
    with open(log, "a") as f:
        while True:
            file = random.randrange(FILES)
            version = versions[file] + 1
            place = file * FILE + 4096 + version % 2 * PLACE
            parts = list(range(0, PLACE, 4096 * 4))
            random.shuffle(parts)
            cookies = [
                h.aio_pwrite(nbd.Buffer.from_bytearray(
                    bytearray(block(file, version) * 4)), place + part)
                for part in parts
            ]
            for cookie in cookies:
                while not h.aio_command_completed(cookie):
                    h.poll(-1)
            h.flush()
            # Either way of NBD to ask for it.
            if random.randrange(2):
                h.pwrite(block(file, version), file * FILE, nbd.CMD_FLAG_FUA)
            else:
                h.pwrite(block(file, version), file * FILE)
                h.flush()
            f.write(f"{file} {version}\n")
            f.flush()
            versions[file] = version


if sys.argv[1] == "run":
    run(*sys.argv[2:])
else:
    verify(*sys.argv[2:])
