# SPDX-License-Identifier: Apache-2.0
"""Connections: how they end, and what one client can do to the others by its own."""

import contextlib
import os
import secrets
import signal
import socket
import struct

import pytest

from harness import open_descriptors
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
