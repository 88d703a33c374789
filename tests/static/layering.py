#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Includes go one way: daemon and tools, then libclient/base, then include."""
import os
import re
import sys

import tree

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]+(?:"([^"]+)"|<([^>]+)>)', re.M)
PROTOCOL = "include/shmbroker-proto.h"
CLIENT = "include/shmclient.h"

# Who (the longest prefix counts) may include whose headers.
ALLOWED = {
    "include/": [],
    "libclient/base/": ["libclient/base/", PROTOCOL],
    "libclient/": ["libclient/", "include/"],
    "libclient/tools/": ["libclient/tools/", "libclient/base/", "include/"],
    "daemon/": ["daemon/", "libclient/base/", PROTOCOL],
    "daemon/ledger/": ["daemon/ledger/", "daemon/config.h", "libclient/base/", PROTOCOL],
    "daemon/ctl/": ["daemon/ctl/", "libclient/base/", PROTOCOL],
    "tests/": [""],
}
# Of the above, these may not be entered from outside.
CLOSED = ["libclient/tools/", "daemon/ctl/"]

# The ledger decides; others talk to the kernel.
LEDGER_SYSTEM = re.compile(r"event2/|sys/socket\.h|sys/mman\.h|fcntl\.h|pthread\.h")
LEDGER_CALLS = re.compile(
    r"\b(open|openat|close|read|write|pread|pwrite|readv|writev|send|sendto|sendmsg|recv|"
    r"recvfrom|recvmsg|socket|bind|listen|accept4?|connect|poll|ppoll|select|epoll_\w+|"
    r"event_\w+|fopen|f?printf|fputs|fwrite|puts|mmap|munmap|ioctl|fcntl|fallocate|ftruncate|"
    r"memfd_create|shmb_memfd_\w+|shmb_packet_\w+|clock_gettime|nanosleep|usleep|sleep|"
    r"pthread_\w+|kill|fork|log_\w+)\s*\(")


def layer(name):
    return max((p for p in ALLOWED if name.startswith(p)), key=len, default=None)


def targets(name, included, headers):
    """The project's headers that the include can mean: the one beside, or all of that name."""
    beside = os.path.normpath(os.path.join(os.path.dirname(name), included))
    if beside in headers:
        return [beside]
    return [h for h in headers if h == included or h.endswith("/" + included)]


def may_include(name, own, target):
    if not any(target.startswith(prefix) for prefix in ALLOWED[own]):
        return False
    return not any(target.startswith(c) and not name.startswith((c, "tests/")) for c in CLOSED)


def check_file(root, name, headers):
    text = tree.without_comments(tree.read(root, name))
    own = layer(name)
    if own is None:
        yield f"{name}: C outside of {', '.join(sorted(ALLOWED))}"
        return
    for match in INCLUDE.finditer(text):
        where = f"{name}:{text.count(chr(10), 0, match.start()) + 1}"
        included = match.group(1) or match.group(2)
        found = targets(name, included, headers)
        if match.group(1) and not found and not included.endswith("-definitions.h"):
            yield f"{where}: \"{included}\" is no header of the project"
        if match.group(1) and found and not any(may_include(name, own, t) for t in found):
            yield f"{where}: {own} may not include {' or '.join(found)}"
        if match.group(2) and found and included.startswith("shm"):
            yield f"{where}: <{included}> is ours: write it with quotes"
        if own == "daemon/ledger/" and match.group(2) and LEDGER_SYSTEM.match(included):
            yield f"{where}: the ledger does no I/O: not <{included}>"
    if own == "daemon/ledger/":
        bare = tree.without_comments(text, strings=True)
        for match in LEDGER_CALLS.finditer(bare):
            line = bare.count("\n", 0, match.start()) + 1
            yield f"{name}:{line}: the ledger does no I/O: not {match.group(1)}()"


def main():
    root = sys.argv[1]
    names = tree.c_files(root)
    headers = {n for n in names if n.endswith(".h")}
    tree.finish([c for n in names for c in check_file(root, n, headers)])


main()
