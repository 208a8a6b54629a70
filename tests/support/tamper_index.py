#!/usr/bin/env python3
"""Replaces the Floe index of an image by one that lies, with every digest on the way right again.

usage: tamper_index.py HOST:PORT/REPOSITORY MANIFEST_DIGEST wrong-group LAYER_TAR   another digest for a group of a plain layer
       tamper_index.py HOST:PORT/REPOSITORY MANIFEST_DIGEST damage SEED             one byte of a tree object changed
       tamper_index.py HOST:PORT/REPOSITORY MANIFEST_DIGEST rename OLD:NEW          another name, of the same length: a forged
                                                                                    index that contradicts nothing

Works on the fallback tag of a registry without the Referrers API, over plain HTTP; the tree objects are zstd frames.
"""
import hashlib
import http.client
import json
import random
import subprocess
import sys

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
SPANS = [1 << n for n in range(16, 25)]


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Repository:
    def __init__(self, name):
        self.host, _, self.path = name.partition("/")

    def request(self, method, path, body=None, headers=None, expect=200):
        connection = http.client.HTTPConnection(self.host, timeout=30)
        connection.request(method, path if path.startswith("/v2/") else f"/v2/{self.path}/{path}", body, headers or {})
        response = connection.getresponse()
        data = response.read()
        if response.status != expect:
            sys.exit(f"tamper_index: {method} {path}: {response.status} {data[:200]!r}")
        return response, data

    def manifest(self, name):
        return json.loads(self.request("GET", f"manifests/{name}", headers={"Accept": f"{MANIFEST}, {INDEX}"})[1])

    def push_manifest(self, name, data, media_type):
        self.request("PUT", f"manifests/{name}", data, {"Content-Type": media_type}, 201)

    def push_blob(self, data):
        response, _ = self.request("POST", "blobs/uploads/", b"", expect=202)
        path = response.headers["Location"].split(self.host, 1)[-1]
        path += ("&" if "?" in path else "?") + "digest=" + digest_of(data)
        self.request("PUT", path, data, {"Content-Type": "application/octet-stream"}, 201)


def zstd(arguments, data):
    return subprocess.run(["zstd", "-q", "-c", *arguments], input=data, stdout=subprocess.PIPE, check=True).stdout


def wrong_group(tree, layer):
    with open(layer, "rb") as file:
        archive = file.read()
    for span in SPANS:
        at = tree.find(hashlib.sha256(archive[:span]).digest())
        if at >= 0:
            tree[at] ^= 1
            return tree
    sys.exit("tamper_index: found no group that starts the layer")


def damage(tree, seed):
    numbers = random.Random(int(seed))
    tree[numbers.randrange(len(tree))] = numbers.randrange(256)
    return tree


def rename(tree, names):
    old, new = (name.encode() for name in names.split(":"))
    if len(old) != len(new) or tree.count(old) != 1:
        sys.exit(f"tamper_index: {old!r} is not there once, or not as long as {new!r}")
    return tree.replace(old, new)


def main():
    repository, subject, mode, argument = Repository(sys.argv[1]), *sys.argv[2:]
    tag = subject.replace(":", "-")
    entry = repository.manifest(tag)["manifests"][0]
    artifact = repository.manifest(entry["digest"])
    for descriptor in artifact["layers"]:
        frame = repository.request("GET", f"blobs/{descriptor['digest']}")[1]
        if not frame.startswith(b"\x28\xb5\x2f\xfd"):
            continue
        tree = {"wrong-group": wrong_group, "damage": damage, "rename": rename}[mode](bytearray(zstd(["-d"], frame)), argument)
        frame = zstd([f"--stream-size={len(tree)}"], bytes(tree))
        repository.push_blob(frame)
        descriptor.update(digest=digest_of(frame), size=len(frame))
        break
    data = json.dumps(artifact).encode()
    repository.push_manifest(digest_of(data), data, MANIFEST)
    entry.update(digest=digest_of(data), size=len(data))
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    repository.push_manifest(tag, json.dumps(index).encode(), INDEX)


if __name__ == "__main__":
    main()
