#!/usr/bin/env python3
"""Reads every file of a lazy mount while its cache manager is killed again and again, and says what the readers saw.

usage: kill_storm.py --mount DIR --expected TREE --kills N --root CACHEMGR_ROOT --log FILE --floe FLOE --socket SOCK
                     --manager-log FILE --mount-command COMMAND [--signal KILL|TERM] -- CACHE MANAGER COMMAND...

TREE is what tests/support/tree.py printed of the same image. The cache manager is started by this program, and left running.
Kills come 0.1 to 1 s apart, and some at once, while the next manager starts; one counts when requests were in flight: as the
manager says, or, while it starts, as readers that wait. A read that has waited for 3 s, because no manager lived long enough to
fetch what it needs, is given a manager that lives: if it does not end then, a kill has lost it, and that is a hang. Prints one line for each and a line of JSON at the end; what was
present at each kill goes to FILE (one JSON line for each: {"at", "present": {key: [group words]}}).
"""
import argparse
import hashlib
import json
import multiprocessing
import os
import random
import signal
import struct
import subprocess
import sys
import time

READERS = 4
WAITING_SECONDS = 0.02
STARVED_SECONDS = 3
PATIENCE_SECONDS = 20
HANG_SECONDS = 120


def read_files(mount, files, since, slot, results):
    wrong, errors, slowest = [], [], 0.0
    for path, expected in files:
        name = os.path.join(mount, path)
        began = since[slot] = time.monotonic()
        try:
            with open(name, "rb") as file:
                digest = hashlib.sha256()
                while piece := file.read(1 << 17):
                    now = time.monotonic()
                    slowest = max(slowest, now - began)
                    digest.update(piece)
                    began = since[slot] = time.monotonic()
            slowest = max(slowest, time.monotonic() - began)
            if digest.hexdigest() != expected:
                wrong.append(path)
        except OSError as error:
            errors.append(f"{path}: {error.strerror}")
        since[slot] = 0.0
    results.put({"files": len(files), "wrong": wrong, "errors": errors, "slowest": slowest})


def present_groups(root):
    """The bits of every presence file's current section, as docs/cache.md has them."""
    present = {}
    blobs = os.path.join(root, "blobs")
    for key in os.listdir(blobs):
        try:
            with open(os.path.join(blobs, key, "presence"), "rb") as file:
                data = file.read()
        except OSError:
            continue
        groups = struct.unpack_from("<I", data, 12)[0]
        words = (groups + 31) // 32
        present[key] = list(struct.unpack_from(f"<{2 * words}I", data, 4096)[::2])
    return present


class Storm:
    def __init__(self, arguments):
        self.arguments = arguments
        self.output = open(arguments.manager_log, "ab")
        self.manager = None

    def start(self):
        self.manager = subprocess.Popen(self.arguments.command, stdout=self.output, stderr=self.output, stdin=subprocess.DEVNULL)

    def in_flight(self):
        command = [self.arguments.floe, "status", "--json", "--cachemgr", self.arguments.socket]
        try:
            answer = subprocess.run(command, capture_output=True, timeout=2)
            return json.loads(answer.stdout)["counters"]["reads_inflight"] if answer.returncode == 0 else None
        except (subprocess.TimeoutExpired, ValueError):
            return None

    def wait_ready(self):
        end = time.monotonic() + 30
        while self.in_flight() is None:
            if time.monotonic() > end or self.manager.poll() is not None:
                sys.exit(f"the cache manager does not answer; status {self.manager.poll()}")
            time.sleep(0.02)

    def kill(self):
        self.manager.send_signal(getattr(signal, "SIG" + self.arguments.signal))
        at = time.monotonic()
        self.manager.wait()
        return at


def oldest(since):
    """The read that has waited longest: (reader, when it began)."""
    return min(((value, slot) for slot, value in enumerate(since) if value), default=(time.monotonic(), -1))[::-1]


def rescued(since, spared):
    """False: the oldest read waits, although the manager lives."""
    slot, began = oldest(since)
    if time.monotonic() - began < STARVED_SECONDS:
        return True
    end = time.monotonic() + PATIENCE_SECONDS
    while since[slot] == began and time.monotonic() < end:
        time.sleep(0.02)
    spared.append(time.monotonic() - end + PATIENCE_SECONDS)
    return since[slot] != began


def main():
    parser = argparse.ArgumentParser()
    for name in ("mount", "expected", "root", "log", "floe", "socket", "manager-log"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--signal", default="KILL")
    parser.add_argument("--mount-command", required=True, help="run by bash once the cache manager answers")
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()

    storm = Storm(arguments)
    storm.start()
    storm.wait_ready()
    subprocess.run(["bash", "-c", arguments.mount_command], check=True, stdout=subprocess.DEVNULL)

    with open(arguments.expected) as file:
        entries = [json.loads(line) for line in file]
    files = [(entry["path"], entry["sha256"]) for entry in entries if entry.get("sha256")]
    random.shuffle(files)
    since = multiprocessing.Array("d", READERS, lock=False)
    results = multiprocessing.Queue()
    readers = [multiprocessing.Process(target=read_files, args=(arguments.mount, files[i::READERS], since, i, results)) for i in range(READERS)]
    for reader in readers:
        reader.start()

    counted, idle, during_start, total, lost = 0, 0, 0, 0, 0
    spared = []
    with open(arguments.log, "w") as log:
        while counted < arguments.kills and any(reader.is_alive() for reader in readers):
            lost += not rescued(since, spared)
            # A fifth of them hit a manager that has just begun to take over.
            early = random.random() < 0.2
            time.sleep(random.uniform(0.0, 0.06) if early else random.uniform(0.1, 1.0))
            said = None if early else storm.in_flight()
            now = time.monotonic()
            waiting = sum(1 for value in since if value and now - value > WAITING_SECONDS)
            in_flight = waiting if said is None else said
            at = storm.kill()
            log.write(json.dumps({"at": at, "present": present_groups(arguments.root)}) + "\n")
            storm.start()
            if in_flight == 0:
                idle += 1
                continue
            counted += 1
            total += in_flight
            during_start += said is None
            print(f"kill {counted}: {in_flight} in flight{' (starting)' if said is None else ''}")
    end = time.monotonic() + HANG_SECONDS
    outcomes = []
    while len(outcomes) < READERS and time.monotonic() < end:
        try:
            outcomes.append(results.get(timeout=1))
        except Exception:  # queue.Empty
            pass
    for reader in readers:
        if reader.is_alive():
            reader.join(timeout=1)
    hangs = lost + sum(1 for reader in readers if reader.is_alive())
    for reader in readers:
        reader.kill()
    storm.wait_ready()
    summary = {
        "kills": counted, "in_flight": total, "during_start": during_start, "idle_kills": idle,
        "files": sum(one["files"] for one in outcomes), "wrong": sum(len(one["wrong"]) for one in outcomes),
        "errors": sum(len(one["errors"]) for one in outcomes), "hangs": hangs,
        "spared": len(spared), "longest_spared_ms": round(1000 * max(spared, default=0)),
        "slowest_read_ms": round(1000 * max((one["slowest"] for one in outcomes), default=0)),
    }
    for one in outcomes:
        for line in (one["wrong"] + one["errors"])[:5]:
            print("  " + line)
    print(f"cachemgr pid {storm.manager.pid}")
    print(json.dumps(summary))


if __name__ == "__main__":
    main()
