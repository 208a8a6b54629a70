#!/bin/bash
# Many mounts of different images and many snapshots: how soon both daemons are back after kill -9, and their memory.
# FLOE_KILLS (10): twice as many mounts, ten times as many snapshots.
. "$(dirname "$0")/../e2e/lib.sh"
MOUNTS=$((2 * ${FLOE_KILLS:-10}))
SNAPSHOTS=$((10 * ${FLOE_KILLS:-10}))

python3 "$DATA/make_corpus.py" "$WORK/tmp/base" 5
mkdir "$WORK/tmp/base/tree"
tar -C "$WORK/tmp/base/tree" -xf "$WORK/tmp/base/layer1.tar"
mapfile -t SHARED < <(cd "$WORK/tmp/base/tree" && find . -type f -size +0 | sort)
small_image() {  # NUMBER: a layer that all have, and one of its own
  local dir=$WORK/tmp/many/$1
  mkdir -p "$dir/tree"
  head -c 50000 /dev/urandom >"$dir/tree/own"
  tar -C "$dir/tree" -cf "$dir/layer.tar" .
  make_image "$dir/layout" --layer "$WORK/tmp/base/layer1.tar:gzip" --layer "$dir/layer.tar:gzip"
  push_image "$dir/layout" "$REG/many:$1"
  floe index create "$REG/many:$1" >/dev/null 2>&1
}
mount_point() { echo "$WORK/mnt/$1"; }
rss() { awk '/^VmRSS/ {r = $2} /^VmHWM/ {h = $2} END {printf "RSS %.1f MB, at most %.1f MB", r / 1024, h / 1024}' "/proc/$(pid_of "$1")/status"; }
descriptors() { find "/proc/$(pid_of "$1")/fd" -mindepth 1 | wc -l; }

make_images() {
  local i
  for i in $(seq "$MOUNTS"); do small_image "$i"; done
}
make_mounts() {
  local i
  for i in $(seq "$MOUNTS"); do
    mkdir -p "$(mount_point "$i")"
    floe mount "$REG/many:$i" "$(mount_point "$i")" --root "$WORK/mount-many" --cachemgr "$CACHEMGR_SOCK" >/dev/null
    head -c 4096 "$(mount_point "$i")/own" >/dev/null   # one fill each
  done
  expect_equal "$(grep -c ' - erofs ' /proc/self/mountinfo)" "$MOUNTS" mounts
  echo "$MOUNTS mounts: $(rss cachemgr), $(descriptors cachemgr) descriptors"
}
cachemgr_is_back() {  # CHANNEL
  local start i
  kill -KILL "$(pid_of cachemgr)"
  rm -f "$WORK/pid/cachemgr"
  start=$(now_ms)
  start_cachemgr --channel "$1"
  echo "ready after $(($(now_ms) - start)) ms with $MOUNTS mounts: $(rss cachemgr), $(descriptors cachemgr) descriptors; keeper: $(awk '/^VmRSS/ {print $2 " kB"}' "/proc/$(keeper_pid)/status")"
  expect_equal "$(floe status --json --cachemgr "$CACHEMGR_SOCK" | grep -c '"live": true')" "$MOUNTS" "live mounts"
  echo 3 >/proc/sys/vm/drop_caches
  # What was there, and what nobody has read yet.
  for i in $(seq "$MOUNTS"); do
    cmp "$(mount_point "$i")/own" "$WORK/tmp/many/$i/tree/own"
    cmp "$(mount_point "$i")/${SHARED[i * 7 % ${#SHARED[@]}]}" "$WORK/tmp/base/tree/${SHARED[i * 7 % ${#SHARED[@]}]}"
  done
}
unmount_all() {
  local i
  for i in $(seq "$MOUNTS"); do floe unmount "$(mount_point "$i")" --root "$WORK/mount-many"; done
  stop cachemgr
  wait_for "the keeper's end" 10 never keeper_pid
  rm -rf "$WORK/cachemgr" "$WORK/mount-many"
}

start_registry
check "$MOUNTS images" make_images
for channel in fanotify fuse; do
  start_cachemgr --channel $channel
  check "$channel: $MOUNTS images with blobs of their own are mounted" make_mounts
  check "$channel: killed and started: every mount lives and reads right" cachemgr_is_back $channel
  check "$channel: unmounted, everything ends" unmount_all
done

make_snapshots() {
  local i parent=
  for i in $(seq "$SNAPSHOTS"); do
    # shellcheck disable=SC2086 # no parent, no word
    cctr snapshots --snapshotter floe prepare "active-$i" $parent >/dev/null
    if [ $((i % 2)) = 0 ]; then
      cctr snapshots --snapshotter floe commit "layer-$i" "active-$i"
      parent=layer-$i
      [ $((i % 20)) != 0 ] || parent=   # chains of ten
    fi
  done
  echo "$SNAPSHOTS snapshots: $(rss snapshotter)"
}
snapshotter_is_back() {
  local start
  kill -KILL "$(pid_of snapshotter)"
  rm -f "$WORK/pid/snapshotter"
  start=$(now_ms)
  start_snapshotter
  echo "ready, and listing, after $(($(now_ms) - start)) ms: $(rss snapshotter)"
  expect_equal "$(cctr snapshots --snapshotter floe list | grep -c -E '^(active|layer)-')" "$SNAPSHOTS" snapshots
}
start_containerd
start_floe
check "$SNAPSHOTS snapshots are made" make_snapshots
check "the snapshotter killed and started: they are all there" snapshotter_is_back
finish
