#!/usr/bin/env python3
"""Which groups that were present when a cache manager was killed were fetched again by those that came after.

usage: refetched.py CACHEMGR_ROOT KILL_LOG RANGE_LOG [GAP_BYTES]

KILL_LOG is what kill_storm.py wrote, RANGE_LOG what range_log.py wrote. A present unit may be fetched again only as the gap
of at most GAP_BYTES (16384) between two absent ones that one request takes together. Exit code 1 when one was all the same.
"""
import json
import os
import struct
import sys

CONNECT_SECONDS = 0.02  # a connection that the dead one made may be accepted this much later


def read_units(path):
    """(digest, [(offset, end, first group, groups)]) of a BlobMap, as docs/formats.md has it."""
    with open(path, "rb") as file:
        data = file.read()
    digest = "sha256:" + data[16:48].hex()
    count = struct.unpack_from("<I", data, 104)[0]
    at = struct.unpack_from("<Q", data, 120)[0]
    units = []
    for i in range(count):
        offset, length = struct.unpack_from("<QQ", data, at + 48 * i)
        first, groups = struct.unpack_from("<II", data, at + 48 * i + 40)
        units.append((offset, offset + length, first, groups))
    return digest, units


def is_present(words, first, groups):
    return all(words[g // 32] >> (g % 32) & 1 for g in range(first, first + groups))


def main():
    root, kill_log, range_log = sys.argv[1:4]
    gap_bytes = int(sys.argv[4]) if len(sys.argv) > 4 else 16384
    with open(kill_log) as file:
        kills = [json.loads(line) for line in file]
    blobs = {}
    for key in os.listdir(os.path.join(root, "blobs")):
        digest, units = read_units(os.path.join(root, "blobs", key, "map"))
        blobs.setdefault(digest, []).append((key, units))
    requests = again = in_gaps = total = 0
    with open(range_log) as file:
        for line in file:
            request = json.loads(line)
            before = [kill for kill in kills if kill["at"] + CONNECT_SECONDS < request["accepted"]]
            if request["digest"] not in blobs or request["first"] is None:
                continue
            requests += 1
            total += request["last"] + 1 - request["first"]
            if not before:
                continue
            present = before[-1]["present"]
            for key, units in blobs[request["digest"]]:
                covered = [u for u in units if u[0] >= request["first"] and u[1] <= request["last"] + 1]
                states = [is_present(present[key], u[2], u[3]) if key in present else False for u in covered]
                at = 0
                while at < len(covered):
                    run = at
                    while run < len(covered) and states[run]:
                        run += 1
                    if run > at:
                        size = covered[run - 1][1] - covered[at][0]
                        inner = at > 0 and run < len(covered) and size <= gap_bytes
                        in_gaps += (run - at) if inner else 0
                        again += 0 if inner else (run - at)
                        if not inner:
                            print(f"fetched again: {key[:8]} units at {covered[at][0]}+{size} by {request['first']}-{request['last']}")
                    at = run + 1
    print(f"{requests} range requests, {total} bytes; present units fetched again: {again} (and {in_gaps} in gaps between absent ones)")
    return 1 if again else 0


if __name__ == "__main__":
    sys.exit(main())
