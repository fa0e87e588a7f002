# SPDX-License-Identifier: BSD-3-Clause
"""From results to tables, plots and results.json."""

import json
import os
import statistics

import plot
import reach
from jobs import DEPTHS, LABELS, job_list
from measure import ratios

MIB = 1 << 20


def table(head, rows):
    """Lines of a Markdown table, aligned."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows + [head])
              for i in range(len(head))]

    def line(cells, fill=' '):
        return '| ' + ' | '.join(cell.ljust(width, fill) for cell, width
                                 in zip(cells, widths)) + ' |'

    return [line(head), line([''] * len(head), '-')] + [
        line(row) for row in rows]


def section(title, head, rows):
    return ['', f'### {title}', ''] + table(head, list(rows))


def median(figures, field):
    return statistics.median(f[field] for f in figures)


# ---------------------------------------------------------------- tables

def machine_lines(results):
    machine = results['machine']
    lines = [f'{machine["processors"]}, '
             f'{machine["memory_bytes"] / (1 << 30):.0f} GiB, '
             f'Linux {machine["kernel"]}; data on {machine["data"]}; '
             f'TCP by {machine["tcp"]}; '
             f'load average before: {machine["load_average_before"]}.', '']
    lines += [f'* {name}: {version}' for name, version
              in machine['versions'].items()]
    if 'seconds' in results:
        lines.append(f'* {machine["date"]}, BENCH={results["mode"]}, '
                     f'{results["seconds"]:.0f} s')
    return lines


def reach_lines(results):
    words = {True: 'yes', False: 'no', None: '-'}
    rows = [(r['what'], r['value'], r['bound'], words[r['reached']])
            for r in results['reach']]
    return section('Reach', ['what', 'measured', 'goal', 'reached'], rows)


def jobs_lines(results):
    titles = job_list()
    lines = section('Floors', ['what', 'p50, us', 'p99, us', 'per second'], [
        (name, f'{median(f, "p50"):.0f}', f'{median(f, "p99"):.0f}',
         f'{median(f, "per_second"):.0f}')
        for name, f in results['jobs']['floors'].items()])
    for job, contestants in results['jobs']['jobs'].items():
        rows = []
        for name, figures in contestants.items():
            reference = ('duet-unix' if 'unix' in job
                         else 'cached' if job.startswith('cached') else 'duet')
            ratio = ratios([f['per_second'] for f in contestants[reference]],
                           [f['per_second'] for f in figures])
            rows.append((
                LABELS[name], f'{median(figures, "per_second"):.0f}',
                f'{median(figures, "bytes_per_second") / 1e6:.1f}',
                f'{median(figures, "p50"):.0f}',
                f'{median(figures, "p99"):.0f}',
                '' if name == reference or not ratio
                else reach.text(ratio, 'x')))
        lines += section(titles[job][0], [
            'contestant', 'per second', 'MB/s', 'p50, us', 'p99, us',
            'duet is'], rows)
    return lines


def pauses_lines(results):
    return section('Pauses, ms', ['event', 'times', 'median', 'least',
                                  'greatest'], [
        (kind, p['count'], f'{p["median"]:.1f}', f'{p["min"]:.1f}',
         f'{p["max"]:.1f}') for kind, p in results['pauses'].items()])


def latency_row(name, s):
    return (name, s['count'], *(f'{s[key]:.2f}' for key in (
        'p50_ms', 'p90_ms', 'p99_ms', 'p999_ms', 'max_ms')))


def figures_lines(results):
    head = ['count', 'p50', 'p90', 'p99', 'p99.9', 'max']
    figures = results['figures']
    lines = section('Latency, ms', ['requests'] + head, [
        latency_row(name, s) for name, s in figures['latency'].items()])
    lines += section('Write latency in all states, ms', ['phase'] + head, [
        latency_row(p['phase'], p) for p in figures['transitions']['phases']])
    lines += section('Conflicting writes, ms', ['share, %'] + head, [
        latency_row(c['share'], c) for c in figures['conflicts']])
    return lines


def growth_lines(results):
    growth = results['growth']
    lines = section('Resync against dirty bytes', [
        'dirty, MiB', 'seconds', 'MB/s', 'disk, MB/s', 'TCP, MB/s',
        'first time, s', 'under load, s', 'idle p99, ms', 'p99, ms',
        'longest, ms'], [
        (r['dirty'] // MIB, f'{r["seconds"]:.2f}',
         f'{r["bytes_per_second"] / 1e6:.0f}',
         f'{r["write_bytes_per_second"] / 1e6:.0f}',
         f'{r["stream_bytes_per_second"] / 1e6:.0f}',
         f'{r["first_seconds"]:.2f}', f'{r["loaded_seconds"]:.2f}',
         f'{r["idle_p99_ms"]:.2f}', f'{r["p99_ms"]:.2f}',
         f'{r["longest_ms"]:.1f}') for r in growth['dirty']])
    lines += section('Against volume size', [
        'size, GiB', 'dirty, MiB', 'resync, s', 'start, ms', 'memory, MiB'], [
        (f'{r["size"] / (1 << 30):g}', r['dirty'] // MIB,
         f'{r["seconds"]:.2f}', f'{r["start_s"]["median"] * 1e3:.1f}',
         f'{r["rss_bytes"] / MIB:.1f}') for r in growth['size']])
    lines += section('4K writes by clients of depth 4', [
        'clients', 'duet, per second', 'durable nbdkit file, per second'], [
        (r['clients'], f'{r["per_second"]["duet"]["median"]:.0f}',
         f'{r["per_second"]["fua"]["median"]:.0f}')
        for r in growth['clients']])
    return lines


def counts_lines(results):
    rows = []
    for job, r in results['counts'].items():
        for who, slept in r['sleeps'].items():
            calls = sorted(r['calls'].get(who, {}).items(),
                           key=lambda call: -call[1])
            if slept > 0.1 or any(n > 0.1 for _, n in calls):
                rows.append((job, who, f'{slept:.2f}', ', '.join(
                    f'{call} {n:.2f}' for call, n in calls if n >= 0.01)))
    lines = section('Costs of one request', [
        'request', 'process', 'sleeps', 'system calls'], rows)
    return lines + section('Counted by the nodes, for one request', [
        'request', 'what', 'primary', 'backup'], [
        (job, what.replace('_', ' '), f'{pair[0]:.2f}', f'{pair[1]:.2f}')
        for job, r in results['counts'].items()
        for what, pair in r['costs'].items()])


# ----------------------------------------------------------------- plots

def draw_jobs(out, results):
    jobs = results['jobs']['jobs']
    for rw in ('write', 'read'):
        names = [f'{rw}-{depth}' for depth in DEPTHS]
        plot.bars(out, f'{rw}s', f'4K random {rw}s', 'per second',
                  [f'depth {name.split("-")[1]}' for name in names],
                  {LABELS[c]: [median(jobs[name][c], 'per_second')
                               for name in names]
                   for c in jobs[names[-1]]})
    names = [f'write-{depth}' for depth in DEPTHS]
    plot.bars(out, 'nodes', 'Two nodes against one: 4K random writes',
              'per second', [name.replace('write-', 'depth ')
                             for name in names],
              {label: [median(jobs[name][c], 'per_second') for name in names]
               for label, c in (('duet, two nodes', 'duet'),
                                ('duet, one node', 'solo'),
                                ('nbdkit file, durable', 'fua'))})
    kinds = [(rw, depth) for rw in ('write', 'read') for depth in DEPTHS]
    plot.bars(out, 'unaligned', 'Aligned against unaligned: duet, 4K',
              'p50, us', [f'{rw}, depth {depth}' for rw, depth in kinds],
              {'aligned': [median(jobs[f'{rw}-{depth}']['duet'], 'p50')
                           for rw, depth in kinds],
               'at 512-byte offsets': [
                   median(jobs[f'{rw}-unaligned-{depth}']['duet'], 'p50')
                   for rw, depth in kinds]})


def draw_pauses(out, results):
    sets = []
    for kind, pause in results['pauses'].items():
        values = sorted(pause['ms'])
        sets.append((kind, [(f'{ms:.2f}', (i + 1) / len(values))
                            for i, ms in enumerate(values)], '1:2', 'steps'))
    plot.draw(out, 'pauses', "A client's pause when a node dies",
              ('pause, ms', 'part of the times'), sets, 'set logscale x')


def draw_figures(out, results):
    figures = results['figures']
    plot.draw(out, 'latency', 'Latency with both nodes alive, and with one',
              ('ms', 'part of the requests'),
              [(name, s['distribution'])
               for name, s in figures['latency'].items()], 'set logscale x')
    plot.timeline(out, 'killed', 'The primary is killed: 4K, 70 % reads, '
                  'depth 1, through the proxy', figures['killed'])
    plot.timeline(out, 'states', '4K writes, depth 1, through the proxy, '
                  'in all states', figures['transitions'])
    plot.draw(out, 'conflicts', '1000 writes, ten at a time; the backup is '
              'away for a tenth of the time',
              ('conflicting writes, %', 'latency, ms'),
              [(label, [(c['share'], c[key]) for c in figures['conflicts']])
               for label, key in (('p50', 'p50_ms'), ('p90', 'p90_ms'),
                                  ('p99', 'p99_ms'), ('max', 'max_ms'))],
              'set logscale y', 'linespoints pt 7')


def draw_growth(out, results):
    growth = results['growth']
    plot.draw(out, 'resync', 'Resync against dirty bytes',
              ('dirty, MiB', 'seconds'),
              [(label, [(r['dirty'] // MIB, r[key]) for r in growth['dirty']])
               for label, key in (('alone', 'seconds'),
                                  ('under load', 'loaded_seconds'))],
              'set logscale xy', 'linespoints pt 7')
    plot.draw(out, 'stall', '4K writes, depth 1, during a resync',
              ('dirty, MiB', 'latency, ms'),
              [(label, [(r['dirty'] // MIB, r[key]) for r in growth['dirty']])
               for label, key in (('idle p99', 'idle_p99_ms'),
                                  ('p99', 'p99_ms'),
                                  ('longest', 'longest_ms'))],
              'set logscale xy', 'linespoints pt 7')
    plot.draw(out, 'sizes', 'Against the size of the volume',
              ('GiB', ''),
              [('start, ms', [(r['size'] >> 20, r['start_s']['median'] * 1e3)
                              for r in growth['size']], '($1/1024):2'),
               ('memory, MiB', [(r['size'] >> 20, r['rss_bytes'] / MIB)
                                for r in growth['size']], '($1/1024):2'),
               ('resync, ms', [(r['size'] >> 20, r['seconds'] * 1e3)
                               for r in growth['size']], '($1/1024):2')],
              'set logscale xy', 'linespoints pt 7')
    plot.draw(out, 'clients', '4K random writes by clients of depth 4',
              ('clients', 'per second'),
              [(LABELS[name], [(r['clients'],
                                r['per_second'][name]['median'])
                               for r in growth['clients']])
               for name in ('duet', 'fua')],
              'set yrange [0:*]', 'linespoints pt 7')


LINES = {'jobs': jobs_lines, 'pauses': pauses_lines, 'figures': figures_lines,
         'growth': growth_lines, 'counts': counts_lines}
DRAW = {'jobs': draw_jobs, 'pauses': draw_pauses, 'figures': draw_figures,
        'growth': draw_growth}


def write(results, out):
    """Tables to standard output and table.md, plots, results.json."""
    parts = [part for part in LINES if part in results]
    results['reach'] = list(reach.rows(results))
    for part in parts:
        DRAW.get(part, lambda *_: None)(out, results)
    for stage in ('killed', 'transitions'):  # those are in the plots' data
        results.get('figures', {}).get(stage, {}).pop('requests', None)
    lines = machine_lines(results) + reach_lines(results)
    for part in parts:
        lines += LINES[part](results)
    with open(os.path.join(out, 'table.md'), 'w', encoding='utf-8') as file:
        file.write('\n'.join(lines) + '\n')
    with open(os.path.join(out, 'results.json'), 'w',
              encoding='utf-8') as file:
        json.dump(results, file, indent=1)
    print('\n'.join(lines))
