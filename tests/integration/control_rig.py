# SPDX-License-Identifier: Apache-2.0
"""A broker of one's own, its control socket, and a small client of the data protocol.

Programs are named by $SHMBROKERD and $SHMBROKERCTL, else taken from build/.
"""
import contextlib
import json
import mmap
import os
import pathlib
import resource
import secrets
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOBODY = 4242  # a uid that is neither root nor the broker
# A client is two descriptors here, and there may be a thousand.
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))

WORD_SHARED, WORD_IDLE = 2, 3  # states of the lease page
RELEASE_KEEP = 1
EXPORT_ONCE = 1


def program(variable, path):
    return os.environ.get(variable) or str(ROOT / "build" / path)


def shmbrokerd():
    return program("SHMBROKERD", "daemon/shmbrokerd")


def shmbrokerctl():
    return program("SHMBROKERCTL", "daemon/ctl/shmbrokerctl")


class ControlError(Exception):
    def __init__(self, name, parameters):
        super().__init__(name, parameters)
        self.name, self.parameters = name, parameters


class Ended(Exception):
    """The other side closed the connection."""


@contextlib.contextmanager
def as_uid(uid):
    """What is connected in it belongs to that user."""
    if uid is None:
        yield
        return
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


def until(condition, seconds=10, or_tell=lambda: "it did not come about in time"):
    """Asks again and again; each question is a round trip to the broker or the kernel."""
    deadline = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, or_tell()


class Control:
    """A connection to the control socket."""

    def __init__(self, path, uid=None):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        with as_uid(uid):
            self.socket.connect(path)
        self.data = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, message):
        self.socket.sendall(json.dumps(message).encode() + b"\0")

    def receive(self):
        while b"\0" not in self.data:
            try:
                part = self.socket.recv(1 << 18)
            except ConnectionResetError:
                part = b""
            if not part:
                raise Ended()
            self.data += part
        message, _, self.data = self.data.partition(b"\0")
        return json.loads(message)

    def call_full(self, method, **parameters):
        self.send({"method": method, "parameters": parameters})
        reply = self.receive()
        if "error" in reply:
            raise ControlError(reply["error"], reply["parameters"])
        return reply["parameters"]

    def call(self, method, **parameters):
        return self.call_full("io.shmbroker." + method, **parameters)

    def all(self, method, key, **parameters):
        """Every entry of a list, and how many replies that took."""
        entries, replies = [], 0
        while True:
            page = self.call(method, **parameters)
            entries += page[key]
            replies += 1
            if "next" not in page:
                return entries, replies
            parameters["after"] = page["next"]

    def ended(self):
        """Reads whatever is left; it has to end."""
        with contextlib.suppress(Ended):
            while True:
                self.receive()
        return True


class Refused(Exception):
    pass


class Grant:
    def __init__(self, payload, fd):
        (self.slot, self.generation, self.object, self.capacity, self.length, self.floor,
         self.pool, self.flags) = struct.unpack("<IIQQQQII", payload)
        self.fd = fd

    @property
    def ref(self):
        return struct.pack("<II", self.slot, self.generation)


class Client:
    """A connection to the data socket; as much of the protocol as these tests need."""

    HELLO, ALLOC, RELEASE, EXPORT, IMPORT, FD, REVOKE = 1, 2, 4, 5, 6, 7, 8
    WELCOME, GRANT, ERROR, DONE, RECLAIM, DESCRIPTOR = 0x81, 0x82, 0x83, 0x84, 0x85, 0x86

    def __init__(self, path, name="test", slots=0, uid=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.socket.settimeout(20)
        with as_uid(uid):
            self.socket.connect(path)
        self.serial = 0
        payload, fd = self.ask(self.HELLO, struct.pack("<IHHII", 0x424d4853, 1, 1, slots, 0) +
                               self.string(name), self.WELCOME)
        self.slots, = struct.unpack_from("<I", payload, 4)
        self.id, = struct.unpack("<Q", payload[-8:])
        self.page = mmap.mmap(fd, os.fstat(fd).st_size)
        os.close(fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.page.close()
        self.socket.close()

    @staticmethod
    def string(text):
        return struct.pack("<H", len(text)) + text.encode()

    def send(self, opcode, payload, flags=0):
        self.serial += 1
        self.socket.send(struct.pack("<HHI", opcode, flags, self.serial) + payload)
        return self.serial

    def ask(self, opcode, payload, expected, flags=0):
        """The answer's payload and descriptor; what comes unasked is passed over."""
        serial = self.send(opcode, payload, flags)
        while True:
            packet, fds, _, _ = socket.recv_fds(self.socket, 2048, 1)
            if not packet:
                raise Ended()
            what, _, answered = struct.unpack_from("<HHI", packet)
            if answered != serial:
                for fd in fds:
                    os.close(fd)
                continue
            if what == self.ERROR:
                status, = struct.unpack_from("<I", packet, 8)
                raise Refused(status, packet[30:].decode())
            assert what == expected
            return packet[8:], fds[0] if fds else -1

    def grant(self, opcode, payload):
        payload, fd = self.ask(opcode, payload, self.GRANT)
        if fd >= 0:
            os.close(fd)
        return Grant(payload, fd)

    def alloc(self, size, pool="default", timeout_ns=0):
        return self.grant(self.ALLOC, struct.pack("<QQI", size, timeout_ns, 0) +
                          self.string(pool))

    def export(self, grant, flags=0, ttl_ms=60000):
        token = secrets.token_bytes(16)
        self.ask(self.EXPORT, grant.ref + token +
                 struct.pack("<IQQ", flags, ttl_ms, grant.length), self.DONE, 1)
        return token

    def revoke(self, token):
        self.ask(self.REVOKE, token, self.DONE, 1)

    def imports(self, token):
        return self.grant(self.IMPORT, token + struct.pack("<I", 0))

    def release(self, grant, flags=0):
        self.ask(self.RELEASE, struct.pack("<HH", 1, 0) + grant.ref + struct.pack("<I", flags),
                 self.DONE, 1)

    def raw_fd(self, grant):
        return self.ask(self.FD, grant.ref + struct.pack("<I", 0), self.DESCRIPTOR)[1]

    def set_word(self, grant, state):
        self.page[8 * grant.slot:8 * grant.slot + 8] = struct.pack("<Q", state)


class Broker:
    """A broker in a directory of its own, which others may enter."""

    def __init__(self, config=""):
        self.directory = tempfile.mkdtemp(prefix="control.")
        os.chmod(self.directory, 0o755)
        self.socket = self.directory + "/broker.sock"
        self.control = self.directory + "/control.sock"
        self.log = self.directory + "/log"
        self.config = self.directory + "/config"
        pathlib.Path(self.config).write_text(
            "[Broker]\nSocketMode=0666\nControlMode=0666\n" + config, encoding="ascii")
        self.start()
        # Answering, it has done with starting; one descriptor is this connection's.
        with self.open_control() as control:
            control.call("Tokens")
            self.fds = max(self.open_fds() - 1, 0)

    def start(self):
        pathlib.Path(self.directory + "/notify").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(self.directory + "/notify")
            notify.settimeout(30)
            environment = dict(os.environ, NOTIFY_SOCKET=self.directory + "/notify")
            environment.pop("JOURNAL_STREAM", None)
            with open(self.log, "ab") as log:
                self.process = subprocess.Popen(
                    [shmbrokerd(), "--socket=" + self.socket, "--control=" + self.control,
                     "--config=" + self.config, "--log-level=debug"],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
            try:
                while b"READY=1" not in notify.recv(4096).split(b"\n"):
                    pass
            except BaseException:
                self.process.kill()
                self.process.wait()
                raise

    def open_fds(self):
        """Only root may count them: the broker lets its own user look no more than others."""
        if os.geteuid() != 0:
            return 0
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def logged(self):
        return pathlib.Path(self.log).read_text(encoding="utf-8", errors="replace")

    def open_control(self, uid=None):
        return Control(self.control, uid)

    def open_client(self, **options):
        return Client(self.socket, **options)

    def ctl(self, *arguments, **options):
        return ctl("--socket=" + self.control, *arguments, **options)

    def is_as_before(self):
        """No client, no memory, and no descriptor more than at the start."""
        with self.open_control() as control:
            until(lambda: control.call("Status")["clients"] == 0)

            def is_empty():
                control.call("Trim")
                return control.call("Status")["memory"]["total"]["buffers"] == 0
            until(is_empty, or_tell=lambda: control.call("Buffers"))
        # One fewer for each object that was preallocated.
        until(lambda: self.open_fds() <= self.fds)

    def stop(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        status = self.process.wait(30)
        log = self.logged()
        shutil.rmtree(self.directory)
        assert status == 0, log
        assert "Sanitizer" not in log and "runtime error" not in log, log


def ctl(*arguments, env=None, **options):
    environment = dict(os.environ, LC_ALL="C.UTF-8", **(env or {}))
    for name in ("SHMBROKER_CONTROL", "XDG_RUNTIME_DIR"):
        if name not in (env or {}):
            environment.pop(name, None)
    return subprocess.run([shmbrokerctl(), *arguments], capture_output=True, text=True,
                          timeout=30, check=False, env=environment, stdin=subprocess.DEVNULL,
                          **options)


# ---- fixtures; a test file imports those it uses ----------------------------------------

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="takes other users' identities")


@pytest.fixture(autouse=True)
def deadline():
    def late(*_):
        raise TimeoutError("the test took too long")
    signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def start():
    """Starts brokers; each must be as at its beginning when the test ends."""
    brokers = []

    def starter(config=""):
        brokers.append(Broker(config))
        return brokers[-1]
    yield starter
    try:
        for broker in brokers:
            broker.is_as_before()
    finally:
        for broker in brokers:
            broker.stop()


@pytest.fixture
def broker(start):
    return start()


@pytest.fixture
def control(broker):
    with broker.open_control() as connection:
        yield connection
