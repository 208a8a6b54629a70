#!/usr/bin/env python3
"""Prepares, commits and removes snapshots through containerd while the snapshotter is killed again and again.

usage: snapshot_storm.py --kills N --ctr "CTR COMMAND WITH ITS OPTIONS" --lazy-parent CHAIN --root SNAPSHOTTER_ROOT
                         --log FILE -- SNAPSHOTTER COMMAND...

After each restart the workers pause, containerd collects its garbage, and its list of snapshots is compared with the
snapshotter's database, and that with the directories. Prints one line for each kill and a line of JSON at the end.
The snapshotter is left running, and every snapshot that the storm made is removed.
"""
import argparse
import collections
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time

WORKERS = 4


class Workers:
    def __init__(self, arguments):
        self.arguments = arguments
        self.ctr = arguments.ctr.split()
        self.run = threading.Event()
        self.run.set()
        self.stop = False
        self.lock = threading.Lock()
        self.busy = 0
        self.calls = collections.Counter()
        self.mine = [set() for _ in range(WORKERS)]
        # Of these containerd may have an entry that its list leaves out, and that keeps the parents all the same: it
        # takes a Commit back whose answer it did not get, and then knows a key that the snapshotter has no more.
        self.cut = [set() for _ in range(WORKERS)]

    def call(self, *words):
        with self.lock:
            self.busy += 1
        try:
            done = subprocess.run(self.ctr + ["snapshots", "--snapshotter", "floe", *words], capture_output=True, text=True, timeout=60)
        finally:
            with self.lock:
                self.busy -= 1
        said = done.stderr.strip().lower()
        if done.returncode == 0:
            outcome = "done"
        elif "unavailable" in said or "connection" in said or "transport" in said:
            outcome = "cut"  # the snapshotter was away
        else:
            outcome = "refused"  # a parent with children, or one whose own call was cut
        self.calls[outcome] += 1
        return outcome

    def work(self, number):
        generator = random.Random(number)
        step = 0
        committed = []
        while not self.stop:
            self.run.wait()
            step += 1
            key, name = f"active-{number}-{step}", f"layer-{number}-{step}"
            parent = [generator.choice(committed)] if committed and generator.random() < 0.6 else []
            if generator.random() < 0.3:
                parent = [self.arguments.lazy_parent]
            self.mine[number].add(key)
            if self.call("prepare", key, *parent) != "done":
                continue
            if generator.random() < 0.5:
                self.mine[number].add(name)
                outcome = self.call("commit", name, key)
                if outcome == "done":
                    committed.append(name)
                elif outcome == "cut":
                    self.cut[number].add(key)
            elif generator.random() < 0.7:
                self.call("remove", key)
            if committed and generator.random() < 0.4:
                self.call("remove", committed.pop(generator.randrange(len(committed))))

    def pause(self):
        self.run.clear()
        while True:
            with self.lock:
                if self.busy == 0:
                    return
            time.sleep(0.01)


def collect_garbage(ctr):
    """Has containerd remove what only the snapshotter knows: it looks when a snapshot was removed."""
    for words in (["prepare", "collect"], ["remove", "collect"]):
        subprocess.run(ctr + ["snapshots", "--snapshotter", "floe", *words], capture_output=True)
    subprocess.run(ctr + ["leases", "create", "--id", "storm"], check=True, capture_output=True)
    subprocess.run(ctr + ["leases", "delete", "--sync", "storm"], check=True, capture_output=True)


def of_containerd(ctr):
    """{name: (parent, kind)} as containerd has them."""
    lines = subprocess.run(ctr + ["snapshots", "--snapshotter", "floe", "list"], check=True, capture_output=True, text=True).stdout.splitlines()[1:]
    rows = [line.split() for line in lines]
    return {row[0]: (row[1] if len(row) == 3 else "", row[-1].lower()) for row in rows}


def of_floe(root):
    """The same of the snapshotter's database, the ids of its rows, and what is below snapshots/."""
    database = sqlite3.connect(f"file:{root}/metadata.db?mode=ro", uri=True)
    kinds = {1: "view", 2: "active", 3: "committed"}
    rows = database.execute("SELECT s.id, s.name, p.name, s.kind, l.chain_id FROM snapshots s LEFT JOIN snapshots p ON p.id = s.parent_id "
                            "LEFT JOIN lazy_layers l ON l.snapshot_id = s.id").fetchall()
    integrity = database.execute("PRAGMA integrity_check").fetchone()[0]
    database.close()
    bare = lambda name: name.split("/", 2)[2] if name and name.count("/") >= 2 and not name.startswith("lazy/") else (name or "")
    chains = {row[1]: row[4] for row in rows if row[4]}
    parent = lambda name: chains.get(name, bare(name))
    view = {bare(row[1]): (parent(row[2]), kinds[row[3]]) for row in rows if not row[4]}
    directories = {entry for entry in os.listdir(os.path.join(root, "snapshots"))}
    return view, {str(row[0]) for row in rows if not row[4]}, directories, integrity


def compare(ctr, root):
    """What differs, or nothing."""
    theirs = of_containerd(ctr)
    ours, ids, directories, integrity = of_floe(root)
    theirs = {name: value for name, value in theirs.items() if not name.startswith("sha256:")}
    problems = []
    if integrity != "ok":
        problems.append(f"database: {integrity}")
    for name in sorted(theirs.keys() ^ ours.keys()):
        problems.append(f"{name} is only {'in containerd' if name in theirs else 'here'}")
    problems += [f"{name}: {theirs[name]} in containerd, {ours[name]} here" for name in sorted(theirs.keys() & ours.keys()) if theirs[name] != ours[name]]
    problems += [f"directory {name} without a row" for name in sorted(directories - ids)]
    problems += [f"row {name} without its directory" for name in sorted(ids - directories)]
    return problems


def main():
    parser = argparse.ArgumentParser()
    for name in ("ctr", "lazy-parent", "root", "log"):
        parser.add_argument("--" + name, required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    output = open(arguments.log, "ab")
    ctr = arguments.ctr.split()

    def start():
        process = subprocess.Popen(arguments.command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
        end = time.monotonic() + 20
        while subprocess.run(ctr + ["snapshots", "--snapshotter", "floe", "list"], capture_output=True).returncode != 0:
            if time.monotonic() > end:
                sys.exit("the snapshotter does not answer")
            time.sleep(0.02)
        return process

    snapshotter = start()
    workers = Workers(arguments)
    threads = [threading.Thread(target=workers.work, args=(i,)) for i in range(WORKERS)]
    for thread in threads:
        thread.start()
    bad = compared = 0
    for kill in range(1, arguments.kills + 1):
        time.sleep(random.uniform(0.1, 1.0))
        with workers.lock:
            in_flight = workers.busy
        snapshotter.send_signal(signal.SIGKILL)
        snapshotter.wait()
        snapshotter = start()
        workers.pause()
        # Collection and Cleanup run a moment after.
        end = time.monotonic() + 10
        while True:
            collect_garbage(ctr)
            problems = compare(ctr, arguments.root)
            if not problems or time.monotonic() > end:
                break
            time.sleep(0.1)
        compared += len(of_containerd(ctr))
        print(f"kill {kill}: {in_flight} calls in flight, {len(of_containerd(ctr))} snapshots{'' if not problems else ', they DIFFER'}")
        for problem in problems[:5]:
            print("  " + problem)
        bad += bool(problems)
        workers.run.set()
    workers.stop = True
    workers.run.set()
    for thread in threads:
        thread.join()
    for key in set().union(*workers.cut):
        subprocess.run(ctr + ["snapshots", "--snapshotter", "floe", "remove", key], capture_output=True)
    # Children first: until nothing of the storm is left or nothing more goes.
    left = {name for names in workers.mine for name in names} & of_containerd(ctr).keys()
    while left:
        before = len(left)
        for name in sorted(left):
            subprocess.run(ctr + ["snapshots", "--snapshotter", "floe", "remove", name], capture_output=True)
        left &= of_containerd(ctr).keys()
        if len(left) == before:
            break
    collect_garbage(ctr)
    print(f"snapshotter pid {snapshotter.pid}")
    print(json.dumps({"kills": arguments.kills, "differ": bad, "compared": compared, "calls": workers.calls, "left": len(left)}))


if __name__ == "__main__":
    main()
