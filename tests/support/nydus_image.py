#!/usr/bin/env python3
"""Makes a Nydus image, as an OCI layout, of a bootstrap and its blobs: what nydusify does after a merge.

usage: nydus_image.py BOOTSTRAP|DIR OUT     DIR holds image.boot and the blobs, named by their digests

The manifest has one data layer for each blob and the bootstrap layer last (nydus-snapshotter's annotations).
"""
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile

BLOB = "application/vnd.oci.image.layer.nydus.blob.v1"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
PREFIX = "containerd.io/snapshot/"


def add(layout, data, media_type, annotations=None):
    digest = hashlib.sha256(data).hexdigest()
    with open(os.path.join(layout, "blobs", "sha256", digest), "wb") as file:
        file.write(data)
    descriptor = {"mediaType": media_type, "digest": "sha256:" + digest, "size": len(data)}
    if annotations:
        descriptor["annotations"] = annotations
    return descriptor


def bootstrap_tar(bootstrap):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        directory = tarfile.TarInfo("image")
        directory.type, directory.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(directory)
        entry = tarfile.TarInfo("image/image.boot")
        entry.size, entry.mode = len(bootstrap), 0o444
        archive.addfile(entry, io.BytesIO(bootstrap))
    return buffer.getvalue()


def read(path):
    with open(path, "rb") as file:
        return file.read()


def main():
    source, layout = sys.argv[1:]
    os.makedirs(os.path.join(layout, "blobs", "sha256"), exist_ok=True)
    layers, diff_ids = [], []
    if os.path.isdir(source):
        blobs = [name for name in sorted(os.listdir(source)) if len(name) == 64]
        source_blobs, source = [os.path.join(source, name) for name in blobs], os.path.join(source, "image.boot")
        for path in source_blobs:
            layers.append(add(layout, read(path), BLOB, {PREFIX + "nydus-blob": "true"}))
            diff_ids.append(layers[-1]["digest"])
    tar = bootstrap_tar(read(source))
    layers.append(add(layout, gzip.compress(tar, mtime=0), LAYER,
                      {PREFIX + "nydus-bootstrap": "true", PREFIX + "nydus-fs-version": "6"}))
    diff_ids.append("sha256:" + hashlib.sha256(tar).hexdigest())
    config = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": add(layout, json.dumps(config).encode(), "application/vnd.oci.image.config.v1+json"),
                "layers": layers}
    entry = add(layout, json.dumps(manifest).encode(), MANIFEST)
    with open(os.path.join(layout, "index.json"), "w") as file:
        json.dump({"schemaVersion": 2, "manifests": [entry]}, file)


if __name__ == "__main__":
    main()
