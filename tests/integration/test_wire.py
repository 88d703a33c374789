# SPDX-License-Identifier: Apache-2.0
"""The data protocol as docs/protocol.md has it, spoken by a client written from that alone."""

import os
import secrets
import time

import pytest

from harness import MIB, PAGE, Child, open_descriptors
from wire import P, Client, Refused, refusal
import wire


@pytest.fixture
def client(broker):
    with broker.client() as made:
        yield made


@pytest.fixture
def other(broker):
    with broker.client(name="other") as made:
        yield made


# ---- hello ----------------------------------------------------------------------------

def test_welcome(broker):
    with broker.client(slots=9, name="a.b_c:d@e-f") as client:
        assert client.welcome.version == 1
        assert client.welcome.lease_slots == 9
        assert client.welcome.max_requests == 64 and client.welcome.max_tokens == 1024
        assert client.welcome.max_ttl_ms == 86400 * 1000
        assert client.page[:] == bytes(len(client.page))
        (shown,) = broker.control.call("Clients")["clients"]
        assert shown["name"] == "a.b_c:d@e-f" and shown["client"] == client.welcome.client_id
        assert shown["pid"] == os.getpid() and shown["slots_max"] == 9
        with broker.client(slots=0, name="") as second:
            assert second.welcome.lease_slots == 511
            assert second.welcome.client_id > client.welcome.client_id
        with broker.client(slots=1 << 31) as third:
            assert third.welcome.lease_slots == 16383


def test_lease_page_cannot_be_shrunk_under_the_broker(broker):
    with broker.client(greet=False) as client:
        client.send(wire.hello(1))
        message = client.receive()
        for attack in (lambda fd: os.ftruncate(fd, 0), lambda fd: os.ftruncate(fd, 1 << 20)):
            with pytest.raises(PermissionError):
                attack(message.fd)
        os.close(message.fd)


def test_requests_right_behind_hello(broker):
    with broker.client(greet=False) as client:
        client.send(wire.hello(1))
        client.send(wire.alloc(2, 1))
        client.send(wire.sync(3))
        welcome = client.answer(1)
        os.close(welcome.fd)
        client.take_grant(2)
        client.answer(3)


# ---- alloc ----------------------------------------------------------------------------

@pytest.mark.parametrize("size", [1, PAGE, PAGE + 1, 3 * MIB + 17, 20 * MIB])
def test_alloc(broker, client, size):
    buffer = client.alloc(size)
    grant = buffer.grant
    assert grant.length == size and grant.class_floor < size <= grant.capacity
    assert grant.capacity % PAGE == 0 and grant.capacity <= max(PAGE, size * 5 // 4 + PAGE)
    assert grant.generation != 0 and 1 <= grant.slot <= client.welcome.lease_slots
    assert grant.flags & P.GRANT_ZEROED and grant.flags & P.GRANT_MAY_KEEP
    stat = os.fstat(buffer.fd)
    # All of its memory is there already.
    assert stat.st_size == grant.capacity and stat.st_blocks * 512 >= grant.capacity
    assert stat.st_mode & 0o777 == 0o600
    assert bytes(buffer.map) == bytes(grant.capacity)
    assert broker.control.memory("held") == (grant.capacity, 1)
    buffer.release()
    assert client.word(grant.slot) == 0
    assert broker.control.memory("free") == (grant.capacity, 1)


def test_answers_come_when_they_are_ready(client):
    """A large one is still being made when a small one is there."""
    large = client.ask_alloc(256 * MIB)
    small = client.ask_alloc(1)
    order = [client.receive() for _ in range(2)]
    assert [message.serial for message in order] == [small, large]
    for message in order:
        os.close(message.fd)


@pytest.mark.parametrize("size, options, wanted", [
    (0, {}, "BAD_SIZE"),
    (1 << 63, {}, "TOO_LARGE"),
    ((1 << 64) - 1, {}, "TOO_LARGE"),
    (1, {"pool": "none"}, "NO_SUCH_POOL"),
    (1, {"pool": ""}, "NO_SUCH_POOL"),
    (1, {"pool": "p" * 63}, "NO_SUCH_POOL"),
    (1, {"pool": b"\xff\xfe"}, "NO_SUCH_POOL"),
])
def test_alloc_refused(broker, client, size, options, wanted):
    before = broker.snapshot()
    assert refusal(client.alloc, size, **options) == wanted
    assert refusal(client.alloc, size, timeout=P.TIMEOUT_FOREVER, **options) == wanted
    assert broker.snapshot() == before


LIMITS = [
    ("[Broker]\nMemoryMax=8M\n", "BROKER_BYTES", 8 * MIB, "MemoryMax="),
    ("[Broker]\nBuffersMax=2\n", "BROKER_BUFFERS", 2, "BuffersMax="),
    ("[Pool default]\nMemoryMax=8M\n", "POOL_BYTES", 8 * MIB, "MemoryMax="),
    ("[Pool default]\nBuffersMax=2\n", "POOL_BUFFERS", 2, "BuffersMax="),
    ("[Pool default]\nUidMemoryMax=8M\n", "UID_BYTES", 8 * MIB, "UidMemoryMax="),
    ("[Pool default]\nUidBuffersMax=2\n", "UID_BUFFERS", 2, "UidBuffersMax="),
]


@pytest.mark.parametrize("config, wanted, limit, key", LIMITS, ids=[row[1] for row in LIMITS])
def test_limits_by_name(start, config, wanted, limit, key):
    broker = start(config=config)
    with broker.client() as client:
        held = [client.alloc(4 * MIB), client.alloc(4 * MIB)]
        before = broker.snapshot()
        with pytest.raises(Refused) as caught:
            client.alloc(4 * MIB)
        message = caught.value.message
        assert wire.STATUS_NAMES[message.status] == wanted or (
            # A pool's own limits default to the broker's, and are looked at first.
            wanted.startswith("BROKER") and
            wire.STATUS_NAMES[message.status] == wanted.replace("BROKER", "POOL"))
        assert message.limit == limit and message.used == limit
        assert key in message.text
        assert broker.snapshot() == before
        # It waits, in line, until there is room.
        serial = client.ask_alloc(4 * MIB, timeout=P.TIMEOUT_FOREVER)
        broker.control.until("waiting", lambda s: s["waiting"] == 1)
        held[0].release()
        client.take_grant(serial)


def test_deadline_passes(start):
    broker = start(config="[Pool default]\nBuffersMax=1\n")
    with broker.client() as client:
        client.alloc(1)
        begin = time.monotonic()
        assert refusal(client.alloc, 1, timeout=50_000_000) == "TIMED_OUT"
        assert 0.05 <= time.monotonic() - begin < 5


def test_cancel(start):
    broker = start(config="[Pool default]\nBuffersMax=1\n")
    with broker.client() as client:
        held = client.alloc(1)
        serial = client.ask_alloc(1, timeout=P.TIMEOUT_FOREVER)
        client.send(wire.cancel(client.next_serial(), serial + 100))
        client.send(wire.cancel(client.next_serial(), serial))
        assert refusal(client.take_grant, serial) == "CANCELLED"
        held.release()
        client.alloc(1)


def test_line_is_first_come_first_served(start):
    broker = start(config="[Pool default]\nBuffersMax=1\n")
    with broker.client() as one, broker.client() as two, broker.client() as three:
        buffer = one.alloc(1)
        serials = []
        for client in (two, three, one):
            serials.append(client.ask_alloc(1, timeout=P.TIMEOUT_FOREVER))
            broker.control.until("in line", lambda s: s["waiting"] == len(serials))
        for client, serial in zip((two, three, one), serials):
            buffer.release()
            buffer = client.take_grant(serial)


def test_leaving_leaves_the_line(start):
    broker = start(config="[Pool default]\nBuffersMax=1\n")
    with broker.client() as one, broker.client() as two:
        buffer = one.alloc(1)
        with broker.client() as gone:
            gone.ask_alloc(1, timeout=P.TIMEOUT_FOREVER)
            broker.control.until("in line", lambda s: s["waiting"] == 1)
        serial = two.ask_alloc(1, timeout=P.TIMEOUT_FOREVER)
        broker.control.until("it left", lambda s: s["connections"] == 2 and s["waiting"] == 1)
        buffer.release()
        two.take_grant(serial)


def test_one_pools_memory_is_anothers(start):
    """Under the broker's own limit, what one pool gives up serves another's line."""
    broker = start(config="[Broker]\nMemoryMax=8M\n[Pool one]\n[Pool two]\n")
    with broker.client() as client:
        buffer = client.alloc(8 * MIB, pool="one")
        serial = client.ask_alloc(8 * MIB, pool="two", timeout=P.TIMEOUT_FOREVER)
        broker.control.until("in line", lambda s: s["waiting"] == 1)
        buffer.release()
        client.take_grant(serial)


def test_lease_slots(broker):
    with broker.client(slots=2) as client:
        first = client.alloc(1)
        client.alloc(1)
        with pytest.raises(Refused) as caught:
            client.alloc(1, timeout=P.TIMEOUT_FOREVER)
        assert caught.value.status == P.STATUS_LEASE_SLOTS
        assert caught.value.message.limit == 2
        first.release()
        client.alloc(1)


# ---- the cache ------------------------------------------------------------------------

def test_idle_is_taken_for_others(start):
    broker = start(config="[Pool default]\nMemoryMax=8M\n")
    with broker.client() as one, broker.client() as two:
        buffer = one.alloc(8 * MIB)
        buffer.map[:4] = b"mine"
        one.set_state(buffer, P.WORD_IDLE)
        assert broker.control.memory("cached") == (8 * MIB, 1)
        two.alloc(1 * MIB)  # at once: the owner is not asked
        assert one.word_state(buffer) == P.WORD_TAKEN
        assert buffer.map[:4] == bytes(4)  # punched out, and no fault
        one.sync()
        (reclaim,) = one.unasked
        assert reclaim.opcode == P.RECLAIM and reclaim.serial == 0
        assert reclaim.body == [buffer.lease]
        buffer.release()


def test_wanted_shows_while_somebody_waits(start):
    broker = start(config="[Pool default]\nBuffersMax=1\n")
    with broker.client() as one, broker.client() as two:
        buffer = one.alloc(1)
        assert one.word(0) == 0
        serial = two.ask_alloc(1, timeout=P.TIMEOUT_FOREVER)
        broker.control.until("in line", lambda s: s["waiting"] == 1)
        assert one.word(0) == P.WORD_ZERO_WANTED == two.word(0)
        buffer.release()
        two.take_grant(serial)
        assert one.word(0) == 0


def test_shared_comes_back_idle(broker, client, other):
    buffer = client.alloc(PAGE)
    token = client.export(buffer, flags=P.EXPORT_ONCE)
    client.set_state(buffer, P.WORD_SHARED)
    client.release([(*buffer.lease, P.RELEASE_KEEP)])
    assert client.word_state(buffer) == P.WORD_SHARED
    reader = other.import_(token)
    other.release([(*reader.lease, P.RELEASE_KEEP)])
    assert client.word_state(buffer) == P.WORD_IDLE
    # Warm on both sides: the same lease, and no descriptor.
    client.set_state(buffer, P.WORD_HELD)
    again = other.import_(client.export(buffer))
    assert again.lease == reader.lease and again.fd is None
    assert broker.control.status()["counters"]["made"] == 1


# ---- tokens ---------------------------------------------------------------------------

def test_export_import(client, other):
    buffer = client.alloc(5000)
    buffer.map[:5] = b"hello"
    token = client.export(buffer, length=1234)
    reader = other.import_(token)
    assert reader.grant.length == 1234 and not reader.writable
    assert reader.grant.object == buffer.grant.object
    assert reader.map[:5] == b"hello"
    buffer.map[:5] = b"HELLO"
    assert reader.map[:5] == b"HELLO"
    second = other.import_(token)
    assert second.lease == reader.lease and second.fd is None


def test_exporter_may_leave(broker, other):
    client = broker.client()
    buffer = client.alloc(5000)
    buffer.map[:5] = b"hello"
    token = client.export(buffer, flags=P.EXPORT_ONCE)
    client.close()
    broker.control.until("it left", lambda s: s["connections"] == 1)
    assert other.import_(token).map[:5] == b"hello"


def test_token_unknown_used_revoked_expired(broker, client, other):
    before = broker.snapshot()
    buffer = client.alloc(1)
    assert refusal(other.import_, secrets.token_bytes(16)) == "TOKEN_UNKNOWN"
    once = client.export(buffer, flags=P.EXPORT_ONCE)
    other.import_(once).release()
    assert refusal(other.import_, once) == "TOKEN_USED"
    revoked = client.export(buffer)
    assert refusal(other.revoke, revoked) == "TOKEN_UNKNOWN"
    client.revoke(revoked)
    client.revoke(revoked)
    assert refusal(other.import_, revoked) == "TOKEN_REVOKED"
    expired = client.export(buffer, ttl_ms=1)
    broker.control.until("expired", lambda s: s["tokens"] == 0)
    assert refusal(other.import_, expired) == "TOKEN_EXPIRED"
    assert refusal(client.export, buffer, token=expired) == "TOKEN_EXISTS"
    buffer.release()
    broker.control.call("Trim")
    assert broker.snapshot() == before


def test_transfer(client, other):
    buffer = client.alloc(PAGE)
    buffer.map[:2] = b"ab"
    buffer.unmap()
    token = client.export(buffer, flags=P.EXPORT_TRANSFER, length=2)
    assert client.word_state(buffer) == P.WORD_NONE
    got = other.import_(token)
    assert got.writable and got.map[:2] == b"ab"
    got.map[:2] = b"cd"
    assert other.word_state(got) == P.WORD_HELD
    assert refusal(client.release, [(*buffer.lease, 0)]) == "STALE_BUFFER"


@pytest.mark.parametrize("options, wanted", [
    ({"ttl_ms": 0}, "BAD_TTL"),
    ({"ttl_ms": 86400 * 1000 + 1}, "BAD_TTL"),
    ({"ttl_ms": (1 << 64) - 1}, "BAD_TTL"),
    ({"length": 0}, "BAD_LENGTH"),
    ({"length": PAGE + 1}, "BAD_LENGTH"),
    ({"length": (1 << 64) - 1}, "BAD_LENGTH"),
])
def test_export_refused(broker, client, options, wanted):
    buffer = client.alloc(PAGE)
    before = broker.snapshot()
    assert refusal(client.export, buffer, **options) == wanted
    # One-way, the same comes as a FAULT.
    client.export(buffer, confirm=False, **options)
    client.sync()
    fault = client.unasked.pop()
    assert fault.opcode == P.FAULT and fault.body.opcode == P.EXPORT
    assert wire.STATUS_NAMES[fault.body.status] == wanted
    assert broker.snapshot() == before


def test_token_limit(start):
    broker = start(config="[Broker]\nTokensMax=2\n")
    with broker.client() as client:
        assert client.welcome.max_tokens == 2
        buffer = client.alloc(1)
        first = client.export(buffer)
        client.export(buffer)
        assert refusal(client.export, buffer) == "TOKEN_LIMIT"
        client.revoke(first)
        client.export(buffer)


@pytest.mark.deadline(120)
def test_import_never_outruns_its_export(broker):
    """The EXPORT was sent before the token travelled: whichever the broker reads first."""
    rounds = 4000

    def importer(child):
        with Client(broker.path) as client:
            child.send("ready")
            while True:
                token = child.receive()
                if token is None:
                    return "done"
                client.import_(token).release()

    with Child(importer) as child, broker.client() as client:
        child.receive()
        buffer = client.alloc(PAGE)
        for _ in range(rounds):
            child.send(client.export(buffer, confirm=False, flags=P.EXPORT_ONCE))
            client.tokens.clear()
        child.send(None)
        assert child.result() == "done"
        client.sync()
        assert not client.unasked


def test_import_at_once_from_many_connections(broker):
    """The same within one process: sent on one connection, at once asked for on others."""
    with broker.client() as client:
        others = [broker.client() for _ in range(10)]
        buffer = client.alloc(PAGE)
        for i in range(2000):
            reader = others[i % len(others)]
            token = client.export(buffer, confirm=False, flags=P.EXPORT_ONCE)
            reader.import_(token).release(confirm=False)
            client.tokens.clear()
        for other in others:
            other.close()


# ---- release --------------------------------------------------------------------------

def test_release_of_what_is_not_ones_own(broker, client, other):
    buffer = client.alloc(PAGE)
    before = broker.snapshot()
    slot, generation = buffer.lease
    assert refusal(other.release, [(slot, generation, 0)]) == "STALE_BUFFER"
    for lease in ((slot, generation + 1), (0, 0), (slot + 1, generation), (0, generation),
                  (0xffffffff, generation), (511, 1), (512, 1)):
        for flags in (0, P.RELEASE_KEEP):
            assert refusal(client.release, [(*lease, flags)]) == "STALE_BUFFER"
    assert broker.snapshot() == before
    buffer.release()
    assert refusal(client.release, [(slot, generation, 0)]) == "STALE_BUFFER"


def test_release_in_batches(broker, client):
    buffers = [client.alloc(1) for _ in range(P.RELEASE_MAX - 1)]
    entries = [(*buffer.lease, 0) for buffer in buffers]
    entries.insert(60, (1, 999999, 0))
    # The bad one is named; the others count.
    assert refusal(client.release, entries) == "STALE_BUFFER"
    assert broker.control.memory("held") == (0, 0)
    assert broker.control.memory("free")[1] == len(buffers)


def test_fault_of_a_one_way_release(client):
    client.send(wire.release(77, [(3, 3, 0)]))
    client.sync()
    (fault,) = client.unasked
    assert fault.serial == 77 and fault.body.opcode == P.RELEASE
    assert fault.body.status == P.STATUS_STALE_BUFFER


# ---- raw descriptors ------------------------------------------------------------------

def test_descriptor(broker, client, other):
    buffer = client.alloc(PAGE)
    writable = client.descriptor(buffer)
    os.pwrite(writable, b"raw", 0)
    assert buffer.map[:3] == b"raw"
    reader = other.import_(client.export(buffer, flags=P.EXPORT_ONCE))
    assert not reader.grant.flags & P.GRANT_MAY_KEEP
    assert refusal(other.descriptor, reader) == "NOT_WRITER"
    readable = other.descriptor(reader, flags=P.FD_READONLY)
    assert os.pread(readable, 3, 0) == b"raw"
    with pytest.raises(OSError):
        os.pwrite(readable, b"x", 0)
    reader.release()
    buffer.release()
    # Not before both are closed; and nothing of it shows to the next one.
    broker.control.until("in quarantine", lambda s: s["memory"]["quarantine"]["buffers"] == 1)
    os.close(writable)
    assert os.pread(readable, 3, 0) == b"raw"
    os.close(readable)
    broker.control.until("free", lambda s: s["memory"]["free"]["buffers"] == 1)
    again = client.alloc(PAGE)
    assert again.grant.object == buffer.grant.object
    assert again.grant.flags & P.GRANT_ZEROED and again.map[:3] == bytes(3)


def test_descriptor_outlives_the_quarantine(start):
    """Whoever was given a descriptor keeps its memory, however long."""
    broker = start(config="[Broker]\nQuarantineMax=0\n")
    with broker.client() as client:
        buffer = client.alloc(PAGE)
        raw = client.descriptor(buffer)
        os.pwrite(raw, b"raw", 0)
        buffer.release()
        broker.control.until("asked", lambda s: s["counters"]["proofs_failed"] >= 5)
        assert os.pread(raw, 3, 0) == b"raw"
        os.close(raw)


# ---- the end --------------------------------------------------------------------------

def test_everything_returns_with_the_connection(broker):
    empty = broker.snapshot()
    with broker.client() as client, broker.client() as other:
        buffers = [client.alloc(PAGE << i) for i in range(6)]
        token = client.export(buffers[0])
        other.import_(token)
        client.set_state(buffers[1], P.WORD_IDLE)
        client.ask_alloc(64 * MIB)
        client.descriptor(buffers[2])
        client.revoke(token)
        os.close(client.descriptor(buffers[3]))
        # The raw descriptor above is this test's leak to mend.
        leaked = max(int(name) for name in os.listdir("/proc/self/fd")
                     if os.path.exists(f"/proc/self/fd/{name}") and
                     os.path.samestat(os.stat(f"/proc/self/fd/{name}"),
                                      os.fstat(buffers[2].fd)))
    os.close(leaked)
    broker.until_nobody_holds()
    broker.control.call("Trim")
    assert broker.snapshot() == empty


def test_no_descriptor_stays_behind(broker):
    """Connections come and go by the hundred."""
    before = open_descriptors(broker.pid)
    for _ in range(300):
        with broker.client() as client:
            client.alloc(1)
    broker.until_nobody_holds()
    broker.control.call("Trim")
    broker.control.until("empty", lambda s: s["memory"]["total"]["buffers"] == 0)
    assert open_descriptors(broker.pid) == before


def test_slow_reader_is_disconnected(start):
    """Who does not read harms nobody else, and is gone."""
    broker = start(config="[Broker]\nQueueMax=8\n")
    with broker.client() as slow, broker.client() as other:
        try:
            for serial in range(1, 100000):
                slow.send(wire.sync(serial))
        except (BrokenPipeError, ConnectionResetError):
            pass
        other.sync()
        broker.control.until("gone", lambda s: s["connections"] == 1)
        assert broker.control.status()["connection_counters"]["breaches"] == 1
        assert "not read" in broker.stderr()


def test_connection_ends_but_its_process_has_the_memory(start):
    """It goes to quarantine, which says for how long at most."""
    broker = start(config="[Broker]\nQuarantineMax=1h\n")
    client = broker.client()
    fd = os.dup(client.alloc(PAGE).fd)
    client.close()
    broker.control.until("in quarantine", lambda s: s["memory"]["quarantine"]["buffers"] == 1)
    (row,) = broker.control.call("Quarantine")["quarantine"]
    assert row["lost_holder"] and not row["escaped"] and not row["left_domain"]
    assert 0 < row["retires_in_ns"] <= 3600 * 10**9
    os.close(fd)
    broker.control.until("free", lambda s: s["memory"]["free"]["buffers"] == 1)
