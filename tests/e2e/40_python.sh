#!/bin/bash
# A Debian python image over a link of 200 Mbit/s and 20 ms: lazy against plain, then from the cache, then after a reboot.
. "$(dirname "$0")/lib.sh"

PROGRAM='import json, email, http.client, sqlite3; print("imported")'

layout=$(python_image)
total=$(layer_bytes "$layout")
start_registry
push_image "$layout" "$REG/python:1"
check "floe index create" floe index create "$REG/python:1"
start_containerd
start_floe
start_link 20 200

start=$(now_ms)
lazy_pull --plain-http "$LINK/python:1" >"$WORK/log/pull.out" 2>&1 || { cat "$WORK/log/pull.out"; exit 1; }
pulled=$(now_ms)
output=$(run_container floe "$LINK/python:1" python3 -c "$PROGRAM")
lazy_ms=$(($(now_ms) - start)) lazy_pull_ms=$((pulled - start))
lazy_bytes=$(link_bytes_down)
check "the lazy container's output" expect_equal "$output" imported

link reset >/dev/null
start=$(now_ms)
plain_pull "$LINK/python:1"
pulled=$(now_ms)
output=$(run_container overlayfs "$LINK/python:1" python3 -c "$PROGRAM")
plain_ms=$(($(now_ms) - start)) plain_pull_ms=$((pulled - start))
plain_bytes=$(link_bytes_down)
check "the plain container's output" expect_equal "$output" imported

note "            pull    pull+run   bytes over the link"
note "overlayfs   $(seconds $plain_pull_ms) s  $(seconds $plain_ms) s     $(megabytes "$plain_bytes") MB"
note "floe        $(seconds $lazy_pull_ms) s  $(seconds $lazy_ms) s     $(megabytes "$lazy_bytes") MB = $((lazy_bytes * 1000 / total)) per mille of the layers' $(megabytes "$total") MB"
few_bytes() { [ $((lazy_bytes * 100)) -le $((total * 20)) ] || { echo "$lazy_bytes of $total bytes"; return 1; }; }
# The aim is twice as fast; on a noisy machine less is said aloud, and the check fails below 1.3 times.
much_faster() {
  echo "$((plain_ms * 100 / lazy_ms)) per cent of overlayfs's speed"
  [ $((lazy_ms * 2)) -le "$plain_ms" ] || echo "SHORT of twice as fast: $lazy_ms ms against $plain_ms ms"
  [ $((lazy_ms * 13)) -le $((plain_ms * 10)) ]
}
check "at most 20 % of the layers' bytes were fetched, the index included" few_bytes
check "pull and run against overlayfs (the aim: twice as fast)" much_faster

stop link
stop registry
run_again() {
  local start
  start=$(now_ms)
  expect_equal "$(run_container floe "$LINK/python:1" python3 -c "$PROGRAM")" imported "output"
  echo "ran in $(seconds $(($(now_ms) - start))) s"
}
check "a second run needs no registry" run_again

cctr containers create --snapshotter floe -- "$LINK/python:1" survivor python3 -c "$PROGRAM"

reboot() {  # every process ended, every mount gone
  local name
  for name in "$WORK"/pid/*; do stop "$(basename "$name")" KILL; done
  kill -KILL "$(keeper_pid)"
  # shellcheck disable=SC2046 # one word a mount point
  while [ -n "$(mounts_below_work)" ]; do umount --lazy $(mounts_below_work); done
  rm -rf /run/containerd /run/containerd-e2e
  sync
  echo 3 >/proc/sys/vm/drop_caches
}
reboot
check "the reboot left no process and no mount" check_leaks
start_containerd
start_floe
survivor_starts() {
  cctr tasks start survivor </dev/null >"$WORK/tmp/survivor.out"
  expect_equal "$(cat "$WORK/tmp/survivor.out")" imported "output"
  cctr containers delete survivor
}
check "after a reboot a container from before it starts, without the registry" survivor_starts
check "after a reboot a new container starts, without the registry" run_again
finish
