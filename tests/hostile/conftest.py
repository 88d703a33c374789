# SPDX-License-Identifier: Apache-2.0
"""The fixtures of ../integration, and a broker that must be unharmed at the end."""

import os
import sys

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../integration"))

from conftest_shared import *  # noqa: E402,F401,F403


class Witness:
    """A client that minds its own business meanwhile."""

    def __init__(self, broker):
        self.broker = broker
        self.client = broker.client(name="witness")
        self.buffer = self.client.alloc(10000)
        self.buffer.map[:5] = b"mine!"
        self.before = broker.snapshot()

    def check(self):
        """All is as it was, and the broker goes on serving."""
        wanted = self.before["connections"]
        self.broker.control.until("left alone", lambda s: s["connections"] == wanted)
        self.broker.snapshot()  # what was returned is free
        self.broker.control.call("Trim")
        now = self.broker.snapshot()
        assert now == self.before
        self.client.sync()
        assert not self.client.unasked
        assert self.buffer.map[:5] == b"mine!"
        self.client.alloc(1).release()


@pytest.fixture
def witness(start):
    """Of a broker that is hard to tire: one for all that a test tries."""
    broker = start(config="[Broker]\nHelloTimeout=20s\n")
    made = Witness(broker)
    with made.client:
        made.check()
        yield made
        made.check()
