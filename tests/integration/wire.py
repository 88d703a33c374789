# SPDX-License-Identifier: Apache-2.0
"""A client of the data protocol, written from docs/protocol.md alone, and as rude as asked.

Every method has a deadline: the socket's timeout. Nothing here checks what the broker would
check, so that anything can be sent.
"""

import array
import collections
import mmap
import os
import re
import secrets
import socket
import struct

TIMEOUT_S = 20.0
PAGE = mmap.PAGESIZE


def _constants():
    """The SHMB_ names of the public header, without the prefix."""
    header = os.path.join(os.path.dirname(__file__), "../../include/shmbroker-proto.h")
    with open(header, encoding="utf-8") as file:
        text = file.read()
    found = {}
    for name, value in re.findall(r"SHMB_(\w+)(?: =|) (0x[0-9a-f]+|\d+)u?\b", text):
        found[name] = int(value, 0)
    return found


CONSTANTS = _constants()


class _Names:
    def __getattr__(self, name):
        return CONSTANTS[name]


P = _Names()

STATUS_NAMES = {value: name[7:] for name, value in CONSTANTS.items()
                if name.startswith("STATUS_")}
OPCODE_NAMES = {CONSTANTS[name]: name for name in (
    "HELLO", "ALLOC", "CANCEL", "RELEASE", "EXPORT", "IMPORT", "FD", "REVOKE", "SYNC",
    "WELCOME", "GRANT", "ERROR", "DONE", "RECLAIM", "DESCRIPTOR", "FAULT", "GOODBYE")}


class Closed(Exception):
    """The broker ended the connection."""


class Refused(Exception):
    """An ERROR, FAULT or GOODBYE; str() begins with the status' name."""

    def __init__(self, message):
        self.message = message
        self.status = message.status
        super().__init__(f"{STATUS_NAMES.get(message.status, message.status)}: {message.text}")


Message = collections.namedtuple("Message", "opcode flags serial body fd")


# ---- encoding -------------------------------------------------------------------------

def header(opcode, serial, flags=0):
    return struct.pack("<HHI", opcode, flags, serial)


def string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<H", len(data)) + data


def hello(serial, *, magic=None, low=1, high=1, slots=0, reserved=0, name="", flags=0):
    magic = P.MAGIC if magic is None else magic
    return (header(P.HELLO, serial, flags) +
            struct.pack("<IHHII", magic, low, high, slots, reserved) + string(name))


def alloc(serial, size, *, timeout=0, flags=0, pool="default"):
    return header(P.ALLOC, serial) + struct.pack("<QQI", size, timeout, flags) + string(pool)


def cancel(serial, other):
    return header(P.CANCEL, serial) + struct.pack("<I", other)


def release(serial, entries, *, confirm=False, count=None, reserved=0):
    count = len(entries) if count is None else count
    return (header(P.RELEASE, serial, P.HEADER_CONFIRM if confirm else 0) +
            struct.pack("<HH", count, reserved) +
            b"".join(struct.pack("<III", *entry) for entry in entries))


def export(serial, lease, token, *, flags=0, ttl_ms=60000, length=1, confirm=False):
    return (header(P.EXPORT, serial, P.HEADER_CONFIRM if confirm else 0) +
            struct.pack("<II", *lease) + token + struct.pack("<IQQ", flags, ttl_ms, length))


def import_(serial, token, *, flags=0):
    return header(P.IMPORT, serial) + token + struct.pack("<I", flags)


def fd(serial, lease, *, flags=0):
    return header(P.FD, serial) + struct.pack("<III", *lease, flags)


def revoke(serial, token, *, confirm=False):
    return header(P.REVOKE, serial, P.HEADER_CONFIRM if confirm else 0) + token


def sync(serial):
    return header(P.SYNC, serial)


# ---- decoding -------------------------------------------------------------------------

def _fields(name, layout, names):
    made = collections.namedtuple(name, names)

    def decode(payload):
        assert len(payload) == struct.calcsize("<" + layout), f"{name}: {payload!r}"
        return made(*struct.unpack("<" + layout, payload))
    return decode


def _with_text(name, layout, names):
    made = collections.namedtuple(name, names + " text")
    size = struct.calcsize("<" + layout)

    def decode(payload):
        (length,) = struct.unpack_from("<H", payload, size)
        text = payload[size + 2:]
        assert len(text) == length <= P.TEXT_MAX, f"{name}: {payload!r}"
        return made(*struct.unpack_from("<" + layout, payload),
                    text.decode(errors="replace"))
    return decode


def _leases(payload):
    count, reserved = struct.unpack_from("<HH", payload)
    assert reserved == 0 and len(payload) == 4 + 8 * count and 1 <= count <= P.RELEASE_MAX
    return [struct.unpack_from("<II", payload, 4 + 8 * i) for i in range(count)]


def _empty(payload):
    assert payload == b""


DECODERS = {
    P.WELCOME: _fields("Welcome", "HHIIIQQQ",
                       "version reserved lease_slots max_requests max_tokens cache_bytes "
                       "max_ttl_ms client_id"),
    P.GRANT: _fields("Grant", "IIQQQQII",
                     "slot generation object capacity length class_floor pool flags"),
    P.ERROR: _with_text("Error", "IQQ", "status limit used"),
    P.DONE: _empty,
    P.RECLAIM: _leases,
    P.DESCRIPTOR: _empty,
    P.FAULT: _with_text("Fault", "HHI", "opcode reserved status"),
    P.GOODBYE: _with_text("Goodbye", "I", "status"),
}


def address_of(path):
    return "\0" + path[1:] if path.startswith("@") else path


class Buffer:
    """A grant: its lease, and its descriptor until mapped."""

    def __init__(self, client, grant, descriptor):
        self.client, self.grant, self.fd = client, grant, descriptor
        self.lease = (grant.slot, grant.generation)
        self.capacity = grant.capacity
        self.writable = bool(grant.flags & P.GRANT_WRITABLE)
        self._map = None

    @property
    def map(self):
        if self._map is None:
            self._map = mmap.mmap(self.fd, self.capacity,
                                  prot=mmap.PROT_READ | (mmap.PROT_WRITE if self.writable
                                                         else 0))
        return self._map

    def unmap(self):
        if self._map is not None:
            self._map.close()
            self._map = None
        self.close_fd()

    def close_fd(self):
        if self.fd is not None:
            os.close(self.fd)
            self.fd = None

    def release(self, flags=0, confirm=True):
        """Unmaps and gives back."""
        self.unmap()
        self.client.release([(*self.lease, flags)], confirm=confirm)


class Client:
    """One connection. As a context manager it revokes its tokens and closes what it was sent."""

    def __init__(self, path, *, greet=True, slots=0, name="wire", timeout=TIMEOUT_S):
        self.serial = 0
        self.unasked = collections.deque()  # RECLAIM, FAULT
        self.answers = {}                   # come before they were waited for
        self.welcome = self.page = None
        self.buffers = []
        self.tokens = []                    # exported
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address_of(path))
            if greet:
                self.greet(slots=slots, name=name)
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *what):
        try:
            for token in self.tokens:
                self.revoke(token, confirm=False)
        except OSError:
            pass  # the connection is over
        self.close()

    def close(self):
        for buffer in self.buffers:
            buffer.unmap()
        self.buffers.clear()
        if self.page is not None:
            self.page.close()
            self.page = None
        self.socket.close()

    # ---- packets ----

    def next_serial(self):
        self.serial += 1
        return self.serial

    def send(self, packet, fds=()):
        control = []
        if fds:
            control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
        self.socket.sendmsg([packet], control)

    def receive(self):
        """The next message whatever it is. Closed at the end."""
        try:
            data, control, flags, _ = self.socket.recvmsg(
                P.PACKET_MAX, socket.CMSG_SPACE(4 * 4), socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            # Requests were left unread; what was sent to us is still there.
            data, control, flags, _ = self.socket.recvmsg(
                P.PACKET_MAX, socket.CMSG_SPACE(4 * 4), socket.MSG_CMSG_CLOEXEC)
        fds = array.array("i")
        for level, kind, content in control:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                fds.frombytes(content[:len(content) - len(content) % fds.itemsize])
        if not data:
            raise Closed()
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC), flags
        assert len(fds) <= 1, "more than one descriptor in a packet"
        opcode, hflags, serial = struct.unpack_from("<HHI", data)
        body = DECODERS[opcode](data[P.HEADER_SIZE:])
        return Message(opcode, hflags, serial, body, fds[0] if fds else None)

    def answer(self, serial):
        """The answer to that request; what nobody asked for is put aside."""
        while serial not in self.answers:
            message = self.receive()
            if message.opcode == P.GOODBYE:
                raise Refused(message.body)
            if message.opcode in (P.RECLAIM, P.FAULT):
                self.unasked.append(message)
            else:
                assert message.serial not in self.answers
                self.answers[message.serial] = message
        message = self.answers.pop(serial)
        if message.opcode == P.ERROR:
            raise Refused(message.body)
        return message

    def goodbye(self):
        """The status of the GOODBYE that must come, and then the end."""
        status = None
        try:
            while True:
                message = self.receive()
                if message.fd is not None:
                    os.close(message.fd)
                if message.opcode == P.GOODBYE:
                    assert status is None and message.serial == 0
                    status = message.body.status
                    assert message.body.text
        except Closed:
            return status

    # ---- requests ----

    def greet(self, **options):
        serial = self.next_serial()
        self.send(hello(serial, **options))
        message = self.answer(serial)
        assert message.opcode == P.WELCOME and message.fd is not None
        self.welcome = message.body
        try:
            size = os.fstat(message.fd).st_size
            assert size >= 8 * (self.welcome.lease_slots + 1)
            self.page = mmap.mmap(message.fd, size)
        finally:
            os.close(message.fd)

    def ask_alloc(self, size, **options):
        serial = self.next_serial()
        self.send(alloc(serial, size, **options))
        return serial

    def take_grant(self, serial):
        message = self.answer(serial)
        assert message.opcode == P.GRANT
        assert bool(message.body.flags & P.GRANT_HAS_FD) == (message.fd is not None)
        buffer = Buffer(self, message.body, message.fd)
        self.buffers.append(buffer)
        return buffer

    def alloc_unchecked(self, size, **options):
        return self.take_grant(self.ask_alloc(size, **options))

    def alloc(self, size, **options):
        buffer = self.alloc_unchecked(size, **options)
        assert buffer.writable and buffer.fd is not None and buffer.capacity >= size
        assert self.word_state(buffer) == P.WORD_HELD
        return buffer

    def confirmed(self, packet):
        """Sends a request whose answer is DONE."""
        self.send(packet)
        serial = struct.unpack_from("<I", packet, 4)[0]
        assert self.answer(serial).opcode == P.DONE

    def release(self, entries, confirm=True):
        packet = release(self.next_serial(), entries, confirm=confirm)
        if confirm:
            self.confirmed(packet)
        else:
            self.send(packet)

    def export(self, buffer, *, token=None, confirm=True, **options):
        token = token or secrets.token_bytes(P.TOKEN_SIZE)
        self.tokens.append(token)
        lease = getattr(buffer, "lease", buffer)
        packet = export(self.next_serial(), lease, token, confirm=confirm, **options)
        if confirm:
            self.confirmed(packet)
        else:
            self.send(packet)
        return token

    def ask_import(self, token, **options):
        serial = self.next_serial()
        self.send(import_(serial, token, **options))
        return serial

    def import_(self, token, **options):
        return self.take_grant(self.ask_import(token, **options))

    def descriptor(self, buffer, **options):
        serial = self.next_serial()
        self.send(fd(serial, getattr(buffer, "lease", buffer), **options))
        message = self.answer(serial)
        assert message.opcode == P.DESCRIPTOR and message.fd is not None
        return message.fd

    def revoke(self, token, confirm=True):
        packet = revoke(self.next_serial(), token, confirm=confirm)
        if confirm:
            self.confirmed(packet)
        else:
            self.send(packet)

    def sync(self):
        self.confirmed(sync(self.next_serial()))

    # ---- the lease page ----

    def word(self, slot):
        return struct.unpack_from("<Q", self.page, 8 * slot)[0]

    def set_word(self, slot, value):
        struct.pack_into("<Q", self.page, 8 * slot, value)

    def word_state(self, buffer):
        slot = buffer.lease[0] if isinstance(buffer, Buffer) else buffer
        return self.word(slot) & P.WORD_STATE_MASK

    def set_state(self, buffer, state):
        """As an honest client does it, where it is the only writer."""
        uses = self.word(buffer.lease[0]) >> P.WORD_USE_SHIFT
        self.set_word(buffer.lease[0], uses << P.WORD_USE_SHIFT | state)


def refusal(call, *arguments, **options):
    """The name of the status with which a call is refused."""
    try:
        call(*arguments, **options)
    except Refused as refused:
        return STATUS_NAMES[refused.status]
    raise AssertionError("not refused")
