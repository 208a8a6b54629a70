#!/bin/bash
# The trees of the two corpus images: mounted without containerd, and through containerd, lazily.
. "$(dirname "$0")/lib.sh"

start_registry
start_containerd
start_floe
push_image "$DATA/oci" "$REG/corpus:7"
push_image "$DATA/oci-edge" "$REG/edge:1"

make_index() { floe index create "$REG/$1"; floe index show "$REG/$1"; }

mounted_tree() {  # REF EXPECTED
  local dir=$WORK/mnt/direct
  mkdir -p "$dir"
  floe mount "$1" "$dir" --root "$WORK/mount"
  tree "$dir" "$WORK/tmp/got"
  floe status --cachemgr "$WORK/mount/cachemgr.sock" >/dev/null
  floe unmount "$dir" --root "$WORK/mount"
  rmdir "$dir"
  same_tree "$WORK/tmp/got" "$2"
}

# All layers are lazy, so none of them is in the content store.
lazy_tree() {  # REF LAYOUT EXPECTED
  local digest
  lazy_pull "$1" | tee "$WORK/tmp/pull.out"
  expect_equal "$(grep -cw lazy "$WORK/tmp/pull.out")" "$(describe_image "$2" | grep -c ^layer)" "lazy layers"
  for digest in $(describe_image "$2" | awk '$1 == "layer" {print $2}'); do
    ! cctr content ls -q | grep -q "$digest" || { echo "$digest was downloaded"; return 1; }
  done
  snapshot_tree floe "$(top_chain "$2")" "$WORK/tmp/got"
  same_tree "$WORK/tmp/got" "$3"
}

# A View; ctr leaves it to the garbage collector until it has a label.
make_view() {
  cctr snapshots --snapshotter floe view view "$1" >/dev/null
  cctr snapshots --snapshotter floe label view containerd.io/gc.root=test >/dev/null
}
viewed_tree() {
  local dir=$WORK/mnt/view
  mkdir -p "$dir"
  wait_for "a View that the garbage collector leaves alone" 10 make_view "$(top_chain "$DATA/oci")"
  cctr snapshots --snapshotter floe mounts "$dir" view >"$WORK/tmp/mount.sh"
  bash -e "$WORK/tmp/mount.sh"
  tree "$dir" "$WORK/tmp/got"
  never touch "$dir/new"
  umount "$dir"
  cctr snapshots --snapshotter floe remove view
  rmdir "$dir"
  same_tree "$WORK/tmp/got" "$DATA/expected-tree.jsonl"
}

# Each bootstrap of the snapshotter, with the cache manager's files as its devices.
bootstraps_pass_fsck() {
  local plan key devices count=0
  while IFS= read -r plan; do
    devices=()
    for key in $(python3 -c 'import json, sys; print(*(d["key"] for d in json.load(open(sys.argv[1]))["devices"]))' "$plan"); do
      devices+=("--device=$WORK/cachemgr/blobs/$key/data")
    done
    fsck.erofs "${devices[@]}" "$(dirname "$plan")/bootstrap.erofs"
    count=$((count + 1))
  done < <(find "$WORK/snapshotter" -name plan.json)
  echo "$count bootstraps"
  [ "$count" -ge 2 ]
}

removal_leaves_nothing() {
  cctr images rm --sync "$REG/corpus:7" "$REG/edge:1" >/dev/null
  wait_for "the snapshots to go" 10 no_snapshots
  wait_for "the mounts to go" 10 no_mounts
}
no_snapshots() { [ "$(cctr snapshots --snapshotter floe list | wc -l)" = 1 ]; }
no_mounts() { [ -z "$(awk '$0 ~ / - erofs /' /proc/self/mountinfo)" ]; }

check "floe index create: the corpus" make_index corpus:7
check "floe index create: the edge cases" make_index edge:1
check "floe mount: the corpus's tree is containerd's" mounted_tree "$REG/corpus:7" "$DATA/expected-tree.jsonl"
check "floe mount: the edge cases' tree is containerd's" mounted_tree "$REG/edge:1" "$DATA/expected-edge.jsonl"
check "lazy pull: the corpus's tree is containerd's" lazy_tree "$REG/corpus:7" "$DATA/oci" "$DATA/expected-tree.jsonl"
check "a View: the corpus's tree, read-only" viewed_tree
check "lazy pull: the edge cases' tree is containerd's" lazy_tree "$REG/edge:1" "$DATA/oci-edge" "$DATA/expected-edge.jsonl"
check "fsck.erofs accepts the bootstraps" bootstraps_pass_fsck
check "removing the images removes snapshots and mounts" removal_leaves_nothing
finish
