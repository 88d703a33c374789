#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""shmbroker.conf(5) has every key of the daemon, in its section, with its default."""
import re
import subprocess
import sys

import tree

PAGE = "docs/man/shmbroker.conf.5"


def keys_of_daemon(program):
    """{(section, key): default} by --check-config of an empty file."""
    done = subprocess.run([program, "--config=/dev/null", "--check-config"], check=True,
                          capture_output=True, text=True, timeout=20)
    keys, section = {}, None
    for line in done.stdout.split("\n"):
        if line.startswith("["):
            section = "BROKER" if line == "[Broker]" else "POOL"
        found = re.match(r"(\w+)=[^;]*(?:; default(?:: (.*))?)?$", line)
        if found and ((section, found.group(1)) not in keys or found.group(2)):
            keys[section, found.group(1)] = found.group(2) or ""
    return keys


def entries_of_page(root):
    """{(section, key): text}"""
    entries, section, key = {}, None, None
    for line in tree.read(root, PAGE).split("\n"):
        heading = re.match(r"\.Sh \[(\w+)\] SECTION", line)
        item = re.match(r"\.It Li (\w+)=", line)
        if line.startswith(".Sh"):
            section, key = heading and heading.group(1), None
        elif item and section:
            key = (section, item.group(1))
            entries[key] = ""
        elif key:
            entries[key] += line + "\n"
    return entries


def main():
    root, program = sys.argv[1:]
    daemon, page = keys_of_daemon(program), entries_of_page(root)
    complaints = [] if daemon else ["--check-config names no key"]
    for section, key in sorted(daemon.keys() - page.keys()):
        complaints.append(f"{PAGE}: [{section}] {key}= is missing")
    for section, key in sorted(page.keys() - daemon.keys()):
        complaints.append(f"{PAGE}: [{section}] {key}= is unknown to the daemon")
    for key in sorted(daemon.keys() & page.keys()):
        default = daemon[key]
        if default and not re.search(rf"(?<!\w){re.escape(default)}(?!\w)", page[key]):
            complaints.append(f"{PAGE}: [{key[0]}] {key[1]}= does not tell its default, {default}")
    tree.finish(complaints)


main()
