# SPDX-License-Identifier: BSD-3-Clause
"""The goals: a row for each, with what was measured beside it."""

from measure import ratios, spread

MIB = 1 << 20
DEAD_MS = 1000  # the default of dead=


def text(value, unit, field='median'):
    """Of a spread: FIELD, and least to greatest in parentheses if there
    are more than one.
    """
    digits = 2 if unit == 'x' else 1
    one = f'{value[field]:.{digits}f}{unit}'
    if value['count'] == 1:
        return one
    return f'{one} ({value["min"]:.{digits}f} to {value["max"]:.{digits}f})'


def row(what, value, unit, sign, bound, field='median'):
    """REACHED is None when there is nothing to compare."""
    if value is None:
        return {'what': what, 'value': 'not measured',
                'bound': f'{sign} {bound}{unit}', 'reached': None}
    number = value[field]
    return {'what': what, 'value': text(value, unit, field),
            'bound': f'{sign} {bound}{unit}', 'spread': value,
            'reached': number <= bound if sign == '<=' else number >= bound}


def to_floor(results, job, of, floor):
    """Requests per second of OF against what FLOOR could do of them."""
    return ratios([f['per_second'] for f in results['jobs']['jobs'][job][of]],
                  [f['per_second'] for f in results['jobs']['floors'][floor]])


def compare(results, job, of, to, field='per_second', to_job=None):
    jobs = results['jobs']['jobs']
    first = jobs[job].get(of)
    second = jobs[to_job or job].get(to)
    if not first or not second:
        return None
    return ratios([f[field] for f in first], [f[field] for f in second])


def job_rows(results):
    def against(job, of, to, **more):
        return compare(results, job, of, to, **more)

    yield row('4K write, depth 1: p50 to that of the floor',
              against('write-1', 'duet', 'floor', field='p50'),
              'x', '<=', 1.15)
    yield row('4K write, depth 32: to durable nbdkit file',
              against('write-32', 'duet', 'fua'), 'x', '>=', 1.5)
    yield row('4K write, depth 32: to what the disk takes of two copies',
              to_floor(results, 'write-32', 'duet', 'deep'), 'x', '>=', 0.8)
    yield row('4K write, depth 32: to the qemu mirror',
              against('write-32', 'duet', 'mirror'), 'x', '>=', 5)
    yield row('4K write: depth 128 to depth 32',
              against('write-128', 'duet', 'duet', to_job='write-32'),
              'x', '>=', 1)
    yield row('4K write: 8 clients of depth 16 to one of depth 32',
              against('write-8x16', 'duet', 'duet', to_job='write-32'),
              'x', '>=', 1)
    yield row('128K sequential write, depth 8: to durable nbdkit file',
              against('seqwrite', 'duet', 'fua'), 'x', '>=', 0.8)
    yield row('128K sequential write: to what the disk takes of two copies',
              to_floor(results, 'seqwrite', 'duet', 'bulk'), 'x', '>=', 0.8)
    for job, what in (('write-32', '4K write, depth 32'),
                      ('seqwrite', '128K sequential write, depth 8')):
        yield row(f'{what}, durability=flush: to nbdkit file',
                  against('cached-' + job, 'cached', 'file'), 'x', '>=', 0.6)
    yield row('128K sequential write, durability=flush: to the floor',
              against('cached-seqwrite', 'cached', 'floor'), 'x', '>=', 0.8)
    yield row('flush after 4K writes, durability=flush: p50 to that of '
              'two fdatasyncs', against('cached-flush', 'cached', 'floor',
                                        field='p50'), 'x', '<=', 1.15)
    for depth in (1, 32):
        yield row(f'4K read, depth {depth}: to nbdkit file',
                  against(f'read-{depth}', 'duet', 'file'), 'x', '>=', 0.97)
    for job, contestants in results['jobs']['jobs'].items():
        if 'proxy' in contestants and 'nbdplugin' in contestants:
            yield row(f"{job}: duetproxy to nbdkit's nbd plugin",
                      against(job, 'proxy', 'nbdplugin'), 'x', '>=', 1)


def growth_rows(results):
    for dirty in results['growth']['dirty']:
        size = f'{dirty["dirty"] // MIB} MiB'
        limit = min(dirty['write_bytes_per_second'],
                    dirty['stream_bytes_per_second'])
        yield row(f'resync of {size}: to the slower of disk and TCP',
                  spread([dirty['bytes_per_second'] / limit]), 'x', '>=', 0.8)
        yield row(f'write p99 in a resync of {size}: to idle',
                  spread([dirty['p99_ms'] / dirty['idle_p99_ms']]),
                  'x', '<=', 2)
        yield row(f'longest write in a resync of {size}',
                  spread([dirty['longest_ms']]), ' ms', '<=', 20)
    sizes = results['growth']['size']
    yield row('start, at any size',
              spread([s['start_s']['median'] * 1e3 for s in sizes]),
              ' ms', '<=', 50, 'max')
    memory = [s['rss_bytes'] / MIB for s in sizes if s['size'] <= 256 << 30]
    yield row('memory, up to 256 GiB', spread(memory), ' MiB', '<=', 64,
              'max')


def pause_rows(results):
    pauses = results['pauses']
    killed = pauses.get('primary killed')
    yield row('pause, primary killed: median', killed, ' ms', '<=', 20)
    yield row('pause, primary killed: longest', killed, ' ms', '<=', 100,
              'max')
    yield row('pause, primary stopped', pauses.get('primary stopped'), ' ms',
              '<=', DEAD_MS + 100, 'max')
    yield row('pause, backup killed', pauses.get('backup killed'), ' ms',
              '<=', 20, 'max')


def rows(results):
    for part, make in (('jobs', job_rows), ('growth', growth_rows),
                       ('pauses', pause_rows)):
        if part in results:
            yield from make(results)
