# SPDX-License-Identifier: Apache-2.0
"""Fixtures of all tests that run processes: for the conftest.py here and in ../hostile."""

import os
import signal

import pytest

import harness

TEST_DEADLINE_S = 60


@pytest.fixture(autouse=True)
def deadline(request):
    """No test runs longer, and none leaves a descriptor open."""
    marker = request.node.get_closest_marker("deadline")
    seconds = marker.args[0] if marker else TEST_DEADLINE_S

    def over(_number, _frame):
        raise TimeoutError(f"longer than {seconds} s")

    before = harness.open_descriptors(os.getpid())
    signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    assert harness.open_descriptors(os.getpid()) <= before, "the test left descriptors open"


def pytest_configure(config):
    config.addinivalue_line("markers", "deadline(seconds): more or less time than usual")


@pytest.fixture(scope="session")
def programs():
    made = harness.Programs()
    yield made
    made.remove()


@pytest.fixture
def start(programs):
    """Starts brokers that are stopped, and checked, at the end of the test; `forget` those
    the test ended by itself."""
    started = []

    def begin(**options):
        started.append(harness.Broker(programs, **options))
        return started[-1]

    def forget(*brokers):
        for broker in brokers:
            started.remove(broker)
            broker.kill()

    begin.forget = forget
    yield begin
    try:
        while started:
            started.pop().stop()
    finally:
        for broker in started:
            broker.kill()


@pytest.fixture
def broker(start):
    """With the rights of the test."""
    return start()


@pytest.fixture
def system_broker(start):
    """As the service runs: under a uid of its own."""
    if not harness.is_root:
        pytest.skip("acting as other users needs root")
    return start(uid=harness.BROKER_UID)
