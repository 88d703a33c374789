# SPDX-License-Identifier: Apache-2.0
"""Between users: who was granted memory to read cannot write it, and memory that went from
one user to another shows neither anything of the other's. Broker, writer and reader run
under three uids."""

import ctypes
import errno
import fcntl
import mmap
import os
import signal
import struct

import pytest

from harness import BROKER_UID, MIB, PAGE, UID_A, UID_B, Child, libc, needs_root, run_as
from wire import P, Client, refusal

pytestmark = needs_root

SIZE = 4 * PAGE
SECRET, OTHER = b"S" * SIZE, b"o" * SIZE

F_SETLEASE, F_ADD_SEALS = 1024, 1033
F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_WRITE, F_SEAL_FUTURE_WRITE = 1, 2, 4, 8, 16
PTRACE_ATTACH, PTRACE_SEIZE = 16, 0x4206
SYS_process_vm_writev, SYS_pidfd_getfd = 311, 438
MADV_REMOVE = 9


# ---- attacks: each returns nothing, or raises OSError ---------------------------------

def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


class Target:
    """What a reader has, and whose it is."""

    def __init__(self, fd, size, broker_pid):
        self.fd, self.size, self.broker_pid = fd, size, broker_pid
        libc.mmap.restype = ctypes.c_void_p
        self.address = libc.mmap(None, ctypes.c_size_t(size), mmap.PROT_READ, mmap.MAP_SHARED,
                                 fd, ctypes.c_long(0))
        assert self.address != ctypes.c_void_p(-1).value


def reopen_for_writing(target):
    os.close(os.open(f"/proc/self/fd/{target.fd}", os.O_RDWR))


def reopen_through_pid(target):
    os.close(os.open(f"/proc/{os.getpid()}/fd/{target.fd}", os.O_WRONLY))


def reopen_the_mapping(target):
    end = target.address + target.size
    os.close(os.open(f"/proc/self/map_files/{target.address:x}-{end:x}", os.O_RDWR))


def map_for_writing(target):
    mmap.mmap(target.fd, target.size, prot=mmap.PROT_READ | mmap.PROT_WRITE).close()


def make_the_mapping_writable(target):
    check(libc.mprotect(ctypes.c_void_p(target.address), ctypes.c_size_t(target.size),
                        mmap.PROT_READ | mmap.PROT_WRITE))


def write_through_proc_mem(target):
    fd = os.open("/proc/self/mem", os.O_RDWR)
    try:
        os.pwrite(fd, b"x", target.address)
    finally:
        os.close(fd)


def write_to_it(target):
    os.pwrite(target.fd, b"x", 0)


def splice_into_it(target):
    reading, writing = os.pipe()
    try:
        os.write(writing, b"x")
        os.splice(reading, target.fd, 1, offset_dst=0)
    finally:
        os.close(reading)
        os.close(writing)


def truncate_it(target):
    os.ftruncate(target.fd, 0)


def punch_it(target):
    check(libc.fallocate(target.fd, 3, ctypes.c_long(0), ctypes.c_long(PAGE)))


def punch_the_mapping(target):
    check(libc.madvise(ctypes.c_void_p(target.address), ctypes.c_size_t(PAGE), MADV_REMOVE))


def make_it_everybodys(target):
    os.fchmod(target.fd, 0o666)


def make_it_mine(target):
    os.fchown(target.fd, os.getuid(), -1)


def seal_it(target):
    fcntl.fcntl(target.fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE)


def lease_it(target):
    fcntl.fcntl(target.fd, F_SETLEASE, fcntl.F_RDLCK)


def list_the_brokers_descriptors(target):
    os.listdir(f"/proc/{target.broker_pid}/fd")


def open_a_descriptor_of_the_broker(target):
    os.close(os.open(f"/proc/{target.broker_pid}/fd/0", os.O_RDONLY))


def open_the_brokers_memory(target):
    os.close(os.open(f"/proc/{target.broker_pid}/mem", os.O_RDWR))


def trace_the_broker(target):
    check(libc.ptrace(PTRACE_ATTACH, target.broker_pid, None, None))


def seize_the_broker(target):
    check(libc.ptrace(PTRACE_SEIZE, target.broker_pid, None, None))


def write_into_the_broker(target):
    data = ctypes.create_string_buffer(8)
    vector = struct.pack("QQ", ctypes.addressof(data), 8)
    check(libc.syscall(SYS_process_vm_writev, target.broker_pid, vector, 1, vector, 1, 0))


def take_a_descriptor_of_the_broker(target):
    pidfd = os.pidfd_open(target.broker_pid)
    try:
        check(libc.syscall(SYS_pidfd_getfd, pidfd, 0, 0))
    finally:
        os.close(pidfd)


def stop_the_broker(target):
    os.kill(target.broker_pid, signal.SIGSTOP)


ON_ITS_MEMORY = [reopen_for_writing, reopen_through_pid, reopen_the_mapping, map_for_writing,
                 make_the_mapping_writable, write_through_proc_mem, write_to_it, splice_into_it,
                 truncate_it, punch_it, punch_the_mapping, make_it_everybodys, make_it_mine,
                 seal_it, lease_it]
ON_THE_BROKER = [list_the_brokers_descriptors, open_a_descriptor_of_the_broker,
                 open_the_brokers_memory, trace_the_broker, seize_the_broker,
                 write_into_the_broker, take_a_descriptor_of_the_broker, stop_the_broker]
REFUSALS = {errno.EACCES, errno.EPERM, errno.EBADF, errno.EINVAL, errno.EIO, errno.EFAULT}


def attempt(attack, target):
    """None if it went through, else the error's name."""
    try:
        attack(target)
    except OSError as error:
        assert error.errno in REFUSALS, error
        return errno.errorcode[error.errno]
    return None


def as_reader(_, path, token, broker_pid, attack, raw):
    with Client(path) as client:
        buffer = client.import_(token)
        fd = buffer.fd
        if raw:
            fd = client.descriptor(buffer, flags=P.FD_READONLY)
        assert fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY
        outcome = attempt(attack, Target(fd, buffer.capacity, broker_pid))
        if raw:
            os.close(fd)
        return outcome


@pytest.mark.parametrize("raw", [False, True], ids=["granted", "raw"])
@pytest.mark.parametrize("attack", ON_ITS_MEMORY + ON_THE_BROKER, ids=lambda a: a.__name__)
def test_reader_of_another_uid_cannot_write(system_broker, attack, raw):
    def as_writer(child):
        with Client(system_broker.path) as client:
            buffer = client.alloc(SIZE)
            buffer.map[:SIZE] = SECRET
            child.send(client.export(buffer))
            child.receive()
            assert buffer.map[:SIZE] == SECRET
            os.fstat(buffer.fd)

    with Child(as_writer, uid=UID_A) as writer:
        token = writer.receive()
        with Child(as_reader, system_broker.path, token, system_broker.pid, attack, raw,
                   uid=UID_B) as reader:
            assert reader.result() is not None, f"{attack.__name__} went through"
        writer.send("done")
        writer.result()


@pytest.mark.parametrize("attack", [reopen_for_writing, map_for_writing, write_to_it, seal_it,
                                    make_it_everybodys],
                         ids=lambda a: a.__name__)
def test_attacks_work_where_nothing_stands_against_them(attack):
    """On a plain memfd of its own, one descriptor for writing, they all go through."""
    def on_ones_own(_):
        fd = os.memfd_create("plain", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(fd, SIZE)
        if attack is reopen_for_writing:
            fd = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        return attempt(attack, Target(fd, SIZE, os.getpid()))

    with Child(on_ones_own, uid=UID_B) as child:
        assert child.result() is None


def test_writer_cannot_change_what_others_rely_on(system_broker):
    """Its own memory a client may fill, but neither shrink nor seal: readers would fault, or
    the memory could never be used again."""
    def as_writer(_):
        outcomes = {}
        with Client(system_broker.path) as client:
            buffer = client.alloc(SIZE)
            target = Target(buffer.fd, buffer.capacity, system_broker.pid)
            for attack in (truncate_it, seal_it, make_it_everybodys, make_it_mine):
                outcomes[attack.__name__] = attempt(attack, target)
            with pytest.raises(PermissionError):
                fcntl.fcntl(buffer.fd, F_ADD_SEALS, F_SEAL_WRITE)
            with pytest.raises(PermissionError):
                os.ftruncate(buffer.fd, 2 * buffer.capacity)
        return outcomes

    with Child(as_writer, uid=UID_A) as writer:
        assert None not in writer.result().values()


# ---- what the next owner sees, and what the last one sees of it -----------------------

def allocated(client, size=SIZE):
    """A buffer, checked to show nothing."""
    buffer = client.alloc(size)
    assert bytes(buffer.map) == bytes(buffer.capacity), "another's data"
    return buffer


def splice_out(buffer):
    reading, writing = os.pipe()
    assert os.splice(buffer.fd, writing, PAGE, offset_src=0) == PAGE
    os.close(writing)
    return reading


def vmsplice_out(buffer):
    reading, writing = os.pipe()
    address = libc.mmap(None, ctypes.c_size_t(PAGE), mmap.PROT_READ, mmap.MAP_SHARED,
                        buffer.fd, ctypes.c_long(0))
    vector = struct.pack("QQ", address, PAGE)
    assert check(libc.vmsplice(writing, vector, ctypes.c_ulong(1), 0)) == PAGE
    check(libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(PAGE)))
    os.close(writing)
    return reading


libc.mmap.restype = ctypes.c_void_p
libc.vmsplice.restype = ctypes.c_ssize_t


@pytest.mark.parametrize("pages_out", [splice_out, vmsplice_out], ids=lambda f: f.__name__)
@pytest.mark.parametrize("who", ["writer", "reader"])
def test_pages_in_a_pipe_show_nothing_of_the_next_owner(start, pages_out, who):
    """The kernel's proof does not see pages in a pipe: the scrub must."""
    broker = start(uid=BROKER_UID, config="[Pool default]\nBuffersMax=1\nMemoryMax=1M\n")

    def first(child):
        """Writes for another uid, and keeps a page of it in a pipe."""
        with Client(broker.path) as client:
            buffer = client.alloc(SIZE)
            buffer.map[:SIZE] = SECRET
            pipe = pages_out(buffer) if who == "writer" else None
            child.send((buffer.grant.object, client.export(buffer, flags=P.EXPORT_ONCE)))
            child.receive()
            buffer.release()
            child.send("released")
            child.receive()
            if pipe is not None:
                assert os.read(pipe, PAGE) == SECRET[:PAGE], "the next owner's data"
                os.close(pipe)

    def second(child, token):
        with Client(broker.path) as client:
            buffer = client.import_(token)
            assert bytes(buffer.map[:SIZE]) == SECRET
            pipe = pages_out(buffer) if who == "reader" else None
            child.send("imported")
            child.receive()
            buffer.release()
            child.send("released")
            child.receive()
            if pipe is not None:
                assert os.read(pipe, PAGE) == SECRET[:PAGE], "the next owner's data"
                os.close(pipe)

    def third(child, number):
        """Of the second's uid: gets the very same object, as if new, and fills it."""
        with Client(broker.path) as client:
            buffer = allocated(client)
            assert buffer.grant.object == number and buffer.grant.flags & P.GRANT_ZEROED
            buffer.map[:SIZE] = OTHER
            child.send("filled")
            child.receive()
            assert buffer.map[:SIZE] == OTHER

    with Child(first, uid=UID_A) as writer:
        number, token = writer.receive()
        with Child(second, token, uid=UID_B) as reader:
            for child in (reader, writer):
                if child is reader:
                    assert child.receive() == "imported"
                child.send("go on")
                assert child.receive() == "released"
            broker.control.until("free again", lambda s: s["memory"]["free"]["buffers"] == 1)
            assert broker.control.status()["counters"]["scrubs"] == 1
            with Child(third, number, uid=UID_B) as owner:
                assert owner.receive() == "filled"
                for child in (writer, reader, owner):
                    child.send("look")
                    child.result()


@pytest.mark.parametrize("who", ["writer", "reader"])
def test_a_mapping_kept_against_the_rules(start, who):
    """The object is not used again while it is mapped, and in the end its memory is taken
    from under the mapping."""
    broker = start(uid=BROKER_UID, config="[Broker]\nQuarantineMax=100ms\n")

    def first(child):
        with Client(broker.path) as client:
            buffer = client.alloc(SIZE)
            view = buffer.map
            view[:SIZE] = SECRET
            child.send((buffer.grant.object, client.export(buffer, flags=P.EXPORT_ONCE)))
            child.receive()
            if who == "writer":
                client.release([(*buffer.lease, 0)])  # and goes on looking
            else:
                buffer.release()
            child.send("released")
            child.receive()
            if who == "writer":
                assert view[:SIZE] == bytes(SIZE), "its memory, or another's"
                view[:SIZE] = SECRET  # into the void

    def second(child, token):
        with Client(broker.path) as client:
            buffer = client.import_(token)
            view = buffer.map
            child.send("imported")
            child.receive()
            if who == "reader":
                client.release([(*buffer.lease, 0)])
            else:
                buffer.release()
            child.send("released")
            # Its own uid's new buffers are other ones.
            others = [allocated(client) for _ in range(8)]
            for other in others:
                other.map[:SIZE] = OTHER
            child.send([other.grant.object for other in others])
            child.receive()
            if who == "reader":
                assert view[:SIZE] == bytes(SIZE), "another's data"
            for other in others:
                assert other.map[:SIZE] == OTHER

    with Child(first, uid=UID_A) as writer:
        number, token = writer.receive()
        with Child(second, token, uid=UID_B) as reader:
            reader.receive()
            writer.send("release")
            writer.receive()
            reader.send("release")
            reader.receive()
            assert number not in reader.receive()
            broker.control.until("retired", lambda s: s["counters"]["retired"] == 1)
            broker.control.until("gone", lambda s: s["memory"]["total"]["buffers"] == 8)
            writer.send("look")
            writer.result()
            reader.send("look")
            reader.result()


def test_recycled_under_pressure_shows_nothing(start):
    """Two uids take turns in a pool with room for one: each finds zeros, never the other's."""
    broker = start(uid=BROKER_UID, config="[Pool default]\nMemoryMax=2M\nBuffersMax=1\n")

    def turn(_, fill):
        with Client(broker.path) as client:
            buffer = client.alloc(1 * MIB, timeout=P.TIMEOUT_FOREVER)
            before = set(bytes(buffer.map))
            buffer.map[:] = fill * buffer.capacity
            buffer.release()
            return before

    own = {UID_A: (b"a", {ord("a")}), UID_B: (b"b", {ord("b")})}
    for uid in [UID_A, UID_A, UID_B, UID_A, UID_B, UID_B] * 3:
        fill, mine = own[uid]
        assert run_as(uid, turn, None, fill) <= mine | {0}


def test_in_one_domain_memory_is_not_scrubbed(system_broker):
    def both(_):
        with Client(system_broker.path) as one, Client(system_broker.path) as two:
            buffer = one.alloc(SIZE)
            buffer.map[:SIZE] = SECRET
            number = buffer.grant.object
            buffer.release()
            again = two.alloc(SIZE)
            assert again.grant.object == number
            assert not again.grant.flags & P.GRANT_ZEROED
            assert again.map[:SIZE] == SECRET

    with Child(both, uid=UID_A) as child:
        child.result()
    assert system_broker.control.status()["counters"]["scrubs"] == 0


def test_lost_with_its_process_then_used_again(system_broker):
    """Killed while holding: proven, not scrubbed, for the same uid; others get another."""
    def hold(child, size):
        client = Client(system_broker.path)
        buffer = client.alloc(size)
        buffer.map[:size] = b"S" * size
        child.send(buffer.grant.object)
        child.receive()

    with Child(hold, SIZE, uid=UID_A) as child:
        number = child.receive()
        child.kill()
    system_broker.until_nobody_holds()
    assert system_broker.control.status()["counters"]["proofs"] >= 1

    def look(_):
        with Client(system_broker.path) as client:
            buffer = client.alloc(SIZE)
            return buffer.grant.object, set(buffer.map[:SIZE])

    assert run_as(UID_B, look, None)[1] == {0}
    assert run_as(UID_A, look, None) == (number, {ord("S")})


# ---- tokens between users -------------------------------------------------------------

@pytest.mark.parametrize("flags, config, wanted", [
    (0, "", None),
    ("EXPORT_SAME_DOMAIN", "", "TOKEN_DOMAIN"),
    ("EXPORT_TRANSFER", "", "TOKEN_DOMAIN"),
    (0, "[Pool default]\nShare=same-uid\n", "TOKEN_DOMAIN"),
    (0, f"[Pool default]\nAllowUsers={UID_A}\n", "POOL_DENIED"),
])
def test_token_of_another_domain(start, flags, config, wanted):
    broker = start(uid=BROKER_UID, config=config)

    def first(child):
        with Client(broker.path) as client:
            buffer = client.alloc(SIZE)
            child.send(client.export(buffer, flags=getattr(P, flags) if flags else 0))
            child.receive()

    def second(_, token):
        with Client(broker.path) as client:
            if wanted:
                return refusal(client.import_, token)
            client.import_(token)
            return None

    with Child(first, uid=UID_A) as writer:
        token = writer.receive()
        before = broker.snapshot()
        assert run_as(UID_B, second, None, token) == wanted
        if wanted:
            broker.control.until("left", lambda s: s["connections"] == 1)
            assert broker.snapshot() == before
        writer.send("done")
        writer.result()


def test_socket_mode_keeps_strangers_out(start):
    broker = start(uid=BROKER_UID)
    os.chmod(broker.path, 0o660)

    def knock(_):
        with pytest.raises(PermissionError):
            Client(broker.path)

    run_as(UID_B, knock, None)
