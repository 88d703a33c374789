#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Manual page, --help and completion of a program know the same options, and each function of
the library has a page; mandoc is content."""
import glob
import os
import re
import shutil
import subprocess
import sys

import tree

LONG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)")


def documented(text):
    """Long options among the items of the page's lists: `.It Fl -config`."""
    items = [line for line in text.split("\n") if re.match(r"\.It (.*\s)?Fl ", line)]
    return {o for line in items for o in re.findall(r"(?<=\s)-([a-z][a-z0-9-]*)", line)}


def offered(program):
    done = subprocess.run([program, "--help"], capture_output=True, text=True, check=False,
                          timeout=20)
    if done.returncode != 0:
        tree.finish([f"{program} --help: exit status {done.returncode}"])
    return set(LONG.findall(done.stdout))


def differences(a_name, a, b_name, b):
    for name in sorted(a - b):
        yield f"--{name}: in {a_name}, but not in {b_name}"
    for name in sorted(b - a):
        yield f"--{name}: in {b_name}, but not in {a_name}"


def check_program(root, program):
    name = os.path.basename(program)
    pages = glob.glob(os.path.join(root, "docs/man", name + ".[18]"))
    if len(pages) != 1:
        yield f"{name}: {len(pages)} manual pages in section 1 or 8"
        return
    page = os.path.relpath(pages[0], root)
    options = offered(program)
    if not options:
        yield f"{name} --help: no option in it"
    yield from differences(page, documented(tree.read(root, page)), f"{name} --help", options)

    completion = f"docs/completions/{name}"
    if os.path.exists(os.path.join(root, completion)):
        yield from differences(completion, set(LONG.findall(tree.read(root, completion))),
                               f"{name} --help", options)
    else:
        yield f"{completion} is missing"


def check_pages(root):
    if not shutil.which("mandoc"):
        yield "mandoc is not installed"
        return
    for page in sorted(glob.glob(os.path.join(root, "docs/man/*.[1-9]"))):
        done = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], capture_output=True,
                              text=True, check=False)
        if done.returncode != 0:
            yield done.stdout.strip()


def check_functions(root):
    """Each function of the library is the name of a page, and `man` finds it by that name."""
    functions = set(re.findall(r"\b(shmc_\w+);", tree.read(root, "libclient/shmclient.map")))
    installed = tree.read(root, "docs/meson.build")
    for page in sorted(glob.glob(os.path.join(root, "docs/man/*.3"))):
        name_section = tree.read(root, page).split(".Sh SYNOPSIS")[0]
        for name in re.findall(r"^\.Nm (\w+)", name_section, flags=re.M):
            functions.discard(name)
            if f"'{name}'" not in installed and f"'man/{name}.3'" not in installed:
                yield f"docs/meson.build installs no page of the name {name}"
    for name in sorted(functions):
        yield f"{name}: in no manual page's NAME"


def main():
    root, programs = sys.argv[1], sys.argv[2:]
    complaints = [*check_pages(root), *check_functions(root)]
    for program in programs:
        complaints += check_program(root, program)
    tree.finish(complaints)


main()
