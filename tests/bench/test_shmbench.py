# SPDX-License-Identifier: Apache-2.0
"""shmbench itself: every bench runs, alone, and what it prints can be read."""

import json
import os
import subprocess

import pytest

SHMBENCH = os.environ["SHMBENCH"]
HANDOVER = os.environ["HANDOVER"]
SHMBROKERD = os.environ["SHMBROKERD"]

# Small counts: whether it works, not how fast.
ROWS = {
    "limit.spin.oneway": (["-n", "2000"], ["limit.spin.oneway"]),
    "limit.eventfd.oneway": (["-n", "50"], ["limit.eventfd.oneway"]),
    "limit.seqpacket.fd.rtt": (["-n", "50"], ["limit.seqpacket.fd.rtt"]),
    "limit.malloc64": (["-n", "5000"], ["limit.malloc64"]),
    "limit.memcpy": (["-n", "3", "--size", "64K"], ["limit.memcpy"]),
    "pool.cached": (["-n", "2000", "--size", "1M"], ["pool.cached"]),
    "pool.brokered": (["-n", "50", "--size", "4K"], ["pool.brokered", "pool.brokered.pair"]),
    "pool.cold": (["-n", "3", "--size", "1M"], ["pool.cold", "pool.cold.touched"]),
    "token.import": (["-n", "50", "--size", "1M"], ["token.import", "token.import.pair"]),
}


def run(*arguments, timeout=60):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SHMBROKER_")}
    return subprocess.run(
        [SHMBENCH, *arguments], env=environment, capture_output=True, text=True, timeout=timeout
    )


def rows(result):
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


@pytest.mark.parametrize("name", ROWS)
def test_alone_in_json(name):
    options, expected = ROWS[name]
    got = rows(run("run", name, "--json", *options))
    assert [row["name"] for row in got] == expected
    for row in got:
        assert row["n"] == int(options[1])
        assert 0 < row["min_ns"] <= row["p50_ns"] <= row["p99_ns"] <= row["max_ns"]
        if "--size" in options:
            assert row["size"] == {"4K": 4 << 10, "64K": 64 << 10, "1M": 1 << 20}[options[-1]]


def test_several_sizes_and_a_pattern():
    got = rows(run("run", "pool.brok*", "--json", "-n", "10", "--size", "4096", "1M"))
    assert sorted({row["size"] for row in got}) == [4096, 1 << 20]


def test_seconds_end_it():
    (row,) = rows(run("run", "limit.malloc64", "--json", "--seconds", "0.05"))
    assert row["n"] >= 1000


def test_scale_reports_the_brokers_memory():
    one, everyone = rows(run("run", "scale.1000", "--json", "-n", "300", timeout=120))
    assert (one["name"], everyone["name"]) == ("scale.one", "scale.all")
    assert everyone["clients"] == 1000
    # Each buffer is a descriptor of the broker's; some hosts allow no more than 20,000 in all.
    assert everyone["buffers"] == 20000 or "descriptor limit" in everyone["note"]
    assert everyone["buffers"] > 0
    assert everyone["buffer_bytes"] > 0 and everyone["start_bytes"] > 0


def test_mixed_reports_both():
    quiet, busy = rows(run("run", "mixed.cold1g", "--json", "-n", "300", timeout=120))
    assert (quiet["name"], busy["name"]) == ("mixed.quiet", "mixed.busy")
    assert busy["loads"] >= 5


def test_table_is_aligned():
    result = run("run", "limit.malloc64", "limit.memcpy", "-n", "2", "--size", "4K")
    assert result.returncode == 0
    header, *lines = result.stdout.splitlines()
    assert len(lines) == 2
    at = header.index("p50") + len("p50")
    for line in lines:
        assert line[at] == " " and line[:at].endswith("s")


def test_list_names_all():
    result = run("list")
    names = [line.split()[0] for line in result.stdout.splitlines()]
    assert result.returncode == 0
    assert set(ROWS) | {"mixed.cold1g", "scale.1000"} == set(names)


@pytest.mark.parametrize(
    "arguments, word",
    [
        ([], "Usage"),
        (["walk"], "walk"),
        (["run"], "NAME"),
        (["run", "pool.nothing"], "pool.nothing"),
        (["run", "limit.memcpy", "--size", "0"], "0"),
        (["run", "limit.memcpy", "--size", "12X"], "12X"),
        (["run", "limit.memcpy", "-n", "-5"], "-5"),
        (["run", "limit.memcpy", "--seconds", "nan"], "nan"),
        (["run", "limit.memcpy", "--sideways"], "sideways"),
        (["list", "limit.memcpy"], "limit.memcpy"),
    ],
)
def test_wrong_usage(arguments, word):
    result = run(*arguments)
    assert result.returncode == 2
    assert word in result.stderr
    assert result.stdout == ""


def test_help_and_version():
    assert "Usage: shmbench" in run("--help").stdout
    assert run("--version").stdout.startswith("shmbench ")


def test_no_broker_is_said(tmp_path):
    environment = dict(os.environ, SHMBROKER_SOCKET=str(tmp_path / "none.sock"))
    result = subprocess.run(
        [SHMBENCH, "run", "pool.cached"],
        env=environment, capture_output=True, text=True, timeout=60,
    )
    assert result.returncode == 1
    assert "none.sock" in result.stderr
    assert "pool.cached" not in result.stdout


def test_no_daemon_is_said():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SHMBROKER_")}
    environment["SHMBROKERD"] = "/nonexistent/shmbrokerd"
    result = subprocess.run(
        [SHMBENCH, "run", "pool.cached"],
        env=environment, capture_output=True, text=True, timeout=60,
    )
    assert result.returncode == 1
    assert "/nonexistent/shmbrokerd" in result.stderr


def test_handover_compares_and_leaves_nothing(tmp_path):
    payload = tmp_path / "payload"
    payload.write_bytes(os.urandom(100_003))
    before = set(os.listdir("/dev/shm"))
    result = subprocess.run(
        [SHMBROKERD, "--run", "--", HANDOVER, str(payload), "5"],
        capture_output=True, text=True, timeout=60,
    )
    assert result.returncode == 0, result.stderr
    for way in ("the floor", "token (shmbroker)", "POSIX pool by hand", "Unix socket, copied"):
        assert way in result.stdout
    assert set(os.listdir("/dev/shm")) == before
