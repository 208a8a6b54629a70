#!/bin/bash
# Native EROFS layers made by mkfs.erofs: with an index, streamed, wrapped in zstd, unverified, and what is refused.
. "$(dirname "$0")/lib.sh"

if ! command -v mkfs.erofs >/dev/null; then
  skip "native EROFS layers" "mkfs.erofs is not installed"
  finish
fi
start_registry
TYPE=application/vnd.erofs.layer.v1

make_tree() {
  local root=$WORK/tmp/tree
  mkdir -p "$root/usr/bin" "$root/etc" "$root/many"
  head -c 3000000 /dev/urandom >"$root/usr/bin/large"
  seq 1 60000 >"$root/usr/bin/text"   # mkfs.erofs compresses what gets smaller
  printf 'small\n' >"$root/etc/small"
  printf 'a tail of some bytes' >"$root/etc/tail"
  : >"$root/etc/empty"
  ln "$root/usr/bin/large" "$root/usr/bin/linked"
  ln -s ../usr/bin/large "$root/etc/symlink"
  mknod "$root/etc/null" c 1 3
  mkfifo "$root/etc/fifo"
  chmod 4755 "$root/usr/bin/large"
  chown 1000:2000 "$root/etc/small"
  python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.thing", b"value"); [open(f"{sys.argv[2]}/f{i}", "w").write(str(i) * i) for i in range(500)]' "$root/etc/small" "$root/many"
  tree "$root" "$WORK/tmp/expected"
}
push_layer() {  # NAME FILE MEDIATYPE RAW
  make_image "$WORK/tmp/$1" --blob "$2:$3:sha256:$(sha256sum <"$4" | cut -d' ' -f1)"
  push_image "$WORK/tmp/$1" "$REG/$1:1"
}
make_images() {
  make_tree
  mkfs.erofs --quiet "$WORK/tmp/layer.erofs" "$WORK/tmp/tree"
  mkfs.erofs --quiet -zlz4 "$WORK/tmp/compressed.erofs" "$WORK/tmp/tree"
  zstd -q "$WORK/tmp/layer.erofs" -o "$WORK/tmp/layer.erofs.zst"
  push_layer indexed "$WORK/tmp/layer.erofs" "$TYPE" "$WORK/tmp/layer.erofs"
  push_layer bare "$WORK/tmp/layer.erofs" "$TYPE" "$WORK/tmp/layer.erofs"
  push_layer wrapped "$WORK/tmp/layer.erofs.zst" "$TYPE+zstd" "$WORK/tmp/layer.erofs"
  push_layer compressed "$WORK/tmp/compressed.erofs" "$TYPE" "$WORK/tmp/compressed.erofs"
}

status_of() { floe status --json --cachemgr "$1/cachemgr.sock"; }
mounted_tree() {  # NAME READER [OPTION]...
  local name=$1 reader=$2 root=$WORK/mount-$1 dir=$WORK/mnt/$1; shift 2
  mkdir -p "$dir"
  floe mount "$REG/$name:1" "$dir" --root "$root" "$@"
  expect_equal "$(status_of "$root" | python3 -c 'import json, sys; print(*{l["reader"] for m in json.load(sys.stdin)["mounts"] for l in m["layers"]})')" "$reader" "reader"
  expect_equal "$(cat "$dir/etc/small")" small "a small file"
  echo "fetched for 6 bytes: $(status_of "$root" | python3 -c 'import json, sys; print(json.load(sys.stdin)["counters"]["fetched_bytes"])') of $(stat -c %s "$WORK/tmp/layer.erofs")"
  tree "$dir" "$WORK/tmp/got"
  floe unmount "$dir" --root "$root"
  rm -rf "$root"
  same_tree "$WORK/tmp/got" "$WORK/tmp/expected"
}
indexed() { floe index create "$REG/indexed:1"; mounted_tree indexed floe-index; }
wrapped_indexed() { floe index create "$REG/wrapped:1"; mounted_tree wrapped floe-index; }
refused() {  # PATTERN OPTION...
  local pattern=$1; shift
  mkdir -p "$WORK/mnt/refused"
  expect_failure "$pattern" floe mount "$@" "$WORK/mnt/refused" --root "$WORK/mount-refused"
}

check "images with EROFS layers of mkfs.erofs" make_images
check "with a Floe index: lazily" indexed
check "without an index: streamed whole and checked" mounted_tree bare stream
check "wrapped in zstd, without an index: streamed" mounted_tree wrapped stream
check "wrapped in zstd, with an index" wrapped_indexed
check "unverified, where that is allowed: by ranges" mounted_tree bare erofs --allow-unverified
check "compressed inodes are refused, with the reason" refused 'compressed inode' "$REG/compressed:1"
check "without an index and without streaming" refused 'no index' "$REG/bare:1" --no-stream
finish
