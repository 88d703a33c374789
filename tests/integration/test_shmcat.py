# SPDX-License-Identifier: Apache-2.0
"""shmcat put and get, as people and scripts use it."""

import hashlib
import os
import random
import subprocess
import tempfile
import time

import pytest

import harness
from harness import MIB, UID_A, UID_B, needs_root


@pytest.fixture
def shmcat(programs, broker):
    """(status, stdout, stderr) of shmcat with these arguments."""
    return shmcat_at(programs, broker)


def shmcat_at(programs, broker):
    def call(*arguments, **options):
        return harness.run([programs.shmcat, *arguments], programs=programs, broker=broker,
                           **options)
    return call


@pytest.fixture
def file():
    """Makes a file of so many bytes that every user may read."""
    with tempfile.TemporaryDirectory(prefix="shmbroker-test-") as directory:
        os.chmod(directory, 0o755)

        def make(size):
            path = os.path.join(directory, f"file-{size}")
            with open(path, "wb") as opened:
                opened.write(random.Random(size).randbytes(size))
            os.chmod(path, 0o644)
            return path

        yield make


def put(shmcat, *arguments, **options):
    status, out, err = shmcat("put", *arguments, **options)
    assert status == 0, err
    assert len(out) == 33 and out.endswith(b"\n") and err == ""
    token = out.decode().strip()
    assert token == token.lower() and int(token, 16) >= 0
    return token


def refused(result, *words):
    status, out, err = result
    assert status == 1 and out == b""
    assert err.startswith("shmcat: ") and err.count("\n") == 1
    for word in words:
        assert word in err, err


def until_expired(broker):
    broker.control.until("expired", lambda s: s["tokens"] == 0)


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 3 * MIB + 1, 33 * MIB])
def test_put_get(shmcat, broker, file, size):
    path = file(size)
    token = put(shmcat, "--once", path)
    # Its maker is gone, and the memory is there.
    broker.control.until("left", lambda s: s["connections"] == 0)
    assert broker.control.memory("held")[0] >= size
    status, out, err = shmcat("get", token)
    assert (status, err) == (0, "") and out == open_bytes(path)


def open_bytes(path):
    with open(path, "rb") as opened:
        return opened.read()


def test_many_gets_until_it_expires(shmcat, broker, file):
    path = file(10000)
    token = put(shmcat, "--ttl=1.5", path)
    for _ in range(3):
        assert shmcat("get", token)[:2] == (0, open_bytes(path))
    until_expired(broker)
    refused(shmcat("get", token), "expired")


def test_ttl_expires(shmcat, broker, file):
    begin = time.monotonic()
    token = put(shmcat, "--ttl=0.2", file(100))
    until_expired(broker)
    assert time.monotonic() - begin >= 0.2
    refused(shmcat("get", token), "expired")
    assert broker.control.memory("held") == (0, 0)


def test_once(shmcat, file):
    token = put(shmcat, "--once", file(100))
    assert shmcat("get", token)[0] == 0
    refused(shmcat("get", token), "used")


@pytest.mark.parametrize("size", [1, MIB, MIB + 1, 5 * MIB + 77])
def test_standard_input(shmcat, size):
    data = random.Random(size).randbytes(size)
    token = put(shmcat, "--once", "-", stdin=data)
    assert shmcat("get", token)[:2] == (0, data)


def test_standard_input_in_pieces(programs, broker, shmcat):
    """From a pipe that is slow: all of it, up to its end."""
    with subprocess.Popen(
            [programs.shmcat, "put", "--once", "-"], stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=dict(programs.environment, SHMBROKER_SOCKET=broker.path)) as process:
        for piece in (b"one ", b"two ", b"three"):
            process.stdin.write(piece)
            process.stdin.flush()
        out, _ = process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode == 0
    assert shmcat("get", out.decode().strip())[:2] == (0, b"one two three")


def test_standard_input_from_a_file_read_before(programs, broker, shmcat, file):
    path = file(10000)
    with open(path, "rb", buffering=0) as opened:
        opened.seek(4000)
        out = subprocess.run([programs.shmcat, "put", "--once", "-"], stdin=opened,
                             capture_output=True, check=True,
                             env=dict(programs.environment,
                                      SHMBROKER_SOCKET=broker.path)).stdout
    assert shmcat("get", out.decode().strip())[1] == open_bytes(path)[4000:]


def test_output_file(shmcat, file, tmp_path):
    path, target = file(5000), tmp_path / "out"
    token = put(shmcat, "--ttl=1", path)
    assert shmcat("get", f"--output={target}", token) == (0, b"", "")
    assert target.read_bytes() == open_bytes(path)
    # A token that is no good leaves the file as it was.
    refused(shmcat("get", f"--output={target}", "0" * 32), "token")
    assert target.read_bytes() == open_bytes(path)


def test_empty_file(shmcat, broker, file):
    refused(shmcat("put", file(0)), "empty")
    refused(shmcat("put", "-", stdin=b""), "empty")
    broker.control.until("left", lambda s: s["connections"] == 0)
    assert broker.control.memory("held") == (0, 0)


def test_no_file(shmcat, tmp_path):
    refused(shmcat("put", str(tmp_path / "none")), "none", "No such file")
    refused(shmcat("put", str(tmp_path)), str(tmp_path))


@pytest.mark.parametrize("token", ["", "12", "g" * 32, "0" * 31, "0" * 33, "0x" + "0" * 30])
def test_what_is_no_token(shmcat, token):
    status, out, err = shmcat("get", token)
    assert status in (1, 2) and out == b"" and err.startswith("shmcat: ")


def test_unknown_token(shmcat):
    refused(shmcat("get", "0123456789abcdef" * 2), "token")


@pytest.mark.parametrize("arguments", [[], ["put"], ["get"], ["steal", "x"], ["put", "a", "b"],
                                       ["put", "--ttl=never", "a"], ["put", "--ttl=-1", "a"],
                                       ["put", "--ttl=0", "a"], ["get", "--once", "0" * 32],
                                       ["put", "--nonsense", "a"]])
def test_wrong_command_line(shmcat, arguments):
    status, out, err = shmcat(*arguments)
    assert status == 2 and out == b"" and "shmcat" in err


def test_help_and_version(shmcat):
    status, out, err = shmcat("--help")
    assert status == 0 and b"shmcat put" in out and err == ""
    status, out, err = shmcat("--version")
    assert status == 0 and out.startswith(b"shmcat 0.") and err == ""


def test_refused_with_the_limits_name(start, programs, file):
    shmcat = shmcat_at(programs, start(config="[Pool default]\nMemoryMax=1M\n"))
    refused(shmcat("put", file(2 * MIB)), "too-large")
    refused(shmcat("put", "--pool=none", file(1)), "\"none\"")
    refused(shmcat("put", "--ttl=1000000", file(1)), "ttl")


def test_waits_for_memory(start, programs, file):
    broker = start(config="[Pool default]\nMemoryMax=1M\n")
    shmcat = shmcat_at(programs, broker)
    token = put(shmcat, "--ttl=0.5", file(MIB))
    refused(shmcat("put", file(MIB)), "pool-bytes")
    second = put(shmcat, "--timeout=20", "--once", file(MIB))
    refused(shmcat("get", token), "expired")
    assert shmcat("get", second)[0] == 0


def test_reader_that_stops_reading(programs, broker, shmcat, file):
    """The status says so, and the broker has it back."""
    token = put(shmcat, "--once", file(8 * MIB))
    with subprocess.Popen([programs.shmcat, "get", token], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE,
                          env=dict(programs.environment,
                                   SHMBROKER_SOCKET=broker.path)) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert harness.wait_exit(process) != 0
    broker.until_nobody_holds()


@needs_root
def test_from_one_user_to_another(start, programs, file):
    broker = start(uid=harness.BROKER_UID)
    shmcat = shmcat_at(programs, broker)
    path = file(2 * MIB)
    digest = hashlib.sha256(open_bytes(path)).digest()
    token = put(shmcat, "--once", path, uid=UID_A)
    status, out, _ = shmcat("get", token, uid=UID_B)
    assert status == 0 and hashlib.sha256(out).digest() == digest
    # For its own user only, if it says so.
    token = put(shmcat, "--once", "--same-user", path, uid=UID_A)
    refused(shmcat("get", token, uid=UID_B), "token-domain")
    status, out, _ = shmcat("get", token, uid=UID_A)
    assert status == 0 and hashlib.sha256(out).digest() == digest


@needs_root
def test_pool_of_one_user(start, programs, file):
    broker = start(uid=harness.BROKER_UID, config=f"[Pool private]\nAllowUsers={UID_A}\n")
    shmcat = shmcat_at(programs, broker)
    path = file(1000)
    refused(shmcat("put", "--pool=private", path, uid=UID_B), "pool-denied")
    token = put(shmcat, "--pool=private", "--ttl=1", path, uid=UID_A)
    refused(shmcat("get", token, uid=UID_B), "pool-denied")
    assert shmcat("get", token, uid=UID_A)[0] == 0
