# SPDX-License-Identifier: Apache-2.0
"""shmbrokerd --run: a broker of its own for one command."""

import os
import signal
import stat
import subprocess

import pytest

import harness
from harness import MIB

PYTHON = "/usr/bin/python3"


@pytest.fixture
def run(programs, tmp_path):
    def call(*command, options=(), **more):
        return harness.run([programs.shmbrokerd, *options, "--run", "--", *command],
                           programs=programs, environment={"XDG_RUNTIME_DIR": str(tmp_path)},
                           **more)
    yield call
    assert os.listdir(tmp_path) == [], "it left something in its directory"


@pytest.mark.parametrize("wanted", [0, 1, 7, 125, 255])
def test_exit_status_is_the_commands(run, wanted):
    assert run("sh", "-c", f"exit {wanted}")[0] == wanted


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_signal_the_command_died_of(run, number):
    assert run("sh", "-c", f"kill -{int(number)} $$")[0] == 128 + number


def test_command_that_is_not_there(run, tmp_path):
    status, out, err = run("/nonexistent/command")
    assert status == 127 and out == b"" and "/nonexistent/command" in err
    status, _, err = run("no-such-command-anywhere")
    assert status == 127 and "no-such-command-anywhere" in err


def test_command_that_is_no_program(run):
    status, out, err = run("/etc/passwd")
    assert status == 126 and out == b"" and "/etc/passwd" in err


def test_environment_and_directory(run, tmp_path):
    status, out, _ = run("sh", "-c", 'echo "$SHMBROKER_SOCKET"; echo "$SHMBROKER_CONTROL"; '
                         'stat -c "%F %a" "$SHMBROKER_SOCKET"; '
                         'stat -c %a "$(dirname "$SHMBROKER_SOCKET")"')
    assert status == 0
    socket, control, kind, mode = out.decode().splitlines()
    assert socket.startswith(str(tmp_path)) and control.startswith(str(tmp_path))
    assert kind.startswith("socket") and mode == "700"
    assert not os.path.exists(socket) and not os.path.exists(os.path.dirname(socket))


def test_without_a_runtime_directory(programs):
    status, out, _ = harness.run(
        ["env", "-u", "XDG_RUNTIME_DIR", programs.shmbrokerd, "--run", "--", "sh", "-c",
         'echo "$SHMBROKER_SOCKET"'], programs=programs)
    path = out.decode().strip()
    assert status == 0 and path.startswith("/tmp/")
    assert not os.path.exists(os.path.dirname(path))


def test_arguments_and_standard_streams(run):
    status, out, err = run("sh", "-c", 'printf "%s|" "$@"; cat; echo bad >&2', "sh", "a b", "",
                           "--socket=x", stdin=b"input")
    assert status == 0 and out == b"a b||--socket=x|input" and "bad\n" in err


def test_shmcat_in_it(run, programs, tmp_path):
    data = os.urandom(3 * MIB)
    status, out, err = run("sh", "-c", f'"{programs.shmcat}" get '
                           f'"$("{programs.shmcat}" put --once -)"', stdin=data)
    assert status == 0 and out == data, err


def test_signal_mask_and_limits_are_its_callers(run):
    script = ("import resource, signal; "
              "print(sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])), "
              "resource.getrlimit(resource.RLIMIT_NOFILE), "
              "signal.getsignal(signal.SIGPIPE) is not None)")
    plain = subprocess.run([PYTHON, "-c", script], capture_output=True, check=True).stdout
    assert run(PYTHON, "-c", script)[1] == plain


def test_command_inherits_no_descriptor(run):
    """Of the broker's: only what the broker itself was given."""
    status, out, _ = run(PYTHON, "-c",
                         "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd') "
                         "if os.path.exists(f'/proc/self/fd/{n}')))")
    assert status == 0 and out == b"[0, 1, 2]\n"


def test_configuration_counts(run, tmp_path, programs):
    path = os.path.join(programs.directory, "run.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write("[Pool default]\nMemoryMax=1M\n")
    try:
        status, _, err = run(programs.shmcat, "put", "-", options=["--config", path],
                             stdin=bytes(2 * MIB))
    finally:
        os.unlink(path)
    assert status == 1 and "too-large" in err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP,
                                    signal.SIGQUIT])
def test_signals_are_passed_on(programs, tmp_path, number):
    """The command decides what it does with them; the broker is there to its end."""
    script = ("import os, signal, sys\n"
              "caught = []\n"
              f"signal.signal({int(number)}, lambda n, f: caught.append(n))\n"
              "print('ready', flush=True)\n"
              "while not caught: signal.pause()\n"
              "print('there' if os.path.exists(os.environ['SHMBROKER_SOCKET']) else 'gone')\n"
              "sys.exit(33)\n")
    with subprocess.Popen(
            [programs.shmbrokerd, "--run", "--", PYTHON, "-c", script], stdout=subprocess.PIPE,
            env=dict(programs.environment, XDG_RUNTIME_DIR=str(tmp_path)),
            preexec_fn=lambda: harness.become(None)) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        out, _ = process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode == 33 and out == b"there\n"
    assert os.listdir(tmp_path) == []


def test_terminated_by_signal_it_is_passed(programs, tmp_path):
    with subprocess.Popen(
            [programs.shmbrokerd, "--run", "--", "sh", "-c", "echo ready; exec sleep 1000"],
            stdout=subprocess.PIPE,
            env=dict(programs.environment, XDG_RUNTIME_DIR=str(tmp_path)),
            preexec_fn=lambda: harness.become(None)) as process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=harness.DEADLINE_S)
    assert process.returncode == 128 + signal.SIGTERM
    assert os.listdir(tmp_path) == []


def test_within_another_broker(programs, broker, tmp_path):
    """The variables of the outer one do not reach through."""
    status, out, _ = harness.run(
        [programs.shmbrokerd, "--run", "--", "sh", "-c", 'echo "$SHMBROKER_SOCKET"'],
        programs=programs, broker=broker, environment={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert status == 0 and out.decode().strip() != broker.path


def test_passed_sockets_are_left_alone(programs, tmp_path):
    """A private broker started by a socket-activated service is not that service."""
    status, _, err = harness.run(
        [PYTHON, "-c", "import os, sys\n"
         "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', "
         "LISTEN_FDNAMES='other')\n"
         "os.execv(sys.argv[1], sys.argv[1:])",
         programs.shmbrokerd, "--run", "--", "true"],
        programs=programs, environment={"XDG_RUNTIME_DIR": str(tmp_path)})
    assert status == 0, err


def test_modes(programs, tmp_path):
    """Nobody else gets at the sockets: the directory is its user's."""
    status, out, _ = harness.run(
        [programs.shmbrokerd, "--run", "--", PYTHON, "-c",
         "import os\npath = os.path.dirname(os.environ['SHMBROKER_SOCKET'])\n"
         "s = os.stat(path)\nprint(s.st_mode, s.st_uid)"],
        programs=programs, environment={"XDG_RUNTIME_DIR": str(tmp_path)})
    mode, uid = map(int, out.split())
    assert status == 0 and stat.S_IMODE(mode) == 0o700 and uid == os.geteuid()
