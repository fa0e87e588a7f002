# SPDX-License-Identifier: BSD-3-Clause
"""Plots: data and a gnuplot script beside each PNG, to draw it anew."""

import os
import shutil
import subprocess

from servers import Failure

HEAD = '''set terminal pngcairo size 900,540 font "DejaVu Sans,10"
set output "{name}.png"
set title "{title}"
set xlabel "{x}"
set ylabel "{y}"
set grid lc rgb "#dddddd"
set key outside bottom center horizontal
set border 3
set tics nomirror
'''


def draw(out, name, title, axes, sets, extra='', style='lines lw 2'):
    """SETS is [(label, [row of numbers or words], columns, style)]."""
    lines = [HEAD.format(name=name, title=title, x=axes[0], y=axes[1]), extra]
    data, parts = [], []
    for index, (label, rows, *more) in enumerate(sets):
        columns = more[0] if more else '1:2'
        how = more[1] if len(more) > 1 else style
        data.append('\n'.join(' '.join(map(str, row)) for row in rows))
        parts.append(f'"{name}.dat" index {index} using {columns} '
                     f'with {how} title "{label}"')
    with open(os.path.join(out, name + '.dat'), 'w', encoding='utf-8') as f:
        f.write('\n\n\n'.join(data) + '\n')
    with open(os.path.join(out, name + '.gp'), 'w', encoding='utf-8') as f:
        f.write('\n'.join(lines) + '\nplot ' + ', \\\n  '.join(parts) + '\n')
    if shutil.which('gnuplot'):
        done = subprocess.run(['gnuplot', name + '.gp'], cwd=out, text=True,
                              stderr=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise Failure(f'gnuplot {name}.gp: {done.stderr}')


def bars(out, name, title, y, groups, series):
    """GROUPS are names along the x axis; SERIES is {label: [value]}."""
    quoted = ['"' + group.replace('"', '') + '"' for group in groups]
    extra = ('set style data histograms\nset style histogram cluster gap 1\n'
             'set style fill solid 0.8\nset boxwidth 0.9\nset yrange [0:*]')
    sets = [(label, list(zip(quoted, values)), '2:xtic(1)', 'histograms')
            for label, values in series.items()]
    draw(out, name, title, ('', y), sets, extra)


def timeline(out, name, title, stage):
    """Requests over time; what happened as lines with words."""
    extra = ['set logscale y', 'set key off', 'set tmargin 6',
             'set title offset 0,2']
    for number, (at, mark) in enumerate(stage['marks']):
        extra.append(f'set arrow from {at:.3f}, graph 0 to {at:.3f}, graph 1 '
                     'nohead dt 2 lc rgb "#cc0000"')
        extra.append(f'set label "{mark}" at {at:.3f}, graph 1 '
                     f'offset 0.3,{0.6 + number % 2:.1f} font ",8"')
    sets = []
    for kind, label in (('w', 'writes'), ('r', 'reads')):
        rows = [(f'{at:.6f}', f'{ms:.4f}')
                for at, ms, k in stage['requests'] if k == kind]
        if rows:
            sets.append((label, rows, '1:2', 'points pt 7 ps 0.25'))
    if len(sets) > 1:
        extra[1] = ''
    draw(out, name, title, ('seconds', 'latency, ms'), sets,
         '\n'.join(extra))
