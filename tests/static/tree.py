# SPDX-License-Identifier: Apache-2.0
"""The project's files, and what the checks of them share."""
import os
import re
import subprocess
import sys


def files(root):
    """Paths below root of every file that is tracked, or new and not ignored."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "-C", root, "ls-files", "-z",
         "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=False)
    if listed.returncode == 0:
        names = listed.stdout.decode().split("\0")
        return sorted(n for n in set(names) if n and os.path.isfile(os.path.join(root, n)))
    found = []  # an unpacked archive
    for directory, below, names in os.walk(root):
        below[:] = [b for b in below if not b.startswith(("build", ".git", "__pycache__"))]
        found += [os.path.relpath(os.path.join(directory, n), root) for n in names]
    return sorted(found)


def c_files(root, *suffixes):
    return [f for f in files(root) if f.endswith(suffixes or (".c", ".h"))]


def read(root, name):
    with open(os.path.join(root, name), encoding="utf-8", errors="replace") as file:
        return file.read()


TOKEN = re.compile(r"""//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'""", re.S)


def without_comments(text, strings=False):
    """The C text with comments, and if asked strings, blanked out; lines keep their number."""
    def blank(match):
        found = match.group()
        if found[0] in "\"'" and not strings:
            return found
        return re.sub(r"[^\n]", " ", found)
    return TOKEN.sub(blank, text)


def finish(complaints):
    """Prints what is wrong; ends the program with 1 if anything is."""
    for complaint in complaints:
        print(complaint)
    sys.exit(1 if complaints else 0)
