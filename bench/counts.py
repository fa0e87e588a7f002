# SPDX-License-Identifier: BSD-3-Clause
"""What one request costs: system calls (strace -c) and sleeps (context
switches, from /proc) of each process, fdatasyncs and frames.

Sleeps are counted without strace, whose influence on timing is large.
"""

import os
import re
import shutil
import signal
import subprocess

from servers import Pair, wait_for

JOBS = {
    'write, depth 1': ('duet', {'rw': 'write', 'depth': 1}),
    'write, depth 32': ('duet', {'rw': 'write', 'depth': 32}),
    'read, depth 1': ('duet', {'rw': 'read', 'depth': 1}),
    'write, depth 1, proxy': ('proxy', {'rw': 'write', 'depth': 1}),
    'read, depth 1, proxy': ('proxy', {'rw': 'read', 'depth': 1}),
    'write, depth 1, durability=flush': (
        'cached', {'rw': 'write', 'depth': 1}),
    'write, depth 32, durability=flush': (
        'cached', {'rw': 'write', 'depth': 32}),
    '128K sequential write, depth 8, durability=flush': (
        'cached', {'rw': 'write', 'size': 128 << 10, 'depth': 8,
                   'order': 'sequential'}),
}


def of_threads(pid, field):
    """{thread: FIELD in its status}, of those that still live."""
    values = {}
    for task in os.listdir(f'/proc/{pid}/task'):
        try:
            with open(f'/proc/{pid}/task/{task}/status',
                      encoding='ascii') as status:
                for value in re.findall(rf'^{field}:\s*(\d+)',
                                        status.read(), re.M):
                    values[task] = int(value)
        except (FileNotFoundError, ProcessLookupError):
            pass
    return values


def grown(before, after):
    """The sum of it in the threads that lived at both times: a thread of
    an earlier client may end in between.
    """
    return sum(value - before[task] for task, value in after.items()
               if task in before)


def costs(pair):
    """Requests of clients, {what: (primary, backup)} that nodes count."""
    status = [pair.status(node) for node in 'ab']
    figures = {'fdatasyncs': [s['fdatasyncs'] for s in status]}
    for name in ('sends', 'receives', 'frames_sent'):
        figures[name] = [s['link'][name] for s in status]
    kinds = status[0]['requests']
    return kinds['read']['count'] + kinds['write']['count'], figures


def trace(pids, outs, run):
    """Run RUN with strace -c on each of PIDS; {name: {call: count}}."""
    if not shutil.which('strace'):
        return {}
    tracers = [subprocess.Popen(
        ['strace', '-f', '-c', '-o', outs[name], '-p', str(pid)],
        stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for name, pid in pids.items()]
    for pid in pids.values():
        wait_for('strace is there',
                 lambda pid=pid: all(of_threads(pid, 'TracerPid').values()))
    run()
    calls = {}
    for tracer, name in zip(tracers, pids):
        tracer.send_signal(signal.SIGINT)
        tracer.wait()
        calls[name] = {}
        with open(outs[name], encoding='utf-8') as lines:
            for line in lines:
                match = re.match(r' *[\d.]+ +[\d.]+ +\d+ +(\d+).* (\w+)$',
                                 line)
                if match and match.group(2) != 'total':
                    calls[name][match.group(2)] = int(match.group(1))
    return calls


def asleep(bench, pair, pids, uri, options):
    """Sleeps and costs for one request, while a client is at work: a
    thread's figures are gone with it.
    """
    def sample():
        return costs(pair), {
            who: of_threads(pid, 'voluntary_ctxt_switches')
            for who, pid in pids.items()}

    def enough():
        return costs(pair)[0] >= done + bench.scale.counted

    done = costs(pair)[0]
    load = bench.meter.begin_load(uri, bench.tools.path('counts.requests'),
                                  **options)
    wait_for('the client is at work', lambda: costs(pair)[0] > done)
    (done, before), slept = sample()
    wait_for('requests are done', enough, pause=0.1)
    (count, after), slept_after = sample()
    load.end()
    count -= done
    return {
        'sleeps': {who: grown(slept[who], slept_after[who]) / count
                   for who in pids},
        'costs': {what: [(b - a) / count for a, b
                         in zip(before[what], after[what])]
                  for what in before}}


def started(bench, name, parameters=()):
    """A pair that is filled, and the processes of its nodes."""
    pair = Pair(bench.tools, name, bench.scale.area, parameters).start()
    bench.fill(pair.uri('a'), bench.scale.area)
    return pair, {'primary': pair.nodes['a'].process.pid,
                  'backup': pair.nodes['b'].process.pid}


def run(bench):
    pair, pids = started(bench, 'counts')
    cached, cached_pids = started(bench, 'cached', ['durability=flush'])
    targets = {'duet': (pair, pids, pair.uri('a')),
               'proxy': (pair, pids, pair.start_proxy()),
               'cached': (cached, cached_pids, cached.uri('a'))}
    pids['proxy'] = pair.proxy_servers[0].process.pid
    count = bench.scale.counted
    results = {}
    for name, (target, options) in JOBS.items():
        bench.say(f'counts: {name}')
        nodes, who, uri = targets[target]
        options = {'area': bench.scale.area, 'seconds': 3600, **options}

        def load(uri=uri, options=options):
            bench.meter.load(uri, count=count, **options)

        load()  # region bits are set from now on
        results[name] = asleep(bench, nodes, who, uri, options)
        calls = trace(who, {process: bench.tools.path(f'{process}.strace')
                            for process in who}, load)
        results[name]['calls'] = {
            process: {call: n / count for call, n in c.items()}
            for process, c in calls.items()}
    bench.stop_all()
    return results
