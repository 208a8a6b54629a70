#!/bin/bash
# containerd and runc over fscache: a busybox image and a Debian python image, pulled lazily and run.
. "$(dirname "$0")/lib.sh"

start_registry
start_containerd
start_floe --channel cachefiles

busybox_image() {
  local root=$WORK/tmp/busybox
  mkdir -p "$root/bin" "$root/etc"
  cp /bin/busybox "$root/bin/busybox"
  ln -s busybox "$root/bin/sh"
  echo 'floe over fscache' >"$root/etc/motd"
  tar -C "$root" -cf "$root.tar" .
  make_image "$WORK/tmp/busybox-image" --layer "$root.tar" --entrypoint /bin/sh
  push_image "$WORK/tmp/busybox-image" "$REG/busybox:1"
}
run_lazily() {  # REF EXPECTED COMMAND...
  local ref=$1 expected=$2 before; shift 2
  before=$(counters fetched_bytes)
  lazy_pull "$ref" | tee "$WORK/tmp/pull.out"
  grep -qw lazy "$WORK/tmp/pull.out"
  expect_equal "$(run_container floe "$ref" "$@")" "$expected"
  echo "$(($(counters fetched_bytes) - before)) bytes fetched"
  print_counters
}
on_cookies() { floe status --cachemgr "$CACHEMGR_SOCK" | grep -w cachefiles; }
removed() {
  cctr images rm --sync "$REG/busybox:1" "$REG/python:1" >/dev/null
  wait_for "the EROFS mounts to go" 20 no_erofs
}
no_erofs() { ! grep -q ' - erofs ' /proc/self/mountinfo; }

busybox_image
floe index create "$REG/busybox:1" >/dev/null
check "a busybox image runs" run_lazily "$REG/busybox:1" 'floe over fscache' /bin/busybox cat /etc/motd
if [ -e "$CACHE_DIR/python-image/index.json" ]; then
  push_image "$(python_image)" "$REG/python:1"
  floe index create "$REG/python:1" >/dev/null
  check "a python image runs" run_lazily "$REG/python:1" '3' python3 -c 'import json, email, http.client, sqlite3; print(1 + 2)'
else
  skip "a python image runs" "deploy/lib/python_image.sh has not made it on this machine"
fi
check "the mounts are over cookies" on_cookies
check "removing the images removes the mounts" removed
finish
