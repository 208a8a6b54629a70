#!/bin/bash
# Chains that mix lazy and unpacked layers.
. "$(dirname "$0")/lib.sh"

start_registry
start_containerd
# Layers without an index are unpacked, not streamed.
printf '[index]\nfallback = "unpack"\n' >"$WORK/snapshotter.toml"
start_cachemgr
start_snapshotter --config "$WORK/snapshotter.toml"

# Pushes the images NAME:1, NAME:2 and NAME:3: the first one, two and three layers of the corpus of a seed.
push_family() {  # NAME SEED
  local dir=$WORK/tmp/$1 n layers=()
  python3 "$DATA/make_corpus.py" "$dir" "$2"
  for n in 1 2 3; do
    layers+=(--layer "$dir/layer$n.tar:gzip")
    make_image "$dir/layout$n" "${layers[@]}"
    push_image "$dir/layout$n" "$REG/$1:$n"
  done
}
outcomes() { lazy_pull "$1" | tee /dev/stderr | grep -owE 'present|lazy|unpacked' | xargs; }
equals_overlayfs() {  # LAYOUT REF
  local chain
  chain=$(top_chain "$1")
  plain_pull "$2"
  snapshot_tree overlayfs "$chain" "$WORK/tmp/expected"
  snapshot_tree floe "$chain" "$WORK/tmp/got"
  same_tree "$WORK/tmp/got" "$WORK/tmp/expected"
}

built_on_lazy() {
  push_family above 31
  floe index create "$REG/above:2" >/dev/null
  expect_equal "$(outcomes "$REG/above:2")" "lazy lazy" "the lower image"
  expect_equal "$(outcomes "$REG/above:3")" "present present unpacked" "the image on top"
  equals_overlayfs "$WORK/tmp/above/layout3" "$REG/above:3"
}
lazy_on_unpacked() {  # NAME SEED UNPACKED EXPECTED
  push_family "$1" "$2"
  expect_equal "$(outcomes "$REG/$1:$3" | xargs -n1 | sort -u)" unpacked "the lower image"
  floe index create "$REG/$1:3" >/dev/null
  expect_equal "$(outcomes "$REG/$1:3")" "$4" "the lazy image"
  equals_overlayfs "$WORK/tmp/$1/layout3" "$REG/$1:3"
}

# The same changes through a container's snapshot on both snapshotters, committed and looked at.
change_tree() {
  (cd "$1" && rm -r many && echo new >sizes/new && mkdir opaque/again && chmod 0700 modes && ln links/target links/hard3 && rm links/rel)
}
committed_on() {  # SNAPSHOTTER PARENT FILE
  local dir=$WORK/mnt/commit-$1
  mkdir -p "$dir"
  cctr snapshots --snapshotter "$1" prepare "commit-$1" "$2" >/dev/null
  cctr snapshots --snapshotter "$1" mounts "$dir" "commit-$1" >"$WORK/tmp/mount.sh"
  bash -e "$WORK/tmp/mount.sh"
  change_tree "$dir"
  umount "$dir"
  cctr snapshots --snapshotter "$1" commit "committed-$1" "commit-$1"
  snapshot_tree "$1" "committed-$1" "$3.all"
  grep -vE '"path": "(sizes/new|opaque/again)"' "$3.all" >"$3"   # their times are now
  cctr snapshots --snapshotter "$1" remove "committed-$1"
}
committed_over_lazy() {
  local chain
  chain=$(top_chain "$WORK/tmp/above/layout2")
  plain_pull "$REG/above:2"
  committed_on overlayfs "$chain" "$WORK/tmp/expected"
  committed_on floe "$chain" "$WORK/tmp/got"
  same_tree "$WORK/tmp/got" "$WORK/tmp/expected"
}

check "an image on top of a lazy one" built_on_lazy
check "a lazy layer on two unpacked ones" lazy_on_unpacked below 32 2 "present present lazy"
check "two lazy layers on an unpacked one" lazy_on_unpacked lower 33 1 "present lazy lazy"
check "a container's changes committed on a lazy image" committed_over_lazy
finish
