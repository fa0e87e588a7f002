# SPDX-License-Identifier: BSD-3-Clause
"""The comparison: every job is done by every contestant in each round.

The order of the contestants changes from round to round, so that what the
machine does meanwhile meets all of them alike.
"""

from servers import Pair, has_mirror

KIB, MIB = 1024, 1024 * 1024
DEPTHS = (1, 4, 32, 128)

# Contestants, and what they are called.
LABELS = {
    'floor': 'floor',
    'file': 'nbdkit file, not durable',
    'fua': 'nbdkit file, durable',
    'qemunbd': 'qemu-nbd writethrough',
    'mirror': 'qemu-storage-daemon mirror',
    'duet': 'duet',
    'solo': 'duet, peer away',
    'proxy': 'duet through duetproxy',
    'nbdplugin': "duet through nbdkit's nbd",
    'file-unix': 'nbdkit file, unix',
    'fua-unix': 'nbdkit file, durable, unix',
    'duet-unix': 'duet, unix',
    'cached': 'duet, durability=flush',
    'lazy': 'the same, flush-after=1G',
    'cachedproxy': 'the same through duetproxy',
}

# What floor.c writes before each flush.
FLOOR_WRITES = 16

# Without any server (floor.c), and of how many files.
FLOORS = {'ping': 0, 'sync': 1, 'two': 2, 'deep': 2, 'bulk': 2}

WRITERS = ['fua', 'qemunbd', 'mirror', 'duet', 'proxy', 'nbdplugin']
READERS = ['file', 'qemunbd', 'mirror', 'duet', 'proxy', 'nbdplugin']


def job_list():
    """{name: (title, options of load, contestants)}"""
    jobs = {}
    for depth in DEPTHS:
        writers = WRITERS + ['solo'] + (['floor'] if depth == 1 else [])
        jobs[f'write-{depth}'] = (
            f'4K random write, depth {depth}',
            {'rw': 'write', 'depth': depth}, writers)
    jobs['write-8x16'] = (
        '4K random write, 8 clients of depth 16',
        {'rw': 'write', 'depth': 16, 'clients': 8}, ['fua', 'mirror', 'duet'])
    for depth in DEPTHS:
        jobs[f'read-{depth}'] = (
            f'4K random read, depth {depth}',
            {'rw': 'read', 'depth': depth}, READERS)
    for rw, single in (('write', 'fua'), ('read', 'file')):
        for depth in DEPTHS:
            others = ['mirror', 'nbdplugin'] if depth in (1, 32) else []
            jobs[f'{rw}-unaligned-{depth}'] = (
                f'4K random {rw} at 512-byte offsets, depth {depth}',
                {'rw': rw, 'depth': depth, 'shift': 512},
                [single, 'duet', 'proxy'] + others)
    for rw, contestants in (('write', WRITERS), ('read', READERS)):
        jobs[f'seq{rw}'] = (
            f'128K sequential {rw}, depth 8',
            {'rw': rw, 'size': 128 * KIB, 'depth': 8, 'order': 'sequential'},
            contestants)
    jobs['mixed'] = (
        '4K random, 70 % reads, depth 32',
        {'rw': 'mixed', 'depth': 32}, WRITERS)
    for job in ('write-1', 'write-32', 'read-1', 'read-32', 'seqwrite',
                'seqread', 'mixed'):
        title, options, _ = jobs[job]
        single = 'file' if 'read' in job else 'fua'
        jobs[job + '-unix'] = (title + ', unix socket', options,
                               [single + '-unix', 'duet-unix'])
    cached = ['file', 'cached', 'lazy', 'cachedproxy']
    jobs['cached-write-32'] = (
        '4K random write, not durable, depth 32',
        {'rw': 'write', 'depth': 32}, cached)
    jobs['cached-seqwrite'] = (
        '128K sequential write, not durable, depth 8',
        {'rw': 'write', 'size': 128 * KIB, 'depth': 8, 'order': 'sequential'},
        ['floor'] + cached)
    jobs['cached-flush'] = (
        f'flush after {FLOOR_WRITES} 4K random writes',
        {'rw': 'flush', 'depth': FLOOR_WRITES},
        ['floor', 'file', 'cached', 'cachedproxy'])
    return jobs


class Contest:
    """All contestants, running."""

    def __init__(self, bench):
        self.bench = bench
        tools, area = bench.tools, bench.scale.area
        self.floor_files = [tools.new_file(f'floor{i}', area, 64 * KIB)
                            for i in (0, 1)]
        self.uri = {}
        for suffix, start in (('', tools.nbdkit_tcp),
                              ('-unix', tools.nbdkit_unix)):
            file = tools.new_file('single' + suffix, area)
            self.uri['file' + suffix] = start('file' + suffix, 'file', file)
            self.uri['fua' + suffix] = start(
                'fua' + suffix, '--filter=fua', 'file', file, 'fuamode=force')
        self.uri['qemunbd'] = tools.qemu_nbd(
            'qemunbd', tools.new_file('qemunbd.img', area), 'writethrough')
        if has_mirror():
            self.uri['mirror'] = tools.mirror(
                'mirror', [tools.new_file(f'mirror{i}.img', area)
                           for i in (0, 1)])
        self.pairs = [Pair(tools, 'duet', area),
                      Pair(tools, 'solo', area, ['takeover=any']),
                      Pair(tools, 'unix', area, unix=True),
                      Pair(tools, 'cached', area, ['durability=flush']),
                      Pair(tools, 'lazy', area, ['durability=flush',
                                                 'flush-after=1G'])]
        for name, pair in zip(('duet', 'solo', 'duet-unix', 'cached', 'lazy'),
                              self.pairs):
            pair.start()
            self.uri[name] = pair.uri('a')
            bench.fill(pair.uri('a'), area)
        self.pairs[1].kill_node('b')
        # The first client makes it go on alone.
        bench.meter.load(self.uri['solo'], count=8)
        self.uri['proxy'] = self.pairs[0].start_proxy()
        self.uri['cachedproxy'] = self.pairs[3].start_proxy()
        self.uri['nbdplugin'] = tools.nbdkit_unix(
            'nbdplugin', 'nbd', 'uri=' + self.uri['duet'])

    def measure(self, contestant, options):
        scale = self.bench.scale
        if contestant == 'floor':
            kind = ('flush' if options['rw'] == 'flush'
                    else 'relay' if 'size' in options else 'pair')
            return self.bench.meter.floor(kind, scale.slice_s,
                                          *self.floor_files)
        return self.bench.meter.load(
            self.uri[contestant], area=scale.area, seconds=scale.slice_s,
            warm=scale.warm_s, **options)


def run(bench):
    """{job: {contestant: [figures of each round]}}, and the floors."""
    contest = Contest(bench)
    jobs = job_list()
    results = {name: {c: [] for c in contestants
                      if c == 'floor' or c in contest.uri}
               for name, (_, _, contestants) in jobs.items()}
    floors = {name: [] for name in FLOORS}
    for turn in range(bench.scale.rounds):
        bench.say(f'comparison: round {turn + 1} of {bench.scale.rounds}')
        for name, figures in floors.items():
            figures.append(bench.meter.floor(
                name, bench.scale.slice_s,
                *contest.floor_files[:FLOORS[name]]))
        for name, (_, options, _) in jobs.items():
            contestants = list(results[name])
            first = turn % len(contestants)
            for c in contestants[first:] + contestants[:first]:
                results[name][c].append(
                    contest.measure(c, dict(options, seed=turn + 1)))
    bench.stop_all()
    return {'jobs': results, 'floors': floors}
