# SPDX-License-Identifier: BSD-3-Clause
"""How long a client waits when a node dies: kills and stops, one after
the other, under one client at depth 1 that writes through the proxy.
"""

import random
import signal
import time

from measure import longest, spread
from servers import DEFAULT_THREADS, Pair

SETTLE_S = 0.2  # after a takeover, before the dead node is started again


class Ordeal:
    def __init__(self, bench):
        self.bench = bench
        area = bench.scale.area
        self.pair = Pair(bench.tools, 'pauses', area, patient=False,
                         threads=DEFAULT_THREADS).start()
        uri = self.pair.start_proxy()
        bench.fill(uri, area)
        self.load = bench.meter.begin_load(
            uri, bench.tools.path('pauses.requests'), area=area, seconds=3600)
        self.strikes = {}

    def strike(self, kind, pick, act, recover):
        """Do ACT to the node that PICK chooses of (primary, backup), wait
        until the other one serves alone, RECOVER.
        """
        self.pair.wait_insync()
        node = pick(*self.pair.wait_primary())
        other = 'b' if node == 'a' else 'a'
        time.sleep(random.uniform(0.05, 0.15))
        begin = time.monotonic()
        act(node)
        self.bench.wait_for(f'{other} goes on alone',
                            lambda: self.pair.state(other) == 'solo')
        time.sleep(SETTLE_S)
        end = time.monotonic()
        recover(node)
        self.strikes.setdefault(kind, []).append((begin, end))

    def kill(self, kind, pick):
        self.strike(kind, pick, self.pair.kill_node, self.pair.start_node)

    def stop(self, kind, pick):
        def send(number):
            return lambda node: self.pair.nodes[node].signal(number)

        self.strike(kind, pick, send(signal.SIGSTOP), send(signal.SIGCONT))

    def end(self):
        """{kind: [pause in ms]}"""
        self.pair.wait_insync()
        _, requests = self.load.end()
        return {kind: [longest(requests, *strike) for strike in strikes]
                for kind, strikes in self.strikes.items()}


def run(bench):
    ordeal = Ordeal(bench)
    for turn in range(bench.scale.kills):
        bench.say(f'pauses: kill {turn + 1} of {bench.scale.kills}, twice')
        ordeal.kill('primary killed', lambda first, second: first)
        ordeal.kill('backup killed', lambda first, second: second)
    for turn in range(bench.scale.stops):
        bench.say(f'pauses: stop {turn + 1} of {bench.scale.stops}, twice')
        ordeal.stop('primary stopped', lambda first, second: first)
        ordeal.stop('backup stopped', lambda first, second: second)
    pauses = ordeal.end()
    bench.stop_all()
    return {kind: dict(spread(values), ms=values)
            for kind, values in pauses.items()}
