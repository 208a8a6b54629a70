#!/bin/bash
# kill -9 of the snapshotter, again and again, while snapshots are prepared, committed and removed. FLOE_KILLS (10): how often.
. "$(dirname "$0")/../e2e/lib.sh"
KILLS=${FLOE_KILLS:-10}

start_registry
push_image "$DATA/oci" "$REG/corpus:7"
start_containerd
start_floe
floe index create "$REG/corpus:7" >/dev/null
lazy_pull "$REG/corpus:7" >/dev/null
chain=$(top_chain "$DATA/oci")
stop snapshotter

storm() {
  python3 "$SOURCE_DIR/tests/fault/snapshot_storm.py" --kills "$KILLS" --ctr "ctr --address $CONTAINERD_SOCK --namespace $TESTBED_NAMESPACE" \
    --lazy-parent "$chain" --root "$WORK/snapshotter" --log "$WORK/log/snapshotter.log" \
    -- "$BIN/floe-snapshotter" --root "$WORK/snapshotter" --address "$SNAPSHOTTER_SOCK" --cachemgr "$CACHEMGR_SOCK" >"$WORK/tmp/storm.out" || { tail -20 "$WORK/tmp/storm.out"; return 1; }
  sed -n 's/^snapshotter pid //p' "$WORK/tmp/storm.out" >"$WORK/pid/snapshotter"
  grep -A5 DIFFER "$WORK/tmp/storm.out" || true
  tail -1 "$WORK/tmp/storm.out"
}
seen() { tail -1 "$WORK/tmp/storm.out" | python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }
they_agree() {
  expect_equal "$(seen kills)" "$KILLS" kills
  expect_equal "$(seen differ)" 0 "restarts after which they differ"
}
nothing_is_left() {
  expect_equal "$(seen left)" 0 "snapshots of the storm"
  cctr images rm --sync "$REG/corpus:7" >/dev/null
  wait_for "the mounts to go" 20 no_erofs
  wait_for "the directories to go" 20 no_directories || { directories; rows; return 1; }
  expect_equal "$(rows)" "" rows
}
no_erofs() { ! grep -q ' - erofs ' /proc/self/mountinfo; }
rows() { python3 -c 'import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute("SELECT id, name, kind FROM snapshots"), sep="\n")' "$WORK/snapshotter/metadata.db"; }
directories() { find "$WORK"/snapshotter/{snapshots,mnt,images} -mindepth 1; }
# A collection that containerd merges with one under way may miss what was removed just before.
no_directories() {
  cctr leases create --id again >/dev/null
  cctr leases delete --sync again >/dev/null
  [ -z "$(directories)" ]
}

check "$KILLS kills" storm
check "containerd and the snapshotter agree after each" they_agree
check "no mount, directory or row is left" nothing_is_left
finish
