#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""clang-tidy and cppcheck over what the build compiles: lint.py ROOT BUILD tidy|cppcheck."""
import concurrent.futures
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import tree

# Style is clang-tidy's.
CPPCHECK = ["--enable=warning,performance,portability",
            # It does not know __attribute__((cleanup)); the sanitizer builds look for leaks.
            "--suppress=memleak", "--suppress=resourceLeak",
            # Takes f(buffer, fill(buffer)) for a use before the filling.
            "--suppress=uninitvar",
            # It does not read the headers of cmocka, whose assertions it takes for functions.
            "--suppress=deallocuse:*tests/*",
            # Does not follow a result back to the allocation that failed.
            "--suppress=nullPointerOutOfMemory",
            # How far it looked.
            "--suppress=normalCheckLevelMaxBranches",
            "--inline-suppr", "--quiet", "--std=c11", "--error-exitcode=1",
            "--template={file}:{line}: {id}: {message}"]


def compiled(root, build):
    """Absolute paths of the project's own C files in the build."""
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        entries = json.load(file)
    paths = {os.path.realpath(os.path.join(e["directory"], e["file"])) for e in entries}
    own = os.path.realpath(root) + os.sep
    return sorted(p for p in paths if p.startswith(own) and p.endswith(".c"))


def digest(*paths):
    total = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            total.update(file.read())
        total.update(b"\0")
    return total.hexdigest()


# The analyzer does not know what holds between the links of these lists and tables.
LINKS = re.compile(r"^/usr/include/ut(list|hash)\.h:.*expanded from macro", re.M)


def findings(output):
    """Each finding's line and source; the analyzer's way to it is left out."""
    for block in re.split(r"^(?=\S+:\d+:\d+: error: )", output, flags=re.M)[1:]:
        lines = block.split("\n")
        way = [i for i, line in enumerate(lines) if ": note: " in line] or [3]
        if "[clang-analyzer-" in lines[0] and LINKS.match(lines[way[0]]):
            continue
        yield "\n".join(lines[:min(way[0], 3)])


def tidy(root, build):
    """A file found clean is not looked at again until it, a header or the checks change."""
    program = shutil.which("clang-tidy")
    if not program:
        return ["clang-tidy is not installed"]
    common = digest(os.path.realpath(program), *(os.path.join(root, n) for n in tree.files(root)
                      if n.endswith(".clang-tidy")),
                    os.path.join(build, "compile_commands.json"),
                    *(os.path.join(root, h) for h in tree.c_files(root, ".h")))
    clean = os.path.join(build, "lint-clean")
    os.makedirs(clean, exist_ok=True)

    def run(path):
        mark = os.path.join(clean, hashlib.sha256(
            (common + path + digest(path)).encode()).hexdigest())
        if os.path.exists(mark):
            return None
        done = subprocess.run([program, "-p", build, "--quiet", path], capture_output=True,
                              text=True, check=False)
        found = list(findings(done.stdout))
        if found:
            return "\n".join(found)
        if done.returncode != 0 and "error: " not in done.stdout:
            return f"{path}: {done.stderr.strip()}"
        with open(mark, "w", encoding="utf-8"):
            pass
        return None

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return [c for c in pool.map(run, compiled(root, build)) if c]


def cppcheck(root, build):
    if not shutil.which("cppcheck"):
        return ["cppcheck is not installed"]
    done = subprocess.run(
        ["cppcheck", f"--project={build}/compile_commands.json", f"-j{os.cpu_count()}",
         f"--library={os.path.join(root, 'tests/static/cppcheck.cfg')}", *CPPCHECK],
        capture_output=True, text=True, check=False)
    return [(done.stderr + done.stdout).strip()] if done.returncode != 0 else []


def main():
    root, build, which = sys.argv[1:]
    tree.finish({"tidy": tidy, "cppcheck": cppcheck}[which](root, build))


main()
