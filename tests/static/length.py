#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A C file has at most 600 lines, and a function at most 60."""
import re
import sys

import tree

FILE_MAX = 600
FUNCTION_MAX = 60
NAME = re.compile(r"(\w+)\s*\(")


def code_only(text):
    """Without comments, strings and the preprocessor's lines."""
    text = tree.without_comments(text, strings=True)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m.group().count("\n"),
                  text, flags=re.M)


def functions(text):
    """(name, first line, last line) of every function body at file level."""
    depth = 0
    head_start = 0
    function = None
    for at, character in enumerate(text):
        if character == "{":
            head = text[head_start:at].strip()
            if depth == 0 and re.fullmatch(r"extern\s*(\"C\")?", head):
                head_start = at + 1
                continue
            if depth == 0 and head.endswith(")") and "=" not in head:
                called = NAME.findall(re.sub(r"__attribute__\s*\(\(.*?\)\)", "", head))
                first = text.index(head, head_start)
                function = (called[0] if called else head, text.count("\n", 0, first) + 1)
            depth += 1
        elif character == "}":
            depth = max(depth - 1, 0)
            if depth == 0:
                if function:
                    yield (*function, text.count("\n", 0, at) + 1)
                function = None
                head_start = at + 1
        elif character == ";" and depth == 0:
            head_start = at + 1


def check(root, name):
    text = tree.read(root, name)
    lines = text.count("\n")
    if lines > FILE_MAX:
        yield f"{name}: {lines} lines, at most {FILE_MAX}"
    for function, first, last in functions(code_only(text)):
        if last - first + 1 > FUNCTION_MAX:
            yield f"{name}:{first}: {function} has {last - first + 1} lines, at most {FUNCTION_MAX}"


def main():
    root = sys.argv[1]
    tree.finish([c for n in tree.c_files(root) for c in check(root, n)])


main()
