# SPDX-License-Identifier: Apache-2.0
"""Connections: how they end, and what one client can do to the others by its own."""

import contextlib
import os
import signal
import socket
import struct

import pytest

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
