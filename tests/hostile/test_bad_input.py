# SPDX-License-Identifier: Apache-2.0
"""Whatever a client sends, or writes where it may write: an error with a name, a broker
unharmed, nothing leaked, and nobody else disturbed."""

import contextlib
import os
import random
import secrets
import socket
import struct
import subprocess

import pytest

import harness
import wire
from harness import MIB, PAGE
from wire import P, refusal

TOKEN = bytes(range(16))

# One good packet of each request, as a client with one buffer at (slot 1, generation 1)
# would send it. HELLO stands apart.
REQUESTS = {
    "ALLOC": wire.alloc(9, 100),
    "CANCEL": wire.cancel(9, 1),
    "RELEASE": wire.release(9, [(1, 1, 0), (2, 2, 1)]),
    "EXPORT": wire.export(9, (1, 1), TOKEN),
    "IMPORT": wire.import_(9, TOKEN),
    "FD": wire.fd(9, (1, 1)),
    "REVOKE": wire.revoke(9, TOKEN),
    "SYNC": wire.sync(9),
}
HELLO = wire.hello(9, name="hostile")


def expect_goodbye(client, wanted):
    status = client.goodbye()
    assert status is not None, "no reason was given"
    assert wire.STATUS_NAMES[status] == wanted
    client.close()


def send_and_expect(broker, packet, wanted, *, greet=True, fds=()):
    with broker.client(greet=greet) as client:
        client.send(packet, fds)
        expect_goodbye(client, wanted)


# ---- lengths --------------------------------------------------------------------------

@pytest.mark.parametrize("name", REQUESTS)
def test_truncated_at_each_length(witness, name):
    packet = REQUESTS[name]
    for length in range(1, len(packet)):
        send_and_expect(witness.broker, packet[:length], "MALFORMED")
    witness.check()


def test_hello_truncated_at_each_length(witness):
    for length in range(1, len(HELLO)):
        send_and_expect(witness.broker, HELLO[:length], "MALFORMED", greet=False)


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("more", [1, 2, 4, 12, 500])
def test_bytes_behind_the_end(witness, name, more):
    packet = REQUESTS[name]
    send_and_expect(witness.broker, packet + bytes(more), "MALFORMED")


def test_bytes_behind_hello(witness):
    for more in (1, 8, 1000):
        send_and_expect(witness.broker, HELLO + bytes(more), "MALFORMED", greet=False)


@pytest.mark.parametrize("name", [*REQUESTS, "HELLO"])
@pytest.mark.parametrize("length", [P.PACKET_MAX + 1, 4 * P.PACKET_MAX, 60000])
def test_oversize(witness, name, length):
    packet = REQUESTS.get(name, HELLO)
    send_and_expect(witness.broker, packet + bytes(length - len(packet)), "OVERSIZE",
                    greet=name != "HELLO")


def test_longest_packet(witness):
    """The limit itself is not above the limit: these bytes are just too many."""
    packet = REQUESTS["SYNC"]
    send_and_expect(witness.broker, packet + bytes(P.PACKET_MAX - len(packet)), "MALFORMED")


def test_empty_packet_is_the_end(witness):
    with witness.broker.client() as client:
        client.alloc(1)
        client.send(b"")
        assert client.goodbye() is None


# ---- opcodes, flags, order ------------------------------------------------------------

KNOWN = {wire.CONSTANTS[name] for name in [*REQUESTS, "HELLO"]}


@pytest.mark.parametrize("payload", [b"", bytes(8), TOKEN + bytes(24)],
                         ids=["empty", "short", "long"])
def test_unknown_opcodes(witness, payload):
    for opcode in [*range(0x30), 0x7f, *range(0x80, 0x92), 0xff, 0x100, 0x1ff, 0x8000, 0xffff]:
        if opcode not in KNOWN:
            send_and_expect(witness.broker, wire.header(opcode, 9) + payload, "UNKNOWN_OPCODE")


@pytest.mark.parametrize("name", REQUESTS)
def test_header_flags(witness, name):
    packet = REQUESTS[name]
    confirmable = name in ("RELEASE", "EXPORT", "REVOKE")
    for bit in range(16):
        if bit == 0 and confirmable:
            continue
        flagged = packet[:2] + struct.pack("<H", 1 << bit) + packet[4:]
        send_and_expect(witness.broker, flagged, "MALFORMED")


def test_hello_header_flags(witness):
    for bit in range(16):
        send_and_expect(witness.broker, wire.hello(1, flags=1 << bit), "MALFORMED", greet=False)


RESERVED = {
    "alloc flags": [wire.alloc(9, 1, flags=1 << bit) for bit in range(32)],
    "import flags": [wire.import_(9, TOKEN, flags=1 << bit) for bit in range(32)],
    "export flags": [wire.export(9, (1, 1), TOKEN, flags=1 << bit) for bit in range(3, 32)],
    "fd flags": [wire.fd(9, (1, 1), flags=1 << bit) for bit in range(1, 32)],
    "release flags": [wire.release(9, [(1, 1, 1 << bit)]) for bit in range(1, 32)],
    "release reserved": [wire.release(9, [(1, 1, 0)], reserved=1),
                         wire.release(9, [(1, 1, 0)], reserved=0x8000)],
    "release count": [wire.release(9, [], count=0), wire.release(9, [(1, 1, 0)], count=0),
                      wire.release(9, [(1, 1, 0)], count=2),
                      wire.release(9, [(1, 1, 0)] * 2, count=1),
                      wire.release(9, [(1, 1, 0)] * 129),
                      wire.release(9, [(1, 1, 0)], count=0xffff)],
    "pool name": [wire.alloc(9, 1, pool="p" * 64), wire.alloc(9, 1, pool=b"a\0b"),
                  wire.alloc(9, 1, pool=b"default\0"),
                  wire.alloc(9, 1)[:-9] + struct.pack("<H", 0xffff) + b"default"],
}


@pytest.mark.parametrize("what", RESERVED)
def test_reserved(witness, what):
    for packet in RESERVED[what]:
        send_and_expect(witness.broker, packet, "MALFORMED")


@pytest.mark.parametrize("packet, wanted", [
    (wire.hello(1, magic=0), "BAD_MAGIC"),
    (wire.hello(1, magic=0x53484d42), "BAD_MAGIC"),
    (wire.hello(1, magic=0xffffffff, low=7, high=9), "BAD_MAGIC"),
    (wire.hello(1, low=2, high=2), "VERSION"),
    (wire.hello(1, low=0, high=0), "VERSION"),
    (wire.hello(1, low=2, high=0xffff), "VERSION"),
    (wire.hello(1, low=2, high=1), "VERSION"),
    (wire.hello(1, reserved=1), "MALFORMED"),
    (wire.hello(1, name="n" * 64), "MALFORMED"),
    (wire.hello(1, name="a b"), "MALFORMED"),
    (wire.hello(1, name=b"a\0b"), "MALFORMED"),
    (wire.hello(1, name=b"\xff"), "MALFORMED"),
    (wire.hello(1, name="a/b"), "MALFORMED"),
    (wire.hello(1, name="\x1b[2J"), "MALFORMED"),
    (wire.hello(1, name="a\n"), "MALFORMED"),
])
def test_bad_hello(witness, packet, wanted):
    send_and_expect(witness.broker, packet, wanted, greet=False)


def test_versions_to_come(witness):
    """A client of many versions is served the one both speak."""
    with witness.broker.client(greet=False) as client:
        client.greet(low=0, high=500)
        assert client.welcome.version == 1


@pytest.mark.parametrize("name", REQUESTS)
def test_before_hello(witness, name):
    send_and_expect(witness.broker, REQUESTS[name], "OUT_OF_ORDER", greet=False)


def test_unknown_opcode_before_hello(witness):
    with witness.broker.client(greet=False) as client:
        client.send(wire.header(0x70, 1))
        assert wire.STATUS_NAMES[client.goodbye()] in ("OUT_OF_ORDER", "UNKNOWN_OPCODE")


def test_second_hello(witness):
    with witness.broker.client() as client:
        client.alloc(1)
        client.send(wire.hello(3))
        expect_goodbye(client, "OUT_OF_ORDER")


def test_silence_instead_of_hello(start):
    broker = start(config="[Broker]\nHelloTimeout=50ms\n")
    with broker.client(greet=False) as client:
        expect_goodbye(client, "OUT_OF_ORDER")
    # Who has introduced itself may be silent for as long as it likes.
    with broker.client() as client, broker.client(greet=False) as late:
        expect_goodbye(late, "OUT_OF_ORDER")
        client.sync()


def test_nothing_after_a_breach_counts(witness):
    """What lies behind a broken packet is not looked at."""
    with witness.broker.client() as client:
        with contextlib.suppress(OSError):
            client.send(b"\1")
            for _ in range(20):
                client.send(wire.alloc(5, 1))
        expect_goodbye(client, "MALFORMED")


# ---- descriptors ----------------------------------------------------------------------

@pytest.mark.parametrize("count", [1, 2, 16, 253])
@pytest.mark.parametrize("name", [*REQUESTS, "HELLO", "garbage"])
def test_descriptors_attached(witness, name, count):
    packet = {"HELLO": HELLO, "garbage": b"\xff" * 40}.get(name) or REQUESTS[name]
    fds = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
    try:
        send_and_expect(witness.broker, packet, "UNEXPECTED_FD", greet=name != "HELLO", fds=fds)
    finally:
        for fd in fds:
            os.close(fd)


def test_descriptors_of_all_kinds(witness):
    """Also those that keep the other end of themselves alive."""
    for _ in range(20):
        with witness.broker.client() as client:
            ends = socket.socketpair()
            fds = [client.socket.fileno(), ends[0].fileno(), os.memfd_create("m"),
                   os.open("/", os.O_PATH)]
            client.send(wire.sync(1), fds)
            for fd in fds[2:]:
                os.close(fd)
            for end in ends:
                end.close()
            expect_goodbye(client, "UNEXPECTED_FD")


def test_credentials_attached(witness):
    """Not descriptors: the broker does not ask for them, and they are not looked at."""
    with witness.broker.client() as client:
        who = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
        client.socket.sendmsg([wire.sync(5)],
                              [(socket.SOL_SOCKET, socket.SCM_CREDENTIALS, who)])
        assert client.answer(5).opcode == P.DONE


# ---- refusals that are no breach ------------------------------------------------------

def test_refused_and_going_on(witness):
    with witness.broker.client() as client:
        assert refusal(client.alloc, 0) == "BAD_SIZE"
        assert refusal(client.alloc, 1 << 63) == "TOO_LARGE"
        assert refusal(client.import_, secrets.token_bytes(16)) == "TOKEN_UNKNOWN"
        assert refusal(client.release, [(5, 5, 0)]) == "STALE_BUFFER"
        assert refusal(client.export, (5, 5)) == "STALE_BUFFER"
        assert refusal(client.descriptor, (5, 5)) == "STALE_BUFFER"
        assert refusal(client.revoke, TOKEN) == "TOKEN_UNKNOWN"
        client.alloc(1).release()


def test_too_many_requests(start):
    broker = start(config="[Broker]\nRequestsMax=4\n[Pool default]\nBuffersMax=1\n")
    with broker.client() as client:
        assert client.welcome.max_requests == 4
        client.alloc(1)
        for _ in range(4):
            client.ask_alloc(1, timeout=P.TIMEOUT_FOREVER)
        client.sync()
        client.ask_alloc(1, timeout=P.TIMEOUT_FOREVER)
        expect_goodbye(client, "TOO_MANY_REQUESTS")


def test_too_many_undecided_imports(start):
    """Imports of unknown tokens wait for everybody's EXPORTs: they, too, are counted."""
    broker = start(config="[Broker]\nRequestsMax=4\n")
    with broker.client() as client:
        statuses = []
        with contextlib.suppress(OSError):
            for serial in range(1000, 3000):
                client.send(wire.import_(serial, secrets.token_bytes(16)))
        with contextlib.suppress(wire.Closed):
            while True:
                message = client.receive()
                statuses.append(wire.STATUS_NAMES[message.body.status])
        assert statuses[-1] == "TOO_MANY_REQUESTS"
        assert set(statuses[:-1]) <= {"TOKEN_UNKNOWN"}


def test_too_many_connections(start):
    broker = start(config="[Broker]\nConnectionsMax=3\n")
    clients = [broker.client() for _ in range(3)]
    with broker.client(greet=False) as client:
        expect_goodbye(client, "TOO_MANY_CLIENTS")
    clients.pop().close()
    broker.control.until("one left", lambda s: s["connections"] == 2)
    clients.append(broker.client())
    for client in clients:
        client.sync()
        client.close()
    assert broker.control.status()["connection_counters"]["refused"] == 1


def test_too_many_connections_of_one_uid(start):
    broker = start(config="[Broker]\nUidConnectionsMax=2\n")
    clients = [broker.client() for _ in range(2)]
    with broker.client(greet=False) as client:
        expect_goodbye(client, "TOO_MANY_CLIENTS")
    if harness.is_root:
        def another():
            with broker.client() as of_another_uid:
                of_another_uid.sync()
        harness.run_as(harness.UID_A, another)
    for client in clients:
        client.close()


# ---- who does not read, or goes away --------------------------------------------------

def flood(client, packet, most=200000):
    """Sends until the broker has had enough; how many went."""
    for sent in range(most):
        try:
            client.send(packet)
        except (BrokenPipeError, ConnectionResetError):
            return sent
    raise AssertionError("the broker never had enough")


@pytest.mark.parametrize("packet", [wire.sync(1), wire.alloc(1, 0),
                                    wire.release(1, [(9, 9, 0)])],
                         ids=["answers", "errors", "faults"])
def test_who_does_not_read(witness, packet):
    with witness.broker.client() as client:
        assert flood(client, packet) > 100


def test_who_does_not_read_descriptors(witness):
    """Each answer brings a descriptor: those in flight are counted per sending user."""
    with witness.broker.client() as client:
        buffer = client.alloc(1)
        flood(client, wire.fd(1, buffer.lease))
    witness.broker.control.until("left", lambda s: s["connections"] == 1)
    # What they pointed to is free once the connection, and they with it, is gone.
    witness.broker.control.until("proven", lambda s: s["memory"]["quarantine"]["buffers"] == 0)


def test_gone_while_answers_are_under_way(witness):
    for _ in range(100):
        client = witness.broker.client()
        for _ in range(20):
            client.ask_alloc(1)
        client.close()
    witness.broker.control.until(
        "settled", lambda s: s["connections"] == 1 and s["memory"]["held"]["buffers"] == 1)


def test_half_closed(witness):
    with witness.broker.client() as client:
        client.ask_alloc(1)
        client.socket.shutdown(socket.SHUT_WR)
        with pytest.raises(wire.Closed):
            while True:
                message = client.receive()
                if message.fd is not None:
                    os.close(message.fd)
    witness.broker.control.until("left", lambda s: s["connections"] == 1)


# ---- the lease page -------------------------------------------------------------------

def spoil(client, chance):
    for slot in range(client.welcome.lease_slots + 1):
        client.set_word(slot, chance.choice([
            chance.getrandbits(64), chance.randrange(6),
            chance.getrandbits(32) << 32 | chance.randrange(6)]))


@pytest.mark.parametrize("seed", range(8))
def test_random_words(start, seed):
    """A lease page full of noise, all the time, while its owner goes on asking; and others
    get what they are due."""
    print("seed", seed)
    chance = random.Random(seed)
    broker = start(config="[Broker]\nCacheIdle=1ms\n[Pool default]\nMemoryMax=4M\n")
    with broker.client(slots=30) as hostile, broker.client() as honest:
        buffers = []
        for _ in range(150):
            spoil(hostile, chance)
            with contextlib.suppress(wire.Refused):
                buffers.append(hostile.alloc_unchecked(chance.choice([1, PAGE * 9, MIB])))
            spoil(hostile, chance)
            if buffers and chance.random() < 0.7:
                buffer = buffers.pop(chance.randrange(len(buffers)))
                buffer.unmap()
                flags = chance.choice([0, P.RELEASE_KEEP])
                with contextlib.suppress(wire.Refused):
                    hostile.release([(*buffer.lease, flags)])
            if chance.random() < 0.3:
                broker.control.call("Trim")
            # Whatever the words say, the honest one's buffer is its own.
            mine = honest.alloc(PAGE, timeout=P.TIMEOUT_FOREVER)
            mine.map[:4] = b"mine"
            spoil(hostile, chance)
            assert mine.map[:4] == b"mine" and honest.word_state(mine) == P.WORD_HELD
            mine.release()
            honest.buffers.clear()


def test_lies_cost_only_the_liar(witness):
    """Says IDLE of a buffer it uses: it is taken, and nobody else's."""
    with witness.broker.client() as liar:
        buffer = liar.alloc(MIB)
        buffer.map[:3] = b"use"
        liar.set_state(buffer, P.WORD_IDLE)
        witness.broker.control.call("Trim")
        witness.broker.control.until("gone", lambda s: s["memory"]["total"]["buffers"] == 1)
        assert buffer.map[:3] == bytes(3)
        assert liar.word_state(buffer) == P.WORD_TAKEN
        buffer.release()


# ---- noise ----------------------------------------------------------------------------

def mutated(chance):
    packet = bytearray(chance.choice([*REQUESTS.values(), HELLO]))
    for _ in range(chance.randrange(1, 5)):
        kind = chance.randrange(4)
        if kind == 0 and packet:
            packet[chance.randrange(len(packet))] = chance.getrandbits(8)
        elif kind == 1:
            packet += chance.randbytes(chance.randrange(40))
        elif kind == 2 and len(packet) > 1:
            del packet[chance.randrange(len(packet)):]
        elif packet:
            packet[chance.randrange(len(packet))] ^= 1 << chance.randrange(8)
    return bytes(packet) or b"\0"


@pytest.mark.parametrize("seed", range(5))
def test_noise(start, seed):
    print("seed", seed)
    chance = random.Random(seed)
    broker = start(tokens_may_stay=True)
    with broker.client() as witness:
        mine = witness.alloc(PAGE)
        mine.map[:4] = b"mine"
        for _ in range(150):
            with broker.client() as client, contextlib.suppress(OSError, wire.Closed):
                for _ in range(20):
                    client.send(mutated(chance))
                client.socket.shutdown(socket.SHUT_WR)
                while True:
                    message = client.receive()
                    if message.fd is not None:
                        os.close(message.fd)
        assert mine.map[:4] == b"mine"
        witness.sync()


# ---- sockets, configuration, command line ---------------------------------------------

def test_data_protocol_on_the_control_socket(witness):
    with pytest.raises(OSError):
        wire.Client(witness.broker.control_path)


def test_stream_on_the_data_socket(witness):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as stream, \
            pytest.raises(OSError):
        stream.connect(witness.broker.path)


def test_no_broker(programs, tmp_path):
    path = str(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        wire.Client(path)
    status, out, err = harness.run([programs.shmcat, "put", "--socket", path, "/etc/hostname"],
                                   programs=programs)
    assert (status, out) == (1, b"") and path in err
    status, out, err = harness.run([programs.shmcat, "get", "--socket", path, "0" * 32],
                                   programs=programs)
    assert (status, out) == (1, b"") and path in err


def test_wrong_socket_type(programs, tmp_path):
    path = str(tmp_path / "stream")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(path)
        listening.listen()
        status, _, err = harness.run([programs.shmcat, "get", "--socket", path, "0" * 32],
                                     programs=programs)
        assert status == 1 and path in err


def test_shmcat_at_a_broker_that_talks_nonsense(programs, tmp_path):
    path = str(tmp_path / "nonsense")
    for answer in (b"\0", b"x" * 100, wire.header(P.WELCOME, 1), wire.header(P.GRANT, 1),
                   wire.header(0x70, 1) + bytes(100)):
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
            listening.bind(path)
            listening.listen()
            process = subprocess.Popen(
                [programs.shmcat, "get", "--socket", path, "0" * 32], env=programs.environment,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            connection, _ = listening.accept()
            with connection:
                connection.recv(P.PACKET_MAX)
                connection.send(answer)
                _, err = process.communicate(timeout=harness.DEADLINE_S)
            assert process.returncode == 1 and b"shmcat: " in err
        os.unlink(path)


BAD_CONFIGS = [
    ("[Broker]\nMemoryMax=much\n", 2, "MemoryMax"),
    ("[Broker]\nMemoryMax=1G\nNoSuchKey=1\n", 3, "NoSuchKey"),
    ("[Broker]\n\n\nMemoryMax=-1\n", 4, "MemoryMax"),
    ("[Broker]\nConnectionsMax=0\n", 2, "ConnectionsMax"),
    ("[Broker]\nBuffersMax=99999999999999999999\n", 2, "BuffersMax"),
    ("[Broker]\nHelloTimeout=soon\n", 2, "HelloTimeout"),
    ("[Broker]\nSocketMode=999\n", 2, "SocketMode"),
    ("[Broker]\nLogLevel=loud\n", 2, "LogLevel"),
    ("[Pool default]\nShare=perhaps\n", 2, "Share"),
    ("[Pool default]\nAllowUsers=no-such-user-here\n", 2, "AllowUsers"),
    ("[Pool default]\nClasses=4K 4K 1X\n", 2, "Classes"),
    ("[Pool a b]\nMemoryMax=1M\n", 1, "name of a pool"),
    ("[Nonsense]\nMemoryMax=1M\n", 1, "Nonsense"),
    ("MemoryMax=1M\n", 1, "section"),
    # Between two settings: both are named.
    ("[Broker]\nMemoryMax=1G\n[Pool p]\nMemoryMax=2G\n", None, "[Pool p] MemoryMax=2G"),
    ("[Pool default]\nMemoryMax=1M\nPreallocate=2x1M\n", None,
     "[Pool default] Preallocate=2x1M"),
]


@pytest.mark.parametrize("text, line, word", BAD_CONFIGS)
def test_bad_configuration(programs, tmp_path, text, line, word):
    path = tmp_path / "bad.conf"
    path.write_text(text)
    for arguments in (["--check-config"],
                      ["--socket", str(tmp_path / "s"), "--control", str(tmp_path / "c")]):
        status, out, err = harness.run(
            [programs.shmbrokerd, "--config", str(path), *arguments], programs=programs)
        assert status == 1 and out == b""
        assert word in err, err
        assert line is None or f"{path}:{line}:" in err, err
        assert not os.path.exists(tmp_path / "s")


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--socket"], ["--log-level=loud"],
                                       ["stray"], ["--run"], ["--run", "--"]])
def test_bad_command_line(programs, arguments):
    status, out, err = harness.run([programs.shmbrokerd, *arguments], programs=programs)
    assert status == 2 and out == b"" and "shmbrokerd" in err


def test_configuration_that_is_not_there(programs, tmp_path):
    path = str(tmp_path / "none.conf")
    status, _, err = harness.run([programs.shmbrokerd, "--config", path], programs=programs)
    assert status == 1 and path in err


def test_socket_that_another_broker_has(witness, programs):
    """The second one says so; the first is not harmed."""
    status, _, err = harness.run(
        [programs.shmbrokerd, "--socket", witness.broker.path, "--control",
         witness.broker.control_path, "--config", witness.broker.config_path],
        programs=programs)
    assert status == 1 and witness.broker.path in err


def test_sockets_left_by_a_dead_broker(start):
    """Killed, it leaves its sockets; the next one takes their place."""
    first = start()
    first.process.kill()
    first.process.wait()
    assert os.path.exists(first.path) and os.path.exists(first.control_path)
    second = start(directory=first.directory)
    with second.client() as client:
        client.sync()
    second.stop()
    start.forget(first, second)


def test_path_that_is_no_socket(programs, tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")
    status, _, err = harness.run(
        [programs.shmbrokerd, "--socket", str(path), "--control", str(tmp_path / "c")],
        programs=programs)
    assert status == 1 and str(path) in err
    assert path.read_text() == "data"
