#!/bin/bash
# The fuse channel as kernels before 6.12 need it: EROFS on loop devices over the FUSE files.
. "$(dirname "$0")/lib.sh"

start_registry
start_containerd
start_floe --channel fuse-loop
push_image "$DATA/oci" "$REG/corpus:7"

lazy_tree() {
  floe index create "$REG/corpus:7" >/dev/null
  lazy_pull "$REG/corpus:7"
  snapshot_tree floe "$(top_chain "$DATA/oci")" "$WORK/tmp/got"
  same_tree "$WORK/tmp/got" "$DATA/expected-tree.jsonl"
}
on_loop_devices() {  # in use: what nobody uses may be unmounted at any moment
  local count chain
  chain=$(top_chain "$DATA/oci")
  mount_snapshot floe "$chain" "$WORK/mnt/used"
  count=$(awk '$0 ~ / - erofs \/dev\/loop/' /proc/self/mountinfo | wc -l)
  unmount_snapshot floe "$WORK/mnt/used"
  echo "$count EROFS mounts on loop devices"
  [ "$count" -ge 1 ]
}
loop_devices_go() {
  cctr images rm --sync "$REG/corpus:7" >/dev/null
  wait_for "the loop devices to go" 10 no_loops
}
no_loops() { [ -z "$(loops_below_work)" ]; }

check "lazy pull over loop devices: the corpus's tree is containerd's" lazy_tree
check "the mounts are on loop devices" on_loop_devices
check "the loop devices go with the image" loop_devices_go
finish
