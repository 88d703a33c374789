#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""docs/protocol.md has a table row with the name and the value of every protocol constant."""
import re
import sys

import tree

HEADER = "include/shmbroker-proto.h"
PAGE = "docs/protocol.md"
NUMBER = re.compile(r"(?<![\w.])(0x[0-9a-fA-F]+|[0-9]+)(?![\w.])")


def constants(root):
    """{name: number, or text of a string}"""
    text = tree.without_comments(tree.read(root, HEADER))
    found = {}
    for name, value in re.findall(r"^#define (SHMB_\w+)[ \t]+(\S.*?)[ \t]*$", text, re.M):
        found[name] = value
    for body in re.findall(r"enum \w+ \{(.*?)\}", text, re.S):
        for name, value in re.findall(r"(SHMB_\w+)\s*=\s*([^,\s]+)", body):
            found[name] = value
        for entry in filter(None, (e.strip() for e in body.split(","))):
            if "=" not in entry:
                tree.finish([f"{HEADER}: {entry} has no value of its own"])
    return {n: v.strip('"') if v.startswith('"') else int(v.rstrip("uUlL"), 0)
            for n, v in found.items()}


def rows(root):
    """{name: the text of every row that has it in backquotes}"""
    named = {}
    for line in tree.read(root, PAGE).split("\n"):
        if line.lstrip().startswith("|"):
            for name in re.findall(r"`(SHMB_\w+)`", line):
                named.setdefault(name, []).append(line)
    return named


def tells(row, value):
    if isinstance(value, str):
        return value in row
    return any(int(n, 0) == value for n in NUMBER.findall(re.sub(r"`(\w+)`", r" \1 ", row))
               if n == "0" or not n.startswith("0") or n.startswith("0x"))


def main():
    root = sys.argv[1]
    known, named = constants(root), rows(root)
    complaints = [] if known else [f"{HEADER}: no constant found"]
    for name, value in known.items():
        shown = value if isinstance(value, str) else f"{value} ({value:#x})"
        if name not in named:
            complaints.append(f"{PAGE}: no row for {name}, {shown}")
        elif not any(tells(row, value) for row in named[name]):
            complaints.append(f"{PAGE}: the row of {name} does not say {shown}")
    complaints += [f"{PAGE}: {n} is not in {HEADER}" for n in sorted(named.keys() - known.keys())]
    tree.finish(complaints)


main()
