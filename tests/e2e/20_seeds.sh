#!/bin/bash
# Three images of other seeds and codecs: what a lazy mount shows is what containerd's overlayfs shows.
. "$(dirname "$0")/lib.sh"

start_registry
start_containerd
start_floe

seed_image() {  # SEED CODEC CODEC CODEC
  local dir=$WORK/tmp/seed$1
  python3 "$DATA/make_corpus.py" "$dir" "$1"
  make_image "$dir/layout" --layer "$dir/layer1.tar:$2" --layer "$dir/layer2.tar:$3" --layer "$dir/layer3.tar:$4"
  push_image "$dir/layout" "$REG/seed:$1"
}

equals_overlayfs() {  # SEED CODEC...
  local chain
  seed_image "$@"
  chain=$(top_chain "$WORK/tmp/seed$1/layout")
  floe index create "$REG/seed:$1"
  lazy_pull "$REG/seed:$1" | tee "$WORK/tmp/pull.out"
  expect_equal "$(grep -cw lazy "$WORK/tmp/pull.out")" 3 "lazy layers"
  plain_pull "$REG/seed:$1"
  snapshot_tree overlayfs "$chain" "$WORK/tmp/expected"
  snapshot_tree floe "$chain" "$WORK/tmp/got"
  same_tree "$WORK/tmp/got" "$WORK/tmp/expected"
}

check "seed 11, gzip" equals_overlayfs 11 gzip gzip gzip
check "seed 23, gzip, zstd and plain" equals_overlayfs 23 gzip zstd plain
check "seed 42, zstd" equals_overlayfs 42 zstd zstd zstd
finish
