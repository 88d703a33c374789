# SPDX-License-Identifier: Apache-2.0
"""Connections: how they end, and what one client can do to the others by its own."""

import contextlib
import os
import secrets
import signal
import socket
import struct

import pytest

from harness import MIB, UID_A, Child, needs_root, open_descriptors
from wire import P
import wire


@contextlib.contextmanager
def stopped(broker):
    """Whatever is sent meanwhile lies in the broker's sockets all at once."""
    os.kill(broker.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


# ---- descriptors that a client sends ---------------------------------------------------

def lingering_connection():
    """A TCP socket whose last close waits for an hour, and the other end of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = socket.create_connection(server.getsockname())
        other, _ = server.accept()
    mine.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            mine.send(bytes(1 << 16))
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 3600))
    return mine, other


@pytest.mark.parametrize("before", [[], [wire.header(0x7f, 1)], [b""], [wire.sync(1)] * 40],
                         ids=["first", "behind a breach", "behind an end", "at the end"])
def test_descriptor_that_takes_long_to_close(start, before):
    """The broker has the last reference to it; nobody is held up by that."""
    broker = start()
    with broker.client() as witness, broker.client() as client:
        mine, other = lingering_connection()
        with other:
            with stopped(broker):
                for packet in before:
                    client.send(packet)
                client.send(wire.sync(2), [mine.fileno()])
                mine.close()
            for _ in range(100):
                witness.sync()
            broker.control.until("closed", lambda s: s["connections"] == 1)
            witness.alloc(1).release()


def test_descriptor_of_one_too_many(start):
    broker = start(config="[Broker]\nConnectionsMax=1\n")
    with broker.client() as witness:
        mine, other = lingering_connection()
        with other:
            with stopped(broker), broker.client(greet=False) as client:
                client.send(wire.sync(1), [mine.fileno()])
                mine.close()
            broker.control.until("refused",
                                 lambda s: s["connection_counters"]["refused"] == 1)
            witness.sync()
            broker.control.until("closed", lambda s: s["connections"] == 1)


# ---- the lease page --------------------------------------------------------------------

def test_lease_page_of_one_that_left(broker):
    """Kept mapped, its memory would be the broker's for ever."""
    with broker.client(greet=False) as client:
        client.send(wire.hello(1, slots=16383))
        page = client.answer(1).fd
    try:
        broker.control.until("left", lambda s: s["connections"] == 0)
        assert os.fstat(page).st_blocks == 0
        assert os.pread(page, 8, 0) == bytes(8)
    finally:
        os.close(page)


# ---- who does not read, or leaves ------------------------------------------------------

def test_cache_of_a_sleeper_is_taken(start):
    """One that reads nothing meanwhile finds out later, however many buffers it had."""
    broker = start(config="[Broker]\nQueueMax=8\n")
    with broker.client() as sleeper, broker.client() as other:
        buffers = [sleeper.alloc(1) for _ in range(500)]
        for buffer in buffers:
            sleeper.set_state(buffer, P.WORD_IDLE)
        broker.control.call("Trim")
        assert all(sleeper.word_state(buffer) == P.WORD_TAKEN for buffer in buffers)
        sleeper.sync()
        assert sorted(lease for message in sleeper.unasked for lease in message.body) == sorted(
            buffer.lease for buffer in buffers)
        for buffer in buffers:
            buffer.release(confirm=False)
        sleeper.sync()
        # One by one, with nobody in between to read them.
        few = [sleeper.alloc(1) for _ in range(300)]
        for buffer in few:
            sleeper.set_state(buffer, P.WORD_IDLE)
            broker.control.call("Trim")
        for buffer in few:
            buffer.release(confirm=False)
        sleeper.sync()
        other.sync()


def test_descriptors_not_read_are_few(start):
    """Those the broker holds for a client that does not read."""
    broker = start(config="[Broker]\nRequestsMax=4\n")
    before = open_descriptors(broker.pid)
    with broker.client() as slow:
        buffer = slow.alloc(1)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            while True:
                slow.send(wire.fd(7, buffer.lease))
                assert open_descriptors(broker.pid) < before + 16
        broker.control.until("gone", lambda s: s["connections"] == 0)
        assert "RequestsMax=" in broker.stderr()


@pytest.mark.parametrize("requests", [[wire.sync(5)] * 3, [wire.release(5, [(9, 9, 0)])]],
                         ids=["answers", "faults"])
def test_export_and_leave(broker, requests):
    """An EXPORT counts, whatever its sender does not wait to hear."""
    with broker.client() as importer:
        for _ in range(20):
            token = secrets.token_bytes(16)
            exporter = broker.client()
            buffer = exporter.alloc(1)
            with stopped(broker):
                for packet in requests:
                    exporter.send(packet)
                exporter.send(wire.export(9, buffer.lease, token, flags=P.EXPORT_ONCE))
                exporter.close()
            importer.import_(token).release()


@contextlib.contextmanager
def heir_of_a_client(broker, last_words):
    """A client that was killed just now, while a child of it, which lives on, still has the
    socket. Yields what it said."""
    said, saying = os.pipe()
    alive, ending = os.pipe()

    def victim(child):
        client = broker.client()
        buffer = client.alloc(1)
        buffer.close_fd()
        if os.fork() == 0:
            os.close(ending)
            os.read(alive, 1)  # until the test ends
            os._exit(0)
        child.send(buffer.lease)
        child.receive()
        last_words(client, buffer)
        os.write(saying, b"!")
        signal.pause()

    try:
        with Child(victim) as child:
            lease = child.receive()
            with stopped(broker):
                child.send("go on")
                assert os.read(said, 1) == b"!"
                child.kill()
            yield lease
    finally:
        for fd in (said, saying, alive, ending):
            os.close(fd)


def test_process_is_gone_but_its_child_has_the_socket(broker):
    """Nothing leaks: the lease was the process's."""
    with heir_of_a_client(broker, lambda client, buffer: None):
        broker.until_nobody_holds()
        assert broker.control.status()["clients"] == 0


def test_last_words_of_a_process(broker):
    """What it sent before it was killed counts, though the socket has not ended."""
    tokens = [secrets.token_bytes(16) for _ in range(50)]  # more than one turn reads

    def last_words(client, buffer):
        for token in tokens:
            client.send(wire.export(1, buffer.lease, token, flags=P.EXPORT_ONCE))

    with broker.client() as importer, heir_of_a_client(broker, last_words):
        for token in tokens:
            importer.import_(token).release()
        broker.control.until("gone", lambda s: s["connections"] == 1)


def test_import_waits_for_exports_of_everybody(broker):
    """However many there are, and however much lies before them in the sockets."""
    exporters = [broker.client() for _ in range(150)]
    buffers = [exporter.alloc(1) for exporter in exporters]
    tokens = [secrets.token_bytes(16) for _ in exporters]
    with broker.client() as importer:
        with stopped(broker):
            serials = [importer.ask_import(token) for token in tokens[:60]]
            for exporter, buffer, token in zip(exporters, buffers, tokens):
                for _ in range(40):
                    exporter.send(wire.revoke(5, bytes(16), confirm=True))
                exporter.send(wire.export(6, buffer.lease, token, flags=P.EXPORT_ONCE))
        for serial in serials:
            importer.take_grant(serial).release()
        for token in tokens[60:]:
            importer.import_(token).release()
    for exporter in exporters:
        exporter.close()


# ---- proof of return -------------------------------------------------------------------

def test_opened_in_the_middle_of_the_proof(start):
    """An O_PATH descriptor is not seen, and can be opened while the broker has its lease on
    the object: the kernel signals that to the broker."""
    broker = start(config="[Pool default]\nBuffersMax=1\n")
    with broker.client() as client, contextlib.ExitStack() as stack:
        buffer = client.alloc(1)
        path = os.open(f"/proc/self/fd/{buffer.fd}", os.O_PATH)
        stack.callback(os.close, path)
        buffer.close_fd()  # which the child would inherit

        def opener(_child):
            while True:
                with contextlib.suppress(BlockingIOError):
                    os.close(os.open(f"/proc/self/fd/{path}", os.O_RDWR | os.O_NONBLOCK))
                for _ in range(2000):  # most of the time it is not open
                    pass

        with Child(opener):
            for _ in range(600):
                os.close(client.descriptor(buffer))
                buffer.release()
                client.buffers.clear()
                buffer = client.alloc(1, timeout=P.TIMEOUT_FOREVER)


# ---- memory that has to be made --------------------------------------------------------

@needs_root
def test_many_large_ones_delay_nobody_elses_small_one(start):
    broker = start(config="[Broker]\nWorkers=1\n")

    def glutton(child):
        clients = [broker.client() for _ in range(4)]
        child.send("here")
        child.receive()
        for client in clients:
            for _ in range(50):
                client.ask_alloc(2 * MIB)
        child.send("asked")
        child.receive()

    with broker.client() as modest, Child(glutton, uid=UID_A) as child:
        child.receive()
        with stopped(broker):
            child.send("ask")
            child.receive()
            serial = modest.ask_alloc(1)
        modest.take_grant(serial)
        # Not behind them: most are still being made.
        assert broker.control.memory("making")[1] > 100


# ---- what no limit of memory counts ----------------------------------------------------

def test_lease_pages_are_a_small_part_of_memory(start):
    broker = start(config="[Broker]\nMemoryMax=64M\n")
    most = 8 * (16383 + 1)
    with contextlib.ExitStack() as stack:
        for i in range(20):
            client = stack.enter_context(broker.client(slots=16383))
            fits = (i + 1) * most <= 64 * MIB // 64
            assert client.welcome.lease_slots == (16383 if fits else 511)
    broker.until_nobody_holds()
    with broker.client(slots=16383) as client:
        assert client.welcome.lease_slots == 16383
