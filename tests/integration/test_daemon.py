# SPDX-License-Identifier: Apache-2.0
"""shmbrokerd from its start to its end."""

import os
import signal
import socket
import subprocess

import pytest

import harness
import wire
from harness import MIB
from wire import P


def notifications(programs, tmp_path, arguments, act):
    """What it tells the service manager, line by line; `act(process)` once it is ready."""
    path = str(tmp_path / "notify")
    lines = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(harness.DEADLINE_S)
        with subprocess.Popen([programs.shmbrokerd, *arguments],
                              env=dict(programs.environment, NOTIFY_SOCKET=path),
                              stderr=subprocess.DEVNULL,
                              preexec_fn=lambda: harness.become(None)) as process:
            while "READY=1" not in lines:
                lines += notify.recv(4096).decode().splitlines()
            act(process)
            assert harness.wait_exit(process) == 0
        notify.setblocking(False)
        try:
            while True:
                lines += notify.recv(4096).decode().splitlines()
        except BlockingIOError:
            return lines


@pytest.fixture
def sockets(tmp_path):
    return ["--socket", str(tmp_path / "broker.sock"), "--control", str(tmp_path / "ctl.sock")]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_tells_the_service_manager(programs, tmp_path, sockets, number):
    lines = notifications(programs, tmp_path, sockets, lambda p: p.send_signal(number))
    assert lines.count("READY=1") == 1 and lines.count("STOPPING=1") == 1
    assert lines.index("READY=1") < lines.index("STOPPING=1")
    assert any(line.startswith("STATUS=Serving") for line in lines)
    assert os.listdir(tmp_path) == ["notify"]


def test_ready_means_listening(programs, tmp_path, sockets):
    def act(process):
        with wire.Client(sockets[1]) as client:
            client.alloc(1)
        process.send_signal(signal.SIGTERM)

    notifications(programs, tmp_path, sockets, act)


def test_ends_while_clients_are_there(programs):
    """All it knows of goes with it; what clients mapped stays theirs."""
    broker = harness.Broker(programs)
    try:
        client = broker.client()
        buffer = client.alloc(5 * MIB)
        buffer.map[:4] = b"mine"
        client.ask_alloc(200 * MIB)  # still being made, maybe
        broker.process.send_signal(signal.SIGTERM)
        assert harness.wait_exit(broker.process) == 0, broker.stderr()
        assert not any(word in broker.stderr() for word in harness.SANITIZERS)
        assert buffer.map[:4] == b"mine"
        with pytest.raises((wire.Closed, wire.Refused, OSError)):
            while True:
                message = client.receive()
                if message.fd is not None:
                    os.close(message.fd)
                if message.opcode == P.GOODBYE:
                    raise wire.Refused(message.body)
        client.close()
    finally:
        broker.kill()


def test_killed_it_takes_nothing_along(programs):
    broker = harness.Broker(programs)
    try:
        client = broker.client()
        buffer = client.alloc(5 * MIB)
        buffer.map[:4] = b"mine"
        broker.process.kill()
        broker.process.wait()
        assert buffer.map[:4] == b"mine"
        buffer.map[-4:] = b"mine"
        with pytest.raises((wire.Closed, OSError)):
            client.sync()
        client.close()
    finally:
        broker.kill()


def test_abstract_sockets(programs, tmp_path):
    names = [f"@shmbroker-test-{os.getpid()}-{kind}" for kind in ("data", "control")]

    def act(process):
        with wire.Client(names[0]) as client:
            client.alloc(1)
        control = harness.Control(names[1])
        assert control.status()["pid"] == process.pid
        control.close()
        process.send_signal(signal.SIGTERM)

    notifications(programs, tmp_path, ["--socket", names[0], "--control", names[1]], act)


LISTENER = """
import os, socket, sys
kinds = {"broker": socket.SOCK_SEQPACKET, "control": socket.SOCK_STREAM}
for number, name in enumerate(("broker", "control"), 3):
    s = socket.socket(socket.AF_UNIX, kinds[name])
    s.bind(os.path.join(sys.argv[1], name))
    s.listen()
    os.dup2(s.fileno(), number + 20)
for number in (3, 4):
    os.dup2(number + 20, number)
    os.close(number + 20)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="2", LISTEN_FDNAMES="broker:control")
os.execv(sys.argv[2], sys.argv[2:])
"""


def test_sockets_from_the_service_manager(programs, tmp_path):
    """They were there before it, and stay when it goes."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        notify.settimeout(harness.DEADLINE_S)
        with subprocess.Popen(
                ["/usr/bin/python3", "-c", LISTENER, str(tmp_path), programs.shmbrokerd],
                env=dict(programs.environment, NOTIFY_SOCKET=path), stderr=subprocess.PIPE,
                preexec_fn=lambda: harness.become(None)) as process:
            while b"READY=1" not in notify.recv(4096):
                pass
            with wire.Client(str(tmp_path / "broker")) as client:
                client.alloc(1)
            control = harness.Control(str(tmp_path / "control"))
            assert control.status()["clients"] <= 1
            control.close()
            process.send_signal(signal.SIGTERM)
            assert harness.wait_exit(process) == 0, process.stderr.read()
    assert sorted(os.listdir(tmp_path)) == ["broker", "control", "notify"]


def test_drop_ins_and_check_config(programs, tmp_path):
    path = tmp_path / "main.conf"
    path.write_text("[Broker]\nMemoryMax=100M\nConnectionsMax=7\n")
    (tmp_path / "main.conf.d").mkdir()
    (tmp_path / "main.conf.d" / "10-a.conf").write_text("[Broker]\nMemoryMax=200M\n")
    (tmp_path / "main.conf.d" / "20-b.conf").write_text("[Pool extra]\nBuffersMax=3\n")
    status, out, err = harness.run(
        [programs.shmbrokerd, "--config", str(path), "--check-config"], programs=programs)
    assert status == 0, err
    lines = out.decode().splitlines()
    assert "MemoryMax=200M" in lines and "ConnectionsMax=7" in lines
    assert "[Pool extra]" in lines and "BuffersMax=3" in lines
    # What it prints is a configuration that gives the same.
    printed = tmp_path / "printed.conf"
    printed.write_bytes(out)
    again = harness.run([programs.shmbrokerd, "--config", str(printed), "--check-config"],
                        programs=programs)
    assert again[0] == 0

    def values(text):
        lines = [line.split(" ;")[0] for line in text.decode().splitlines()]
        return [line for line in lines if line and line[0] not in "#;"]

    assert values(again[1]) == values(out)


def test_version_and_help(programs):
    status, out, err = harness.run([programs.shmbrokerd, "--version"], programs=programs)
    assert status == 0 and out.startswith(b"shmbrokerd 0.") and err == ""
    status, out, err = harness.run([programs.shmbrokerd, "--help"], programs=programs)
    assert status == 0 and b"--run" in out and err == ""


def test_log_level(start):
    quiet = start(arguments=["--log-level=error"])
    with quiet.client() as client:
        client.sync()
    quiet.control.until("left", lambda s: s["connections"] == 0)
    assert quiet.stderr() == ""
    chatty = start(arguments=["--log-level=debug"])
    with chatty.client() as client:
        client.sync()
    chatty.control.until("left", lambda s: s["connections"] == 0)
    assert "client left" in chatty.stderr()


def test_breaches_are_logged(start):
    broker = start()
    with broker.client(name="culprit") as client:
        client.send(b"\x70" * 20)
        client.goodbye()
    broker.control.until("left", lambda s: s["connections"] == 0)
    assert broker.control.status()["connection_counters"]["breaches"] == 1
    assert "client disconnected" in broker.stderr()


@harness.needs_root
def test_not_dumpable(system_broker):
    """Nobody of its own uid reads its memory, or takes its descriptors, either."""
    if harness.sanitized:
        pytest.skip("a sanitizer's leak check needs to be let in")

    def look():
        with pytest.raises(PermissionError):
            os.listdir(f"/proc/{system_broker.pid}/fd")
        with pytest.raises(PermissionError):
            os.close(os.open(f"/proc/{system_broker.pid}/mem", os.O_RDWR))

    harness.run_as(harness.BROKER_UID, look)


@harness.needs_root
def test_descriptors_run_out(programs, start):
    """An error to whoever asks; the broker goes on, and so does everybody else."""
    def limited(broker):
        return subprocess.run(
            ["prlimit", f"--pid={broker.pid}", f"--nofile={broker.descriptors + 6}:"],
            check=True)

    broker = start()
    with broker.client() as client:
        mine = client.alloc(1)
        limited(broker)
        statuses = set()
        for _ in range(20):
            try:
                client.alloc(1)
            except wire.Refused as refused:
                statuses.add(wire.STATUS_NAMES[refused.status])
        assert statuses == {"NO_DESCRIPTORS"}
        mine.map[:2] = b"ok"
        client.sync()
        for buffer in client.buffers[1:]:
            buffer.release()
        client.alloc(1)
