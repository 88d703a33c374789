# SPDX-License-Identifier: Apache-2.0
"""The control socket of a real broker: what it answers, to whom, and what it puts up with."""
import json
import os
import pathlib
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import time

import pytest

import control_rig as rig
from control_rig import ControlError, Ended, needs_root, until
from control_rig import broker, control, deadline, start  # fixtures

MESSAGE_MAX = 65536
SERVICE = "org.varlink.service."


def refusal(call, *arguments, **parameters):
    with pytest.raises(ControlError) as raised:
        call(*arguments, **parameters)
    return raised.value.name, raised.value.parameters


# ---- Varlink ---------------------------------------------------------------------------


def test_service(control):
    info = control.call_full(SERVICE + "GetInfo")
    assert info["vendor"] == "shmbroker" and info["product"] == "shmbrokerd"
    assert re.fullmatch(r"\d+\.\d+\.\d+", info["version"])
    assert set(info["interfaces"]) == {"org.varlink.service", "io.shmbroker"}
    for name in info["interfaces"]:
        text = control.call_full(SERVICE + "GetInterfaceDescription", interface=name)
        assert re.search(rf"^interface {re.escape(name)}$", text["description"], re.M)


def test_description_is_the_definition(control):
    path = rig.ROOT / "daemon/io.shmbroker.varlink"
    text = control.call_full(SERVICE + "GetInterfaceDescription", interface="io.shmbroker")
    assert path.read_text(encoding="ascii").endswith("\n\n" + text["description"])


def test_the_example_of_the_manual(broker):
    page = (rig.ROOT / "docs/control.md").read_text(encoding="utf-8")
    code = re.search(r"^```python\n(.*?)^```", page, re.M | re.S)[1]
    assert "/run/shmbroker/control.sock" in code
    with broker.open_client(name="example") as client:
        client.alloc(SIZE)
        done = subprocess.run(
            [sys.executable, "-c", code.replace("/run/shmbroker/control.sock", broker.control)],
            capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{amount(1, SIZE)}\n{os.getpid()} example {SIZE}\n"


def test_every_defined_method_and_error_exists(control):
    text = (rig.ROOT / "daemon/io.shmbroker.varlink").read_text(encoding="ascii")
    for method in re.findall(r"^method (\w+)\(", text, re.M):
        try:
            control.call(method)
        except ControlError as error:
            assert error.name == SERVICE + "InvalidParameter"
    sources = "".join(p.read_text() for p in (rig.ROOT / "daemon").glob("control*.c"))
    defined = set(re.findall(r"^error (\w+)", text, re.M))
    assert defined == set(re.findall(r'"io\.shmbroker\.(\w+)"', sources)) - {
        "Status", "Pools", "Clients", "Buffers", "Tokens", "Quarantine", "Trim", "Disconnect"}


def test_what_does_not_exist(control):
    assert refusal(control.call, "Nope") == (SERVICE + "MethodNotFound",
                                             {"method": "io.shmbroker.Nope"})
    assert refusal(control.call_full, "a.b.C") == (SERVICE + "InterfaceNotFound",
                                                   {"interface": "a.b"})
    assert refusal(control.call_full, "io.shmbroker") == (SERVICE + "InterfaceNotFound",
                                                          {"interface": "io"})
    assert refusal(control.call_full, "x")[0] == SERVICE + "InterfaceNotFound"
    assert refusal(control.call_full, "")[0] == SERVICE + "InterfaceNotFound"
    assert refusal(control.call_full, SERVICE + "GetInterfaceDescription",
                   interface="io.shmbroker.x") == (SERVICE + "InterfaceNotFound",
                                                   {"interface": "io.shmbroker.x"})
    long = "a." + "b" * 60000
    assert refusal(control.call_full, long)[0] == SERVICE + "InterfaceNotFound"


@pytest.mark.parametrize("method, parameters, wrong", [
    ("Status", {"x": 1}, "x"),
    ("Buffers", {"limit": 0}, "limit"),
    ("Buffers", {"limit": 1001}, "limit"),
    ("Buffers", {"limit": "1"}, "limit"),
    ("Buffers", {"after": -1}, "after"),
    ("Buffers", {"after": 1.5}, "after"),
    ("Buffers", {"client": 0}, "client"),
    ("Buffers", {"pool": 1}, "pool"),
    ("Buffers", {"verify": 1}, "verify"),
    ("Clients", {"pool": "default"}, "pool"),
    ("Disconnect", {}, "client"),
    ("Disconnect", {"client": None}, "client"),
    ("Disconnect", {"client": 2**63}, "client"),
])
def test_wrong_parameters(control, method, parameters, wrong):
    assert refusal(control.call, method, **parameters) == (SERVICE + "InvalidParameter",
                                                           {"parameter": wrong})


def test_names_without_a_bearer(control):
    assert refusal(control.call, "Buffers", client=77) == ("io.shmbroker.NoSuchClient",
                                                           {"client": 77})
    assert refusal(control.call, "Buffers", pool="nope") == ("io.shmbroker.NoSuchPool",
                                                             {"pool": "nope"})
    assert refusal(control.call, "Disconnect", client=77) == ("io.shmbroker.NoSuchClient",
                                                              {"client": 77})


def test_oneway_has_no_reply(control):
    for _ in range(3):
        control.send({"method": "io.shmbroker.Status", "oneway": True})
    control.send({"method": "io.shmbroker.Nope", "oneway": True})
    assert control.call("Tokens") == {"tokens": []}


def test_upgrade_is_refused_and_more_is_answered_once(control):
    control.send({"method": "io.shmbroker.Tokens", "upgrade": True})
    assert control.receive()["error"] == SERVICE + "MethodNotImplemented"
    control.send({"method": "io.shmbroker.Tokens", "more": True})
    assert control.receive() == {"parameters": {"tokens": []}}
    assert control.call("Tokens") == {"tokens": []}


# ---- bytes -----------------------------------------------------------------------------


@pytest.mark.parametrize("message", [
    b"\0", b"{\0", b"nonsense\0", b"[]\0", b"{}\0", b'{"method":7}\0', b'{"method":"a.b",}\0',
    b'{"method":"a.b","parameters":[]}\0', b'{"method":"\xff"}\0', b"\x16\x03\x01\x02\0\0\0\0",
    b'{"method":"io.shmbroker.Status","parameters":' + b"[" * 60 + b"]" * 60 + b"}\0",
    b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\0",
])
def test_what_is_no_call_ends_the_connection(broker, control, message):
    with broker.open_control() as other:
        assert other.call("Tokens") == {"tokens": []}
        other.socket.sendall(message)
        assert other.ended()
    assert control.call("Tokens") == {"tokens": []}
    assert "control connection ended" in broker.logged()


def padded(size):
    call = b'{"method":"io.shmbroker.Tokens"'
    return call + b" " * (size - len(call) - 1) + b"}"


def test_largest_call(control):
    control.socket.sendall(padded(MESSAGE_MAX) + b"\0")
    assert control.receive() == {"parameters": {"tokens": []}}


@pytest.mark.parametrize("size", [MESSAGE_MAX + 1, 4 << 20])
def test_too_large_a_call(broker, control, size):
    with broker.open_control() as other:
        try:
            other.socket.sendall(padded(size) + b"\0")
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert other.receive() == {"error": "io.shmbroker.MessageTooLarge",
                                   "parameters": {"limit": MESSAGE_MAX}}
        assert other.ended()
    assert control.call("Tokens") == {"tokens": []}
    assert "its message is too large" in broker.logged()


def test_call_byte_by_byte(control):
    for byte in b'{"method":"io.shmbroker.Tokens"}\0':
        control.socket.sendall(bytes([byte]))
    assert control.receive() == {"parameters": {"tokens": []}}


def test_many_calls_at_once_are_answered_in_order(control):
    methods = ["Status", "Tokens", "Nope", "Clients"] * 250
    text = b"".join(json.dumps({"method": "io.shmbroker." + m}).encode() + b"\0"
                    for m in methods)
    control.socket.settimeout(None)
    # The broker reads on only as replies are taken, so sending and reading take turns.
    sent, replies = 0, []
    while len(replies) < len(methods):
        readable, writable, _ = select.select([control.socket],
                                              [control.socket] if sent < len(text) else [], [],
                                              30)
        assert readable or writable
        if writable:
            sent += control.socket.send(text[sent:sent + 30000], socket.MSG_DONTWAIT)
        if readable:
            replies.append(control.receive())
            while b"\0" in control.data:
                replies.append(control.receive())
    for method, reply in zip(methods, replies):
        if method == "Nope":
            assert reply["error"] == SERVICE + "MethodNotFound"
        else:
            key = {"Status": "version", "Tokens": "tokens", "Clients": "clients"}[method]
            assert key in reply["parameters"]


def test_half_closed_connection_is_answered(broker):
    with broker.open_control() as other:
        for _ in range(3):
            other.send({"method": "io.shmbroker.Tokens"})
        other.socket.sendall(b'{"method":"io.shm')
        other.socket.shutdown(socket.SHUT_WR)
        for _ in range(3):
            assert other.receive() == {"parameters": {"tokens": []}}
        with pytest.raises(Ended):
            other.receive()


def test_peer_that_goes_before_its_reply(broker, control):
    for _ in range(50):
        with broker.open_control() as other:
            other.send({"method": "io.shmbroker.Pools"})
    assert control.call("Tokens") == {"tokens": []}


# ---- many, and slow --------------------------------------------------------------------


def test_connections_are_limited(start):
    broker = start("ControlConnectionsMax=8\n")
    with broker.open_control() as control:
        others = [broker.open_control() for _ in range(7)]
        for other in others:
            assert other.call("Status")["control_connections"] <= 8
        with broker.open_control() as late:
            assert late.receive() == {"error": "io.shmbroker.TooManyConnections",
                                      "parameters": {"limit": 8}}
            assert late.ended()
        result = broker.ctl("status")
        assert result.returncode == 1 and "ControlConnectionsMax= gives this user 8" in \
            result.stderr
        others.pop().socket.close()
        until(lambda: control.call("Status")["control_connections"] == 7)
        with broker.open_control() as late:
            assert late.call("Status")["control_connections"] == 8
        for other in others:
            other.socket.close()
    assert "ControlConnectionsMax= is reached" in broker.logged()


@needs_root
def test_others_leave_room_for_the_administrator(start):
    broker = start("ControlConnectionsMax=8\n")

    def fill(uid):
        connections = []
        while True:
            connection = broker.open_control(uid)
            try:
                connection.call("Tokens")
            except (Ended, BrokenPipeError, ConnectionResetError):
                connection.socket.close()
                return connections
            except ControlError as error:
                assert error.name == "io.shmbroker.TooManyConnections"
                connection.socket.close()
                return connections
            connections.append(connection)

    first = fill(rig.NOBODY)
    second = fill(rig.NOBODY + 1)
    mine = fill(None)
    assert (len(first), len(second), len(mine)) == (4, 2, 2)
    last = mine.pop()
    for connection in first + second + mine:
        connection.socket.close()
    until(lambda: last.call("Status")["control_connections"] == 1)
    last.socket.close()


def resident(broker):
    status = pathlib.Path(f"/proc/{broker.process.pid}/status").read_text(encoding="ascii")
    return int(re.search(r"^VmRSS:\s+(\d+) kB", status, re.M)[1]) << 10


def test_peer_that_does_not_read(broker, control):
    control.call("Status")
    before = resident(broker)
    with broker.open_control() as mute:
        call = json.dumps({"method": SERVICE + "GetInterfaceDescription",
                           "parameters": {"interface": "io.shmbroker"}}).encode() + b"\0"
        poll = select.poll()
        poll.register(mute.socket, select.POLLOUT)
        while poll.poll(500):
            mute.socket.send(call * 100, socket.MSG_DONTWAIT)
        assert resident(broker) - before < 16 << 20
        # Nobody else notices.
        slowest = 0
        for _ in range(200):
            begin = time.monotonic()
            control.call("Status")
            slowest = max(slowest, time.monotonic() - begin)
        assert slowest < 1
        poll.modify(mute.socket, 0)
        assert poll.poll(30000)[0][1] & select.POLLHUP
    assert "it does not read its reply" in broker.logged()


def test_idle_and_half_said_connections_stay(broker, control):
    """Nothing is owed to a peer with no reply pending, however long it stays."""
    with broker.open_control() as idle, broker.open_control() as half:
        half.socket.sendall(b'{"method":')
        with broker.open_control() as mute:
            # A full round of the one clock there is: the stalled peer's.
            poll = select.poll()
            poll.register(mute.socket, select.POLLOUT)
            while poll.poll(500):
                mute.socket.send(b'{"method":"io.shmbroker.Status"}\0' * 100,
                                 socket.MSG_DONTWAIT)
            poll.modify(mute.socket, 0)
            assert poll.poll(30000)
        assert idle.call("Tokens") == {"tokens": []}
        half.socket.sendall(b'"io.shmbroker.Tokens"}\0')
        assert half.receive() == {"parameters": {"tokens": []}}


def test_calls_do_not_take_the_whole_loop(broker, control):
    """Costly calls without end take a quarter of the loop; a data client hardly notices."""
    with broker.open_client(slots=4000) as client:
        for _ in range(3000):
            client.alloc(4096)
        hogs = [broker.open_control() for _ in range(4)]
        pids = []
        for hog in hogs:
            pid = os.fork()
            if pid == 0:
                try:
                    while True:
                        hog.call("Buffers")
                except BaseException:
                    os._exit(0)
            pids.append(pid)
        stat = f"/proc/{broker.process.pid}/stat"

        def used():
            fields = pathlib.Path(stat).read_text(encoding="ascii").rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        begin, begin_used = time.monotonic(), used()
        rounds = 0
        while time.monotonic() < begin + 2:
            client.release(client.alloc(4096))
            rounds += 1
        share = (used() - begin_used) / (time.monotonic() - begin)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        for hog in hogs:
            hog.socket.close()
        assert rounds > 50
        # What remains is the data client's own, and writing the replies.
        assert share < 0.7
    assert control.call("Status")["clients"] <= 1


# ---- who may ---------------------------------------------------------------------------


@needs_root
def test_others_may_look_but_not_change(broker, control):
    with broker.open_client() as client, broker.open_control(rig.NOBODY) as other:
        client.alloc(4096)
        assert other.call("Status")["clients"] == 1
        for method in ("Pools", "Clients", "Buffers", "Tokens", "Quarantine"):
            other.call(method)
        denied = ("io.shmbroker.PermissionDenied", {"uid": rig.NOBODY, "allowed": [0]})
        assert refusal(other.call, "Trim") == denied
        assert refusal(other.call, "Disconnect", client=client.id) == denied
        assert refusal(other.call, "Disconnect", client=77) == denied
        assert control.call("Clients")["clients"][0]["client"] == client.id


@needs_root
def test_tokens_are_secret(broker, control):
    with broker.open_client() as mine, broker.open_client(uid=rig.NOBODY) as theirs:
        my_token, their_token = mine.export(mine.alloc(4096)), theirs.export(theirs.alloc(4096))

        def shown(connection):
            return [(t["token"], t["complete"]) for t in connection.call("Tokens")["tokens"]]
        whole = [(my_token.hex(), True), (their_token.hex(), True)]
        cut = [(text[:4] + "\u2026", False) for text, _ in whole]
        assert shown(control) == whole
        with broker.open_control(rig.NOBODY) as other:
            assert shown(other) == [cut[0], whole[1]]
        with broker.open_control(rig.NOBODY + 1) as other:
            assert shown(other) == cut
        mine.revoke(my_token)
        theirs.revoke(their_token)
        assert shown(control) == []


# ---- what the kernel would say ---------------------------------------------------------


def amount(buffers, size):
    return {"bytes": buffers * size, "buffers": buffers}


NONE = amount(0, 0)
SIZE = 1 << 20


def memory(control):
    """The states that something is in."""
    found = control.call("Status")["memory"]
    total = found.pop("total")
    assert total == {key: sum(a[key] for a in found.values()) for key in ("bytes", "buffers")}
    return {state: whole for state, whole in found.items() if whole["buffers"]}


def check_shmem(broker, expected):
    """The bytes of the memory objects, by the descriptors the broker has."""
    if os.geteuid() != 0:
        return
    total = 0
    for fd in os.listdir(f"/proc/{broker.process.pid}/fd"):
        path = f"/proc/{broker.process.pid}/fd/{fd}"
        try:
            if os.readlink(path).startswith("/memfd:shmbroker "):
                total += os.stat(path).st_blocks * 512
        except FileNotFoundError:
            pass
    assert total == expected


def test_held_cached_and_free(broker, control):
    assert memory(control) == {}
    with broker.open_client(name="writer") as client:
        grants = [client.alloc(SIZE) for _ in range(3)]
        assert memory(control) == {"held": amount(3, SIZE)}
        client.set_word(grants[0], rig.WORD_IDLE)
        assert memory(control) == {"held": amount(2, SIZE), "cached": amount(1, SIZE)}
        client.release(grants[1])
        assert memory(control) == {"held": amount(1, SIZE), "cached": amount(1, SIZE),
                                   "free": amount(1, SIZE)}
        row, = control.call("Clients")["clients"]
        assert row["client"] == client.id and row["name"] == "writer"
        assert (row["pid"], row["uid"]) == (os.getpid(), os.geteuid())
        assert row["held"] == row["cached"] == amount(1, SIZE)
        assert row["shared"] == row["reading"] == row["kept"] == NONE
        assert (row["slots"], row["slots_max"]) == (2, client.slots)
        assert (row["tokens"], row["waiting"], row["unmapping"]) == (0, 0, 0)
        quota, = row["quota"]
        assert (quota["pool"], quota["bytes"], quota["buffers"]) == ("default", 2 * SIZE, 2)
        buffers = control.call("Buffers", verify=True)["buffers"]
        assert [b["state"] for b in buffers] == ["cached", "free", "held"]
        assert [b["allocated"] for b in buffers] == [SIZE] * 3
        assert [len(b["holders"]) for b in buffers] == [1, 0, 1]
        check_shmem(broker, 3 * SIZE)
        # What nobody uses goes at once; what is held stays.
        assert control.call("Trim") == {"bytes": 2 * SIZE}
        until(lambda: memory(control) == {"held": amount(1, SIZE)})
        check_shmem(broker, SIZE)
        row, = control.call("Clients")["clients"]
        assert row["unmapping"] == 1


def test_holders_of_one_buffer(broker, control):
    with broker.open_client(name="writer") as writer, \
            broker.open_client(name="reader") as reader, \
            broker.open_client(name="keeper") as keeper:
        grant = writer.alloc(SIZE)
        token = writer.export(grant)
        reader.imports(token)
        again = reader.imports(token)
        keeper.release(keeper.imports(token), rig.RELEASE_KEEP)
        buffer, = control.call("Buffers")["buffers"]
        holders = {h["name"]: h for h in buffer["holders"]}
        assert buffer["state"] == "held" and buffer["tokens"] == 1
        assert buffer["uid"] == os.geteuid() and buffer["holders_more"] == 0
        assert {n: (h["mode"], h["state"], h["count"]) for n, h in holders.items()} == {
            "writer": ("write", "held", 1), "reader": ("read", "held", 2),
            "keeper": ("read", "kept", 0)}
        assert holders["reader"]["client"] == reader.id
        ages = [h["age_ns"] for h in (holders["keeper"], holders["reader"], holders["writer"])]
        assert 0 < ages[0] < ages[1] < ages[2] < buffer["age_ns"] + 1

        writer.set_word(grant, rig.WORD_SHARED)
        writer.release(grant, rig.RELEASE_KEEP)
        rows = {c["name"]: c for c in control.call("Clients")["clients"]}
        assert rows["writer"]["shared"] == amount(1, SIZE) and rows["writer"]["held"] == NONE
        assert rows["reader"]["reading"] == amount(1, SIZE)
        assert rows["keeper"]["kept"] == amount(1, SIZE)
        assert rows["writer"]["tokens"] == 1
        assert memory(control) == {"held": amount(1, SIZE)}

        # The last reader and the token gone, the writer has it again, unused.
        reader.release(again)
        reader.release(again)
        writer.revoke(token)
        assert memory(control) == {"cached": amount(1, SIZE)}
        buffer, = control.call("Buffers", client=writer.id)["buffers"]
        assert buffer["state"] == "cached"


def test_ages_are_those_of_the_clock(broker, control):
    begin = time.monotonic_ns()
    with broker.open_client() as client:
        grant = client.alloc(SIZE)
        token = client.export(grant, ttl_ms=50000)
        made = time.monotonic_ns()
        until(lambda: time.monotonic_ns() > made + 50_000_000)
        asked = time.monotonic_ns()
        buffer, = control.call("Buffers")["buffers"]
        row, = control.call("Clients")["clients"]
        shown, = control.call("Tokens")["tokens"]
        answered = time.monotonic_ns()
        # The broker's clock is read once an event: a little before, by its reckoning.
        slack = 20_000_000
        for age in (buffer["age_ns"], buffer["holders"][0]["age_ns"], row["age_ns"],
                    shown["age_ns"]):
            assert asked - made - slack < age < answered - begin + slack
        assert abs(shown["expires_in_ns"] + shown["age_ns"] - 50_000_000_000) < slack
        assert shown["object"] == grant.object and shown["length"] == grant.length
        client.revoke(token)


@needs_root
def test_buffer_that_left_its_domain(broker, control):
    with broker.open_client(name="writer") as writer, \
            broker.open_client(name="other", uid=rig.NOBODY) as other:
        grant = writer.alloc(SIZE)
        token = writer.export(grant, rig.EXPORT_ONCE)
        shown, = control.call("Tokens")["tokens"]
        assert shown["once"] and not shown["transfer"] and shown["connected"]
        read = other.imports(token)
        assert control.call("Tokens") == {"tokens": []}
        buffer, = control.call("Buffers")["buffers"]
        assert buffer["left_domain"] and not buffer["escaped"]
        assert {h["uid"] for h in buffer["holders"]} == {0, rig.NOBODY}
        users = control.call("Pools")["pools"][0]["users"]
        assert [(u["uid"], u["bytes"]) for u in users] == [(0, SIZE)]
        other.release(read)
        writer.release(grant)
        until(lambda: memory(control) == {"free": amount(1, SIZE)})
        buffer, = control.call("Buffers")["buffers"]
        assert buffer["fresh"] and not buffer["left_domain"] and "uid" not in buffer
        counters = control.call("Status")["counters"]
        assert counters["scrubs"] == counters["made"] == counters["grants"] == 1


def test_quarantine(start):
    broker = start("QuarantineMax=1h\n")
    with broker.open_control() as control, broker.open_client() as client:
        grant = client.alloc(SIZE)
        fd = client.raw_fd(grant)
        buffer, = control.call("Buffers")["buffers"]
        assert buffer["escaped"]
        client.release(grant)
        row, = until(lambda: control.call("Quarantine", verify=True)["quarantine"])
        assert (row["object"], row["capacity"], row["pool"]) == (grant.object, SIZE, "default")
        assert row["escaped"] and row["uid"] == os.geteuid()
        assert "retires_in_ns" not in row
        until(lambda: memory(control) == {"quarantine": amount(1, SIZE)})
        until(lambda: control.call("Quarantine")["quarantine"][0]["proofs_failed"] > 1)
        assert row["allocated"] == SIZE
        os.close(fd)
        until(lambda: memory(control) == {"free": amount(1, SIZE)})
        assert control.call("Quarantine") == {"quarantine": []}
        counters = control.call("Status")["counters"]
        assert counters["proofs"] > counters["proofs_failed"] > 1


def test_limits_classes_and_waiting(start):
    broker = start("MemoryMax=8M\n[Pool small]\nMemoryMax=2M\nSizeMax=1M\n"
                   "Preallocate=1x64K\n")

    def small(control):
        pool, = control.call("Pools", after=1)["pools"]
        assert pool["name"] == "small" and pool["size_max"] == SIZE
        return pool
    with broker.open_control() as control, broker.open_client() as client, \
            broker.open_client(name="second") as second:
        limits = {row["name"]: row for row in control.call("Status")["limits"]}
        assert limits["MemoryMax"]["limit"] == 8 << 20
        assert limits["ConnectionsMax"]["used"] == 2 and "used" not in limits["TokensMax"]
        first = client.alloc(SIZE, "small")
        used = {row["name"]: row.get("used") for row in small(control)["limits"]}
        assert used == {"MemoryMax": SIZE + (64 << 10), "BuffersMax": 2, "UidMemoryMax": None,
                        "UidBuffersMax": None}
        rows = {row["capacity"]: row for row in small(control)["classes"]}
        assert rows[64 << 10]["preallocated"] == rows[64 << 10]["free"] == 1
        assert rows[SIZE]["held"] == 1 and rows[SIZE]["preallocated"] == 0

        # What was preallocated makes room for the second; the third and fourth wait.
        client.alloc(SIZE, "small")
        request = struct.pack("<QQI", SIZE, 2**64 - 1, 0) + client.string("small")
        client.send(client.ALLOC, request)
        second.send(second.ALLOC, request)
        until(lambda: control.call("Status")["waiting"] == 2)
        assert [c["waiting"] for c in control.call("Clients")["clients"]] == [1, 1]
        pool = small(control)
        assert pool["waiting"] == 2 and pool["counters"]["waited"] >= 2
        assert [u["waiting"] for u in pool["users"]] == [2]
        client.release(first)
        until(lambda: control.call("Status")["waiting"] == 1)


def test_sums_agree(start):
    broker = start("[Pool other]\n")
    with broker.open_control() as control, broker.open_client() as client:
        grants = [client.alloc(size, pool) for pool in ("default", "other")
                  for size in (4096, 4096, SIZE, 5 << 20)]
        client.set_word(grants[1], rig.WORD_IDLE)
        client.set_word(grants[5], rig.WORD_IDLE)
        client.release(grants[2])
        client.release(grants[7])
        status, pools = control.call("Status"), control.call("Pools")["pools"]
        buffers = control.call("Buffers")["buffers"]
        for state, whole in status["memory"].items():
            assert whole == {key: sum(p["memory"][state][key] for p in pools) for key in whole}
            if state == "total":
                continue
            rows = [b for b in buffers if b["state"] == state]
            assert whole == {"buffers": len(rows), "bytes": sum(b["capacity"] for b in rows)}
            for pool in pools:
                if state in ("held", "cached", "free"):
                    assert pool["memory"][state]["buffers"] == sum(
                        c[state] for c in pool["classes"])
        for name, count in status["counters"].items():
            assert count == sum(p["counters"][name] for p in pools)
        row, = control.call("Clients")["clients"]
        assert row["held"] == status["memory"]["held"]
        assert row["cached"] == status["memory"]["cached"]
        assert sum(q["bytes"] for q in row["quota"]) == sum(
            u["bytes"] for p in pools for u in p["users"])


def test_disconnect(broker, control):
    with broker.open_client(name="stays") as stays, broker.open_client(name="goes") as goes:
        stays.alloc(SIZE)
        goes.alloc(SIZE)
        assert control.call("Disconnect", client=goes.id) == {}
        with pytest.raises((Ended, ConnectionError)):
            while True:
                goes.alloc(SIZE)
        until(lambda: [c["name"] for c in control.call("Clients")["clients"]] == ["stays"])
        assert refusal(control.call, "Disconnect", client=goes.id)[0] == \
            "io.shmbroker.NoSuchClient"
        stays.alloc(SIZE)
    assert "io.shmbroker.Disconnect" in broker.logged()


def test_connection_counters(broker, control):
    before = control.call("Status")["connection_counters"]
    with broker.open_client():
        pass
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rude:
        rude.connect(broker.socket)
        rude.send(b"nonsense that is no HELLO")
        rude.settimeout(10)
        while rude.recv(2048):
            pass
    after = until(lambda: (s := control.call("Status"))["connections"] == 0 and
                  s["connection_counters"])
    assert after["accepted"] == before["accepted"] + 2
    assert after["breaches"] == before["breaches"] + 1


# ---- pages -----------------------------------------------------------------------------


def test_pages_of_buffers(broker, control):
    with broker.open_client(slots=3000) as client, broker.open_client(name="other") as other:
        grants = [client.alloc(4096) for _ in range(2500)]
        mine = [other.alloc(8192) for _ in range(3)]
        numbers = [g.object for g in grants + mine]
        rows, replies = control.all("Buffers", "buffers")
        assert [r["object"] for r in rows] == sorted(numbers) and 3 <= replies < 50
        rows, replies = control.all("Buffers", "buffers", limit=499)
        assert [r["object"] for r in rows] == sorted(numbers) and 6 <= replies < 50
        assert control.call("Buffers", limit=1)["buffers"][0]["object"] == min(numbers)
        rows, _ = control.all("Buffers", "buffers", client=other.id)
        assert [r["object"] for r in rows] == [g.object for g in mine]
        # Begins behind what is gone, too.
        client.release(grants[10])
        control.call("Trim")
        until(lambda: control.call("Status")["memory"]["total"]["buffers"] == 2502)
        page = control.call("Buffers", after=grants[10].object, limit=2)
        assert [r["object"] for r in page["buffers"]] == [g.object for g in grants[11:13]]
        assert "next" not in control.call("Buffers", after=max(numbers))


def test_pages_of_clients_and_tokens(broker, control):
    clients = [broker.open_client(name=f"client-{i}") for i in range(60)]
    tokens = [(c, c.export(c.alloc(4096))) for c in clients for _ in range(3)]
    rows, replies = control.all("Clients", "clients", limit=7)
    assert [r["client"] for r in rows] == [c.id for c in clients] and replies == 9
    rows, replies = control.all("Tokens", "tokens", limit=50)
    assert [r["token"] for r in rows] == [t.hex() for _, t in tokens] and replies == 4
    assert [r["client"] for r in rows] == [c.id for c, _ in tokens]
    gone = clients[10]
    for client, token in tokens:
        client.revoke(token)
    for client in clients[5:]:
        client.close()
    until(lambda: control.call("Status")["clients"] == 5)
    assert control.call("Clients", after=gone.id) == {"clients": []}
    assert [c["client"] for c in control.call("Clients", after=clients[2].id)["clients"]] == \
        [c.id for c in clients[3:5]]
    assert control.call("Tokens") == {"tokens": []}
    for client in clients[:5]:
        client.close()


def test_pages_of_pools(start):
    broker = start("".join(f"[Pool p{i}]\nSizeMax=1M\n" for i in range(20)))
    with broker.open_control() as control:
        rows, replies = control.all("Pools", "pools", limit=3)
        assert [r["name"] for r in rows] == ["default"] + [f"p{i}" for i in range(20)]
        assert [r["number"] for r in rows] == list(range(1, 22)) and replies == 7
        rows, _ = control.all("Pools", "pools")
        assert len(rows) == 21


def test_many_readers_of_one_buffer(broker, control):
    """A list inside an entry is bounded as well; what is left out is counted."""
    with broker.open_client() as writer:
        token = writer.export(writer.alloc(4096))
        readers = [broker.open_client(name="r", slots=1) for _ in range(1100)]
        for reader in readers:
            reader.imports(token)
        buffer, = control.call("Buffers")["buffers"]
        assert len(buffer["holders"]) == 1000 and buffer["holders_more"] == 101
        rows, _ = control.all("Clients", "clients")
        assert len(rows) == 1101
        writer.revoke(token)
        for reader in readers:
            reader.close()


# ---- accepting -------------------------------------------------------------------------


@needs_root
def test_out_of_descriptors_and_back(broker, control):
    """With none left for another connection it waits, and goes on when there are."""
    pid = broker.process.pid
    soft, hard = rig.resource.prlimit(pid, rig.resource.RLIMIT_NOFILE)
    rig.resource.prlimit(pid, rig.resource.RLIMIT_NOFILE, (broker.open_fds(), hard))
    with broker.open_control() as late:
        late.send({"method": "io.shmbroker.Tokens"})
        until(lambda: "cannot accept control connections" in broker.logged())
        assert control.call("Tokens") == {"tokens": []}
        rig.resource.prlimit(pid, rig.resource.RLIMIT_NOFILE, (soft, hard))
        assert late.receive() == {"parameters": {"tokens": []}}
