#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every C file is as clang-format would write it; --fix writes it so.

Versions differ in details, so one of them is the measure. Without it this is skipped.
"""
import re
import shutil
import subprocess
import sys

import tree

MEASURE = 14
SKIPPED = 77


def formatter():
    """The program of that version, or None; and what there is instead."""
    versions = []
    for name in (f"clang-format-{MEASURE}", "clang-format"):
        if not shutil.which(name):
            continue
        said = subprocess.run([name, "--version"], capture_output=True, text=True,
                              check=False).stdout
        version = re.search(r"version (\d+)", said)
        versions.append(version.group(1) if version else "?")
        if versions[-1] == str(MEASURE):
            return name, versions
    return None, versions


def main():
    root, fix = sys.argv[1], "--fix" in sys.argv[2:]
    program, versions = formatter()
    if not versions:
        tree.finish(["clang-format is not installed"])
    if not program:
        print(f"the layout is that of clang-format {MEASURE}; here is {', '.join(versions)}")
        sys.exit(1 if fix else SKIPPED)
    how = ["-i"] if fix else ["--dry-run", "-Werror"]
    done = subprocess.run([program, *how, *tree.c_files(root)], cwd=root, check=False)
    if done.returncode != 0:
        print("./dev format mends it")
    sys.exit(1 if done.returncode else 0)


main()
