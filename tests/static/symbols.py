#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The library exports what its header declares and its map names: no more, no less."""
import re
import subprocess
import sys

import tree


def declared(root):
    text = tree.without_comments(tree.read(root, "include/shmclient.h"))
    text = re.sub(r"^[ \t]*#.*$", "", text, flags=re.M)
    return set(re.findall(r"SHMC_PUBLIC\b[^;(]*?(\w+)\s*\(", text))


def mapped(path):
    """Names below `global:`, of every version; a pattern among them names nothing surely."""
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"#[^\n]*", "", tree.without_comments(file.read()))
    names = set()
    for part in re.findall(r"global:(.*?)(?:local:|\})", text, re.S):
        names |= {n.strip() for n in part.split(";") if n.strip()}
    return names


def exported(library):
    """(name, version) of what the dynamic linker would find."""
    listed = subprocess.run(["nm", "-D", "--defined-only", "--with-symbol-versions", library],
                            capture_output=True, text=True, check=True).stdout
    for line in listed.splitlines():
        kind, name = line.split()[-2:]
        if kind == "A":
            continue  # the version itself
        name, _, version = name.partition("@")
        yield name, version.lstrip("@")


def differences(a_name, a, b_name, b):
    for name in sorted(a - b):
        yield f"{name}: {a_name}, but not {b_name}"
    for name in sorted(b - a):
        yield f"{name}: {b_name}, but not {a_name}"


def main():
    root, library, version_map = sys.argv[1:]
    versions = dict(exported(library))
    header = declared(root)
    complaints = [] if header else ["no SHMC_PUBLIC declaration found"]
    complaints += differences("exported", set(versions), "declared in shmclient.h", header)
    complaints += differences("in the symbol map", mapped(version_map),
                              "declared in shmclient.h", header)
    complaints += [f"{n}: exported without a version" for n, v in versions.items() if not v]
    tree.finish(complaints)


main()
