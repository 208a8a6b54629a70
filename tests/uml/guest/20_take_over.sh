#!/bin/bash
# kill -9 of the cache manager in the middle of reads: with a keeper, which holds the device open, and without.
. "$(dirname "$0")/lib.sh"

start_registry
start_link 10 2
push_image "$DATA/oci" "$REG/corpus:7"
floe index create "$REG/corpus:7" >/dev/null
start_next() { start_cachemgr --channel cachefiles; }
inflight() { floe status --json --cachemgr "$CACHEMGR_SOCK" | grep -q '"reads_inflight": [1-9]'; }

ten_kills() {
  local reader i kills=0 readers=()
  mount_image "$LINK/corpus:7" kept --plain-http
  for i in 1 2 3; do
    spawn "reader$i" bash -c "python3 '$SUPPORT/tree.py' '$WORK/mnt/kept' >'$WORK/tmp/tree$i' 2>'$WORK/tmp/error$i'"
    readers+=("$(pid_of "reader$i")")
  done
  for i in $(seq 10); do
    wait_for "a pending read" 30 inflight
    stop cachemgr KILL
    kills=$((kills + 1))
    start_next
  done
  for reader in "${readers[@]}"; do wait_for "the end of a reader" 120 gone "$reader"; done
  echo "$kills kills"
  for i in 1 2 3; do
    cat "$WORK/tmp/error$i"
    same_tree "$WORK/tmp/tree$i" "$DATA/expected-tree.jsonl"
  done
  drop_caches
  right_tree kept
  print_counters
}
# The kernel has the cookies of the mount above open and says no more of them.
mounts_after() {
  push_more
  stop cachemgr KILL
  start_next
  mount_image "$REG/corpus:7" again
  mount_image "$REG/more:1" more
  right_tree again
  expect_equal "$(cat "$WORK/mnt/more/new-file")" new
  expect_equal "$(file_sum more/sizes/f5243003)" "$(expected_sum sizes/f5243003)"
  for name in more again kept; do unmount_image "$name"; done
}
upgrade() {
  push_pair
  mount_image "$LINK/pair:1" pair --plain-http
  cmp "$WORK/mnt/pair/near" "$WORK/tmp/near/near"
  link hold >/dev/null
  spawn reader cmp "$WORK/mnt/pair/far" "$WORK/tmp/far/far"
  wait_for "a pending read" 30 inflight
  stop cachemgr
  start_next
  link release >/dev/null
  wait_for "the reader's end" 60 gone "$(pid_of reader)"
  cat "$WORK/log/reader.log"
  [ ! -s "$WORK/log/reader.log" ]
  drop_caches
  cmp "$WORK/mnt/pair/far" "$WORK/tmp/far/far"
  unmount_image pair
}
no_holder() {
  local reader
  rm -rf "$WORK/cachemgr/cachefiles/cache"   # a cold start
  start_cachemgr --channel cachefiles --keeper none
  mount_image "$LINK/corpus:7" alone --plain-http
  spawn reader bash -c "sha256sum '$WORK/mnt/alone/sizes/f5243003'"
  wait_for "a pending read" 30 inflight
  reader=$(pid_of reader)
  stop cachemgr KILL
  wait_for "the reader's end" 30 gone "$reader"
  cat "$WORK/log/reader.log"
  grep -E 'Input/output error|No buffer space available' "$WORK/log/reader.log"
  drop_caches
  expect_failure 'Input/output error|No buffer space available' cat "$WORK/mnt/alone/sizes/random"
  umount "$WORK/mnt/alone"
  start_cachemgr --channel cachefiles --keeper none
  unmount_image alone
}
start_next
check "killed ten times in the middle of reads, a keeper: every reader gets right bytes" ten_kills
check "after a take-over the same image and one that shares its blobs can be mounted" mounts_after
check "ended in order with a read pending, a keeper: the next one answers it" upgrade
stop cachemgr
check "killed without a keeper: errors, never wrong bytes, and it unmounts" no_holder
finish
