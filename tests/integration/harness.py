# SPDX-License-Identifier: Apache-2.0
"""Starts the real broker, on sockets of its own, and sees that it leaves nothing behind.

Nothing sleeps: readiness is the broker's READY=1, ends are waited for on a pidfd, and what
the broker has yet to notice is asked for over the control socket until it has.
"""

import contextlib
import ctypes
import json
import os
import pickle
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback

import pytest

import wire

# Uids that nothing else on the machine uses.
BROKER_UID, UID_A, UID_B = 61001, 61002, 61003
DEADLINE_S = 30
PAGE = wire.PAGE
MIB = 1 << 20

is_root = os.geteuid() == 0
needs_root = pytest.mark.skipif(not is_root, reason="acting as other users needs root")

libc = ctypes.CDLL(None, use_errno=True)
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4


# ---- programs -------------------------------------------------------------------------

class Programs:
    """Copies that every uid may execute, wherever the build directory is."""

    NAMES = ("SHMBROKERD", "SHMCAT", "SHMBROKERCTL", "CLIENT_SCENARIOS", "VICTIMS")

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="shmbroker-programs-")
        os.chmod(self.directory, 0o755)
        for name in self.NAMES:
            if os.environ.get(name):
                setattr(self, name.lower(), shutil.copy(os.environ[name], self.directory))
        library = os.environ.get("SHMCLIENT_LIBRARY")
        if library:
            shutil.copy(library, os.path.join(self.directory, "libshmclient.so.0"))

    @property
    def environment(self):
        return dict(os.environ, LD_LIBRARY_PATH=self.directory)

    def remove(self):
        shutil.rmtree(self.directory)


# ---- processes ------------------------------------------------------------------------

def become(uid):
    """In a forked child: that user and nobody else, and as open to debuggers as usual."""
    if uid is not None and is_root:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    libc.prctl(PR_SET_DUMPABLE, 1)


def wait_exit(process, seconds=DEADLINE_S):
    """The exit status, as subprocess says it."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


class Child:
    """A function in a process of its own, as another user if asked: for what must not share
    descriptors, mappings or rights with the test. Talks through `send` and `receive`."""

    def __init__(self, function, *arguments, uid=None):
        self.mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.mine.settimeout(DEADLINE_S)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(theirs, uid, function, arguments)
        theirs.close()
        self.over = False

    def _run(self, pipe, uid, function, arguments):
        status = 1
        try:
            signal.alarm(0)
            self.mine.close()
            become(uid)
            pipe.settimeout(DEADLINE_S)
            self.mine = pipe
            result = ("returned", function(self, *arguments))
            status = 0
        except BaseException as error:  # also pytest's own
            result = ("raised", f"{error!r}\n{traceback.format_exc()}")
        try:
            pipe.send(pickle.dumps(result))
        finally:
            os._exit(status)

    def send(self, value):
        self.mine.send(pickle.dumps(("said", value)))

    def receive(self):
        return self._take("said")

    def _take(self, wanted):
        data = self.mine.recv(1 << 18)
        assert data, "the other process is gone"
        kind, value = pickle.loads(data)
        assert kind != "raised", f"in the child: {value}"
        assert kind == wanted, (kind, value)
        return value

    def result(self):
        """What the function returned; raises what it raised."""
        try:
            return self._take("returned")
        finally:
            self.reap()

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)
        self.reap()

    def reap(self):
        if not self.over:
            self.over = True
            os.waitpid(self.pid, 0)
            self.mine.close()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        if not self.over:
            self.kill()


def run_as(uid, function, *arguments):
    with Child(lambda _, *a: function(*a), *arguments, uid=uid) as child:
        return child.result()


# ---- what the kernel says -------------------------------------------------------------

def open_descriptors(pid):
    """How many; of a process that is not this one, only root may ask: else always 0."""
    if pid != os.getpid() and not is_root:
        return 0
    return len(os.listdir(f"/proc/{pid}/fd"))


def host_shmem():
    with open("/proc/meminfo", encoding="ascii") as file:
        for line in file:
            if line.startswith("Shmem:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no Shmem in /proc/meminfo")


class MemoryGroup:
    """A memory cgroup for one broker: its shared memory, however many others run beside it.
    Where there is none to be had, `shmem` is None."""

    SLACK = 2 * MIB  # the kernel's own counting is that lazy
    _number = 0

    def __init__(self):
        self.path = None
        for base in self._bases():
            MemoryGroup._number += 1
            path = os.path.join(base, f"shmbroker-test-{os.getpid()}-{MemoryGroup._number}")
            try:
                os.mkdir(path)
            except OSError:
                continue
            self.path = path
            if self.shmem is not None:
                return
            self.remove()

    @staticmethod
    def _bases():
        with open("/proc/self/cgroup", encoding="utf-8") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if "memory" in controllers.split(","):
                    yield "/sys/fs/cgroup/memory" + path
                    yield "/sys/fs/cgroup/memory"
                elif controllers == "":
                    yield "/sys/fs/cgroup" + path

    def join(self):
        """In a forked child, still as root."""
        if self.path:
            with open(os.path.join(self.path, "cgroup.procs"), "w", encoding="ascii") as file:
                file.write(str(os.getpid()))

    @property
    def shmem(self):
        if not self.path:
            return None
        try:
            with open(os.path.join(self.path, "memory.stat"), encoding="ascii") as file:
                stat = dict(line.split() for line in file)
            return int(stat["shmem"])
        except (OSError, KeyError):
            return None

    def remove(self):
        if self.path:
            os.rmdir(self.path)
            self.path = None


# ---- the control socket ---------------------------------------------------------------

class VarlinkError(Exception):
    def __init__(self, name, parameters):
        self.name, self.parameters = name, parameters
        super().__init__(f"{name} {parameters}")


class Control:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self.socket.settimeout(DEADLINE_S)
        self.socket.connect(wire.address_of(path))
        self.rest = b""

    def close(self):
        self.socket.close()

    def call(self, method, **parameters):
        request = {"method": f"io.shmbroker.{method}", "parameters": parameters}
        self.socket.sendall(json.dumps(request).encode() + b"\0")
        while b"\0" not in self.rest:
            data = self.socket.recv(1 << 16)
            assert data, "the control connection was closed"
            self.rest += data
        message, self.rest = self.rest.split(b"\0", 1)
        reply = json.loads(message)
        if "error" in reply:
            raise VarlinkError(reply["error"], reply.get("parameters"))
        return reply["parameters"]

    def status(self):
        return self.call("Status")

    def memory(self, state):
        """(bytes, buffers) of all pools in that state."""
        amount = self.status()["memory"][state]
        return amount["bytes"], amount["buffers"]

    def until(self, what, condition, seconds=DEADLINE_S):
        """Asks again and again; each reply is a turn of the broker's event loop."""
        end = time.monotonic() + seconds
        while True:
            status = self.status()
            if condition(status):
                return status
            assert time.monotonic() < end, f"never {what}: {json.dumps(status)}"


# ---- the broker -----------------------------------------------------------------------

SANITIZERS = ("Sanitizer", "runtime error:")
sanitized = os.environ.get("SANITIZE", "none") != "none"


class Broker:
    """Ready when made. `stop` is part of each test: it checks what is left. With
    `tokens_may_stay` that may be what tokens hold that have a while to live."""

    def __init__(self, programs, *, uid=None, config="", arguments=(), tokens_may_stay=False,
                 directory=None):
        self.directory = directory or tempfile.mkdtemp(prefix="shmbroker-test-")
        os.chmod(self.directory, 0o755)
        self.path = os.path.join(self.directory, "broker.sock")
        self.control_path = os.path.join(self.directory, "control.sock")
        self.config_path = os.path.join(self.directory, "shmbrokerd.conf")
        self.stderr_path = os.path.join(self.directory, "stderr")
        self.uid = os.geteuid() if uid is None else uid
        self.tokens_may_stay = tokens_may_stay
        self.group = MemoryGroup()
        self.process = self.control = None
        with open(self.config_path, "w", encoding="utf-8") as file:
            file.write(config)
        if is_root:
            os.chown(self.directory, self.uid, self.uid)
        self._start(programs, uid, list(arguments))

    def _start(self, programs, uid, arguments):
        notify_path = os.path.join(self.directory, f"notify-{os.getpid()}-{time.monotonic_ns()}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(notify_path)
            os.chmod(notify_path, 0o666)

            def in_child():
                self.group.join()
                become(uid)

            with open(self.stderr_path, "wb") as stderr:
                self.process = subprocess.Popen(
                    [programs.shmbrokerd, "--socket", self.path, "--control",
                     self.control_path, "--config", self.config_path, *arguments],
                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr,
                    env=dict(programs.environment, NOTIFY_SOCKET=notify_path),
                    preexec_fn=in_child)
            try:
                self._wait_ready(notify)
                # The default mode is for the group; tests connect from anywhere.
                os.chmod(self.path, 0o666)
                os.chmod(self.control_path, 0o666)
                self.control = Control(self.control_path)
                self.control.until("preallocated",
                                   lambda s: s["memory"]["making"]["buffers"] == 0)
                self.preallocated = self.control.memory("total")[1]
                self.descriptors = open_descriptors(self.pid) - self.preallocated
            except BaseException:
                self.kill()
                raise

    @property
    def pid(self):
        return self.process.pid

    def stderr(self):
        with open(self.stderr_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def _wait_ready(self, notify):
        end = time.monotonic() + DEADLINE_S
        pidfd = os.pidfd_open(self.pid)
        try:
            while True:
                left = end - time.monotonic()
                assert left > 0, f"never ready: {self.stderr()}"
                ready, _, _ = select.select([notify, pidfd], [], [], left)
                if notify in ready and b"READY=1" in notify.recv(4096).split(b"\n"):
                    return
                assert pidfd not in ready, f"ended at once: {self.stderr()}"
        finally:
            os.close(pidfd)

    def client(self, **options):
        return wire.Client(self.path, **options)

    def snapshot(self):
        """What must be the same before and after something that comes to nothing. What is
        on its way out of use is waited for."""
        busy = ("making", "proving", "scrubbing", "quarantine", "retiring")
        status = self.control.until(
            "settled", lambda s: not any(s["memory"][state]["buffers"] for state in busy))
        return {
            "memory": status["memory"],
            "connections": status["connections"],
            "clients": status["clients"],
            "tokens": status["tokens"],
            "waiting": status["waiting"],
            "descriptors": open_descriptors(self.pid),
        }

    def until_nobody_holds(self):
        """All connections gone, and their buffers returned."""
        states = ["cached", "making", "proving", "scrubbing", "quarantine"]
        if not self.tokens_may_stay:
            states.append("held")
        self.control.until("left alone", lambda s: s["connections"] == 0 and not any(
            s["memory"][state]["buffers"] for state in states))

    def check_empty(self):
        """Nothing that tests used is left: to the broker, and to the kernel."""
        self.until_nobody_holds()
        self.control.call("Trim")
        status = self.control.until(
            "empty", lambda s: s["memory"]["total"] == s["memory"]["held"])
        left = status["memory"]["total"]
        assert left["buffers"] <= status["tokens"] and status["waiting"] == 0
        assert status["tokens"] == 0 or self.tokens_may_stay
        if is_root:
            assert open_descriptors(self.pid) == self.descriptors + left["buffers"]
        shmem = self.group.shmem
        assert shmem is None or shmem <= left["bytes"] + MemoryGroup.SLACK, shmem

    def stop(self):
        """Ends it as systemd would."""
        try:
            assert self.process.poll() is None, f"it died: {self.stderr()}"
            self.check_empty()
            self.control.close()
            self.process.send_signal(signal.SIGTERM)
            assert wait_exit(self.process) == 0, self.stderr()
            assert not os.path.exists(self.path) and not os.path.exists(self.control_path)
            text = self.stderr()
            assert not any(word in text for word in SANITIZERS), text
        finally:
            self.kill()

    def kill(self):
        """Leaves nothing of it, whatever state it is in."""
        if self.control:
            self.control.close()
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        with contextlib.suppress(OSError):
            self.group.remove()
        shutil.rmtree(self.directory, ignore_errors=True)


@contextlib.contextmanager
def running_broker(programs, **options):
    broker = Broker(programs, **options)
    try:
        yield broker
    except BaseException:
        print(broker.stderr(), file=sys.stderr)
        broker.kill()
        raise
    broker.stop()


def run(arguments, *, programs, broker=None, uid=None, stdin=b"", environment=None,
        seconds=DEADLINE_S):
    """A program to its end: (status, stdout, stderr as text)."""
    env = dict(programs.environment, **(environment or {}))
    if broker:
        env.update(SHMBROKER_SOCKET=broker.path, SHMBROKER_CONTROL=broker.control_path)
    done = subprocess.run(arguments, input=stdin, capture_output=True, env=env,
                          timeout=seconds, preexec_fn=lambda: become(uid), check=False)
    text = done.stderr.decode(errors="replace")
    assert not any(word in text for word in SANITIZERS), text
    return done.returncode, done.stdout, text
