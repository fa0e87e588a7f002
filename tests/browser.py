# SPDX-License-Identifier: BSD-3-Clause
#
# browser.py: headless Chromium, driven over its DevTools protocol through a
# pair of pipes, so that no port is opened.  Everything has a deadline.
import base64
import json
import os
import select
import subprocess
import tempfile
import time

FLAGS = ['--headless=new', '--no-sandbox', '--disable-gpu',
         '--disable-quic', '--no-first-run', '--disable-extensions',
         '--disable-background-networking', '--disable-component-update',
         '--disable-sync', '--disable-dev-shm-usage', '--mute-audio',
         '--disable-default-apps', '--no-default-browser-check',
         '--hide-scrollbars', '--remote-debugging-pipe']


class Browser:
    """A browser with one page; use it with "with"."""

    def __init__(self, program, patience=60):
        self.patience = patience
        self.profile = tempfile.TemporaryDirectory(prefix='duet-browser.')
        self.last_id = 0
        self.buffer = b''
        self.problems = []      # what the page complained of
        to_browser, self.out = os.pipe()
        self.inp, from_browser = os.pipe()
        # It reads from 3 and writes to 4.
        self.log = open(os.path.join(self.profile.name, 'log'), 'w+')
        command = ['bash', '-c', 'exec 3<&%d 4>&%d; exec "$@"' % (
            to_browser, from_browser), 'bash', program, *FLAGS,
            '--user-data-dir=' + self.profile.name, 'about:blank']
        self.process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=self.log,
            stderr=self.log, pass_fds=(to_browser, from_browser))
        os.close(to_browser)
        os.close(from_browser)
        self.session = None
        target = self.call('Target.createTarget', url='about:blank')
        self.session = self.call('Target.attachToTarget', flatten=True,
                                 targetId=target['targetId'])['sessionId']
        for domain in 'Page', 'Runtime', 'Log':
            self.call(domain + '.enable')

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()
        try:
            self.profile.cleanup()
        except OSError:         # a child of it may still write
            time.sleep(1)
            self.profile.cleanup()

    def read_message(self, deadline):
        while b'\0' not in self.buffer:
            left = deadline - time.monotonic()
            ready = left > 0 and select.select([self.inp], [], [], left)[0]
            part = os.read(self.inp, 1 << 20) if ready else b''
            if not part:
                self.log.flush()
                self.log.seek(0)
                raise RuntimeError('the browser does not answer: ' +
                                   self.log.read()[-2000:])
            self.buffer += part
        message, self.buffer = self.buffer.split(b'\0', 1)
        return json.loads(message)

    def note(self, message):
        """Remember errors of the page, the policy's refusals among them."""
        method, params = message.get('method'), message.get('params', {})
        if method == 'Runtime.exceptionThrown':
            self.problems.append(json.dumps(params['exceptionDetails']))
        elif method == 'Log.entryAdded' and \
                params['entry']['level'] == 'error' and \
                params['entry']['source'] != 'network':
            self.problems.append(params['entry']['text'])

    def call(self, method, **params):
        self.last_id += 1
        message = {'id': self.last_id, 'method': method, 'params': params}
        if self.session:
            message['sessionId'] = self.session
        os.write(self.out, json.dumps(message).encode() + b'\0')
        deadline = time.monotonic() + self.patience
        while True:
            answer = self.read_message(deadline)
            self.note(answer)
            if answer.get('id') == self.last_id:
                if 'error' in answer:
                    raise RuntimeError(f'{method}: {answer["error"]}')
                return answer['result']

    def size(self, width, height, phone=False):
        self.call('Emulation.setDeviceMetricsOverride', width=width,
                  height=height, deviceScaleFactor=2 if phone else 1,
                  mobile=phone)

    def dark(self, dark):
        self.call('Emulation.setEmulatedMedia', features=[
            {'name': 'prefers-color-scheme',
             'value': 'dark' if dark else 'light'}])

    def open(self, url):
        self.call('Page.navigate', url=url)
        self.wait('document.readyState == "complete" && '
                  f'location.href.startsWith ({json.dumps(url)})')

    def run(self, script):
        result = self.call('Runtime.evaluate', expression=script,
                           returnByValue=True, awaitPromise=True)
        if 'exceptionDetails' in result:
            raise RuntimeError(f'{script}: {result["exceptionDetails"]}')
        return result['result'].get('value')

    def wait(self, script, seconds=None):
        """Until SCRIPT is true."""
        deadline = time.monotonic() + (seconds or self.patience)
        while not self.run(script):
            if time.monotonic() > deadline:
                raise RuntimeError(f'waited in vain for {script}; the page '
                                   'says: ' +
                                   self.run('document.body.innerText'))
            time.sleep(0.05)

    def key(self, key):
        for kind in 'rawKeyDown', 'keyUp':
            self.call('Input.dispatchKeyEvent', type=kind, key=key, code=key)

    def picture(self, path, whole=False):
        shot = self.call('Page.captureScreenshot', format='png',
                         captureBeyondViewport=whole)
        with open(path, 'wb') as file:
            file.write(base64.b64decode(shot['data']))
