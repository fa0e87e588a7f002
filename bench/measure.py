# SPDX-License-Identifier: BSD-3-Clause
"""One measurement, and what many of them say."""

import json
import os
import statistics
import subprocess

from servers import Failure, wait_for


class Meter:
    """Runs load and floor; see their sources for what they print."""

    def __init__(self, tools):
        self.tools = tools

    def _argv(self, program, args, options):
        return ([os.path.join(self.tools.build, 'bench', program)]
                + [str(arg) for arg in args]
                + [f'{name}={value}' for name, value in options.items()])

    def _run(self, argv):
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=600, check=False)
        if done.returncode != 0:
            raise Failure(f'{" ".join(argv)}: {done.stderr.strip()}')
        return json.loads(done.stdout)

    def load(self, uri, **options):
        return self._run(self._argv('load', [uri], options))

    def floor(self, *args):
        return self._run(self._argv('floor', args, {}))

    def begin_load(self, uri, log, **options):
        """In the background, until end_load; each request is logged."""
        return Load(self._argv('load', [uri], dict(options, log=log)), log)


class Load:
    """A load in the background, from its first request on."""

    def __init__(self, argv, log):
        self.log = log
        if os.path.exists(log):
            os.unlink(log)
        self.process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        wait_for('the load begins', lambda: os.path.exists(log)
                 or self.process.poll() is not None, pause=0.001)

    def end(self, wait=False):
        """(its line of figures, its requests), after it was told to end;
        WAIT: it ends by itself.
        """
        if not wait:
            self.process.terminate()
        out, err = self.process.communicate(timeout=120)
        if self.process.returncode != 0:
            raise Failure(f'load: {err.strip()}')
        return json.loads(out), read_log(self.log)


def read_log(path):
    """[(when it began, seconds; milliseconds that it took; 'r' or 'w')]."""
    requests = []
    with open(path, encoding='ascii') as lines:
        for line in lines:
            begun, took, kind = line.split()
            requests.append((float(begun) / 1e6, float(took) / 1e3, kind))
    return requests


def longest(requests, begin, end):
    """The longest wait, in ms, of a request that was in flight somewhere
    between BEGIN and END; 0 if there was none.
    """
    return max((took for begun, took, _ in requests
                if begun <= end and begun + took / 1e3 >= begin), default=0)


def percentile(values, part):
    """By nearest rank; 0 of nothing."""
    ordered = sorted(values)
    if not ordered:
        return 0
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]


def spread(values):
    """Median, least and greatest of VALUES."""
    return {'median': statistics.median(values), 'min': min(values),
            'max': max(values), 'count': len(values)}


def ratios(of, to):
    """Spread of the ratios of two lists, taken round by round."""
    pairs = [a / b for a, b in zip(of, to) if b > 0]
    return spread(pairs) if pairs else None
