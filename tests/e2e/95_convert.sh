#!/bin/bash
# floe convert: other programs' registry clients and containerd take what it writes, and get the same trees from it.
. "$(dirname "$0")/lib.sh"

start_registry
start_containerd
push_image "$DATA/oci" "$REG/corpus:7"
push_image "$DATA/oci-edge" "$REG/edge:1"

# NAME OPTION...: corpus:7 as corpus:NAME, and its OCI layout as skopeo copies it. What floe said: $WORK/tmp/NAME.json.
convert() {
  local name=$1; shift
  floe convert "$REG/corpus:7" "$REG/corpus:$name" --temp-dir "$WORK/tmp" --json "$@" >"$WORK/tmp/$name.json"
  skopeo_copy "corpus:$name" "$WORK/tmp/layout-$name"
  skopeo --insecure-policy inspect --tls-verify=false "docker://$REG/corpus:$name" | grep -F '"Layers"'
}
skopeo_copy() { skopeo --insecure-policy copy --quiet --src-tls-verify=false "docker://$REG/$1" "oci:$2:latest"; }
diff_ids() { describe_image "$1" | awk '$1 == "layer" {print $4}'; }   # LAYOUT
same_diff_ids() { expect_equal "$(diff_ids "$WORK/tmp/layout-$1")" "$(diff_ids "$DATA/oci")" "diff IDs"; }
annotations() {  # NAME: the names, of all layers
  python3 - "$WORK/tmp/layout-$1" <<'EOF'
import json, sys
def blob(digest): return json.load(open(f"{sys.argv[1]}/blobs/{digest.replace(':', '/')}"))
index = json.load(open(f"{sys.argv[1]}/index.json"))
print(*sorted({name for layer in blob(index["manifests"][0]["digest"])["layers"] for name in layer.get("annotations", {})}), sep="\n")
EOF
}

convert_zstdchunked() {
  convert zstd
  same_diff_ids zstd
  annotations zstd | grep -Fx containerd.io/snapshot/stargz/toc.digest
  never grep -F io.github.containers <(annotations zstd)
  python3 -c 'import json, sys; r = json.load(open(sys.argv[1])); assert all(l["same_diff_id"] and l["chunks"] for l in r["layers"]), r' "$WORK/tmp/zstd.json"
}
convert_podman() {
  convert podman --annotations podman --chunk-size 65536
  same_diff_ids podman
  annotations podman | grep -Fx io.github.containers.zstd-chunked.manifest-checksum
  never grep -F toc.digest <(annotations podman)
}
convert_estargz() {
  convert estargz --format estargz
  expect_equal "$(comm -12 <(diff_ids "$WORK/tmp/layout-estargz" | sort) <(diff_ids "$DATA/oci" | sort) | wc -l)" 0 "diff IDs that stayed"
  floe convert "$REG/corpus:7" "$REG/corpus:estargz" --temp-dir "$WORK/tmp" --format estargz | tee "$WORK/tmp/text"
  grep -F 'diff IDs: 0 the same, 3 changed' "$WORK/tmp/text"
}
convert_external() {
  convert external --format estargz --external-toc
  same_diff_ids external
  skopeo --insecure-policy inspect --raw --tls-verify=false "docker://$REG/corpus:external-esgztoc" | grep -F containerd.io/snapshot/stargz/layer.digest >/dev/null
}

# NAME: containerd's own pull, unpacked with overlayfs. What an embedded table adds is shown there, and nothing else.
unpacked_tree() {
  local chain
  chain=$(top_chain "$WORK/tmp/layout-$1")
  plain_pull "$REG/corpus:$1"
  snapshot_tree overlayfs "$chain" "$WORK/tmp/got"
  grep -vE '"path": "(stargz\.index\.json|\.no\.prefetch\.landmark)"' "$WORK/tmp/got" >"$WORK/tmp/got.entries"
  same_tree "$WORK/tmp/got.entries" "$DATA/expected-tree.jsonl"
  cctr images remove --sync "$REG/corpus:$1" >/dev/null
}

mounted_tree() {
  local dir=$WORK/mnt/direct
  mkdir -p "$dir"
  floe index create "$REG/corpus:zstd" >/dev/null
  floe mount "$REG/corpus:zstd" "$dir" --root "$WORK/mount"
  tree "$dir" "$WORK/tmp/got"
  floe unmount "$dir" --root "$WORK/mount"
  rmdir "$dir"
  same_tree "$WORK/tmp/got" "$DATA/expected-tree.jsonl"
}

# NAME READER: what was converted is read as any image of its format, without an index.
lazy_tree() {
  local dir=$WORK/mnt/lazy readers
  mkdir -p "$dir"
  floe mount "$REG/corpus:$1" "$dir" --root "$WORK/mount-lazy" --no-stream
  readers=$(floe status --json --cachemgr "$WORK/mount-lazy/cachemgr.sock" |
    python3 -c 'import json, sys; print(*sorted({layer["reader"] for mount in json.load(sys.stdin)["mounts"] for layer in mount["layers"]}))')
  tree "$dir" "$WORK/tmp/got"
  floe unmount "$dir" --root "$WORK/mount-lazy"
  rmdir "$dir"
  expect_equal "$readers" "$2" "readers"
  same_tree "$WORK/tmp/got" "$DATA/expected-tree.jsonl"
}

converted_again() {  # the same bytes, and nothing to push, also from the converted image
  floe convert "$REG/corpus:7" "$REG/corpus:again" --temp-dir "$WORK/tmp" --json >"$WORK/tmp/again.json"
  floe convert "$REG/corpus:external" "$REG/corpus:third" --temp-dir "$WORK/tmp" --json >"$WORK/tmp/third.json"
  python3 - "$WORK/tmp/zstd.json" "$WORK/tmp/again.json" "$WORK/tmp/third.json" <<'EOF'
import json, sys
first, again, third = (json.load(open(path)) for path in sys.argv[1:])
assert first["manifest"] == again["manifest"] == third["manifest"], (first, again, third)
assert all(layer["reused"] for layer in again["layers"]), again
EOF
}
another_repository() {
  floe convert "$REG/corpus:7" "$REG/copies/of/corpus:1" --temp-dir "$WORK/tmp"
  skopeo_copy copies/of/corpus:1 "$WORK/tmp/layout-copy"
  expect_equal "$(diff_ids "$WORK/tmp/layout-copy")" "$(diff_ids "$DATA/oci")" "diff IDs"
}
refusals() {
  expect_failure 'sparse' floe convert "$REG/edge:1" "$REG/edge:converted" --temp-dir "$WORK/tmp"
  never skopeo --insecure-policy inspect --tls-verify=false "docker://$REG/edge:converted"
  expect_failure 'external-toc' floe convert "$REG/corpus:7" "$REG/corpus:x" --external-toc
  expect_failure 'format' floe convert "$REG/corpus:7" "$REG/corpus:x" --format squashfs
  expect_equal "$(find "$WORK/tmp" -name 'floe.*' | wc -l)" 0 "temporary files"
}

check "to zstd:chunked: skopeo takes it, the diff IDs stay" convert_zstdchunked
check "to zstd:chunked for podman: the other annotations alone" convert_podman
check "to eStargz: skopeo takes it, the diff IDs change" convert_estargz
check "to eStargz with an external table: the diff IDs stay" convert_external
for name in zstd podman estargz external; do
  check "$name: containerd unpacks the corpus's tree" unpacked_tree "$name"
done
for name in zstd podman; do check "$name: mounted by its table of contents" lazy_tree "$name" zstd:chunked; done
for name in estargz external; do check "$name: mounted by its table of contents" lazy_tree "$name" estargz; done
check "floe index create and floe mount: the corpus's tree" mounted_tree
check "converting again gives the same image and pushes nothing" converted_again
check "into another repository" another_repository
check "what cannot be converted is refused, and nothing is tagged" refusals
finish
