#!/bin/bash
# Bad input: one clear line, a non-zero exit, nothing half-mounted, nothing left behind, the daemons go on.
. "$(dirname "$0")/lib.sh"

start_registry
start_containerd
start_floe
bad=$WORK/tmp/bad
python3 "$SUPPORT/bad_layers.py" "$bad"

push_layer() {  # NAME FILE[:CODEC]: an honest image around a bad archive
  make_image "$bad/$1" --layer "$2"
  push_image "$bad/$1" "$REG/$1:1"
}
push_blob() {  # NAME FILE MEDIATYPE: compressed bytes as they are
  local diff_id
  diff_id=sha256:$(printf '%064d' 7)
  make_image "$bad/$1" --blob "$2:$3:$diff_id"
  push_image "$bad/$1" "$REG/$1:1"
}
nothing_changed() {
  floe status --cachemgr "$CACHEMGR_SOCK" >/dev/null
  expect_equal "$(cctr snapshots --snapshotter floe list | wc -l)" 1 "lines of the snapshot list"
  expect_equal "$(cctr images list -q)" "" "images"
  ! grep -q ' - erofs ' /proc/self/mountinfo || { echo "an EROFS mount is left"; return 1; }
}

# Refused when it is indexed, when it is mounted (it has no index), and when containerd unpacks it.
refused_everywhere() {  # NAME PATTERN
  refused_by_floe "$@"
  expect_failure "$(digest_of "$1")" lazy_pull "$REG/$1:1"
  nothing_changed
}
digest_of() { describe_image "$bad/$1" | awk '$1 == "layer" {print substr($2, 1, 19); exit}'; }
refused_by_floe() {
  local digest
  digest=$(digest_of "$1")
  expect_failure "$2" floe index create "$REG/$1:1"
  grep -q "${digest#sha256:}" "$WORK/log/failure.err" || { echo "the message does not name the digest $digest"; return 1; }
  mkdir -p "$WORK/mnt/bad"
  expect_failure . floe mount "$REG/$1:1" "$WORK/mnt/bad" --root "$WORK/mount"
  never mountpoint -q "$WORK/mnt/bad"
  [ ! -e "$WORK/mount/cachemgr.sock" ] || { echo "a private cache manager is left"; return 1; }
}

# containerd takes the `..` away and unpacks below the root; Floe cannot know that it should, and leaves the layer to it.
traversal_stays_inside() {
  refused_by_floe traversal '\.\.'
  lazy_pull "$REG/traversal:1"
  expect_equal "$(find "$WORK" -name escaped | grep -cv '/fs/escaped$')" 0 "files outside of a snapshot"
  cctr images rm --sync "$REG/traversal:1" >/dev/null
  nothing_changed
}

gzip_type=application/vnd.oci.image.layer.v1.tar+gzip zstd_type=application/vnd.oci.image.layer.v1.tar+zstd
for name in traversal link-traversal missing-link cyclic-link absurd-size truncated not-a-tar; do
  push_layer "$name" "$bad/$name.tar:gzip"
done
push_blob truncated-gzip "$bad/truncated.tar.gz" $gzip_type
push_blob corrupt-gzip "$bad/corrupt.tar.gz" $gzip_type
push_blob bomb "$bad/bomb.tar.zst" $zstd_type

check "a path that leads out of the root" traversal_stays_inside
check "a hard link that leads out of the root" refused_everywhere link-traversal 'hard'
check "a hard link to nothing" refused_everywhere missing-link 'link'
check "hard links in a circle" refused_everywhere cyclic-link 'link'
check "an absurd size" refused_everywhere absurd-size '.'
check "a truncated archive" refused_everywhere truncated 'cut off'
check "no archive at all" refused_everywhere not-a-tar '.'
check "a truncated gzip stream" refused_everywhere truncated-gzip 'gzip|deflate|end|trunc'
check "a corrupt gzip stream" refused_everywhere corrupt-gzip 'gzip|deflate|inflate|crc|corrupt'
check "a bomb" refused_everywhere bomb 'decodes to more than'

check "an image that is not there" expect_failure 'not found|NOT_FOUND|404|unknown' floe index create "$REG/nothing:1"
check "a reference that is none" expect_failure 'reference|invalid' floe mount 'UPPER CASE/..' "$WORK/mnt"
check "a directory that is not there" expect_failure . floe mount "$REG/truncated:1" "$WORK/nowhere" --root "$WORK/mount"
check "a registry that is not there" expect_failure '127.0.0.1:1' floe index create "127.0.0.1:1/x:1"
check "a containerd that is not there" expect_failure 'nobody answers' floe pull --address "$WORK/no.sock" "$REG/traversal:1"
check "a cache manager that is not there" expect_failure 'nobody answers' floe status --cachemgr "$WORK/no.sock"
check "unmounting what is not mounted" expect_failure 'not mounted' floe unmount "$WORK/mnt" --root "$WORK/mount"

# What a registry would have refused to store, from one that serves anything.
liar=$WORK/tmp/liar
mkdir -p "$liar"/{manifests,blobs}
spawn liar python3 "$SUPPORT/static_registry.py" "$liar" "$WORK/tmp/liar.port"
wait_for "the lying registry" 10 test -s "$WORK/tmp/liar.port"
LIAR=127.0.0.1:$(cat "$WORK/tmp/liar.port")
cp "$bad"/traversal/blobs/sha256/* "$liar/blobs/"
echo '<html>404</html>' >"$liar/manifests/html"
echo '{"schemaVersion": 2, "layers": "none"}' >"$liar/manifests/wrong-json"
make_image "$bad/good" --layer "$bad/good.tar:gzip"
for file in "$bad"/good/blobs/sha256/*; do cp "$file" "$liar/blobs/sha256:$(basename "$file")"; done
manifest=$(describe_image "$bad/good" | awk '$1 == "manifest" {print $2}')
layer=$(describe_image "$bad/good" | awk '$1 == "layer" {print $2}')
cp "$liar/blobs/$manifest" "$liar/manifests/good"
printf 'X' | dd of="$liar/blobs/$layer" bs=1 seek=1000 conv=notrunc status=none
cp "$liar/manifests/good" "$liar/manifests/$manifest"
printf ' ' >>"$liar/manifests/$manifest"
check "a manifest that is HTML" expect_failure 'manifest|JSON|json' floe index create "$LIAR/x:html"
check "a manifest with the wrong fields" expect_failure 'manifest|layers' floe index create "$LIAR/x:wrong-json"
check "a layer whose bytes do not match its digest" expect_failure "${layer:7:12}" floe index create "$LIAR/x:good"
check "a manifest whose bytes do not match its digest" expect_failure "${manifest:7:12}" floe index create "$LIAR/x@$manifest"

# A good index over bytes that change afterwards: the read fails, and nothing else.
push_image "$bad/good" "$REG/good:1"
changed_after_indexing() {
  local file=$WORK/registry/docker/registry/v2/blobs/sha256/${layer:7:2}/${layer:7}/data
  floe index create "$REG/good:1" >/dev/null
  cp "$file" "$WORK/tmp/layer.good"
  printf 'XXXX' | dd of="$file" bs=1 seek=100000 conv=notrunc status=none
  lazy_pull "$REG/good:1" >/dev/null
  mount_snapshot floe "$(top_chain "$bad/good")" "$WORK/mnt/changed"
  if sha256sum "$WORK/mnt/changed/dir/file"; then echo "read what does not match its digest"; return 1; fi
  expect_equal "$(cat "$WORK/mnt/changed/dir/small")" small "another file"
  cp "$WORK/tmp/layer.good" "$file"
  tar -xOf "$bad/good.tar" dir/file >"$WORK/tmp/file"
  wait_for "a right read after the repair" 30 cmp -s "$WORK/mnt/changed/dir/file" "$WORK/tmp/file"
  unmount_snapshot floe "$WORK/mnt/changed"
  cctr images rm --sync "$REG/good:1" >/dev/null
}
check "a layer that changed after it was indexed: EIO, then right bytes" changed_after_indexing
# Indexes that lie. The plain layer's first group is known, so its digest can be found and changed.
make_image "$bad/plain" --layer "$bad/good.tar:plain"
push_image "$bad/plain" "$REG/plain:1"
plain=$(describe_image "$bad/plain" | awk '$1 == "manifest" {print $2}')
mount_plain() { floe mount --no-stream "$REG/plain:1" "$WORK/mnt/bad" --root "$WORK/tmp/lying-$1"; }
unmount_plain() { floe unmount "$WORK/mnt/bad" --root "$WORK/tmp/lying-$1"; }

wrong_group_digest() {
  floe index create "$REG/plain:1" >/dev/null
  python3 "$SUPPORT/tamper_index.py" "$REG/plain" "$plain" wrong-group "$bad/good.tar"
  mount_plain group
  if sha256sum "$WORK/mnt/bad/dir/file"; then echo "read what does not match its digest"; return 1; fi
  expect_equal "$(cat "$WORK/mnt/bad/dir/small")" small "a file of another group"
  unmount_plain group
}
# Whatever byte of the tree is wrong: one clear line, or a mount whose reads end.
damaged_trees() {
  local seed refused=0
  for seed in $(seq 1 12); do
    floe index create "$REG/plain:1" >/dev/null
    python3 "$SUPPORT/tamper_index.py" "$REG/plain" "$plain" damage "$seed"
    if mount_plain "$seed" >/dev/null 2>"$WORK/tmp/damaged.err"; then
      find "$WORK/mnt/bad" -type f -exec timeout 20 cat {} + >/dev/null 2>&1 || [ $? != 124 ]
      unmount_plain "$seed"
    else
      expect_equal "$(grep -c . "$WORK/tmp/damaged.err")" 1 "lines on standard error"
      cut -c1-200 "$WORK/tmp/damaged.err"
      refused=$((refused + 1))
    fi
    never mountpoint -q "$WORK/mnt/bad"
  done
  echo "$refused of 12 refused"
}
# The tree object's bytes are not those of its digest: the layer is streamed instead.
tree_that_is_another() {
  local tree
  make_image "$bad/fresh" --layer "$bad/good.tar:zstd"
  push_image "$bad/fresh" "$REG/fresh:1"
  tree=$(floe index create --json "$REG/fresh:1" | python3 -c 'import json, sys; print(json.load(sys.stdin)["layers"][0]["tree"])')
  printf 'X' | dd of="$WORK/registry/docker/registry/v2/blobs/sha256/${tree:7:2}/${tree:7}/data" bs=1 seek=100 conv=notrunc status=none
  expect_failure "${tree:7:12}" floe mount --no-stream "$REG/fresh:1" "$WORK/mnt/bad" --root "$WORK/tmp/lying-tree"
  lazy_pull "$REG/fresh:1" | tee "$WORK/tmp/pull.out"
  grep -qw lazy "$WORK/tmp/pull.out"
  grep -F "layer is streamed" "$WORK/log/snapshotter.log" | grep -F "${tree:7:12}" | tail -1
  cctr images rm --sync "$REG/fresh:1" >/dev/null
}
check "an index with a wrong digest for a group: EIO for that group alone" wrong_group_digest
check "indexes with a damaged tree" damaged_trees
check "an index whose tree is not what its digest says" tree_that_is_another
check "the daemons go on" nothing_changed
finish
