#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The public headers compile alone, and twice, as C99 and C++17, under every warning."""
import os
import shutil
import subprocess
import sys

import tree

HEADERS = ["shmclient.h", "shmbroker-proto.h"]
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-pedantic", "-Werror"]
COMPILERS = [
    ("gcc", "c", "c99"),
    ("g++", "c++", "c++17"),
    ("clang", "c", "c99"),
    ("clang++", "c++", "c++17"),
]


def check(root, header, compiler, language, standard):
    source = f'#include "{header}"\n#include "{header}"\n'
    command = [compiler, "-x", language, f"-std={standard}", *WARNINGS, "-fsyntax-only",
               "-I", os.path.join(root, "include"), "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        yield f"{header} with {compiler} -std={standard}:\n{done.stderr}"


def main():
    root = sys.argv[1]
    missing = [f"{c} is not installed" for c, _, _ in COMPILERS if not shutil.which(c)]
    tree.finish(missing or [c for h in HEADERS for with_ in COMPILERS
                            for c in check(root, h, *with_)])


main()
