#!/usr/bin/env python3
"""Writes layers that must be refused, and one good one to break. usage: bad_layers.py DIR

DIR/<name>.tar for archives that lie about themselves, DIR/<name>.tar.gz or .tar.zst for compressed bytes that do.
"""
import gzip
import io
import os
import subprocess
import sys
import tarfile

BOMB_BYTES = 3 << 30


def archive(path, entries):
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for name, kind, value in entries:
            info = tarfile.TarInfo(name)
            info.mtime = 1700000000
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
            else:
                info.linkname = value
                tar.addfile(info)


def main():
    out = sys.argv[1]
    os.makedirs(out, exist_ok=True)
    path = lambda name: os.path.join(out, name)
    text = b"".join(b"line %d of a file\n" % n for n in range(200000))
    good = [("dir", tarfile.DIRTYPE, ""), ("dir/file", tarfile.REGTYPE, text), ("dir/small", tarfile.REGTYPE, b"small")]
    archive(path("good.tar"), good)
    archive(path("traversal.tar"), good + [("../../escaped", tarfile.REGTYPE, b"outside")])
    archive(path("link-traversal.tar"), good + [("dir/hard", tarfile.LNKTYPE, "../../etc/passwd")])
    archive(path("missing-link.tar"), good + [("dir/hard", tarfile.LNKTYPE, "dir/not-there")])
    archive(path("cyclic-link.tar"), [("a", tarfile.LNKTYPE, "b"), ("b", tarfile.LNKTYPE, "a")])

    with open(path("good.tar"), "rb") as file:
        data = file.read()
    huge = tarfile.TarInfo("huge")
    huge.size = 1 << 60
    with open(path("absurd-size.tar"), "wb") as file:
        file.write(huge.tobuf(tarfile.PAX_FORMAT) + bytes(1024))
    with open(path("truncated.tar"), "wb") as file:
        file.write(data[:len(data) // 2])
    with open(path("not-a-tar.tar"), "wb") as file:
        file.write(b"this is no archive. " * 1000)

    packed = gzip.compress(data, 6, mtime=0)
    with open(path("truncated.tar.gz"), "wb") as file:
        file.write(packed[:len(packed) // 2])
    corrupt = bytearray(packed)
    corrupt[len(packed) // 2] ^= 0x55
    with open(path("corrupt.tar.gz"), "wb") as file:
        file.write(corrupt)
    zeros = subprocess.Popen(["head", "-c", str(BOMB_BYTES), "/dev/zero"], stdout=subprocess.PIPE)
    with open(path("bomb.tar.zst"), "wb") as file:
        subprocess.run(["zstd", "-q", "-1", "-c"], stdin=zeros.stdout, stdout=file, check=True)
    zeros.wait()


if __name__ == "__main__":
    main()
