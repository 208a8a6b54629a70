#!/usr/bin/env python3
"""Reads a part of a file, compares it with what it must be, and prints what a read cost.

read_file.py FILE EXPECTED sequential|random FROM TO [--reads N]
FROM and TO are fractions of the file. Prints "sequential MB/s" or "random microseconds"."""
import argparse
import os
import random
import time

SEQUENTIAL_BYTES = 1 << 20
RANDOM_BYTES = 4096


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("file")
    parser.add_argument("expected")
    parser.add_argument("how", choices=["sequential", "random"])
    parser.add_argument("begin", type=float)
    parser.add_argument("end", type=float)
    parser.add_argument("--reads", type=int, default=2000)
    arguments = parser.parse_args()
    fd, expected = (os.open(path, os.O_RDONLY) for path in (arguments.file, arguments.expected))
    size = os.fstat(fd).st_size
    begin, end = (int(size * part) // SEQUENTIAL_BYTES * SEQUENTIAL_BYTES for part in (arguments.begin, arguments.end))
    if arguments.how == "sequential":
        offsets, length = range(begin, end, SEQUENTIAL_BYTES), SEQUENTIAL_BYTES
    else:
        # Each page once: no read finds what an earlier one brought.
        pages = range(begin // RANDOM_BYTES, end // RANDOM_BYTES)
        offsets = [page * RANDOM_BYTES for page in random.Random(size).sample(pages, arguments.reads)]
        length = RANDOM_BYTES
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
    seconds = 0.0
    for offset in offsets:
        start = time.perf_counter()
        got = os.pread(fd, length, offset)
        seconds += time.perf_counter() - start
        assert got == os.pread(expected, length, offset), f"wrong bytes at {offset}"
    if arguments.how == "sequential":
        print("sequential", (end - begin) / 1e6 / seconds)
    else:
        print("random", seconds / len(offsets) * 1e6)


main()
