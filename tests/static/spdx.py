#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Every source file says its licence on its first line, or on the second after a #! or <?xml."""
import os
import re
import sys

import tree

MARK = re.compile(r"^\W*SPDX-License-Identifier: Apache-2\.0\b")
# Texts without comments, or that are read as they are.
WITHOUT = re.compile(r"(^|/)(LICENSE|\.gitignore|[^/]*\.(md|json|txt|csv|png|bin))$")


def complaint(root, name):
    with open(os.path.join(root, name), "rb") as file:
        lines = file.read(1024).decode("utf-8", "replace").split("\n")
    second = lines[0].startswith(("#!", "<?xml")) and len(lines) > 1
    first = lines[1] if second else lines[0]
    if not MARK.match(first):
        yield f"{name}: no \"SPDX-License-Identifier: Apache-2.0\" at its beginning"


def main():
    root = sys.argv[1]
    names = [n for n in tree.files(root) if not WITHOUT.search(n)]
    tree.finish([c for n in names for c in complaint(root, n)])


main()
