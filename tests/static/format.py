#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every C file is as clang-format would write it; --fix writes it so."""
import subprocess
import sys

import tree


def main():
    root = sys.argv[1]
    how = ["-i"] if "--fix" in sys.argv[2:] else ["--dry-run", "-Werror"]
    try:
        done = subprocess.run(["clang-format", *how, *tree.c_files(root)], cwd=root, check=False)
    except FileNotFoundError:
        tree.finish(["clang-format is not installed"])
    if done.returncode != 0:
        print("./dev format mends it")
    sys.exit(1 if done.returncode else 0)


main()
