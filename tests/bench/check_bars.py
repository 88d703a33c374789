#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Holds what shmbench measures against the bars of the project.

    check_bars.py SHMBENCH SHMBROKERD [--rounds N]

Absolute times differ from machine to machine, so most bars are ratios of two figures of one
round, and the median of the rounds decides. A worst case is judged by the best round: what
else the host does can only add to it. Exits 0 if every bar is met, else 1.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from statistics import median

MIB = 1 << 20
PAYLOAD = 20 * MIB
STRACE_PAIRS = 1_000_000
WORST_ROUNDS = 12  # before a worst case is taken for the broker's own


class Bench:
    def __init__(self, shmbench, shmbrokerd):
        self.shmbench, self.shmbrokerd = shmbench, shmbrokerd
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SHMBROKER_")}
        self.environment["SHMBROKERD"] = shmbrokerd

    def rows(self, *names):
        """What one run printed, by name and size."""
        result = subprocess.run(
            [self.shmbench, "run", *names, "--json"],
            env=self.environment, stdout=subprocess.PIPE, text=True, timeout=240, check=True,
        )
        found = [json.loads(line) for line in result.stdout.splitlines()]
        return {(row["name"], row["size"]): row for row in found}

    def system_calls(self):
        """Of a whole shmbench process that allocates a million times, start to end."""
        result = subprocess.run(
            [self.shmbrokerd, "--run", "--", "strace", "-c", "-f", self.shmbench, "run",
             "pool.cached", "-n", str(STRACE_PAIRS), "--json"],
            env=self.environment, capture_output=True, text=True, timeout=240, check=True,
        )
        total = re.search(r"^100\.00\s+\S+\s+(?:\S+\s+)?(\d+)\s+(?:\d+\s+)?total$", result.stderr, re.M)
        if not total:
            raise RuntimeError(f"strace printed no total:\n{result.stderr}")
        return int(total.group(1))


def mixed(bench):
    rows = bench.rows("mixed.cold1g")
    quiet, busy = rows["mixed.quiet", 4096], rows["mixed.busy", 4096]
    yield "busy / quiet", busy["p50_ns"] / quiet["p50_ns"]
    yield "busy worst, ms", busy["max_ns"] / 1e6


def one_round(bench):
    """(bar, value) of one round."""
    rows = bench.rows("limit.malloc64", "pool.cached")
    yield "cached / malloc64", (
        rows["pool.cached", PAYLOAD]["p50_ns"] / rows["limit.malloc64", 0]["p50_ns"])

    rows = bench.rows("limit.seqpacket.fd.rtt", "pool.brokered", "token.import")
    limit = rows["limit.seqpacket.fd.rtt", 0]["p50_ns"]
    yield "brokered 4 KiB / seqpacket", rows["pool.brokered", 4096]["p50_ns"] / limit
    yield "brokered 20 MiB / seqpacket", rows["pool.brokered", PAYLOAD]["p50_ns"] / limit
    yield "import / seqpacket", rows["token.import", PAYLOAD]["p50_ns"] / limit

    yield from mixed(bench)

    rows = bench.rows("scale.1000")
    one, everyone = rows["scale.one", 4096], rows["scale.all", 4096]
    yield "1,000 clients / one", everyone["p50_ns"] / one["p50_ns"]
    yield "bytes a client", everyone["client_bytes"]
    yield "bytes a buffer", everyone["buffer_bytes"]


# bar: (most it may be, which of the rounds decides, where it comes from)
BARS = {
    "system calls": (199, max, f"all of {STRACE_PAIRS:,} cached alloc and release pairs"),
    "cached / malloc64": (4, median, "pool.cached p50 to limit.malloc64"),
    "brokered 4 KiB / seqpacket": (1.3, median, "pool.brokered p50 to limit.seqpacket.fd.rtt"),
    "brokered 20 MiB / seqpacket": (1.3, median, "the same"),
    "import / seqpacket": (1.3, median, "token.import p50 to limit.seqpacket.fd.rtt"),
    "busy / quiet": (1.5, median, "mixed.busy p50 to mixed.quiet"),
    "busy worst, ms": (5, min, "mixed.busy max"),
    "1,000 clients / one": (1.3, median, "scale.all p50 to scale.one"),
    "bytes a client": (4096, median, "the broker's anonymous memory"),
    "bytes a buffer": (512, median, "likewise"),
}


def main():
    parser = argparse.ArgumentParser(description="Holds shmbench's figures against the bars.")
    parser.add_argument("shmbench")
    parser.add_argument("shmbrokerd")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    bench = Bench(arguments.shmbench, arguments.shmbrokerd)
    values = {bar: [] for bar in BARS}
    if shutil.which("strace"):
        values["system calls"].append(bench.system_calls())
    for _ in range(arguments.rounds):
        for bar, value in one_round(bench):
            values[bar].append(value)
    worst = values["busy worst, ms"]
    while min(worst) > BARS["busy worst, ms"][0] and len(worst) < WORST_ROUNDS:
        worst.append(dict(mixed(bench))["busy worst, ms"])

    failed = False
    print(f"{'bar':<28} {'decides':>9} {'lowest':>9} {'highest':>9} {'at most':>9}")
    for bar, (most, choose, source) in BARS.items():
        if not values[bar]:
            print(f"{bar:<28} not measured: strace is not installed")
            continue
        decides = choose(values[bar])
        met = decides <= most
        failed |= not met
        print(f"{bar:<28} {decides:>9.2f} {min(values[bar]):>9.2f} {max(values[bar]):>9.2f} "
              f"{most:>9} {'met' if met else 'NOT MET':<8} {source}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
