#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
#
# stand-in-systemctl.py: what docs/guide.md needs of systemctl, on machines
# of tests/guide-functions.sh, where no systemd runs.  Units are started as
# their files say: command, user, umask, capabilities, folders, socket; a
# start returns when the service has said that it is ready.  What systemd
# would confine further is not confined.
#
#   systemctl enable [--now] UNIT...    also start, at each boot
#   systemctl start [--no-block] UNIT...
#   systemctl stop|restart UNIT...
#   systemctl boot                      start what is enabled
import os
import pwd
import re
import signal
import socket
import sys
import time

UNITS = "/lib/systemd/system"
ENABLED = "/var/lib/stand-in"   # outlives a boot
STARTED = "/run/stand-in"
CAP_SYS_RESOURCE = 24           # linux/capability.h


def unit(name):
    """The settings of a unit: a list of values for each key."""
    prefix, at, instance = name.rsplit(".", 1)[0].partition("@")
    settings = {}
    with open("%s/%s%s.%s" % (UNITS, prefix, at, name.rsplit(".", 1)[1])) \
            as file:
        for line in file:
            if "=" in line and line[0] not in "#[":
                key, value = line.rstrip("\n").split("=", 1)
                for sign, text in ("%i", instance), ("%p", prefix), \
                        ("%H", os.uname().nodename):
                    value = value.replace(sign, text)
                settings.setdefault(key, []).append(value)
    return settings


def environment_of(settings):
    """What Environment= and EnvironmentFile= say, and no more."""
    found = dict(one.split("=", 1) for one in settings.get("Environment", []))
    for path in settings.get("EnvironmentFile", []):
        with open(path.lstrip("-")) as file:
            text = file.read().replace("\\\n", "")
        found.update(line.split("=", 1) for line in text.split("\n")
                     if "=" in line and line[0] != "#")
    return found


def full(name):
    return name if name.endswith((".service", ".socket")) \
        else name + ".service"


def make_folder(path, mode, user):
    os.makedirs(path, exist_ok=True)
    os.chmod(path, int(mode, 8))
    os.chown(path, user.pw_uid, user.pw_gid)


def listen_on(name):
    """The socket of the service's socket unit, if that was started."""
    name = name.replace(".service", ".socket")
    if not os.path.exists("%s/%s" % (STARTED, name)):
        return None
    settings = unit(name)
    path = settings["ListenStream"][0]
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.exists(path):
        os.unlink(path)
    one = socket.socket(socket.AF_UNIX)
    one.bind(path)
    os.chmod(path, int(settings["SocketMode"][0], 8))
    one.listen(128)
    return one


def run(settings, mark, user, one, log):
    """In the child: become the service, as a child of the first process.
    (nbdkit 1.32 ends with its parent.)"""
    os.setsid()
    first = os.getpid()
    child = os.fork()
    if child != 0:
        with open(mark, "w") as file:
            print(child, file=file)
        os._exit(0)
    while os.getppid() == first:
        time.sleep(0.01)
    os.umask(int(settings.get("UMask", ["0022"])[0], 8))
    null = os.open("/dev/null", os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    environment = environment_of(settings)
    command = []
    for word in settings["ExecStart"][0].split():
        if word[0] == "$":
            command += environment[word[1:]].split()
        else:
            command.append(word)
    environment.update({
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
        "NOTIFY_SOCKET": "%s/notify" % STARTED})
    if one is not None:
        # As number 3, alone.
        os.dup2(one.fileno(), 3)
        environment.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
    os.closerange(3 if one is None else 4, 1000)
    kept = ["+" + word.replace("CAP_", "").lower() for word in
            settings.get("AmbientCapabilities", [""])[0].split()]
    # A container may lack it, and cannot give it then.
    with open("/proc/self/status") as file:
        bounds = int(re.search(r"CapBnd:\s*(\w+)", file.read())[1], 16)
    kept = [word for word in kept
            if word != "+sys_resource" or bounds >> CAP_SYS_RESOURCE & 1]
    setpriv = ["setpriv", "--reuid", user.pw_name, "--regid", user.pw_name,
               "--init-groups", "--no-new-privs",
               "--bounding-set=" + ",".join(["-all"] + kept)]
    if kept:
        setpriv += ["--inh-caps=" + ",".join(["-all"] + kept),
                    "--ambient-caps=" + ",".join(["-all"] + kept)]
    os.execvpe("setpriv", setpriv + command, environment)


def is_alive(process):
    """Not even waiting for somebody who asks for its status."""
    try:
        with open("/proc/%d/stat" % process) as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def start(name, wait=True):
    settings = unit(name)
    mark = "%s/%s" % (STARTED, name)
    os.makedirs(STARTED, exist_ok=True)
    os.chmod(STARTED, 0o755)
    if name.endswith(".socket"):
        open(mark, "w").close()
        return
    user = pwd.getpwnam(settings["User"][0])
    for kind, above in ("State", "/var/lib"), ("Runtime", "/run"):
        for folder in settings.get(kind + "Directory", []):
            make_folder("%s/%s" % (above, folder),
                        settings[kind + "DirectoryMode"][0], user)
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = "%s/notify" % STARTED
    if os.path.exists(path):
        os.unlink(path)
    notify.bind(path)
    os.chmod(path, 0o777)
    one = listen_on(name)
    log = os.open("/var/log/%s.log" % name,
                  os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    child = os.fork()
    if child == 0:
        run(settings, mark, user, one, log)
    os.waitpid(child, 0)
    if not wait:
        return
    notify.settimeout(0.2)
    for _ in range(300):
        try:
            if b"READY=1" in notify.recv(4096):
                return
        except socket.timeout:
            pass
        if not is_alive(int(open(mark).read())):
            break
    sys.stderr.write(open("/var/log/%s.log" % name).read()[-2000:])
    sys.exit("systemctl: %s does not start" % name)


def stop(name):
    mark = "%s/%s" % (STARTED, name)
    if name.endswith(".service") and os.path.exists(mark):
        process = int(open(mark).read())
        os.kill(process, signal.SIGTERM)
        for _ in range(300):
            if not is_alive(process):
                break
            time.sleep(0.1)
    if os.path.exists(mark):
        os.unlink(mark)


def enable(name):
    os.makedirs(ENABLED, exist_ok=True)
    open("%s/%s" % (ENABLED, name), "w").close()


def main():
    command, now = sys.argv[1], "--now" in sys.argv
    wait = command != "boot" and "--no-block" not in sys.argv
    names = [full(arg) for arg in sys.argv[2:] if arg[:2] != "--"]
    if command == "boot":
        # Sockets first: .socket is after .service in the alphabet.
        names = sorted(os.listdir(ENABLED), reverse=True)
    for name in names:
        if command == "enable":
            enable(name)
        if command in ("stop", "restart"):
            stop(name)
        if command in ("start", "restart", "boot") or \
                command == "enable" and now:
            start(name, wait)
        elif command not in ("enable", "stop"):
            sys.exit("systemctl: %s: not here" % command)


main()
