#!/usr/bin/env python3
"""Makes images of layer tars and pushes them, without any container tool.

usage: oci_push.py make DIR [--layer TAR[:gzip|zstd|plain]]... [--blob FILE:MEDIATYPE:DIFFID]... [--entrypoint ARG]...
       oci_push.py push [--entry N] [--referrer] DIR HOST:PORT/REPOSITORY:TAG
       oci_push.py describe [--entry N] DIR
       oci_push.py manifest HOST:PORT/REPOSITORY:TAG FILE MEDIATYPE

`make` writes an OCI layout (image-spec image-layout.md) with one image. A layer is gzip unless another codec is named; with
`--blob` the compressed bytes are taken as they are and diff ID is what the caller says, which may be a lie.
`push` sends every blob and manifest that entry N (0) of the layout's index reaches; a referrer gets no tag of its own but an entry in
the fallback tag of its subject (distribution-spec 1.1, for registries without the Referrers API); `manifest` puts any bytes under a tag.
Both speak plain HTTP and print the digest of what was pushed. `describe` prints `manifest DIGEST`, then a line for each layer,
bottom to top: `layer DIGEST SIZE DIFFID CHAINID`.
"""
import argparse
import hashlib
import http.client
import json
import os
import subprocess
import sys
import zlib

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
INDEX_TYPES = (INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFEST_TYPES = (MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
SUFFIX = {"gzip": "+gzip", "zstd": "+zstd", "plain": ""}
COPY_BYTES = 1 << 20


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def digest_of_file(path):
    hasher = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(COPY_BYTES):
            hasher.update(chunk)
    return "sha256:" + hasher.hexdigest()


def blob_path(layout, digest):
    return os.path.join(layout, "blobs", *digest.split(":"))


def add_bytes(layout, data, media_type):
    digest = digest_of(data)
    with open(blob_path(layout, digest), "wb") as file:
        file.write(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data)}


def add_file(layout, path, media_type):
    """Moves a finished file into the layout under its digest."""
    descriptor = {"mediaType": media_type, "digest": digest_of_file(path), "size": os.path.getsize(path)}
    os.rename(path, blob_path(layout, descriptor["digest"]))
    return descriptor


def compress(source, target, codec):
    """Writes `source` compressed to `target`. gzip without a name and a time, so that a tar always gives the same digest."""
    if codec == "zstd":
        subprocess.run(["zstd", "-q", "-f", "-3", "-o", target, source], check=True)
        return
    packer = zlib.compressobj(6, zlib.DEFLATED, 31) if codec == "gzip" else None
    with open(source, "rb") as reader, open(target, "wb") as writer:
        while chunk := reader.read(COPY_BYTES):
            writer.write(packer.compress(chunk) if packer else chunk)
        if packer:
            writer.write(packer.flush())


def add_layer(layout, spec):
    source, colon, codec = spec.rpartition(":")
    if not colon or codec not in SUFFIX:
        source, codec = spec, "gzip"
    temporary = os.path.join(layout, "layer.new")
    compress(source, temporary, codec)
    return add_file(layout, temporary, LAYER + SUFFIX[codec]), digest_of_file(source)


def add_blob(layout, spec):
    source, media_type, algorithm, diff_id = spec.split(":")
    with open(source, "rb") as file:
        return add_bytes(layout, file.read(), media_type), f"{algorithm}:{diff_id}"


def make(options):
    os.makedirs(os.path.join(options.layout, "blobs", "sha256"), exist_ok=True)
    layers, diff_ids = [], []
    for kind, spec in options.layers or []:
        descriptor, diff_id = (add_layer if kind == "layer" else add_blob)(options.layout, spec)
        layers.append(descriptor)
        diff_ids.append(diff_id)
    config = {
        "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                   "Entrypoint": options.entrypoint or None, "WorkingDir": "/"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    }
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST,
                "config": add_bytes(options.layout, json.dumps(config).encode(), CONFIG), "layers": layers}
    entry = add_bytes(options.layout, json.dumps(manifest).encode(), MANIFEST)
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    for name, content in (("index.json", index), ("oci-layout", {"imageLayoutVersion": "1.0.0"})):
        with open(os.path.join(options.layout, name), "w") as file:
            json.dump(content, file)
    print(entry["digest"])


class Registry:
    """The push half of the distribution specification."""

    def __init__(self, reference):
        self.host, _, name = reference.partition("/")
        self.repository, _, self.tag = name.rpartition(":")
        self.connection = http.client.HTTPConnection(self.host, timeout=120)

    def request(self, method, path, body=None, headers=None, expect=(200,)):
        self.connection.request(method, path, body=body, headers=headers or {})
        response = self.connection.getresponse()
        text = response.read()
        if response.status not in expect:
            sys.exit(f"oci_push: {method} {path}: {response.status} {text[:200]!r}")
        return response

    def push_blob(self, layout, descriptor):
        digest = descriptor["digest"]
        base = f"/v2/{self.repository}/blobs"
        if self.request("HEAD", f"{base}/{digest}", expect=(200, 404)).status == 200:
            return
        location = self.request("POST", f"{base}/uploads/", headers={"Content-Length": "0"}, expect=(202,)).headers["Location"]
        path = location.split(self.host, 1)[1] if location.startswith("http") else location
        path += ("&" if "?" in path else "?") + "digest=" + digest
        size = os.path.getsize(blob_path(layout, digest))
        with open(blob_path(layout, digest), "rb") as body:
            self.request("PUT", path, body, {"Content-Type": "application/octet-stream", "Content-Length": str(size)}, (201,))

    def push_manifest(self, name, data, media_type):
        self.request("PUT", f"/v2/{self.repository}/manifests/{name}", data, {"Content-Type": media_type}, (201,))


def push_descriptor(registry, layout, descriptor, name):
    """Children first: a registry refuses a manifest whose blobs it does not have."""
    with open(blob_path(layout, descriptor["digest"]), "rb") as file:
        data = file.read()
    document = json.loads(data)
    if descriptor["mediaType"] in INDEX_TYPES:
        for child in document["manifests"]:
            push_descriptor(registry, layout, child, child["digest"])
    else:
        for blob in [document["config"], *document["layers"]]:
            registry.push_blob(layout, blob)
    registry.push_manifest(name, data, descriptor["mediaType"])


def push(options):
    registry = Registry(options.reference)
    with open(os.path.join(options.layout, "index.json")) as file:
        entries = [e for e in json.load(file)["manifests"] if e["mediaType"] in INDEX_TYPES + MANIFEST_TYPES]
    entry = entries[options.entry]
    push_descriptor(registry, options.layout, entry, entry["digest"] if options.referrer else registry.tag)
    if options.referrer:
        add_to_fallback_tag(registry, options.layout, entry)
    print(entry["digest"])


def add_to_fallback_tag(registry, layout, entry):
    with open(blob_path(layout, entry["digest"])) as file:
        manifest = json.load(file)
    descriptor = {key: entry[key] for key in ("mediaType", "digest", "size")}
    descriptor["artifactType"] = manifest.get("artifactType") or manifest["config"]["mediaType"]
    tag = manifest["subject"]["digest"].replace(":", "-")
    registry.connection.request("GET", f"/v2/{registry.repository}/manifests/{tag}", headers={"Accept": INDEX})
    response = registry.connection.getresponse()
    known = json.loads(response.read()) if response.status == 200 else {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    response.close()
    known["manifests"].append(descriptor)
    registry.push_manifest(tag, json.dumps(known).encode(), INDEX)


def describe(options):
    def load(descriptor):
        with open(blob_path(options.layout, descriptor["digest"])) as file:
            return json.load(file)

    with open(os.path.join(options.layout, "index.json")) as file:
        entry = json.load(file)["manifests"][options.entry]
    manifest = load(entry)
    print("manifest", entry["digest"])
    chain = ""
    for layer, diff_id in zip(manifest["layers"], load(manifest["config"])["rootfs"]["diff_ids"]):
        chain = digest_of(f"{chain} {diff_id}".encode()) if chain else diff_id
        print("layer", layer["digest"], layer["size"], diff_id, chain)


def put_manifest(options):
    registry = Registry(options.reference)
    with open(options.file, "rb") as file:
        data = file.read()
    registry.push_manifest(registry.tag, data, options.media_type)
    print(digest_of(data))


class AppendLayer(argparse.Action):
    """--layer and --blob keep their common order."""

    def __call__(self, parser, namespace, value, option_string=None):
        namespace.layers = (namespace.layers or []) + [(option_string.lstrip("-"), value)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    maker = commands.add_parser("make")
    maker.add_argument("layout")
    maker.add_argument("--layer", "--blob", dest="layers", action=AppendLayer)
    maker.add_argument("--entrypoint", action="append")
    maker.set_defaults(run=make)
    pusher = commands.add_parser("push")
    pusher.add_argument("layout")
    pusher.add_argument("reference")
    pusher.add_argument("--entry", type=int, default=0)
    pusher.add_argument("--referrer", action="store_true")
    pusher.set_defaults(run=push)
    describer = commands.add_parser("describe")
    describer.add_argument("layout")
    describer.add_argument("--entry", type=int, default=0)
    describer.set_defaults(run=describe)
    putter = commands.add_parser("manifest")
    putter.add_argument("reference")
    putter.add_argument("file")
    putter.add_argument("media_type")
    putter.set_defaults(run=put_manifest)
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
