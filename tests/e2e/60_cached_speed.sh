#!/bin/bash
# A new mount of a fully cached image against the same files on the same file system: no daemon in the path.
. "$(dirname "$0")/lib.sh"

layout=$(python_image)
start_registry
push_image "$layout" "$REG/python:1"
floe index create "$REG/python:1" >/dev/null
dir=$WORK/mnt/lazy
mkdir "$dir"

fill_and_mount_anew() {
  floe mount "$REG/python:1" "$dir" --root "$WORK/mount"
  cp -a "$dir" "$WORK/plain"
  floe unmount "$dir" --root "$WORK/mount"
  floe mount "$REG/python:1" "$dir" --root "$WORK/mount" | tee "$WORK/tmp/mount.out"
  floe status --json --cachemgr "$WORK/mount/cachemgr.sock" >"$WORK/tmp/status.json"
  python3 - "$WORK/tmp/status.json" <<'EOF'
import json, sys
status = json.load(open(sys.argv[1]))
assert [m["channel"] for m in status["mounts"]] == ["none"], status["mounts"]
assert all(blob["complete"] for blob in status["blobs"]), status["blobs"]
EOF
}
# The private one; there is no other in this PID namespace.
cachemgr_pid() { grep -lx floe-cachemgr /proc/[0-9]*/comm | cut -d/ -f3; }
signal_cachemgr() { kill "-$1" "$(cachemgr_pid)"; }
measure() { "$BIN/../bench/tree_read" --rounds 5 "$WORK/plain" "$dir" >"$WORK/tmp/speed.json"; cat "$WORK/tmp/speed.json"; }
fast_enough() {  # KIND...: ratio at least 0.9
  python3 - "$WORK/tmp/speed.json" "$@" <<'EOF'
import json, sys
speed = json.load(open(sys.argv[1]))
slow = {kind: speed[kind]["ratio"] for kind in sys.argv[2:] if speed[kind]["ratio"] < 0.9}
print({kind: speed[kind]["ratio"] for kind in sys.argv[2:]})
assert not slow, slow
EOF
}

check "a complete image is mounted as plain files" fill_and_mount_anew
stop registry
check "the cache manager stops (SIGSTOP)" signal_cachemgr STOP
check "measured, five rounds, while the cache manager is stopped" measure
check "sequential and random reads, warm and hot, at 0.9 or more of plain files" \
  fast_enough warm_sequential hot_sequential warm_random_4k hot_random_4k
check "stat and readdir, warm and hot, at 0.9 or more of plain files" fast_enough warm_stat hot_stat warm_readdir hot_readdir
check "the cache manager continues" signal_cachemgr CONT
check "floe unmount" floe unmount "$dir" --root "$WORK/mount"
finish
