#!/bin/bash
# Full disks: of the cache in the middle of a fill, with something to evict and without; of the snapshotter's database.
. "$(dirname "$0")/../e2e/lib.sh"

SEEDS="11 23 42"
disk() {  # NAME MIB
  truncate -s "$2M" "$WORK/$1.img"
  mkfs.ext4 -q -m 0 "$WORK/$1.img"
  mkdir -p "$WORK/$1"
  mount -o loop "$WORK/$1.img" "$WORK/$1"
  chmod 0700 "$WORK/$1"
}
undisk() { umount "$WORK/$1"; rm -f "$WORK/$1.img"; }
seed_image() {  # SEED
  local dir=$WORK/tmp/seed$1
  python3 "$DATA/make_corpus.py" "$dir" "$1"
  make_image "$dir/layout" --layer "$dir/layer1.tar:gzip" --layer "$dir/layer2.tar:zstd" --layer "$dir/layer3.tar:gzip"
  push_image "$dir/layout" "$REG/seed:$1"
  floe index create "$REG/seed:$1" >/dev/null
}
mount_seed() { mkdir -p "$WORK/mnt/$1"; floe mount "$REG/seed:$1" "$WORK/mnt/$1" --root "$WORK/mount-$1" --cachemgr "$CACHEMGR_SOCK"; }
unmount_seed() { floe unmount "$WORK/mnt/$1" --root "$WORK/mount-$1"; }
is_right() { tree "$WORK/mnt/$1" "$WORK/tmp/got"; cmp "$WORK/tmp/got" "$WORK/tmp/expected-$1"; }
usage() { floe status --json --cachemgr "$CACHEMGR_SOCK" | python3 -c 'import json, sys; print(json.load(sys.stdin)["cache"][sys.argv[1]])' "$1"; }
report() { floe status --cachemgr "$CACHEMGR_SOCK" | grep '^cache:'; }
configure() { printf 'checkpoint_interval_ms = 200\n[cache]\n%s\n' "$1" >"$WORK/cachemgr.toml"; }

start_registry
for seed in $SEEDS; do seed_image "$seed"; done
start_cachemgr
for seed in $SEEDS; do
  mount_seed "$seed"
  tree "$WORK/mnt/$seed" "$WORK/tmp/expected-$seed"
  unmount_seed "$seed"
done
stop cachemgr
rm -rf "$WORK/cachemgr"

# Room for two images, which take 23 MB each.
disk cachemgr 64
configure 'min_free_percent = 0'
start_cachemgr --config "$WORK/cachemgr.toml"
evicts() {
  local seed
  for seed in $SEEDS; do
    mount_seed "$seed"
    is_right "$seed"
    unmount_seed "$seed"
  done
  report
  [ "$(usage evicted_blobs)" -gt 0 ] || { echo "nothing was evicted"; return 1; }
}
all_in_use() {
  local seed status=0
  for seed in $SEEDS; do mount_seed "$seed"; done
  is_right 42   # from before
  find "$WORK/mnt/11" -type f -exec cat {} + 2>"$WORK/tmp/errors" >/dev/null || status=$?
  [ "$status" -ne 0 ] || { echo "the disk was large enough"; return 1; }
  sed 's/.*: //' "$WORK/tmp/errors" | sort | uniq -c
  expect_equal "$(sed 's/.*: //' "$WORK/tmp/errors" | sort -u)" "Input/output error" "what the reader got"
  report
  is_right 42   # what is there is served
  unmount_seed 23
  wait_for "the next try" 10 is_right 11
  report
  unmount_seed 11
  unmount_seed 42
}
check "cache disk full: what no mount uses is evicted, and no reader notices" evicts
check "cache disk full and all in use: EIO; right again once there is room, without a restart" all_in_use
stop cachemgr

configure 'max_size = "24MB"'
start_cachemgr --config "$WORK/cachemgr.toml"
inside() { [ "$(usage used_bytes)" -le 24000000 ]; }
keeps_size() {
  local seed
  for seed in $SEEDS; do
    mount_seed "$seed"
    is_right "$seed"
    unmount_seed "$seed"
  done
  wait_for "the cache to be inside its limit" 10 inside
  report
}
keeps_floor() {
  mount_seed 11
  is_right 11
  unmount_seed 11
  fallocate -l "$(($(usage disk_free_bytes) - 3000000))" "$WORK/cachemgr/other"
  wait_for "20 % to be free" 10 enough_free
  report
  rm "$WORK/cachemgr/other"
}
enough_free() { [ "$(usage disk_free_bytes)" -ge "$(($(usage disk_total_bytes) / 5))" ]; }
check "cache.max_size: three images of 23 MB in 24 MB, one after the other" keeps_size
stop cachemgr
configure 'min_free_percent = 20'
start_cachemgr --config "$WORK/cachemgr.toml"
check "cache.min_free_percent: another program fills the disk" keeps_floor
stop cachemgr
undisk cachemgr
mkdir -p "$WORK/cachemgr" && chmod 0700 "$WORK/cachemgr"

disk snapshotter 16
start_containerd
start_floe
# All but so many blocks: the database's write is cut short at another place each time.
leave_blocks() {  # COUNT
  for _ in 1 2 3; do   # what an allocation holds back for later comes free with a sync
    cat /dev/zero >>"$WORK/snapshotter/filler" 2>/dev/null || true
    sync -f "$WORK/snapshotter"
  done
  truncate -s "-$(($1 * $(stat -f -c %S "$WORK/snapshotter")))" "$WORK/snapshotter/filler"
  sync -f "$WORK/snapshotter"
}
full_database() {
  local blocks name failed=0
  cctr snapshots --snapshotter floe prepare before
  for blocks in 0 1 2 3 4 5 6 8 10 14 20 30 50; do
    leave_blocks "$blocks"
    if cctr snapshots --snapshotter floe prepare "with-$blocks" 2>"$WORK/tmp/error"; then
      echo "$blocks blocks left: prepared"
    else
      echo "$blocks blocks left: $(cat "$WORK/tmp/error")"
      grep -qi 'no space\|full' "$WORK/tmp/error"
      failed=$((failed + 1))
    fi
    cctr snapshots --snapshotter floe info before >/dev/null   # reading works
    same_view
    rm "$WORK/snapshotter/filler"
  done
  [ "$failed" -ge 2 ]
  cctr snapshots --snapshotter floe prepare after
  same_view
  stop snapshotter
  start_snapshotter
  same_view
  for name in $(cctr snapshots --snapshotter floe list | awk 'NR > 1 {print $1}'); do cctr snapshots --snapshotter floe remove "$name"; done
}
same_view() {
  python3 - "$WORK/snapshotter" "$(cctr snapshots --snapshotter floe list | awk 'NR > 1 {print $1}' | sort | tr '\n' ' ')" <<'EOF'
import os, sqlite3, sys
database = sqlite3.connect(f"file:{sys.argv[1]}/metadata.db?mode=ro", uri=True)
rows = database.execute("SELECT id, name FROM snapshots").fetchall()
ours = sorted(name.split("/", 2)[2] for _, name in rows)
directories = sorted(os.listdir(f"{sys.argv[1]}/snapshots"))
integrity = database.execute("PRAGMA integrity_check").fetchone()[0]
print(f"{len(ours)} rows, {len(directories)} directories, integrity: {integrity}")
if ours != sys.argv[2].split() or directories != sorted(str(row[0]) for row in rows) or integrity != "ok":
    sys.exit(f"containerd has {sys.argv[2]}, the snapshotter {ours}, directories {directories}")
EOF
}
check "snapshotter disk full: Prepare fails, nothing is half-made, and goes on once there is room" full_database
stop_floe
stop containerd
undisk snapshotter
finish
