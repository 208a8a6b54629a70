#!/bin/bash
# The corpus image over fscache: its tree, shared blobs, mounts of the same image, a registry that is away.
. "$(dirname "$0")/lib.sh"

start_registry
start_link 0 0
push_image "$DATA/oci" "$REG/corpus:7"
printf '[fill]\nrequest_timeout_ms = 3000\n' >"$WORK/cachemgr.toml"
start_cachemgr --channel cachefiles --config "$WORK/cachemgr.toml"
floe index create "$REG/corpus:7" >/dev/null

corpus() {
  mount_image "$REG/corpus:7" one
  right_tree one
  counters kernel_reads | grep -vx 0
  drop_caches
  right_tree one
  unmount_image one
  wait_for "the CLOSE messages" 10 all_closed
  print_counters
}
all_closed() { read -r opens closes < <(counters kernel_opens kernel_closes); [ "$opens" = "$closes" ]; }
remount() {  # nothing is asked for again
  local before after
  before=$(counters fetched_bytes)
  drop_caches
  mount_image "$REG/corpus:7" one
  mount_image "$REG/corpus:7" two
  expect_equal "$(file_sum one/sizes/f5243003)" "$(expected_sum sizes/f5243003)"
  right_tree two
  after=$(counters fetched_bytes)
  expect_equal "$after" "$before" "fetched bytes"
  unmount_image one
  drop_caches
  expect_equal "$(file_sum two/sizes/f5243003)" "$(expected_sum sizes/f5243003)"
  unmount_image two
}
sharing() {
  local before after
  push_more
  before=$(counters fetched_bytes)
  mount_image "$REG/corpus:7" one
  mount_image "$REG/more:1" two
  expect_equal "$(cat "$WORK/mnt/two/new-file")" new
  rm -f "$WORK/tmp/got"
  expect_equal "$(file_sum one/sizes/random)" "$(expected_sum sizes/random)"
  expect_equal "$(file_sum two/sizes/f5243003)" "$(expected_sum sizes/f5243003)"
  after=$(counters fetched_bytes)
  echo "$((after - before)) bytes fetched for the second image"
  [ $((after - before)) -lt 4096 ]
  unmount_image two
  right_tree one
  unmount_image one
}
registry_down() {
  local start
  push_pair
  mount_image "$LINK/pair:1" down --plain-http
  cmp "$WORK/mnt/down/near" "$WORK/tmp/near/near"
  link hold >/dev/null
  drop_caches
  cmp "$WORK/mnt/down/near" "$WORK/tmp/near/near"
  start=$(now_ms)
  expect_failure 'Input/output error' cat "$WORK/mnt/down/far"
  echo "EIO after $(($(now_ms) - start)) ms, the deadline being 3000"
  [ $(($(now_ms) - start)) -lt 8000 ]
  link release >/dev/null
  wait_for "the read to succeed again" 20 cmp "$WORK/mnt/down/far" "$WORK/tmp/far/far"
  unmount_image down
}
check "the corpus's tree is right, every sha256, and again with the page cache dropped" corpus
check "two mounts of the same image, from what is there" remount
check "two images share the cookies of their blobs" sharing
check "the registry is away: what is there is served, the rest is EIO in time, and succeeds later" registry_down
finish
