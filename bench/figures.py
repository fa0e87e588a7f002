# SPDX-License-Identifier: BSD-3-Clause
"""What the course's figures need beyond the comparison: distributions of
latency, latency over time while nodes die, latency under conflicts.
"""

import time

from measure import percentile
from servers import Pair

BATCH, BATCH_US = 10, 20000  # conflicts: requests come ten at a time
CONFLICT_COUNT = 1000
BACKUP_AWAY = (0.45, 0.55)   # of the time of those requests


def summary(requests):
    took = [ms for _, ms, _ in requests]
    return {'count': len(took), 'p50_ms': percentile(took, 0.5),
            'p90_ms': percentile(took, 0.9), 'p99_ms': percentile(took, 0.99),
            'p999_ms': percentile(took, 0.999), 'max_ms': percentile(took, 1)}


def distribution(requests, points=200):
    """[(ms, part of the requests that took no longer)]"""
    took = sorted(ms for _, ms, _ in requests)
    steps = [i / points for i in range(points)] + [0.999, 1]
    return [(took[min(int(len(took) * p), len(took) - 1)], p) for p in steps]


class Stage:
    """A pair, its proxy, and one client of depth 1 that is watched."""

    def __init__(self, bench, name):
        self.bench = bench
        self.pair = Pair(bench.tools, name, bench.scale.area).start()
        self.uri = self.pair.start_proxy()
        bench.fill(self.uri, bench.scale.area)

    def begin(self, **options):
        self.marks = []
        self.load = self.bench.meter.begin_load(
            self.uri, self.bench.tools.path('stage.requests'),
            **{'area': self.bench.scale.area, 'seconds': 3600, **options})
        self.zero = time.monotonic()

    def mark(self, text):
        self.marks.append((time.monotonic() - self.zero, text))

    def end(self, wait=False):
        """[(seconds since begin, ms, kind)]"""
        _, requests = self.load.end(wait)
        return [(at - self.zero, ms, kind) for at, ms, kind in requests]


def latency(bench):
    """Reads and writes with both nodes alive, and writes with one."""
    stage = Stage(bench, 'latency')
    results = {}
    for name, uri, rw, depth in (
            ('read, direct', stage.pair.uri('a'), 'read', 1),
            ('read, proxy', stage.uri, 'read', 1),
            ('write, direct', stage.pair.uri('a'), 'write', 1),
            ('write, proxy', stage.uri, 'write', 1),
            ('write, proxy, depth 32', stage.uri, 'write', 32),
            ('write, proxy, one node', stage.uri, 'write', 1)):
        bench.say(f'figures: latency of {name}')
        if name.endswith('one node'):
            first, second = stage.pair.wait_primary()
            stage.pair.kill_node(second)
            bench.meter.load(stage.uri, count=8)
            assert stage.pair.state(first) == 'solo'
        load = bench.meter.begin_load(
            uri, bench.tools.path('latency.requests'), rw=rw, depth=depth,
            area=bench.scale.area, seconds=bench.scale.figure_s)
        _, requests = load.end(wait=True)
        results[name] = dict(summary(requests),
                             distribution=distribution(requests))
    return results


def killed(bench):
    """Latency over time; the primary is killed in the middle."""
    bench.say('figures: the primary is killed')
    stage = Stage(bench, 'killed')
    stage.begin(rw='mixed')
    time.sleep(bench.scale.figure_s)
    first, _ = stage.pair.wait_primary()
    stage.mark('primary killed')
    stage.pair.kill_node(first)
    time.sleep(bench.scale.figure_s)
    requests = stage.end()
    return {'marks': stage.marks, 'requests': requests,
            'summary': summary(requests)}


def transitions(bench):
    """Write latency through all changes of state."""
    bench.say('figures: all changes of state')
    stage, pause = Stage(bench, 'states'), bench.scale.figure_s
    pair = stage.pair
    stage.begin(rw='write')
    stage.mark('both up')
    time.sleep(pause)
    first, second = pair.wait_primary()
    stage.mark('backup dies')
    pair.kill_node(second)
    time.sleep(pause)
    stage.mark('backup is back')
    pair.start_node(second)
    pair.wait_insync()
    stage.mark('resync ends')
    time.sleep(pause)
    stage.mark('primary dies')
    pair.kill_node(first)
    time.sleep(pause)
    stage.mark('it is back')
    pair.start_node(first)
    pair.wait_insync()
    stage.mark('resync ends')
    time.sleep(pause)
    requests = stage.end()
    ends = [at for at, _ in stage.marks[1:]] + [requests[-1][0] + 1]
    phases = [dict(summary([r for r in requests if at <= r[0] < end]),
                   phase=text, begin=at)
              for (at, text), end in zip(stage.marks, ends)]
    return {'marks': stage.marks, 'requests': requests, 'phases': phases}


def conflicts(bench):
    """1000 writes, ten at a time, a share of them to one and the same
    block; the backup is away for a tenth of the time.
    """
    stage, rows = Stage(bench, 'conflict'), []
    length = CONFLICT_COUNT / BATCH * BATCH_US / 1e6
    for share in bench.scale.shares:
        bench.say(f'figures: {share} % conflicts')
        stage.pair.wait_insync()
        _, second = stage.pair.wait_primary()
        stage.begin(rw='write', hot=share, depth=BATCH, every=BATCH_US,
                    count=CONFLICT_COUNT)
        time.sleep(length * BACKUP_AWAY[0])
        stage.pair.kill_node(second)
        time.sleep(length * (BACKUP_AWAY[1] - BACKUP_AWAY[0]))
        stage.pair.start_node(second)
        rows.append(dict(summary(stage.end(wait=True)), share=share))
    return rows


def run(bench):
    results = {}
    for part in (latency, killed, transitions, conflicts):
        results[part.__name__] = part(bench)
        bench.stop_all()
    return results
