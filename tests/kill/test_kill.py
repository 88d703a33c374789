# SPDX-License-Identifier: Apache-2.0
"""Clients killed at random moments, by the thousand: all they held comes back, at once.

KILL_COUNT=n for another number than 10,000, KILL_SEED=n for the same moments again as far
as the machine lets them be the same.
"""

import os
import subprocess
import time

import pytest

import harness

COUNT = int(os.environ.get("KILL_COUNT", 10000))
SEED = int(os.environ.get("KILL_SEED", time.time_ns() % (1 << 32)))
AT_ONCE_NS = 100_000_000

# Little enough that victims wait in line for one another.
CONFIG = "[Broker]\nMemoryMax=96M\n"


@pytest.mark.deadline(1000)
def test_killed_at_random_moments(start, programs):
    broker = start(config=CONFIG)
    before = broker.snapshot()
    shmem = harness.host_shmem()
    print("seed", SEED)

    def in_child():
        broker.group.join()  # whoever touches shared memory first is charged for it
        harness.become(None)

    with subprocess.Popen([programs.victims, str(COUNT), str(SEED)], stdout=subprocess.PIPE,
                          env=dict(programs.environment, SHMBROKER_SOCKET=broker.path),
                          preexec_fn=in_child) as process:
        text, _ = process.communicate(timeout=900)
    assert process.returncode == 0
    broker.control.until("returned", lambda s: s["memory"]["held"]["bytes"] == 0)
    returned = time.monotonic_ns()
    result = {name: int(value) for name, value in
              (line.split() for line in text.decode().splitlines())}
    print(result, "returned after", (returned - result["end"]) / 1e6, "ms")
    assert returned - result["end"] <= AT_ONCE_NS
    assert result["failures"] == 0

    # They did die everywhere, and the broker was busy serving them.
    often = ("connecting", "allocating", "holding", "exporting", "importing")
    seldom = ("reading", "raw", "releasing")
    assert sum(result[deed] for deed in (*often, *seldom)) == COUNT
    assert all(result[deed] >= COUNT // 500 for deed in often), result
    assert all(result[deed] > 0 for deed in seldom), result
    assert result["imports"] >= COUNT // 100

    broker.until_nobody_holds()
    broker.control.call("Trim")
    after = broker.snapshot()
    assert after == before
    if broker.group.shmem is None:
        slack = 4 * harness.MIB
        assert harness.host_shmem() <= shmem + slack
    else:
        assert broker.group.shmem <= harness.MemoryGroup.SLACK
