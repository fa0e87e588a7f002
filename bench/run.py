#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""run.py: measure duet beside its contestants, and draw it.

`make bench` calls it.  BENCH=full (twelve minutes), quick (two) or smoke
(seconds, to see that it still works; its figures mean nothing); DIR= is
the folder of the data files, which must be on the disk that is meant;
PARTS="jobs pauses figures growth counts" chooses.  Prints tables, and writes
results.json, data, plots and table.md to OUT (bench/out).
"""

import dataclasses
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import counts
import figures
import growth
import jobs
import pauses
import report
from measure import Meter
from servers import Failure, Tools, kill_all, wait_for

MIB, GIB = 1 << 20, 1 << 30
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@dataclasses.dataclass
class Scale:
    """How much of everything."""
    area: int          # bytes of the volume that jobs use
    rounds: int
    slice_s: float     # of one contestant at one job
    warm_s: float      # before it, not counted
    kills: int
    stops: int
    figure_s: float    # of one phase of a figure
    shares: tuple      # of conflicting writes, percent
    dirty: tuple       # bytes
    idle_s: float
    sizes: tuple       # of volumes
    starts: int
    counted: int       # requests whose costs are counted


SCALES = {
    'full': Scale(256 * MIB, 5, 0.4, 0.1, 30, 3, 4,
                  (0, 10, 25, 50, 75, 90, 100),
                  (10 * MIB, 100 * MIB, GIB, 4 * GIB), 3,
                  (GIB, 16 * GIB, 256 * GIB, 1024 * GIB), 4, 4000),
    'quick': Scale(128 * MIB, 3, 0.15, 0.05, 5, 1, 1, (0, 50, 100),
                   (10 * MIB, 100 * MIB), 1, (GIB, 256 * GIB), 2, 1000),
    'smoke': Scale(8 * MIB, 1, 0.03, 0, 1, 0, 0.1, (50,),
                   (4 * MIB,), 0.1, (64 * MIB,), 1, 50),
}
PARTS = {'jobs': jobs, 'pauses': pauses, 'figures': figures,
         'growth': growth, 'counts': counts}


class Bench:
    """What all parts use."""

    def __init__(self, mode, build, folder):
        self.mode = mode
        self.scale = SCALES[mode]
        self.tools = Tools(build, folder)
        self.meter = Meter(self.tools)
        self.begun = time.monotonic()

    def say(self, text):
        seconds = time.monotonic() - self.begun
        print(f'{seconds:6.1f} s  {text}', file=sys.stderr, flush=True)

    wait_for = staticmethod(wait_for)

    def fill(self, uri, size):
        """So that no write of a job has to allocate."""
        self.meter.load(uri, count=size // MIB, area=size, **growth.FILL)

    def stop_all(self):
        kill_all()
        for name in os.listdir(self.tools.folder):
            if not name.endswith('.log'):
                os.unlink(self.tools.path(name))


def show_logs(folder):
    """The last words of each server."""
    for name in sorted(os.listdir(folder)):
        if not name.endswith('.log'):
            continue
        with open(os.path.join(folder, name), encoding='utf-8',
                  errors='replace') as log:
            lines = log.readlines()[-5:]
        if lines:
            print(f'--- {name}', *lines, sep='\n', file=sys.stderr)


def first_line(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True,
                              check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return None


def machine(tools):
    """Where and with what this was measured."""
    with open('/proc/cpuinfo', encoding='utf-8') as lines:
        model = next((line.split(':')[1].strip() for line in lines
                      if line.startswith('model name')), platform.machine())
    memory = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    disk = first_line('findmnt', '-n', '-o', 'SOURCE,FSTYPE', '-T',
                      tools.folder)
    with open('/proc/loadavg', encoding='ascii') as load:
        load_average = load.read().split()[0]
    with open('/proc/sys/net/ipv4/tcp_congestion_control',
              encoding='ascii') as control:
        congestion = control.read().strip()
    return {
        'processors': f'{os.cpu_count()}x {model}',
        'memory_bytes': memory,
        'kernel': platform.release(),
        'data': ' '.join((disk or 'unknown').split()),
        'tcp': congestion,
        'load_average_before': float(load_average),
        'date': time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime()),
        'versions': {
            'duet': first_line('git', '-C', TOP, 'describe', '--always',
                               '--dirty'),
            'nbdkit': first_line(tools.nbdkit_program, '--version'),
            'qemu': first_line('qemu-nbd', '--version'),
            'libnbd': first_line('nbdcopy', '--version'),
            'compiler': first_line('gcc', '--version'),
        },
    }


def main():
    mode = os.environ.get('BENCH') or 'full'
    build = os.path.abspath(os.environ.get('BUILD', 'build'))
    out = os.path.abspath(os.environ.get('OUT') or f'{TOP}/bench/out')
    where = os.environ.get('DIR') or build
    parts = (os.environ.get('PARTS') or ' '.join(PARTS)).split()
    if mode not in SCALES or not set(parts) <= set(PARTS):
        sys.exit(__doc__)
    os.makedirs(out, exist_ok=True)
    os.makedirs(where, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = tempfile.mkdtemp(prefix='bench.', dir=where)
    bench = Bench(mode, build, folder)
    results = {'mode': mode, 'machine': machine(bench.tools)}
    try:
        for part in parts:
            results[part] = PARTS[part].run(bench)
        results['seconds'] = time.monotonic() - bench.begun
        report.write(results, out)
    except Failure as failure:
        show_logs(folder)
        sys.exit(f'bench: {failure}')
    finally:
        kill_all()
        shutil.rmtree(folder)


if __name__ == '__main__':
    main()
