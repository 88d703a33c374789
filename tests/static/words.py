#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""No file leaves work for later in a comment, or names a place on somebody's machine."""
import re
import sys

import tree

# In halves, so that this file passes too.
WORDS = re.compile("|".join([
    "/" + "work/",
    r"\bfar" + "m-",
    r"\bTO" + r"DO\b",
    r"\bFIX" + r"ME\b",
    r"\bXX" + r"X\b",
]))


def check(root, name):
    if WORDS.search(name):
        yield f"{name}: the name"
    for number, line in enumerate(tree.read(root, name).split("\n"), 1):
        found = WORDS.search(line)
        if found:
            yield f"{name}:{number}: {found.group()}"


def main():
    root = sys.argv[1]
    tree.finish([c for n in tree.files(root) for c in check(root, n)])


main()
