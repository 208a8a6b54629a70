#!/bin/bash
# kill -9 of a cache manager without keeper while a read waits for the registry (with one: tests/fault).
. "$(dirname "$0")/lib.sh"

start_registry
push_image "$DATA/oci" "$REG/corpus:7"
start_link 1 0
start_containerd
start_floe --keeper none
floe index create "$REG/corpus:7" >/dev/null
lazy_pull --plain-http "$LINK/corpus:7" >/dev/null
chain=$(top_chain "$DATA/oci")
dir=$WORK/mnt/killed
mount_snapshot floe "$chain" "$dir"

# Reads files until told otherwise: prints `right`, `wrong` or the errno of each.
cat >"$WORK/tmp/reader.py" <<'E2'
import hashlib, json, os, sys
root, expected, names = sys.argv[1], sys.argv[2], sys.argv[3:]
digests = {row["path"]: row.get("sha256") for row in map(json.loads, open(expected))}
for name in names:
    try:
        with open(os.path.join(root, name), "rb") as file:
            right = hashlib.sha256(file.read()).hexdigest() == digests[name]
        print(name, "right" if right else "wrong", flush=True)
    except OSError as error:
        print(name, error.strerror, flush=True)
E2
read_files() { python3 "$WORK/tmp/reader.py" "$dir" "$DATA/expected-tree.jsonl" "$@"; }
read_pending() { floe status --json --cachemgr "$CACHEMGR_SOCK" | grep -q '"reads_inflight": [1-9]'; }

check "a read before" expect_equal "$(read_files links/target)" "links/target right"
link hold >/dev/null
spawn reader read_files sizes/f5243003 sizes/random
check "a read is pending" wait_for "a pending read" 10 read_pending
reader=$(pid_of reader)
stop cachemgr KILL

reader_ends() {
  wait_for "the reader's end" 60 gone "$reader"
  cat "$WORK/log/reader.log"
  never grep -w wrong "$WORK/log/reader.log"
  expect_equal "$(grep -c . "$WORK/log/reader.log")" 2 "answers"
}
check "the reader gets an error or right bytes, never wrong ones" reader_ends
link release >/dev/null
start_cachemgr --keeper none

new_mount_is_right() {
  snapshot_tree floe "$chain" "$WORK/tmp/got"
  same_tree "$WORK/tmp/got" "$DATA/expected-tree.jsonl"
}
old_mount_is_never_wrong() {
  read_files links/target sizes/f5243003 sizes/random many/entry-00001 | tee "$WORK/tmp/old.out"
  never grep -w wrong "$WORK/tmp/old.out"
}
check "after a restart a new mount shows the right tree" new_mount_is_right
check "the old mount shows right bytes or errors" old_mount_is_never_wrong
check "the old mount can be unmounted" unmount_snapshot floe "$dir"
all_mounts_go() {
  cctr images rm --sync "$LINK/corpus:7" >/dev/null
  wait_for "the EROFS mounts to go" 10 no_erofs
}
no_erofs() { ! grep -q ' - erofs ' /proc/self/mountinfo; }
check "everything unmounts" all_mounts_go
finish
