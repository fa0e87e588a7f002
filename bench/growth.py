# SPDX-License-Identifier: BSD-3-Clause
"""What grows with what: resync, stalls, start, memory, clients."""

import time

from measure import percentile, spread
from servers import Pair

MIB = 1 << 20
FILL = {'rw': 'write', 'order': 'sequential', 'size': MIB, 'depth': 4,
        'seconds': 3600}


def make_dirty(bench, pair, dirty):
    """b is dead and lacks DIRTY bytes.  The first client makes a go on
    alone (takeover=any: none needs to be connected when b dies).
    """
    pair.kill_node('b')
    bench.meter.load(pair.uri('a'), area=dirty, count=dirty // MIB, **FILL)


def resync(pair):
    """Start b; (how long that took, seconds until both are in sync)."""
    begun = time.monotonic()
    start_s = pair.start_node('b')
    pair.wait_insync(600)
    return start_s, time.monotonic() - begun - start_s


def resync_by_dirty(bench):
    """Alone, and then again under a client at depth 1."""
    pair = Pair(bench.tools, 'growth', bench.scale.dirty[-1] * 2,
                ['takeover=any']).start()
    rows = []
    for dirty in bench.scale.dirty:
        bench.say(f'growth: resync of {dirty // MIB} MiB')
        probe = bench.tools.new_file('probe', min(dirty, 1024 * MIB))
        limit = [bench.meter.floor('write', min(dirty, 1024 * MIB), probe),
                 bench.meter.floor('stream', min(dirty, 1024 * MIB))]
        # The first time b's file has no space there yet, and on a virtual
        # machine the page cache may meet memory that the host has to find.
        make_dirty(bench, pair, dirty)
        _, first_seconds = resync(pair)
        make_dirty(bench, pair, dirty)
        _, seconds = resync(pair)
        row = {'dirty': dirty, 'first_seconds': first_seconds,
               'seconds': seconds,
               'bytes_per_second': dirty / seconds,
               'write_bytes_per_second': limit[0]['bytes_per_second'],
               'stream_bytes_per_second': limit[1]['bytes_per_second']}
        row.update(stall(bench, pair, dirty))
        rows.append(row)
    pair.stop()
    return rows


def stall(bench, pair, dirty):
    """4K writes at depth 1 over 64 MiB: idle, then while b is resynced."""
    options = {'rw': 'write', 'area': min(dirty, 64 * MIB)}
    idle = bench.meter.load(pair.uri('a'), seconds=bench.scale.idle_s,
                            **options)
    make_dirty(bench, pair, dirty)
    load = bench.meter.begin_load(pair.uri('a'),
                                  bench.tools.path('stall.requests'),
                                  seconds=3600, **options)
    begun = time.monotonic()
    _, seconds = resync(pair)
    ended = time.monotonic()
    _, requests = load.end()
    during = [took for at, took, _ in requests
              if at <= ended and at + took / 1e3 >= begun]
    return {'loaded_seconds': seconds,
            'idle_p99_ms': idle['p99'] / 1e3, 'idle_max_ms': idle['max'] / 1e3,
            'p50_ms': percentile(during, 0.5),
            'p99_ms': percentile(during, 0.99),
            'longest_ms': percentile(during, 1), 'writes': len(during)}


def resync_by_size(bench):
    """A constant amount of dirty bytes; start time and memory, too."""
    rows = []
    for size in bench.scale.sizes:
        bench.say(f'growth: a volume of {size // MIB} MiB')
        dirty = bench.scale.dirty[0]
        pair = Pair(bench.tools, 'size', size, ['takeover=any']).start()
        make_dirty(bench, pair, dirty)
        start_s, seconds = resync(pair)
        starts = [start_s]
        for _ in range(bench.scale.starts):
            pair.kill_node('b')
            starts.append(resync(pair)[0])
        rows.append({'size': size, 'dirty': dirty, 'seconds': seconds,
                     'start_s': spread(starts),
                     'rss_bytes': max(pair.status(node)['rss_bytes']
                                      for node in 'ab')})
        pair.stop()
    return rows


def clients(bench):
    """4K random writes by 1 to 8 clients of depth 4."""
    area, tools = bench.scale.area, bench.tools
    pair = Pair(tools, 'clients', area).start()
    uris = {'duet': pair.uri('a'),
            'fua': tools.nbdkit_tcp('fua', '--filter=fua', 'file',
                                    tools.new_file('single', area),
                                    'fuamode=force')}
    bench.fill(pair.uri('a'), area)
    rows = []
    for count in range(1, 9):
        bench.say(f'growth: {count} clients')
        figures = {name: [] for name in uris}
        for turn in range(bench.scale.rounds):
            for name in sorted(uris, reverse=turn % 2 == 1):
                figures[name].append(bench.meter.load(
                    uris[name], rw='write', depth=4, clients=count, area=area,
                    seconds=bench.scale.slice_s, warm=bench.scale.warm_s,
                    seed=turn + 1)['per_second'])
        rows.append({'clients': count, 'per_second': {
            name: spread(values) for name, values in figures.items()}})
    return rows


def run(bench):
    results = {'dirty': resync_by_dirty(bench)}
    bench.stop_all()
    results['size'] = resync_by_size(bench)
    bench.stop_all()
    results['clients'] = clients(bench)
    bench.stop_all()
    return results
