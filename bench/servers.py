# SPDX-License-Identifier: BSD-3-Clause
"""The processes that are measured: duet's pairs and their contestants.

Everything listens on loopback or on a unix socket in the bench's folder,
is a child of this process, and ends with it.
"""

import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time

PATIENCE_S = 60
# Of each connection, of every nbdkit here.  Its default, 16, would be the
# limit of what a deeper queue can show.  But where nodes die there is one
# request at a time, and a thousand threads that end and begin are half of a
# pause.
THREADS = 64
DEFAULT_THREADS = 16
PR_SET_PDEATHSIG = 1
libc = ctypes.CDLL(None)


class Failure(Exception):
    """The bench cannot go on; the text says why."""


def wait_for(what, condition, seconds=PATIENCE_S, pause=0.005):
    """Wait until CONDITION (a function) is true; its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f'waited {seconds} s in vain: {what}')
        time.sleep(pause)


used_ports = set()


def free_port():
    """Below the range that the kernel hands out by itself."""
    while True:
        port = random.randrange(20000, 32000)
        with socket.socket() as s:
            try:
                s.bind(('127.0.0.1', port))
            except OSError:
                continue
        if port not in used_ports:
            used_ports.add(port)
            return port


def tcp_uri(port):
    return f'nbd://127.0.0.1:{port}'


def unix_uri(path):
    return f'nbd+unix:///?socket={path}'


class Server:
    """One process, from when it is ready until it is killed."""

    running = []

    def __init__(self, name, argv, is_ready, log):
        self.name = name
        self.log = log
        with open(log, 'ab') as out:
            self.process = subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                preexec_fn=lambda: libc.prctl(PR_SET_PDEATHSIG,
                                              signal.SIGKILL))
        Server.running.append(self)
        wait_for(f'{name} is ready', lambda: self.is_dead() or is_ready(),
                 pause=0.0005)
        if self.is_dead():
            Server.running.remove(self)
            with open(log, encoding='utf-8', errors='replace') as lines:
                raise Failure(f'{name} did not start: ' + lines.read()[-500:])

    def is_dead(self):
        return self.process.poll() is not None

    def signal(self, number):
        self.process.send_signal(number)

    def kill(self):
        self.process.kill()
        self.process.wait()
        if self in Server.running:
            Server.running.remove(self)


def kill_all():
    for server in list(Server.running):
        server.kill()


class Tools:
    """Where things are, and how to start them."""

    def __init__(self, build, folder):
        self.build = build
        self.folder = folder
        self.nbdkit_program = os.path.join(build, 'nbdkit')
        self.duet = os.path.join(build, 'nbdkit-duet-plugin.so')
        self.duetproxy = os.path.join(build, 'nbdkit-duetproxy-plugin.so')

    def path(self, name):
        return os.path.join(self.folder, name)

    def new_file(self, name, size, piece=1 << 20):
        """A file whose blocks are allocated and written, in writes of
        PIECE: the page cache keeps what came in one write in one folio, and
        small writes into large folios cost more.
        """
        path = self.path(name)
        block = random.Random(1).randbytes(piece)
        with open(path, 'wb', buffering=0) as file:
            for _ in range(size // piece):
                file.write(block)
            os.fdatasync(file.fileno())
        return path

    def sparse_file(self, name, size):
        path = self.path(name)
        with open(path, 'wb') as file:
            file.truncate(size)
        return path

    def nbdkit(self, name, *args, threads=THREADS):
        pid_file = self.path(name + '.pid')
        if os.path.exists(pid_file):
            os.unlink(pid_file)

        def is_ready():
            return os.path.exists(pid_file) and os.path.getsize(pid_file) > 0

        return Server(name, [self.nbdkit_program, '-f', '-P', pid_file,
                             '-t', str(threads), *args],
                      is_ready, self.path(name + '.log'))

    def nbdkit_tcp(self, name, *args):
        """Its URI."""
        port = free_port()
        self.nbdkit(name, '-i', '127.0.0.1', '-p', str(port), *args)
        return tcp_uri(port)

    def nbdkit_unix(self, name, *args, threads=THREADS):
        path = self.path(name + '.sock')
        self.nbdkit(name, '-U', path, *args, threads=threads)
        return unix_uri(path)

    def listening(self, name, family, address, argv):
        """A server without a pid file: ready when it accepts."""
        def is_ready():
            with socket.socket(family) as s:
                return s.connect_ex(address) == 0

        return Server(name, argv, is_ready, self.path(name + '.log'))

    def qemu_nbd(self, name, file, cache):
        port = free_port()
        self.listening(name, socket.AF_INET, ('127.0.0.1', port), [
            'qemu-nbd', '-t', '-e', '64', '-f', 'raw', f'--cache={cache}',
            '-b', '127.0.0.1', '-p', str(port), file])
        return tcp_uri(port)

    def mirror(self, name, files):
        """qemu-storage-daemon's quorum driver over two NBD exports.

        Every write is followed by a flush, which reaches both, before it
        is answered; reads ask one of the two.  All over unix sockets: qemu
        7.2 does not set TCP_NODELAY, and with more than one request in
        flight it waited 40 ms for acknowledgements of TCP.
        """
        path = self.path(name + '.sock')
        argv = ['qemu-storage-daemon']
        for number, file in enumerate(files):
            backend = self.path(f'{name}{number}.sock')
            self.listening(f'{name}{number}', socket.AF_UNIX, backend, [
                'qemu-nbd', '-t', '-e', '64', '-f', 'raw',
                '--cache=writeback', '-k', backend, file])
            argv += ['--blockdev', f'driver=nbd,node-name=n{number},'
                     f'server.type=unix,server.path={backend}']
        argv += ['--blockdev', 'driver=quorum,node-name=q,vote-threshold=2,'
                 'read-pattern=fifo,children.0=n0,children.1=n1',
                 '--nbd-server', f'addr.type=unix,addr.path={path},'
                 'max-connections=64',
                 '--export', 'type=nbd,id=e,node-name=q,name=,writable=on,'
                 'writethrough=on']
        self.listening(name, socket.AF_UNIX, path, argv)
        return unix_uri(path)


def has_mirror():
    return all(map(shutil.which, ('qemu-storage-daemon', 'qemu-nbd')))


class Pair:
    """Two duet nodes, a and b, and a proxy if asked for.

    With PATIENT, a node that is not scheduled for a second, or is stopped
    by strace, does not count as dead; one that is killed does, since its
    link is closed.
    """

    def __init__(self, tools, name, size, parameters=(), unix=False,
                 patient=True, threads=THREADS):
        self.threads = threads
        self.tools = tools
        self.name = name
        self.size = size
        self.parameters = list(parameters)
        if patient:
            self.parameters.append('dead=10000')
        self.is_unix = unix
        self.nodes = {}
        self.port = {node: free_port() for node in 'ab'}
        self.link_port = {node: free_port() for node in 'ab'}
        self.proxy_servers = []

    def path(self, node, suffix):
        return self.tools.path(f'{self.name}-{node}.{suffix}')

    def uri(self, node):
        if self.is_unix:
            return unix_uri(self.path(node, 'sock'))
        return tcp_uri(self.port[node])

    def start_node(self, node):
        """How many seconds it took until it was ready."""
        other = 'b' if node == 'a' else 'a'
        if os.path.exists(self.path(node, 'ctl')):
            os.unlink(self.path(node, 'ctl'))
        if self.is_unix:
            where = ['-U', self.path(node, 'sock')]
            if os.path.exists(self.path(node, 'sock')):
                os.unlink(self.path(node, 'sock'))
        else:
            where = ['-i', '127.0.0.1', '-p', str(self.port[node])]
        begun = time.monotonic()
        self.nodes[node] = self.tools.nbdkit(
            f'{self.name}-{node}', *where, self.tools.duet,
            'file=' + self.path(node, 'img'), f'size={self.size}',
            f'listen=127.0.0.1:{self.link_port[node]}',
            f'peer=127.0.0.1:{self.link_port[other]}',
            'control=' + self.path(node, 'ctl'), *self.parameters,
            threads=self.threads)
        return time.monotonic() - begun

    def start(self):
        for node in 'ab':
            self.start_node(node)
        self.wait_insync()
        return self

    def start_proxy(self, name='proxy'):
        """Its URI."""
        name = f'{self.name}-{name}'
        uri = self.tools.nbdkit_unix(
            name, self.tools.duetproxy, 'node=' + self.uri('a'),
            'node=' + self.uri('b'), 'state=' + self.tools.path(name + '.st'),
            threads=self.threads)
        self.proxy_servers.append(Server.running[-1])
        return uri

    def kill_node(self, node):
        self.nodes.pop(node).kill()

    def status(self, node):
        """Its status, or nothing when it does not answer."""
        try:
            with socket.socket(socket.AF_UNIX) as s:
                s.settimeout(2)
                s.connect(self.path(node, 'ctl'))
                s.sendall(b'{"command": "status"}\n')
                with s.makefile() as answer:
                    return json.loads(answer.readline())
        except (OSError, ValueError):
            return {}

    def state(self, node):
        return self.status(node).get('state')

    def is_insync(self):
        for node in 'ab':
            status = self.status(node)
            if (status.get('state') not in ('primary', 'backup')
                    or len(status['members']) != 2
                    or not status['peer']['connected']
                    or status['resync'] is not None):
                return False
        return True

    def wait_insync(self, seconds=PATIENCE_S):
        return wait_for(f'{self.name} is in sync', self.is_insync, seconds,
                        0.01)

    def primary(self):
        """(node that serves, the other one)."""
        for node, other in ('ab', 'ba'):
            if self.state(node) in ('primary', 'solo'):
                return node, other
        return None

    def wait_primary(self):
        return wait_for(f'{self.name} has a primary', self.primary)

    def stop(self):
        for server in self.proxy_servers + list(self.nodes.values()):
            server.kill()
        for node in 'ab':
            for suffix in ('img', 'img.duet'):
                if os.path.exists(self.path(node, suffix)):
                    os.unlink(self.path(node, suffix))
