# SPDX-License-Identifier: Apache-2.0
"""shmbrokerctl against a real broker, against what is none, and on a terminal."""
import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import threading

import pytest

import control_rig as rig
from control_rig import needs_root, until
from control_rig import broker, control, deadline, start  # fixtures

COMMANDS = {"status": None, "pools": "pools", "clients": "clients", "buffers": "buffers",
            "tokens": "tokens", "quarantine": "quarantine"}
SIZE = 1 << 20


@pytest.fixture
def busy(start):
    """A broker with something in every table."""
    broker = start("QuarantineMax=1h\n[Pool other]\nPreallocate=2x64K\n")
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(broker.open_client(name="a-writer-of-frames"))
        reader = stack.enter_context(broker.open_client(name="r"))
        grant = writer.alloc(20 * SIZE)
        token = writer.export(grant)
        reader.imports(token)
        reader.imports(writer.export(writer.alloc(4096, "other"), rig.EXPORT_ONCE))
        escaped = writer.alloc(4096)
        fd = writer.raw_fd(escaped)
        stack.callback(os.close, fd)
        writer.release(escaped)
        with broker.open_control() as connection:
            until(lambda: connection.call("Quarantine")["quarantine"])
        broker.writer, broker.reader = writer, reader
        yield broker
        writer.revoke(token)


def blocks(text):
    """The tables of an output, each a list of lines."""
    return [block.split("\n") for block in text.rstrip("\n").split("\n\n")]


def check_alignment(lines):
    """Every column's cells begin where its title does, or end where it ends."""
    titles = [(m.start(), m.end()) for m in re.finditer(r"\S+(?: \S+)*", lines[0])]
    for line in lines[1:]:
        cells = [(m.start(), m.end()) for m in re.finditer(r"\S+(?: \S+)*", line)]
        assert len(cells) == len(titles), lines
        for (begin, end), (title_begin, title_end) in zip(cells, titles):
            assert begin == title_begin or end == title_end, lines
    assert all(line == line.rstrip() for line in lines)


# ---- what it prints --------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_tables_are_aligned(busy, command):
    result = busy.ctl(command)
    assert (result.returncode, result.stderr) == (0, "")
    tables = blocks(result.stdout)
    if command == "status":
        assert re.match(r"shmbrokerd \d+\.\d+\.\d+, pid \d+, uid \d+, up \S+$", tables[0][0])
        tables = tables[1:]
    assert tables
    for lines in tables:
        assert len(lines) > 1 and lines[0] == lines[0].upper()
        check_alignment(lines)


def test_sizes_for_people_and_for_programs(busy):
    table = busy.ctl("buffers").stdout
    assert re.search(r"^ *\d+  default +20\.0M  held ", table, re.M)
    assert "a-writer-of-frames[" in table
    exact = json.loads(busy.ctl("buffers", "--json").stdout)["buffers"]
    assert 20 * SIZE in [b["capacity"] for b in exact]
    assert "ALLOCATED" not in table and "ALLOCATED" in busy.ctl("buffers", "--verify").stdout


def without_time(value):
    """Without what differs from one moment to the next: quarantine is looked at again."""
    if isinstance(value, dict):
        return {k: without_time(v) for k, v in value.items()
                if not k.endswith("_ns") and k not in ("proofs", "proofs_failed", "state") and
                not (k in ("quarantine", "proving") and isinstance(v, dict))}
    return [without_time(v) for v in value] if isinstance(value, list) else value


@pytest.mark.parametrize("command, key", COMMANDS.items())
def test_json_is_the_reply(busy, command, key):
    result = busy.ctl("--json", command)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    with busy.open_control() as control:
        expected = control.call(command.capitalize())
    shown = json.loads(result.stdout)
    if command == "status":
        for reply in (expected, shown):
            del reply["control_connections"], reply["limits"]
    assert without_time(shown) == without_time(expected)


def test_pages_are_joined(broker):
    with broker.open_client(slots=2500) as client:
        numbers = [client.alloc(4096).object for _ in range(2100)]
        rows = json.loads(broker.ctl("--json", "buffers").stdout)
        assert list(rows) == ["buffers"]
        assert [b["object"] for b in rows["buffers"]] == numbers
        lines = broker.ctl("--no-header", "buffers").stdout.splitlines()
        assert [int(line.split()[0]) for line in lines] == numbers


def test_filters(busy):
    def objects(*arguments):
        return [b["object"] for b in json.loads(
            busy.ctl("--json", "buffers", *arguments).stdout)["buffers"]]
    everything = objects()
    other = objects("--pool=other")
    mine = objects(f"--client={busy.writer.id}")
    assert 0 < len(other) < len(everything) and 0 < len(mine) < len(everything)
    both = objects("--pool=other", "--client", str(busy.writer.id))
    assert set(both) == set(mine) & set(other) and both


def test_no_header(busy):
    for command in ("clients", "buffers", "tokens", "quarantine"):
        with_header = busy.ctl(command).stdout.splitlines()
        without = busy.ctl("--no-header", command).stdout.splitlines()
        assert len(without) == len(with_header) - 1
        assert without[0].split()[0] == with_header[1].split()[0]


def test_empty_tables_are_their_titles(broker):
    for command in ("clients", "buffers", "tokens", "quarantine"):
        result = broker.ctl(command)
        assert result.returncode == 0 and len(result.stdout.splitlines()) == 1
        assert broker.ctl("--no-header", command).stdout == ""
        assert json.loads(broker.ctl("--json", command).stdout) == {command: []}


def test_trim_and_disconnect(broker, control):
    with broker.open_client() as client:
        client.release(client.alloc(SIZE))
        result = broker.ctl("trim")
        assert (result.returncode, result.stdout) == (0, "1.0M given back to the kernel\n")
        client.release(client.alloc(SIZE))
        assert json.loads(broker.ctl("--json", "trim").stdout) == {"bytes": SIZE}
        result = broker.ctl("disconnect", str(client.id))
        assert (result.returncode, result.stdout) == (0, "disconnected\n")
        until(lambda: control.call("Status")["clients"] == 0)
        result = broker.ctl("disconnect", str(client.id))
        assert result.returncode == 1 and result.stdout == ""
        assert f"no client {client.id} is connected" in result.stderr


def test_full_disk(busy):
    with open("/dev/full", "w", encoding="ascii") as full:
        for arguments in (["status"], ["--json", "buffers"], ["--help"], ["top", "--count=1"]):
            done = subprocess.run([rig.shmbrokerctl(), "--socket=" + busy.control, *arguments],
                                  stdout=full, stderr=subprocess.PIPE, text=True, timeout=30,
                                  check=False)
            assert done.returncode == 1 and "cannot write" in done.stderr


# ---- the command line ------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [
    [], ["nope"], ["status", "more"], ["--nope", "status"], ["disconnect"],
    ["disconnect", "x"], ["disconnect", "0"], ["disconnect", "-1"], ["disconnect", "1", "2"],
    ["disconnect", "99999999999999999999"], ["buffers", "--client=x"], ["buffers", "--client="],
    ["status", "--pool=a"], ["tokens", "--verify"], ["status", "--count=1"],
    ["top", "--count=0"], ["--socket"], ["--json=1", "status"],
])
def test_wrong_command_lines(arguments):
    result = rig.ctl(*arguments)
    assert result.returncode == 2 and result.stdout == ""
    assert "Try 'shmbrokerctl --help'." in result.stderr


def test_help_and_version():
    result = rig.ctl("--help")
    assert result.returncode == 0 and result.stderr == ""
    for command in [*COMMANDS, "trim", "disconnect", "top"]:
        assert re.search(rf"^  {command}\b", result.stdout, re.M)
    assert rig.ctl("-h").stdout == result.stdout
    assert re.fullmatch(r"shmbrokerctl \d+\.\d+\.\d+\n", rig.ctl("--version").stdout)


# ---- finding the broker ----------------------------------------------------------------


def test_where_it_looks(broker, tmp_path):
    def pid(*arguments, **env):
        result = rig.ctl("--json", "status", *arguments, env=env)
        return json.loads(result.stdout)["pid"] if result.returncode == 0 else None
    private = tmp_path / "shmbroker"
    private.mkdir()
    nowhere = str(tmp_path / "nowhere")
    assert pid("--socket=" + broker.control) == broker.process.pid
    assert pid(SHMBROKER_CONTROL=broker.control) == broker.process.pid
    assert pid("--socket=" + nowhere, SHMBROKER_CONTROL=broker.control) is None
    assert pid(SHMBROKER_CONTROL=nowhere, XDG_RUNTIME_DIR=str(tmp_path)) is None
    (private / "control.sock").symlink_to(broker.control)
    assert pid(XDG_RUNTIME_DIR=str(tmp_path)) == broker.process.pid
    assert pid(SHMBROKER_CONTROL="", XDG_RUNTIME_DIR=str(tmp_path)) == broker.process.pid
    assert pid(SHMBROKER_CONTROL=nowhere, XDG_RUNTIME_DIR=str(tmp_path)) is None


def failure(path, *arguments, **options):
    result = rig.ctl("--socket=" + str(path), *(arguments or ["status"]), **options)
    assert result.returncode == 1 and result.stdout == ""
    assert result.stderr.startswith("shmbrokerctl: ") and result.stderr.count("\n") == 1
    return result.stderr


def test_no_broker(tmp_path):
    for command in [*COMMANDS, "trim", "top"]:
        text = failure(tmp_path / "control.sock", command)
        assert f"no broker listens at {tmp_path}/control.sock (No such file or directory)" \
            in text
        assert "is shmbrokerd running?" in text and "--socket" in text
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "left"))
    assert "(Connection refused): is shmbrokerd running?" in failure(tmp_path / "left")
    (tmp_path / "file").write_text("", encoding="ascii")
    assert f"{tmp_path}/file is not a socket" in failure(tmp_path / "file")
    assert "no broker listens at" in failure("@a-name-of-nobody")
    assert "no broker listens at" in failure(tmp_path / "file" / "below")
    assert "too long for the name of a socket" in failure("/" + "x" * 200)
    assert "is not the name of a socket" in failure("")
    assert "is not the name of a socket" in failure("@")


def test_the_data_socket_is_another(broker):
    text = failure(broker.socket)
    assert f"{broker.socket} is not a control socket" in text and "data socket" in text


@needs_root
def test_not_allowed(start):
    broker = start()
    os.chmod(broker.control, 0o600)
    nobody = {"user": rig.NOBODY, "group": rig.NOBODY, "extra_groups": []}
    text = failure(broker.control, **nobody)
    assert f"not allowed to connect to {broker.control} (Permission denied)" in text
    assert "ControlMode=" in text
    os.chmod(broker.control, 0o666)
    assert broker.ctl("status", **nobody).returncode == 0
    text = failure(broker.control, "trim", **nobody)
    assert f"not allowed for uid {rig.NOBODY}: only for uid 0" in text
    text = failure(broker.control, "disconnect", "1", **nobody)
    assert f"not allowed for uid {rig.NOBODY}: only for uid 0" in text


def test_broker_that_hangs(broker):
    broker.process.send_signal(signal.SIGSTOP)
    try:
        assert "did not answer within 5 s" in failure(broker.control)
    finally:
        broker.process.send_signal(signal.SIGCONT)


@contextlib.contextmanager
def impostor(path, answer):
    """Listens, reads one call, answers with those bytes and closes."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def serve():
            connection, _ = listener.accept()
            with connection:
                if answer is not None:
                    connection.recv(65536)
                    connection.sendall(answer)
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield path
        thread.join(20)


@pytest.mark.parametrize("answer, text", [
    (b"SSH-2.0-impostor\r\n\0", "does not speak Varlink"),
    (b"[1]\0", "does not speak Varlink"),
    (b"\0", "does not speak Varlink"),
    (b"", "closed the connection"),
    (None, "closed the connection"),
    (b'{"parameters":{"ver', "closed the connection"),
    (b'{"error":"org.varlink.service.InterfaceNotFound","parameters":{}}\0',
     "is not a shmbroker"),
    (b'{"error":"org.varlink.service.MethodNotFound","parameters":{"method":"x"}}\0',
     "of another version"),
    (b'{"error":"com.example.Odd","parameters":{"a":1}}\0', 'answered com.example.Odd {"a":1}'),
    (b'{"error":"com.example.Odd"}\0', "answered com.example.Odd"),
])
def test_impostors(tmp_path, answer, text):
    with impostor(str(tmp_path / "socket"), answer) as path:
        assert text in failure(path)


def test_replies_with_nothing_in_them(tmp_path):
    """Another version may leave things out: that is shown as nothing, not a crash."""
    for i, command in enumerate(COMMANDS):
        key = COMMANDS[command]
        entry = json.dumps({"parameters": {key: [{}]}} if key else {}).encode() + b"\0"
        with impostor(str(tmp_path / f"s{i}"), entry) as path:
            result = rig.ctl("--socket=" + path, command)
            assert result.returncode == 0, result.stderr
    with impostor(str(tmp_path / "list"), b'{"parameters":{"buffers":7}}\0') as path:
        assert "does not speak Varlink" in failure(path, "buffers")


def test_hostile_names_do_not_steer_the_terminal(tmp_path):
    row = {"client": 1, "name": "\x1b[2J\x07\nx\x9b31m"}
    with impostor(str(tmp_path / "s"),
                  json.dumps({"parameters": {"clients": [row]}}).encode() + b"\0") as path:
        result = rig.ctl("--socket=" + path, "clients")
    assert result.returncode == 0 and len(result.stdout.splitlines()) == 2
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\x80-\x9f]", result.stdout)


# ---- top, and terminals ----------------------------------------------------------------


def test_top_in_samples(busy):
    result = busy.ctl("top", "--count=2")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("shmbrokerd ") == 2 and "\033" not in result.stdout
    assert "grants since the start" not in result.stdout.split("shmbrokerd ")[2]
    assert "grants/s" in result.stdout.split("shmbrokerd ")[2]
    for sample in result.stdout.split("shmbrokerd ")[1:]:
        check_alignment(sample.rstrip("\n").split("\n\n")[1].split("\n"))
    lines = busy.ctl("--json", "top", "--count=2").stdout.splitlines()
    for line in lines:
        sample = json.loads(line)
        assert sample["status"]["clients"] == len(sample["clients"]) == 2
    assert len(lines) == 2


class Terminal:
    """A pseudo-terminal with shmbrokerctl in it."""

    def __init__(self, broker, *arguments, rows=24, columns=80):
        self.master, slave = pty.openpty()
        self.resize(rows, columns)
        self.before = termios.tcgetattr(slave)
        self.output = b""
        self.process = subprocess.Popen(
            [rig.shmbrokerctl(), "--socket=" + broker.control, *arguments], stdin=slave,
            stdout=slave, stderr=slave, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        self.slave = slave

    def resize(self, rows, columns):
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read_until(self, pattern, seconds=15):
        start = len(self.output)
        while not re.search(pattern, self.output[start:]):
            assert select.select([self.master], [], [], seconds)[0], self.output
            self.output += os.read(self.master, 65536)

    def key(self, key):
        os.write(self.master, key)

    def finish(self):
        """The exit status; the terminal has to be as it was."""
        try:
            status = self.process.wait(15)
            while select.select([self.master], [], [], 0)[0]:
                self.output += os.read(self.master, 65536)
            assert termios.tcgetattr(self.slave) == self.before
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.master)
            os.close(self.slave)
        return status

    def screens(self):
        return [re.sub(rb"\033\[[?\d]*[A-Za-z]", b"", s).decode()
                for s in self.output.split(b"\033[H")[1:]]


@pytest.mark.parametrize("key", [b"q", b"Q", b"\x03", b"\x04"])
def test_top_on_a_terminal(busy, key):
    terminal = Terminal(busy, "top", columns=140)
    terminal.read_until(rb"CLIENT")
    terminal.key(b"x")
    terminal.read_until(rb"grants/s")
    terminal.key(key)
    assert terminal.finish() == 0
    assert terminal.output.startswith(b"\033[?1049h") and b"\033[?25l" in terminal.output
    assert terminal.output.endswith(b"\033[?25h\033[?1049l")
    # The one that holds the most comes first.
    screen = terminal.screens()[0]
    assert screen.index("a-writer") < screen.index("  r  ")
    assert all(len(line) <= 140 for line in screen.replace("\r", "").split("\n"))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_top_gives_the_terminal_back_on_a_signal(busy, number):
    terminal = Terminal(busy, "top")
    terminal.read_until(rb"CLIENT")
    terminal.process.send_signal(number)
    assert terminal.finish() == 0
    assert terminal.output.endswith(b"\033[?25h\033[?1049l")


def test_top_fits_the_terminal(busy):
    terminal = Terminal(busy, "top", rows=6, columns=50)
    terminal.read_until(rb"\033\[J")
    terminal.resize(4, 30)
    terminal.read_until(rb"\033\[J")
    terminal.key(b"q")
    assert terminal.finish() == 0
    first, *_, last = terminal.screens()
    for screen, rows, columns in ((first, 6, 50), (last, 4, 30)):
        lines = screen.replace("\r", "").split("\n")
        assert len(lines) <= rows and all(len(line) <= columns for line in lines)


def test_top_when_the_broker_ends(start):
    broker = start()
    terminal = Terminal(broker, "top")
    terminal.read_until(rb"CLIENT")
    broker.process.terminate()
    assert broker.process.wait(20) == 0
    assert terminal.finish() == 1
    assert b"\033[?1049l" in terminal.output
    assert b"closed the connection" in terminal.output.split(b"\033[?1049l")[1]
    broker.start()


def test_clients_on_a_usual_terminal(busy):
    terminal = Terminal(busy, "clients", columns=80)
    assert terminal.finish() == 0
    lines = terminal.output.decode().replace("\r\n", "\n").rstrip("\n").split("\n")
    assert len(lines) == 3 and all(len(line) <= 80 for line in lines)
    check_alignment(lines)
    for title in ("CLIENT", "PID", "NAME", "HELD", "CACHED", "READING", "TOKENS", "QUOTA"):
        assert title in lines[0].split()


def test_tables_on_a_narrow_terminal(busy):
    terminal = Terminal(busy, "buffers", columns=90)
    assert terminal.finish() == 0
    lines = terminal.output.decode().replace("\r\n", "\n").rstrip("\n").split("\n")
    assert len(lines) > 2 and all(len(line) <= 90 for line in lines)
    assert any(line.endswith("...") for line in lines)
    assert all("..." not in line for line in busy.ctl("buffers").stdout.splitlines())
