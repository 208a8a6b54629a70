#!/usr/bin/env python3
"""One row of the registry fault matrix: a fault that happens once, one that stays, and what is read when it has gone.

usage: registry_faults.py list | kinds | bytes | head
       registry_faults.py row NAME --file MOUNTED --expected FILE --control PORT --floe PROGRAM --socket SOCK --deadline SECONDS --table FILE

Reads 4 KiB at places of a mounted file that nobody has read before; each row has places of its own. `row` appends a line to the table
and exits with 1 and a reason when a byte is wrong, when one fault is more than a reader must notice, when a fault that stays is
not EIO within the deadline, when the next read after it does not go well, or when the counters name another fault.
"""
import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

READ_BYTES = 4096
STRIDE = 1 << 20      # more than a unit and what a reader demands around it
PLACES = 4            # of each row
AWAY_SECONDS = 0.7
SLACK_SECONDS = 0.5   # beyond the deadline, for the answer's way back
AFTER_SECONDS = 3     # a unit that timed out is not asked for again for a second
FOR_EVER = 1000000

# name, fault of faulty_registry.py, the counters that must show it
ROWS = [
    ("401, the token ended", "401", ["unauthenticated"]),
    ("403", "403", ["forbidden"]),
    ("403, a redirect expired", "expire", ["redirect_refused"]),
    ("404", "404", ["not_found"]),
    ("416", "416", ["range_not_satisfiable"]),
    ("429, Retry-After 1", "429", ["too_many_requests"]),
    ("500", "500", ["server_error"]),
    ("503, Retry-After 1", "503", ["server_error"]),
    ("connection refused", "away", ["connection"]),
    ("connection reset", "reset", ["connection"]),
    ("reset within the body", "cut", ["connection", "short_body"]),
    ("short body", "short_body", ["short_body"]),
    ("black hole", "black_hole", ["stalled"]),
    ("slow loris", "slow_loris", ["stalled"]),
    ("200 instead of 206", "range_ignored", ["range_ignored"]),
    ("wrong Content-Range", "wrong_content_range", ["wrong_content_range"]),
    ("wrong length", "wrong_length", ["wrong_size"]),
    ("changed size", "changed_size", ["wrong_size"]),
    ("wrong bytes", "wrong_bytes", ["wrong_bytes"]),
]
INTEGRITY = ("range_ignored", "wrong_content_range", "wrong_size", "wrong_bytes")
LINE = "{:24} | {:>12} {:>4} {:>6} {:36} | {:>6} {:>4} {:>6} {:40} | {} {:>5}"
HEAD = LINE.format("fault", "once: bytes", "req.", "s", "counted", "stays:", "req.", "s", "counted", "after:", "s")


class Row:
    def __init__(self, options):
        self.options = options
        self.index = [name for name, _, _ in ROWS].index(options.name)
        _, self.fault, self.kinds = ROWS[self.index]
        self.problems = []

    def control(self, command, **arguments):
        url = f"http://127.0.0.1:{self.options.control}/{command}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)

    def faults(self):
        """All and retried, by kind; and that integrity is apart."""
        status = subprocess.run([self.options.floe, "status", "--json", "--cachemgr", self.options.socket],
                                check=True, capture_output=True).stdout
        counters = json.loads(status)["counters"]
        for kind in counters["network_faults"]:
            if kind in INTEGRITY:
                self.problems.append(f"{kind} is counted as a network fault")
        for kind in counters["integrity_faults"]:
            if kind not in INTEGRITY:
                self.problems.append(f"{kind} is counted as an integrity fault")
        if counters["integrity_errors"] != sum(count["all"] for count in counters["integrity_faults"].values()):
            self.problems.append("integrity_errors is not the sum of its kinds")
        return {kind: count["all"] for kind, count in (counters["network_faults"] | counters["integrity_faults"]).items()}

    def read(self, place):
        """The outcome and the seconds that it took."""
        offset = (self.index * PLACES + place) * STRIDE + STRIDE // 2
        start = time.monotonic()
        file = os.open(self.options.file, os.O_RDONLY)
        try:
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
            found = os.pread(file, READ_BYTES, offset)
            with open(self.options.expected, "rb") as expected:
                expected.seek(offset)
                outcome = "right" if found == expected.read(READ_BYTES) else "WRONG"
        except OSError as error:
            outcome = "EIO" if error.errno == 5 else os.strerror(error.errno)
        finally:
            os.close(file)
        return outcome, time.monotonic() - start

    def begin(self, times):
        if self.fault == "expire":
            self.control("expire", for_ever=int(times == FOR_EVER))
        elif self.fault == "away":
            self.control("away")
            if times != FOR_EVER:
                threading.Timer(AWAY_SECONDS, self.control, ["clear"]).start()
        else:
            if self.fault == "reset":
                self.control("drop")  # what is lost on a connection that was kept libcurl sends again by itself
            self.control("fault", kind=self.fault, times=times)

    def phase(self, times, place):
        before = self.faults()
        self.control("stats")
        self.begin(times)
        outcome, seconds = self.read(place)
        stats = self.control("stats")
        counted = {kind: count - before.get(kind, 0) for kind, count in self.faults().items() if count > before.get(kind, 0)}
        if not set(counted) & set(self.kinds):
            self.problems.append(f"counted {counted}, not {self.kinds}")
        if (set(counted) & set(INTEGRITY)) != (set(self.kinds) & set(INTEGRITY)):
            self.problems.append(f"integrity and network faults are mixed: {counted}")
        requests = str(stats["requests"]) + (f"+{stats['tokens']}" if stats["tokens"] else "")
        return outcome, requests, seconds, " ".join(f"{kind}={count}" for kind, count in sorted(counted.items()))

    def after(self, place):
        self.control("clear")
        start = time.monotonic()
        while True:
            outcome, _ = self.read(place)
            seconds = time.monotonic() - start
            if outcome == "right" or seconds > AFTER_SECONDS:
                return outcome, seconds
            time.sleep(0.05)

    def run(self):
        if self.fault == "expire":
            self.control("redirect", on=1)
            if self.read(2)[0] != "right":  # the redirect is known from now on
                self.problems.append("a redirect is not followed")
        once = self.phase(1, 0)
        self.control("clear")
        stays = self.phase(FOR_EVER, 1)
        after = self.after(1)
        if self.fault == "expire":
            self.control("redirect", on=0)
            self.control("expire", for_ever=0)
            self.read(3)  # the redirect is forgotten from now on
        if once[0] != "right":
            self.problems.append(f"a fault that happens once: {once[0]}")
        if stays[0] != "EIO" or stays[2] > self.options.deadline + SLACK_SECONDS:
            self.problems.append(f"a fault that stays: {stays[0]} after {stays[2]:.2f} s")
        if after[0] != "right":
            self.problems.append(f"after the fault: {after[0]}")
        with open(self.options.table, "a") as table:
            print(LINE.format(self.options.name, once[0], once[1], f"{once[2]:.2f}", once[3], stays[0], stays[1], f"{stays[2]:.2f}", stays[3],
                              after[0] + " ", f"{after[1]:.2f}"), file=table)
        for problem in self.problems:
            print(problem)
        return 1 if self.problems else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list")
    commands.add_parser("kinds")
    commands.add_parser("bytes")
    commands.add_parser("head")
    row = commands.add_parser("row")
    row.add_argument("name")
    for option in ("file", "expected", "control", "floe", "socket", "table"):
        row.add_argument("--" + option, required=True)
    row.add_argument("--deadline", type=float, required=True)
    options = parser.parse_args()
    if options.command == "list":
        print("\n".join(name for name, _, _ in ROWS))
    elif options.command == "kinds":
        print("\n".join(sorted({kind for _, _, kinds in ROWS for kind in kinds[:1]})))
    elif options.command == "bytes":
        print(len(ROWS) * PLACES * STRIDE)
    elif options.command == "head":
        print(HEAD)
    else:
        signal.alarm(30)
        sys.exit(Row(options).run())


if __name__ == "__main__":
    main()
